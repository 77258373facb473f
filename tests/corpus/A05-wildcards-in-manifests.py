"""A manifest's location may be wider than its cluster, and gains nothing by it: both must cover the call."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from attacks import Case, against
from shots import Shot, leaf_under
from streets import Street

ANY_WAY = True  # also as an agent that knows of no proxy

WIDE = ("http://*.example:{http}", "https://*.example:{https}")


def wide(street: Street) -> Sequence[str]:
    """The invoices, granted at every name below `example`."""
    ports = {"http": street.port("plain"), "https": street.port("tls")}
    locations = frozenset(place.format(**ports) for place in WIDE)
    grants = tuple(replace(grant, locations=locations) for grant in street.house.grants("supplier-invoices"))
    root = street.house.root(grants=grants)
    return root, leaf_under(root)


def cases(way: str) -> Iterator[Case]:
    base = Shot(chain=wide)
    for host in ("evil.example", "x.erp.example", "open.partner.example"):
        changes = {"authority": f"{host}:{{port}}"}
        yield against("A05", f"{host} under *.example", way, base, changes, code="mandate.not_covered")
