"""A mandate constrains a query parameter of an operation that permits any query, and servers read names differently."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from attacks import Case, against
from shots import Shot
from streets import Street

from proxy.core.model import Constraints

ANY_WAY = True  # also as an agent that knows of no proxy


def constrained(street: Street) -> Sequence[str]:
    """A mandate for the catalogue, and in it for offers of one region alone."""
    only = Constraints(query={"region_id": frozenset({"7"})})
    return street.house.chain(
        grants=tuple(replace(grant, constraints=only) for grant in street.house.grants("catalogue"))
    )


SEARCH = Shot(path="/catalogue?region_id=7&q=1", chain=constrained)
QUERIES = {
    "another value": "region_id=8",
    "no value": "q=1",
    "the permitted value and another": "region_id=7&region_id=8",
    "another value and the permitted one": "region_id=8&region_id=7",
    "an array beside it": "region_id=7&region_id[]=8",
    "an encoded array before it": "region_id%5B%5D=8&region_id=7",
    "a member beside it": "region_id=7&region_id[a]=8",
    "capitals beside it": "region_id=7&REGION_ID=8",
    "a dot for the underscore": "region_id=7&region.id=8",
    "a space for the underscore": "region_id=7&region+id=8",
    "an open bracket for the underscore": "region_id=7&region[id=8",
    "a space before it": "region_id=7&%20region_id=8",
}


def cases(way: str) -> Iterator[Case]:
    for name, query in QUERIES.items():
        yield against("D02", name, way, SEARCH, {"path": f"/catalogue?{query}"}, code="mandate.not_covered")
