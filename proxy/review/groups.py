"""Alike holds: same agent, method, route and code. They are shown together, and each of them is signed for itself."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from proxy.core.digest import VOLATILE
from proxy.core.encoding import Json, b64u, canonical_json
from proxy.core.hiding import hidden_parts
from proxy.core.model import Call, Hold
from proxy.review.opened import HeldCall

_VARIES = re.compile(r"[0-9]+|(?:[^0-9]*[0-9]){3}.*|[0-9a-fA-F-]{8,}")
_ID_CHARS = 10
_PRINT_CHARS = 24
_FOLLOWING = VOLATILE | {"content-length", "content-digest"}
"""Headers that make no call another, and those that follow from the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Holds that are alike; `route` is their origin and path with `*` for every part that varies."""

    id: str
    agent: str
    method: str
    route: str
    code: str
    holds: tuple[HeldCall, ...]  # oldest first

    @property
    def differs(self) -> str:
        """How its calls differ."""
        return difference([print_of(held.shown.stored.call) for held in self.holds if held.shown is not None])


type Likeness = tuple[str, str, str, str]
"""What alike holds have in common: agent, method, route and code."""


def grouped(held: Iterable[HeldCall]) -> tuple[Group, ...]:
    """The groups of these holds, the largest first. Holds whose call is gone are in none."""
    found: dict[Likeness, list[HeldCall]] = {}
    for each in held:
        if each.shown is not None:
            found.setdefault(likeness(each.hold, each.shown.stored.call), []).append(each)
    groups = (_group(key, members) for key, members in found.items())
    return tuple(sorted(groups, key=lambda group: (-len(group.holds), group.id)))


def likeness(hold: Hold, call: Call) -> Likeness:
    """What a hold has in common with those that are alike."""
    path = "/".join("*" if each else part for each, part in zip(varying(call.segments), call.segments, strict=True))
    return hold.agent, call.method, f"{call.origin}/{path}", hold.code.value


def group_id(key: Likeness) -> str:
    """The id of the group of such holds."""
    return hashlib.sha256(canonical_json(list(key))).hexdigest()[:_ID_CHARS]


def varying(segments: Sequence[str]) -> tuple[bool, ...]:
    """Which parts of a path say which one, not what: a number, three digits in it, a long hexadecimal text, or what may
    be a credential.
    """
    secret = hidden_parts(segments)
    return tuple(hidden or bool(_VARIES.fullmatch(part)) for hidden, part in zip(secret, segments, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """What tells alike calls apart, each as a short hash."""

    address: str
    headers: str  # but those that make no call another, or follow from the body
    body: str


def print_of(call: Call) -> Print:
    """What tells this call from those that are like it."""
    headers = [[name.lower(), value] for name, value in call.headers if name.lower() not in _FOLLOWING]
    body = f"of {call.body_bytes} bytes" if call.body_sha256 is None else b64u(call.body_sha256)
    return Print(address=_short(call.url), headers=_short(headers), body=_short(body))


def difference(prints: Collection[Print]) -> str:
    """How many ways there are in which alike calls differ, in one sentence: it is said before all are decided at once.

    `3 different addresses and 2 different bodies; all have the same headers`
    """
    ways = {
        "addresses": len({each.address for each in prints}),
        "sets of headers": len({each.headers for each in prints}),
        "bodies": len({each.body for each in prints}),
    }
    same = " and ".join(_SAME[what] for what, count in ways.items() if count == 1)
    other = " and ".join(f"{count} different {what}" for what, count in ways.items() if count > 1)
    return "; ".join(filter(None, (other, same and f"all have the same {same}")))


_SAME = {"addresses": "address", "sets of headers": "headers", "bodies": "body"}


def _short(value: Json) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:_PRINT_CHARS]


def _group(key: Likeness, members: list[HeldCall]) -> Group:
    agent, method, route, code = key
    return Group(
        id=group_id(key),
        agent=agent,
        method=method,
        route=route,
        code=code,
        holds=tuple(sorted(members, key=lambda each: (each.hold.filed_at, each.hold.id))),
    )
