"""The HTTP layer of this proxy: an upstream connection serves a call only if that call may go where it leads.

It holds no rule about who may do what: what was decided stands in the call's `Exchange`.
"""

from ipaddress import ip_address

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import GetHttpConnection, GetHttpConnectionCompleted, HttpLayer, HTTPMode
from mitmproxy.proxy.layers.tls import ServerTLSLayer
from mitmproxy.proxy.tunnel import LayerStack

from addons.exchange import Exchanges
from addons.gated import GatedStream
from addons.http1 import Commands, StrictHttp1Server
from addons.http1_client import StrictHttpClient

KEPT_CONNECTIONS = 3
"""How many idle upstream connections one client connection keeps; below mitmproxy's five to one address."""


class GatedHttpLayer(HttpLayer):
    """The HTTP layer made of strict connections and gated streams."""

    def __init__(self, context: Context, mode: HTTPMode, exchanges: Exchanges) -> None:
        super().__init__(context, mode)
        self._exchanges = exchanges

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Start):
            self.connections[self.context.client] = StrictHttp1Server(self.context.fork())
        yield from super()._handle_event(event)

    def make_stream(self, stream_id: int) -> Commands:
        self.streams[stream_id] = GatedStream(self.context.fork(), stream_id, self._exchanges)
        yield from self.event_to_child(self.streams[stream_id], events.Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> Commands:
        """As mitmproxy does for HTTP/1.1 without an upstream proxy, but a kept connection serves only a call whose own
        decision permits the address it leads to, no released call, and never answers with an older call's error.
        """
        stream = self.command_sources[event]
        assert isinstance(stream, GatedStream) and event.via is None and event.transport_protocol == "tcp"
        kept = self._kept(event, stream.flow) if reuse else None
        if kept is not None:
            del self.command_sources[event]
            yield from self.event_to_child(stream, GetHttpConnectionCompleted(event, (kept, None)))
            return
        yield from self._end_spare()
        context = self.context.fork()
        context.server = Server(address=event.address, transport_protocol="tcp")
        stack = LayerStack()
        if event.tls:
            context.server.sni = event.address[0]
            stack /= ServerTLSLayer(context)
        stack /= StrictHttpClient(context)
        self.connections[context.server] = stack[0]
        self.waiting_for_establishment[context.server].append(event)
        yield from self.event_to_child(stack[0], events.Start())

    def _kept(self, event: GetHttpConnection, flow: http.HTTPFlow) -> Server | None:
        if self._exchanges.is_claimed(flow):
            return None
        for connection in self._servers():
            if not (event.connection_spec_matches(connection) and connection.connected and connection.peername):
                continue
            if self._exchanges.may_reuse(flow, ip_address(connection.peername[0])):
                return connection
        return None

    def _end_spare(self) -> Commands:
        """Before another is dialled: mitmproxy lets a client have five connections to one address, and a sixth waits.

        HTTP/1.1 has one call under way, so all of these are idle. Those that ended are forgotten.
        """
        for gone in [each for each in self._servers() if each.timestamp_end is not None]:
            del self.connections[gone]
        idle = [each for each in self._servers() if each.connected]
        for spare in idle[: max(0, len(idle) - KEPT_CONNECTIONS + 1)]:
            yield commands.CloseConnection(spare)

    def _servers(self) -> list[Server]:
        return [each for each in self.connections if isinstance(each, Server)]
