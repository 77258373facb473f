"""Signing in by a one-time link, and signing out."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from proxy.audit.lines import Kind
from proxy.audit.records import review_fields
from proxy.core.errors import Unavailable
from proxy.review.desk.forms import read_form
from proxy.review.desk.pages import page
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.visits import Visit, begin_session, common, cookie_name, door, token_of

_SPENT = (
    "This link was used, has ended, or was not copied whole. "
    "Ask for another where the desk runs: intent-proxy desk --link"
)


class Entering:
    """The desk's door."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts

    async def look(self, request: Request) -> Response:
        """Whom a link signs in. It is spent by the button on this page alone, not by whatever follows links."""
        word = request.query_params.get("link", "")
        if not word:
            return door(self._parts, status=200)
        link = None if self._parts.links is None else self._parts.links.look(word)
        person = None if link is None else self._parts.policy().bundle.people.get(link.person)
        if link is None or person is None:
            return door(self._parts, refused=_SPENT, status=403)
        return page("enter.html", {**common(self._parts, None), "name": person.name, "id": person.id, "word": word})

    async def enter(self, request: Request) -> Response:
        """Sign in: a new session, whatever the browser had before."""
        form = await read_form(request, None)
        parts = self._parts
        link = None if parts.links is None else parts.links.spend(form.text("link"))
        person = None if link is None else parts.policy().bundle.people.get(link.person)
        if person is None:
            return door(parts, refused=_SPENT, status=403)
        answer = RedirectResponse("/", status_code=303)
        session = begin_session(answer, parts, person, request)
        try:
            await parts.journal.append(Kind.REVIEW, review_fields("enter", person.id, session=session.id, via="link"))
        except Unavailable as fault:
            detail = f"{fault.detail}: nobody is signed in, and the link is used up; make another when that is mended"
            raise Unavailable(fault.code, detail) from None
        return answer

    async def leave(self, visit: Visit) -> Response:
        """Sign out."""
        await read_form(visit.request, visit.session)
        self._parts.sessions.end(token_of(visit.request, self._parts))
        answer = RedirectResponse("/enter", status_code=303)
        answer.delete_cookie(
            cookie_name(self._parts), path="/", secure=self._parts.secure, httponly=True, samesite="strict"
        )
        return answer
