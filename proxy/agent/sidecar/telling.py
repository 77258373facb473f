"""Refusals in the one form in which a program shows them to its user, where that is not the usual one.

| program | what its user gets to see |
|---|---|
| git, asking what there is | plain text, behind `remote:` |
| git, fetching or pushing | an error in its own protocol, which comes with status 200; git fails as before |
| pip, asking for a list of files | the type of a page it cannot read: it warns, and goes on without, as before |
| uv | the document, unless the status is one that it takes for a question of passwords |

Only the proxy's own refusals are retold, and the sidecar's; what an origin says reaches the program as it is.
"""

import enum
import json
import re
from collections.abc import Iterable, Mapping

from proxy.agent.answers import read_answer
from proxy.agent.sidecar.heads import Line, first
from proxy.core.encoding import Json

type Told = tuple[int, list[Line], bytes]
"""Status, header lines and body."""

_DESCRIBES_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
_RPC = re.compile(rb"application/x-git-(upload|receive)-pack-request")
_UNSEEN = re.compile(r"[^ -~]")
_MOST_CHARACTERS = 4000
_LOCKED = 423  # RFC 4918 §11.3; any that is neither 401 nor 403


class Form(enum.Enum):
    """How a program is told that its call was refused."""

    USUAL = enum.auto()
    TEXT = enum.auto()
    GIT_FETCH = enum.auto()
    GIT_PUSH = enum.auto()
    PIP_LIST = enum.auto()
    UV = enum.auto()


def form_of(method: bytes, lines: Iterable[Line]) -> Form:
    """How whoever makes this call shows a refusal."""
    given = list(lines)
    agent = first(given, b"user-agent") or b""
    if agent.startswith(b"git/"):
        rpc = _RPC.fullmatch(first(given, b"content-type") or b"") if method == b"POST" else None
        if rpc is None:
            return Form.TEXT
        return Form.GIT_FETCH if rpc[1] == b"upload" else Form.GIT_PUSH
    if agent.startswith(b"pip/") and b"vnd.pypi.simple" in (first(given, b"accept") or b""):
        return Form.PIP_LIST
    return Form.UV if agent.startswith(b"uv/") else Form.USUAL


def retold(form: Form, status: int, lines: list[Line], document: bytes) -> Told:
    """A refusal (RFC 9457) for that program; anything else as it is, also a question for the sidecar's password."""
    texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]
    is_ours = status >= 400 and status != 407 and read_answer(status, texts, document) is not None
    if not is_ours or form is Form.USUAL or (form is Form.PIP_LIST and status >= 500):  # then pip asks again by itself
        return status, lines, document
    if form is Form.UV:
        return (_LOCKED if status in (401, 403) else status), lines, document
    message = _message(document)
    match form:
        case Form.GIT_FETCH:
            return _as(200, lines, b"application/x-git-upload-pack-result", _packet(b"ERR ", message))
        case Form.GIT_PUSH:  # the third band of a reply is for fatal errors
            return _as(200, lines, b"application/x-git-receive-pack-result", _packet(b"\x03", message))
        case Form.PIP_LIST:
            quoted = message.replace(b"\\", b"/").replace(b'"', b"'")
            return _as(200, lines, b'text/plain; refused="' + quoted + b'"', message + b"\n")
    return _as(status, lines, b"text/plain; charset=utf-8", message + b"\n")


def _message(document: bytes) -> bytes:
    """What it says in one sentence, in characters that stand in a header line and do nothing to a terminal."""
    members: Json = json.loads(document)
    message = members.get("message", members.get("code")) if isinstance(members, Mapping) else None
    text = message if isinstance(message, str) else "refused"
    return _UNSEEN.sub("?", text)[:_MOST_CHARACTERS].strip().encode("ascii")


def _packet(kind: bytes, message: bytes) -> bytes:
    """One line of git's protocol (gitprotocol-common, pkt-line)."""
    line = kind + message + b"\n"
    return f"{len(line) + 4:04x}".encode() + line


def _as(status: int, lines: list[Line], media_type: bytes, body: bytes) -> Told:
    kept = [(name, value) for name, value in lines if name.lower() not in _DESCRIBES_BODY]
    return status, [*kept, (b"Content-Type", media_type), (b"Content-Length", str(len(body)).encode())], body
