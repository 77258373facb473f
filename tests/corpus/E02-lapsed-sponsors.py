"""Sponsors whose certification has ended: what they signed before passes to a competent deputy for a week."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from attacks import Case, against
from shots import Shot, leaf_under
from streets import Street

ANY_WAY = True  # also as an agent that knows of no proxy

HOUR = timedelta(hours=1)


class SignedBy:
    """A chain of this sponsor's agent, signed an hour before or after the certification's end, which is past or far."""

    def __init__(self, sponsor: str, *, after: bool = False) -> None:
        self._sponsor, self._after = sponsor, after

    def __call__(self, street: Street) -> Sequence[str]:
        ended_at = min(street.house.bundle.people[self._sponsor].certified_until, datetime.now(UTC))
        signed_at = ended_at + (HOUR if self._after else -HOUR)
        root = street.house.root(
            sub=f"{self._sponsor}-bot", sponsor=self._sponsor, iat=signed_at, nbf=signed_at, may_delegate_to=()
        )
        return root, leaf_under(root)


def cases(way: str) -> Iterator[Case]:
    certified, in_grace = Shot(chain=SignedBy("cleo")), Shot(chain=SignedBy("emil"))
    for name, base, chain in (
        ("the sponsor lapsed and has no deputy", certified, SignedBy("dora")),
        ("the sponsor signed after the lapse", in_grace, SignedBy("emil", after=True)),
        ("the deputy's week is over", in_grace, SignedBy("fred")),
        ("the deputy lapsed, too", in_grace, SignedBy("gina")),
    ):
        yield against("E02", name, way, base, {"chain": chain}, code="sponsor.lapsed")
