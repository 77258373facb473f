"""The way to the proxy: plain or TLS connections to it, and tunnels through it.

Nothing here is kept between calls, so a proxy that was restarted is found again by the next one.
"""

import asyncio
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from proxy.agent.proxyurl import host_and_port, is_loopback, read_proxy_url
from proxy.agent.sidecar.refusals import Refusal, broken, no_proxy, untrusted
from proxy.agent.sidecar.streams import Stream, TcpStream, TlsStream
from proxy.core.errors import Code, Rejected

CONNECT_S = 10.0
ANSWER_S = 30.0  # to a CONNECT, and for the proxy's own pages
HEAD_BYTES = 65_536
_MAX_ANSWER_BYTES = 65_536


class Refused(Exception):
    """The sidecar cannot go on with a call, and this is what its caller is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the proxy answered."""

    head: h11.Response
    body: bytes


class Route:
    """Where the proxy is, and what it is trusted by."""

    def __init__(self, proxy_url: str, *, ca_file: str | None = None) -> None:
        """`proxy_url` is http://host:port or https://host:port; `ca_file` is the proxy's CA.

        Raises:
            Rejected(CONFIG_INVALID): another kind of URL, or no certificates in the file.
        """
        parts = read_proxy_url(proxy_url)
        if parts is None or parts.username is not None:
            detail = "the proxy must be http://host:port or https://host:port, without credentials"
            raise Rejected(Code.CONFIG_INVALID, detail, field="proxy")
        self.host, self.port = parts.hostname or "", parts.port or 0
        self._outside = _trusting(ca_file)
        self._inside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody: inside a tunnel only the proxy answers
        self._inside.set_alpn_protocols(["http/1.1"])
        self._tls = parts.scheme == "https"
        if ca_file is not None:
            self._inside.load_verify_locations(ca_file)

    def __str__(self) -> str:
        return f"{'https' if self._tls else 'http'}://{host_and_port(self.host, self.port)}"

    @property
    def is_private(self) -> bool:
        """Whether nobody else can answer in the proxy's place."""
        return self._tls or is_loopback(self.host)

    def trust(self, certificates: bytes) -> None:
        """Take these, PEM, for the CA by which the proxy stands for hosts inside tunnels.

        Raises:
            Rejected(CONFIG_INVALID): there is no certificate in them.
        """
        try:
            self._inside.load_verify_locations(cadata=certificates.decode("ascii"))
        except (ValueError, ssl.SSLError):
            raise Rejected(Code.CONFIG_INVALID, "the proxy's CA must be PEM certificates", field="ca") from None

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
        return await self._secured(stream, self._outside, self.host) if self._tls else stream

    async def stand_in(self, tunnel: Stream, host: str) -> Stream:
        """TLS inside a tunnel, with the proxy in the place of `host`.

        Raises:
            Refused: it cannot be agreed on.
        """
        return await self._secured(tunnel, self._inside, host)

    async def _secured(self, stream: Stream, context: ssl.SSLContext, hostname: str) -> Stream:
        tls = TlsStream(stream, context, hostname=hostname)
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
        answered = await _ask(stream, "CONNECT", authority, [("Host", authority), *lines])
        if 200 <= answered.head.status_code < 300:
            return stream
        stream.close()
        return answered

    async def get(self, url: str, lines: Sequence[tuple[str, str]] = ()) -> Answered:
        """A page of the proxy's own, by its http:// URL; at most 64 KiB of it.

        Raises:
            Refused: as `tunnel`.
        """
        stream = await self.connect()
        try:
            return await _ask(stream, "GET", url, [("Host", urlsplit(url).netloc), *lines])
        finally:
            stream.close()


async def _ask(stream: Stream, method: str, target: str, head: Sequence[tuple[str, str]]) -> Answered:
    """Send one request without a body, and read its answer; of an accepted CONNECT the head, after which it is open.

    Raises:
        Refused: there is no answer. The stream is closed.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _exchange(stream, h11.Request(method=method, target=target, headers=list(head)))
    except (OSError, h11.ProtocolError) as fault:
        stream.close()
        raise Refused(broken(_why(fault))) from None
    except BaseException:
        stream.close()
        raise


async def _exchange(stream: Stream, request: h11.Request) -> Answered:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
    stream.put((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
    head: h11.Response | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.read())
        elif isinstance(event, h11.Response):
            head = event
            if request.method == b"CONNECT" and 200 <= head.status_code < 300:
                return Answered(head=head, body=b"")  # a server there speaks only when spoken to: nothing follows yet
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_ANSWER_BYTES:
                raise h11.RemoteProtocolError("its answer is too long")
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
            if head is None:
                raise h11.RemoteProtocolError("it closed the connection")
            return Answered(head=head, body=bytes(body))


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
    if isinstance(fault, OSError) and (fault.errno or 0) > 0:
        return os.strerror(fault.errno or 0)  # asyncio's own words have the address in them once more
    if str(fault).startswith("Multiple exceptions"):  # asyncio's, of a name with several addresses
        return "none of its addresses takes a connection"
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    return str(fault) or type(fault).__name__
