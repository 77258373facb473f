"""Which interface bears which address, from the kernel itself (rtnetlink(7)); needs no privilege."""

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator

from proxy.core.model import IPAddress

_NEWADDR, _GETADDR, _DONE, _ERROR = 20, 22, 3, 2
_REQUEST_DUMP = 0x301
_ADDRESS, _LOCAL = 1, 2  # of two, the second is our own end
_HEAD, _OF_ADDRESS, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBI"), struct.Struct("=HH")
_CHANGES = 0x1 | 0x10 | 0x100  # groups: links, IPv4 addresses, IPv6 addresses
_MOST_BYTES = 65_536
_PATIENCE_S = 2.0

type Bearers = dict[IPAddress, frozenset[str]]


def interfaces() -> Bearers:
    """Every address of this network namespace, and the interfaces that bear it.

    Raises:
        OSError: the kernel cannot be asked; also where there is no netlink.
    """
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, "no netlink here")
    found: Bearers = {}
    with socket.socket(family, socket.SOCK_RAW, 0) as asked:
        asked.settimeout(_PATIENCE_S)
        asked.send(
            _HEAD.pack(_HEAD.size + _OF_ADDRESS.size, _GETADDR, _REQUEST_DUMP, 1, 0) + _OF_ADDRESS.pack(0, 0, 0, 0, 0)
        )
        for body in _bodies(asked):
            family, _, _, _, index = _OF_ADDRESS.unpack_from(body)
            told = dict(_attributes(body[_OF_ADDRESS.size :]))
            raw = told.get(_LOCAL) or told.get(_ADDRESS)
            if raw is not None and family in (socket.AF_INET, socket.AF_INET6):
                address = ipaddress.ip_address(raw)
                found[address] = found.get(address, frozenset()) | {socket.if_indextoname(index)}
    return found


def _bodies(asked: socket.socket) -> Iterator[bytes]:
    """What stands in each message about an address, until the kernel has told all."""
    while True:
        data = asked.recv(_MOST_BYTES)
        while data:
            length, kind, *_ = _HEAD.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR or length < _HEAD.size:
                raise OSError(errno.EIO, "the kernel does not tell its addresses")
            if kind == _NEWADDR:
                yield data[_HEAD.size : length]
            data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


class Interfaces:
    """The same, remembered until the kernel says that something changed; where it cannot say so, read every time."""

    def __init__(self) -> None:
        self._news = _subscribed()
        self._known: Bearers | None = None

    def bearing(self, address: IPAddress) -> frozenset[str]:
        """The interfaces that bear an address at this moment.

        Raises:
            OSError: the kernel cannot be asked.
        """
        if self._known is None or self._news is None or _heard(self._news):
            self._known = None
            self._known = interfaces()
        return self._known.get(address, frozenset())


def _subscribed() -> socket.socket | None:
    try:
        news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        news.bind((0, _CHANGES))
    except (AttributeError, OSError):
        return None
    return news


def _heard(news: socket.socket) -> bool:
    """Whether anything changed since this was last asked. News that were lost are news."""
    heard = False
    while True:
        try:
            news.recv(_MOST_BYTES)
        except BlockingIOError:
            return heard
        except OSError:
            return True
        heard = True
