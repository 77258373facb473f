"""Manifests used outside their time, made to live too long, or made for another deployment."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from attacks import Case, against
from shots import Answer, Shot, fire, leaf_under
from streets import Street

from proxy.core.manifest import parse_manifest

ANY_WAY = True  # also as an agent that knows of no proxy

DAY, HOUR, MINUTE, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)

ROOTS: dict[str, tuple[dict[str, object], str]] = {  # the attack's changes in the draft; times count from now
    "expired a second ago": ({"iat": -DAY, "nbf": -DAY, "exp": -SECOND}, "manifest.window"),
    "expired long ago": ({"iat": -60 * DAY, "nbf": -60 * DAY, "exp": -30 * DAY}, "manifest.window"),
    "not yet valid": ({"nbf": MINUTE}, "manifest.window"),
    "issued in the future": ({"iat": MINUTE, "nbf": MINUTE}, "manifest.window"),
    "made to live a day longer than permitted": ({"exp": 91 * DAY}, "manifest.lifetime"),
    "made to live for ever": ({"exp": 36_500 * DAY}, "manifest.lifetime"),
    "for another deployment": ({"deployment": "edge-other"}, "manifest.audience"),
    "for a deployment whose name begins alike": ({"deployment": "edge-test-2"}, "manifest.audience"),
    "for the deployment in capitals": ({"deployment": "EDGE-TEST"}, "manifest.audience"),
}
LEAVES: dict[str, tuple[dict[str, object], str]] = {  # the attack's changes in the claims; times count from now
    "expired a second ago": ({"iat": -MINUTE, "nbf": -MINUTE, "exp": -SECOND}, "manifest.window"),
    "not yet valid": ({"nbf": MINUTE}, "manifest.window"),
    "issued in the future": ({"iat": MINUTE, "nbf": MINUTE}, "manifest.window"),
    "made to live a minute longer than an hour": ({"exp": HOUR + MINUTE}, "manifest.lifetime"),
    "for another deployment": ({"aud": "edge-other"}, "delegation.widened"),
}


class Chain:
    """A fresh chain with these changes in its root or its leaf."""

    def __init__(self, *, root: dict[str, object] | None = None, leaf: dict[str, object] | None = None) -> None:
        self._root, self._leaf = root or {}, leaf or {}

    def __call__(self, street: Street) -> Sequence[str]:
        now = datetime.now(UTC)
        root = street.house.root(**{name: _from(now, value) for name, value in self._root.items()})
        leaf = {name: _from(now, value) for name, value in self._leaf.items()}
        claims = {
            name: int(value.timestamp()) if isinstance(value, datetime) else value for name, value in leaf.items()
        }
        return root, leaf_under(root, **claims)


def _from(now: datetime, value: object) -> object:
    return now + value if isinstance(value, timedelta) else value


def cases(way: str) -> Iterator[Case]:
    base = Shot(chain=Chain())
    for name, (changes, code) in ROOTS.items():
        yield against("E02", f"the root is {name}", way, base, {"chain": Chain(root=changes)}, code=code)
    for name, (changes, code) in LEAVES.items():
        yield against("E02", f"the leaf is {name}", way, base, {"chain": Chain(leaf=changes)}, code=code)
    yield _expires_while_in_use(way)


def _expires_while_in_use(way: str) -> Case:
    """A chain that was verified, and is remembered, ends all the same when its time is over."""
    chain: list[str] = []
    call = Shot(chain=lambda _: chain)

    def twin(street: Street) -> Answer:
        root = street.house.root()
        chain[:] = root, leaf_under(root, exp=int(datetime.now(UTC).timestamp()) + 3)
        return fire(street, way, call)

    def until_it_ends(street: Street) -> None:
        ends = parse_manifest(chain[1]).exp
        time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))  # its own deadline, not a guess of ours

    return Case(
        threat="E02",
        name="the leaf expires between two calls",
        way=way,
        twin=twin,
        arrange=until_it_ends,
        attack=lambda street: fire(street, way, call),
        code="manifest.window",
    )
