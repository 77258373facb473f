"""What happens, as messages: read from the events of holds, and from the clock where time alone makes it so.

Names and words are told only where a verified statement bears them out, as everywhere.
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.model import Bundle, Hold, HoldState, Manifest
from proxy.core.notes import Note, NoteAct
from proxy.core.release import Release
from proxy.core.resolution import Found, Resolution, read_resolution
from proxy.core.reviewed import Lapsed, Word, said_at
from proxy.core.reviewers import rungs
from proxy.core.shown import any_of, shown
from proxy.policy.webhooks import About
from proxy.ports import HoldNews, Holds
from proxy.review.notify.notices import Notice, asks_for, notice_id, plain_notice
from proxy.review.opened import HeldCall, Reader, as_signed, held_call
from proxy.review.times import instant, span
from proxy.review.updates import Proposal

logger = logging.getLogger(__name__)

REMINDERS = (timedelta(days=7), timedelta(days=1))
"""How long before its end a manifest is spoken of, unless it was signed later than that."""

MOST_HELD = 5_000
"""So many held calls are looked at for whose turn it is; the newest."""

_REMEMBERED = 10_000
_HELD = frozenset({HoldState.HELD})
_DECIDED = frozenset({HoldState.APPROVED, HoldState.DENIED, HoldState.CANCELLED})
_VERBS = {HoldState.APPROVED: "released", HoldState.DENIED: "denied", HoldState.CANCELLED: "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where people look, as URLs that messages end with."""

    desk: str  # "https://desk.example"

    def hold(self, hold_id: str) -> str:
        return f"{self.desk}/holds/{quote(hold_id, safe='')}"

    def proposals(self, proposal_id: str = "") -> str:
        """Where proposed manifests are, and those that end soon; or one proposal."""
        return f"{self.desk}/proposals{'/' if proposal_id else ''}{quote(proposal_id, safe='')}"


async def _none() -> Sequence[Proposal]:
    return ()


