"""One question to the provider: over TLS, within bounds, and to nowhere else than was asked.

Redirects are not followed, nothing of the environment is used (no proxies, no .netrc), and no URL bears a secret. Plain
HTTP is for a provider on this machine alone.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import h11

from proxy.core.errors import Code, Unavailable
from proxy.core.names import DEFAULT_PORTS

DEADLINE_S = 10.0
MOST_BYTES = 262_144
_READ_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the provider said."""

    status: int
    body: bytes


class Asks(Protocol):
    """Asks the provider."""

    async def __call__(
        self, url: str, *, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking(Asks):
    """A GET, or a POST when there is a body, each on a connection of its own."""

    tls: ssl.SSLContext
    deadline_s: float = DEADLINE_S

    async def __call__(self, url: str, *, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask, and return the answer, whatever its status is.

        Raises:
            Unavailable(UPSTREAM_CONNECT): there is none; for whoever runs the desk, without the path asked for.
        """
        parts = urlsplit(url)
        where, host = parts.netloc, parts.hostname or ""
        secure = parts.scheme == "https"
        try:
            async with asyncio.timeout(self.deadline_s):
                reader, writer = await asyncio.open_connection(
                    host,
                    parts.port or DEFAULT_PORTS[parts.scheme],
                    ssl=self.tls if secure else None,
                    server_hostname=host if secure else None,
                )
                try:
                    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                    return await _exchange(reader, writer, where, target, body, headers or {})
                finally:
                    writer.close()
        except TimeoutError:
            raise _down(where, f"gave no answer within {self.deadline_s:.0f} s") from None
        except ssl.SSLCertVerificationError as fault:
            detail = f"showed a certificate that does not count ({fault.verify_message}); name its CA in desk.oidc.ca"
            raise _down(where, detail) from None
        except (h11.ProtocolError, ValueError):
            raise _down(where, "answered with something that is not HTTP/1.1") from None
        except OSError as fault:
            raise _down(where, f"cannot be reached: {fault.strerror or type(fault).__name__}") from None


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    where: str,
    target: str,
    body: str | None,
    headers: Mapping[str, str],
) -> Answer:
    http = h11.Connection(h11.CLIENT)
    lines = {
        "Host": where,
        "User-Agent": "intent-proxy",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    data = b"" if body is None else body.encode("ascii")
    if body is not None:
        lines |= {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(data))}
    method = "GET" if body is None else "POST"
    for event in (h11.Request(method=method, target=target, headers=list(lines.items())), h11.Data(data=data)):
        writer.write(http.send(event) or b"")
    writer.write(http.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    head: h11.Response | None = None
    said = bytearray()
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await reader.read(_READ_BYTES))
            case h11.Response() as head:
                if any(name == b"content-encoding" and value != b"identity" for name, value in head.headers):
                    raise _down(where, "packed its answer, which it was asked not to do")
            case h11.Data(data=more):
                said += more
                if len(said) > MOST_BYTES:
                    raise _down(where, f"said more than {MOST_BYTES // 1024} KiB")
            case h11.EndOfMessage():
                assert head is not None
                return Answer(status=head.status_code, body=bytes(said))


def _down(where: str, why: str) -> Unavailable:
    return Unavailable(Code.UPSTREAM_CONNECT, f"the provider at {where} {why}")
