"""Signing in with an OpenID Connect provider: going there, and coming back.

Who somebody is to the provider says nothing here until the signed people.yaml says whose name that is. Nobody is added
by signing in.

Two things about browsers decide how the pages follow each other. `form-action 'self'` holds for where a form is
redirected to, too; so the form at the door is answered with a page that goes on by itself. And the session's cookie is
SameSite=Strict, so a browser that comes from the provider does not send it; so the answer is again a page that goes
on, and what it asks for next is asked for by the desk's own page. Both work without script.
"""

import hmac
import json
import logging

from starlette.requests import Request
from starlette.responses import Response

from proxy.audit.lines import Kind
from proxy.audit.records import review_fields
from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import Claim, Person
from proxy.review.desk.forms import read_form
from proxy.review.desk.oidc.entries import LIVES, Entries, Entry
from proxy.review.desk.oidc.provider import NotRedeemed, Provider
from proxy.review.desk.oidc.tokens import Told, Untrue
from proxy.review.desk.pages import page
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.visits import Refused, begin_session, common, cookie_name, door, token_of

logger = logging.getLogger(__name__)

BACK = "/enter/oidc/back"
_MOST_PARAMETERS = 20
_MOST_CODE = 4_096
_NOT_HERE = (
    "This sign-in was not begun in this browser, was begun again since, or more than ten minutes ago. Begin it here."
)


class Arriving:
    """The door for those whom a provider knows."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts
        self._entries = Entries(clock=parts.clock)

    async def begin(self, request: Request) -> Response:
        """Send a browser to the provider. Whoever was signed in is so no more."""
        parts, provider = self._parts, self._provider()
        form = await read_form(request, None)
        if request.headers["host"] != parts.origin.partition("://")[2]:
            return self._onward(f"{parts.origin}/enter", "The provider knows this desk under one name. Sign in there.")
        entry = self._entries.begin(form.text("to"))
        try:
            url = await provider.authorization_url(
                back=self._back, state=entry.state, nonce=entry.nonce, verifier=entry.verifier
            )
        except (Rejected, Unavailable):  # which the log has
            return door(parts, refused=_down(provider), status=503)
        parts.sessions.end(token_of(request, parts))
        answer = self._onward(url, f"You go on to {provider.name}.")
        answer.set_cookie(
            self._cookie,
            entry.word,
            max_age=int(LIVES.total_seconds()),
            path="/",
            secure=parts.secure,
            httponly=True,
            samesite="lax",  # it must come along when the provider sends the browser back
        )
        return answer

    async def back(self, request: Request) -> Response:
        """Take what the provider says, in the browser that asked it, once.

        This GET does something: it signs in whoever began here by a form. Every check that it needs is its own.
        """
        provider = self._provider()
        if request.headers.get("sec-fetch-dest", "document") != "document":
            raise Refused(403, "The provider comes back in a window, not in a part of a page.")

        # 1. the very browser, and the very sign-in (login CSRF, mixed-up state, a code put in: RFC 9700 §4.5, §4.7)
        given = _parameters(request)
        entry = self._entries.find(request.cookies.get(self._cookie, ""))
        if entry is None or not hmac.compare_digest(given.get("state", "").encode(), entry.state.encode()):
            return door(self._parts, refused=_NOT_HERE, status=403)
        answer = await self._answered(request, provider, entry, given)
        answer.delete_cookie(self._cookie, path="/", secure=self._parts.secure, httponly=True, samesite="lax")
        return answer

    async def _answered(self, request: Request, provider: Provider, entry: Entry, given: dict[str, str]) -> Response:
        parts = self._parts
        if not self._entries.spend(entry):
            return door(parts, refused="This sign-in was used. Begin another.", status=403)
        try:
            # 2. the very provider (mix-up, RFC 9207), before anything is sent to it
            named = (await provider.metadata()).names_itself
            if given.get("iss", None if named else provider.issuer) != provider.issuer:
                return self._untrue(provider, "its answer bears another provider's name, or none where it has one")
            # 3. it may say no
            if "error" in given:
                said = f"{provider.name} did not sign you in: {given['error'][:80]}. Begin again, or ask who runs it."
                return door(parts, refused=said, status=403)
            code = given.get("code", "")
            if not code or len(code) > _MOST_CODE or not code.isascii() or not code.isprintable():
                return self._untrue(provider, "its answer has no code")
            # 4. its own word about who that is
            told = await provider.redeem(code, back=self._back, nonce=entry.nonce, verifier=entry.verifier)
        except (Untrue, NotRedeemed) as fault:
            return self._untrue(provider, str(fault))
        except (Rejected, Unavailable) as fault:
            logger.warning("nobody signs in with %s: %s", provider.name, fault.detail)
            return door(parts, refused=_down(provider), status=503)
        # 5. whom operators signed under that name
        people = _people(parts, told)
        if len(people) != 1:
            logger.warning("somebody whom %s knows is %s here", provider.name, "several people" if people else "nobody")
            return self._nobody(provider, told, people)
        (person,) = people
        answer = self._onward(entry.to, f"You are signed in as {person.name}.")
        session = begin_session(answer, parts, person, request)
        await parts.journal.append(Kind.REVIEW, review_fields("enter", person.id, session=session.id, via="oidc"))
        return answer

    def _nobody(self, provider: Provider, told: Told, people: tuple[Person, ...]) -> Response:
        values = {
            **common(self._parts, None),
            "provider": provider.name,
            "issuer": told.issuer,
            "sub": told.sub,
            "email": told.email,
            "verified": told.email_verified,
            "several": [person.name for person in people],
            "line": f"{{issuer: {json.dumps(told.issuer)}, sub: {json.dumps(told.sub)}}}",
        }
        return page("nobody.html", values, status=403)

    def _untrue(self, provider: Provider, why: str) -> Response:
        logger.warning("a sign-in with %s was refused: %s", provider.name, why)
        said = f"What {provider.name} answered does not count. Begin again; the desk's log says why."
        return door(self._parts, refused=said, status=403)

    def _onward(self, to: str, said: str) -> Response:
        return page("onward.html", {"to": to, "said": said})

    def _provider(self) -> Provider:
        if self._parts.oidc is None:
            raise Refused(404, "This desk asks no provider who you are. Sign in with a link.")
        return self._parts.oidc

    @property
    def _back(self) -> str:
        return f"{self._parts.origin}{BACK}"

    @property
    def _cookie(self) -> str:
        return f"{cookie_name(self._parts)}-entry"


def _down(provider: Provider) -> str:
    return f"{provider.name} cannot be asked now. The desk tries again; its log says why."


def _parameters(request: Request) -> dict[str, str]:
    """The parameters of the answer, each once (RFC 6749 §3.1)."""
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    if len(given) < len(pairs) or len(pairs) > _MOST_PARAMETERS:
        raise Refused(422, "The provider's answer says something twice, or too much.")
    return given


def _people(parts: DeskParts, told: Told) -> tuple[Person, ...]:
    """Whose name that is. An email counts when the provider says that it verified it."""
    names = {(Claim.SUB, told.sub), *([(Claim.EMAIL, told.email)] if told.email and told.email_verified else [])}
    return tuple(
        person
        for person in parts.policy().bundle.people.values()
        if any(each.issuer == told.issuer and (each.claim, each.value) in names for each in person.oidc)
    )
