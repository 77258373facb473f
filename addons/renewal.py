"""Connections inside a tunnel end between two calls before the tunnel's proof does, so that no call meets its end."""

from datetime import UTC, datetime, timedelta

from mitmproxy import http

from addons.exchange import Exchanges
from addons.http1 import IDLE_TIMEOUT_S
from addons.translate import Tunnels
from proxy.core.model import Proof

_IDLE = timedelta(seconds=IDLE_TIMEOUT_S)


class Renewal:
    """Says `Connection: close` (RFC 9112 §9.6) on the last answer that is surely within the tunnel's time.

    An idle connection is closed after `IDLE_TIMEOUT_S`, so a call that comes later than this answer by more than that
    never comes in the same tunnel. Over HTTP/2 it becomes GOAWAY (`addons.http2`). An answer that streams past that
    time, such as a language model's, has no head left to say it in: over HTTP/1.1 the connection ends behind it.
    """

    def __init__(self, exchanges: Exchanges, tunnels: Tunnels) -> None:
        self._exchanges = exchanges
        self._tunnels = tunnels

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Say it in the head, which is still to be sent."""
        self._end_in_time(flow)

    def response(self, flow: http.HTTPFlow) -> None:
        """The answer is whole: mitmproxy looks at its head once more before it keeps the connection."""
        self._end_in_time(flow)

    def _end_in_time(self, flow: http.HTTPFlow) -> None:
        tunnel = self._tunnels.by_client.get(flow.client_conn.id)
        if tunnel is None or tunnel.identity is None or tunnel.identity.inheritable_until is None:
            return
        if flow.response is None or flow.response.status_code == 101:
            return
        if not self._is_signed(flow) and tunnel.identity.inheritable_until - datetime.now(UTC) <= _IDLE:
            flow.response.headers["Connection"] = "close"

    def _is_signed(self, flow: http.HTTPFlow) -> bool:
        """Whether this call proved itself, and so the next one will."""
        exchange = self._exchanges.find(flow)
        identity = exchange.admission.identity if exchange is not None and exchange.admission is not None else None
        return identity is not None and identity.evidence.proof is Proof.REQUEST
