"""The proxy's answers as values: a call that waits for a person, or one that was refused (DESIGN: answers).

    match read_answer(response.status_code, response.headers, response.content):
        case Held() as held: ...      # go on with other work, or let `proxy.agent.waiting` wait for the decision
        case Denied() as denied: ...  # `denied.action` says retry, wait, fix or stop
        case None: ...                # an ordinary response

Not checked here: who wrote the answer. An origin may imitate one; all it gains is a pause, for what is asked then is
asked of the proxy's own pages, never at an address that stood in the answer.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from proxy.core.encoding import Json

_WAITING = frozenset({"held", "approved", "releasing"})
_PROBLEM = "application/problem+json"
_TYPES = ("http://intent.internal/problems/", "urn:intent-proxy:")  # the proxy's documents, and the sidecar's
_HOLDS = "http://intent.internal/holds/"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINK = re.compile(r'<([^<>]*)>\s*;\s*rel="([a-z]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A call stopped and stored until a person decides. Send the same call again, or redeem it, once it is approved."""

    id: str
    status: str  # "held", "approved", "releasing"; from `read_hold` also how it ended
    status_url: str
    redeem_url: str | None  # None when there is nothing left to redeem
    response_url: str | None  # where the response is once the proxy has sent the call by itself; None when it will not
    retry_after_s: int | None  # when to ask again; None when nothing will change
    code: str
    reason: str  # one sentence, or a reviewer's words
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A call that was refused. Nothing of it was sent, unless the code is `upstream.broken` or `hold.uncertain`."""

    status: int
    code: str  # a `proxy.core.errors.Code`
    title: str
    detail: str
    action: str  # "retry", "wait", "fix" or "stop"
    retry_after_s: int | None
    decision_id: str
    sponsor: str | None
    reasons: tuple[Mapping[str, Json], ...]


class _Items(Protocol):
    def items(self) -> Iterable[tuple[str, str]]: ...


type Headers = _Items | Iterable[tuple[str, str]]


def read_answer(status: int, headers: Headers, body: bytes) -> Held | Denied | None:
    """What the proxy answered, or None when this is not an answer of the proxy's. Never raises."""
    fields = fields_of(headers)
    media_type = fields.get("content-type", "").partition(";")[0].strip().lower()
    members = _object(body)
    if status == 202 and fields.get("location", "").startswith(_HOLDS):
        return read_hold(body)
    code = _text(members, "code")
    if media_type != _PROBLEM or not code or _text(members, "type") not in {kind + code for kind in _TYPES}:
        return None  # many an API's own problems have a code, too
    task = members.get("task")
    if isinstance(task, Mapping) and task.get("status") in _WAITING:
        return _held(members, task, fields) if _ID.fullmatch(_text(task, "id")) else None
    retry = members.get("retry")
    guide: Mapping[str, Json] = retry if isinstance(retry, Mapping) else {}
    reasons = members.get("reasons")
    return Denied(
        status=status,
        code=code,
        title=_text(members, "title"),
        detail=_text(members, "detail"),
        action=_text(guide, "action") or "stop",
        retry_after_s=_number(guide, "after_s"),
        decision_id=_text(members, "decision_id"),
        sponsor=_text(members, "sponsor") or None,
        reasons=tuple(each for each in reasons if isinstance(each, Mapping)) if isinstance(reasons, list) else (),
    )


def read_hold(body: bytes) -> Held | None:
    """The hold in a document from its `status_url`, or None when it is not one. Never raises."""
    members = _object(body)
    hold_id = _text(members, "id")
    if not _ID.fullmatch(hold_id) or _text(members, "status_endpoint") != _HOLDS + hold_id:
        return None
    return Held(
        id=hold_id,
        status=_text(members, "status"),
        status_url=_HOLDS + hold_id,
        redeem_url=f"{_HOLDS}{hold_id}/redeem" if _text(members, "redeem_endpoint") else None,
        response_url=f"{_HOLDS}{hold_id}/response" if _text(members, "response_endpoint") else None,
        retry_after_s=_number(members, "retry_after_s"),
        code=_text(members, "code"),
        reason=_text(members, "reason") or _text(members, "next"),
        expires_at=_time(members, "expires_at"),
    )


def _held(members: Mapping[str, Json], task: Mapping[str, Json], fields: Mapping[str, str]) -> Held:
    hold_id, after = _text(task, "id"), fields.get("retry-after", "")
    redeemable = any(relation == "redeem" for _, relation in _LINK.findall(fields.get("link", "")))
    return Held(
        id=hold_id,
        status=_text(task, "status"),
        status_url=_HOLDS + hold_id,
        redeem_url=f"{_HOLDS}{hold_id}/redeem" if redeemable else None,
        response_url=None,  # its status says
        retry_after_s=int(after) if after.isascii() and after.isdigit() and len(after) < 10 else None,
        code=_text(members, "code"),
        reason=_text(members, "detail"),
        expires_at=_time(task, "expires_at"),
    )


def fields_of(headers: Headers) -> dict[str, str]:
    """By names in lower case; of a name that comes more than once the last value."""
    lines = headers.items() if hasattr(headers, "items") else headers
    return {name.lower(): value for name, value in lines}


def _object(body: bytes) -> Mapping[str, Json]:
    try:
        value: Json = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _text(members: Mapping[str, Json], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""


def _number(members: Mapping[str, Json], name: str) -> int | None:
    value = members.get(name)
    return value if type(value) is int else None


def _time(members: Mapping[str, Json], name: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(members, name))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
