"""A call's credential between the house and the wire: set on the head that leaves, taken out of the head that comes."""

from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.proxy.layers.http._events import RequestHeaders, ResponseHeaders, ResponseTrailers

from addons.exchange import Exchange
from proxy.core.credential import Way
from proxy.core.injection import inject


@dataclass
class CredentialHeaders(RequestHeaders):
    """The head of a request as it leaves, with its credential. Nobody but the wire gets it."""

    hidden: frozenset[bytes] = frozenset()
    """Names in lower case, of HTTP/2's own too, whose values must stay out of a compression table (RFC 7541 §7.1.3)."""

    def __repr__(self) -> str:
        return f"CredentialHeaders({self.stream_id})"


def with_credential(
    event: RequestHeaders, exchange: Exchange | None, *, leads_to: tuple[str, int], tls: bool
) -> RequestHeaders:
    """The head as it leaves on a connection that `leads_to` this host and port. The flow's own request stays as it is.

    Raises:
        RuntimeError: the connection leads elsewhere than the credential goes. Nothing is sent.
    """
    injection = exchange.injection if exchange is not None else None
    if injection is None:
        return event
    if injection.to != ("https" if tls else "http", *leads_to):
        raise RuntimeError("a call's connection leads elsewhere than its credential goes")
    request = event.request.copy()
    fields, target = inject(injection, tuple(request.headers.fields), request.data.path)
    request.headers, request.data.path = http.Headers(fields), target
    credential = injection.credential
    hidden = b":path" if credential.way is Way.QUERY else credential.replaces.lower().encode("ascii")
    return CredentialHeaders(event.stream_id, request, event.end_stream, hidden=frozenset((hidden,)))


def without_credential(event: ResponseHeaders | ResponseTrailers, exchange: Exchange | None) -> None:
    """Take the credential out of the head, or the trailers, of an origin that repeats it."""
    injection = exchange.injection if exchange is not None else None
    if injection is None:
        return
    if isinstance(event, ResponseTrailers):
        event.trailers = http.Headers(injection.fields(tuple(event.trailers.fields)))
        return
    data = event.response.data
    data.headers = http.Headers(injection.fields(tuple(data.headers.fields)))
    data.reason = injection.in_head(data.reason)
