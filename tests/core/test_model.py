"""The nouns: what little they can do, and what they refuse to be."""

from dataclasses import FrozenInstanceError, fields, is_dataclass

import identities
import pytest
from identities import NOW

from proxy.core import model
from proxy.core.errors import Code
from proxy.core.manifest import parse_manifest
from proxy.core.model import Call, Decision, HostPattern, Mandate, Proof, Verdict


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_verdict_has_no_truth(verdict: Verdict) -> None:
    with pytest.raises(TypeError, match="compare it with"):
        bool(verdict)


def test_a_decision_has_no_truth() -> None:
    decision = Decision(decision_id="d", verdict=Verdict.DENY, code=Code.NOT_COVERED, message="no", at=NOW)
    with pytest.raises(TypeError, match="compare decision"):
        bool(decision)


def test_proofs_are_ordered_from_weak_to_strong() -> None:
    assert sorted(Proof) == [Proof.SOURCE, Proof.SESSION, Proof.MTLS, Proof.TUNNEL, Proof.REQUEST]
    assert [proof.label for proof in sorted(Proof)] == ["source", "session", "mtls", "tunnel", "request"]


def test_host_patterns_are_written_as_in_the_file() -> None:
    assert str(HostPattern(name="erp.example")) == "erp.example"
    assert str(HostPattern(name="erp.example", wildcard=True)) == "*.erp.example"


@pytest.mark.parametrize(
    ("scheme", "host", "port", "origin"),
    [
        ("https", "erp.example", 443, "https://erp.example"),
        ("http", "erp.example", 80, "http://erp.example"),
        ("https", "erp.example", 80, "https://erp.example:80"),
        ("http", "2001:db8::1", 8080, "http://[2001:db8::1]:8080"),
    ],
)
def test_a_calls_origin_leaves_out_the_default_port_only(scheme: str, host: str, port: int, origin: str) -> None:
    assert call(scheme=scheme, host=host, port=port).origin == origin


def test_a_calls_url_keeps_an_empty_query_apart_from_none() -> None:
    assert call().url == "https://erp.example/v1"
    assert call(has_query=True).url == "https://erp.example/v1?"
    assert call(has_query=True, query="a=1").url == "https://erp.example/v1?a=1"


def test_a_mandate_names_its_ends_and_its_path() -> None:
    top, last = (parse_manifest(token) for token in identities.chain())
    person, agent = identities.person(), identities.agent()
    mandate = Mandate(
        root_id=top.id, chain=(top, last), agent=agent, sponsor=person, answerable=person, not_after=last.exp
    )
    assert (mandate.root, mandate.leaf) == (top, last)
    assert mandate.sub_path == "invoice-bot/invoice-bot"
    assert mandate.purpose == "Match supplier invoices with purchase orders."


@pytest.mark.parametrize(
    "noun", [item for item in vars(model).values() if isinstance(item, type) and is_dataclass(item)]
)
def test_every_noun_is_frozen_slotted_and_named_by_keyword(noun: type) -> None:
    assert hasattr(noun, "__slots__")
    assert all(item.kw_only for item in fields(noun))
    with pytest.raises(FrozenInstanceError):
        noun.__setattr__(object.__new__(noun), fields(noun)[0].name, None)


def call(
    *,
    scheme: str = "https",
    host: str = "erp.example",
    port: int = 443,
    query: str = "",
    has_query: bool = False,
) -> Call:
    return Call(
        method="GET",
        scheme=scheme,
        host=host,
        port=port,
        path="/v1",
        segments=("v1",),
        query=query,
        has_query=has_query,
        parameters=(),
        headers=(),
        body=b"",
    )
