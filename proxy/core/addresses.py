"""What an address is, and whether a call may go there (IANA special-purpose registries, RFC 6890).

The table is ours, not `ipaddress.is_global`, whose answers changed between Python releases.
"""

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from proxy.core.errors import Code, Rejected
from proxy.core.model import IPAddress, IPNetwork
from proxy.core.names import INTERNAL_HOST, ip_literal, parse_authority


class AddressClass(enum.StrEnum):
    """What an address is for. The values are stable: journal and metrics bear them."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"  # RFC 1918, and unique local addresses (RFC 4193)
    CGNAT = "cgnat"  # RFC 6598
    LINK_LOCAL = "link_local"
    METADATA = "metadata"  # a cloud's instance metadata service
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"  # 0.0.0.0/8 and ::
    BROADCAST = "broadcast"
    DOCUMENTATION = "documentation"
    BENCHMARK = "benchmark"
    RESERVED = "reserved"
    IPV4_COMPATIBLE = "ipv4_compatible"  # ::a.b.c.d, deprecated
    NAT64 = "nat64"
    SIX_TO_FOUR = "6to4"
    TEREDO = "teredo"


NEVER = frozenset(
    {
        AddressClass.BENCHMARK,  # the DNS stub gives these out: none is a destination
        AddressClass.LINK_LOCAL,
        AddressClass.METADATA,
        AddressClass.MULTICAST,
        AddressClass.UNSPECIFIED,
        AddressClass.BROADCAST,
        AddressClass.IPV4_COMPATIBLE,
        AddressClass.NAT64,
        AddressClass.SIX_TO_FOUR,
        AddressClass.TEREDO,
    }
)
"""No rule can permit these. The last four carry an IPv4 address inside that some router may go to instead."""

METADATA_ADDRESSES: frozenset[IPAddress] = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack and most others
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
    )
)

_METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.tencentyun.com",
    }
)

_TABLE: tuple[tuple[IPNetwork, AddressClass], ...] = tuple(
    (ip_network(text), kind)
    for text, kind in (
        ("0.0.0.0/8", AddressClass.UNSPECIFIED),
        ("10.0.0.0/8", AddressClass.PRIVATE),
        ("100.64.0.0/10", AddressClass.CGNAT),
        ("127.0.0.0/8", AddressClass.LOOPBACK),
        ("169.254.0.0/16", AddressClass.LINK_LOCAL),
        ("172.16.0.0/12", AddressClass.PRIVATE),
        ("192.0.0.0/24", AddressClass.RESERVED),
        ("192.0.2.0/24", AddressClass.DOCUMENTATION),
        ("192.88.99.0/24", AddressClass.SIX_TO_FOUR),
        ("192.168.0.0/16", AddressClass.PRIVATE),
        ("198.18.0.0/15", AddressClass.BENCHMARK),
        ("198.51.100.0/24", AddressClass.DOCUMENTATION),
        ("203.0.113.0/24", AddressClass.DOCUMENTATION),
        ("224.0.0.0/4", AddressClass.MULTICAST),
        ("255.255.255.255/32", AddressClass.BROADCAST),
        ("240.0.0.0/4", AddressClass.RESERVED),
        ("0.0.0.0/0", AddressClass.PUBLIC),
        ("::/128", AddressClass.UNSPECIFIED),
        ("::1/128", AddressClass.LOOPBACK),
        ("::/96", AddressClass.IPV4_COMPATIBLE),
        ("::ffff:0:0:0/96", AddressClass.NAT64),  # the older translation prefix, RFC 2765
        ("64:ff9b::/96", AddressClass.NAT64),
        ("64:ff9b:1::/48", AddressClass.NAT64),
        ("2001::/32", AddressClass.TEREDO),
        ("2001::/23", AddressClass.RESERVED),
        ("2001:db8::/32", AddressClass.DOCUMENTATION),
        ("2002::/16", AddressClass.SIX_TO_FOUR),
        ("3fff::/20", AddressClass.DOCUMENTATION),
        ("fc00::/7", AddressClass.PRIVATE),
        ("fe80::/10", AddressClass.LINK_LOCAL),
        ("ff00::/8", AddressClass.MULTICAST),
        ("2000::/3", AddressClass.PUBLIC),
        ("::/0", AddressClass.RESERVED),  # IANA has given out nothing else for the public internet
    )
)
"""First match wins, so a narrower network stands before a wider one. The last row of each family catches the rest."""

_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSurfaces:
    """Where the proxy itself can be reached: every address of this machine's interfaces, and every port it serves.

    Loopback and unspecified addresses belong to it without being listed. `names` are canonical hosts that are its own
    wherever they lead, at every port: the review desk's, which may be on another machine.
    """

    addresses: frozenset[IPAddress] = frozenset()
    ports: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()

    def named(self, host: str) -> bool:
        """Whether a canonical host is ours by its name, which is then never resolved."""
        return host == INTERNAL_HOST or host in self.names

    def reached_by(self, address: IPAddress, port: int) -> bool:
        """Whether dialling this would reach one of our own listeners."""
        plain = unmapped(address)
        mine = plain in self.addresses or classify(plain) in (AddressClass.LOOPBACK, AddressClass.UNSPECIFIED)
        return mine and port in self.ports


def own_by_url(url: str | None) -> tuple[frozenset[str], tuple[tuple[str, int], ...]]:
    """What is ours by the URL under which browsers find the review desk: its name; or, where it has an address in place
    of a name, or `localhost`, that address and the port.

    Raises:
        Rejected(URL_AMBIGUOUS): as `parse_authority`.
    """
    if url is None:
        return frozenset(), ()
    scheme, _, authority = url.partition("://")
    host, port = parse_authority(authority, scheme)
    if host == "localhost":
        return frozenset(), (("127.0.0.1", port),)
    return (frozenset({host}), ()) if ip_literal(host) is None else (frozenset(), ((host, port),))


def unmapped(address: IPAddress) -> IPAddress:
    """The address itself: an IPv4-mapped IPv6 address as IPv4, and no zone id."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def classify(address: IPAddress) -> AddressClass:
    """What `address` is. IPv4-mapped IPv6 is judged as the IPv4 address it is."""
    plain = unmapped(address)
    if plain in METADATA_ADDRESSES:
        return AddressClass.METADATA
    return next(kind for network, kind in _TABLE if plain in network)


