"""Connections: which protocol may follow, which CONNECT is accepted, and what ends with a client."""

from mitmproxy import http, tls
from mitmproxy.connection import Client
from mitmproxy.net.tls import starts_like_tls_record
from mitmproxy.proxy import context, layer, layers, tunnel
from mitmproxy.proxy.layers.http import HTTPMode

from addons.exchange import Exchanges
from addons.gated import GatedStream
from addons.http1 import RefusedHead
from addons.http_layer import GatedHttpLayer
from addons.plain import Closed, TlsWanted
from addons.translate import Tunnels, received, response_of, undecided
from proxy.core.errors import Code, Rejected
from proxy.core.transparent import check_sni, is_http
from proxy.gate import Gate
from proxy.identify import Tunnel


class Admit:
    """Gives every connection TLS or HTTP and nothing else; judges CONNECT by the evidence it brings.

    A CONNECT without evidence is accepted, because clients hide the body of a refused one: nothing is dialled, and
    each call inside is judged on its own.
    """

    name = "nextlayer"  # under which mitmproxy looks for whoever chooses the layers

    def __init__(self, gate: Gate, tunnels: Tunnels, exchanges: Exchanges) -> None:
        self._gate = gate
        self._tunnels = tunnels
        self._exchanges = exchanges

    async def next_layer(self, nextlayer: layer.NextLayer) -> None:
        client, data = nextlayer.context.client, nextlayer.data_client()
        if (tunnel := self._tunnels.redirected(client.id)) is not None:
            try:
                told = self._tells(data, tunnel.port, inside_tls=client.tls_established)
            except Rejected as fault:
                nextlayer.layer = Closed(nextlayer.context)
                await self.refuse_redirected(client, fault)
                return
            if not told:
                return
            self._tunnels.spoke.add(client.id)
        nextlayer.layer = self._choose(nextlayer.context, data)

    @staticmethod
    def _tells(data: bytes, port: int, *, inside_tls: bool) -> bool:
        """Whether a redirected connection has said what it speaks.

        Raises:
            Rejected(TRANSPARENT_PROTOCOL): nothing that passes here.
        """
        if inside_tls or starts_like_tls_record(data):
            return True
        if not data or (len(data) < 3 and data[0] == 0x16):
            return False
        return is_http(data, port)

    async def tls_clienthello(self, hello: tls.ClientHelloData) -> None:
        """Of a redirected connection no certificate is made, unless it names the server that its address stands for."""
        client = hello.context.client
        tunnel = self._tunnels.redirected(client.id)
        if tunnel is None:
            return
        try:
            check_sni(hello.client_hello.sni, tunnel.host)
        except Rejected as fault:
            self._tunnels.refused.add(client.id)
            await self.refuse_redirected(client, fault)
        else:
            self._tunnels.named.add(client.id)

    async def tls_failed_client(self, failed: tls.TlsData) -> None:
        """A redirected connection ends before anybody could read whom its ClientHello names."""
        client, tunnels = failed.context.client, self._tunnels
        if tunnels.redirected(client.id) is None or client.id in tunnels.named or client.id in tunnels.refused:
            return
        detail = "what began as TLS is no ClientHello that could be read, or none that was finished"
        await self.refuse_redirected(client, Rejected(Code.TRANSPARENT_PROTOCOL, detail))

    async def refuse_redirected(self, client: Client, fault: Rejected) -> None:
        """Write down the end of a redirected connection that no answer could be given on."""
        await self._gate.refuse_wire(self._tunnels.leg_of(client), fault)

    def _choose(self, ctx: context.Context, data: bytes) -> layer.Layer | None:
        if not data or (len(data) < 3 and data[0] == 0x16):
            return None  # too little to tell
        redirected = self._tunnels.redirected(ctx.client.id) is not None
        inside = redirected or any(isinstance(each, GatedStream) for each in ctx.layers)
        already_tls = isinstance(ctx.layers[-1], layers.ClientTLSLayer)
        if starts_like_tls_record(data) and not already_tls:
            if not inside:
                return layers.ClientTLSLayer(ctx)
            stack = tunnel.LayerStack()
            stack /= layers.ServerTLSLayer(ctx)
            stack /= layers.ClientTLSLayer(ctx)
            return stack[0]
        if not inside and not already_tls and ctx.client.id in self._tunnels.tls_only:
            return TlsWanted(ctx)
        return GatedHttpLayer(ctx, HTTPMode.transparent if inside else HTTPMode.regular, self._exchanges)

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        flow.response = undecided()
        client = flow.client_conn
        target = self._exchanges.take_head(flow.request)
        head = received(flow.request, authority=target.authority, scheme="https" if client.tls_established else "http")
        leg = self._tunnels.leg_of(client, outside=True)
        opened = await self._gate.open_tunnel(head, leg)
        if isinstance(opened, Tunnel):
            if not client.connected:
                return  # it left while we asked; nobody would take the entry back
            self._tunnels.by_client[client.id] = opened
            if opened.identity is not None:
                self._exchanges.note_served(client.id, opened.identity)
            flow.request.host, flow.request.port = opened.host, opened.port
            flow.response = None
        else:
            flow.response = response_of(self._gate.answer(opened, form="connect"))

    async def refused_head(self, refused: RefusedHead) -> None:
        """A head that could not even be parsed: recorded and answered like every other refusal."""
        leg = self._tunnels.leg_of(refused.client, outside=True)
        outcome = await self._gate.refuse_wire(leg, Rejected(refused.code, refused.detail))
        refused.answer = self._gate.answer(outcome, form="inside")

    def client_disconnected(self, client: Client) -> None:
        self._tunnels.forget(client.id)
        self._exchanges.valves.forget(client.id)
        self._exchanges.forget_client(client.id)
        for exchange in self._exchanges.of_client(client.id):
            exchange.gone.set()
