"""An answer to render, and those that are no refusals: documents of the proxy's own, and responses that were kept."""

import json
from dataclasses import dataclass

from proxy.core.delivering import KeptResponse
from proxy.core.encoding import Json


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


def json_bytes(value: dict[str, Json]) -> bytes:
    """ASCII only: control, bidi and escape characters of a held call or a reviewer's words arrive escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")
