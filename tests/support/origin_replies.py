"""What an `origins.Origin` receives and what it may answer: requests, replies, and gates to pause at."""

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

WAIT_S = 10.0


class Gate:
    """A pause in a reply: the origin waits at it until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], object]] = []
        self._is_open = False

    def open(self) -> None:
        with self._lock:
            self._is_open = True
            for wake in self._wakers:
                wake()
            self._wakers.clear()

    def wait_until_reached(self, timeout_s: float = WAIT_S) -> None:
        """Block until the origin stands at this gate: everything before it has been written."""
        assert self._reached.wait(timeout_s), f"no reply reached the gate within {timeout_s} s"

    async def pass_through(self) -> None:
        """For the origin: wait here."""
        loop, opened = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self._is_open:
                opened.set()
            else:
                self._wakers.append(lambda: loop.call_soon_threadsafe(opened.set))
        self._reached.set()
        await opened.wait()


@dataclass(frozen=True, kw_only=True)
class Request:
    """One complete request as received, parsed beside its bytes."""

    connection: int
    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes = field(repr=False)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field, in order."""
        return tuple(value for key, value in self.headers if key.lower() == name.lower())

    def header(self, name: str) -> str | None:
        """The one value of a field, None when absent; several are an error."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


type Part = bytes | Gate | float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer. Give one of `body`, `json` and `stream`, or the exact bytes as `raw`."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    json: Any = None
    stream: Sequence[Part] | None = None  # sent chunked, part by part; a number is a pause in seconds (demos only)
    framing: str = "length"  # or "chunked", or "close": the end of the connection ends the body
    gzip: bool = False
    interim: tuple[int, ...] = ()  # 1xx answers sent first
    before: Gate | None = None  # wait here before the first byte
    cut_after: int | None = None  # end the connection abruptly after so many bytes of this reply
    then: str = "keep"  # or "close", or "reset"
    raw: bytes | None = None

    @property
    def chunked(self) -> bool:
        return self.framing == "chunked" or (self.stream is not None and self.framing == "length")

    def parts(self, method: str) -> list[Part]:
        """Everything to write, in order."""
        if self.raw is not None:
            return [self.raw]
        headers, body = list(self.headers), self.body
        if self.json is not None:
            body = json.dumps(self.json).encode()
            if "content-type" not in {name.lower() for name, _ in headers}:
                headers.append(("Content-Type", "application/json"))
        if self.gzip:
            body = gzip.compress(body)
            headers.append(("Content-Encoding", "gzip"))
        if self.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif self.framing == "length" and self.status not in (204, 304):
            headers.append(("Content-Length", str(len(body))))
        if self.then != "keep" or self.framing == "close":
            headers.append(("Connection", "close"))
        start = [_head(status, []) for status in self.interim]
        head = b"".join([*start, _head(self.status, headers)])
        if method == "HEAD" or self.status in (204, 304):
            return [head]
        content: Sequence[Part] = [body] if self.stream is None else self.stream
        if not self.chunked:
            return [head, *content]
        return [
            head,
            *(chunk(part) if isinstance(part, bytes) else part for part in content if part != b""),
            chunk(b""),
        ]


type Route = Reply | Callable[[Request], Reply]


def echo(request: Request) -> Reply:
    """Answer with the request as JSON."""
    body = base64.b64encode(request.body).decode()
    return Reply(
        json={"method": request.method, "target": request.target, "headers": request.headers, "body_base64": body}
    )


def events(*data: str) -> tuple[bytes, ...]:
    """Server-sent events, one part each, for `Reply(stream=...)`."""
    return tuple(f"data: {item}\n\n".encode() for item in data)


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding; the empty one is the last (RFC 9112 §7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Status"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
