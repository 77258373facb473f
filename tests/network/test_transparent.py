"""An agent with no proxy settings: what it connects to is redirected, and decided like any other call."""

from collections.abc import Iterator

import pytest
from hellos import client_hello, with_extension, with_second_name
from ledstreets import Street, opened
from nodes import wait_for

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with opened(tmp_path_factory.mktemp("transparent")) as running:
        yield running


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


# --- what TLS begins with ---------------------------------------------------------------------------------------------

ECH, GREASE = 0xFE0D, bytes([0, 0, 1, 0, 1, 7, 0, 32, *range(32), 0, 16, *range(16)])
SERVER_HELLO = b"\x16\x03\x03"


def test_a_client_hello_may_come_in_pieces(street: Street) -> None:
    assert street.hello([bytes([each]) for each in client_hello("erp.example")]) == SERVER_HELLO


def test_encrypted_client_hello_is_ignored_and_what_it_names_outside_is_judged(street: Street) -> None:
    assert street.hello([with_extension(client_hello("erp.example"), ECH, GREASE)]) == SERVER_HELLO
    before = len(street.codes())
    assert street.hello([with_extension(client_hello("evil.example"), ECH, GREASE)]) == b""
    wait_for(lambda: "transparent.sni" in street.codes()[before:], "its line")


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(client_hello(None), id="no name"),
        pytest.param(client_hello("192.0.2.1"), id="an address for a name"),
        pytest.param(with_second_name(client_hello("erp.example"), "evil.example"), id="two names"),
        pytest.param(with_second_name(client_hello("evil.example"), "erp.example"), id="two names, the other first"),
        pytest.param(b"\x16\x03\x01\xff\xff" + b"\x01" + bytes(70_000), id="longer than any"),
        pytest.param(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", id="another message of TLS"),
    ],
)
def test_a_client_hello_that_does_not_name_the_server_is_closed(street: Street, hello: bytes) -> None:
    before, seen = len(street.codes()), street.town.origin("tls").mark()
    assert street.hello([hello])[:3] != SERVER_HELLO
    wait_for(lambda: street.codes()[before:], "its line")
    assert str(street.codes()[before]).startswith("transparent.")
    assert street.town.origin("tls").since(seen).nothing


def test_a_client_hello_that_never_ends_is_ended(street: Street) -> None:
    """A byte now and then does not keep it open."""
    before = street.town.origin("tls").mark()
    assert street.hello([bytes([each]) for each in client_hello("erp.example")[:60]], pause_s=0.25) == b""
    assert street.town.origin("tls").since(before).nothing
