"""Packet rules as iptables-restore and ip6tables-restore read them: chains of our own, and one jump to each."""

from dataclasses import dataclass

from proxy.core.netrules import (
    FORBIDDEN4,
    FORBIDDEN6,
    OWN_MARK,
    QUIC_PORT,
    Arrangement,
    Gateway,
    Sidecar,
    check,
)

_MARK = f"{OWN_MARK:#x}/{OWN_MARK:#x}"
_PREFIX = "INTENT-PROXY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain of ours: in which table it is, from which of the kernel's it is jumped to ("" for none), its rules."""

    table: str  # "mangle" or "filter", which drop; or "nat", which leads
    name: str
    hook: str
    rules: tuple[str, ...]


def chains(rules: Arrangement, *, six: bool) -> tuple[Chain, ...]:
    """The chains of an arrangement for IPv4, or for IPv6 (`six`), those that drop first.

    Raises:
        Rejected(CONFIG_INVALID): as `check`.
    """
    check(rules)
    return _gateway(rules, six=six) if isinstance(rules, Gateway) else _sidecar(rules, six=six)


def names(arrangement: type[Arrangement]) -> tuple[tuple[str, str, str], ...]:
    """Table, chain and hook of everything an arrangement may have put there, the drops last."""
    some = Gateway(uid=1, inside=("eth0",)) if arrangement is Gateway else Sidecar(uid=1)
    return tuple((each.table, each.name, each.hook) for each in reversed(chains(some, six=True)))


def restore(listed: tuple[Chain, ...], table: str, *, jumps: frozenset[str]) -> str:
    """What `iptables-restore --noflush` takes for one table: our chains anew, and the jumps to those named, first."""
    mine = [each for each in listed if each.table == table]
    lines = [f"*{table}", *(f":{each.name} - [0:0]" for each in mine)]
    for each in mine:
        lines += [f"-A {each.name} {rule}" for rule in each.rules]
    lines += [f"-I {each.hook} 1 -j {each.name}" for each in mine if each.hook and each.name in jumps]
    return "\n".join([*lines, "COMMIT", ""])


def ruleset(rules: Arrangement, *, six: bool) -> str:
    """Everything for one family, as it is put where nothing of it is yet.

    Raises:
        Rejected(CONFIG_INVALID): as `check`.
    """
    listed = chains(rules, six=six)
    jumps = frozenset(each.name for each in listed)
    return "".join(restore(listed, table, jumps=jumps) for table in tables(listed))


def tables(listed: tuple[Chain, ...]) -> tuple[str, ...]:
    """The tables of these chains, those that drop before the one that leads."""
    return tuple(dict.fromkeys(each.table for each in listed))


def _chain(table: str, suffix: str, hook: str, *rules: str) -> Chain:
    return Chain(table=table, name=f"{_PREFIX}-{suffix}", hook=hook, rules=rules)


def _gateway(rules: Gateway, *, six: bool) -> tuple[Chain, ...]:
    listen, stub = rules.listen_port, rules.dns_port
    agents = [f"-i {name}" for name in rules.inside]
    led = "-m conntrack --ctstate DNAT"
    return (
        _chain("mangle", "GUARD", "PREROUTING", *(f"{each} -j {_PREFIX}-AGENTS" for each in agents)),
        _chain(
            "mangle",
            "AGENTS",
            "",
            *_neighbours(six=six, verdict="RETURN"),
            *(f"-d {network} -j DROP" for network in (FORBIDDEN6 if six else FORBIDDEN4)),
            "-p tcp -j RETURN",
            f"-p udp -m multiport --dports 53,{QUIC_PORT} -j RETURN",
            "-j DROP",
        ),
        _chain("filter", "ARRIVING", "INPUT", *(f"{each} -j {_PREFIX}-LED" for each in agents)),
        _chain(
            "filter",
            "LED",
            "",
            *_neighbours(six=six, verdict="ACCEPT"),
            f"-p tcp --dport {listen} {led} -j ACCEPT",
            f"-p tcp --dport {stub} {led} --ctorigdstport 53 -j ACCEPT",
            f"-p udp --dport {stub} {led} --ctorigdstport 53 -j ACCEPT",
            *(f"-p tcp --dport {port} -j ACCEPT" for port in rules.explicit_ports),
            f"-p udp -m conntrack --ctorigdstport {QUIC_PORT} -j REJECT",
            "-j DROP",
        ),
        _chain(
            "filter",
            "PASSING",
            "FORWARD",
            *(f"-{way} {name} -j DROP" for name in rules.inside for way in "io"),
        ),
        _chain(
            "filter",
            "LEAVING",
            "OUTPUT",
            "-o lo -j ACCEPT",
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            f"-m owner --uid-owner {rules.uid} -j ACCEPT",
            *(f"-p ipv6-icmp --icmpv6-type {kind} -j ACCEPT" for kind in (133, 135, 136) if six),
            "-j DROP",
        ),
        _chain("nat", "LEAD", "PREROUTING", *(f"{each} -j {_PREFIX}-ASTRAY" for each in agents)),
        _chain(
            "nat",
            "ASTRAY",
            "",
            f"-p tcp --dport 53 -j REDIRECT --to-ports {stub}",
            f"-p udp --dport 53 -j REDIRECT --to-ports {stub}",
            *(f"-p tcp --dport {port} -m addrtype --dst-type LOCAL -j RETURN" for port in rules.explicit_ports),
            f"-p tcp -j REDIRECT --to-ports {listen}",
            f"-p udp --dport {QUIC_PORT} -j REDIRECT --to-ports {stub}",
        ),
    )


