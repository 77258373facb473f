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

    def __init__(self, context: Context, *, named: tuple[str, int], alone: bool) -> None:
        super().__init__(context)
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
        if self.wire is not None:
            yield from self.wire.handle_event(event)
        elif isinstance(event, events.Start):
            server = self.context.server
            err = None if server.connected else (yield commands.OpenConnection(server))
            if not err:
                self.wire = (StrictHttp2Client if server.alpn == b"h2" else StrictHttp1Client)(self.context)
                yield from self.wire.handle_event(event)
            yield RegisterHttpConnection(server, err)
