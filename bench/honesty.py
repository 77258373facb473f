"""What must agree for a number to mean anything: what was sent, what arrived, what was recorded, what was spent.

Pure: everything is passed in, and what does not agree comes back as sentences. No fault means the round counts.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.core.encoding import b64u

_SHOWN = 3

REFUSED_WITH: Mapping[str, tuple[int, str]] = {
    "path": (403, "mandate.not_covered"),
    "method": (403, "mandate.not_covered"),
    "query": (403, "mandate.not_covered"),
    "url": (403, "proof.signature"),
    "stale": (403, "proof.window"),
    "replay": (403, "proof.replayed"),
    "unsigned": (403, "proof.missing"),
}
"""The status and code of each kind of planted call (`load.PLANTS`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One call as the load generator saw it."""

    target: str  # method and target
    nonce: str
    plant: str
    status: int
    code: str
    right: bool  # the answer's body is that of this target


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """One `allow` line of the journal."""

    target: str
    nonce_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the enforcing proxy left behind in one round."""

    allowed: Sequence[Allowed]
    nonces_in_store: int  # of those that were sent with calls that should pass


@dataclass(slots=True)
class _Faults:
    found: list[str] = field(default_factory=list)

    def check(self, good: bool, sentence: str) -> None:
        if not good:
            self.found.append(sentence)

    def same(self, what: str, expected: Sequence[str], got: Sequence[str]) -> None:
        """Exactly the same things, each as often."""
        wanted, seen = Counter(expected), Counter(got)
        for missing in wanted - seen:
            self.found.append(f"{what}: {missing} is missing")
        for extra in seen - wanted:
            self.found.append(f"{what}: {extra} was not expected")
        if len(self.found) > _SHOWN:
            self.found[_SHOWN:] = [f"and {len(self.found) - _SHOWN} more"]


def faults_of_round(sent: Sequence[Sent], *, arrived: Sequence[str], record: Record | None) -> tuple[str, ...]:
    """Why a round may not be counted.

    Every call but the planted ones must have got its own answer and have arrived once; no planted one may have
    arrived. With `record` (enforcement was on) each of them must have its line, its nonce must be its own, and be
    spent in the store.
    """
    passing = [call for call in sent if not call.plant]
    groups = [
        _answers(passing),
        _arrivals(passing, arrived),
        _plants([call for call in sent if call.plant]),
        _recorded(passing, record) if record is not None else [],
    ]
    return tuple(fault for group in groups for fault in group)


def faults_of_streams(
    sent: Sequence[str], arrived: Sequence[str], bodies: Sequence[str], body_sha256: str, allowed: Sequence[str] | None
) -> tuple[str, ...]:
    """Why a round of streams may not be counted.

    Every call must have arrived once, and the body of the one that had one must have arrived whole and unchanged. With
    `allowed` (enforcement was on) each must have its line.
    """
    faults = _Faults()
    faults.check(bool(sent), "streams: nothing was sent")
    faults.same("origin", sent, arrived)
    whole = list(bodies) == [body_sha256]
    faults.check(whole, f"origin: expected one body, the one that was sent, got {len(bodies)} that are not just that")
    if allowed is not None:
        faults.same("journal", sent, allowed)
    return tuple(faults.found)


def _answers(passing: Sequence[Sent]) -> list[str]:
    faults = _Faults()
    bad = [call for call in passing if call.status != 200]
    said = ", ".join(f"{call.target} got {call.status} {call.code}".strip() for call in bad[:_SHOWN])
    faults.check(not bad, f"answers: {len(bad)} of {len(passing)} calls were not answered 200: {said}")
    wrong = [call.target for call in passing if call.status == 200 and not call.right]
    faults.check(not wrong, f"answers: {len(wrong)} bodies were not their call's own: {', '.join(wrong[:_SHOWN])}")
    faults.check(bool(passing), "answers: nothing was sent")
    return faults.found


def _arrivals(passing: Sequence[Sent], arrived: Sequence[str]) -> list[str]:
    faults = _Faults()
    faults.same("origin", [call.target for call in passing], arrived)
    return faults.found


def _plants(planted: Sequence[Sent]) -> list[str]:
    """Each must have been refused for its own reason: refused for another, it would prove nothing."""
    return [
        f"planted {call.plant}: {call.target} must be refused with {expected}, got {(call.status, call.code)}"
        for call in planted
        if (call.status, call.code) != (expected := REFUSED_WITH[call.plant])
    ]


def _recorded(passing: Sequence[Sent], record: Record) -> list[str]:
    faults = _Faults()
    nonces = [call.nonce for call in passing]
    faults.check("" not in nonces, "nonces: a call was sent without one")
    repeated = [nonce for nonce, times in Counter(nonces).items() if times > 1]
    faults.check(not repeated, f"nonces: {len(repeated)} were used for more than one call")
    faults.same("journal", [call.target for call in passing], [line.target for line in record.allowed])
    faults.same(
        "journal's nonces", [_hashed(nonce) for nonce in nonces], [line.nonce_sha256 for line in record.allowed]
    )
    spent = f"store: {record.nonces_in_store} nonces were spent there, and {len(set(nonces))} were sent"
    faults.check(record.nonces_in_store == len(set(nonces)), spent)
    return faults.found


def _hashed(nonce: str) -> str:
    return b64u(hashlib.sha256(nonce.encode()).digest())
