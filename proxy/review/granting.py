"""Releases wider than one call: how a reviewer's route grant is signed, kept and listed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.clusters import Policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.grants import (
    GRANT_TYP,
    LONGEST,
    MAX_COUNT,
    RouteGrant,
    fits_the_desk,
    grant_claims,
    read_grant,
)
from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, Means, Person, Verdict
from proxy.core.notes import check_reason
from proxy.core.release import read_release
from proxy.core.routes import covers, route_of
from proxy.core.vouching import check_no_agent
from proxy.ports import Grants
from proxy.review.drafts import Draft
from proxy.review.opened import Shown
from proxy.review.service import Outcome, Result, ReviewService

USUAL_COUNT = 100
"""How many calls a grant lets pass that was only given a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """How far beyond the held call a grant reaches, and how long. Nothing said means nothing wider."""

    path: str | None = None  # a path template that covers the held call's path
    vary: tuple[str, ...] = ()  # query parameters whose values may be others
    any_body: bool = False
    count: int | None = None  # None: `USUAL_COUNT`
    lasting: timedelta | None = None  # None: as long as any grant may


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A grant that is kept, and how often it was used. `grant` is None where its statement does not verify."""

    id: str
    grant: RouteGrant | None
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantDraft:
    """What is to be signed to release a call, and to let others like it pass."""

    release: Draft
    grant: Draft


class Granter:
    """Gives route grants, each together with the release of the call it was asked at."""

    def __init__(
        self,
        *,
        reviews: ReviewService,
        grants: Grants,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        new_nonce: Callable[[], str],
        new_id: Callable[[], str],
    ) -> None:
        self._reviews = reviews
        self._grants = grants
        self._policy = policy
        self._clock = clock
        self._new_nonce = new_nonce
        self._new_id = new_id

    async def release(
        self, hold_id: str, *, person: Person, key: PrivateKey, reason: str, width: Width
    ) -> tuple[Outcome, RouteGrant | None]:
        """Let a held call pass once, and calls like it so often and so long. Without a grant where it was not released.

        Raises:
            Rejected(HOLD_TAMPERED): as `ReviewService.show`.
            Rejected(HOLD_NOT_PERMITTED): such a call is never granted by route.
            Rejected(RELEASE_INVALID): no reason, or a width that would not cover the held call.
            Unavailable: the store does not answer; once the call is released the detail says so.
        """
        drafted = await self.draft(hold_id, person=person, reason=reason, width=width)
        if isinstance(drafted, Outcome):
            return drafted, None
        return await self.record(hold_id, drafted.release.signed(key), drafted.grant.signed(key))

    async def draft(self, hold_id: str, *, person: Person, reason: str, width: Width) -> GrantDraft | Outcome:
        """The two statements that `person` would sign; or why they cannot. Raises: as `release`."""
        check_reason(reason, needed="a scope wider than one call")
        release = await self._reviews.draft(hold_id, Verdict.ALLOW, person=person, reason=reason)
        if isinstance(release, Outcome):
            return release
        assert release.call is not None
        filed, now = release.call.stored, self._clock()
        release.call.check_grantable()
        count, lasting = USUAL_COUNT if width.count is None else width.count, width.lasting or LONGEST
        claims = grant_claims(
            route_of(filed.call, path=width.path, vary=width.vary, any_body=width.any_body),
            grant_id=self._new_id(),
            filed=filed,
            by=person.id,
            count=count,
            reason=reason,
            deployment=self._policy().bundle.deployment,
            now=now,
            not_after=now + lasting,
            nonce=self._new_nonce(),
        )
        means = release.means if fits_the_desk(count, lasting) else release.means - {Means.DESK}
        grant = Draft(hold=release.hold, call=release.call, typ=GRANT_TYP, claims=claims, means=means)
        return GrantDraft(release=release, grant=grant)

    async def record(self, hold_id: str, release: str, grant: str) -> tuple[Outcome, RouteGrant | None]:
        """Record a signed release and the signed route grant that is given with it, whoever signed them and where.

        Raises: as `release`, and `ReviewService.record`.
        """
        held = await self._reviews.show(hold_id)
        if held.shown is not None:
            try:
                given = self._read(grant, release, held.hold, held.shown)
            except Rejected as fault:
                return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=held.hold), None
        outcome = await self._reviews.record(hold_id, release, grant=grant)
        if outcome.result is not Result.DONE or held.shown is None:
            return outcome, None
        try:
            await self._grants.put(given.id, grant, root_id=given.root_id, until=given.not_after)
        except Unavailable as fault:
            detail = (
                f"{outcome.detail}, this call alone: nobody knows whether grant {given.id} was kept ({fault.detail})"
            )
            raise Unavailable(fault.code, f"{detail}; grants list says") from None
        return outcome, given

    def _read(self, grant: str, release: str, hold: Hold, shown: Shown) -> RouteGrant:
        """A grant that goes with the release of this hold: by the same person, for calls like it, as a node reads it.

        Raises:
            Rejected: any of it does not hold.
        """
        bundle, now, filed = self._policy().bundle, self._clock(), shown.stored
        meant, barred = shown.meant(hold), shown.barred
        shown.check_grantable()
        given = read_grant(grant, bundle=bundle, now=now)
        said = read_release(release, hold=meant, bundle=bundle, barred=barred, now=now)
        check_no_agent(given.kid, bundle, barred)
        like = (given.by, given.hold_id, given.root_id, given.sub_path, given.proof)
        if like != (said.by, hold.id, hold.root_id, filed.sub_path, filed.proof) or not covers(given.route, filed.call):
            detail = f"grant {given.id} does not belong to this release of hold {hold.id}"
            raise Rejected(Code.RELEASE_INVALID, detail, field="grant")
        return given

    async def listing(self) -> tuple[Listed, ...]:
        """Every grant that is kept and has not ended."""
        bundle, now = self._policy().bundle, self._clock()

        def read(statement: str) -> RouteGrant | None:
            try:
                return read_grant(statement, bundle=bundle, now=now)
            except Rejected:
                return None

        return tuple(
            Listed(id=kept.id, grant=read(kept.statement), used=kept.used) for kept in await self._grants.every()
        )


def check_width(width: Width) -> None:
    """Refuse bounds that no grant may have, before anybody is asked to sign.

    Raises:
        Rejected(RELEASE_INVALID)
    """
    if width.count is None and width.lasting is None:
        raise Rejected(Code.RELEASE_INVALID, "a grant needs an end: say how long (--for) or how often (--count)")
    if width.count is not None and not 1 <= width.count <= MAX_COUNT:
        raise Rejected(Code.RELEASE_INVALID, f"count must be from 1 to {MAX_COUNT}, got {width.count}", field="count")
    if width.lasting is not None and not timedelta(seconds=1) <= width.lasting <= LONGEST:
        hours = LONGEST // timedelta(hours=1)
        raise Rejected(Code.RELEASE_INVALID, f"a grant may last 1 second to {hours} hours", field="until")
