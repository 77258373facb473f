"""One request at the desk: who it is from, and what becomes of what goes wrong with it.

Whoever is not signed in, or no longer enrolled, gets no further than the door. A refusal is a page with the status that
says the same to programs.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from proxy.core.clusters import Policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Bundle, Person
from proxy.review.desk import words
from proxy.review.desk.oidc.entries import place
from proxy.review.desk.opening import opened_for
from proxy.review.desk.pages import page
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.sessions import LONGEST, Session
from proxy.review.desk.signing import why_no_passkey
from proxy.review.opened import HeldCall

LIVE = "desk-live"
"""The header with which an open page asks for itself again: that is not somebody who does something."""

_STATUS = {
    Code.HOLD_UNKNOWN: 404,
    Code.HOLD_NOT_PERMITTED: 403,
    Code.HOLD_TAMPERED: 409,
    Code.HOLD_CAP: 409,
    Code.HOLD_PENDING: 409,
    Code.HOLD_NOT_STORED: 410,
}
_USUAL_STATUS = 422  # what was asked cannot be done as it was said


class NotSignedIn(Exception):
    """Whoever asks is nobody yet."""


class Refused(Exception):
    """A request that is not served, with the status and the sentence that say so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of somebody who is signed in."""

    request: Request
    parts: DeskParts
    session: Session
    person: Person
    policy: Policy
    now: datetime

    @property
    def bundle(self) -> Bundle:
        return self.policy.bundle

    @property
    def origin(self) -> str:
        """Where the page is: one of the desk's names, for the guard lets no other through."""
        host = self.request.headers.get("host", "")
        return next((each for each in self.parts.origins if each.partition("://")[2] == host), self.parts.origin)

    @property
    def no_passkey(self) -> str:
        """Why this person cannot sign with a passkey at this page; "" where they can."""
        return why_no_passkey(self.parts.signing, self.person, self.bundle, self.origin)

    def page(self, template: str, *, status: int = 200, **values: object) -> Response:
        """One page, with what every page shows."""
        return page(template, {**common(self.parts, self), **values}, status=status)

    async def held(self) -> HeldCall:
        """The hold in the request's path, opened, if it concerns this person. For others it is not there.

        Raises:
            Rejected(HOLD_UNKNOWN, HOLD_TAMPERED): as `ReviewService.show`.
        """
        return await self.open(str(self.request.path_params["hold"]))

    async def open(self, hold_id: str) -> HeldCall:
        """A hold, as `held`."""
        return await opened_for(self.parts, self.person, hold_id)


type Handler = Callable[[Visit], Awaitable[Response]]
type Endpoint = Callable[[Request], Awaitable[Response]]


def cookie_name(parts: DeskParts) -> str:
    """`__Host-` binds a cookie to this host and to TLS. Without TLS, on loopback, browsers take no such cookie; there
    the port is in its name, for cookies know no ports.
    """
    if parts.secure:
        return "__Host-intent-desk"
    return f"intent-desk-{parts.origin.rpartition(':')[2]}"


def token_of(request: Request, parts: DeskParts) -> str | None:
    """The session token that a browser sent."""
    return request.cookies.get(cookie_name(parts))


def begin_session(answer: Response, parts: DeskParts, person: Person, request: Request) -> Session:
    """Sign somebody in, whatever their browser had before. `answer` bears the new session's cookie."""
    token = parts.sessions.begin(person.id, instead_of=token_of(request, parts))
    session = parts.sessions.find(token)
    assert session is not None
    answer.set_cookie(
        cookie_name(parts),
        token,
        max_age=int(LONGEST.total_seconds()),
        path="/",
        secure=parts.secure,
        httponly=True,
        samesite="strict",
    )
    return session


def visit_of(request: Request, parts: DeskParts) -> Visit:
    """Who asks.

    Raises:
        NotSignedIn
    """
    session = parts.sessions.find(token_of(request, parts), uses=LIVE not in request.headers)
    policy = parts.policy()
    person = None if session is None else policy.bundle.people.get(session.person)
    if session is None or person is None:
        raise NotSignedIn
    return Visit(request=request, parts=parts, session=session, person=person, policy=policy, now=parts.clock())


