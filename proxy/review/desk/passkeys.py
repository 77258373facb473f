"""Passkeys at the desk: what somebody says is signed by theirs on a second page, and new ones are made.

The first page says what is wanted; the desk drafts the statement and keeps it. The second page shows every claim of
that draft, and asks the browser for a signature over it and nothing else. What comes back is the answer alone: what it
is an answer to is what was kept for this session, once. Whether it counts is verified where it is recorded, and again
by the node that acts on it.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_bytes

from starlette.responses import Response

from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Passkey
from proxy.core.passkeys import is_within
from proxy.core.visible import visible
from proxy.policy.passkeys import passkey_line
from proxy.review.ceremonies import made, signed, to_make, to_sign
from proxy.review.desk.forms import Form, read_form
from proxy.review.desk.once import LIVES, Once
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.sayings import Drafted
from proxy.review.desk.signing import why_no_passkeys
from proxy.review.desk.statements import in_words
from proxy.review.desk.telling import Rest, told
from proxy.review.desk.views import Asked, Views
from proxy.review.desk.visits import Refused, Visit
from proxy.review.opened import HeldCall

CHALLENGE_BYTES = 32
_NAME = re.compile(r"[\w.()-]+( [\w.()-]+)*")
_MAX_NAME_CHARS = 60

_UNANSWERED = "Your browser asked no passkey: that needs script. Nothing was signed."
GONE = (
    f"That was asked more than {LIVES.seconds // 60} minutes ago, or answered already, or the desk was restarted: "
    "open the page again. Nothing was recorded by this."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Saying:
    """Something that waits for a signature."""

    hold_id: str
    drafted: Drafted
    rest: Rest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Making:
    """A passkey that a browser was asked to make."""

    name: str
    origin: str
    challenge: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A passkey that counts, and where."""

    name: str
    rp_id: str
    fingerprint: str
    origins: tuple[str, ...]  # of the desk, at which browsers offer it
    here: bool
    remove: tuple[str, ...]  # the commands that take it away


class Passkeys:
    """The handlers of what browsers ask passkeys for."""

    def __init__(self, parts: DeskParts, views: Views) -> None:
        self._views = views
        self._sayings: Once[_Saying] = Once(clock=parts.clock)
        self._makings: Once[_Making] = Once(clock=parts.clock)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def ask(self, visit: Visit, held: HeldCall, drafted: Drafted, *, rest: Rest | None = None) -> Response:
        """The second page: what is signed, and with what. Where no passkey of theirs counts, how else it is signed."""
        if visit.no_passkey:
            return await self._views.confirm(visit, held, status=403)
        draft = drafted.draft
        options = to_sign(draft, visit.person, origin=visit.origin)
        saying = _Saying(hold_id=held.hold.id, drafted=drafted.light(), rest=rest)
        asked = Asked(
            word=self._sayings.keep(visit.session.id, saying),
            statement=in_words(draft.typ, draft.claims, visit.bundle, now=visit.now),
            options=json.dumps(options),
            left=0 if rest is None else len(rest.holds),
        )
        return await self._views.show_confirm(visit, held, asked=asked)

    async def sign(self, visit: Visit) -> Response:
        """What the browser answered: put into the statement that was kept, and recorded if it counts."""
        form = await read_form(visit.request, visit.session)
        answer = answer_of(form)
        saying, key = self._sayings.take(visit.session.id, form.text("asked")), visit.parts.signing.desk
        if saying is None or key is None or saying.hold_id != visit.request.path_params["hold"]:
            raise Refused(409, GONE)
        try:
            statement = saying.drafted.draft.attested(key, signed(answer))
            outcome = await saying.drafted.record(statement)
        except Rejected as fault:
            if fault.code is not Code.RELEASE_INVALID:
                raise
            raise Refused(422, f"{fault.detail}. Nothing was recorded.") from None
        return await told(visit, outcome, rest=saying.rest)

    # --- making ------------------------------------------------------------------------------------------------------

    async def mine(self, visit: Visit) -> Response:
        """A person's passkeys."""
        return self._page(visit)

    async def make(self, visit: Visit) -> Response:
        """Ask the browser for a new one."""
        form = await read_form(visit.request, visit.session)
        name, unable = form.text("name"), why_no_passkeys(visit.parts.signing, visit.bundle, visit.origin)
        wrong = unable or _why_not_named(name, visit.person.passkeys)
        if wrong:
            return self._page(visit, said=wrong)
        making = _Making(name=name, origin=visit.origin, challenge=token_bytes(CHALLENGE_BYTES))
        options = to_make(
            visit.person, deployment=visit.bundle.deployment, origin=making.origin, challenge=making.challenge
        )
        word = self._makings.keep(visit.session.id, making)
        return visit.page("newpasskey.html", name=name, word=word, options=json.dumps(options), made=None)

    async def made(self, visit: Visit) -> Response:
        """The new one, for an operator to enrol. Until one has, it counts nowhere, and nothing of it is kept here."""
        form = await read_form(visit.request, visit.session)
        answer, making = answer_of(form), self._makings.take(visit.session.id, form.text("asked"))
        if making is None:
            raise Refused(409, GONE)
        try:
            new = made(answer, origin=making.origin, challenge=making.challenge, name=making.name)
        except Rejected as fault:
            raise Refused(422, f"{fault.detail}. Nothing was made that could count.") from None
        return visit.page("newpasskey.html", name=new.name, made=new, commands=_adding(visit, new))

    def _page(self, visit: Visit, *, said: str = "") -> Response:
        return visit.page(
            "passkeys.html",
            status=422 if said else 200,
            passkeys=tuple(_listed(visit, each) for each in visit.person.passkeys),
            unable=why_no_passkeys(visit.parts.signing, visit.bundle, visit.origin),
            said=said,
        )


