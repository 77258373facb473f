"""One spelling of a host, or a refusal. Ids of THREATS.md stand in the sentences they belong to."""

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected
from proxy.core.names import canonical_host, ip_literal, load_host, parse_authority

NORMALISED = {
    "a plain name": ("erp.example", "erp.example"),
    "A04 upper case is the same name": ("ERP.Example", "erp.example"),
    "A04 one trailing dot is the same name": ("erp.example.", "erp.example"),
    "a single label": ("localhost", "localhost"),
    "underscores stand in names of services": ("my_service.internal", "my_service.internal"),
    "two hyphens in a row are ordinary": ("r3---sn-4g5e.example", "r3---sn-4g5e.example"),
    "a label of digits is ordinary when it is not the last": ("163.com", "163.com"),
    "a label of 63 characters is the longest": ("a" * 63 + ".example", "a" * 63 + ".example"),
    "an A-label": ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    "an A-label in upper case": ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
    "A04 a look-alike is its own name, not the one it resembles": ("xn--pple-43d.com", "xn--pple-43d.com"),
    "A05 a longer name is not the shorter one": ("notexample.com", "notexample.com"),
    "an IPv4 address": ("192.0.2.7", "192.0.2.7"),
    "an IPv4 address with a trailing dot": ("192.0.2.7.", "192.0.2.7"),
    "an IPv6 address loses its brackets": ("[2001:db8::1]", "2001:db8::1"),
    "an IPv6 address in a long form": ("[2001:0DB8:0:0:0:0:0:1]", "2001:db8::1"),
    "B01 an IPv4-mapped IPv6 address is the IPv4 address": ("[::ffff:127.0.0.1]", "127.0.0.1"),
    "B01 an IPv4-mapped IPv6 address in hex is the IPv4 address": ("[::FFFF:7f00:1]", "127.0.0.1"),
}

REFUSED = {
    "an empty name": "",
    "a dot alone": ".",
    "two trailing dots": "erp.example..",
    "an empty label": "erp..example",
    "a leading dot": ".erp.example",
    "A04 a NUL inside": "evil\0.allowed.example",
    "A04 a zero-width space": "erp\u200b.example",
    "A04 full-width dots": "erp\uff0eexample",
    "A04 an ideographic full stop": "erp\u3002example",
    "A04 a name in other letters on the wire": "b\u00fccher.example",
    "A04 the Kelvin sign, which lower-cases to k": "\u212aerp.example",
    "A04 brackets around a name": "[example.com]",
    "A05 a wildcard": "*.com",
    "a space": "erp .example",
    "a tab": "erp\t.example",
    "a line break": "erp.example\n",
    "a percent escape": "erp%2eexample",
    "a slash": "erp.example/x",
    "a port": "erp.example:443",
    "a label that begins with a hyphen": "-erp.example",
    "a label that ends with a hyphen": "erp-.example",
    "a label of 64 characters": "a" * 64 + ".example",
    "a name of 254 characters": ".".join(["a" * 63] * 3 + ["a" * 62]),
    "an A-label of nothing": "xn--.example",
    "an A-label that decodes to plain ASCII": "xn--example-.com",
    "an A-label of a character IDNA does not permit": "xn--a.example",
    "an A-label in a spelling that is not its own": "xn--0.example",
    "B01 a short IPv4 address": "127.1",
    "B01 an IPv4 address as one number": "2130706433",
    "B01 an IPv4 address in hex": "0x7f000001",
    "B01 an IPv4 address with a hex part": "127.0.0.0x1",
    "B01 an octal IPv4 address": "0177.0.0.1",
    "B01 a zero-padded IPv4 address": "127.000.000.001",
    "five numbers": "1.2.3.4.5",
    "a number over 255": "1.2.3.256",
    "a name that ends in a number": "erp.1",
    "a name that ends in 0x": "erp.0x",
    "B01 an IPv6 zone id": "[fe80::1%eth0]",
    "an encoded zone id": "[fe80::1%25eth0]",
    "IPv6 without brackets": "2001:db8::1",
    "IPv6 that is not closed": "[2001:db8::1",
    "IPv6 that is not opened": "2001:db8::1]",
    "an IPv4 address in brackets": "[127.0.0.1]",
    "nothing in brackets": "[]",
    "brackets alone": "[",
    "an IPvFuture literal": "[v1.a:b]",
}


