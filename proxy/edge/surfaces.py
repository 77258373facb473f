"""Where agents could reach the proxy itself and its stores: no call may go there."""

import ipaddress
import socket
from contextlib import suppress

from proxy.core.addresses import OwnSurfaces, own_by_url
from proxy.core.model import IPAddress
from proxy.edge.netlink import interfaces
from proxy.stores.redis import RedisServer


async def own_surfaces(
    listens: tuple[tuple[str, int], ...], *stores: RedisServer, desk_url: str | None = None
) -> OwnSurfaces:
    """Where agents could reach the proxy itself, its stores and its desk, under every address of this machine.

    `desk_url` is where browsers find the desk. Its name is ours wherever it leads: the desk, or the server before it,
    may be on another machine. Cookies know no ports, so no port of that name is an agent's.
    """
    names, place = own_by_url(desk_url)
    listens = (*listens, *place)
    ports = {port for _, port in listens}
    for store in stores:
        ports |= {port for _, port in store.url.hosts}
        ports |= {node.host[1] for node in await store.primaries() if node.host is not None}
    ours = {ipaddress.ip_address(host) for host, _ in listens}
    return OwnSurfaces(addresses=local_addresses() | ours, ports=frozenset(ports), names=names)


def local_addresses() -> frozenset[IPAddress]:
    """The addresses of this machine's interfaces, as far as the system tells without privileges."""
    found: set[IPAddress] = set()
    with suppress(OSError):  # no Linux
        found.update(interfaces())
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))  # sends nothing: it only asks which address would be used
            found.add(ipaddress.ip_address(sock.getsockname()[0]))
    return frozenset(found)