def answer_of(form: Form) -> Mapping[str, Json]:
    """What the browser's script put into the form.

    Raises:
        Refused: nothing, or no answer of a browser.
    """
    text = form.text("answer")
    if not text:
        raise Refused(422, _UNANSWERED)
    try:
        answer = parse_json(text.encode("utf-8"), code=Code.RELEASE_INVALID, what="the browser's answer", depth=8)
    except Rejected as fault:
        raise Refused(422, f"{fault.detail}. Nothing was recorded.") from None
    if not isinstance(answer, Mapping):
        raise Refused(422, "The browser's answer must be a JSON object. Nothing was recorded.")
    return answer


def _why_not_named(name: str, others: tuple[Passkey, ...]) -> str:
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME_CHARS or visible(name) != name:
        return f"Name it in 1 to {_MAX_NAME_CHARS} letters, digits, spaces and .-_(): what it is, such as blue stick."
    if any(other.name == name for other in others):
        return f"You have a passkey named {name} already: give this one another name."
    return ""


def _listed(visit: Visit, passkey: Passkey) -> Listed:
    return Listed(
        name=passkey.name,
        rp_id=passkey.rp_id,
        fingerprint=passkey.key.kid,
        origins=tuple(each for each in visit.bundle.desk.origins if is_within(each, passkey.rp_id)),
        here=not visit.no_passkey and is_within(visit.origin, passkey.rp_id),
        remove=(
            _command(visit, "people passkey remove", visit.person.id, shlex.quote(passkey.name)),
            _command(visit, "bundle sign"),
        ),
    )


def _adding(visit: Visit, new: Passkey) -> tuple[str, ...]:
    """What an operator types to enrol it; the passkey itself is typed in, so that no file needs to be handed on."""
    return (
        f"{_command(visit, 'people passkey add', visit.person.id, '-')} <<'PASSKEY'",
        passkey_line(new),
        "PASSKEY",
        _command(visit, "bundle sign"),
    )


def _command(visit: Visit, verb: str, *words: str) -> str:
    return " ".join(word for word in ("intent-proxy", verb, visit.parts.config, *words) if word)
