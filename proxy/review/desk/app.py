"""The desk as an ASGI application: which address has which page, behind the guard."""

from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.review.desk.api.routes import api_routes
from proxy.review.desk.entering import Entering
from proxy.review.desk.events import events
from proxy.review.desk.guard import Guard
from proxy.review.desk.oidc.arriving import BACK, Arriving
from proxy.review.desk.overseeing import Overseeing
from proxy.review.desk.pages import warm
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.passkeys import Passkeys
from proxy.review.desk.proposals import Proposals
from proxy.review.desk.rulings import Rulings
from proxy.review.desk.views import Views
from proxy.review.desk.visits import Endpoint, Handler, guarded, not_found, signed_in

STATIC = Path(__file__).parent / "static"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def build_app(parts: DeskParts) -> ASGIApp:
    """The whole desk. Nothing of it is reached but through `Guard`, and nothing but the door without a session."""
    warm()
    router = Router(desk_routes(parts), default=_endpoint(not_found(parts)), redirect_slashes=False)
    return Guard(router, origins=parts.origins)


def desk_routes(parts: DeskParts) -> list[BaseRoute]:
    """Every address of the desk. Tests look at each page that is here."""
    views = Views()
    passkeys, overseeing, proposals = Passkeys(parts, views), Overseeing(), Proposals(parts)
    rulings, entering, arriving = Rulings(views, passkeys), Entering(parts), Arriving(parts)

    def read(path: str, handler: Handler) -> BaseRoute:
        return Route(path, signed_in(parts, handler), methods=["GET"])

    def said(path: str, handler: Handler) -> BaseRoute:
        return Route(path, signed_in(parts, handler), methods=["POST"])

    return [
        Route("/enter", guarded(parts, entering.look), methods=["GET"]),
        Route("/enter", guarded(parts, entering.enter), methods=["POST"]),
        Route("/enter/oidc", guarded(parts, arriving.begin), methods=["POST"]),
        Route(BACK, guarded(parts, arriving.back), methods=["GET"]),
        said("/leave", entering.leave),
        read("/", views.first),
        read("/queue", views.queue),
        read("/history", overseeing.history),
        read("/reviewers", overseeing.reviewers),
        read("/agents", overseeing.agents),
        read("/agents/{agent}", overseeing.agent),
        read("/help", views.help),
        read("/events", events),
        read("/holds/{hold}", views.card),
        read("/holds/{hold}/body", views.body),
        read("/holds/{hold}/release", views.release),
        read("/holds/{hold}/propose", views.propose),
        said("/holds/{hold}/reveal", rulings.reveal),
        said("/holds/{hold}/release", rulings.release),
        said("/holds/{hold}/grant", rulings.grant),
        said("/holds/{hold}/deny", rulings.deny),
        said("/holds/{hold}/resolve", rulings.resolve),
        said("/holds/{hold}/notes/{act}", rulings.note),
        read("/groups/{group}", views.group),
        said("/groups/{group}/{verb}", rulings.group),
        said("/holds/{hold}/sign", passkeys.sign),
        read("/passkeys", passkeys.mine),
        said("/passkeys", passkeys.make),
        said("/passkeys/made", passkeys.made),
        read("/proposals", proposals.waiting),
        said("/proposals", proposals.renew),
        read("/proposals/{proposal}", proposals.one),
        said("/proposals/{proposal}/sign", proposals.ask),
        said("/proposals/{proposal}/signed", proposals.sign),
        said("/proposals/{proposal}/decline", proposals.decline),
        *([] if parts.api is None else api_routes(parts, parts.api)),
        *(Route(f"/static/{file.name}", _file(file), methods=["GET"]) for file in sorted(STATIC.iterdir())),
    ]


def _file(path: Path) -> Callable[[Request], Response]:
    def serve(_: Request) -> Response:
        return FileResponse(path, media_type=_KINDS[path.suffix])

    return serve


def _endpoint(serve: Endpoint) -> ASGIApp:
    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        answer = await serve(Request(scope, receive, send))
        await answer(scope, receive, send)

    return endpoint
