"""Where agents could reach the proxy itself and its stores: no call may go there."""

import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress
from pathlib import Path

from proxy.core.addresses import OwnSurfaces, own_by_url
from proxy.core.model import IPAddress
from proxy.stores.redis import RedisServer

_SIOCGIFADDR = 0x8915  # Linux; elsewhere it fails and the route look-ups below must do


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


def interfaces() -> dict[IPAddress, frozenset[str]]:
    """Which interfaces bear each address, as far as the system tells without privileges: the first IPv4 address of
    each, and every IPv6 one."""
    found: dict[IPAddress, frozenset[str]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an IPv4 address
                told = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                address = ipaddress.ip_address(told[20:24])
                found[address] = found.get(address, frozenset()) | {name}
    with suppress(OSError):  # a machine without IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            parts = line.split()
            address = ipaddress.ip_address(bytes.fromhex(parts[0]))
            found[address] = found.get(address, frozenset()) | {parts[-1]}
    return found


def local_addresses() -> frozenset[IPAddress]:
    """The addresses of this machine's interfaces, as far as the system tells without privileges."""
    found: set[IPAddress] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an IPv4 address
                told = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.add(ipaddress.ip_address(told[20:24]))
    with suppress(OSError):  # a machine without IPv6
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(ipaddress.ip_address(bytes.fromhex(line.split()[0])))
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))  # sends nothing: it only asks which address would be used
            found.add(ipaddress.ip_address(sock.getsockname()[0]))
    return frozenset(found)
