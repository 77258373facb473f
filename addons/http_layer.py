"""The HTTP layer of this proxy: which connection carries which call, and how fast each side may send.

An upstream connection serves a call only if that call may go where it leads. No rule is held here about who may do
what: what was decided stands in the call's `Exchange`.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HTTPMode,
    HttpStream,
    RegisterHttpConnection,
)
from mitmproxy.proxy.layers.http._events import RequestHeaders
from mitmproxy.proxy.layers.tls import ServerTLSLayer
from mitmproxy.proxy.tunnel import LayerStack

from addons.credentials import with_credential
from addons.exchange import Exchanges, Upstream
from addons.gated import GatedStream
from addons.http1 import Commands, StrictHttp1Server
from addons.http2 import StrictHttp2Server
from addons.http2_side import Http2Side, Taken
from addons.tidings import Tidings
from addons.uploads import NextPiece
from addons.upstream import StrictHttpClient

KEPT_CONNECTIONS = 3
"""How many idle upstream connections one client connection keeps, when its calls come one after the other."""

KEPT_FOR_HTTP2 = 8
"""The same, when they come side by side."""


@dataclass(eq=False)
class Reading(commands.Command):
    """Read no more from an origin, or go on: its response waits for a client that takes it slowly."""

    connection: Server
    goes_on: bool


class GatedHttpLayer(HttpLayer):
    """The HTTP layer made of strict connections and gated streams."""

    def __init__(self, context: Context, mode: HTTPMode, exchanges: Exchanges) -> None:
        super().__init__(context, mode)
        self._exchanges = exchanges
        self._client2: StrictHttp2Server | None = None  # when the client speaks HTTP/2
        self._upstreams: dict[Server, StrictHttpClient] = {}
        self._unread: set[Server] = set()

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Start):
            if self.mode is HTTPMode.transparent and self.context.client.alpn == b"h2":
                self._client2 = StrictHttp2Server(self.context.fork(), under_way=lambda: len(self.streams))
            self.connections[self.context.client] = self._client2 or StrictHttp1Server(self.context.fork())
        if isinstance(event, Tidings):
            for stream in tuple(self.streams.values()):
                yield from self.event_to_child(stream, event)
        else:
            yield from super()._handle_event(event)
        if self._client2 is not None:
            yield from self._relieve(self._client2)

    def make_stream(self, stream_id: int) -> Commands:
        context, http2 = self.context.fork(), self._client2 is not None
        self.streams[stream_id] = GatedStream(context, stream_id, self._exchanges, http2=http2)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def event_to_child(self, child: layer.Layer | HttpStream, event: events.Event) -> Commands:
        """As mitmproxy does; a request's head that goes to an origin gets its credential here, and nowhere before."""
        if isinstance(event, RequestHeaders) and not isinstance(child, HttpStream):
            exchange = self._exchanges.find(self.streams[event.stream_id].flow)
            (server,) = (each for each in self._upstreams if self.connections.get(each) is child)
            event = with_credential(event, exchange, leads_to=self._upstreams[server].named, tls=server.tls)
        yield from super().event_to_child(child, event)

    # --- upstream connections ----------------------------------------------------------------------------------------

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> Commands:
        """As mitmproxy does without an upstream proxy, but a connection that stands serves only a call whose own
        decision permits the address it leads to, and of the mandate and agent it was made for; no released call, no
        second one at a time over HTTP/1; and it never answers with an older call's error.
        """
        stream = self.command_sources[event]
        assert isinstance(stream, GatedStream) and event.via is None and event.transport_protocol == "tcp"
        alone = self._exchanges.is_claimed(stream.flow)
        if reuse and not alone:
            kept = self._kept(event, stream.flow)
            if kept is not None:
                del self.command_sources[event]
                yield from self.event_to_child(stream, GetHttpConnectionCompleted(event, (kept, None)))
                return
            opening = self._opening(event, stream.flow)
            if opening is not None:  # it may turn out to carry many calls
                self.waiting_for_establishment[opening].append(event)
                return
        yield from self._end_spare(room_for=1)
        context = self.context.fork()
        context.server = server = Upstream(address=event.address, transport_protocol="tcp")
        server.exchange = self._exchanges.find(stream.flow)
        stack = LayerStack()
        if event.tls:
            server.sni = event.address[0]
            stack /= ServerTLSLayer(context)
        behalf = self._exchanges.on_whose_behalf(stream.flow)
        stack /= (upstream := StrictHttpClient(context, named=event.address, alone=alone, behalf=behalf))
        self._upstreams[server] = upstream
        self.connections[server] = stack[0]
        self.waiting_for_establishment[server].append(event)
        yield from self.event_to_child(stack[0], events.Start())

    def register_connection(self, command: RegisterHttpConnection) -> Commands:
        """Tell who asked for the connection. Those who waited to see whether it carries them, too, ask again."""
        first, *others = self.waiting_for_establishment.pop(command.connection)
        reply = (None, command.err) if command.err else (command.connection, None)
        yield from self.event_to_child(self.command_sources.pop(first), GetHttpConnectionCompleted(first, reply))
        for each in others:
            yield from self.get_connection(each, reuse=not command.err)

    def _kept(self, event: GetHttpConnection, flow: http.HTTPFlow) -> Server | None:
        asked = (event.address, event.tls, self._exchanges.on_whose_behalf(flow))
        for connection, upstream in self._upstreams.items():
            same = (upstream.named, connection.tls, upstream.behalf) == asked
            if not (same and upstream.takes_another and connection.peername):
                continue
            if self._exchanges.may_reuse(flow, ip_address(connection.peername[0])):
                return connection
        return None

    def _opening(self, event: GetHttpConnection, flow: http.HTTPFlow) -> Server | None:
        """A connection to the same place that is being made, where it may carry calls side by side."""
        if self._client2 is None or not event.tls:
            return None
        asked = (event.address, self._exchanges.on_whose_behalf(flow))
        for connection, upstream in self._upstreams.items():
            same = (upstream.named, upstream.behalf) == asked and connection.tls
            if same and connection in self.waiting_for_establishment and not upstream.alone:
                return connection
        return None

    def _end_spare(self, *, room_for: int = 0) -> Commands:
        """End idle connections beyond those that are kept, and forget those that have ended."""
        for gone in [each for each in self._upstreams if each.timestamp_end is not None]:
            del self.connections[gone], self._upstreams[gone]
        idle = [connection for connection, upstream in self._upstreams.items() if upstream.is_idle]
        most = KEPT_CONNECTIONS if self._client2 is None else KEPT_FOR_HTTP2
        for spare in idle[: max(0, len(idle) - most + room_for)]:
            yield commands.CloseConnection(spare)

    # --- how fast ----------------------------------------------------------------------------------------------------

    def _relieve(self, client: StrictHttp2Server) -> Commands:
        """Let each side send as much as the other took of what it sent before (RFC 9113 §5.2)."""
        full: set[Server] = set()
        for stream_id, stream in tuple(self.streams.items()):
            assert isinstance(stream, GatedStream)
            upstream = self._upstreams.get(stream.origin) if stream.origin is not None else None
            origin = upstream.wire if upstream is not None else None
            if not (isinstance(origin, Http2Side) and origin.is_full(stream_id)):
                if stream.used_up:
                    yield from self._took(client, stream_id, stream.used_up)
                    stream.used_up = 0
                if stream.next_piece is not None:
                    yield from self.event_to_child(stream, NextPiece(stream_id))
            if not client.is_full(stream_id):
                if stream.used_down and isinstance(origin, Http2Side):
                    yield from self._took(origin, stream_id, stream.used_down)
                stream.used_down = 0
            elif upstream is not None and not isinstance(origin, Http2Side):
                full.add(upstream.context.server)
        for side in (client, *(each.wire for each in self._upstreams.values())):
            if isinstance(side, Http2Side):
                for stream_id in side.untaken.keys() - self.streams.keys():  # nobody is left to use it
                    yield from self._took(side, stream_id, side.untaken[stream_id])
        yield from self._read_no_more(full)

    def _took(self, side: Http2Side, stream_id: int, body_bytes: int) -> Commands:
        yield from self.event_to_child(self.connections[side.conn], Taken(stream_id, body_bytes))

    def _read_no_more(self, full: set[Server]) -> Commands:
        for connection in self._unread ^ full:
            yield Reading(connection, goes_on=connection in self._unread)
        self._unread = full
