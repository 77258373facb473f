"""The web platform's own URLs, in every form a request has: refused, or read as the WHATWG reads them (issue 3)."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes, urlsplit

import heads
import pytest
import vectors

from proxy.core.canonical import canonical_connect, canonicalise
from proxy.core.errors import Code, Rejected
from proxy.core.model import Call, Leg
from proxy.core.names import DEFAULT_PORTS

_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def by_absolute_form(scheme: str, authority: str, target: bytes) -> Call:
    return canonicalise(replace(heads.absolute(f"{scheme}://{authority}/"), target=target), heads.OUTSIDE)


def through_a_tunnel(scheme: str, authority: str, target: bytes) -> Call:
    received = heads.origin(scheme=scheme, host=authority)
    return canonicalise(replace(received, target=target or b"/"), _tunnel(scheme, authority))


def by_http2(scheme: str, authority: str, target: bytes) -> Call:
    received = heads.http2(scheme=scheme, authority=authority)
    return canonicalise(replace(received, target=target or b"/"), _tunnel(scheme, authority))


def _tunnel(scheme: str, authority: str) -> Leg:
    """The tunnel a client opens for a URL: it writes the port out, and a query is no part of the authority."""
    port = "" if re.search(r":[0-9]+$", authority) else f":{DEFAULT_PORTS[scheme.lower()]}"
    asked = canonical_connect(heads.connect(f"{authority}{port}"))
    return replace(heads.INSIDE, tunnel=asked, inner_tls=scheme.lower() == "https", sni=None)


WAYS = (by_absolute_form, through_a_tunnel, by_http2)


@pytest.mark.parametrize("way", WAYS)
def test_we_refuse_a_url_or_read_it_as_the_whatwg_does(way: Callable[[str, str, bytes], Call]) -> None:
    """Every http(s) URL of the data, as written there and as the WHATWG spells it once it is resolved."""
    accepted, refused = set[str](), set[str]()
    for case in vectors.corpus("urltestdata.json"):
        if not isinstance(case, dict):
            continue  # the data's own comments
        for text in {case["input"], case.get("href", "")}:
            written = _ABSOLUTE.fullmatch(text)
            if written is None:
                continue  # another scheme, or relative: then its href counts
            try:
                scheme, authority, target = written.groups()
                call = way(scheme, authority, target.encode("utf-8", "surrogatepass"))
            except Rejected as fault:
                assert fault.field, text
                refused.add(text)
                continue
            except UnicodeEncodeError:  # what is not Latin-1 cannot even be written into a head
                continue
            assert not case.get("failure"), f"the WHATWG refuses {text!r}, we read {call.url}"
            _check_same(call, case)
            accepted.add(text)
    assert len(accepted) > 100, f"only {len(accepted)} accepted: the test reads its data wrongly"
    assert len(refused) > 100, f"only {len(refused)} refused"


def _check_same(call: Call, case: dict[str, str]) -> None:
    theirs, shown = urlsplit(case["href"]), json.dumps(case)
    assert call.scheme == theirs.scheme, shown
    assert call.host == _their_host(case["hostname"]), shown
    assert call.port == (theirs.port or DEFAULT_PORTS[theirs.scheme]), shown
    assert unquote_to_bytes(call.path) == unquote_to_bytes(theirs.path), shown
    assert unquote_to_bytes(call.query) == unquote_to_bytes(theirs.query), shown


def _their_host(hostname: str) -> str:
    """The WHATWG keeps one trailing dot, the brackets, and IPv4-mapped addresses as IPv6."""
    plain = hostname.strip("[]").removesuffix(".")
    mapped = IPv6Address(plain).ipv4_mapped if ":" in plain else None
    return str(mapped) if mapped else plain


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("authority", "host"),
    [
        pytest.param("ERP.example", "erp.example", id="a name that is read"),
        pytest.param("github.com@evil.example", None, id="userinfo"),
        pytest.param("0x7f.1", None, id="an address of which the WHATWG makes 127.0.0.1"),
        pytest.param("erp%2Eexample", None, id="an escape"),
        pytest.param("erp\u3002example", None, id="an ideographic full stop"),
    ],
)
def test_the_forms_are_read_without_the_data_too(
    way: Callable[[str, str, bytes], Call], authority: str, host: str | None
) -> None:
    if host is not None:
        assert way("https", authority, b"/").host == host
        return
    with pytest.raises((Rejected, UnicodeEncodeError)) as caught:
        way("https", authority, b"/")
    if isinstance(caught.value, Rejected):
        assert caught.value.code is Code.URL_AMBIGUOUS
