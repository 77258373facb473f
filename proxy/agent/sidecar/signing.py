"""What a call is signed as: its target, the URL that the signature covers, and which calls are not signed at all."""

from urllib.parse import unquote_to_bytes

import h11

from proxy.agent.sidecar import heads
from proxy.agent.sidecar.bodies import Body
from proxy.agent.sidecar.refusals import NO_SESSION, NOT_A_PROXY_CALL, malformed, not_signed
from proxy.agent.sidecar.route import Refused
from proxy.agent.signer import Signer
from proxy.core.errors import Rejected

_PROXY = b"intent.internal"  # `proxy.core.names` needs more than an agent installs


def addressed(request: h11.Request, *, inside: str | None) -> tuple[bytes, bytes]:
    """The target that goes on, and the URL that is signed; `inside` is the scheme inside a tunnel.

    Raises:
        Refused: it is no call to a proxy, or one that asks for credentials of the agent's own.
    """
    if inside is None:
        target = heads.absolute(request.target)
        if target is None:
            raise Refused(NOT_A_PROXY_CALL)
        url = target
    else:
        host = heads.first(request.headers, b"host")
        if host is None or not request.target.startswith(b"/"):
            raise Refused(malformed("inside a tunnel a request needs a Host and a path"))
        target, url = request.target, inside.encode() + b"://" + host + request.target
    if request.method != b"GET" and is_page(url) and not url.endswith(b"/redeem"):
        raise Refused(NO_SESSION)
    return target, url


def is_page(url: bytes) -> bool:
    """Whether it may be one of the proxy's own, in whatever spelling: a session would outlive the sidecar."""
    authority = url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
    name = unquote_to_bytes(authority.rpartition(b"@")[2]).partition(b":")[0]
    return name.lower().strip(b".") == _PROXY


def signed(signer: Signer, method: bytes, url: bytes, kept: list[heads.Line], body: Body) -> list[heads.Line]:
    """The lines that prove the call.

    Raises:
        Refused: it cannot be signed.
    """
    try:
        lines = [(name.decode("ascii"), value.decode("utf-8")) for name, value in kept]
        proof = signer.headers_for(method.decode("ascii"), url.decode("ascii"), lines, body.digests)
    except Rejected as fault:
        raise Refused(not_signed(fault.code, fault.detail)) from None
    except UnicodeDecodeError:
        raise Refused(malformed("a header line is neither ASCII nor UTF-8")) from None
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in proof]
