"""Connecting upstream: denied unless an allowed call left a dial token, and then only to the addresses it names."""

import ipaddress
import logging
import time
from collections import defaultdict
from dataclasses import dataclass

from mitmproxy import tls
from mitmproxy.connection import Client, Server
from mitmproxy.proxy import server_hooks

from addons.exchange import Exchange, Upstream
from proxy.core.errors import Code
from proxy.core.model import IPAddress

logger = logging.getLogger(__name__)

TOKEN_LIFE_S = 15.0
AVOID_S = 30.0  # an address that failed to connect is tried last for this long
REFUSED = "no allowed call asked for this connection"

type Destination = tuple[str, str, int]  # client connection id, host, port


@dataclass(frozen=True, slots=True, kw_only=True)
class DialToken:
    """The right of one live exchange to open connections to one destination."""

    exchange: Exchange
    addresses: tuple[IPAddress, ...]
    tls: bool
    deadline_s: float  # monotonic


class Dials:
    """The tokens of this worker. A token is taken by `server_connect` and ends with its exchange or deadline."""

    def __init__(self) -> None:
        self._tokens: defaultdict[Destination, list[DialToken]] = defaultdict(list)

    def grant(self, destination: Destination, token: DialToken) -> None:
        self._tokens[destination].append(token)

    def take(self, destination: Destination, exchange: Exchange, *, tls: bool, now_s: float) -> DialToken | None:
        if exchange.gone.is_set():
            return None
        for token in self._tokens.get(destination, ()):
            if token.exchange is exchange and token.tls is tls and now_s < token.deadline_s:
                return token
        return None

    def revoke(self, exchange: Exchange) -> None:
        """Forget every token of an exchange that ended."""
        for destination in [each for each in self._tokens if each[0] == exchange.client_id]:
            left = [token for token in self._tokens[destination] if token.exchange is not exchange]
            if left:
                self._tokens[destination] = left
            else:
                del self._tokens[destination]


class Dial:
    """`server_connect` refuses first; the policy host stays the name that TLS checks."""

    def __init__(self, dials: Dials, *, most: int) -> None:
        """`most`: how many connections this worker may have to origins."""
        self._dials = dials
        self._most = most
        self._named: dict[str, tuple[str, int]] = {}  # server connection id -> policy host and port
        self._exchanges: dict[str, Exchange] = {}
        self._of_client: defaultdict[str, set[str]] = defaultdict(set)  # client connection id -> server connection ids
        self._failed_until_s: dict[IPAddress, float] = {}

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        server = data.server
        server.error = REFUSED
        if server.address is None or server.via is not None or server.transport_protocol != "tcp":
            return
        host, port = server.address[0], server.address[1]
        now_s = time.monotonic()
        token = None
        if isinstance(server, Upstream) and server.exchange is not None:
            token = self._dials.take((data.client.id, host, port), server.exchange, tls=server.tls, now_s=now_s)
        if not isinstance(server, Upstream) or token is None:
            logger.warning("refused to dial %s:%s: %s", host, port, REFUSED)
            return
        if len(self._named) >= self._most:
            server.error = token.exchange.fault_detail = f"the proxy has {self._most} connections to origins already"
            token.exchange.fault = Code.BUSY
            return
        chosen = self._choose(token.addresses, now_s)
        self._named[server.id] = (host, port)
        self._exchanges[server.id], server.exchange = token.exchange, None
        self._of_client[data.client.id].add(server.id)
        server.address = (str(chosen), port)
        server.sni = host if server.tls else None
        server.error = None

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        # With the address left in place mitmproxy would not find this connection again for the next call; it forbids
        # the plain assignment on an open connection.
        named = self._named.get(data.server.id)
        if named is not None:  # else its client has left
            object.__setattr__(data.server, "address", named)
        if not data.server.tls:
            self._exchanges.pop(data.server.id, None)

    def tls_established_server(self, data: tls.TlsData) -> None:
        self._exchanges.pop(data.conn.id, None)

    def server_connect_error(self, data: server_hooks.ServerConnectionHookData) -> None:
        exchange = self._exchanges.get(data.server.id)
        self._blame(data.server, Code.UPSTREAM_CONNECT, data.server.error or "the connection failed")
        if data.server.address is not None and data.server.id in self._named:
            ended_by_us = exchange is not None and exchange.stopped is not None
            if data.client.connected and not ended_by_us:  # who leaves or is stopped says nothing about the address
                self._avoid(ipaddress.ip_address(data.server.address[0]))
            data.server.address = self._named.pop(data.server.id)

    def client_disconnected(self, client: Client) -> None:
        for server_id in self._of_client.pop(client.id, ()):
            self._named.pop(server_id, None)
            self._exchanges.pop(server_id, None)

    def server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        self._named.pop(data.server.id, None)
        self._exchanges.pop(data.server.id, None)
        if data.client.id in self._of_client:
            self._of_client[data.client.id].discard(data.server.id)

    def tls_start_server(self, data: tls.TlsData) -> None:
        """Check the certificate against the policy host; a connection we did not name gets a name that never fits."""
        named = self._named.get(data.conn.id)
        data.conn.sni = named[0] if named else "refused.invalid"

    def tls_failed_server(self, data: tls.TlsData) -> None:
        if isinstance(data.conn, Server):
            self._blame(data.conn, Code.UPSTREAM_TLS, data.conn.error or "the TLS handshake failed")

    def _blame(self, server: Server, code: Code, detail: str) -> None:
        exchange = self._exchanges.pop(server.id, None)
        if exchange is not None:
            exchange.fault, exchange.fault_detail = code, detail

    def _avoid(self, address: IPAddress) -> None:
        now_s = time.monotonic()
        for old in [each for each, until_s in self._failed_until_s.items() if until_s <= now_s]:
            del self._failed_until_s[old]
        self._failed_until_s[address] = now_s + AVOID_S

    def _choose(self, addresses: tuple[IPAddress, ...], now_s: float) -> IPAddress:
        for address in addresses:
            if self._failed_until_s.get(address, 0.0) <= now_s:
                return address
        return addresses[0]
