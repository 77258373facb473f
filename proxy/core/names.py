"""Host names and authorities: one spelling each, or refused (RFC 3986 §3.2, RFC 1123 §2.1, RFC 5891 §5)."""

import re
import unicodedata
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

import idna

from proxy.core.errors import Code, Rejected
from proxy.core.model import IPAddress

INTERNAL_HOST = "intent.internal"
"""The name the proxy serves itself, in every mode. It may not appear in a cluster."""

DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

_AUTHORITY = re.compile(r"(\[[^\[\]@]*\]|[^\[\]@:/?#\\]*)(?::([0-9]{1,16}))?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME_CHARS = 253
_MAX_PORT = 65_535


def canonical_host(text: str) -> str:
    """The one spelling of a host as it came over the wire: lower-case A-labels, or an IP literal without brackets.

    Made one: letter case, one trailing dot, the text form of an IPv6 address, IPv4-mapped IPv6 (becomes IPv4).
    Not checked here: whether the name exists, whom it resembles, where it leads.

    Raises:
        Rejected(URL_AMBIGUOUS): non-ASCII, empty or over-long labels, characters that are not a host's, IPv4 in any
            form but four decimal numbers, a zone id, brackets around anything but IPv6, an A-label that is not one.
    """
    if not text.isascii():  # before lower(): U+212A KELVIN SIGN becomes an ordinary "k"
        raise _ambiguous(f"a host must be ASCII on the wire (names as A-labels), got {text!a:.80}")
    if text.startswith("["):
        return _ipv6(text)
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # anything that ends in a number is read as an IPv4 address somewhere
        return _ipv4(name)
    if len(name) > _MAX_NAME_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _ambiguous(
            "a host must be labels of 1 to 63 letters, digits, '-' or '_' joined by single dots, "
            f"at most {_MAX_NAME_CHARS} characters, got {text!r:.80}"
        )
    for label in labels:
        if label.startswith("xn--"):
            _check_a_label(label)
    return name


def load_host(text: str) -> str:
    """The canonical host for one a person wrote in a file: as `canonical_host`, with U-labels made A-labels.

    A bare IPv6 address may stand without brackets.

    Raises:
        Rejected(CONFIG_INVALID): it is no host, or a label is not valid IDNA 2008.
    """
    written = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
    try:
        labels = unicodedata.normalize("NFC", written.lower()).split(".") if not written.isascii() else [written]
        return canonical_host(".".join(label if label.isascii() else idna.alabel(label).decode() for label in labels))
    except Rejected as fault:
        raise Rejected(Code.CONFIG_INVALID, fault.detail, field="host") from None
    except UnicodeError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{text!a:.80} is not a host name: {fault}", field="host") from None


def parse_authority(text: str, scheme: str | None) -> tuple[str, int]:
    """The canonical host and the port of `host[:port]`. `scheme` gives the default port; None requires one.

    Made one: everything `canonical_host` does, zero-padded ports, the default port.

    Raises:
        Rejected(URL_AMBIGUOUS): userinfo, an empty or impossible port, a missing one without `scheme`, or a host that
            `canonical_host` refuses.
    """
    if "@" in text:
        raise _ambiguous("userinfo (user:password@) must not stand before a host; credentials go in a header")
    parts = _AUTHORITY.fullmatch(text)
    if parts is None:
        raise _ambiguous(f"an authority must be host or host:port, got {text!a:.80}")
    digits = parts[2]
    port = int(digits) if digits else DEFAULT_PORTS.get(scheme or "")
    if port is None:
        raise _ambiguous(f"the port must be given, as in host:443, got {text!a:.80}")
    if not 0 < port <= _MAX_PORT:
        raise _ambiguous(f"a port must be from 1 to {_MAX_PORT}, got {port}")
    return canonical_host(parts[1]), port


def ip_literal(host: str) -> IPAddress | None:
    """The address a canonical host is, or None when it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _ipv4(name: str) -> str:
    try:
        return str(IPv4Address(name))
    except AddressValueError:
        raise _ambiguous(
            f"a host ending in a number must be four decimal numbers without leading zeros, got {name!r:.80}"
        ) from None


def _ipv6(text: str) -> str:
    inner = text[1:].removesuffix("]")
    try:
        if len(inner) != len(text) - 2 or "%" in inner:
            raise AddressValueError
        address = IPv6Address(inner)
    except AddressValueError:
        raise _ambiguous(f"brackets must hold one IPv6 address without a zone id, got {text!r:.80}") from None
    return str(address.ipv4_mapped or address)


def _check_a_label(label: str) -> None:
    try:
        idna.ulabel(label)  # refuses what does not encode back to the same A-label (RFC 5891 §5.3)
    except UnicodeError:
        raise _ambiguous(f"{label!r} begins like an A-label but is not valid IDNA 2008") from None


def _ambiguous(detail: str) -> Rejected:
    return Rejected(Code.URL_AMBIGUOUS, detail, field="host")
