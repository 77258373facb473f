"""Redis carries approvals, it does not give them: a hold made to look approved sends nothing without its release."""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import identities
from attacks import Case
from shots import Answer, Shot, fire, leaf_under
from streets import Street

from proxy.core.model import Hold, Verdict
from proxy.core.release import state_release
from proxy.stores.redis import PREFIX

ANY_WAY = True  # also as an agent that knows of no proxy


def held(street: Street, way: str, call: Shot) -> Hold:
    """The hold of a call outside the mandate."""
    answer = fire(street, way, call)
    assert answer.code == "mandate.not_covered", answer
    return street.house.hold(answer.document["task"]["id"])


def released(way: str) -> Callable[[Street], Answer]:
    """The twin: a call is held, its sponsor releases it, it is sent again and passes."""

    def twin(street: Street) -> Answer:
        call = outside()
        street.house.decide(held(street, way, call).id, Verdict.ALLOW)
        assert not street.trace().reached
        return fire(street, way, call)

    return twin


def outside() -> Shot:
    """A call that no grant covers, another one each time."""
    return Shot(path=f"/payroll/{secrets.token_hex(6)}")


def write(street: Street, hold: Hold, **fields: str) -> None:
    """What somebody does who can write to Redis."""
    flat = [part for name, value in fields.items() for part in (name, value)]
    street.house.with_store(lambda server: server.command("HSET", f"{PREFIX}hold:{hold.id}", *flat))


def statement(street: Street, hold: Hold, *, by: str = identities.SPONSOR, signer: str = "", **changes: object) -> str:
    """A release of a hold, with what is changed in it before it is signed."""
    now = datetime.now(UTC)
    token = state_release(
        hold=hold,
        verdict=Verdict.ALLOW,
        by=by,
        reason="seen",
        deployment=street.house.settings.deployment,
        key=identities.key(signer or by),
        now=now,
        not_after=now + timedelta(minutes=10),
        nonce=identities.nonce(secrets.token_hex(8)),
    )
    if not changes:
        return token
    return identities.resealed(token, identities.key(signer or by), typ="intent-release+jwt", **changes)


def no_statement(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", decided_by=identities.SPONSOR)


def of_another_hold(street: Street, hold: Hold, way: str) -> None:
    other = held(street, way, outside())
    write(street, hold, state="approved", statement=statement(street, other))


def of_other_bytes(street: Street, hold: Hold, way: str) -> None:
    digest = held(street, way, outside()).call_digest
    write(street, hold, state="approved", statement=statement(street, hold, digest=digest))


def of_bytes_it_was_made_to_fit(street: Street, hold: Hold, way: str) -> None:
    """The hold, too, is made to name the digest that was released."""
    other = held(street, way, outside())
    write(
        street,
        hold,
        state="approved",
        call_digest=other.call_digest,
        statement=statement(street, hold, digest=other.call_digest),
    )


def a_denial(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", statement=statement(street, hold, verdict="deny"))


def too_old(street: Street, hold: Hold, way: str) -> None:
    now = int(datetime.now(UTC).timestamp())
    write(street, hold, state="approved", statement=statement(street, hold, iat=now - 600, exp=now - 1))


def for_another_deployment(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", statement=statement(street, hold, aud="edge-other"))


def changed_after_signing(street: Street, hold: Hold, way: str) -> None:
    other = held(street, way, outside())
    head, _, signature = statement(street, other).split(".")
    _, payload, _ = statement(street, hold).split(".")
    write(street, hold, state="approved", statement=f"{head}.{payload}.{signature}")


def a_manifest(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", statement=street.house.root())


def no_words(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", statement="approved")


def with_reviewers_of_its_own(street: Street, hold: Hold, way: str) -> None:
    """An enrolled person who may not decide is written into the hold as one who may."""
    write(street, hold, state="approved", who=json.dumps(["cleo"]), statement=statement(street, hold, by="cleo"))


def with_another_sponsor(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", sponsor="cleo", statement=statement(street, hold, by="cleo"))


def by_somebody_unknown(street: Street, hold: Hold, way: str) -> None:
    write(street, hold, state="approved", statement=statement(street, hold, by="mallory"))


class UnderALapsedSponsor:
    """A call held under a mandate whose sponsor's certification has ended; their deputy decides for a week."""

    def __init__(self) -> None:
        self._tokens: Sequence[str] = ()
        self.shot = replace(outside(), chain=self.chain)

    def chain(self, street: Street) -> Sequence[str]:
        if not self._tokens:
            signed_at = street.house.bundle.people["emil"].certified_until - timedelta(hours=1)
            root = street.house.root(sub="emil-bot", sponsor="emil", iat=signed_at, nbf=signed_at, may_delegate_to=())
            self._tokens = (root, leaf_under(root))
        return self._tokens


def lapsed(way: str) -> Case:
    call = UnderALapsedSponsor()

    def twin(street: Street) -> Answer:
        other = UnderALapsedSponsor().shot
        street.house.decide(held(street, way, other).id, Verdict.ALLOW, by=identities.DEPUTY)
        return fire(street, way, other)

    def arrange(street: Street) -> None:
        hold = held(street, way, call.shot)
        write(street, hold, state="approved", statement=statement(street, hold, by="emil"))

    return Case(
        threat="F01",
        name="the hold is set to approved with a release by a reviewer whose certification has ended",
        way=way,
        twin=twin,
        arrange=arrange,
        attack=lambda street: fire(street, way, call.shot),
        code="hold.not_permitted",
    )


INVALID, TAMPERED = "release.invalid", "hold.tampered"
TAMPERINGS: dict[str, tuple[Callable[[Street, Hold, str], None], str]] = {
    "no statement": (no_statement, TAMPERED),
    "the release of another hold": (of_another_hold, INVALID),
    "a release of other bytes": (of_other_bytes, INVALID),
    "a release of other bytes, and their digest": (of_bytes_it_was_made_to_fit, TAMPERED),
    "a denial": (a_denial, TAMPERED),
    "a release that has ended": (too_old, "mandate.not_covered"),  # the sponsor's own: people are asked again
    "a release for another deployment": (for_another_deployment, INVALID),
    "a release whose signature is another's": (changed_after_signing, INVALID),
    "a release by somebody unknown": (by_somebody_unknown, INVALID),
    "a manifest": (a_manifest, INVALID),
    "no statement but a word": (no_words, INVALID),
    "reviewers of the intruder's choice": (with_reviewers_of_its_own, "hold.not_permitted"),
    "a sponsor of the intruder's choice": (with_another_sponsor, "hold.not_permitted"),
}


def cases(way: str) -> Iterator[Case]:
    yield lapsed(way)
    for name, (tamper, code) in TAMPERINGS.items():
        call = outside()

        def arrange(street: Street, call: Shot = call, tamper=tamper) -> None:
            tamper(street, held(street, way, call), way)

        yield Case(
            threat="F01",
            name=f"the hold is set to approved with {name}",
            way=way,
            twin=released(way),
            arrange=arrange,
            attack=lambda street, call=call: fire(street, way, call),
            code=code,
        )
