"""What a node sends by itself, and the response it keeps for the agent (DESIGN: `deliver`)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy.core.credential import Credential
from proxy.core.digest import is_sensitive
from proxy.core.encoding import Json, canonical_json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.injection import replaces_field, replaces_parameter
from proxy.core.model import Call, Decision, Effect, Unread, Verdict

IDEMPOTENCY_KEY = "Idempotency-Key"

_FORMAT = "intent-kept-response/1"
_MEMBERS = frozenset({"format", "status", "headers", "body", "bytes", "complete"})


def delivers(decision: Decision, call: Call, *, today: Decision | None = None) -> bool:
    """Whether a released call is to be sent by a node itself: the rule says so, and nothing of the call forbids it.

    `today` is the decision on it as it is sent; unless that denies it, it must say so, too: the record of a call can be
    written by whoever holds the secret that it is sealed with.
    """
    rules = (decision,) if today is None or today.verdict is Verdict.DENY else (decision, today)
    return all(rule.review.effect is Effect.DELIVER and undeliverable(call, rule.credential) is None for rule in rules)


def undeliverable(call: Call, credential: Credential | None = None) -> str | None:
    """Why a node may not send this call by itself; None: it may.

    Its agent's credentials and signatures are the agent's to use: whatever may be one, in a header or in the query,
    leaves the call to the agent. Not what its `credential` takes the place of when it is sent: that is never sent.
    """
    if isinstance(call.body, Unread):
        return "its body was too large to be kept"
    if call.websocket:
        return "a WebSocket needs its agent at the other end"
    if any(is_sensitive(name) and not replaces_field(credential, name) for name, _ in call.headers):
        return "a header may be its agent's credential or signature"
    if any(is_sensitive(name) and not replaces_parameter(credential, name) for name, _ in call.parameters):
        return "a query parameter may be its agent's credential or signature"
    return None


def as_delivered(decision: Decision, call: Call, hold_id: str) -> Call:
    """The call as a node sends it: with the hold's id as `Idempotency-Key`, where the rule that held it says so.

    A key of the agent's own stays. `call` is what was approved; nothing else of it changes.
    """
    has_one = any(name.lower() == IDEMPOTENCY_KEY.lower() for name, _ in call.headers)
    if has_one or not decision.review.idempotency_key:
        return call
    return replace(call, headers=(*call.headers, (IDEMPOTENCY_KEY, hold_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResponse:
    """The response to a delivered call, as far as it was kept."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_bytes: int  # of the whole body as far as it came; more than `len(body)` when it was too large to keep
    complete: bool  # False: the connection broke before its end


def kept_to_bytes(kept: KeptResponse) -> bytes:
    """The RFC 8785 form of a kept response."""
    return canonical_json(
        {
            "format": _FORMAT,
            "status": kept.status,
            "headers": [[name, value] for name, value in kept.headers],
            "body": base64.b64encode(kept.body).decode("ascii"),
            "bytes": kept.body_bytes,
            "complete": kept.complete,
        }
    )


def kept_from_bytes(data: bytes) -> KeptResponse:
    """The kept response these bytes are.

    Raises:
        Rejected(HOLD_TAMPERED): not exactly what `kept_to_bytes` writes.
    """
    members = parse_json(data, code=Code.HOLD_TAMPERED, what="a kept response")
    match members:
        case {
            "format": str(written),
            "status": int(status),
            "headers": list(headers),
            "body": str(body),
            "bytes": int(body_bytes),
            "complete": bool(complete),
        } if isinstance(members, Mapping) and members.keys() == _MEMBERS and written == _FORMAT:
            kept = KeptResponse(
                status=status,
                headers=tuple(_pair(item) for item in headers),
                body=_bytes(body),
                body_bytes=body_bytes,
                complete=complete,
            )
            if kept_to_bytes(kept) == data:
                return kept
    raise _tampered()


def _pair(item: Json) -> tuple[str, str]:
    match item:
        case [str(name), str(value)]:
            return name, value
    raise _tampered()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise _tampered() from None


def _tampered() -> Rejected:
    return Rejected(Code.HOLD_TAMPERED, "the kept response is not in the form this version writes", field="response")
