"""The answers an agent gets instead of a response: what happened, and what to do next (RFC 9457, DESIGN: answers).

The reader is often a language model, so every answer says in one sentence whether to retry, wait, stop or mend the
request. Nothing in an answer comes from a policy the agent was not granted.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from proxy.core.answer import Answer as Answer
from proxy.core.answer import document as document
from proxy.core.answer import json_bytes
from proxy.core.answer import kept_answer as kept_answer
from proxy.core.documents import broken_words, held_words, hold_document, hold_url, instant, redeemable, retry_after_s
from proxy.core.documents import mandate_document as mandate_document
from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.grpc import is_grpc, trailers_only
from proxy.core.guides import GUIDES, Next
from proxy.core.model import Call, Decision, Hold, Leg, Received, Verdict
from proxy.core.names import INTERNAL_HOST
from proxy.core.prefer import Prefer as Prefer
from proxy.core.prefer import read_prefer as read_prefer
from proxy.core.proof import LABEL, TAG
from proxy.core.refusals import what_happened

type Form = Literal["absolute", "connect", "inside", "transparent", "grpc"]
"""How the request reached us: absolute form, CONNECT itself, inside a tunnel, or without knowing of a proxy; or as a
gRPC call inside a tunnel, whose client reads no body of a refusal."""

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Methods of which twice does what once does (RFC 9110 §9.2.2)."""
_MAY_HAVE_HAPPENED = (
    "It may have arrived. Stop: do not send it again before you know that it did not. Look, or tell your user."
)

_CHALLENGED = frozenset(code for code, guide in GUIDES.items() if guide.status == 407)
_PORTAL = frozenset({Code.PROOF_MISSING, Code.AGENT_UNKNOWN, Code.PROOF_SOURCE})
_TOO_LARGE: Mapping[str, int] = {"headers": 431, "target": 414}  # Mismatch.field -> status
_RETRY_AFTER_S: Mapping[int, int] = {408: 1, 409: 2, 429: 60, 503: 2}
_LATER_STILL: Mapping[Code, int] = {Code.UPSTREAM_CONNECT: 10}
_CHALLENGE = ("Proxy-Authenticate", 'Basic realm="intent-proxy"')
_ACCEPT_CONNECT = f'{LABEL}=("@method" "@authority" "agent-intent" "intent-manifest");created;expires;tag="{TAG}"'
_ACCEPT_CALL = (
    f'{LABEL}=("@method" "@target-uri" "content-type" "agent-intent" "intent-manifest" "content-digest")'
    f';created;expires;tag="{TAG}"'
)


def problem(
    decision: Decision, *, hold: Hold | None, form: Form, prefer: Prefer, now: datetime, call: Call | None = None
) -> Answer:
    """The answer to a call that is not allowed now (RFC 9457; RFC 9110 §15.5.8 for 407; RFC 7240 §4.1 for 202).

    `call` is what was asked, where it could be read. Its query stays out of the answer: it may hold a secret.
    `REQUEST_TOO_LARGE` becomes 431 or 414 when `decision.failed` begins with the field "headers" or "target".

    Raises:
        ValueError: the verdict is ALLOW; there is nothing to answer.
    """
    if decision.verdict is Verdict.ALLOW:
        raise ValueError("an allowed call has no problem to answer with")
    held = decision.verdict is Verdict.HOLD
    # A 2xx answer to CONNECT would open the tunnel, so it is never accepted asynchronously.
    if held and hold is not None and prefer.respond_async and form not in ("connect", "grpc"):
        return _accepted(hold, now=now)
    status = 403 if held else _status(decision, form)
    after_s = _after_s(decision, hold, status, now=now)
    members = _members(decision, hold, call, status=status, after_s=after_s)
    if form == "grpc":
        return _grpc_answer(members, status=status)
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    if after_s is not None:
        headers.append(("Retry-After", str(after_s)))
    if hold is not None:
        headers.append(("Link", _links(hold)))
    if status == 407:
        headers.append(_CHALLENGE)
    if not held and decision.code in _CHALLENGED:
        headers.append(("Accept-Signature", _ACCEPT_CONNECT if form == "connect" else _ACCEPT_CALL))
    # Every client hides the body of a refused CONNECT, some of any refusal: wget and many Go programs show this alone.
    reason = f"{decision.code.value} {hold.id if hold is not None else decision.decision_id}"
    if form == "connect":  # nothing else of it is ever shown, so that a person has to understand this much
        reason += f": {GUIDES[decision.code].title}"
    return Answer(status=status, headers=tuple(headers), body=json_bytes(members), reason=reason)


