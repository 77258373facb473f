"""An answer to render, and those that need no decision: documents of the proxy's own, responses that were kept, and
refusals where no call was read.
"""

import json
from dataclasses import dataclass

from proxy.core.delivering import KeptResponse
from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.names import INTERNAL_HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer to render. `Content-Length` and `Connection` are the renderer's; an empty `reason` is the usual one."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reason: str = ""


def document(value: dict[str, Json], *, status: int = 200) -> Answer:
    """A JSON document as an answer, for what `intent.internal` serves."""
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Answer(status=status, headers=headers, body=json_bytes(value))


def kept_answer(kept: KeptResponse) -> Answer:
    """The response to a delivered call, as its agent fetches it: the origin's status, headers and body.

    `Intent-Response` says what it is, and what of it is missing.
    """
    whole = len(kept.body) == kept.body_bytes
    state = "complete" if kept.complete and whole else "broken" if whole else "too-large"
    dropped = {"content-length", "age", "expires", "cache-control", "alt-svc"}
    headers = [(name, value) for name, value in kept.headers if name.lower() not in dropped]
    mark = ("Intent-Response", f"kept; body={state}; bytes={kept.body_bytes}")
    return Answer(status=kept.status, headers=(*headers, ("Cache-Control", "no-store"), mark), body=kept.body)


def turned_away(
    code: Code, *, status: int, title: str, detail: str, action: str, reason: str = "", after_s: int | None = None
) -> Answer:
    """A refusal (RFC 9457) where no call was read. `action` is a word of `proxy.core.problems.Next`."""
    members: dict[str, Json] = {
        "type": f"http://{INTERNAL_HOST}/problems/{code.value}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code.value,
        "message": f"{code.value}: {detail}",
        "retry": {"action": action, "after_s": after_s},
    }
    headers = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    if after_s is not None:
        headers.append(("Retry-After", str(after_s)))
    return Answer(status=status, headers=tuple(headers), body=json_bytes(members), reason=reason or code.value)


def last_message(answer: Answer) -> bytes:
    """The answer as the last message of an HTTP/1.1 connection (RFC 9112 §9.6). It must have a reason."""
    lines = (
        f"HTTP/1.1 {answer.status} {answer.reason}",
        *(f"{name}: {value}" for name, value in answer.headers),
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + answer.body


def json_bytes(value: dict[str, Json]) -> bytes:
    """ASCII only: control, bidi and escape characters of a held call or a reviewer's words arrive escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")
