"""Every place of the API, once. What is served, what is checked, and the OpenAPI document follow from this list."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from proxy.core.answer import json_bytes
from proxy.review.desk.api import holds, overseeing, saying
from proxy.review.desk.api.asking import endpoint
from proxy.review.desk.api.openapi import document
from proxy.review.desk.api.operations import BASE, Handler, Operation, Param
from proxy.review.desk.api.problems import Problem, problem_of
from proxy.review.desk.api.schemas import MOMENT, RISK, STATE, Schema, one_of
from proxy.review.desk.parts import ApiParts, DeskParts
from proxy.review.desk.queue import MAX_SEARCH_CHARS, Order, Which
from proxy.review.desk.tokens import Scope

_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_SEARCH_CHARS}
_PLACE: Schema = {"type": "string", "maxLength": overseeing.MAX_PLACE_CHARS}
# What datetime.fromisoformat reads of RFC 3339, so that a moment that passes here is one.
_WHEN: Schema = {
    **MOMENT,
    "pattern": r"^(19[7-9][0-9]|20[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]"
    r":[0-5][0-9](\.[0-9]{1,6})?Z$",
}
_AGENT = Param(name="agent", schema=_NAME, summary="only this agent's")
_SPONSOR = Param(name="sponsor", schema=_NAME, summary="only this sponsor's")
_PERIOD = (
    Param(name="reviewer", schema=_NAME, summary="only what this person ruled"),
    _AGENT,
    _SPONSOR,
    Param(name="since", schema=_WHEN, summary="ended at or after; UTC"),
    Param(name="until", schema=_WHEN, summary="ended before; UTC"),
)
_AFTER = Param(name="after", schema=_PLACE, summary="the id of the last event that was heard")


def operations() -> tuple[Operation, ...]:
    """The API."""
    cards, read, hold = holds.Cards(), Scope.READ, "/holds/{hold}"

    def get(path: str, name: str, summary: str, handler: Handler, answer: str, *query: Param) -> Operation:
        return Operation(
            method="GET",
            path=path,
            name=name,
            summary=summary,
            scope=read,
            handler=handler,
            answer=answer,
            query=query,
            statuses=_OF_A_HOLD if path.startswith(hold) else (422,) if path == "/holds" else (),
        )

    return (
        get("/me", "me", "Whom the token names, and what it may.", overseeing.me, "Me"),
        get(
            "/holds",
            "list-holds",
            "What waits and concerns the person, what expires first at the top; with state, what is in these states.",
            holds.listing,
            "Holds",
            Param(name="state", schema=STATE, summary="in this state; may be repeated", many=True),
            _AGENT,
            _SPONSOR,
            Param(name="risk", schema=RISK, summary="of this risk"),
            Param(name="search", schema=_NAME, summary="every word stands somewhere in what a list shows"),
            Param(name="group", schema=_NAME, summary="of this group"),
            Param(name="which", schema=one_of(Which), summary="mine: those that the person may decide now"),
            Param(name="order", schema=one_of(Order), summary="what comes first"),
            Param(
                name="limit", schema={"type": "integer", "minimum": 1, "maximum": holds.MOST_ROWS}, summary="so many"
            ),
            Param(name="cursor", schema={"type": "string", "maxLength": 400}, summary="`next` of the list before"),
        ),
        get(hold, "show-hold", "A hold and its call; what may be a credential is hidden.", cards.show, "HeldCall"),
        Operation(
            method="POST",
            path=f"{hold}/reveal",
            name="reveal-hold",
            summary="The same with nothing hidden. It is written down.",
            scope=Scope.REVEAL,
            handler=cards.reveal,
            answer="HeldCall",
            statuses=_OF_A_HOLD,
        ),
        get(f"{hold}/suggestion", "suggest", "The change under which such calls pass.", holds.propose, "Suggestion"),
        Operation(
            method="POST",
            path=f"{hold}/drafts",
            name="draft",
            summary="What the person would sign with a key of their own. It decides nothing.",
            scope=read,
            handler=saying.draft,
            answer="Draft",
            body="Wish",
            statuses=_OF_A_WORD,
        ),
        Operation(
            method="POST",
            path=f"{hold}/statements",
            name="record",
            summary="A statement that the person signed. It counts as any node would have it count.",
            scope=read,
            handler=saying.record,
            answer="Outcome",
            body="Statement",
            statuses=_OF_A_WORD,
        ),
        Operation(
            method="POST",
            path=f"{hold}/rulings",
            name="rule",
            summary="Say it with the desk's key, where that suffices: of routine calls that one person decides.",
            scope=Scope.DECIDE,
            handler=saying.rule,
            answer="Outcome",
            body="Ruling",
            statuses=_OF_A_WORD,
        ),
        get("/groups", "list-groups", "Alike held calls, of which there are several.", holds.groups, "Groups"),
        get("/events", "events", "What happened to holds since.", overseeing.events, "Events", _AFTER),
        Operation(
            method="GET",
            path="/events/stream",
            name="event-stream",
            summary="What happens to holds, as it happens. Last-Event-ID goes on where it broke off.",
            scope=read,
            handler=overseeing.event_stream,
            answer="Events",
            query=(_AFTER,),
            stream=True,
        ),
        get(
            "/history",
            "history",
            "How held calls ended, newest last.",
            overseeing.history,
            "History",
            *_PERIOD,
            Param(
                name="last",
                schema={"type": "integer", "minimum": 1, "maximum": overseeing.MOST_RULINGS},
                summary="only the newest so many",
            ),
        ),
        get("/reviewers", "reviewers", "How people decide.", overseeing.reviewers, "Reviewers", *_PERIOD),
        get("/agents", "agents", "Agents and their mandates.", overseeing.agents, "Agents", _AGENT, _SPONSOR),
        get("/proposals", "proposals", "Manifests that wait for a signature.", overseeing.proposals, "Proposals"),
    )


_OF_A_HOLD = (404, 409, 410, 422)
_OF_A_WORD = (404, 409, 410, 413, 415, 422)


def api_routes(parts: DeskParts, api: ApiParts) -> list[BaseRoute]:
    """The API as routes of the desk; everything else below its address is a problem, too."""
    table = operations()
    written = json_bytes(document(table, server=parts.origin))
    by_path: dict[str, list[Operation]] = {}
    for each in table:
        by_path.setdefault(each.path, []).append(each)
    routes: list[BaseRoute] = []
    for path, there in by_path.items():
        routes += [Route(BASE + path, endpoint(each, parts, api), methods=[each.method]) for each in there]
        allowed = sorted(
            {each.method for each in there} | ({"HEAD"} if any(e.method == "GET" for e in there) else set())
        )
        routes.append(Route(BASE + path, _wrong_method(allowed), methods=_OTHERS))
    place = f"{BASE}/openapi.json"
    routes.append(Route(place, _serve(written), methods=["GET"]))
    routes.append(Route(place, _wrong_method(["GET", "HEAD"]), methods=_OTHERS))
    routes.append(Route("/api/{rest:path}", _nowhere, methods=["GET", *_OTHERS]))
    return routes


_OTHERS = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GET"]


def _serve(data: bytes) -> Callable[[Request], Response]:
    def serve(_: Request) -> Response:
        return Response(data, media_type="application/json")

    return serve


def _wrong_method(allowed: list[str]) -> Callable[[Request], Response]:
    def refuse(request: Request) -> Response:
        return problem_of(Problem("api.method", f"{request.method} is not served here", allow=", ".join(allowed)))

    return refuse


def _nowhere(_: Request) -> Response:
    return problem_of(Problem("api.unknown", "there is no such place"))
