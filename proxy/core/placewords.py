"""Where a call goes, in words for a reviewer: what in a host or a port is easily overlooked is said beside it."""

import ipaddress
import unicodedata
from collections.abc import Iterator

from proxy.core.model import Call
from proxy.core.shown import shown

_PREFIX = "xn--"


def place_words(call: Call) -> str:
    """Host and port, with what is odd in them: `xn--pypal-4ve.example (with Cyrillic and Latin letters: ...)`.

    A name in other letters is told as it is asked for, in A-labels, with every such letter written out: whatever it
    looks like, it is not shown as that. On this machine itself ports and plain HTTP are usual.
    """
    odd = "; ".join(_oddities(call))
    return f"{call.authority} ({odd})" if odd else call.authority


def _oddities(call: Call) -> Iterator[str]:
    if any(label.startswith(_PREFIX) for label in call.host.split(".")):
        name = ".".join(map(_letters, call.host.split(".")))
        yield f"with {_scripts(name)} letters: {shown(name)}"
    if _is_here(call.host):
        return
    if call.port != {"http": 80, "https": 443}[call.scheme]:
        yield "not the usual port"
    if call.scheme == "http":
        yield "not encrypted"


def _letters(label: str) -> str:
    """A label as it is meant (RFC 5891 §4.4); one that cannot be read stays as it came."""
    if not label.startswith(_PREFIX):
        return label
    try:
        return label.removeprefix(_PREFIX).encode("ascii").decode("punycode")
    except UnicodeError:
        return label


def _scripts(name: str) -> str:
    """`Cyrillic and Latin`: by the first word of each letter's name in Unicode, which is its script's."""
    words = {unicodedata.name(char, "unknown").partition(" ")[0] for char in name if char.isalpha()}
    return " and ".join(sorted(word if word == "CJK" else word.capitalize() for word in words))


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
