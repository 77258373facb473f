"""One receiver, served for itself: nobody waits for another's, and a restart loses nothing.

Where it is in the stream of events, up to when the clock was looked at, and which messages it took last are noted in
the store after every message. One process at a time serves it; another takes over when that one is gone. What is not
taken is tried again, later each time, for a day.
"""

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from standardwebhooks import Webhook as Signer

from proxy.core.encoding import from_epoch, to_epoch
from proxy.core.errors import Rejected, Unavailable
from proxy.policy.webhooks import Target, Webhook, read_target
from proxy.ports import Holds, Marks, Missed, Secrets
from proxy.review.notify.notices import Notice, written
from proxy.review.notify.noticing import Noticing
from proxy.review.notify.posting import Postman, Reply
from proxy.review.notify.secret import read_signing_secret

logger = logging.getLogger(__name__)

LEASE_S = 20
NOTE_S = 5.0
RETRY_S = (1.0, 5.0, 30.0, 120.0, 300.0)
"""How long after a failure a message is sent again; after the last of them, always so long."""
TRIES_REFUSED = 3
GIVE_UP_AFTER = timedelta(days=1)
RECENT = 200
"""So many messages that were taken are remembered: an event that is read twice is told once."""

_OF_THE_MESSAGE = frozenset({400, 410, 413, 414, 415, 422})
"""Answers that speak of this message: trying again changes nothing, and others need not wait for it."""


def url_secret(webhook: Webhook) -> str:
    """By what name its URL is among the secrets."""
    return f"webhook {webhook.name} url"


def signing_secret(webhook: Webhook) -> str:
    """By what name what signs its messages is among the secrets."""
    return f"webhook {webhook.name} secret"


class Sender:
    """Writes, signs and posts messages to one receiver."""

    def __init__(self, webhook: Webhook, *, postman: Postman, secrets: Secrets, clock: Callable[[], datetime]) -> None:
        self.webhook = webhook
        self._postman = postman
        self._secrets = secrets
        self._clock = clock

    async def send(self, notice: Notice) -> Reply:
        """Send a message once.

        Raises:
            Rejected: it may not be reached, or what proxy.yaml says of it cannot be used.
            Unavailable: it cannot be reached, or its secret cannot be read.
        """
        webhook = self.webhook
        body = written(notice, webhook.format)
        return await self._postman.post(self._target(), body, self._signed(notice, body), allowed=webhook.addresses)

    def _target(self) -> Target:
        webhook = self.webhook
        return webhook.target or read_target(self._secrets.current(url_secret(webhook)), over_http=webhook.over_http)

    def _signed(self, notice: Notice, body: str) -> Mapping[str, str]:
        """The headers of Standard Webhooks. Slack looks at none, so there the secret may be missing."""
        if self.webhook.secret is None:
            return {}
        key = read_signing_secret(self._secrets.current(signing_secret(self.webhook)))
        now = self._clock().astimezone(UTC)
        return {
            "webhook-id": notice.id,
            "webhook-timestamp": str(to_epoch(now)),
            "webhook-signature": Signer(key).sign(notice.id, now, body),
        }


@dataclass(slots=True, kw_only=True)
class Mark:
    """How far a receiver was told."""

    cursor: str
    looked: datetime
    recent: list[str] = field(default_factory=list)

    def text(self) -> str:
        looked = to_epoch(self.looked)
        return json.dumps({"cursor": self.cursor, "looked": looked, "recent": self.recent}, separators=(",", ":"))


def read_mark(text: str) -> Mark | None:
    """A mark as it was noted; None where there is none that can be read."""
    with suppress(ValueError, OverflowError, OSError, RecursionError):
        match json.loads(text):
            case {"cursor": str(cursor), "looked": int(looked), "recent": [*recent]}:
                return Mark(cursor=cursor, looked=from_epoch(looked), recent=list(map(str, recent))[-RECENT:])
    return None


class _Lost(Exception):
    """Somebody else serves this receiver now."""


