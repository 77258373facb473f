"""Destinations as people write them: names, wildcards, ports and networks, and which of them no rule may name."""

from functools import cache
from ipaddress import ip_network
from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList

from proxy.core.addresses import allowable_network, is_metadata_name
from proxy.core.errors import Code, Rejected
from proxy.core.model import HostPattern, IPNetwork
from proxy.core.names import INTERNAL_HOST, ip_literal, load_host
from proxy.policy.document import Misread, word
from proxy.policy.faults import shown
from proxy.policy.yaml import Node


def host_pattern(node: Node) -> HostPattern:
    """`erp.example`, `*.erp.example` or an IP literal; U-labels become A-labels.

    Not checked here: that an IP literal comes with an address rule.

    Raises:
        Rejected(CONFIG_INVALID): no host, a port or scheme with it, a wildcard elsewhere than in front, or at or above
            a public suffix, or a name that no rule may reach.
    """
    text = word(node)
    if "/" in text:
        raise Misread(
            node, f"expected a host without scheme or path, got {shown(text)}; these are schemes, ports, paths"
        )
    wildcard = text.startswith("*.")
    rest = text.removeprefix("*.")
    if "*" in rest:
        raise Misread(node, f'expected "*" only as a leading "*.", got {shown(text)}')
    if rest.count(":") == 1:
        raise Misread(node, f"expected a host without a port, got {shown(text)}; write the port under ports")
    name = load_host(rest)
    if wildcard and ip_literal(name) is not None:
        raise Misread(node, f"expected a name after the wildcard, got {shown(text)}; write a network under addresses")
    if name == INTERNAL_HOST or name.endswith(f".{INTERNAL_HOST}"):
        raise Misread(node, f"{INTERNAL_HOST} is served by the proxy itself and cannot be a destination")
    if is_metadata_name(name):
        raise Misread(node, f"{shown(name)} is a cloud metadata service, which no rule can permit")
    if wildcard:
        _check_wildcard(name)
    return HostPattern(name=name, wildcard=wildcard)


def _check_wildcard(name: str) -> None:
    suffixes, above = _suffixes()
    if suffixes.publicsuffix(name) == name:
        why = f"{name} is a public suffix"
    elif name in above:
        why = f"{above[name]}, below it, is a public suffix"
    else:
        return
    raise Rejected(Code.CONFIG_INVALID, f'"*.{name}" would cover many owners: {why}; name the hosts one by one')


@cache
def _suffixes() -> tuple[PublicSuffixList, dict[str, str]]:
    """The public suffix list (ICANN and private), and every name above one of its suffixes with such a suffix."""
    text = Path(PSLFILE).read_text(encoding="utf-8")
    above: dict[str, str] = {}
    for line in text.splitlines():
        rule = line.partition(" ")[0]
        if not rule or rule.startswith(("//", "!")):
            continue
        name = rule if rule.isascii() else rule.encode("idna").decode("ascii")
        parent = name.partition(".")[2]
        while parent:
            above.setdefault(parent, name)
            parent = parent.partition(".")[2]
    return PublicSuffixList(text.splitlines(), accept_unknown=True, only_icann=False), above


def network(node: Node) -> IPNetwork:
    """A network in CIDR form, without host bits, that an address rule can permit.

    Raises:
        Rejected(CONFIG_INVALID): not a network, or one that overlaps what no rule can permit.
    """
    text = word(node)
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise Misread(node, f"expected a network such as 10.1.0.0/16, got {shown(text)}") from None
    if str(found) != text and str(found.network_address) != text:
        raise Misread(
            node, f"expected a network without host bits, got {shown(text)}; did you mean {shown(str(found))}?"
        )
    allowable_network(found)
    return found
