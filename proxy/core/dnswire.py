"""DNS messages, as far as a stub needs them: one question in, one answer out (RFC 1035 §4, RFC 6891, RFC 9619).

Nothing is compressed but the name of an answer, nothing is longer than its question and 64 bytes more, and whatever is
the least bit odd is refused.
"""

import enum
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from proxy.core.addressbook import TTL_S
from proxy.core.errors import Rejected
from proxy.core.names import canonical_host, ip_literal

_HEAD = struct.Struct("!6H")
_A, _SOA, _AAAA, _OPT, _SVCB, _HTTPS = 1, 6, 28, 41, 64, 65
_EMPTY = frozenset({_AAAA, _SVCB, _HTTPS})
_IN = 1
_RESPONSE, _AUTHORITATIVE, _CUT, _RECURSE, _RECURSES = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_NAME_AGAIN = b"\xc0\x0c"  # the question's
_UDP_BYTES = 1232  # as the flag day of 2020 has it: no packet is fragmented
_MAX_NAME = 255
_MAX_LABEL = 63


class Rcode(enum.IntEnum):
    """What an answer says of itself."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16  # RFC 6891 §6.1.3: it needs the additional record


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question, read. `fault` says how it is answered where nothing else can be."""

    id: int
    flags: int
    question: bytes = b""  # as it came: whoever asked compares it letter by letter
    name: str | None = None  # canonical; None: no host's name
    kind: int = 0
    edns: bool = False
    fault: Rcode | None = None


class Wanted(enum.Enum):
    """What a question is answered with."""

    ADDRESS = "address"  # of the name
    NOTHING = "nothing"  # the name is there, and has no such record
    ABSENT = "absent"  # there is no such name
    REFUSED = "refused"


def read_query(data: bytes) -> Query | None:
    """A question, or why it cannot be answered; None: it is no question, and nobody answers it."""
    if len(data) < _HEAD.size:
        return None
    number, flags, questions, answers, authorities, additional = _HEAD.unpack_from(data)
    if flags & _RESPONSE:
        return None
    if flags & 0x7800:
        return Query(id=number, flags=flags, fault=Rcode.NOTIMP)
    odd = Query(id=number, flags=flags, fault=Rcode.FORMERR)
    if questions != 1 or answers or authorities or additional > 1 or flags & _CUT:
        return odd
    read = _read_name(data, _HEAD.size)
    if read is None or len(data) < read[1] + 4:
        return odd
    labels, at = read
    kind, space = struct.unpack_from("!2H", data, at)
    asked = Query(
        id=number, flags=flags, question=data[_HEAD.size : at + 4], name=_host(labels), kind=kind, edns=bool(additional)
    )
    if additional:
        version = _read_opt(data[at + 4 :])
        if version is None:
            return odd
        if version:
            return _with_fault(asked, Rcode.BADVERS)
    elif len(data) != at + 4:
        return odd
    return asked if space == _IN else _with_fault(asked, Rcode.REFUSED)


def wanted(query: Query, absent: tuple[str, ...]) -> Wanted:
    """What a question without a fault is answered with. Names in and under `absent` do not exist."""
    if query.name is None:
        return Wanted.REFUSED
    if any(query.name == each or query.name.endswith(f".{each}") for each in absent):
        return Wanted.ABSENT
    if query.kind == _A:
        return Wanted.ADDRESS
    return Wanted.NOTHING if query.kind in _EMPTY else Wanted.REFUSED


def address_of(query: Query, address: IPv4Address) -> bytes:
    """The answer with an address."""
    record = _NAME_AGAIN + struct.pack("!2HIH", _A, _IN, TTL_S, 4) + address.packed
    return _answer(query, Rcode.NOERROR, answers=record)


def nothing_of(query: Query, rcode: Rcode) -> bytes:
    """The answer without one. That there is nothing may be kept as long as an address (RFC 2308 §5)."""
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return _answer(query, rcode)
    data = b"\0\0" + struct.pack("!5I", 1, 3600, 600, 86_400, TTL_S)
    return _answer(query, rcode, authority=_NAME_AGAIN + struct.pack("!2HIH", _SOA, _IN, TTL_S, len(data)) + data)


def _answer(query: Query, rcode: Rcode, *, answers: bytes = b"", authority: bytes = b"") -> bytes:
    flags = _RESPONSE | (query.flags & (0x7800 | _RECURSE)) | _RECURSES | (rcode & 0x0F)
    if rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
        flags |= _AUTHORITATIVE
    extra = b"\0" + struct.pack("!2HI H", _OPT, _UDP_BYTES, (rcode >> 4) << 24, 0) if query.edns else b""
    head = _HEAD.pack(query.id, flags, bool(query.question), bool(answers), bool(authority), bool(extra))
    return head + query.question + answers + authority + extra


def _with_fault(query: Query, fault: Rcode) -> Query:
    return Query(id=query.id, flags=query.flags, question=query.question, kind=query.kind, edns=query.edns, fault=fault)


def _read_name(data: bytes, at: int) -> tuple[list[bytes], int] | None:
    """The labels of a name, and where it ends. A pointer has nothing to point at in a question."""
    labels: list[bytes] = []
    begin = at
    while at < len(data):
        size = data[at]
        if size == 0:
            return (labels, at + 1) if at + 1 - begin <= _MAX_NAME else None
        if size > _MAX_LABEL:
            return None
        labels.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return None


def _host(labels: list[bytes]) -> str | None:
    """The name as calls have it, if it is one a host may have."""
    text = b".".join(labels).decode("latin-1")
    if not labels or any(b"." in label for label in labels):
        return None
    try:
        host = canonical_host(text)
    except Rejected:
        return None
    return host if ip_literal(host) is None else None


def _read_opt(data: bytes) -> int | None:
    """The version of EDNS in the one additional record; None: it is another record, or not the end."""
    if len(data) < 11 or data[0] != 0:
        return None
    kind, _, _, version, _, size = struct.unpack_from("!2H2B2H", data, 1)
    return version if kind == _OPT and len(data) == 11 + size else None
