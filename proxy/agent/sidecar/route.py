"""The way to the proxy: plain or TLS connections to it, and tunnels through it.

Nothing here is kept between calls, so a proxy that was restarted is found again by the next one.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from proxy.agent.sidecar.refusals import Refusal, broken, no_proxy, untrusted
from proxy.agent.sidecar.streams import Stream, TcpStream, TlsStream
from proxy.core.errors import Code, Rejected

CONNECT_S = 10.0
TUNNEL_S = 30.0  # for the answer to a CONNECT; the proxy promises a decision sooner
HEAD_BYTES = 65_536
_MAX_ANSWER_BYTES = 65_536


class Refused(Exception):
    """The sidecar cannot go on with a call, and this is what its caller is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The proxy's answer to a CONNECT that it did not accept."""

    head: h11.Response
    body: bytes


class Route:
    """Where the proxy is, and what it is trusted by."""

    def __init__(self, proxy_url: str, *, ca_file: str | None = None) -> None:
        """`proxy_url` is http://host:port or https://host:port; `ca_file` is the proxy's CA.

        Raises:
            Rejected(CONFIG_INVALID): another kind of URL, or no certificates in the file.
        """
        try:
            parts = urlsplit(proxy_url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port and not parts.path.strip("/")
        except ValueError:
            usable = False
        if not usable or parts.username is not None:
            detail = "the proxy must be http://host:port or https://host:port, without credentials"
            raise Rejected(Code.CONFIG_INVALID, detail, field="proxy")
        self.host, self.port = parts.hostname or "", parts.port or 0
        self._context = _trusting(ca_file)
        self._tls = parts.scheme == "https"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    async def connect(self) -> Stream:
        """A connection to the proxy.

        Raises:
            Refused: there is none.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError as fault:
            raise Refused(no_proxy(str(self), _why(fault))) from None
        stream = TcpStream(reader, writer)
        return await self.secured(stream, self.host) if self._tls else stream

    async def secured(self, stream: Stream, hostname: str) -> Stream:
        """TLS over `stream` with whoever is `hostname` for the proxy's CA.

        Raises:
            Refused: it cannot be agreed on.
        """
        tls = TlsStream(stream, self._context, hostname=hostname)
        try:
            await tls.handshake()
        except ssl.SSLError as fault:
            stream.close()
            raise Refused(untrusted(fault.reason or type(fault).__name__)) from None
        except OSError as fault:
            stream.close()
            raise Refused(no_proxy(str(self), _why(fault))) from None
        return tls

    async def tunnel(self, authority: str, lines: Sequence[tuple[str, str]]) -> Stream | Answered:
        """A tunnel to `authority` through the proxy, or why the proxy did not open one.

        Raises:
            Refused: the proxy cannot be reached, or does not answer.
        """
        stream = await self.connect()
        try:
            async with asyncio.timeout(TUNNEL_S):
                answered = await _ask_for_tunnel(stream, authority, lines)
        except (OSError, h11.RemoteProtocolError) as fault:
            stream.close()
            raise Refused(broken(_why(fault))) from None
        except BaseException:
            stream.close()
            raise
        if answered is None:
            return stream
        stream.close()
        return answered


async def _ask_for_tunnel(stream: Stream, authority: str, lines: Sequence[tuple[str, str]]) -> Answered | None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    head = [("Host", authority), *lines]
    stream.put(connection.send(h11.Request(method="CONNECT", target=authority, headers=head)) or b"")
    stream.put(connection.send(h11.EndOfMessage()) or b"")
    response: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.read())
        elif isinstance(event, h11.Response):
            if 200 <= event.status_code < 300:
                return None  # a server speaks only when spoken to: nothing can follow the head yet
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_ANSWER_BYTES:
                raise h11.RemoteProtocolError("its answer is too long")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            if response is None:
                raise h11.RemoteProtocolError("it closed the connection")
            return Answered(head=response, body=bytes(body))


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as fault:
        detail = f"the proxy's CA {ca_file} cannot be read: {fault.strerror or 'there is no certificate in it'}"
        raise Rejected(Code.CONFIG_INVALID, detail, field="ca") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "it does not answer in time"
    if isinstance(fault, OSError):
        return fault.strerror or str(fault) or type(fault).__name__
    return str(fault) or type(fault).__name__