def _sidecar(rules: Sidecar, *, six: bool) -> tuple[Chain, ...]:
    own, listen, stub = f"-m owner --uid-owner {rules.uid}", rules.listen_port, rules.dns_port
    led = "-m conntrack --ctstate DNAT"
    closed = (listen, stub, *rules.closed_ports)
    prohibited = f"-j REJECT --reject-with icmp{'6' if six else ''}-adm{'' if six else 'in'}-prohibited"
    return (
        _chain(
            "filter",
            "LEAVING",
            "OUTPUT",
            # What opens a connection is marked in the mangle table, where marks are set.
            f"{own} -m connmark --mark {_MARK} -j ACCEPT",
            f"{own} {led} -j ACCEPT",
            *(f"{own} -p tcp --sport {port} -j ACCEPT" for port in rules.explicit_ports),
            f"{own} -j DROP",
            "-m conntrack --ctdir REPLY -j ACCEPT",
            f"-j {_PREFIX}-AGENTS",
        ),
        _chain(
            "filter",
            "AGENTS",
            "",
            f"-p tcp --dport {listen} {led} -j ACCEPT",
            *(f"-p {kind} --dport {stub} {led} -j ACCEPT" for kind in ("tcp", "udp")),
            f"-o lo -j {_PREFIX}-BESIDE",
            *_neighbours(six=six, verdict="ACCEPT"),
            prohibited,
        ),
        _chain(
            "filter",
            "BESIDE",
            "",
            *(f"-p tcp --dport {port} -j ACCEPT" for port in rules.explicit_ports),
            *(f"-p {kind} --dport {port} -j REJECT" for port in closed for kind in ("tcp", "udp")),
            "-j ACCEPT",
        ),
        _chain(
            "filter",
            "ARRIVING",
            "INPUT",
            "-i lo -j ACCEPT",
            "-m conntrack --ctdir REPLY -j ACCEPT",
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            *_neighbours(six=six, verdict="ACCEPT", kinds=(134, 135, 136)),
            *(f"-p tcp --dport {port} -j ACCEPT" for port in (*rules.explicit_ports, *rules.inbound_ports)),
            "-j DROP",
        ),
        _chain(
            "mangle",
            "OWN",
            "OUTPUT",
            f"{own} -m conntrack --ctdir ORIGINAL -j CONNMARK --set-xmark {_MARK}",
        ),
        _chain(
            "nat",
            "LEAD",
            "OUTPUT",
            f"{own} -j RETURN",
            *(f"-p {kind} --dport 53 -j REDIRECT --to-ports {stub}" for kind in ("tcp", "udp")),
            "-o lo -j RETURN",
            *(f"-d {network} -j RETURN" for network in (FORBIDDEN6 if six else FORBIDDEN4)),
            f"-p tcp -j REDIRECT --to-ports {listen}",
        ),
    )


def _neighbours(*, six: bool, verdict: str, kinds: tuple[int, ...] = (135, 136)) -> tuple[str, ...]:
    return tuple(f"-p ipv6-icmp --icmpv6-type {kind} -m hl --hl-eq 255 -j {verdict}" for kind in kinds if six)
