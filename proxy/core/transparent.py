"""What a redirected connection must agree with: the name its address was given for, and the port it was sent to.

The original address is evidence and never a destination. Nothing here is asked of the network.
"""

import re
from ipaddress import IPv4Address, IPv4Network

from proxy.core.errors import Code, Rejected
from proxy.core.model import IPAddress

STUB_NETWORK = IPv4Network("198.18.0.0/15")
"""Whence the DNS stub takes addresses (RFC 2544 keeps it from every real network). Never dialled."""

_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")  # RFC 9110 §5.6.2: a token
_TLS_PORT = 443


def check_redirected(original: tuple[IPAddress, int] | None, local: tuple[IPAddress, int]) -> tuple[IPAddress, int]:
    """The original destination of a connection that was redirected to `local`.

    Raises:
        Rejected(TRANSPARENT_DIRECT): it was sent to the listener itself.
    """
    if original is None or original == local:
        detail = "the connection was sent to the listener itself: only what the network redirects here is served"
        raise Rejected(Code.TRANSPARENT_DIRECT, detail)
    return original


def check_stubbed(address: IPAddress) -> IPv4Address:
    """The original address as one that the DNS stub may have given out.

    Raises:
        Rejected(TRANSPARENT_LITERAL): it is any other: nobody asked for it by a name.
    """
    if not isinstance(address, IPv4Address) or address not in STUB_NETWORK:
        detail = f"the connection goes to {address}, which no name was asked for: connect by name, not by address"
        raise Rejected(Code.TRANSPARENT_LITERAL, detail)
    return address


def check_mapped(name: str | None) -> str:
    """The name that an address was given for.

    Raises:
        Rejected(TRANSPARENT_UNMAPPED): there is none for this source, or no longer.
    """
    if name is None:
        detail = "no name is known for the address from this source, or no longer: ask the name again and connect anew"
        raise Rejected(Code.TRANSPARENT_UNMAPPED, detail)
    return name


def check_sni(sni: str | None, name: str) -> None:
    """Reject a ClientHello that names no server, or another than the address was given for.

    Of a ClientHello with ECH this is the outer name; most ECH is GREASE (RFC 9849 §6.2), and ignored.

    Raises:
        Rejected(TRANSPARENT_SNI): as told.
    """
    if not sni:
        raise Rejected(Code.TRANSPARENT_SNI, f"TLS must name the server (SNI): expected {name}, got nothing")
    if sni.lower().removesuffix(".") != name:
        raise Rejected(Code.TRANSPARENT_SNI, f"TLS must name the server it connects to: expected {name}, got {sni!a}")


def is_http(data: bytes, port: int) -> bool:
    """Whether these first bytes, which are no TLS, begin a plain HTTP request; False: too few to tell.

    Raises:
        Rejected(TRANSPARENT_PROTOCOL): they do not, or the port is TLS's.
    """
    if port == _TLS_PORT:
        raise Rejected(Code.TRANSPARENT_PROTOCOL, "on port 443 the connection must begin with TLS")
    method, space, _ = data.partition(b" ")
    if not _METHOD.fullmatch(method):
        raise Rejected(Code.TRANSPARENT_PROTOCOL, "the connection speaks neither TLS nor HTTP/1.1")
    return bool(space)
