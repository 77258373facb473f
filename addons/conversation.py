"""A WebSocket that a rule allows: the two handshakes that open it (RFC 6455 §4), and what is counted of it."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from mitmproxy import http

from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.handshake import ANSWER, KEY_BYTES, answer_lines, check_opened, offered_protocols, opening_lines
from proxy.core.headers import field_value
from proxy.core.model import Received

_OF_ONE_CONNECTION = ANSWER | {"connection", "upgrade", "content-length", "transfer-encoding"}


@dataclass(slots=True, kw_only=True)
class Conversation:
    """One WebSocket, in numbers. `up` is towards the origin; bytes are those of messages, without their frames."""

    client_key: str
    messages_up: int = 0
    messages_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    close_code: int | None = None  # of the first side to close, as it said it
    closed_by: str | None = None  # "agent", "origin" or "proxy"
    fault: Code | None = None  # why it ended without a closing handshake

    def said(self) -> Mapping[str, Json]:
        """How it went, for the journal."""
        told = {"messages_up": self.messages_up, "messages_down": self.messages_down}
        closed = {"close_code": self.close_code, "closed_by": self.closed_by} if self.closed_by else {}
        return {**told, **closed}


def ask_origin(request: http.Request, received: Received) -> Conversation:
    """Make an allowed call's request one that opens a WebSocket, with a key of our own; `received` has the client's."""
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
    for name, value in opening_lines(key):
        request.headers.add(name, value)
    return Conversation(client_key=(field_value(received, b"sec-websocket-key") or b"").decode("ascii"))


def asks_for_websocket(request: http.Request) -> bool:
    """Whether this request, as it goes to the origin, opens a WebSocket. No other call keeps such a field."""
    return "upgrade" in request.headers


def check_switch(request: http.Request, response: http.Response) -> None:
    """Check an origin's 101 to a request that asks for one.

    Raises:
        Rejected(UPSTREAM_BROKEN): it does not answer what was asked.
    """
    offered = offered_protocols(_pairs(request.headers))
    check_opened(_pairs(response.headers), key=request.headers["sec-websocket-key"], offered=offered)


def answer_client(response: http.Response, conversation: Conversation) -> None:
    """Make the origin's 101, which was checked, our answer to the client's own handshake."""
    headers = response.headers
    lines = answer_lines(conversation.client_key, headers.get("sec-websocket-protocol"))
    kept = [(name, value) for name, value in _pairs(headers) if name.lower() not in _OF_ONE_CONNECTION]
    response.headers = http.Headers(
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*kept, *lines]]
    )


def _pairs(headers: http.Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.fields]
