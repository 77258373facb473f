"""What packet rules are for: where an agent's packets may go, so that there is no way out but through the proxy.

Two arrangements. A *gateway* stands between a network of agents and the world; a *sidecar* shares one network namespace
with its agent, and the two are told apart by their uid. The same words make nftables and iptables rules.
"""

from dataclasses import dataclass

from proxy.core.errors import Code, Rejected

LISTEN_PORT = 8444
"""Where the transparent listener is."""
DNS_PORT = 5353
"""Where the DNS stub is; what is sent to port 53 of anybody is led there."""
QUIC_PORT = 443
"""Of UDP: refused, not dropped, so that clients fall back to TCP at once."""

FORBIDDEN4 = ("169.254.0.0/16",)
FORBIDDEN6 = ("fe80::/10", "fd00:ec2::254")
"""Link-local addresses and metadata services: dropped before anything is led anywhere."""

NEIGHBOURS = ("nd-neighbor-solicit", "nd-neighbor-advert")
"""The ICMPv6 without which IPv6 does not work on a link; agents may send no other."""

OWN_MARK = 0x0040_0000
"""The bit of a connection's mark that says: the proxy itself opened it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A host between agents and the world. `inside` are its interfaces towards agents."""

    uid: int  # the proxy's; nobody else on this host opens connections to the world
    inside: tuple[str, ...]
    listen_port: int = LISTEN_PORT
    dns_port: int = DNS_PORT
    explicit_ports: tuple[int, ...] = ()  # where agents may also come by themselves: the proxy's own `listen`


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One network namespace that the proxy and its agent share."""

    uid: int  # the proxy's; every other is an agent's
    listen_port: int = LISTEN_PORT
    dns_port: int = DNS_PORT
    explicit_ports: tuple[int, ...] = ()
    closed_ports: tuple[int, ...] = ()  # on this host and not the proxy's own: a store under another uid
    inbound_ports: tuple[int, ...] = ()  # where others may reach the agent; none: an open connection leads out, too


type Arrangement = Gateway | Sidecar


def check(rules: Arrangement) -> None:
    """Refuse an arrangement that would be open, or that nothing could pass.

    Raises:
        Rejected(CONFIG_INVALID): a uid, a port or an interface that cannot be meant.
    """
    if not 0 < rules.uid < 2**32 - 1:
        detail = f"the proxy's uid must not be root's, and none that stands for nobody; got {rules.uid}"
        raise Rejected(Code.CONFIG_INVALID, f"{detail}: run the proxy as a user of its own, such as 10001", field="uid")
    others = (*rules.closed_ports, *rules.inbound_ports) if isinstance(rules, Sidecar) else ()
    ports = (rules.listen_port, rules.dns_port, *rules.explicit_ports, *others)
    for port in ports:
        if not 0 < port < 65_536:
            raise Rejected(Code.CONFIG_INVALID, f"a port must lie between 1 and 65535, got {port}", field="port")
    if len(set(ports)) < len(ports):
        detail = "the listener, the stub, explicit, closed and inbound ports must be different ones"
        raise Rejected(Code.CONFIG_INVALID, f"{detail}, got {', '.join(map(str, ports))}", field="port")
    if isinstance(rules, Gateway):
        if not rules.inside:
            detail = "a gateway needs the interfaces that lead to its agents: --from eth1"
            raise Rejected(Code.CONFIG_INVALID, detail, field="from")
        for name in rules.inside:
            _check_interface(name)


def _check_interface(name: str) -> None:
    plain = name.isascii() and all(char.isalnum() or char in "-_.@" for char in name)
    if not plain or not 0 < len(name) < 16 or name in (".", "..", "lo"):
        detail = "an interface is named by up to 15 letters, digits, '-', '_', '.' and '@', and is not lo"
        raise Rejected(Code.CONFIG_INVALID, f"{detail}; got {ascii(name)[:40]}", field="from")
