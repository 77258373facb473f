"""The pages that are read: what waits, one held call, the groups of alike ones. Reading a call is written down."""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.responses import RedirectResponse, Response

from proxy.audit.lines import Kind
from proxy.audit.records import review_fields
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Hold
from proxy.review.desk import words
from proxy.review.desk.bodies import body_view
from proxy.review.desk.choices import Choices, choices
from proxy.review.desk.queue import Queue, Row, Which, Wish, queue_for, read_wish
from proxy.review.desk.statements import Statement
from proxy.review.desk.visits import Refused, Visit
from proxy.review.groups import group_id
from proxy.review.opened import HeldCall

NEXT_ROWS = 6
MOST_IN_GROUP = 200
"""So many of a group are decided together: as many as somebody can look at."""
_READS_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a page asks a person's passkey to sign."""

    word: str  # under which the desk keeps it
    statement: Statement
    options: str  # for `navigator.credentials.get`, in JSON
    left: int  # how many of a group come after it


@dataclass(frozen=True, slots=True)
class Readings:
    """Which calls were read in which session: each is written down once."""

    _known: "OrderedDict[tuple[str, str, str], None]" = field(default_factory=OrderedDict)

    async def note(self, visit: Visit, event: str, hold: Hold) -> None:
        """Write down that this person reads this call, unless that was done.

        Raises:
            Unavailable: it could not be written down, and so must not be shown.
        """
        about = visit.session.id, event, hold.id
        if about in self._known:
            return
        fields = review_fields(event, visit.person.id, session=visit.session.id, hold=hold)
        await visit.parts.journal.append(Kind.REVIEW, fields)
        self._known[about] = None
        if len(self._known) > _READS_REMEMBERED:
            self._known.popitem(last=False)


class Views:
    """The handlers of what is read."""

    def __init__(self) -> None:
        self._readings = Readings()

    async def first(self, visit: Visit) -> Response:
        """The one that should be looked at first; or that nothing waits."""
        queue = await queue_of(visit, Wish(which=Which.MINE), rows=1)
        if queue.rows:
            return RedirectResponse(f"/holds/{queue.rows[0].hold.id}", status_code=303)
        return visit.page("empty.html", queue=await queue_of(visit, Wish(), rows=1))

    async def queue(self, visit: Visit) -> Response:
        """Everything that waits, and that this person may see."""
        queue = await queue_of(visit, read_wish(visit.request.query_params))
        return visit.page("queue.html", queue=queue, wish=queue.wish)

    async def card(self, visit: Visit) -> Response:
        """One held call."""
        return await self.show(visit, await visit.held())

    async def reveal(self, visit: Visit) -> Response:
        """The same, and what may be credentials in it. The handler of a form: it is asked for, and written down."""
        return await self.show(visit, await visit.held(), reveal=True)

    async def check_read(self, visit: Visit, hold: Hold) -> None:
        """Whoever releases a call could read it: that it was shown to them is on record, or put there now.

        Raises:
            Unavailable: it cannot be written down, so nothing of the call but its address was shown.
        """
        await self._readings.note(visit, "read", hold)

    async def show(self, visit: Visit, held: HeldCall, *, reveal: bool = False, said: str = "") -> Response:
        """A card. `said` is what a form that was sent back gets to hear."""
        hold, shown, unread = held.hold, held.shown, ""
        if shown is not None:
            try:
                await self._readings.note(visit, "reveal" if reveal else "read", hold)
            except Unavailable as fault:
                if reveal:
                    raise
                unread = fault.detail
        queue = await queue_of(visit, Wish(which=Which.MINE), rows=NEXT_ROWS + 1)
        return visit.page(
            "card.html",
            status=422 if said else 200,
            held=held,
            hold=hold,
            shown=shown,
            standing=words.standing(hold, visit.now),
            body=None if shown is None or unread else body_view(shown.stored.call, reveal=reveal),
            url="" if shown is None else shown.stored.call.url if reveal else shown.url,
            headers=() if shown is None or unread else shown.stored.call.headers if reveal else shown.headers,
            hides=shown is not None and _hides(held),
            reveal=reveal,
            unread=unread,
            choices=choices_of(visit, held),
            earlier=() if shown is None else await visit.parts.earlier(held),
            queue=queue,
            following=tuple(row for row in queue.rows if row.hold.id != hold.id)[:NEXT_ROWS],
            said=said,
        )

    async def body(self, visit: Visit) -> Response:
        """The body, byte for byte, as a file. It may hold credentials, so it counts as having them shown."""
        held = await visit.held()
        if held.shown is None:
            raise Refused(410, "The hold is over, and its call was deleted.")
        if held.shown.body is None:
            raise Refused(410, "The body was too large to keep: compare the agent's file with its SHA-256.")
        await self._readings.note(visit, "reveal", held.hold)
        headers = {"content-disposition": f'attachment; filename="{_file_name(held.hold.id)}"'}
        return Response(held.shown.body, media_type="application/octet-stream", headers=headers)

    async def group(self, visit: Visit) -> Response:
        """Alike held calls together."""
        return await show_group(visit)

    async def release(self, visit: Visit) -> Response:
        """How a call is decided for which the desk's key is not enough."""
        return await self.confirm(visit, await visit.held())

    async def confirm(self, visit: Visit, held: HeldCall, *, status: int = 200) -> Response:
        """The same: with a passkey, from the card, or with a key of one's own, in a terminal."""
        offered = choices_of(visit, held)
        if not offered.open or not offered.own_key:
            return RedirectResponse(f"/holds/{held.hold.id}", status_code=303)
        return await self.show_confirm(visit, held, status=status)

    async def show_confirm(
        self, visit: Visit, held: HeldCall, *, status: int = 200, asked: Asked | None = None
    ) -> Response:
        """The second step. `asked`: what is to be signed, and what the browser is to ask a passkey for."""
        if held.shown is not None:
            await self._readings.note(visit, "read", held.hold)
        return visit.page(
            "confirm.html",
            status=status,
            held=held,
            hold=held.hold,
            shown=held.shown,
            standing=words.standing(held.hold, visit.now),
            choices=choices_of(visit, held),
            asked=asked,
        )

    async def propose(self, visit: Visit) -> Response:
        """The change of policy under which such calls would pass. Nothing is changed by looking."""
        held = await visit.held()
        return visit.page("propose.html", held=held, hold=held.hold, proposed=visit.parts.propose(held))

    async def help(self, visit: Visit) -> Response:
        """What the words and the keys mean."""
        return visit.page("help.html")