def form_of(received: Received, leg: Leg | None = None) -> Form:
    """How this request, not a CONNECT, reached us."""
    if received.form == "absolute":
        return "absolute"
    if received.http2 and is_grpc(received.headers):
        return "grpc"
    return "transparent" if leg is not None and leg.transparent else "inside"


def _status(decision: Decision, form: Form) -> int:
    code = decision.code
    if form == "transparent" and code in _PORTAL:
        return 511
    if code in _CHALLENGED and form in ("inside", "transparent"):
        return 403
    if code is Code.REQUEST_TOO_LARGE and decision.failed:
        return _TOO_LARGE.get(decision.failed[0].field, 413)
    return GUIDES[code].status


def _grpc_answer(members: dict[str, Json], *, status: int) -> Answer:
    message = f"{members['title']} ({members['code']}). {members['detail']}"
    return Answer(status=200, headers=trailers_only(status, message, json_bytes(members)), body=b"")


def _after_s(decision: Decision, hold: Hold | None, status: int, *, now: datetime) -> int | None:
    if decision.retry_after_s is not None:
        return decision.retry_after_s
    if hold is not None and decision.verdict is Verdict.HOLD:
        return retry_after_s(hold, now=now)
    return waits_s(decision.code, status)


def waits_s(code: Code, status: int) -> int | None:
    """After how many seconds an agent may ask again, where nothing else says so; None: whenever it will, or never."""
    if GUIDES[code].next is Next.STOP:
        return None
    return _LATER_STILL.get(code, _RETRY_AFTER_S.get(status))


def _members(
    decision: Decision, hold: Hold | None, call: Call | None, *, status: int, after_s: int | None
) -> dict[str, Json]:
    guide = GUIDES[decision.code]
    action, advice = guide.next, guide.advice
    if decision.verdict is Verdict.HOLD:
        action = Next.WAIT
        advice = held_words(hold) if hold is not None else "A person has to approve it."
    elif decision.code is Code.UPSTREAM_BROKEN and hold is not None:  # released to be sent once
        action, advice = Next.STOP, broken_words(hold)
    elif decision.code is Code.UPSTREAM_BROKEN and call is not None and call.method not in _REPEATABLE:
        action, advice = Next.STOP, _MAY_HAVE_HAPPENED
    # What fails inside is for the journal and the log: it may name files, addresses and whatever an exception says.
    message = "" if guide.status == 503 else decision.message
    why = message.rstrip(".") or guide.title
    detail = f"{what_happened(decision, call)}: {why}. {advice}"
    members: dict[str, Json] = {
        "type": f"http://{INTERNAL_HOST}/problems/{decision.code.value}",
        "title": guide.title,
        "status": status,
        "detail": detail,
        "code": decision.code.value,
        "message": f"{decision.code.value}: {detail}",  # all that OpenAI's SDK shows of an error
        "decision_id": decision.decision_id,
        "manifest": decision.manifest,
        "sponsor": decision.sponsor,
        "declared_cluster": decision.intent.cluster,
        "reasons": _reasons(decision, hold),
        "retry": {"action": action.value, "after_s": after_s},
    }
    if hold is not None:
        members["task"] = {
            "id": hold.id,
            "status": hold.state.value,
            "status_endpoint": hold_url(hold.id),
            "expires_at": instant(hold.expires_at),
        }
    return members


def _reasons(decision: Decision, hold: Hold | None) -> list[Json]:
    """What did not fit, in the agent's own values; what was expected stays with the reviewers."""
    code = decision.code.value
    reasons: list[Json] = [{"code": code, "field": item.field, "got": item.got} for item in decision.failed]
    if hold is not None and hold.reason:
        reasons.append({"code": code, "field": "review", "got": hold.reason})
    return reasons


def _links(hold: Hold) -> str:
    links = [f'<{hold_url(hold.id)}>; rel="status"']
    if redeemable(hold):
        links.append(f'<{hold_url(hold.id)}/redeem>; rel="redeem"')
    return ", ".join(links)


def _accepted(hold: Hold, *, now: datetime) -> Answer:
    after_s = retry_after_s(hold, now=now)
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("Location", hold_url(hold.id)),
        ("Preference-Applied", "respond-async"),
        ("Link", _links(hold)),
    ]
    if after_s is not None:
        headers.append(("Retry-After", str(after_s)))
    return Answer(status=202, headers=tuple(headers), body=json_bytes(hold_document(hold, now=now)))
