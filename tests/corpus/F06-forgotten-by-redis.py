"""What was stopped stays stopped, whatever is deleted from Redis or written over it: nodes remember by themselves."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import identities
from attacks import Case
from shots import Answer, Shot, fire, leaf_under, stop
from streets import Street

from proxy.core.control import Act, state
from proxy.core.manifest import parse_manifest
from proxy.core.model import Verdict
from proxy.stores.redis import PREFIX
from proxy.stores.redis_control import STATEMENTS, STREAM


def cases(way: str) -> Iterator[Case]:
    for name, erase in ERASURES.items():
        revoked = "manifest.revoked"
        yield _stopped(way, f"a revocation {name}", Act.REVOKE_ROOT, lambda call: call.root, erase, revoked)
        quarantined = "agent.quarantined"
        yield _stopped(way, f"a quarantine {name}", Act.QUARANTINE, lambda _: "clerk-bot", erase, quarantined)
    yield _denial(way)


class Mandated:
    """A covered call under a mandate of its own."""

    def __init__(self, way: str, agent: str = "clerk-bot") -> None:
        self._agent = agent
        self._tokens: Sequence[str] = ()
        self._way, self.shot = way, Shot(chain=self.chain)

    def chain(self, street: Street) -> Sequence[str]:
        if not self._tokens:
            root = street.house.root(sub=self._agent)
            self._tokens = (root, leaf_under(root))
        return self._tokens

    def send(self, street: Street) -> Answer:
        return fire(street, self._way, self.shot)

    @property
    def root(self) -> str:
        return parse_manifest(self._tokens[0]).id


def deleted(street: Street) -> None:
    street.house.with_store(lambda server: server.command("DEL", STATEMENTS, STREAM))


def emptied(street: Street) -> None:
    deleted(street)
    street.house.with_store(lambda server: server.command("XADD", STREAM, "*", "id", "x", "statement", "x"))


def contradicted(street: Street) -> None:
    """The agent itself states that it may go on, and that nothing is killed."""
    for act, target in ((Act.RESTORE, "clerk-bot"), (Act.KILL_OFF, "*")):
        token = state(
            act,
            target,
            by=identities.SPONSOR,
            reason="",
            deployment=street.house.settings.deployment,
            key=identities.key("clerk-bot"),
            now=datetime.now(UTC),
        )
        fields = ("id", secrets.token_urlsafe(32), "statement", token)
        street.house.with_store(lambda server, fields=fields: server.command("XADD", STREAM, "*", *fields))


ERASURES: dict[str, Callable[[Street], None]] = {
    "is deleted": deleted,
    "is replaced with nonsense": emptied,
    "is contradicted by the agent": contradicted,
}


def _stopped(
    way: str, name: str, act: Act, target: Callable[[Mandated], str], erase: Callable[[Street], None], code: str
) -> Case:
    call = Mandated(way)

    def arrange(street: Street) -> None:
        stop(street, way, act, target(call), call.shot)
        erase(street)
        later = Mandated(
            way, identities.AGENT
        )  # stopped in turn, so that every worker has read on, past what was erased
        later.chain(street)
        stop(street, way, Act.REVOKE_ROOT, later.root, later.shot)

    def undo(street: Street) -> None:
        if act is Act.QUARANTINE:
            stop(street, way, Act.RESTORE, target(call), call.shot)

    return Case(
        threat="F06", name=name, way=way, twin=call.send, arrange=arrange, attack=call.send, undo=undo, code=code
    )


def _denial(way: str) -> Case:
    """A denied call whose denial is gone is a new call to the reviewers; it is held again, and nothing is sent."""

    def held(street: Street, call: Shot, verdict: Verdict) -> str:
        answer = fire(street, way, call)
        assert answer.code == "mandate.not_covered", answer
        hold_id = answer.document["task"]["id"]
        street.house.decide(hold_id, verdict)
        return hold_id

    def twin(street: Street) -> Answer:
        call = Shot(path=f"/payroll/{secrets.token_hex(6)}")
        held(street, call, Verdict.ALLOW)
        return fire(street, way, call)

    denied = Shot(path=f"/payroll/{secrets.token_hex(6)}")

    def arrange(street: Street) -> None:
        hold_id = held(street, denied, Verdict.DENY)
        assert fire(street, way, denied).code == "hold.denied"
        hold = street.house.hold(hold_id)
        names = (f"hold:{hold_id}", f"sealed:{hold_id}", f"call:{hold.root_id}:{hold.call_digest}")
        keys = [f"{PREFIX}{name}" for name in names]
        street.house.with_store(lambda server: server.command("DEL", *keys))

    return Case(
        threat="F06",
        name="a denial is deleted",
        way=way,
        twin=twin,
        arrange=arrange,
        attack=lambda street: fire(street, way, denied),
        code="mandate.not_covered",
    )