class Receiver:
    """Tells one receiver everything it wants to know, in the order in which it happened."""

    def __init__(
        self,
        sender: Sender,
        *,
        noticing: Noticing,
        holds: Holds,
        marks: Marks,
        clock: Callable[[], datetime],
        owner: str,
        look_s: float,
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        """`owner` names this process among those of the deployment; `look_s` is how often the clock is looked at."""
        self._sender = sender
        self._name = f"webhook:{sender.webhook.name}"
        self._noticing = noticing
        self._holds = holds
        self._marks = marks
        self._clock = clock
        self._owner = owner
        self._look_s = look_s
        self._retry_s = retry_s
        self._mark = Mark(cursor="", looked=clock())
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Serve it, for the life of the process."""
        try:
            while True:
                try:
                    text = await self._marks.take(self._name, self._owner, for_s=LEASE_S)
                    if text is not None:
                        await self._begin(text)
                        await self._serve()
                except _Lost:
                    logger.warning("receiver %s is served by another process now", self._sender.webhook.name)
                except (Unavailable, Rejected) as fault:
                    logger.error("receiver %s is told nothing for now: %s", self._sender.webhook.name, fault.detail)
                except Exception as fault:  # noqa: BLE001 (an error of ours must not silence the others, nor this one)
                    logger.error("receiver %s: an error of ours: %s", self._sender.webhook.name, type(fault).__name__)
                await asyncio.sleep(1.0)
        finally:
            with suppress(Unavailable, asyncio.CancelledError):
                await asyncio.shield(self._marks.leave(self._name, self._owner))

    async def _begin(self, text: str) -> None:
        """Go on where it was noted; who is told for the first time, from now on."""
        mark = read_mark(text)
        if mark is None:
            mark = Mark(cursor=await self._holds.cursor(), looked=self._clock())
        self._mark = mark
        await self._note()

    async def _serve(self) -> None:
        tasks = [asyncio.ensure_future(work) for work in (self._follow(), self._look(), self._keep())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                async for news in self._holds.news(self._mark.cursor):
                    notice = await self._noticing.of_news(news)
                    await self._tell_all(() if notice is None else (notice,), then=news.cursor)
            except Missed:
                now = await self._holds.cursor()
                lost = self._noticing.missed(self._mark.cursor)
                await self._tell_all((lost, *await self._noticing.waiting()), then=now)

    async def _tell_all(self, notices: Sequence[Notice], *, then: str) -> None:
        """Tell these, and note that everything up to there was told."""
        async with self._one_at_a_time:
            for notice in notices:
                await self._tell(notice)
            self._mark.cursor = then
            if notices:
                await self._note()

    async def _look(self) -> None:
        while True:
            now = self._clock()
            for notice in await self._noticing.between(self._mark.looked, now):
                async with self._one_at_a_time:
                    await self._tell(notice)
            self._mark.looked = now
            await asyncio.sleep(self._look_s)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(NOTE_S)
            await self._note()

    async def _note(self) -> None:
        if not await self._marks.note(self._name, self._owner, self._mark.text(), for_s=LEASE_S):
            raise _Lost

    async def _tell(self, notice: Notice) -> None:
        """Send a message until it is taken, or nobody would want it any more."""
        if not self._sender.webhook.wants(notice.about) or notice.id in self._mark.recent:
            return
        name, tries = self._sender.webhook.name, 0
        until = self._clock() + GIVE_UP_AFTER
        while True:
            tries += 1
            why, wait_s = await self._try(notice)
            if not why:
                break
            if (wait_s is None and tries >= TRIES_REFUSED) or self._clock() >= until:
                logger.error("receiver %s was not told of %s, and will not be: %s", name, notice.id, why)
                break
            if tries == 1:
                logger.error("receiver %s was not told of %s, and will be later: %s", name, notice.id, why)
            pause_s = self._retry_s[min(tries, len(self._retry_s)) - 1]
            await asyncio.sleep(max(wait_s or 0.0, pause_s * random.uniform(0.9, 1.1)))  # noqa: S311 (spreads load)
        if not why and tries > 1:
            logger.warning("receiver %s was told of %s at the %dth try", name, notice.id, tries)
        self._mark.recent = [*self._mark.recent, notice.id][-RECENT:]

    async def _try(self, notice: Notice) -> tuple[str, float | None]:
        """Why a message was not taken ("": it was), and how long to wait at least; None: it speaks of this message."""
        try:
            reply = await self._sender.send(notice)
        except (Rejected, Unavailable) as fault:
            return fault.detail, 0.0
        if reply.taken:
            return "", 0.0
        redirect = "; redirects are not followed" if 300 <= reply.status < 400 else ""
        why = f"it answered {reply.status}{redirect}"
        return why, None if reply.status in _OF_THE_MESSAGE else float(reply.retry_after_s or 0)
