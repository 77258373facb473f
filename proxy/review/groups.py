"""Alike holds: same agent, method, route and code. They are shown together, and each of them is signed for itself."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.core.encoding import canonical_json
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


def grouped(held: Iterable[HeldCall]) -> tuple[Group, ...]:
    """The groups of these holds, the largest first. Holds whose call is gone are in none."""
    found: dict[tuple[str, str, str, str], list[HeldCall]] = {}
    for each in held:
        if each.shown is not None:
            call = each.shown.stored.call
            path = "/".join("*" if varies(part) else part for part in call.segments)
            key = (each.hold.agent, call.method, f"{call.origin}/{path}", each.hold.code.value)
            found.setdefault(key, []).append(each)
    groups = (_group(key, members) for key, members in found.items())
    return tuple(sorted(groups, key=lambda group: (-len(group.holds), group.id)))


def varies(part: str) -> bool:
    """Whether a part of a path says which one, not what: a number, three digits in it, or a long hexadecimal text."""
    return _VARIES.fullmatch(part) is not None


def _group(key: tuple[str, str, str, str], members: list[HeldCall]) -> Group:
    agent, method, route, code = key
    return Group(
        id=hashlib.sha256(canonical_json(list(key))).hexdigest()[:_ID_CHARS],
        agent=agent,
        method=method,
        route=route,
        code=code,
        holds=tuple(sorted(members, key=lambda each: (each.hold.filed_at, each.hold.id))),
    )
