"""Releases wider than one call: how a reviewer's route grant is signed, kept and listed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.clusters import Policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.grants import LONGEST, MAX_COUNT, RouteGrant, check_grantable, read_grant, state_grant
from proxy.core.keys import PrivateKey
from proxy.core.model import Person
from proxy.core.notes import check_reason
from proxy.core.routes import route_of
from proxy.ports import Grants
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
            Rejected(HOLD_UNKNOWN, HOLD_TAMPERED): as `ReviewService.show`.
            Rejected(HOLD_NOT_PERMITTED): such a call is never granted by route.
            Rejected(RELEASE_INVALID): no reason, or a width that would not cover the held call.
            Unavailable: the store does not answer; once the call is released the detail says so.
        """
        check_reason(reason, needed="a scope wider than one call")
        held = await self._reviews.show(hold_id)
        if held.shown is None:  # it is over: the release says how
            return await self._reviews.release(hold_id, person=person, key=key, reason=reason), None
        filed, bundle, now = held.shown.stored, self._policy().bundle, self._clock()
        check_grantable(filed.decision)
        statement = state_grant(
            route_of(filed.call, path=width.path, vary=width.vary, any_body=width.any_body),
            grant_id=self._new_id(),
            filed=filed,
            by=person.id,
            count=USUAL_COUNT if width.count is None else width.count,
            reason=reason,
            deployment=bundle.deployment,
            key=key,
            now=now,
            not_after=now + (width.lasting or LONGEST),
            nonce=self._new_nonce(),
        )
        outcome = await self._reviews.release(hold_id, person=person, key=key, reason=reason, grant=statement)
        if outcome.result is not Result.DONE:
            return outcome, None
        grant = read_grant(statement, bundle=bundle, now=now)
        try:
            await self._grants.put(grant.id, statement, root_id=grant.root_id, until=grant.not_after)
        except Unavailable as fault:
            detail = (
                f"{outcome.detail}, this call alone: nobody knows whether grant {grant.id} was kept ({fault.detail})"
            )
            raise Unavailable(fault.code, f"{detail}; grants list says") from None
        return outcome, grant

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
