"""What plain HTTP gets where TLS alone is spoken: an answer that says so, and the end of the connection."""

from mitmproxy.proxy import commands, events, layer

from proxy.core.answer import last_message, turned_away
from proxy.core.errors import Code
from proxy.core.guides import Next

_DETAIL = "This port speaks TLS alone. Give the proxy as https://, with the CA that its certificate comes from."


class TlsWanted(layer.Layer):
    """Nothing that came is read, and nothing is decided."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            yield commands.SendData(self.context.client, answer())
            yield commands.CloseConnection(self.context.client)


class Closed(layer.Layer):
    """What follows on a connection about which nothing can be said: its end."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield commands.CloseConnection(self.context.client)


def answer() -> bytes:
    """The answer to whatever was asked."""
    code = Code.PROOF_CHANNEL
    return last_message(
        turned_away(
            code,
            status=400,
            title="This port speaks TLS",
            detail=_DETAIL,
            action=Next.FIX.value,
            reason=f"{code.value}: this port speaks TLS, give the proxy as https://",
        )
    )
