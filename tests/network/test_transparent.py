"""An agent with no proxy settings: what it connects to is redirected, and decided like any other call."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from enclosure import Enclosure, enclosure
from houses import CLUSTERS
from nodes import wait_for
from towns import Town, open_town

pytestmark = pytest.mark.system

RULES = """
table ip t { chain o { type nat hook output priority -100;
  ip daddr 198.18.0.0/15 tcp dport 1-65535 redirect to :8444
  ip daddr 192.0.2.0/24 tcp dport 1-65535 redirect to :8444
}
}
"""
SETTINGS = 'transparent: {listen: ["127.0.0.1:8444"], dns: {listen: ["127.0.0.1:5353"]}}\n'


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


class Street:
    """An agent beside its proxy, in a namespace of their own."""

    def __init__(self, town: Town, place: Enclosure, folder: Path) -> None:
        self.town, self.place, self.folder = town, place, folder

    def curl(self, *words: str) -> str:
        """The status that curl tells; "000" for none."""
        command = ["curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"]
        done = self.place.run([*command, "--cacert", str(self.town.house.ca), *words], environment=os.environ)
        return done.stdout

    def ask(self, name: str, kind: int = 1) -> bytes:
        """What the stub answers."""

        def asked() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                sock.sendto(question(name, kind), ("127.0.0.1", 5353))
                return sock.recv(512)

        return self.place.inside(asked)

    def given(self, name: str) -> str:
        """The address that the stub gives a name."""
        return socket.inet_ntoa(self.ask(name)[-4:])

    def connect(self, way: str, path: str, *words: str, host: str = "erp.example", to: str = "") -> str:
        to = to or self.given("erp.example")
        port = self.town.origin(way).port
        scheme = "https" if way == "tls" else "http"
        return self.curl("--resolve", f"{host}:{port}:{to}", f"{scheme}://{host}:{port}{path}", *words)

    def dns(self) -> list[dict[str, object]]:
        return self.town.house.journal("dns")

    def codes(self) -> list[object]:
        return [each.get("code") for each in self.town.house.journal("decision")]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    folder = tmp_path_factory.mktemp("transparent")
    rules = folder / "rules.nft"
    rules.write_text(RULES)
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
        pytest.param("tls", "evil.example", "", "transparent.sni", id="TLS that names another server"),
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


def test_the_stub_gives_a_name_one_address_and_nothing_else_and_the_journal_says_so(street: Street) -> None:
    first = street.given("crm.example")
    assert first.startswith(("198.18.", "198.19.")) and street.given("crm.example") == first
    assert street.given("erp.example") != first
    wait_for(
        lambda: [each["address"] for each in street.dns() if each.get("name") == "crm.example"] == [first], "its line"
    )
    assert street.ask("crm.example", 28)[3] & 0x0F == 0
    assert street.ask("crm.example", 16)[3] & 0x0F == 5
    wait_for(lambda: any("something else" in str(each.get("refused")) for each in street.dns()), "the refusal")
