"""Which calls are the same call, and which of their values nobody may read (DESIGN: retry)."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.bodies.coding import BodyCaps, uncoded
from proxy.core.bodies.media import MediaType, media_type
from proxy.core.bodies.multipart import FormPart, read_multipart
from proxy.core.content_digest import CONTENT_DIGEST, check_content_digest
from proxy.core.encoding import Json, b64u, canonical_json, sha256_b64u
from proxy.core.errors import Rejected
from proxy.core.fields import lines
from proxy.core.folding import folded_field
from proxy.core.model import Call, Unread

_FORM = 1
VOLATILE = frozenset({"date", "user-agent", "traceparent", "tracestate"})
"""Headers that make no call another."""
_SENSITIVE = re.compile(r"auth|cookie|credential|jwt|key|passw|secret|session|signature|token")
_SENSITIVE_NAMES = frozenset({"sec-websocket-protocol"})  # browsers have no other field to put a token in
_NOT_SENSITIVE = frozenset({"idempotency-key", "sec-websocket-key"})


def is_sensitive(name: str) -> bool:
    """Whether a header or query parameter of this name may carry a credential, so that only its keyed hash is shown.

    Any name that contains a word such as key, token or secret counts; letter case, and what is
    neither letter nor digit, make no difference.
    """
    key = folded_field(name)
    if key in _NOT_SENSITIVE:
        return False
    return key in _SENSITIVE_NAMES or key.startswith("proxy-") or _SENSITIVE.search(key) is not None


def masked_headers(call: Call, keyed_hash: Callable[[str], str]) -> tuple[tuple[str, str], ...]:
    """The forwarded headers in order, each sensitive value as `keyed:` and its keyed hash."""
    return tuple((name, _masked(value, keyed_hash) if is_sensitive(name) else value) for name, value in call.headers)


def call_digest(
    call: Call,
    *,
    deployment: str,
    root_id: str,
    sub_path: str,
    cluster: str,
    task: str,
    keyed_hash: Callable[[str], str],
) -> str:
    """What makes two calls the same: base64url SHA-256 over the RFC 8785 form of everything that matters.

    In it: where it was judged and under what, method, canonical URL, the headers in order with names in lower case
    and credentials as keyed hashes, the SHA-256 of the body, and that it opens a WebSocket if it does. Left out:
    `Date`, `User-Agent`, `traceparent`, `tracestate`; our own fields and signature are not among the forwarded headers.
    Somebody else's `Signature` stays in: a call signed afresh for the server is another call, and what was approved is
    sent by redeeming it. A multipart form counts by its parts, since clients draw a new boundary each time: `_form_of`.
    """
    form = _form_of(call)
    headers = masked_headers(call, keyed_hash)
    return sha256_b64u(
        canonical_json(
            {
                "form": _FORM,
                "deployment": deployment,
                "root": root_id,
                "sub": sub_path,
                "cluster": cluster,
                "task": task,
                "method": call.method,
                "url": call.url,
                "headers": [
                    [name.lower(), value if form is None else form.header(name.lower(), value)]
                    for name, value in headers
                    if name.lower() not in VOLATILE
                ],
                "body": _plain_body(call) if form is None else form.body(),
                **({"websocket": True} if call.websocket else {}),
            }
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A multipart form without its boundary, and the header values that hang on it."""

    media: MediaType
    parts: tuple[FormPart, ...]
    digest_is_true: bool

    def header(self, name: str, value: str) -> Json:
        """A header's value as it counts: None where the parts say it all, never the boundary."""
        match name:
            case "content-type":
                parameters = sorted(self.media.parameters.items())
                return [self.media.type, *([key, text] for key, text in parameters if key != "boundary")]
            case "content-length":
                return None
            case _:
                return None if name == CONTENT_DIGEST and self.digest_is_true else value

    def body(self) -> Json:
        return [[[list(line) for line in part.headers], sha256_b64u(part.data)] for part in self.parts]


def _form_of(call: Call) -> _Form | None:
    """The multipart form a call bears, or None: then it counts by its bytes.

    Structure is compared, never bytes with a boundary replaced: a body is taken apart only by the strict reader, and
    two that are read as the same parts differ in the boundary, in white space around a part's header values, and in
    the last line end alone. `Content-Digest` counts by its text unless it is true, and so follows from the body.
    """
    if isinstance(call.body, Unread):
        return None
    try:
        media = media_type(call.headers)
        if media is None:
            return None
        caps = BodyCaps(decoded_bytes=len(call.body))  # whatever is in memory counts the same everywhere
        parts = read_multipart(uncoded(call.headers, call.body, caps), media, caps)
    except Rejected:
        return None
    return _Form(media=media, parts=parts, digest_is_true=_digest_is_true(call, call.body))


def _digest_is_true(call: Call, body: bytes) -> bool:
    try:
        check_content_digest(lines((name.encode(), value.encode()) for name, value in call.headers), body)
    except Rejected:
        return False
    return True


def _plain_body(call: Call) -> Json:
    return None if call.body_sha256 is None else b64u(call.body_sha256)


def _masked(value: str, keyed_hash: Callable[[str], str]) -> str:
    return f"keyed:{keyed_hash(value)}"
