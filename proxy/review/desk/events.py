"""What happens, as it happens: a stream of server-sent events for the pages that are open (WHATWG HTML §9.2).

An event's id is the event stream's own, so that a browser which was away goes on where it was; where that place is not
known any more it hears `reset`, and reads its page again. An event says which hold changed, and nothing of its call.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from proxy.core.encoding import Json
from proxy.core.model import Person
from proxy.review.desk.index import END, RESET
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.seeing import Concerned
from proxy.review.desk.visits import Refused, Visit, token_of

LOOK_S = 5.0
"""How often something is said to a silent page, and asked whether whoever listens is still signed in."""
MAX_PLACE_CHARS = 2_000
MOST_STREAMS = 20
"""So many pages of one session are kept up to date at once."""
MOST_IN_ALL = 300
"""So many of everybody; beyond them pages ask for themselves again, and there are connections left to decide."""


async def events(visit: Visit) -> Response:
    """The stream of one page."""
    return stream(visit.request, visit.parts, visit.person, by=visit.session.id, still_in=lambda: _still_in(visit))


def stream(request: Request, parts: DeskParts, person: Person, *, by: str, still_in: Callable[[], bool]) -> Response:
    """Every change that concerns a person, after the place that the request names, as long as they are `still_in`. `by`
    is the session or the token that it is for.

    Raises:
        Refused: that has enough of them.
    """
    if parts.index.listeners_of(by) >= MOST_STREAMS:
        raise Refused(429, f"At most {MOST_STREAMS} streams are kept up to date at a time: close one.")
    if parts.index.listeners >= MOST_IN_ALL:
        raise Refused(429, f"{MOST_IN_ALL} streams are kept up to date already: ask for what you need.")
    asked = request.headers.get("last-event-id") or request.query_params.get("after", "")
    told = _stream(parts, person, by, still_in, asked[:MAX_PLACE_CHARS])
    return StreamingResponse(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _stream(
    parts: DeskParts, person: Person, by: str, still_in: Callable[[], bool], after: str
) -> AsyncIterator[bytes]:
    """Every change that concerns this person, until they are signed out or the desk stops."""
    index = parts.index
    listening = index.listen(after, by=by)
    try:
        if index.listeners_of(by) > MOST_STREAMS:  # several were asked for at once
            return
        yield b"retry: 1000\n" + _event("hello", {}, place="")
        while True:
            change = await listening.next(LOOK_S)
            if change is END:
                return
            if not still_in():
                yield _event("bye", {}, place="")
                return
            if change is None:
                yield b": still here\n\n"
            elif change is RESET:
                yield _event("reset", {}, place=index.cursor)
            elif change.hold is not None and Concerned(parts.policy().bundle, parts.clock())(person, change.hold):
                hold = change.hold
                about: dict[str, Json] = {"hold": hold.id, "state": hold.state.value, "version": hold.version}
                yield _event("hold", about, place=change.cursor)
    finally:
        listening.close()


def _still_in(visit: Visit) -> bool:
    """Whether the person is signed in and enrolled. Listening keeps no session from ending."""
    session = visit.parts.sessions.find(token_of(visit.request, visit.parts), uses=False)
    return session is not None and session.person in visit.parts.policy().bundle.people


def _event(name: str, about: Mapping[str, Json], *, place: str) -> bytes:
    """One event. Ids are the store's, of digits, dashes and commas; anything else would be another line."""
    number = f"id: {place}\n" if place and place.isprintable() else ""
    return f"event: {name}\n{number}data: {json.dumps(about)}\n\n".encode()
