"""The layer between a call and its origin: connects, then speaks whichever version of HTTP was agreed on."""

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import RegisterHttpConnection

from addons.http1 import Commands
from addons.http1_client import StrictHttp1Client
from addons.http2_client import StrictHttp2Client


class StrictHttpClient(layer.Layer):
    """Opens the connection to the origin unless it stands, then speaks HTTP/1.1 or HTTP/2 over it and nothing else.

    With `alone` it carries one call and is never kept: a released call goes where it was judged to go, now.
    """

    wire: StrictHttp1Client | StrictHttp2Client | None = None
    _registered = False

    def __init__(
        self, context: Context, *, named: tuple[str, int], alone: bool, behalf: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(context)
        self.behalf = behalf  # the mandate and agent whose calls it carries, and the credential they bear
        self.named = named  # the host and port it was asked for by; while it connects, `address` is the chosen one
        self.alone = alone

    @property
    def takes_another(self) -> bool:
        """Whether a second call may be sent over it now."""
        return not self.alone and self.wire is not None and self.wire.takes_another

    @property
    def is_idle(self) -> bool:
        """Whether it stands, and no call is under way on it."""
        return self.wire is not None and self.wire.is_idle and self.context.server.connected

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Start):
            server = self.context.server
            err = None if server.connected else (yield commands.OpenConnection(server))
            if err:
                yield RegisterHttpConnection(server, err)
                return
            self.wire = (StrictHttp2Client if server.alpn == b"h2" else StrictHttp1Client)(self.context)
        if self.wire is not None:
            yield from self.wire.handle_event(event)
            yield from self._register(self.wire)

    def _register(self, wire: StrictHttp1Client | StrictHttp2Client) -> Commands:
        """Once it is ready: an HTTP/2 origin says first how many calls it takes at a time (RFC 9113 §3.4)."""
        if not self._registered and (wire.is_ready or wire.has_ended):
            self._registered = True
            err = None
            if not wire.is_ready:
                err = "the origin does not speak HTTP/2, though it agreed to"
            elif not wire.takes_another:  # it takes no streams at all, or left in the same breath
                err = "the origin takes no call on a new connection"
                yield commands.CloseConnection(self.context.server)
            yield RegisterHttpConnection(self.context.server, err)
