"""What is odd in a host or a port is said beside it."""

from dataclasses import replace

import pytest
from identities import leg, received

from proxy.core.canonical import canonicalise
from proxy.core.model import Call
from proxy.core.placewords import place_words


def call(origin: str, *, host: str | None = None) -> Call:
    asked = replace(received("GET", f"{origin}/"), form="absolute", authority=origin.partition("://")[2].encode())
    made = canonicalise(asked, leg(local=True))
    return made if host is None else replace(made, host=host)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        pytest.param("https://erp.example", "erp.example", id="nothing odd"),
        pytest.param("https://erp.example:80", "erp.example:80 (not the usual port)", id="the port of plain HTTP"),
        pytest.param("http://erp.example", "erp.example (not encrypted)", id="plain HTTP"),
        pytest.param(
            "http://erp.example:443",
            "erp.example:443 (not the usual port; not encrypted)",
            id="the port of TLS, without",
        ),
        pytest.param("http://localhost:8000", "localhost:8000", id="this machine"),
        pytest.param("http://127.0.0.1:8000", "127.0.0.1:8000", id="this machine by its address"),
    ],
)
def test_an_odd_port_and_plain_http_are_said(origin: str, words: str) -> None:
    assert place_words(call(origin)) == words


@pytest.mark.parametrize(
    ("host", "words"),
    [
        pytest.param(
            "www.xn--pypal-4ve.example",
            r"www.xn--pypal-4ve.example (with Cyrillic and Latin letters: www.p\u0430ypal.example)",
            id="one foreign letter",
        ),
        pytest.param(
            "xn--80ak6aa92e",
            r"xn--80ak6aa92e (with Cyrillic letters: \u0430\u0440\u0440\u04cf\u0435)",
            id="all of them foreign, and all alike",
        ),
        pytest.param("xn--fiqs8s", r"xn--fiqs8s (with CJK letters: \u4e2d\u56fd)", id="an innocent name"),
        pytest.param("xn--a\x7f", "xn--a\x7f (with Latin letters: xn--a\\x7f)", id="what cannot be read"),
    ],
)
def test_a_name_in_other_letters_is_told_by_its_letters(host: str, words: str) -> None:
    assert place_words(call("https://erp.example", host=host)) == words


def test_a_subdomain_of_this_machine_is_here() -> None:
    assert place_words(call("http://erp.example:8000", host="a.localhost")) == "a.localhost:8000"
