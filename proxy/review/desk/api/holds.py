"""Held calls by the API: lists, one of them, groups, and what would have to change so that such calls pass."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response

from proxy.audit.lines import Kind
from proxy.audit.records import review_fields
from proxy.core.encoding import Json, b64u, parse_json, unb64u
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.hiding import masked_path
from proxy.core.model import Call, Hold, HoldState, Risk, StoredCall, Unread
from proxy.core.stored import stored_to_bytes
from proxy.core.urls import path_segments
from proxy.review.desk.api.operations import Asking, answer
from proxy.review.desk.api.problems import Problem
from proxy.review.desk.bodies import body_view, plain
from proxy.review.desk.index import Entry
from proxy.review.desk.queue import Order, Queue, Row, Which, Wish, place_of, queue_for
from proxy.review.desk.seeing import Concerned
from proxy.review.documents import held_json, hold_json, remarks
from proxy.review.opened import HeldCall, Shown
from proxy.review.times import instant

USUAL_ROWS = 50
MOST_ROWS = 200
MOST_OVER = 2_000
"""So many holds that are over are looked through."""
_EVERY = 1_000_000
_READS_REMEMBERED = 20_000

_WHERE = Code.HOLD_UNKNOWN


async def listing(asking: Asking) -> Response:
    """What waits, and concerns this person, as they would find it in the queue; or with `state` whatever is in it."""
    limit = int(asking.first("limit", str(USUAL_ROWS)))
    place, states = _place(asking.first("cursor")), frozenset(map(HoldState, asking.query.get("state", ())))
    rows, places = await (_over(asking, states) if states else _queue(asking))
    if place is not None and places and len(place) != len(places[0]):
        raise Problem("api.cursor", "cursor must be `next` of the same list")
    after = [number for number, each in enumerate(places) if place is None or each > place][:limit]
    found = [rows[number] for number in after]
    await _open(asking, found)
    listed: list[Json] = [_listed(asking, row) for row in found]
    more = bool(after) and after[-1] + 1 < len(rows)
    following = b64u(json.dumps(places[after[-1]]).encode()) if more else None
    return answer({"holds": listed, "found": len(rows), "next": following})


async def groups(asking: Asking) -> Response:
    """Alike held calls, of which there are several."""
    await asking.parts.index.open_some([entry.hold.id for entry in asking.parts.index.entries()])
    found = _asked(asking).groups
    listed: list[Json] = [
        {
            "id": each.id,
            "agent": each.agent,
            "method": each.method,
            "route": each.route,
            "code": each.code,
            "count": each.count,
            "differ": each.differs,
            "first_end": instant(each.first_end),
        }
        for each in found
    ]
    return answer({"groups": listed})


class Cards:
    """One held call, masked or whole. That it was read is written down, once for each token."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def show(self, asking: Asking) -> Response:
        """The call with keyed hashes in place of what may be credentials."""
        held = await asking.held()
        about = asking.token.id, held.hold.id
        if held.shown is not None and about not in self._known:
            await note(asking, "read", held.hold)
            self._known[about] = None
            if len(self._known) > _READS_REMEMBERED:
                self._known.popitem(last=False)
        return answer(held_document(held, reveal=False))

    async def reveal(self, asking: Asking) -> Response:
        """The call as it would be sent. Each time is written down."""
        held = await asking.held()
        if held.withheld:
            raise Rejected(Code.HOLD_NOT_PERMITTED, f"hold {held.hold.id} was decided before your turn had come")
        if held.shown is None:
            raise Rejected(Code.HOLD_NOT_STORED, f"hold {held.hold.id} is over, and its call was deleted")
        await note(asking, "reveal", held.hold)
        return answer(held_document(held, reveal=True))


async def propose(asking: Asking) -> Response:
    """The change of policy under which such calls would pass. Nothing is changed."""
    proposed = asking.parts.propose(await asking.held())
    return answer({"where": proposed.where, "yaml": "\n".join(proposed.lines), "then": list(proposed.then)})


async def note(asking: Asking, event: str, hold: Hold) -> None:
    """Write down what a token is used for.

    Raises:
        Unavailable: it cannot be written down, and so must not happen.
    """
    fields = review_fields(event, asking.person.id, token=asking.token.id, hold=hold)
    await asking.parts.journal.append(Kind.REVIEW, fields)


def held_document(held: HeldCall, *, reveal: bool) -> dict[str, Json]:
    """A hold with its call, as the command line's JSON, and what of it is hidden."""
    said: list[Json] = [
        {
            "by": one.by,
            "event": one.event,
            "reason": one.reason,
            "at": instant(one.at),
            "until": None if one.until is None else instant(one.until),
        }
        for one in remarks(held)
    ]
    about = {**held_json(held), "said": said}
    if held.shown is None:
        return about
    call, why = held.shown.stored.call, held.shown.explanation
    body = body_view(call, reveal=reveal)
    hidden = [] if reveal else _hidden(held.shown)
    known = about["call"]
    assert isinstance(known, Mapping)
    about["call"] = {
        **known,
        "url": call.url if reveal else held.shown.url,
        "headers": [[name, value] for name, value in (call.headers if reveal else held.shown.headers)],
        "body_base64": None if "body" in hidden else known["body_base64"],
        "body_laid_out": [plain(line) for line in body.laid_out],
        "body_fields": [[name, None if value.ours else value.text] for name, value in body.fields],
        "hidden": list(hidden),
        "filed": _filed(held.shown, hidden),
    }
    explained = about["explanation"]
    assert isinstance(explained, Mapping)
    about["explanation"] = {**explained, "credential": why.credential}
    return about


