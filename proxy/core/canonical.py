"""The canonical call: the one spelling that is judged and forwarded, or a refusal (RFC 3986 §6.2.2, RFC 9112 §3).

Made one: the host (`proxy.core.names`), the port, the path and the query (`proxy.core.urls`). What two readers could
understand in two ways is refused with `url.ambiguous`, and nothing is guessed; of the few such things that a rule may
permit, `proxy.core.readings` tells.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from proxy.core.errors import Code, Rejected
from proxy.core.folding import folded_field, folded_parameter
from proxy.core.forwarding import forwardable, with_length, without_length
from proxy.core.handshake import UPGRADE
from proxy.core.headers import Limits as Limits
from proxy.core.headers import announced_bytes, check_head
from proxy.core.model import Call, Leg, Received, Unread, authority_of
from proxy.core.names import DEFAULT_PORTS, canonical_host, parse_authority
from proxy.core.urls import canonical_path, canonical_query, path_segments, query_parameters

DEFAULT_LIMITS = Limits()

_METHOD = re.compile(rb"[A-Z]+(?:-[A-Z]+)*")
_MAX_METHOD_CHARS = 32
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE", b"TRACK", b"PRI"})

_SAID_TO_BE_ASKED_FOR = re.compile(r"""host\s*=\s*"?([^"\s;,]*)""", re.IGNORECASE)  # in Forwarded (RFC 7239 §5.3)

_METHOD_PARAMETERS = frozenset({"_method", "_httpmethod"})


def canonicalise(received: Received, leg: Leg, limits: Limits = DEFAULT_LIMITS) -> Call:
    """The call a request head (and its body, when it was read) makes.

    `Host`, the target's authority (`:authority` in HTTP/2), the CONNECT target and the inner SNI must name the same
    host and port; an absent SNI names nothing, nor does an absent `Host` in HTTP/2. So must `X-Forwarded-Host` and
    `Forwarded`, where they name any. Without a tunnel only the absolute
    form is a proxy request. A `body` of None counts as empty: see `with_body`. A canonical call read again is the same
    call. Not checked here: policy, addresses, proof, body content.

    Raises:
        Rejected(URL_AMBIGUOUS): destinations that disagree, or a URL with more than one reading.
        Rejected(REQUEST_MALFORMED): bytes that are no request.
        Rejected(REQUEST_UNSUPPORTED): TRACE, CONNECT, other schemes, a bare origin form, upgrades and the like.
        Rejected(REQUEST_TOO_LARGE): over `limits`; `field` is "target", "headers" or "body".
    """
    fields = check_head(received, limits)
    method = _method(received.method)
    scheme, host, port = _destination(received, fields.get(b"host"), leg)
    _check_forwarded(received, scheme, (host, port))
    path, has_query, query = _split_target(received)
    path, query = canonical_path(path), canonical_query(query)
    parameters = query_parameters(query)
    _check_method_stands(method, parameters)
    call = Call(
        method=method,
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        segments=path_segments(path),
        query=query,
        has_query=has_query,
        parameters=parameters,
        headers=_forwarded(received, fields, authority_of(scheme, host, port)),
        body=b"",
        websocket=UPGRADE in fields,
    )
    if received.body is None:
        return call
    declared = announced_bytes(received)
    if declared is not None and declared != len(received.body):
        detail = f"Content-Length says {declared} bytes, the body has {len(received.body)}"
        raise Rejected(Code.REQUEST_MALFORMED, detail, field="content-length")
    return with_body(call, received.body, limits)


def _forwarded(received: Received, fields: Mapping[bytes, bytes], authority: str) -> tuple[tuple[str, str], ...]:
    headers = tuple(
        (name, authority if name.lower() == "host" else value) for name, value in forwardable(received.headers)
    )
    if b"host" not in fields:  # HTTP/2 has `:authority` in its place
        headers = (("Host", authority), *headers)
    return with_length(headers, 0, declared=True) if b"transfer-encoding" in fields else headers


def with_body(call: Call, body: bytes | Unread, limits: Limits = DEFAULT_LIMITS) -> Call:
    """The call with its whole body, in memory or not, `Content-Length` rewritten to match.

    Raises:
        Rejected(REQUEST_TOO_LARGE): the body is over `limits.body_bytes`.
        Rejected(REQUEST_MALFORMED): a body behind the handshake of a WebSocket.
    """
    whole = call if body == call.body else replace(call, body=body)
    size = whole.body_bytes
    if call.websocket and size != 0:
        raise Rejected(Code.REQUEST_MALFORMED, "a request that opens a WebSocket has no body", field="body")
    if size is None or size > limits.body_bytes:
        raise Rejected(Code.REQUEST_TOO_LARGE, f"a body may have at most {limits.body_bytes} bytes", field="body")
    headers = with_length(call.headers, size)
    return whole if headers == call.headers else replace(whole, headers=headers)


def with_stream(call: Call, received: Received) -> Call:
    """The call with a body that is still to come, of a length only its `Content-Length` may tell."""
    headers = call.headers if announced_bytes(received) is not None else without_length(call.headers)
    return replace(call, headers=headers, body=Unread(size=None, sha256=None))


def canonical_connect(received: Received, limits: Limits = DEFAULT_LIMITS) -> tuple[str, int]:
    """The host and port a CONNECT asks for (RFC 9110 §9.3.6): authority form, with the port.

    `Host` may be absent (HTTP/1.0 clients); present, it must agree, a missing port meaning 443. Not checked here: which
    ports may be reached.

    Raises:
        Rejected(URL_AMBIGUOUS): no explicit port, a host that has no canonical form, or a `Host` that disagrees.
        Rejected(REQUEST_MALFORMED, REQUEST_UNSUPPORTED, REQUEST_TOO_LARGE): as `canonicalise`.
    """
    fields = check_head(received, limits)
    if received.method != b"CONNECT" or received.form != "authority" or received.target:
        raise Rejected(Code.REQUEST_MALFORMED, "expected CONNECT host:port", field="method")
    asked = _authority(received.authority, None, "authority")
    named = fields.get(b"host")
    if named is not None and _authority(named, "https", "host") != asked:
        raise _ambiguous("host", "Host and the CONNECT target must name the same host and port")
    return asked


def _method(method: bytes) -> str:
    if not _METHOD.fullmatch(method) or len(method) > _MAX_METHOD_CHARS:
        detail = f"a method must be 1 to {_MAX_METHOD_CHARS} capital letters, got {method.decode('latin-1')!a:.40}"
        raise Rejected(Code.REQUEST_MALFORMED, detail, field="method")
    if method in _REFUSED_METHODS:
        raise Rejected(
            Code.REQUEST_UNSUPPORTED, f"{method.decode()} is not a call that can be made here", field="method"
        )
    return method.decode("ascii")


def _check_method_stands(method: str, parameters: tuple[tuple[str, str], ...]) -> None:
    """Refuse a query that asks for another method than POST: Laravel goes by `_method`, Salesforce by `_HttpMethod`."""
    if method == "POST" and any(folded_parameter(name) in _METHOD_PARAMETERS for name, _ in parameters):
        raise _ambiguous("query", "_method asks the server for another method than POST: send the one you mean")


def _destination(received: Received, line: bytes | None, leg: Leg) -> tuple[str, str, int]:
    """Scheme, host and port, on which everything that names them agrees."""
    scheme = received.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise Rejected(
            Code.REQUEST_UNSUPPORTED, f"the scheme must be http or https, got {scheme!a:.40}", field="scheme"
        )
    named = [] if received.http2 and line is None else [_authority(line or b"", scheme, "host")]
    if received.form == "absolute" and leg.tunnel is not None:
        raise _ambiguous("target", "inside a tunnel the target must be a path: the tunnel already names the host")
    if received.form != "absolute" and leg.tunnel is None:
        detail = "this is a proxy: send the whole URL as the target, or open a tunnel with CONNECT"
        raise Rejected(Code.REQUEST_UNSUPPORTED, detail, field="target")
    if received.form == "absolute" or received.http2 or received.authority:
        named.append(_authority(received.authority, scheme, "authority"))
    host, port = named[0]
    if named[-1] != (host, port):
        raise _ambiguous("host", "Host and the URL must name the same host and port")
    if leg.tunnel is not None:
        if leg.inner_tls is not (scheme == "https"):
            raise _ambiguous("scheme", "inside a tunnel the scheme must be https with TLS, and http without")
        if leg.tunnel != (host, port):
            raise _ambiguous("host", "Host and the CONNECT target must name the same host and port")
    if leg.inner_tls and leg.sni is not None and _sni(leg.sni) != host:
        raise _ambiguous("sni", "the TLS server name (SNI) and Host must name the same host")
    return scheme, host, port


def _check_forwarded(received: Received, scheme: str, asked: tuple[str, int]) -> None:
    """Refuse fields that name another host: Rack, and with it Rails, goes by them rather than by `Host`, unasked."""
    for name, value in received.headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        match folded_field(key):
            case "x-forwarded-host":
                named = text.split(",")
            case "forwarded":
                named = _SAID_TO_BE_ASKED_FOR.findall(text)
            case _:
                continue
        for each in named:
            if _authority(each.strip(" \t").encode("latin-1"), scheme, key) != asked:
                raise _ambiguous(key, f"{key} must name the host and port of the call, or be left out")


def _authority(raw: bytes, scheme: str | None, field: str) -> tuple[str, int]:
    try:
        return parse_authority(raw.decode("latin-1"), scheme)
    except Rejected as fault:
        raise Rejected(fault.code, fault.detail, field=field) from None


def _sni(name: str) -> str:
    try:
        return canonical_host(name)
    except Rejected as fault:
        raise Rejected(fault.code, fault.detail, field="sni") from None


def _split_target(received: Received) -> tuple[str, bool, str]:
    path, mark, query = received.target.decode("latin-1").partition("?")
    if not path and not mark and received.form == "absolute":
        path = "/"  # RFC 9110 §4.2.3: an empty path is "/"
    return path, bool(mark), query


def _ambiguous(field: str, detail: str) -> Rejected:
    return Rejected(Code.URL_AMBIGUOUS, detail, field=field)
