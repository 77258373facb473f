"""What the stream of hold events says, followed by every worker for its life: who waits is woken, what is being sent
anywhere is remembered on this node's disk, and what people decided is written to the journal.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from proxy.audit.records import hold_fields
from proxy.audit.reviews import given_fields, is_reviewers, review_fields
from proxy.claims import LONGEST_RELEASE
from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import Bundle, HoldState
from proxy.core.resolution import read_resolution
from proxy.core.stored import stored_from_bytes
from proxy.ports import Consumed, Followed, HoldNews, Holds, Journal, Missed, Vault
from proxy.recalls import Recalls
from proxy.waits import REVIEW_POLL_S

logger = logging.getLogger(__name__)

_RESOLVED = frozenset({HoldState.RELEASED, HoldState.CANCELLED})
_SENDING = frozenset({HoldState.RELEASING, HoldState.RELEASED, HoldState.UNCERTAIN})


class News:
    """The events of one store's holds, as one worker follows them."""

    def __init__(
        self,
        *,
        bundle: Callable[[], Bundle],
        holds: Holds,
        consumed: Consumed,
        vault: Vault,
        journal: Journal,
        followed: Followed,
        recalls: Recalls,
        wake: Callable[[HoldNews], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._bundle = bundle
        self._holds = holds
        self._consumed = consumed
        self._vault = vault
        self._journal = journal
        self._followed = followed
        self._recalls = recalls
        self._wake = wake
        self._clock = clock

    async def follow(self, *, record: bool) -> None:
        """Wake waiting calls when their hold changes, for the life of the worker; loss only costs the poll.

        With `record` the decisions of reviewers, who have no journal of their own, are written to this worker's.
        """
        while True:
            try:
                async for news in self._holds.news(await self._followed.go_on(self._holds)):
                    self._wake(news)
                    if news.state in _SENDING:
                        await self._note_sending(news)
                    resolved = record and news.state in _RESOLVED and await self._record_resolution(news)
                    if record and not resolved and is_reviewers(news.state, news.version):
                        await self._record_review(news)
                    self._followed.passed(news.cursor)
            except Missed:
                with suppress(Unavailable):
                    await self._followed.missed(self._holds)
            except Unavailable as fault:
                logger.error("events of holds are not followed for now: %s", fault.detail)
                await asyncio.sleep(REVIEW_POLL_S)

    async def _note_sending(self, news: HoldNews) -> None:
        """Remember on this node's disk what any node sends; only the node that claimed it can say it did not.

        Raises:
            Unavailable: it may not be on disk, so this event is not passed.
        """
        sent = news.state is not HoldState.RELEASING
        number, until = news.version - sent, self._clock() + LONGEST_RELEASE
        await self._consumed.seen(news.hold_id, number, sent=sent, until=until)

    async def _record_review(self, news: HoldNews) -> None:
        """Write a reviewer's decision down as theirs if their statement verifies, else as nobody's."""
        try:
            hold = await self._holds.get(news.hold_id)
            if hold is None:
                return
            sealed = await self._holds.sealed(hold.id)
            filed = None if sealed is None else stored_from_bytes(self._vault.unseal(hold.id, sealed))
        except Rejected as fault:  # somebody wrote to the store by hand: whoever asks for this hold is refused
            logger.error("hold %s cannot be read: %s", ascii(news.hold_id)[:80], fault.detail)
            return
        then = replace(hold, state=news.state)
        gone = None if filed is None else self._recalls.lapsed(then, filed)
        fields = review_fields(then, news.version, self._bundle(), now=self._clock(), filed=filed, lapsed=gone)
        await self._journal.append("hold", fields)
        given = given_fields(then, news.version, self._bundle(), now=self._clock(), filed=filed)
        if given is not None:
            await self._journal.append("hold", given)
        with suppress(Unavailable):  # whoever wants to send it looks again
            await self._recalls.checked(hold)  # released during a stop, by a program that did not ask

    async def _record_resolution(self, news: HoldNews) -> bool:
        """Write down what a person found out about a call of which nobody knew whether it had arrived, if one did."""
        with suppress(Rejected):  # sent, or withdrawn: no resolution was signed
            hold = await self._holds.get(news.hold_id)
            if hold is None or hold.statement is None:
                return False
            now = self._clock()
            said = read_resolution(hold.statement, hold=hold, bundle=self._bundle(), barred=frozenset(), now=now)
            hold = replace(hold, decided_by=said.by, decided_with=said.means, reason=said.reason)
            await self._journal.append("hold", hold_fields(hold, said.found.event.value))
            return True
        return False
