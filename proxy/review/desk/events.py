"""What happens, as it happens: a stream of server-sent events for the pages that are open.

An event's id is the event stream's own, so that a browser which was away goes on where it was; where that place is not
known any more it hears `reset`, and reads its page again. An event says which hold changed, and nothing of its call.
"""

import asyncio
import json
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from proxy.review.desk.index import RESET, Change
from proxy.review.desk.seeing import Concerned
from proxy.review.desk.visits import Visit, token_of

PING_S = 15
LOOK_S = 5.0
"""How often it is asked whether whoever listens is still signed in."""
MAX_PLACE_CHARS = 2_000


async def events(visit: Visit) -> Response:
    """The stream of one page."""
    asked = visit.request.headers.get("last-event-id") or visit.request.query_params.get("after", "")
    stream = _stream(visit, asked[:MAX_PLACE_CHARS])
    return EventSourceResponse(stream, ping=PING_S, headers={"x-accel-buffering": "no"})


async def _stream(visit: Visit, after: str) -> AsyncIterator[ServerSentEvent]:
    """Every change that concerns this person, until they are signed out."""
    index = visit.parts.index
    changes = index.changes(after)
    waiting = asyncio.ensure_future(anext(changes))
    yield ServerSentEvent(event="hello", data="{}", id=index.cursor or None, retry=1_000)
    try:
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=LOOK_S)
            person = _still(visit)
            if person is None:
                yield ServerSentEvent(event="bye", data="{}")
                return
            if not done:
                continue
            change = waiting.result()
            waiting = asyncio.ensure_future(anext(changes))
            if change is RESET:
                yield ServerSentEvent(event="reset", data="{}", id=index.cursor or None)
            elif _concerns(visit, change):
                yield ServerSentEvent(event="hold", data=_told(change), id=change.cursor)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await changes.aclose()


def _still(visit: Visit) -> str | None:
    """The person, while they are signed in and enrolled. Listening keeps no session from ending."""
    session = visit.parts.sessions.find(token_of(visit.request, visit.parts), uses=False)
    bundle = visit.parts.policy().bundle
    return None if session is None or session.person not in bundle.people else session.person


def _concerns(visit: Visit, change: Change) -> bool:
    if change.hold is None:
        return False
    bundle = visit.parts.policy().bundle
    return Concerned(bundle, visit.parts.clock())(visit.person, change.hold)


def _told(change: Change) -> str:
    assert change.hold is not None
    return json.dumps({"hold": change.hold_id, "state": change.hold.state.value, "version": change.hold.version})
