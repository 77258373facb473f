"""A person's word by the API: drafted for their own key, recorded once it is signed, or signed by the desk for them.

There is no rule here: what may be said is for the services, with what it is signed for the core, and what the desk
signs is what it signs on its pages (`Signing`).
"""

from collections.abc import Mapping
from datetime import timedelta

from starlette.responses import Response

from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_one_of
from proxy.core.notes import NOTE_TYP
from proxy.core.release import RELEASE_TYP
from proxy.core.resolution import RESOLUTION_TYP, Found
from proxy.review.desk.api.holds import note
from proxy.review.desk.api.operations import Asking, answer
from proxy.review.desk.api.problems import Problem, not_done
from proxy.review.desk.signing import why_own_key
from proxy.review.desk.tokens import Scope
from proxy.review.documents import grant_json, outcome_json
from proxy.review.drafts import Draft
from proxy.review.granting import Width
from proxy.review.opened import HeldCall
from proxy.review.outcomes import Outcome, Result
from proxy.review.wishes import Drafted, Said, Verb, Wish, Words


async def draft(asking: Asking) -> Response:
    """What the person would sign. It decides nothing, and is kept nowhere."""
    held, wish = await asking.held(), wish_of(asking.body)
    if wish.width is not None and held.shown is not None and held.shown.url != held.shown.stored.call.url:
        await _check_reveals(asking, held)
    drafted = await _words(asking).draft(held.hold.id, wish, person=asking.person)
    return not_done(drafted) if isinstance(drafted, Outcome) else answer(_draft_json(drafted))


async def _check_reveals(asking: Asking, held: HeldCall) -> None:
    """A grant's claims have the call's address in them, whole: whoever drafts one has it shown.

    Raises:
        Problem: the token may not have what is hidden shown.
        Unavailable: it cannot be written down, and so must not be shown.
    """
    if Scope.REVEAL not in asking.token.scopes:
        detail = "a grant has the call's address in it, some of which is hidden: the token has no scope reveal"
        raise Problem("api.scope", detail)
    await note(asking, "reveal", held.hold)


async def record(asking: Asking) -> Response:
    """Take a statement that this person signed, with a key of their own: it is verified as a node will."""
    held, statement = await asking.held(), _text(asking.body, "statement")
    grant = asking.body.get("grant")
    claims = open_one_of(statement, typs=(RELEASE_TYP, NOTE_TYP, RESOLUTION_TYP), code=Code.RELEASE_INVALID).claims
    if claims.get("iss") != asking.person.id:
        detail = f"the token is {asking.person.id}'s, and so must the statement be"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="iss")
    await note(asking, "record", held.hold)
    given = grant if isinstance(grant, str) else None
    return _told(await _words(asking).record(held.hold.id, statement, grant=given))


async def rule(asking: Asking) -> Response:
    """Say it with the desk's key, where that suffices."""
    held, wish = await asking.held(), wish_of(asking.body)
    _check_digest(held, _text(asking.body, "digest"))
    hold = held.hold if held.shown is None else held.shown.meant(held.hold)
    key = asking.parts.signing.key(asking.person, hold)
    if key is None:
        raise Problem("api.own_key", why_own_key(hold) or "The desk has no key.")
    await note(asking, "say", held.hold)
    return _told(await _words(asking).say(held.hold.id, wish, person=asking.person, key=key))


def wish_of(body: Mapping[str, Json]) -> Wish:
    """The wish in a body that is as its schema says.

    Raises:
        Problem: members that do not belong to its verb.
    """
    verb, scope = Verb(_text(body, "verb")), body.get("scope")
    for name, needs in (("scope", Verb.RELEASE), ("longer_s", Verb.EXTEND), ("found", Verb.RESOLVE)):
        if name in body and verb is not needs:
            raise Problem("api.body", f"{name} belongs to {needs.value}")
    found = body.get("found")
    return Wish(
        verb=verb,
        reason=_text(body, "reason"),
        width=_width(scope) if isinstance(scope, Mapping) else None,
        longer=timedelta(seconds=_number(body, "longer_s") or 0),
        found=Found(found) if isinstance(found, str) else None,
    )


def _width(scope: Mapping[str, Json]) -> Width:
    vary, for_s = scope.get("vary"), _number(scope, "for_s")
    return Width(
        path=_text(scope, "path") or None,
        vary=tuple(str(name) for name in vary) if isinstance(vary, list) else (),
        any_body=scope.get("any_body") is True,
        count=_number(scope, "count"),
        lasting=None if for_s is None else timedelta(seconds=for_s),
    )


def _words(asking: Asking) -> Words:
    parts = asking.parts
    return Words(reviews=parts.reviews, granter=parts.granter, resolving=parts.resolving)


def _check_digest(held: HeldCall, digest: str) -> None:
    if held.hold.call_digest != digest:
        raise Problem("api.other_call", f"hold {held.hold.id} is of another call than the one that was looked at")


def _draft_json(drafted: Drafted) -> dict[str, Json]:
    hold = drafted.word.hold
    return {
        "hold": hold.id,
        "call_digest": hold.call_digest,
        "means": sorted(means.value for means in drafted.means),
        "statement": _to_sign(drafted.word),
        "grant": None if drafted.grant is None else _to_sign(drafted.grant),
    }


def _to_sign(each: Draft) -> Json:
    return {"typ": each.typ, "claims": each.claims, "challenge": b64u(each.challenge)}


def _told(said: Said) -> Response:
    outcome, grant = said
    if outcome.result not in (Result.DONE, Result.SIGNED):
        return not_done(outcome)
    given = None if grant is None else grant_json(grant, used=0)
    return answer({**outcome_json(outcome), "grant": given})


def _text(body: Mapping[str, Json], name: str) -> str:
    value = body.get(name, "")
    return value if isinstance(value, str) else ""


def _number(body: Mapping[str, Json], name: str) -> int | None:
    value = body.get(name)
    return int(value) if isinstance(value, int | float) else None