def _hidden(shown: Shown) -> list[str]:
    """What of a call `reveal` shows, and nothing else does."""
    call = shown.stored.call
    found = {
        "url": shown.url != call.url,
        "headers": shown.headers != call.headers,
        "body": body_view(call, reveal=False).hidden,
    }
    return [name for name, is_hidden in found.items() if is_hidden]


def _filed(shown: Shown, hidden: list[str]) -> Json:
    """What was sealed, in its one form, without what is hidden. Credentials in headers are never in it."""
    call = shown.stored.call
    path = masked_path(call.path) if "url" in hidden else call.path
    masked = replace(
        call,
        headers=shown.headers,
        path=path,
        segments=path_segments(path),
        query=shown.url.partition("?")[2] if "url" in hidden else call.query,
        body=_fingerprint(call) if "body" in hidden else call.body,
    )
    filed: StoredCall = replace(shown.stored, call=masked, chain=())
    return parse_json(stored_to_bytes(filed), code=Code.HOLD_TAMPERED, what="a stored call")


def _fingerprint(call: Call) -> Unread:
    return Unread(size=call.body_bytes, sha256=call.body_sha256)


# --- lists -----------------------------------------------------------------------------------------------------------


type Place = list[str | int]


def _asked(asking: Asking) -> Queue:
    """The whole queue, as far as it is known to be that of now: a program would not see that a list is old.

    Raises:
        Unavailable(STORE_DOWN): the list is not kept up.
    """
    if asking.parts.index.fault:
        raise Unavailable(Code.STORE_DOWN, f"the list is not kept up: {asking.parts.index.fault}")
    risk = asking.first("risk")
    wish = Wish(
        search=asking.first("search"),
        agent=asking.first("agent"),
        sponsor=asking.first("sponsor"),
        risk=Risk(risk) if risk else None,
        group=asking.first("group"),
        which=Which(asking.first("which", Which.ALL.value)),
        order=Order(asking.first("order", Order.EXPIRES.value)),
    )
    entries = asking.parts.index.entries()
    return queue_for(entries, wish, asking.person, asking.bundle, now=asking.now, rows=_EVERY)


async def _queue(asking: Asking) -> tuple[list[Row], list[Place]]:
    order = Order(asking.first("order", Order.EXPIRES.value))
    rows = list(_asked(asking).rows)
    return rows, [_written(place_of(row, order)) for row in rows]


async def _over(asking: Asking, states: frozenset[HoldState]) -> tuple[list[Row], list[Place]]:
    """Holds in these states, the newest first, as the store has them. The other filters are those of a list."""
    for name in ("search", "group", "which", "order"):
        if name in asking.query:
            raise Problem("api.together", f"{name} belongs to what waits: leave state out")
    found = await asking.parts.reviews.listing(
        states=states,
        agent=asking.first("agent") or None,
        sponsor=asking.first("sponsor") or None,
        limit=MOST_OVER,
    )
    concerned, risk = Concerned(asking.bundle, asking.now), asking.first("risk")
    wanted = [hold for hold in found if concerned(asking.person, hold) and risk in ("", hold.risk.value)]
    wanted.sort(key=lambda hold: (-hold.filed_at.timestamp(), hold.id))
    rows = [Row(entry=asking.parts.index.get(hold.id) or Entry(hold=hold), now=False) for hold in wanted]
    return rows, [[-int(hold.filed_at.timestamp() * 1e6), hold.id] for hold in wanted]


def _written(place: tuple[object, ...]) -> Place:
    return [each if isinstance(each, int) else str(each) for each in place]


def _place(cursor: str) -> Place | None:
    """The place after which a list goes on.

    Raises:
        Problem: no list gave this cursor.
    """
    if not cursor:
        return None
    try:
        place = parse_json(unb64u(cursor, code=_WHERE, field="cursor"), code=_WHERE, what="the cursor")
    except Rejected:
        raise Problem("api.cursor", "cursor must be `next` of a list") from None
    match place:
        case [int(), int(), str(), str()] | [int(), str()]:
            return [each for each in place if isinstance(each, int | str)]
    raise Problem("api.cursor", "cursor must be `next` of a list")


async def _open(asking: Asking, rows: list[Row]) -> None:
    await asking.parts.index.open_some(row.hold.id for row in rows)


def _listed(asking: Asking, row: Row) -> Json:
    entry = (asking.parts.index.get(row.hold.id) or row.entry).for_eyes(asking.person)
    asks = "" if entry.asks is None else f"{entry.asks.method} {entry.asks.url}"
    if entry.withheld:
        asks = "(not shown: it was decided before your turn had come)"
    elif entry.asks is None:
        asks = entry.fault or f"(deleted; digest {row.hold.call_digest[:12]}…)"
    return {**hold_json(row.hold), "asks": asks, "may_decide": row.now}
