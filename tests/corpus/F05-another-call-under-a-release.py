"""A released call is these very bytes under this very mandate: changed in anything, it is another call, and is held.

The twin is the released call itself. The attack sends the other one in its place, while the release is still unused.
"""

import secrets
from collections.abc import Iterator
from dataclasses import replace

from attacks import Case
from shots import Answer, Shot, fire, leaf_under
from streets import Street

from proxy.core.model import Verdict

ANY_WAY = True  # also as an agent that knows of no proxy

HELD_ANEW = "mandate.not_covered"
CALL = Shot(
    method="POST",
    body="amount=12",
    declares="supplier-invoices",
    headers=(("Content-Type", "text/plain"), ("X-Account", "4711"), ("Authorization", "Bearer 0123456789abcdef")),
)


def _without(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(line for line in CALL.headers if line[0] != name)


def another_mandate(street: Street) -> tuple[str, str]:
    root = street.house.root()
    return root, leaf_under(root)


CHANGES: dict[str, dict[str, object]] = {
    "another body": {"body": "amount=99"},
    "no body": {"body": ""},
    "another method": {"method": "PUT"},
    "a query": {"path": "?force=1"},
    "a header changed": {"headers": (*_without("X-Account"), ("X-Account", "4712"))},
    "a header added": {"headers": (*CALL.headers, ("X-Further", "1"))},
    "a header removed": {"headers": _without("X-Account")},
    "a header twice": {"headers": (*CALL.headers, ("X-Account", "4711"))},
    "its headers in another order": {"headers": CALL.headers[::-1]},
    "another content type": {"headers": (*_without("Content-Type"), ("Content-Type", "text/html"))},
    "other credentials": {"headers": (*_without("Authorization"), ("Authorization", "Bearer stolen"))},
    "no credentials": {"headers": _without("Authorization")},
    "no declaration": {"declares": ""},
    "another declared cluster": {"declares": "partner-services"},
    "another mandate of the same agent": {"chain": another_mandate},
}


def cases(way: str) -> Iterator[Case]:
    for name, changes in CHANGES.items():
        yield _retried(way, name, CALL, changes, HELD_ANEW)
    if way == "tls":
        yield _retried(way, "weaker proof", Shot(), {"proof": "tunnel"}, "proof.too_weak")


def _retried(way: str, name: str, call: Shot, changes: dict[str, object], code: str) -> Case:
    def fresh() -> Shot:
        return replace(call, path=f"/payments/{secrets.token_hex(6)}")

    def release(street: Street, call: Shot) -> None:
        answer = fire(street, way, call)
        assert answer.code == "mandate.not_covered", answer
        street.house.decide(answer.document["task"]["id"], Verdict.ALLOW)

    def twin(street: Street) -> Answer:
        call = fresh()
        release(street, call)
        return fire(street, way, call)

    released = fresh()
    other = replace(released, **{**changes, "path": f"{released.path}{changes.get('path', '')}"})
    return Case(
        threat="F05",
        name=f"it is sent with {name}",
        way=way,
        twin=twin,
        arrange=lambda street: release(street, released),
        attack=lambda street: fire(street, way, other),
        code=code,
    )
