"""A child that grants itself more than its parent has: clusters, actions, locations, constraints.

The call is one that only the wider grant permits. The twin is the same call under the same child, whose parent really
has that grant.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import identities
from attacks import Case, against
from shots import Shot, leaf_under
from streets import Street

from proxy.core.manifest import detail_claims
from proxy.core.model import Constraints, Grant

ANY_WAY = True  # also as an agent that knows of no proxy

WIDENED = "delegation.widened"
INVOICES, PARTNERS = "supplier-invoices", "partner-services"

type Grants = Callable[[Street], tuple[Grant, ...]]


class Delegated:
    """A root with these grants, and a child that claims those; they may differ."""

    def __init__(self, parent: Grants, child: Grants) -> None:
        self._parent, self._child = parent, child

    def __call__(self, street: Street) -> Sequence[str]:
        root = street.house.root(grants=self._parent(street))
        return root, leaf_under(root, authorization_details=[detail_claims(grant) for grant in self._child(street)])


def granted(*clusters: str, **limits: object) -> Grants:
    """Everything of these clusters but for these limits: `actions`, `locations`, or a constraint."""

    def grants(street: Street) -> tuple[Grant, ...]:
        whole = street.house.grants(*clusters)
        given = {name: limits[name] for name in ("actions", "locations") if name in limits}
        kinds = {name: value for name, value in limits.items() if name in ("methods", "params", "query")}
        return tuple(replace(grant, **given, constraints=Constraints(**kinds)) for grant in whole)

    return grants


def located(*patterns: str) -> Grants:
    """The invoices at these locations; `{http}` and `{https}` stand for the origin's ports."""

    def grants(street: Street) -> tuple[Grant, ...]:
        ports = {"http": street.port("plain"), "https": street.port("tls")}
        places = frozenset(pattern.format(**ports) for pattern in patterns)
        return tuple(replace(grant, locations=places) for grant in street.house.grants(INVOICES))

    return grants


def pinned(digest: str) -> Grants:
    """The invoices, pinned to another version of the cluster."""
    return lambda street: tuple(replace(grant, digest=digest) for grant in street.house.grants(INVOICES))


READ, POST = frozenset({"read-invoice"}), frozenset({"read-invoice", "post-invoice"})
POSTED = Shot(method="POST", path="/v1/invoices", body="a=1", headers=(("Content-Type", "text/plain"),))
ONE, TWO = {"id": frozenset({"17"})}, {"id": frozenset({"17", "18"})}
OPEN, PAID = {"status": frozenset({"open"})}, {"status": frozenset({"open", "paid"})}
HERE = ("http://erp.example:{http}", "https://erp.example:{https}")

WIDENINGS: dict[str, tuple[Grants, Grants, Shot]] = {  # what the parent has, what the child claims, the call
    "an action": (granted(INVOICES, actions=READ), granted(INVOICES, actions=POST), POSTED),
    "an action where the parent has none": (granted(INVOICES, actions=frozenset()), granted(INVOICES), Shot()),
    "a cluster": (
        granted(INVOICES),
        granted(INVOICES, PARTNERS),
        Shot(authority="open.partner.example:{port}"),
    ),
    "a cluster where the parent has none": (lambda _: (), granted(INVOICES), Shot()),
    "a location": (located("https://erp.example:8443"), located("https://erp.example:8443", *HERE), Shot()),
    "the wildcard above its parent's location": (
        located("http://x.erp.example:{http}", "https://x.erp.example:{https}"),
        located("http://*.erp.example:{http}", "https://*.erp.example:{https}", *HERE),
        Shot(),
    ),
    "a port": (located("http://erp.example:8080"), located(*HERE), Shot()),
    "another scheme": (located("http://erp.example:{https}", "https://erp.example:{http}"), located(*HERE), Shot()),
    "a method, by dropping the constraint": (
        granted(INVOICES, methods=frozenset({"GET"})),
        granted(INVOICES),
        POSTED,
    ),
    "a method, by loosening the constraint": (
        granted(INVOICES, methods=frozenset({"GET"})),
        granted(INVOICES, methods=frozenset({"GET", "POST"})),
        POSTED,
    ),
    "a path parameter, by dropping the constraint": (
        granted(INVOICES, actions=READ, params=ONE),
        granted(INVOICES, actions=READ),
        Shot(path="/v1/invoices/18"),
    ),
    "a path parameter, by loosening the constraint": (
        granted(INVOICES, actions=READ, params=ONE),
        granted(INVOICES, actions=READ, params=TWO),
        Shot(path="/v1/invoices/18"),
    ),
    "a query parameter, by dropping the constraint": (
        granted(INVOICES, query=OPEN),
        granted(INVOICES),
        Shot(path="/v1/invoices?status=paid"),
    ),
    "a query parameter, by loosening the constraint": (
        granted(INVOICES, query=OPEN),
        granted(INVOICES, query=PAID),
        Shot(path="/v1/invoices?status=paid"),
    ),
    "another version of the cluster": (pinned(identities.cluster().digest), granted(INVOICES), Shot()),
}


def cases(way: str) -> Iterator[Case]:
    for name, (narrow, wide, call) in WIDENINGS.items():
        base = replace(call, chain=Delegated(wide, wide))
        yield against("E03", f"a child adds {name}", way, base, {"chain": Delegated(narrow, wide)}, code=WIDENED)
