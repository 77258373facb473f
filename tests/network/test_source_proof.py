"""An agent that proves nothing but where it is: what that takes, and what it is good for."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import identities
import pytest
from houses import CLUSTERS
from ledstreets import Street, opened

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest
from proxy.registry import names_of
from proxy.stores.redis_control import RedisMandates

pytestmark = pytest.mark.system

SIGNED = """\
  - id: ledger
    description: Write to the ledger
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read-ledger
        methods: [GET]
        path: /v1/ledger
"""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    clusters = CLUSTERS.replace("    risk: routine\n", "    risk: routine\n    proof: source\n") + SIGNED
    source = {identities.AGENT: "lo 127.0.0.1"}
    with opened(tmp_path_factory.mktemp("source"), clusters=clusters, source=source) as running:
        yield running


@contextmanager
def registered(street: Street, *tokens: str) -> Iterator[None]:
    """Mandates in the registry, as `manifest register` puts them there."""
    house = street.town.house
    entries = [(name, parse_manifest(token)) for token in tokens for name in names_of(parse_manifest(token))]
    for name, link in entries:
        house.with_store(lambda server, name=name, link=link: RedisMandates(server).register(name, link.id, link.token))
    try:
        yield
    finally:
        for name, link in entries:
            house.with_store(lambda server, name=name, link=link: RedisMandates(server).unregister(name, link.id))


def last(street: Street) -> dict[str, object]:
    return street.town.house.journal("decision")[-1]


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_one_registered_mandate_stands_for_it(street: Street, way: str) -> None:
    token = street.town.house.root()
    before = street.town.origin(way).mark()
    with registered(street, token):
        assert street.connect(way, "/v1/invoices/7") == "200"
    assert len(street.town.origin(way).since(before).requests) == 1
    line = last(street)
    assert (line["agent"], line["sponsor"], line["proof"]) == (identities.AGENT, identities.SPONSOR, "source")
    assert line["manifest"] == parse_manifest(token).id


@pytest.mark.parametrize("count", [0, 2])
def test_none_or_several_do_not(street: Street, count: int) -> None:
    before = street.town.tls.mark()
    with registered(street, *(street.town.house.root() for _ in range(count))):
        assert street.connect("tls", "/v1/invoices/7") == "511"
    assert last(street)["code"] == "proof.source"
    assert street.town.tls.since(before).nothing


def test_a_cluster_that_does_not_say_so_asks_for_more(street: Street) -> None:
    before = street.town.tls.mark()
    with registered(street, street.town.house.root()):
        assert street.connect("tls", "/v1/ledger") in ("403", "511")
        assert str(last(street)["code"]).startswith("proof.")
        assert street.connect("tls", "/v1/invoices/7") == "200"
    assert [each.target for each in street.town.tls.since(before).requests] == ["/v1/invoices/7"]


def test_what_a_mandate_does_not_cover_is_held_for_its_sponsor(street: Street) -> None:
    before = street.town.tls.mark()
    token = street.town.house.root(grants=street.town.house.grants("supplier-invoices"))
    with registered(street, token):
        assert street.connect("tls", "/v1/invoices/7/lines") == "403"
    assert (last(street)["code"], last(street)["verdict"]) == ("mandate.not_covered", "hold")
    assert street.town.tls.since(before).nothing


def test_a_stop_or_a_mandate_that_was_taken_away_ends_it(street: Street) -> None:
    house, before = street.town.house, street.town.tls.mark()
    with registered(street, house.root()):
        house.stop_by(Act.QUARANTINE, identities.AGENT)
        try:
            assert street.connect("tls", "/v1/invoices/7") == "403"
        finally:
            house.stop_by(Act.RESTORE, identities.AGENT)
        assert street.connect("tls", "/v1/invoices/8") == "200"
    assert street.connect("tls", "/v1/invoices/9") == "511"
    assert [each.target for each in street.town.tls.since(before).requests] == ["/v1/invoices/8"]


def test_it_opens_no_session(street: Street) -> None:
    """A session would carry the weakest proof away from its place."""
    with registered(street, street.town.house.root()):
        to = street.given("intent.internal")
        resolved = ("--resolve", f"intent.internal:80:{to}")
        assert street.curl(*resolved, "http://intent.internal/mandate") == "200"
        assert street.curl(*resolved, "-X", "POST", "http://intent.internal/session") in ("403", "511")


def test_headers_that_claim_another_place_change_nothing(street: Street) -> None:
    claims = [word for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP") for word in ("-H", f"{name}: 10.0.0.9")]
    with registered(street, street.town.house.root()):
        assert street.connect("tls", "/v1/invoices/7", *claims) == "200"
    assert "10.0.0.9" not in json.dumps(last(street))
