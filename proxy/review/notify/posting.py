"""One message to one receiver: over TLS, to an address that was looked at first, and no further than that.

Redirects are not followed, nothing of the environment is asked (no proxy variables), and of the answer no more is read
than it takes to say what came back.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import h11

from proxy.core.addresses import OwnSurfaces, check_addresses, is_metadata_name
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import IPAddress, IPNetwork
from proxy.policy.webhooks import Target
from proxy.ports import Resolver

DEADLINE_S = 10.0
_MOST_READ = 65_536
_SAID_BYTES = 300
_LONGEST_WAIT_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a receiver answered."""

    status: int
    said: str  # the beginning of its body
    retry_after_s: int | None

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


class Postman:
    """Posts messages. It has no memory of its own."""

    def __init__(self, *, resolver: Resolver, tls: ssl.SSLContext, own: OwnSurfaces) -> None:
        """`own` is where the proxy, its store and its desk are: no receiver is there."""
        self._resolver = resolver
        self._tls = tls
        self._own = own

    async def post(
        self, target: Target, body: str, headers: Mapping[str, str], *, allowed: tuple[IPNetwork, ...]
    ) -> Reply:
        """Post a message and return what the receiver answered, whatever that is.

        Raises:
            Rejected(GUARD_ADDRESS, GUARD_SELF): it may not be reached, wherever its name leads now.
            Unavailable(UPSTREAM_NAME, RESOLVER_DOWN): its name leads nowhere now.
            Unavailable(UPSTREAM_CONNECT): it cannot be reached, or gave no answer in time.
        """
        try:
            async with asyncio.timeout(DEADLINE_S):
                addresses = await self._addresses(target, allowed)
                reader, writer = await self._connect(target, addresses)
                try:
                    return await _exchange(reader, writer, target, body.encode(), headers)
                finally:
                    writer.close()
        except TimeoutError:
            raise _down(target, f"gave no answer within {DEADLINE_S:.0f} s") from None
        except h11.RemoteProtocolError:
            raise _down(target, "answered with something that is not HTTP/1.1") from None
        except OSError as fault:
            raise _down(target, f"broke off: {fault.strerror or type(fault).__name__}") from None

    async def _addresses(self, target: Target, allowed: tuple[IPNetwork, ...]) -> tuple[IPAddress, ...]:
        if is_metadata_name(target.host) or self._own.named(target.host):
            raise Rejected(Code.GUARD_ADDRESS, f"{target.host} is told nothing: it is never reached", field="url")
        found = await self._resolver.resolve(target.host, target.port)
        try:
            return check_addresses(found, allowed, port=target.port, own=self._own)
        except Rejected as fault:
            why = "it is the proxy itself"
            if fault.code is not Code.GUARD_SELF:
                why = "its address must be public, or in a network that addresses names, and of no special kind"
            raise Rejected(fault.code, f"{target.authority} is told nothing: {why}", field="addresses") from None

    async def _connect(
        self, target: Target, addresses: tuple[IPAddress, ...]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = target.scheme == "https"
        why = ""
        for address in addresses:
            try:
                return await asyncio.open_connection(
                    str(address),
                    target.port,
                    ssl=self._tls if secure else None,
                    server_hostname=target.host if secure else None,
                )
            except ssl.SSLCertVerificationError as fault:
                why = f"showed a certificate that does not count: {fault.verify_message}"
            except (OSError, ssl.SSLError) as fault:
                why = f"cannot be connected to: {fault.strerror or type(fault).__name__}"
        raise _down(target, why)


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
) -> Reply:
    http = h11.Connection(h11.CLIENT)
    lines = {
        "Host": target.authority,
        "User-Agent": "intent-proxy",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    request = h11.Request(method="POST", target=target.path, headers=list(lines.items()))
    for event in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(http.send(event) or b"")
    with suppress(ConnectionError):  # who refuses early may have answered all the same
        await writer.drain()
    return await _answer(reader, http, target)


async def _answer(reader: asyncio.StreamReader, http: h11.Connection, target: Target) -> Reply:
    """The status, and the beginning of the body. A body that breaks off changes nothing: the head was the answer."""
    head: h11.Response | None = None
    said, read = b"", 0
    while len(said) < _SAID_BYTES and read < _MOST_READ:
        event = http.next_event()
        if event is h11.NEED_DATA:
            try:
                data = await reader.read(4096)
            except ConnectionError:
                data = b""
            read += len(data)
            if not data and head is not None:
                break
            if not data:
                raise _down(target, "closed the connection without an answer")
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            said += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) or event is h11.PAUSED:
            break
    if head is None:
        raise _down(target, "sent no answer that ends")
    return Reply(
        status=head.status_code,
        said=said[:_SAID_BYTES].decode("utf-8", "replace"),
        retry_after_s=_retry_after(head),
    )


def _retry_after(head: h11.Response) -> int | None:
    """Seconds to wait, where it says so in seconds."""
    text = next((value for name, value in head.headers if name == b"retry-after"), b"")
    return min(int(text), _LONGEST_WAIT_S) if text.isdigit() and len(text) < 10 else None


def _down(target: Target, why: str) -> Unavailable:
    return Unavailable(Code.UPSTREAM_CONNECT, f"the receiver at {target.authority} {why}")
