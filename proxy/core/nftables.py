"""Packet rules as nftables reads them: one table of our own, replaced as a whole, for IPv4 and IPv6 alike."""

from proxy.core.netrules import (
    FORBIDDEN4,
    FORBIDDEN6,
    NEIGHBOURS,
    OWN_MARK,
    QUIC_PORT,
    Arrangement,
    Gateway,
    Sidecar,
    check,
)

TABLE = "intent_proxy"
FAMILY = "inet"

type Chains = tuple[tuple[str, tuple[str, ...]], ...]
"""The name of each chain and its lines, the first of which says where it hangs; a chain that is jumped to has none."""


def chains(rules: Arrangement) -> Chains:
    """The chains of an arrangement. What drops stands before what leads astray: it holds by itself.

    Raises:
        Rejected(CONFIG_INVALID): as `check`.
    """
    check(rules)
    return _gateway(rules) if isinstance(rules, Gateway) else _sidecar(rules)


def ruleset(rules: Arrangement) -> str:
    """What `nft -f` takes: it replaces our table in one step, or changes nothing.

    Raises:
        Rejected(CONFIG_INVALID): as `check`.
    """
    lines = [f"table {FAMILY} {TABLE} {{}}", f"delete table {FAMILY} {TABLE}", f"table {FAMILY} {TABLE} {{"]
    for name, body in chains(rules):
        lines += [f"    chain {name} {{", *(f"        {line}" for line in body), "    }"]
    return "\n".join([*lines, "}", ""])


def removal() -> str:
    """What `nft -f` takes to be rid of our table, whether it is there or not."""
    return f"table {FAMILY} {TABLE} {{}}\ndelete table {FAMILY} {TABLE}\n"


def _gateway(rules: Gateway) -> Chains:
    inside = f"iifname {_set([_quoted(name) for name in rules.inside])}"
    explicit = [f"tcp dport {_set(rules.explicit_ports)}"] if rules.explicit_ports else []
    return (
        (
            "guard",
            (
                "type filter hook prerouting priority mangle; policy accept;",
                f"{inside} jump agents",
            ),
        ),
        (
            "agents",
            (
                *_neighbours(),
                f"ip daddr {_set(FORBIDDEN4)} drop",
                f"ip6 daddr {_set(FORBIDDEN6)} drop",
                "meta l4proto tcp return",
                f"udp dport {_set((53, QUIC_PORT))} return",
                "drop",
            ),
        ),
        (
            "arriving",
            (
                "type filter hook input priority filter - 5; policy accept;",
                f"{inside} jump led",
            ),
        ),
        (
            "led",
            (
                *_neighbours(),
                f"tcp dport {rules.listen_port} ct status dnat accept",
                f"meta l4proto {{ tcp, udp }} th dport {rules.dns_port} ct status dnat ct original proto-dst 53 accept",
                *(f"{each} accept" for each in explicit),
                f"meta l4proto udp ct original proto-dst {QUIC_PORT} reject",
                "drop",
            ),
        ),
        (
            "passing",
            (
                "type filter hook forward priority filter - 5; policy accept;",
                f"{inside} drop",
                f"o{inside[1:]} drop",
            ),
        ),
        (
            "leaving",
            (
                "type filter hook output priority filter - 5; policy accept;",
                'oifname "lo" accept',
                "ct state established,related accept",
                f"meta skuid {rules.uid} accept",
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept",
                "drop",
            ),
        ),
        (
            "lead",
            (
                "type nat hook prerouting priority dstnat - 1; policy accept;",
                f"{inside} jump astray",
            ),
        ),
        (
            "astray",
            (
                f"meta l4proto {{ tcp, udp }} th dport 53 redirect to :{rules.dns_port}",
                *(f"fib daddr type local {each} return" for each in explicit),
                f"meta l4proto tcp redirect to :{rules.listen_port}",
                f"udp dport {QUIC_PORT} redirect to :{rules.dns_port}",
            ),
        ),
    )


def _sidecar(rules: Sidecar) -> Chains:
    own, marked = f"meta skuid {rules.uid}", f"ct mark and {OWN_MARK:#010x} == {OWN_MARK:#010x}"
    explicit = (f"tcp dport {_set(rules.explicit_ports)} accept",) if rules.explicit_ports else ()
    answers = (f"{own} tcp sport {_set(rules.explicit_ports)} accept",) if rules.explicit_ports else ()
    closed = (f"meta l4proto {{ tcp, udp }} th dport {_set(rules.closed_ports)} reject",) if rules.closed_ports else ()
    return (
        (
            "leaving",
            (
                "type filter hook output priority filter - 5; policy accept;",
                f"{own} ct direction original ct mark set ct mark or {OWN_MARK:#010x} accept",
                f"{own} {marked} accept",
                f"{own} ct status dnat accept",
                *answers,
                f"{own} drop",
                "ct direction reply accept",
                "jump agents",
            ),
        ),
        (
            "agents",
            (
                f"tcp dport {rules.listen_port} ct status dnat accept",
                f"meta l4proto {{ tcp, udp }} th dport {rules.dns_port} ct status dnat accept",
                'oifname "lo" jump beside',
                *_neighbours(),
                "reject with icmpx admin-prohibited",
            ),
        ),
        (
            "beside",
            (
                *explicit,
                f"meta l4proto {{ tcp, udp }} th dport {_set((rules.listen_port, rules.dns_port))} reject",
                *closed,
                "accept",
            ),
        ),
        (
            "arriving",
            (
                "type filter hook input priority filter - 5; policy accept;",
                'iifname "lo" accept',
                "ct direction reply accept",
                "ct state established,related accept",
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } ip6 hoplimit 255 accept",
                *(f"tcp dport {port} accept" for port in (*rules.explicit_ports, *rules.inbound_ports)),
                "drop",
            ),
        ),
        (
            "lead",
            (
                "type nat hook output priority -101; policy accept;",
                f"{own} return",
                f"meta l4proto {{ tcp, udp }} th dport 53 redirect to :{rules.dns_port}",
                'oifname "lo" return',
                f"ip daddr {_set(FORBIDDEN4)} return",
                f"ip6 daddr {_set(FORBIDDEN6)} return",
                f"meta l4proto tcp redirect to :{rules.listen_port}",
            ),
        ),
    )


def _neighbours() -> tuple[str, ...]:
    return (f"icmpv6 type {_set(NEIGHBOURS)} ip6 hoplimit 255 accept",)


def _set(items: tuple[object, ...] | list[str]) -> str:
    return f"{{ {', '.join(map(str, items))} }}"


def _quoted(name: str) -> str:
    return f'"{name}"'
