"""A wildcard at or above a public suffix covers many owners: no operator can sign such a file, no proxy runs on it.

The file is the one the street runs on, with nothing but the name after the star changed; so its twin is a call that
the street's own wildcard covers.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import houses
from attacks import Case
from shots import Answer, Shot, fire
from streets import Street

from proxy.core.errors import Rejected

ANY_WAY = True  # also as an agent that knows of no proxy

OWN = '"*.partner.example"'
WILDCARDS = (
    "*",
    "*.",
    "*.com",
    "*.co.uk",
    "*.uk",
    "*.github.io",
    "*.s3.amazonaws.com",
    "*.amazonaws.com",
    "*.ck",
    "*.*.partner.example",
    "open.*.example",
    "*partner.example",
    "**.partner.example",
    "*.10.0.0.1",
    "*.intent.internal",
)


def cases(way: str) -> Iterator[Case]:
    for wildcard in WILDCARDS:
        yield Case(
            threat="A05",
            name=f"{wildcard} in a file of clusters",
            way=way,
            twin=lambda street: fire(street, way, Shot(authority="open.partner.example:{port}")),
            attack=lambda street, wildcard=wildcard: _refused(street, wildcard),
            code="config.invalid",
        )


def _refused(street: Street, wildcard: str) -> Answer:
    assert _sign(street, "*.partner.example").status == 200, "the file is good but for its wildcard"
    return _sign(street, wildcard)


def _sign(street: Street, wildcard: str) -> Answer:
    """What an operator learns who signs the street's clusters with another wildcard."""
    assert OWN in street.clusters
    clusters = street.clusters.replace(OWN, f'"{wildcard}"')
    with tempfile.TemporaryDirectory(dir=street.folder) as folder:
        try:
            houses.build(Path(folder) / "node", clusters=clusters)
        except Rejected as fault:
            return Answer(status=0, code=fault.code.value)
    return Answer(status=200, code="")
