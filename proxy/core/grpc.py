"""Refusals in the form a gRPC client understands: a status of its own, told in the head of the response.

The client of a refused call sees an `RpcError` with a code and a sentence; the whole problem document is in the
trailing metadata, as `intent-problem-bin`.
"""

import re
from base64 import b64encode
from collections.abc import Mapping

PROBLEM_KEY = "intent-problem-bin"

_GRPC = re.compile(rb"application/grpc(?:\+[^;]*)?[\t ]*(?:;.*)?")
_SHOWN = frozenset(range(0x20, 0x7F)) - {ord("%")}

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 3, 4, 5, 7
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNAVAILABLE, UNAUTHENTICATED = 8, 9, 14, 16

_CODES: Mapping[int, int] = {
    400: INVALID_ARGUMENT,
    404: NOT_FOUND,
    407: UNAUTHENTICATED,
    408: DEADLINE_EXCEEDED,
    409: FAILED_PRECONDITION,
    413: RESOURCE_EXHAUSTED,
    414: RESOURCE_EXHAUSTED,
    429: RESOURCE_EXHAUSTED,
    431: RESOURCE_EXHAUSTED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
}


def is_grpc(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    """Whether a head says that its body is gRPC's. gRPC-Web, which is made for HTTP/1.1, is not."""
    return any(name.lower() == b"content-type" and _GRPC.fullmatch(value.lower()) for name, value in headers)


def trailers_only(status: int, message: str, document: bytes) -> tuple[tuple[str, str], ...]:
    """The fields of a response without a body that tells what HTTP would tell by `status` and a problem `document`.

    To be sent with the HTTP status 200, as the protocol demands of whoever speaks it (gRPC over HTTP/2, Responses).
    """
    return (
        ("Content-Type", "application/grpc"),
        ("grpc-status", str(_CODES.get(status, PERMISSION_DENIED))),
        ("grpc-message", _percent_encoded(message)),
        (PROBLEM_KEY, b64encode(document).decode("ascii").rstrip("=")),
    )


def _percent_encoded(message: str) -> str:
    return "".join(chr(byte) if byte in _SHOWN else f"%{byte:02X}" for byte in message.encode())
