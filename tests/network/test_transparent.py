"""An agent with no proxy settings: what it connects to is redirected, and decided like any other call."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from enclosure import Enclosure, enclosure
from houses import CLUSTERS
from nodes import wait_for
from towns import Town, open_town

pytestmark = pytest.mark.system

GIVEN = "198.18.7.7"
RULES = """
table ip t { chain o { type nat hook output priority -100;
  ip daddr 198.18.0.0/15 tcp dport 1-65535 redirect to :8444
  ip daddr 192.0.2.0/24 tcp dport 1-65535 redirect to :8444
}
}
"""
SETTINGS = 'transparent: {listen: ["127.0.0.1:8444"]}\n'


class Street:
    """An agent beside its proxy, in a namespace of their own."""

    def __init__(self, town: Town, place: Enclosure, folder: Path) -> None:
        self.town, self.place, self.folder = town, place, folder

    def curl(self, *words: str) -> str:
        """The status that curl tells; "000" for none."""
        command = ["curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"]
        done = self.place.run([*command, "--cacert", str(self.town.house.ca), *words], environment=os.environ)
        return done.stdout

    def connect(self, way: str, path: str, *words: str, host: str = "erp.example", to: str = GIVEN) -> str:
        port = self.town.origin(way).port
        scheme = "https" if way == "tls" else "http"
        return self.curl("--resolve", f"{host}:{port}:{to}", f"{scheme}://{host}:{port}{path}", *words)

    def codes(self) -> list[object]:
        return [each.get("code") for each in self.town.house.journal("decision")]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    folder = tmp_path_factory.mktemp("transparent")
    book = folder / "book.json"
    book.write_text(json.dumps({GIVEN: "erp.example"}))
    rules = folder / "rules.nft"
    rules.write_text(RULES)
    os.environ["TEST_BOOK"] = str(book)
    try:
        with enclosure() as place:
            place.ip("addr", "add", "10.99.0.1/32", "dev", "lo")
            place.ip("route", "add", "default", "dev", "lo", "src", "10.99.0.1")
            done = place.run(["nft", "-f", rules], environment=os.environ)
            assert done.returncode == 0, done.stderr
            opening = open_town(folder, workers=1, clusters=CLUSTERS, extra=SETTINGS)
            town = place.inside(opening.__enter__)
            try:
                yield Street(town, place, folder)
            finally:
                place.inside(lambda: opening.__exit__(None, None, None))
    finally:
        del os.environ["TEST_BOOK"]


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_source_that_is_nobodys_gets_511_and_the_origin_sees_nothing(street: Street, way: str) -> None:
    before = street.town.origin(way).mark()
    assert street.connect(way, "/v1/invoices/7") == "511"
    assert "proof.source" in street.codes()
    assert street.town.origin(way).mark() == before


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_signed_call_from_a_place_that_is_nobodys_passes(street: Street, way: str) -> None:
    house = street.town.house
    url = street.town.url(way, "/v1/invoices/7")
    headers = house.signed("GET", url, chain=house.chain())
    words = [word for name, value in headers for word in ("-H", f"{_text(name)}: {_text(value)}")]
    before = street.town.origin(way).mark()
    assert street.connect(way, "/v1/invoices/7", *words) == "200"
    assert street.town.origin(way).mark() != before


@pytest.mark.parametrize(
    ("way", "host", "to", "code"),
    [
        pytest.param("tls", "evil.example", GIVEN, "transparent.sni", id="TLS that names another server"),
        pytest.param("tls", "erp.example", "192.0.2.9", "transparent.literal", id="an address with an allowed name"),
        pytest.param("plain", "erp.example", "198.18.9.9", "transparent.unmapped", id="an address given to nobody"),
        pytest.param("plain", "erp.example", "127.0.0.1:8444", "transparent.direct", id="the listener itself"),
    ],
)
def test_what_does_not_agree_is_closed_and_journaled(street: Street, way: str, host: str, to: str, code: str) -> None:
    before = street.town.origin(way).mark()
    if ":" in to:
        assert street.curl(f"http://{to}/v1/invoices/7", "-H", f"Host: {host}") == "000"
    else:
        assert street.connect(way, "/v1/invoices/7", host=host, to=to) == "000"
    wait_for(lambda: code in street.codes(), code)
    assert street.town.origin(way).mark() == before


def test_another_host_inside_is_refused(street: Street) -> None:
    assert street.connect("plain", "/v1/invoices/7", "-H", "Host: evil.example") == "400"
    assert "url.ambiguous" in street.codes()


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
