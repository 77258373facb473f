"""A release does not outlive the mandate it was given under: revoked or stopped in between, the call is not sent."""

import secrets
from collections.abc import Callable, Iterator, Sequence

from attacks import Case
from shots import Answer, Shot, fire, leaf_under, stop
from streets import Street

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest
from proxy.core.model import Verdict


class HeldCall:
    """A call outside a mandate of its own, held and released; `covered` is one inside the same mandate."""

    def __init__(self, way: str) -> None:
        self._way, self._tokens = way, ()
        self.shot = Shot(path=f"/payroll/{secrets.token_hex(6)}", chain=self.chain)
        self.covered = Shot(chain=self.chain)

    def chain(self, street: Street) -> Sequence[str]:
        if not self._tokens:
            root = street.house.root(sub="clerk-bot")
            self._tokens = (root, leaf_under(root))
        return self._tokens

    def release(self, street: Street) -> None:
        answer = fire(street, self._way, self.shot)
        assert answer.code == "mandate.not_covered", answer
        street.house.decide(answer.document["task"]["id"], Verdict.ALLOW)

    def send(self, street: Street) -> Answer:
        return fire(street, self._way, self.shot)

    @property
    def root(self) -> str:
        return parse_manifest(self._tokens[0]).id


STOPS: dict[str, tuple[Act, Callable[[HeldCall], str], str]] = {
    "the root is revoked": (Act.REVOKE_ROOT, lambda call: call.root, "manifest.revoked"),
    "the agent is quarantined": (Act.QUARANTINE, lambda _: "clerk-bot", "agent.quarantined"),
}


def cases(way: str) -> Iterator[Case]:
    for name, (act, target, code) in STOPS.items():
        yield _stopped(way, name, act, target, code)


def _stopped(way: str, name: str, act: Act, target: Callable[[HeldCall], str], code: str) -> Case:
    call = HeldCall(way)

    def twin(street: Street) -> Answer:
        other = HeldCall(way)
        other.release(street)
        return other.send(street)

    def arrange(street: Street) -> None:
        call.release(street)
        stop(street, way, act, target(call), call.covered)

    def undo(street: Street) -> None:
        if act is Act.QUARANTINE:
            stop(street, way, Act.RESTORE, target(call), call.covered)

    return Case(
        threat="F04",
        name=f"{name} after the release",
        way=way,
        twin=twin,
        arrange=arrange,
        attack=call.send,
        undo=undo,
        code=code,
    )
