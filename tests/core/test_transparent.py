from ipaddress import IPv4Address, ip_address

import pytest

from proxy.core.errors import Code, Rejected
from proxy.core.transparent import check_mapped, check_redirected, check_sni, check_stubbed, is_http

LISTENER = (ip_address("127.0.0.1"), 8444)
GIVEN = IPv4Address("198.18.0.9")


def test_a_redirected_connection_keeps_where_it_was_going() -> None:
    assert check_redirected((GIVEN, 443), LISTENER) == (GIVEN, 443)


@pytest.mark.parametrize(
    "original", [pytest.param(None, id="nothing is known of it"), pytest.param(LISTENER, id="to the listener itself")]
)
def test_a_direct_connection_is_refused(original: object) -> None:
    with pytest.raises(Rejected) as refused:
        check_redirected(original, LISTENER)  # type: ignore[arg-type]
    assert refused.value.code is Code.TRANSPARENT_DIRECT


@pytest.mark.parametrize("text", ["192.0.2.1", "198.17.255.255", "198.20.0.0", "2001:db8::1"])
def test_an_address_that_no_name_was_asked_for_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_stubbed(ip_address(text))
    assert refused.value.code is Code.TRANSPARENT_LITERAL
    assert check_stubbed(GIVEN) == GIVEN


def test_an_address_without_a_name_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        check_mapped(None)
    assert refused.value.code is Code.TRANSPARENT_UNMAPPED
    assert check_mapped("erp.example") == "erp.example"


@pytest.mark.parametrize("sni", [None, "", "evil.example", "erp.example.evil.example", "x.erp.example"])
def test_another_sni_or_none_is_refused(sni: str | None) -> None:
    with pytest.raises(Rejected) as refused:
        check_sni(sni, "erp.example")
    assert refused.value.code is Code.TRANSPARENT_SNI


@pytest.mark.parametrize("sni", ["erp.example", "ERP.example", "erp.example."])
def test_the_name_itself_passes(sni: str) -> None:
    check_sni(sni, "erp.example")


@pytest.mark.parametrize(
    ("data", "port"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", 443, id="plain HTTP on 443"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", 80, id="a banner of SSH"),
        pytest.param(b"\x00\x00\x00\x10", 80, id="binary"),
        pytest.param(b"A" * 33, 80, id="a method that is too long"),
    ],
)
def test_what_is_no_http_is_refused(data: bytes, port: int) -> None:
    with pytest.raises(Rejected) as refused:
        is_http(data, port)
    assert refused.value.code is Code.TRANSPARENT_PROTOCOL


def test_http_is_told_as_soon_as_its_method_ends() -> None:
    assert is_http(b"GET /", 80) and not is_http(b"GE", 80)