@pytest.mark.parametrize(("text", "host"), NORMALISED.values(), ids=NORMALISED.keys())
def test_hosts_with_one_reading_become_one_spelling(text: str, host: str) -> None:
    assert canonical_host(text) == host
    assert load_host(text) == host


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_hosts_with_more_than_one_reading_are_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        canonical_host(text)
    assert caught.value.code is Code.URL_AMBIGUOUS
    assert caught.value.field == "host"
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    ("written", "host"),
    [
        pytest.param("b\u00fccher.example", "xn--bcher-kva.example", id="a U-label becomes its A-label"),
        pytest.param("B\u00dcCHER.example", "xn--bcher-kva.example", id="in upper case, too"),
        pytest.param("bu\u0308cher.example", "xn--bcher-kva.example", id="and with a combining diaeresis"),
        pytest.param("2001:db8::1", "2001:db8::1", id="a bare IPv6 address"),
    ],
)
def test_a_file_may_spell_a_host_as_people_do(written: str, host: str) -> None:
    assert load_host(written) == host


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("erp\uff0eexample", id="full-width dots"),
        pytest.param("\u2764.example", id="a character IDNA does not permit"),
        pytest.param("erp\u3002example", id="an ideographic full stop"),
        pytest.param("\u202eerp.example", id="a bidi override"),
        pytest.param("127.1", id="a short IPv4 address"),
        pytest.param("fe80::1%eth0", id="a zone id"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_file_may_not_spell_a_host_otherwise(written: str) -> None:
    with pytest.raises(Rejected) as caught:
        load_host(written)
    assert (caught.value.code, caught.value.field) == (Code.CONFIG_INVALID, "host")


@pytest.mark.parametrize(
    ("text", "scheme", "expected"),
    [
        pytest.param("erp.example", "https", ("erp.example", 443), id="the default port of https"),
        pytest.param("erp.example", "http", ("erp.example", 80), id="the default port of http"),
        pytest.param("erp.example:8443", "https", ("erp.example", 8443), id="a port of its own"),
        pytest.param("erp.example:00443", "https", ("erp.example", 443), id="a zero-padded port"),
        pytest.param("erp.example:443", None, ("erp.example", 443), id="a port where it must be given"),
        pytest.param("[2001:db8::1]:8443", "https", ("2001:db8::1", 8443), id="IPv6 with a port"),
        pytest.param("[2001:db8::1]", "https", ("2001:db8::1", 443), id="IPv6 without"),
        pytest.param("erp.example:65535", "https", ("erp.example", 65535), id="the highest port"),
    ],
)
def test_an_authority_is_a_host_and_a_port(text: str, scheme: str | None, expected: tuple[str, int]) -> None:
    assert parse_authority(text, scheme) == expected


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        pytest.param("github.com@evil.example", "https", id="A04 userinfo before another host"),
        pytest.param("user:secret@erp.example", "https", id="A03 userinfo with a password"),
        pytest.param("erp.example", None, id="no port where it must be given"),
        pytest.param("erp.example", "ftp", id="no port and no default for the scheme"),
        pytest.param("erp.example:", "https", id="an empty port"),
        pytest.param("erp.example:0", "https", id="port 0"),
        pytest.param("erp.example:65536", "https", id="a port over 65535"),
        pytest.param("erp.example:+443", "https", id="a port with a sign"),
        pytest.param("erp.example:\u0664\u0664\u0663", "https", id="a port in other digits"),
        pytest.param("erp.example:443:443", "https", id="two ports"),
        pytest.param("erp.example:99999999999999999999", "https", id="an endless port"),
        pytest.param("erp.example/path", "https", id="A03 a path"),
        pytest.param("erp.example?x", "https", id="a query"),
        pytest.param("erp.example#x", "https", id="a fragment"),
        pytest.param("erp.example\\x", "https", id="a backslash"),
        pytest.param("erp.example\t:443", "https", id="A03 a tab"),
        pytest.param(":443", "https", id="no host"),
        pytest.param("[::1]x:443", "https", id="something behind the brackets"),
    ],
)
def test_an_authority_of_another_form_is_refused(text: str, scheme: str | None) -> None:
    with pytest.raises(Rejected) as caught:
        parse_authority(text, scheme)
    assert caught.value.code is Code.URL_AMBIGUOUS
    assert "secret" not in caught.value.detail


def test_a_host_is_an_ip_literal_or_a_name() -> None:
    assert ip_literal("2001:db8::1") == ip_address("2001:db8::1")
    assert ip_literal("192.0.2.7") == ip_address("192.0.2.7")
    assert ip_literal("erp.example") is None


hostish = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="abcxn-0123456789.:[]%@_\u00fc\u3002", max_size=80),
    st.from_regex(r"(xn--[a-z0-9-]{0,20}\.)?[a-z0-9.]{1,20}", fullmatch=True),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=4).map(str),
)


@given(hostish)
@example("xn--9999999999")
def test_a_canonical_host_is_a_fixed_point_and_nothing_but_a_refusal_escapes(text: str) -> None:
    try:
        host = canonical_host(text)
    except Rejected as fault:
        assert fault.code is Code.URL_AMBIGUOUS
        return
    assert canonical_host(f"[{host}]" if ":" in host else host) == host
    assert host.isascii()
    assert host == host.lower()


@given(hostish, st.sampled_from(["http", "https", None]))
def test_reading_authorities_and_files_raises_nothing_but_refusals(text: str, scheme: str | None) -> None:
    for read in (lambda: parse_authority(text, scheme), lambda: load_host(text)):
        try:
            read()
        except Rejected as fault:
            assert fault.code in (Code.URL_AMBIGUOUS, Code.CONFIG_INVALID)
