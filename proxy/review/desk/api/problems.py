"""What the API says instead of an answer: problem details (RFC 9457) with a stable code, a sentence, and its mend."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.responses import Response

from proxy.core.answer import json_bytes
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.names import INTERNAL_HOST
from proxy.core.visible import visible
from proxy.review.documents import outcome_json
from proxy.review.outcomes import Outcome, Result

MEDIA = "application/problem+json"


class Guide(NamedTuple):
    """One code's status, title and mend."""

    status: int
    title: str
    mend: str


_TELL = "Tell an operator; nothing was decided."
_LOOK = "Look at the hold as it is now."

GUIDES_HERE: Mapping[str, Guide] = {
    "api.token_missing": Guide(401, "No token", "Send Authorization: Bearer TOKEN; desk tokens add makes one."),
    "api.token_wrong": Guide(401, "The token does not count", "Ask for another: desk tokens add."),
    "api.scope": Guide(403, "The token may not do that", "Use a token with the scope that is named."),
    "api.browser": Guide(403, "Not from a browser", "Use the desk's pages, or a program that sends no cookies."),
    "api.host": Guide(421, "Not this desk's name", "Ask under the desk's own address."),
    "api.unknown": Guide(404, "There is no such place", "/api/v1/openapi.json lists all there are."),
    "api.method": Guide(405, "Not with this method", "Use a method that Allow names."),
    "api.parameter": Guide(400, "A parameter is wrong", "Correct it as described."),
    "api.cursor": Guide(422, "No list goes on there", "Begin the list anew, without cursor."),
    "api.together": Guide(422, "Parameters that exclude each other", "Leave one of them out."),
    "api.type": Guide(415, "Not JSON", "Send application/json."),
    "api.too_large": Guide(413, "Too large", "Send less."),
    "api.headers": Guide(431, "Too many headers", "Send fewer."),
    "api.body": Guide(422, "The body is not as it must be", "Correct it as described."),
    "api.too_many": Guide(429, "Too many wrong tokens", "Wait; use a token that counts."),
    "api.broken": Guide(500, "Something failed here", "Tell an operator."),
    "api.other_call": Guide(409, "Another call", "Look at the call again: yours was of another one."),
    "api.own_key": Guide(403, "Sign it yourself", "Ask for a draft, sign it with the person's own key, record it."),
    "hold.decided": Guide(409, "Decided before", "Look at the hold: it says by whom, and when."),
    Code.HOLD_UNKNOWN: Guide(404, "There is no such thing for this person", "Look at the list."),
    Code.HOLD_NOT_PERMITTED: Guide(403, "Not permitted", "Somebody else decides it, or the same person later."),
    Code.HOLD_TAMPERED: Guide(409, "Not as it was filed", _TELL),
    Code.HOLD_CAP: Guide(409, "Too much was said of it", "Decide it."),
    Code.HOLD_PENDING: Guide(409, "Others act on it", "Try again."),
    Code.HOLD_NOT_STORED: Guide(410, "The call is gone", _LOOK),
    Code.HOLD_EXPIRED: Guide(410, "Its time ran out", "The agent may ask again."),
    Code.RELEASE_INVALID: Guide(422, "It cannot be said like that", "Correct it as described."),
}
"""Every code with which the API refuses what it was given, and what to do."""

_DOWN = Guide(
    503, "Cannot be told now", "Try again after the seconds in Retry-After; look first where the detail says so."
)
_USUAL = Guide(422, "It cannot be done like that", "Correct it as described.")
_CODES = {
    Result.NOT_PERMITTED: Code.HOLD_NOT_PERMITTED.value,
    Result.UNKNOWN: Code.HOLD_UNKNOWN.value,
    Result.EXPIRED: Code.HOLD_EXPIRED.value,
    Result.FAILED: Code.RELEASE_INVALID.value,
    Result.ALREADY_DECIDED: "hold.decided",
}


class Problem(Exception):
    """A request that is refused, with a code of `GUIDES_HERE`."""

    def __init__(self, code: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def guide_of(code: str) -> Guide:
    return GUIDES_HERE.get(code, _USUAL)


def members(code: str, detail: str, guide: Guide) -> dict[str, Json]:
    """A problem's members."""
    return {
        "type": f"http://{INTERNAL_HOST}/problems/{code}",
        "title": guide.title,
        "status": guide.status,
        "detail": visible(detail),
        "code": code,
        "mend": guide.mend,
    }


def problem(
    code: str, detail: str, headers: Mapping[str, str] | None = None, *, guide: Guide | None = None
) -> Response:
    """A refusal."""
    found = guide_of(code) if guide is None else guide
    return Response(json_bytes(members(code, detail, found)), found.status, dict(headers or {}), MEDIA)


def problem_of(fault: Problem | Rejected | Unavailable) -> Response:
    """What is said of a fault."""
    match fault:
        case Problem():
            return problem(fault.code, fault.detail, fault.headers)
        case Rejected():
            return problem(fault.code.value, fault.detail)
        case Unavailable():
            headers = {"retry-after": str(fault.retry_after_s)}
            return problem(fault.code.value, fault.detail, headers, guide=_DOWN)


def not_done(outcome: Outcome) -> Response:
    """What is said of a word that changed nothing: why, and how the hold is now."""
    code = _CODES[outcome.result]
    about = members(code, outcome.detail, guide_of(code))
    return Response(json_bytes({**about, "outcome": outcome_json(outcome)}), guide_of(code).status, media_type=MEDIA)
