"""Between mitmproxy's objects and ours: nothing is decided here, nothing is lost here."""

import ipaddress
import json
import time
from dataclasses import dataclass, field
from functools import lru_cache

from mitmproxy import http
from mitmproxy.connection import Client
from mitmproxy.net.http import status_codes

from proxy.core.errors import Code
from proxy.core.guides import GUIDES
from proxy.core.headers import with_one_cookie
from proxy.core.model import Call, Leg, Received, Unread
from proxy.core.names import INTERNAL_HOST
from proxy.core.problems import Answer
from proxy.identify import Tunnel


@dataclass(slots=True)
class Tunnels:
    """What is known of this worker's client connections and mitmproxy does not keep, by their ids."""

    by_client: dict[str, Tunnel] = field(default_factory=dict)  # accepted CONNECTs: at most one each
    certificates: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    """What clients showed in TLS to the proxy itself, DER; mitmproxy forgets it when TLS begins inside a tunnel."""
    tls_only: set[str] = field(default_factory=set)  # connections that came in where TLS alone is spoken

    named: set[str] = field(default_factory=set)
    """Redirected connections whose ClientHello named the server it may: no other gets to TLS."""
    refused: set[str] = field(default_factory=set)  # redirected connections whose ClientHello was refused
    spoke: set[str] = field(default_factory=set)  # redirected connections that have said what they speak

    def redirected(self, client_id: str) -> Tunnel | None:
        """What stands for the CONNECT of a connection that the network redirected here."""
        tunnel = self.by_client.get(client_id)
        return None if tunnel is None or tunnel.place is None else tunnel

    def forget(self, client_id: str) -> None:
        """The connection has ended."""
        self.by_client.pop(client_id, None)
        self.certificates.pop(client_id, None)
        self.tls_only.discard(client_id)
        self.named.discard(client_id)
        self.refused.discard(client_id)
        self.spoke.discard(client_id)

    def leg_of(self, client: Client, *, inner_tls: bool = False, outside: bool = False) -> Leg:
        """The client's connection as we see it; no header has a say in it.

        `outside` any tunnel, even if one was opened on it.
        """
        tunnel = None if outside else self.by_client.get(client.id)
        certificates = self.certificates.get(client.id, ())
        address = str(client.peername[0]) if client.peername else "unix"
        local = _is_local(address)
        if tunnel is None:
            tls = client.tls_established
            return Leg(id=client.id, source=address, tls=tls, local=local, certificates=certificates)
        return Leg(
            id=client.id,
            source=address,
            tls=tunnel.outer_tls,
            local=local,
            tunnel=(tunnel.host, tunnel.port),
            inner_tls=inner_tls,
            sni=client.sni if inner_tls else None,
            certificates=certificates,
            transparent=tunnel.place is not None,
        )


@lru_cache(maxsize=4096)
def _is_local(address: str) -> bool:
    return address == "unix" or ipaddress.ip_address(address.partition("%")[0]).is_loopback


def received(request: http.Request, *, authority: bytes, scheme: str) -> Received:
    """The head of `request` as it was read; `authority` is that of an absolute-form target, empty in origin form."""
    data = request.data
    if data.method == b"CONNECT":
        form, target = "authority", b""
    else:
        form, target = ("absolute" if authority and not request.is_http2 else "origin"), data.path
    headers = data.headers.fields
    return Received(
        method=data.method,
        scheme=scheme,
        form=form,
        authority=authority,
        target=target,
        headers=with_one_cookie(headers) if request.is_http2 else headers,
        http2=request.is_http2,
    )


def forward(flow: http.HTTPFlow, call: Call) -> None:
    """Make the flow's request exactly the judged call: what was judged is what is sent."""
    data = flow.request.data
    data.host, data.port, data.authority = call.host, call.port, b""
    data.scheme, data.method, data.path = (
        call.scheme.encode("ascii"),
        call.method.encode("ascii"),
        call.target.encode("ascii"),
    )
    data.http_version = b"HTTP/1.1"
    data.headers = http.Headers([(name.encode("ascii"), value.encode("ascii")) for name, value in call.headers])
    if isinstance(call.body, Unread):
        data.content = None
        if "content-length" not in data.headers:  # it streams, and only its end tells how long it is
            data.headers["Transfer-Encoding"] = "chunked"
    else:
        data.content = call.body
    data.trailers = None


def response_of(answer: Answer, *, close: bool = False) -> http.Response:
    """An answer as mitmproxy sends it."""
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in answer.headers]
    headers.append((b"Content-Length", str(len(answer.body)).encode("ascii")))
    if close:
        headers.append((b"Connection", b"close"))
    now = time.time()
    return http.Response(
        http_version=b"HTTP/1.1",
        status_code=answer.status,
        reason=(answer.reason or status_codes.RESPONSES.get(answer.status, "")).encode("ascii"),
        headers=http.Headers(headers),
        content=answer.body,
        trailers=None,
        timestamp_start=now,
        timestamp_end=now,
    )


def undecided() -> http.Response:
    """The refusal that stands until the gate has spoken, and whenever it could not. Made for every call, and cheap."""
    now = time.time()
    return http.Response(
        http_version=b"HTTP/1.1",
        status_code=_UNDECIDED.status,
        reason=_UNDECIDED_HEAD.reason,
        headers=http.Headers(_UNDECIDED_HEAD.headers.fields),
        content=_UNDECIDED.body,
        trailers=None,
        timestamp_start=now,
        timestamp_end=now,
    )


def _undecided() -> Answer:
    guide, code = GUIDES[Code.UNDECIDED], Code.UNDECIDED.value
    members = {
        "type": f"http://{INTERNAL_HOST}/problems/{code}",
        "title": guide.title,
        "status": guide.status,
        "detail": guide.advice,
        "code": code,
        "message": f"{code}: {guide.advice}",
        "retry": {"action": guide.next.value, "after_s": 2},
    }
    body = json.dumps(members)
    headers = (("Content-Type", "application/problem+json"), ("Cache-Control", "no-store"), ("Retry-After", "2"))
    return Answer(status=guide.status, headers=headers, body=body.encode("ascii"))


_UNDECIDED = _undecided()
_UNDECIDED_HEAD = response_of(_UNDECIDED).data
