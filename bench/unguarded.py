"""Our proxy with enforcement off, which the product cannot be: its listener, dispatch, TLS and HTTP layers, and one
addon that lets everything through. What it costs is what the product costs before it checks anything.

    python -m bench.unguarded PROXY.YAML    # prints the address it listens on

Left out with the checks: reading who asks, verifying, deciding, the nonce, the journal, resolving and pinning the
address. Kept: strict reading of heads, responses streamed through, lazy dialling, the same certificate authority.
"""

import asyncio
import signal
import sys
from pathlib import Path

from mitmproxy import http, master, options
from mitmproxy.addons import core, disable_h2c, errorcheck, proxyserver
from mitmproxy.connection import Client

from addons.admit import Admit
from addons.exchange import Exchange, Exchanges
from addons.http1 import RefusedHead
from addons.lockdown import Lockdown, check, pin
from addons.translate import Tunnels
from proxy.core.model import IPAddress
from proxy.edge.ca import load_authority
from proxy.edge.client_tls import ClientTls
from proxy.edge.listen import Listener
from proxy.edge.master import Dispatch, EdgeMaster
from proxy.edge.parts import now
from proxy.edge.roots import upstream_roots
from proxy.edge.sockets import shared_socket
from proxy.edge.tls import EdgeTls
from proxy.policy.settings import load_settings


class AnyAddress(Exchanges):
    """Lets every call use a kept connection: nothing was decided that could forbid it."""

    def may_reuse(self, flow: http.HTTPFlow, address: IPAddress) -> bool:
        return True


class LetThrough(Admit):
    """Chooses layers as the product does, and says yes to everything else."""

    def __init__(self, exchanges: Exchanges, tunnels: Tunnels) -> None:
        self._exchanges = exchanges
        self._tunnels = tunnels

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        self._exchanges.take_head(flow.request)

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        self._exchanges.take_head(flow.request)
        self._exchanges.open(Exchange(flow=flow, client_id=flow.client_conn.id))

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.stream = True

    async def response(self, flow: http.HTTPFlow) -> None:
        self._forget(flow)

    async def error(self, flow: http.HTTPFlow) -> None:
        self._forget(flow)

    async def refused_head(self, refused: RefusedHead) -> None:
        """Nothing to say: the connection is closed."""

    def client_disconnected(self, client: Client) -> None:
        """Nothing is kept of a client."""

    def _forget(self, flow: http.HTTPFlow) -> None:
        exchange = self._exchanges.find(flow)
        if exchange is not None:
            self._exchanges.drop(exchange)


class UnguardedMaster(EdgeMaster):
    """`EdgeMaster` with `LetThrough` where its gatekeepers are."""

    def __init__(self, config: Path) -> None:
        master.Master.__init__(self, options.Options())
        settings = load_settings(config)
        self.addons = Dispatch(self)
        self.exchanges, tunnels = AnyAddress(), Tunnels()
        self.proxyserver = proxyserver.Proxyserver()
        self.addons.add(
            core.Core(),
            disable_h2c.DisableH2C(),
            self.proxyserver,
            Lockdown(),
            LetThrough(self.exchanges, tunnels),
            EdgeTls(
                load_authority(settings.state / "ca", deployment=settings.deployment, now=now()),
                lambda host, port: False,
                tunnels=tunnels,
                client_tls=ClientTls(),
            ),
            errorcheck.ErrorCheck(),
        )
        pin(self.options)
        self.options.update(ssl_verify_upstream_trusted_ca=upstream_roots(settings, settings.state))
        check(self.options)


async def serve(config: Path) -> None:
    """Serve on a free loopback port until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    unguarded = UnguardedMaster(config)
    sock = shared_socket("127.0.0.1", 0)
    listener = Listener(unguarded, sock)
    running = asyncio.ensure_future(unguarded.run())
    await listener.start()
    print(f"ready on 127.0.0.1:{sock.getsockname()[1]}", flush=True)
    await stop.wait()
    listener.stop_accepting()
    unguarded.shutdown()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
