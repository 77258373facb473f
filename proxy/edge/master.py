"""The embedded mitmproxy: a bare `Master`, an explicit list of addons, and a dispatch that fails closed.

mitmproxy logs an exception in an addon hook and goes on, so the call would be sent. Here an exception ends in a
refusal, whichever hook it came from, and only the hooks somebody listens to cost anything.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from mitmproxy import addonmanager, exceptions, hooks, http, master, options, tls
from mitmproxy.addons import core, disable_h2c, errorcheck, proxyserver
from mitmproxy.flow import Error
from mitmproxy.proxy import layer, server_hooks

from addons.admit import Admit
from addons.carrier import Carrier
from addons.dial import Dial, Dials
from addons.enforce import Enforce
from addons.exchange import Exchanges
from addons.intake import Bodies
from addons.live import Live
from addons.lockdown import Lockdown, check, pin
from addons.observe import Observe
from addons.plain import Closed
from addons.renewal import Renewal
from addons.translate import Tunnels, undecided
from proxy.delivering import Deliveries
from proxy.edge import quick
from proxy.edge.ca import Authority
from proxy.edge.client_tls import ClientTls
from proxy.edge.descriptors import most_connections
from proxy.edge.tls import EdgeTls
from proxy.footing import Footings
from proxy.gate import Gate
from proxy.internal import Internal

logger = logging.getLogger(__name__)

type Handler = Callable[..., Any]


class Dispatch(addonmanager.AddonManager):
    """Calls each hook's listeners in order; the first exception stops them and refuses whatever was asked."""

    def __init__(self, owner: master.Master) -> None:
        super().__init__(owner)
        self._listeners: dict[str, tuple[Handler, ...]] = {}
        self._failed: WeakSet[http.HTTPFlow] = WeakSet()  # a later hook must not lift the refusal of an earlier one

    def add(self, *addons: object) -> None:
        super().add(*addons)
        self._listeners.clear()

    async def handle_lifecycle(self, event: hooks.Hook) -> None:
        await self.trigger_event(event)

    async def trigger_event(self, event: hooks.Hook) -> None:
        if event.name == "request" and any(each in self._failed for each in event.args()):
            self._refuse(event)  # not even asked: an allow would be recorded and a release claimed for nothing
            return
        for listener in self._of(event):
            try:
                answer = listener(*event.args())
                if inspect.isawaitable(answer):
                    await answer
            except exceptions.OptionsError:
                raise
            except (Exception, asyncio.CancelledError) as fault:
                if isinstance(fault, asyncio.CancelledError) and _is_ending():
                    raise
                logger.exception("the %s hook failed; what it was asked is refused", event.name)
                self._failed.update(each for each in event.args() if isinstance(each, http.HTTPFlow))
                self._refuse(event)
                return

    def _refuse(self, event: hooks.Hook) -> None:
        try:
            refuse(event)
        except Exception:
            logger.exception("not even a refusal could be made; the call is killed")

    def _of(self, event: hooks.Hook) -> tuple[Handler, ...]:
        name = event.name
        found = self._listeners.get(name)
        if found is None:
            found = tuple(func for addon in self.chain for _, func in self._iter_hooks(addon, event))
            self._listeners[name] = found
        return found


def _is_ending() -> bool:
    """Whether this very task was cancelled, and not only something it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def refuse(event: hooks.Hook) -> None:
    """Leave the subject of a failed hook in a state in which mitmproxy sends nothing onward."""
    for subject in event.args():
        match subject:
            case http.HTTPFlow() if event.name in ("requestheaders", "request", "http_connect"):
                subject.error = Error(Error.KILLED_MESSAGE)  # stands if not even the refusal can be made
                subject.response = undecided()
                subject.error = None
            case http.HTTPFlow():
                subject.error = Error(Error.KILLED_MESSAGE)
            case server_hooks.ServerConnectionHookData() if event.name == "server_connect":
                subject.server.error = "the connection could not be checked"
            case tls.TlsData():
                subject.ssl_conn = None
            case tls.ClientHelloData():
                subject.ignore_connection = False
            case layer.NextLayer():
                subject.layer = Closed(subject.context)
            case _:
                pass


class EdgeMaster(master.Master):
    """One per process: mitmproxy's `ctx` is global."""

    def __init__(
        self,
        *,
        gate: Gate,
        internal: Internal,
        bodies: Bodies,
        deliveries: Deliveries,
        authority: Authority,
        upstream_roots: str | None,
        footings: Footings,
        client_tls: ClientTls | None = None,
    ) -> None:
        super().__init__(options.Options())
        quick.install()
        self.addons = Dispatch(self)
        self.exchanges = Exchanges()
        self.proxyserver = proxyserver.Proxyserver()
        dials, tunnels = Dials(), Tunnels()
        self.tunnels = tunnels
        self.live = Live(gate, self.exchanges, self.proxyserver.connections, footings)
        self.observe = Observe(gate, self.exchanges, dials, deliveries)
        self.addons.add(
            core.Core(),
            disable_h2c.DisableH2C(),
            self.proxyserver,
            Lockdown(),
            Admit(gate, tunnels, self.exchanges),
            Dial(dials, most=most_connections().origins),  # before TLS: it names the host whose certificate is checked
            EdgeTls(authority, gate.offers_http2, tunnels=tunnels, client_tls=client_tls or ClientTls()),
            errorcheck.ErrorCheck(),
            self.observe,
            Renewal(self.exchanges, tunnels),
            Carrier(self.proxyserver.connections),
            # Last: nothing may undo its refusal.
            Enforce(gate, internal, tunnels, self.exchanges, dials, bodies, deliveries),
        )
        pin(self.options)
        self.options.update(ssl_verify_upstream_trusted_ca=upstream_roots)
        check(self.options)
