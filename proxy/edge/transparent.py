"""The transparent listener's side of a connection: whence it comes, where it was going, and by which name."""

import ipaddress
import socket
import struct

from proxy.core.model import IPAddress
from proxy.core.transparent import check_mapped, check_redirected, check_stubbed
from proxy.edge.interfaces import Places, plain
from proxy.identity import Tunnel
from proxy.stores.book import AddressBook

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST is the same number
_SOCKADDR_BYTES = 28


def original_destination(sock: socket.socket) -> tuple[IPAddress, int] | None:
    """Where a connection was going before it was redirected; None when connection tracking knows nothing of it."""
    six = sock.family == socket.AF_INET6
    try:
        found = sock.getsockopt(socket.IPPROTO_IPV6 if six else socket.SOL_IP, _SO_ORIGINAL_DST, _SOCKADDR_BYTES)
        if not six:
            return ipaddress.IPv4Address(found[4:8]), struct.unpack("!H", found[2:4])[0]
        return plain(str(ipaddress.IPv6Address(found[8:24]))), struct.unpack("!H", found[2:4])[0]
    except OSError:
        pass
    if not six:
        return None
    try:  # IPv4 that came to an IPv6 wildcard
        found = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, _SOCKADDR_BYTES)
        return ipaddress.IPv4Address(found[4:8]), struct.unpack("!H", found[2:4])[0]
    except OSError:
        return None


class Redirections:
    """Makes of a redirected connection the tunnel that a CONNECT would have opened."""

    def __init__(self, book: AddressBook, places: Places) -> None:
        self._book = book
        self._places = places

    async def tunnel_of(self, sock: socket.socket) -> Tunnel:
        """The implicit tunnel of an accepted connection. Nothing is resolved, and nothing dialled.

        Raises:
            Rejected: it was not redirected, or its address stands for no name.
            Unavailable: that could not be told.
        """
        local, peer = sock.getsockname(), sock.getpeername()
        original = original_destination(sock)
        address, port = check_redirected(original, (plain(local[0]), local[1]))
        place = self._places.place_of(peer[0], local[0])
        name = check_mapped(await self._book.name_of(place, check_stubbed(address)))
        return Tunnel(host=name, port=port, outer_tls=False, identity=None, place=place)
