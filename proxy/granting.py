"""Route grants as the gate sees them: found for a call, read and checked on every use, counted once each.

Nothing passes on what the store says: the statement is verified here, and each use takes its number in this node's own
memory before anything is sent, so that a count that was set back lets nothing pass twice here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from proxy.audit.records import grant_fields
from proxy.core.control import ControlView
from proxy.core.errors import Rejected
from proxy.core.grants import RouteGrant, check_grantable, check_use, read_grant
from proxy.core.model import Bundle, Call, Decision, HoldState
from proxy.identify import Identity
from proxy.ports import Consumed, Grants, Holds, Journal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use of a grant: the number says which."""

    grant: RouteGrant
    number: int


class Granting:
    """The grants of one worker's calls."""

    def __init__(
        self,
        *,
        bundle: Callable[[], Bundle],
        grants: Grants,
        holds: Holds,
        consumed: Consumed,
        journal: Journal,
        digest: Callable[[Identity, Call], str],
        clock: Callable[[], datetime],
    ) -> None:
        self._bundle = bundle
        self._grants = grants
        self._holds = holds
        self._consumed = consumed
        self._journal = journal
        self._digest = digest
        self._clock = clock

    async def find(
        self, identity: Identity, call: Call, decision: Decision, view: ControlView
    ) -> tuple[RouteGrant, ...]:
        """The grants that let this call pass, the one that ends first before the others; none where it was denied.

        `decision` is the one that holds the call. What a person said about the very call comes before what they said
        of calls like it: one that was denied, or may have been sent, is not sent under a grant; nor one that is held
        and that a node sends by itself once it is released, for then it would be sent twice.

        Raises:
            Rejected(HOLD_TAMPERED): the call's own hold cannot be read.
            Unavailable: the store does not answer.
        """
        try:
            check_grantable(decision)
        except Rejected:
            return ()
        found = [
            grant
            for kept in await self._grants.of_root(identity.mandate.root_id)
            if (grant := self._fits(kept.statement, identity, call, decision, view)) is not None
        ]
        if not found:
            return ()
        own = await self._holds.find(identity.mandate.root_id, self._digest(identity, call))
        if own is not None and (own.delivers or own.state is not HoldState.HELD):
            return ()
        return tuple(sorted(found, key=lambda grant: (grant.not_after, grant.id)))

    def _fits(
        self, statement: str, identity: Identity, call: Call, decision: Decision, view: ControlView
    ) -> RouteGrant | None:
        bundle, mandate = self._bundle(), identity.mandate
        try:
            grant = read_grant(statement, bundle=bundle, now=self._clock())
            check_use(grant, call=call, decision=decision, mandate=mandate, bundle=bundle, view=view)
        except Rejected:
            return None
        return grant

    async def spend(self, grants: tuple[RouteGrant, ...], decision: Decision) -> Use | None:
        """Use the first of these that is not used up; on disk and in the journal before anything is sent.

        A use counts even when its call is not sent after all: a grant lets at most so many pass.

        Raises:
            Unavailable: the store, this node's disk or the journal does not answer.
        """
        for grant in grants:
            number = await self._grants.spend(grant.id, count=grant.count)
            if number is None:
                continue
            if not await self._consumed.take(f"{grant.id}-{number}", number, until=grant.not_after):
                logger.error("grant %s: use %d was taken on this node before: its count was set back", grant.id, number)
                continue
            use = Use(grant=grant, number=number)
            await self._journal.append("grant", grant_fields(grant, number, decision_id=decision.decision_id))
            return use
        return None