class Noticing:
    """Reads the store for what is worth a message. It opens held calls, so it runs where the proxy's secret is."""

    def __init__(
        self,
        *,
        holds: Holds,
        reader: Reader,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        view: Callable[[], ControlView] = ControlView,
        places: Places,
        manifests: Callable[[], Sequence[Manifest]] = tuple,
        proposals: Callable[[], Awaitable[Sequence[Proposal]]] = _none,
    ) -> None:
        """`manifests` are the ones that sponsors signed and that are in use; `proposals` wait for a sponsor; `view`
        is what is stopped.
        """
        self._holds = holds
        self._reader = reader
        self._view = view
        self._policy = policy
        self._clock = clock
        self._places = places
        self._manifests = manifests
        self._proposals = proposals
        self._asked: OrderedDict[str, str] = OrderedDict()

    @property
    def _bundle(self) -> Bundle:
        return self._policy().bundle

    # --- from the stream ---------------------------------------------------------------------------------------------

    async def of_news(self, news: HoldNews) -> Notice | None:
        """The message about one event of a hold; None where it is worth none.

        Raises:
            Unavailable: the store does not answer.
        """
        try:
            hold = await self._holds.get(news.hold_id)
            if hold is None:
                return None
            return self._about(news, await self._open(hold))
        except Rejected as fault:  # changed by hand: nobody can release it, and it must not stop other messages
            logger.error("hold %s cannot be told of: %s", ascii(news.hold_id)[1:81], fault.detail)
            return None

    def _about(self, news: HoldNews, held: HeldCall) -> Notice | None:
        match news.state:
            case HoldState.HELD if news.version == 1:
                return self._filed(held)
            case HoldState.HELD:
                return self._said(news, held)
            case HoldState.EXPIRED:
                said = "Nobody decided in time, so it was not sent" if held.hold.decided_by is None else _UNSENT
                return self._notice(About.EXPIRED, held, f"{said}: {self._wish(held)}.", news=news)
            case HoldState.UNCERTAIN:
                said = "Nobody knows whether this call arrived; it is not sent again. Find out, then say so at the desk"
                return self._notice(About.UNCERTAIN, held, f"{said}: {self._wish(held)}.", news=news)
            case HoldState.APPROVED | HoldState.DENIED | HoldState.CANCELLED | HoldState.RELEASED:
                found = self._resolution(held.hold)
                if found is not None and news.state in (HoldState.CANCELLED, HoldState.RELEASED):
                    return self._resolved(news, held, found)
                return self._decided(news, held) if news.state in _DECIDED else None
        return None

    async def _open(self, hold: Hold) -> HeldCall:
        held = held_call(hold, await self._reader.open(hold), self._bundle, self._clock(), self._view())
        if held.shown is not None:
            self._asked[hold.id] = asks_for(held.shown.stored.call)
            if len(self._asked) > _REMEMBERED:
                self._asked.popitem(last=False)
        return held

    def _filed(self, held: HeldCall) -> Notice:
        hold = held.hold
        text = f"{self._wish(held)}; held until {instant(hold.expires_at)} for {any_of(held.deciders) or 'nobody'}"
        over = "" if hold.state is HoldState.HELD else f" It is {hold.state.value} by now."
        return self._notice(About.FILED, held, f"{text} ({hold.code.value}, {hold.risk.value}).{over}")

    def _said(self, news: HoldNews, held: HeldCall) -> Notice | None:
        word = self._word(news, held)
        if isinstance(word, Release):
            some = f"{len(held.signers)} of {held.hold.quorum}"
            text = f"{word.by} released it, {some}, and others must, too: {self._wish(held)}."
            return self._notice(About.SIGNED, held, text, str(news.version), by=word.by)
        if isinstance(word, Note) and word.act is NoteAct.ESCALATE:
            text = f"{word.by} escalated it, {any_of(held.deciders)} may decide now: {self._wish(held)}."
            return self._notice(About.ESCALATED, held, text, str(news.version), by=word.by)
        lapsed = next((each for each in held.said if isinstance(each, Lapsed)), None)
        if word is None and lapsed is not None and held.hold.version == news.version:
            text = f"The release by {lapsed.by} counts no more ({lapsed.reason}); it waits again: {self._wish(held)}."
            return self._notice(About.LAPSED, held, text, str(news.version), by=lapsed.by)
        return None

    def _word(self, news: HoldNews, held: HeldCall) -> Word | None:
        call = held.shown
        meant, barred = (held.hold, frozenset[str]()) if call is None else (call.meant(held.hold), call.barred)
        return said_at(news.version, meant, self._bundle, barred=barred, now=self._clock())

    def _decided(self, news: HoldNews, held: HeldCall) -> Notice:
        then = as_signed(replace(held.hold, state=news.state), self._bundle, now=self._clock())
        by, verb = then.decided_by, _VERBS[news.state]
        if by is None and news.state is HoldState.CANCELLED:
            word = self._word(news, held)
            by = word.by if isinstance(word, Note) else None
        if by is not None:
            text = f"{by} {verb} it: {self._wish(held)}."
        elif news.state is HoldState.CANCELLED:
            text = f"It was withdrawn: {self._wish(held)}."
        else:
            said = f"It is marked {news.state.value}, and no reviewer's signature says so: tell an operator"
            text = f"{said}. {self._wish(held)}."
        return self._notice(About.DECIDED, held, text, news.state.value, news=news, by=by)

    def _resolution(self, hold: Hold) -> Resolution | None:
        if hold.statement is None:
            return None
        with suppress(Rejected):
            now = self._clock()
            return read_resolution(hold.statement, hold=hold, bundle=self._bundle, barred=frozenset(), now=now)
        return None

    def _resolved(self, news: HoldNews, held: HeldCall, found: Resolution) -> Notice:
        said = "arrived" if found.found is Found.ARRIVED else "did not arrive, and its agent may ask anew"
        text = f"{found.by} found out that this call {said}: {self._wish(held)}."
        return self._notice(About.RESOLVED, held, text, news=news, by=found.by)

    # --- from the clock ----------------------------------------------------------------------------------------------

    async def between(self, since: datetime, now: datetime) -> tuple[Notice, ...]:
        """What time alone has brought about after `since` and up to `now`: turns, reminders, proposals.

        Raises:
            Unavailable: the store does not answer.
        """
        found = [notice async for notice in self._turns(since, now)]
        due, view = (each for each in self._manifests() if _due(each, since, now)), self._view()
        found += (self._reminder(each) for each in due if not view.revokes(each))  # nobody renews what was revoked
        found += [self._proposed(each) for each in await self._proposals() if since < each.at <= now]
        return tuple(found)

    async def _turns(self, since: datetime, now: datetime) -> AsyncIterator[Notice]:
        for hold in await self._holds.listing(states=_HELD, limit=MOST_HELD):
            if not any(since < rung.since <= now for rung in rungs(hold, self._bundle, at=now)[1:]):
                continue  # as the store says; what is sealed is asked next
            try:
                held = await self._open(hold)
            except Rejected:
                continue
            meant = hold if held.shown is None else held.shown.meant(hold)
            for rung in rungs(meant, self._bundle, at=now)[1:]:
                if since < rung.since <= now:
                    names = any_of(rung.people)
                    text = f"{names} may decide it now, too, until {instant(hold.expires_at)}: {self._wish(held)}."
                    yield self._notice(About.TURN, held, text, *rung.people, at=rung.since)

    def _reminder(self, manifest: Manifest) -> Notice:
        left = span(manifest.exp - self._clock())
        renew = f"intent-proxy manifest renew --agent {manifest.sub}"
        text = f"The manifest of {manifest.sub} ends in {left}; {manifest.sponsor_id} signs the next one ({renew})."
        days = str(sum(manifest.exp - self._clock() <= each for each in REMINDERS))
        return Notice(
            id=notice_id(self._bundle.deployment, About.EXPIRING, manifest.id, days),
            about=About.EXPIRING,
            at=self._clock(),
            text=text,
            link=self._places.proposals(),
            facts={
                "deployment": self._bundle.deployment,
                "agent": manifest.sub,
                "sponsor": manifest.sponsor_id,
                "manifest": manifest.id,
                "expires_at": instant(manifest.exp),
            },
        )

    def _proposed(self, found: Proposal) -> Notice:
        text = f"{found.author} proposes a new manifest for {found.agent}; {found.sponsor} may sign it."
        return Notice(
            id=notice_id(self._bundle.deployment, About.PROPOSED, found.id),
            about=About.PROPOSED,
            at=found.at,
            text=text,
            link=self._places.proposals(found.id),
            facts={
                "deployment": self._bundle.deployment,
                "proposal": found.id,
                "agent": found.agent,
                "sponsor": found.sponsor,
                "by": found.author,
            },
        )

    # --- after a gap ----------------------------------------------------------------------------------------------

    async def waiting(self) -> tuple[Notice, ...]:
        """A message about every call that waits for a person, oldest first: what to tell after events were lost.

        Raises:
            Unavailable: the store does not answer.
        """
        found: list[Notice] = []
        for hold in reversed(await self._holds.listing(states=_HELD, limit=MOST_HELD)):
            with suppress(Rejected):
                found.append(self._filed(await self._open(hold)))
        return tuple(found)

    def missed(self, cursor: str) -> Notice:
        """That events were lost; what waits is told anew."""
        text = "The store lost events of holds, so that some messages were never made. What waits now is told anew."
        return plain_notice(
            About.MISSED, text, cursor, deployment=self._bundle.deployment, link=self._places.desk, now=self._clock()
        )

    # --- the words ---------------------------------------------------------------------------------------------------

    def _wish(self, held: HeldCall) -> str:
        asked = self._asked.get(held.hold.id, "what its call said, which is deleted")
        return f"{shown(held.hold.agent)} wants {asked}"

    def _notice(
        self,
        about: About,
        held: HeldCall,
        text: str,
        *what: str,
        news: HoldNews | None = None,
        at: datetime | None = None,
        by: str | None = None,
    ) -> Notice:
        hold = held.hold
        open_still = hold.state is HoldState.HELD
        facts: dict[str, Json] = {
            "deployment": self._bundle.deployment,
            "hold": shown(hold.id),  # of a hold that is over, only the store says these
            "agent": shown(hold.agent),
            "sponsor": shown(hold.sponsor),
            "asks": self._asked.get(hold.id),
            "code": hold.code.value,
            "risk": hold.risk.value,
            "state": (hold.state if news is None else news.state).value,
            "expires_at": instant(hold.expires_at),
            "may_decide": list(held.deciders) if open_still else [],
            "released_by": list(held.signers) if open_still else [],
            "quorum": hold.quorum,
            "by": by,
        }
        return Notice(
            id=notice_id(self._bundle.deployment, about, hold.id, *what),
            about=about,
            at=at or self._clock(),
            text=text,
            link=self._places.hold(hold.id),
            facts={name: value for name, value in facts.items() if value not in (None, [])},
        )


_UNSENT = "It was released, and not sent in time"


def _due(manifest: Manifest, since: datetime, now: datetime) -> bool:
    moments = (manifest.exp - before for before in REMINDERS)
    return any(manifest.iat < moment and since < moment <= now < manifest.exp for moment in moments)