def is_metadata_name(host: str) -> bool:
    """Whether a canonical host is a known name of a metadata service, which is refused before it is resolved."""
    return host in _METADATA_NAMES


def check_addresses(
    addresses: tuple[IPAddress, ...], allowed: tuple[IPNetwork, ...], *, port: int, own: OwnSurfaces
) -> tuple[IPAddress, ...]:
    """The addresses that may be dialled, in order, each once and unmapped; one bad address refuses them all.

    With `allowed` every address must lie inside one of those networks; without, every one must be public.

    Raises:
        Rejected(GUARD_SELF): one of them with `port` is the proxy's own.
        Rejected(GUARD_ADDRESS): there is none, or one may not be reached. The message names its class, not the address.
    """
    plain = tuple(dict.fromkeys(unmapped(address) for address in addresses))
    if not plain:
        raise Rejected(Code.GUARD_ADDRESS, "the destination has no address", field="address")
    for address in plain:
        kind = classify(address)
        if own.reached_by(address, port):
            raise Rejected(Code.GUARD_SELF, "the destination is the proxy itself", field="address")
        if kind in NEVER:
            raise Rejected(
                Code.GUARD_ADDRESS, f"a {kind.value} address is never reached through the proxy", field="address"
            )
        if allowed and not any(address in network for network in allowed):
            raise Rejected(Code.GUARD_ADDRESS, "an address lies outside the cluster's networks", field="address")
        if not allowed and kind is not AddressClass.PUBLIC:
            raise Rejected(Code.GUARD_ADDRESS, f"a {kind.value} address needs an address rule", field="address")
    return plain


def allowable_network(network: IPNetwork) -> None:
    """Refuse an address rule that says what no rule can permit.

    A network is refused when it overlaps a `NEVER` class; so one as wide as 0.0.0.0/0 or ::/0 is, too. A metadata
    address inside a wider network (100.100.100.200 in 100.64.0.0/10) does not refuse it: it stays refused at each call.

    Raises:
        Rejected(CONFIG_INVALID): with the reason and, where there is one, the correction.
    """
    if _overlap(network, _MAPPED):
        raise _not_allowable(network, "addresses are compared as IPv4; write the IPv4 network instead")
    if network.num_addresses == 1 and classify(network.network_address) is AddressClass.METADATA:
        raise _not_allowable(network, "it is a cloud metadata service")
    around = next(place for place, (row, _) in enumerate(_TABLE) if _within(network, row))
    for row, kind in _TABLE[: around + 1]:  # later rows say nothing about this network
        if kind in NEVER and _overlap(row, network):
            raise _not_allowable(network, f"it overlaps {row} ({kind.value}), which is never reached through the proxy")


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.network_address in outer and inner.broadcast_address in outer


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.network_address in other or other.network_address in one


def _not_allowable(network: IPNetwork, why: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, f"{network} cannot be an address rule: {why}", field="addresses")
