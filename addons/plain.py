"""What plain HTTP gets where TLS alone is spoken: an answer that says so, and the end of the connection."""

import json

from mitmproxy.proxy import commands, events, layer

from proxy.core.errors import Code
from proxy.core.names import INTERNAL_HOST

_STATUS = 400
_CODE = Code.PROOF_CHANNEL.value
_DETAIL = "This port speaks TLS alone. Give the proxy as https://, with the CA that its certificate comes from."


class TlsWanted(layer.Layer):
    """Nothing that came is read, and nothing is decided."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.DataReceived):
            yield commands.SendData(self.context.client, answer())
            yield commands.CloseConnection(self.context.client)


def answer() -> bytes:
    """The answer to whatever was asked."""
    members = {
        "type": f"http://{INTERNAL_HOST}/problems/{_CODE}",
        "title": "This port speaks TLS",
        "status": _STATUS,
        "detail": _DETAIL,
        "code": _CODE,
        "message": f"{_CODE}: {_DETAIL}",
        "retry": {"action": "fix", "after_s": None},
    }
    body = json.dumps(members).encode("ascii")
    head = (
        f"HTTP/1.1 {_STATUS} {_CODE}: this port speaks TLS, give the proxy as https://",
        "Content-Type: application/problem+json",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + body
