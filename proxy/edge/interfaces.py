"""Whence redirected connections come: the interface that bears the address they reached, and who is bound there."""

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from proxy.core.addresses import unmapped
from proxy.core.errors import Code, Unavailable
from proxy.core.model import Bundle, IPAddress
from proxy.core.places import Place, bound_to
from proxy.edge.netlink import Interfaces


def generation_of_network() -> str:
    """The inode of this process's network namespace: another namespace is another network."""
    return str(Path("/proc/self/ns/net").stat().st_ino)


class Places:
    """Tells the place of a peer. A redirect leads to the address of the interface a connection came in by (or, of one
    made on this machine, to loopback), so that the address it reached tells which that is.
    """

    def __init__(self, bundle: Callable[[], Bundle], generation: str | None) -> None:
        self._bundle = bundle
        self._generation = generation or generation_of_network()
        self._interfaces = Interfaces()

    def place_of(self, peer: str, local: str) -> Place:
        """The place of `peer` by the address it reached. Whom no agent is bound to shares one place per interface.

        Raises:
            Unavailable(UNDECIDED): no single interface bears that address, or the kernel does not say.
        """
        reached = plain(local)
        try:  # all of 127.0.0.0/8 is loopback's, though it bears the first alone
            names = self._interfaces.bearing(reached) or frozenset({"lo"} if reached.is_loopback else ())
        except OSError as fault:
            raise Unavailable(Code.UNDECIDED, f"the interfaces cannot be read: {fault.strerror}") from None
        if len(names) != 1:
            raise Unavailable(Code.UNDECIDED, f"{len(names)} interfaces bear {reached}, and one must")
        # Whoever comes by loopback is on this very machine, whichever of its addresses it used.
        where = IPv4Address("127.0.0.1") if names == {"lo"} else plain(peer)
        place = Place(interface=next(iter(names)), address=where, generation=self._generation)
        return (
            place
            if bound_to(self._bundle(), place)
            else Place(interface=place.interface, address=None, generation=self._generation)
        )


def plain(address: str) -> IPAddress:
    """An address as a socket tells it, without a zone or the IPv6 form of an IPv4 one."""
    return unmapped(ipaddress.ip_address(address.partition("%")[0]))