def signed_in(parts: DeskParts, handler: Handler) -> Endpoint:
    """A page for those who are signed in."""

    async def serve(request: Request) -> Response:
        return await handler(visit_of(request, parts))

    return guarded(parts, serve)


def guarded(parts: DeskParts, serve: Endpoint) -> Endpoint:
    """A page whose refusals are pages."""

    async def served(request: Request) -> Response:
        try:
            return await serve(request)
        except NotSignedIn:
            return _outside(request, parts)
        except Refused as fault:
            return _refusal(request, parts, fault.status, fault.detail)
        except Rejected as fault:
            return _refusal(request, parts, _STATUS.get(fault.code, _USUAL_STATUS), fault.detail)
        except Unavailable as fault:
            asks = request.method in ("GET", "HEAD")
            more = (
                "What you see elsewhere may be old." if asks else "What is not on the call's own page does not count."
            )
            answer = _refusal(request, parts, 503, f"{fault.detail}. {more}", title=_DOWN.get(fault.code, ""))
            answer.headers["retry-after"] = "2"
            return answer

    return served


def not_found(parts: DeskParts) -> Endpoint:
    """What is said of an address that is none."""

    async def serve(request: Request) -> Response:
        visit_of(request, parts)
        raise Refused(404, "There is no such page.")

    return guarded(parts, serve)


def _outside(request: Request, parts: DeskParts) -> Response:
    """What somebody who is not signed in sees. A browser that came by a link elsewhere sends its cookie only when it is
    asked from here (SameSite=Strict): it is sent round once.
    """
    if request.method in ("GET", "HEAD"):
        if request.headers.get("sec-fetch-site") == "cross-site":
            return page("hop.html", common(parts, None))
        if LIVE in request.headers or request.headers.get("accept") == "text/event-stream":
            return Response(status_code=401)
        if request.url.path == "/":
            return RedirectResponse("/enter", status_code=303)
        return door(parts, status=401, to=request.url.path)
    return door(parts, status=401)


def door(parts: DeskParts, *, refused: str = "", status: int, to: str = "/") -> Response:
    """How to sign in, and why it did not work. `to`: the page that was asked for."""
    provider = parts.oidc
    values = {
        **common(parts, None),
        "refused": refused,
        "links": parts.links is not None,
        "provider": "" if provider is None else provider.name,
        "provider_down": provider is not None and bool(provider.fault),
        "to": place(to),
    }
    return page("door.html", values, status=status)


_TITLES = {
    401: "Sign in first",
    403: "Not permitted",
    404: "Not here",
    409: "It is not as it was",
    410: "Gone",
    413: "Too large",
    415: "Not a form",
    422: "Not like that",
    429: "Too many at once",
    503: "The store does not answer",
}


_DOWN = {
    Code.JOURNAL_DOWN: "It cannot be written down",
    Code.BUSY: "Not now",
}


def _refusal(request: Request, parts: DeskParts, status: int, detail: str, *, title: str = "") -> Response:
    try:
        visit = visit_of(request, parts)
    except NotSignedIn:
        visit = None
    values = {**common(parts, visit), "title": title or _TITLES.get(status, "Refused"), "detail": detail}
    return page("message.html", values, status=status)


def common(parts: DeskParts, visit: Visit | None) -> dict[str, object]:
    """What every page may show."""
    now = parts.clock()
    bundle = parts.policy().bundle if visit is None else visit.bundle
    return {
        "deployment": bundle.deployment,
        "signed_policy": bundle.signed,
        "person": None if visit is None else visit.person,
        "form_token": "" if visit is None else visit.session.form_token,
        "cursor": parts.index.cursor,
        "stale": parts.index.fault,
        "now": now,
        "config": parts.config,
        "who": lambda name: words.person_words(name, bundle),
        "whom": lambda names: words.people_words(tuple(names), bundle),
        "left": lambda moment: words.left(moment, now),
        "clock": lambda moment: words.clock(moment, now),
        "instant": words.instant,
        "risk_words": words.risk_words,
        "said_words": words.said_words,
        "said_at": words.said_at,
    }
