"""Where agents could reach the proxy itself and its stores: no call may go there."""

import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress
from pathlib import Path

from proxy.core.addresses import OwnSurfaces
from proxy.core.model import IPAddress
from proxy.stores.redis import RedisServer

_SIOCGIFADDR = 0x8915  # Linux; elsewhere it fails and the route look-ups below must do


async def own_surfaces(listens: tuple[tuple[str, int], ...], *stores: RedisServer) -> OwnSurfaces:
    """Where agents could reach the proxy itself and its stores, under every address of this machine."""
    ports = {port for _, port in listens}
    for store in stores:
        ports |= {port for _, port in store.url.hosts}
        ports |= {node.host[1] for node in await store.primaries() if node.host is not None}
    ours = {ipaddress.ip_address(host) for host, _ in listens}
    return OwnSurfaces(addresses=local_addresses() | ours, ports=frozenset(ports))


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
