"""Nobody reviews their own call, nor one they may not decide; and no link, fetched by whomever, approves anything."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import identities
from attacks import Case
from shots import Answer, Shot, fire
from streets import Street

from proxy.core.model import Hold, Verdict
from proxy.core.release import state_release
from proxy.stores.redis import PREFIX

ANY_WAY = True  # also as an agent that knows of no proxy

SIGNED = {  # in whose name, with whose key, and what comes of it
    "the agent in the sponsor's name": (identities.SPONSOR, identities.AGENT, "release.invalid"),
    "the agent's leaf in the sponsor's name": (identities.SPONSOR, "leaf", "release.invalid"),
    "the agent in its own name": (identities.AGENT, identities.AGENT, "release.invalid"),
    "another agent": (identities.HELPER, identities.HELPER, "release.invalid"),
    "nobody we know": ("mallory", "mallory", "release.invalid"),
    "a person who may not decide it": ("cleo", "cleo", "hold.not_permitted"),
    "a person who may not, in the sponsor's name": (identities.SPONSOR, "cleo", "release.invalid"),
    "an operator": ("operator", "operator", "release.invalid"),
}
PAGES: dict[str, tuple[Shot, str]] = {  # below http://intent.internal/holds/ID
    "a link to redeem": (Shot(path="/redeem"), "hold.unknown"),
    "a link to release": (Shot(path="/release"), "hold.unknown"),
    "redeem before anybody released it": (Shot(method="POST", path="/redeem"), "mandate.not_covered"),
    "release": (Shot(method="POST", path="/release"), "hold.unknown"),
    "redeem from a page": (
        Shot(method="POST", path="/redeem", headers=(("Origin", "http://evil.example"),)),
        "guard.self",
    ),
    "redeem from another site": (
        Shot(method="POST", path="/redeem", headers=(("Sec-Fetch-Site", "cross-site"),)),
        "guard.self",
    ),
}


class HeldCall:
    """A call outside the mandate, and its hold once it was asked."""

    def __init__(self, way: str) -> None:
        self.way, self.shot = way, Shot(path=f"/payroll/{secrets.token_hex(6)}")

    def ask(self, street: Street) -> Hold:
        answer = fire(street, self.way, self.shot)
        assert answer.code == "mandate.not_covered", answer
        return street.house.hold(answer.document["task"]["id"])

    def again(self, street: Street) -> Answer:
        return fire(street, self.way, self.shot)


def cases(way: str) -> Iterator[Case]:
    for name, (by, signer, code) in SIGNED.items():
        yield _signed(way, name, by, signer, code)
    if way == "plain":  # the proxy's own pages are served over plain HTTP alone
        for name, (page, code) in PAGES.items():
            yield _asked(way, name, page, code)


def _released(way: str):
    """The twin: the sponsor's own release lets the call pass."""

    def twin(street: Street) -> Answer:
        call = HeldCall(way)
        street.house.decide(call.ask(street).id, Verdict.ALLOW)
        return call.again(street)

    return twin


def _signed(way: str, name: str, by: str, signer: str, code: str) -> Case:
    call = HeldCall(way)

    def approve(street: Street) -> None:
        hold, now = call.ask(street), datetime.now(UTC)
        token = state_release(
            hold=hold,
            verdict=Verdict.ALLOW,
            by=by,
            reason="",
            deployment=street.house.settings.deployment,
            key=identities.key(signer),
            now=now,
            not_after=now + timedelta(minutes=10),
            nonce=identities.nonce(secrets.token_hex(8)),
        )
        fields = ("state", "approved", "statement", token, "decided_by", by)
        street.house.with_store(lambda server: server.command("HSET", f"{PREFIX}hold:{hold.id}", *fields))

    return Case(
        threat="F02",
        name=f"the release is signed by {name}",
        way=way,
        twin=_released(way),
        arrange=approve,
        attack=call.again,
        code=code,
    )


def _asked(way: str, name: str, page: Shot, code: str) -> Case:
    call = HeldCall(way)

    def attack(street: Street) -> Answer:
        hold = call.ask(street)
        path = f"/holds/{hold.id}{page.path}"
        asked = Shot(method=page.method, authority="intent.internal", path=path, headers=page.headers)
        answer = fire(street, way, asked)
        assert street.house.hold(hold.id).state.value == "held"
        assert call.again(street).code == "mandate.not_covered"
        return answer

    return Case(threat="F02", name=f"the agent asks for {name}", way=way, twin=_released(way), attack=attack, code=code)
