"""Alike holds: same agent, method, route and code. They are shown together, and each of them is signed for itself."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxy.core.encoding import canonical_json
from proxy.core.hiding import hidden_parts
from proxy.core.model import Call, Hold
from proxy.review.opened import HeldCall

_VARIES = re.compile(r"[0-9]+|(?:[^0-9]*[0-9]){3}.*|[0-9a-fA-F-]{8,}")
_ID_CHARS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Holds that are alike; `route` is their origin and path with `*` for every part that varies."""

    id: str
    agent: str
    method: str
    route: str
    code: str
    holds: tuple[HeldCall, ...]  # oldest first


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