def choices_of(visit: Visit, held: HeldCall) -> Choices:
    """What this person may say about a hold at this page."""
    parts = visit.parts
    return choices(held, visit.person, visit.bundle, parts.signing, now=visit.now, no_passkey=visit.no_passkey)


async def queue_of(visit: Visit, wish: Wish, *, rows: int | None = None) -> Queue:
    """A person's queue, the calls of its rows opened."""
    index = visit.parts.index
    await index.first_look()

    def now() -> Queue:
        more = {} if rows is None else {"rows": rows}
        return queue_for(index.entries(), wish, visit.person, visit.bundle, now=visit.now, **more)

    found = now()
    before = [row.entry for row in found.rows]
    with suppress(Unavailable):  # then they are listed as they are known, also where something was just recorded
        await index.open_some(entry.hold.id for entry in before)
    return found if all(index.get(entry.hold.id) is entry for entry in before) else now()


async def group_rows(visit: Visit, group: str) -> tuple[Row, ...]:
    """The holds of a group that wait for a word, as many as are decided together.

    Raises:
        Rejected(HOLD_UNKNOWN): nothing of it waits.
    """
    found = await queue_of(visit, Wish(group=group), rows=MOST_IN_GROUP)
    if not group or not found.rows:
        raise Rejected(Code.HOLD_UNKNOWN, "nothing of that group waits any more")
    return found.rows


async def show_group(visit: Visit, *, said: str = "") -> Response:
    """A group, and what can be said of all of it."""
    rows = await group_rows(visit, str(visit.request.path_params["group"]))
    asks = rows[0].entry.asks
    assert asks is not None  # only what was opened is in a group
    signed = visit.parts.signing.key(visit.person, asks.meant) is not None
    return visit.page(
        "group.html",
        status=422 if said else 200,
        id=group_id(asks.alike),
        alike=asks.alike,
        rows=rows,
        one_by_one=not signed,
        no_passkey="" if signed else visit.no_passkey,
        said=said,
    )


def _hides(held: HeldCall) -> bool:
    """Whether anything of a call is shown as a hash, or hidden, that `reveal` shows."""
    assert held.shown is not None
    call = held.shown.stored.call
    return held.shown.url != call.url or held.shown.headers != call.headers or body_view(call, reveal=False).hidden


def _file_name(hold_id: str) -> str:
    return f"body-{''.join(char for char in hold_id if char.isascii() and char.isalnum())[:40]}.bin"
