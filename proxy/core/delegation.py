"""Delegation: what a child manifest may say, given its parent. It may only narrow (DESIGN: delegation)."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Constraints, Grant, Manifest

_LOCATION = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<wild>\*\.)?(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORT = {"http": 80, "https": 443}


def is_location(text: str) -> bool:
    """Whether `text` is a location in its one canonical spelling: `scheme://host[:port]` or `scheme://*.host[:port]`.

    Lower case, the scheme's default port omitted, IP addresses in their shortest form and never below a wildcard.
    """
    found = _LOCATION.fullmatch(text)
    if found is None:
        return False
    port = int(found["port"] or 0)
    if port > 65_535 or port == _DEFAULT_PORT[found["scheme"]]:
        return False
    try:
        if found["ipv6"]:
            return str(IPv6Address(found["ipv6"])) == found["ipv6"]
        if found["name"].rpartition(".")[2].isdigit():  # a name cannot end in a number: it would be an IPv4 address
            return not found["wild"] and str(IPv4Address(found["name"])) == found["name"]
    except AddressValueError:
        return False
    return len(found["name"]) <= 253


def location_covers(outer: str, inner: str) -> bool:
    """Whether every origin `inner` stands for is also one of `outer`'s.

    Both are canonical locations, or `inner` is a canonical origin (`Call.origin`). A wildcard stands for one or more
    labels, so `*.example.com` covers neither `example.com` nor `notexample.com`.
    """
    if outer == inner:
        return True
    scheme, wildcard, suffix = outer.partition("://*")
    start = f"{scheme}://"
    return bool(wildcard) and inner.startswith(start) and inner.endswith(suffix) and len(inner) > len(start + suffix)


def check_narrows(parent: Manifest, child: Manifest, agents: Mapping[str, Agent]) -> None:
    """Reject a child that is not its parent's, or that permits anything its parent does not.

    Not checked here: signatures, the time of day, revocation, and the purpose, which a child may say in its own words.

    Raises:
        Rejected(DELEGATION_PARENT): another parent, or not signed with the parent's `cnf` key.
        Rejected(DELEGATION_DEPTH): deeper than the parent permits.
        Rejected(DELEGATION_WIDENED): audience, sponsor, subject, time, clusters or constraints widened; `field` says
            which.
    """
    check_scope(parent, child)
    check_subject(parent, child, agents)


def check_scope(parent: Manifest, child: Manifest) -> None:
    """The part of `check_narrows` that needs no inventory, so that whoever delegates can check before sending.

    Raises:
        Rejected: as `check_narrows`.
    """
    _check_link(parent, child)
    for field, ours, theirs in (
        ("aud", parent.aud, child.aud),
        ("sponsor", (parent.sponsor_id, parent.sponsor_name), (child.sponsor_id, child.sponsor_name)),
    ):
        if ours != theirs:
            raise _widened(field, f"must be the parent's {ours!r}, got {theirs!r}")
    if child.exp > parent.exp:
        raise _widened("exp", f"must not be after the parent's {_iso(parent.exp)}, got {_iso(child.exp)}")
    if child.nbf < parent.nbf:
        raise _widened("nbf", f"must not be before the parent's {_iso(parent.nbf)}, got {_iso(child.nbf)}")
    if child.sub == parent.sub and parent.certificate not in (None, child.certificate):
        raise _widened("cnf", f"must keep the parent's client certificate {parent.certificate}")
    if not child.may_delegate_to <= parent.may_delegate_to:
        raise _widened("may_delegate_to", f"names more than the parent: {_list(child, parent)}")
    granted = {grant.cluster: grant for grant in parent.grants}
    for grant in child.grants:
        ours_grant = granted.get(grant.cluster)
        if ours_grant is None:
            raise _widened("authorization_details", f"cluster {grant.cluster} is not granted to the parent")
        for field, fault in _wider(ours_grant, grant):
            raise _widened(field, f"of cluster {grant.cluster} {fault}")


def check_subject(parent: Manifest, child: Manifest, agents: Mapping[str, Agent]) -> None:
    """Reject a change of subject that the sponsor (in the parent) or the operator (in the inventory) does not permit.

    Raises:
        Rejected(DELEGATION_WIDENED): the child names another agent that either of them does not list.
    """
    if child.sub == parent.sub:
        return
    delegator = agents.get(parent.sub)
    listed = delegator is not None and child.sub in delegator.may_delegate_to and child.sub in agents
    if child.sub not in parent.may_delegate_to or not listed:
        raise _widened("sub", f"{parent.sub} may not delegate to {child.sub}: may_delegate_to does not name it")


def _check_link(parent: Manifest, child: Manifest) -> None:
    if child.par_hash != parent.id:
        raise Rejected(Code.DELEGATION_PARENT, "par_hash is not the hash of the link before it", field="par_hash")
    if child.iss != parent.cnf.kid or child.kid != parent.cnf.kid:
        detail = f"iss and kid must be {parent.cnf.kid}, the cnf key of the link before it, got {child.iss}"
        raise Rejected(Code.DELEGATION_PARENT, detail, field="iss")
    if child.del_depth != parent.del_depth + 1 or child.del_depth > parent.del_max_depth:
        detail = f"must be {parent.del_depth + 1} and at most {parent.del_max_depth}, got {child.del_depth}"
        raise Rejected(Code.DELEGATION_DEPTH, f"del_depth {detail}", field="del_depth")
    if child.del_max_depth > parent.del_max_depth:
        detail = f"must be at most the parent's {parent.del_max_depth}, got {child.del_max_depth}"
        raise Rejected(Code.DELEGATION_DEPTH, f"del_max_depth {detail}", field="del_max_depth")


def _wider(parent: Grant, child: Grant) -> Iterator[tuple[str, str]]:
    """Every respect in which `child` permits more than `parent`, as (claim, what widened)."""
    if child.digest != parent.digest:
        yield "digest", "is pinned to another version than the parent's"
    if not child.actions <= parent.actions:
        yield "actions", f"adds {_names(child.actions - parent.actions)}"
    for inner in sorted(child.locations):
        if not any(location_covers(outer, inner) for outer in parent.locations):
            yield "locations", f"adds {inner}"
    yield from _looser(parent.constraints, child.constraints)


def _looser(parent: Constraints, child: Constraints) -> Iterator[tuple[str, str]]:
    if parent.methods is not None and (child.methods is None or not child.methods <= parent.methods):
        yield "constraints.methods", "drops or loosens the parent's"
    for kind, ours, theirs in (
        ("params", parent.params, child.params),
        ("query", parent.query, child.query),
        ("body", parent.body, child.body),
    ):
        for name, values in ours.items():
            if name not in theirs or not theirs[name] <= values:
                yield f"constraints.{kind}", f"drops or loosens the parent's {name!r}"


def _widened(field: str, detail: str) -> Rejected:
    return Rejected(Code.DELEGATION_WIDENED, f"{field} {detail}", field=field)


def _list(child: Manifest, parent: Manifest) -> str:
    return _names(child.may_delegate_to - parent.may_delegate_to)


def _names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _iso(moment: datetime) -> str:
    return moment.isoformat()
