"""What `init --allow` makes of a call: clusters that permit it, and nothing more than was said."""

from pathlib import Path

import pytest
import typer
from clirun import cli

from proxy.cli.allow import read_permit
from proxy.core.model import Bundle, Proof, Risk
from proxy.policy.bundle import load_bundle
from proxy.policy.permits import Permit, cluster_entries
from proxy.policy.settings import load_settings


def permits(*texts: str) -> list[Permit]:
    return [read_permit(text) for text in texts]


def bundle_of(tmp_path: Path, *texts: str) -> Bundle:
    """The policy that init makes of these."""
    allow = [word for text in texts for word in ("--allow", text)]
    cli("init", tmp_path / "mine", *allow, "--yes").ok()
    return load_bundle(load_settings(tmp_path / "mine" / "proxy.yaml"), dev=False, floor=0)


def test_a_call_becomes_a_cluster_with_one_operation(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, "GET https://api.example.com/v1/items/{id}")
    cluster = bundle.clusters["api-example-com-443"]
    assert ([str(host) for host in cluster.hosts], cluster.ports, cluster.schemes) == (
        ["api.example.com"],
        {443},
        {"https"},
    )
    assert (cluster.addresses, cluster.risk, cluster.proof) == ((), Risk.ROUTINE, Proof.SESSION)
    (operation,) = cluster.operations
    assert (operation.name, operation.methods, operation.template) == (
        "get-v1-items-id",
        {"GET"},
        "/v1/items/{id}",
    )
    assert (operation.any_query, operation.query) == (False, ())


def test_calls_of_one_origin_share_a_cluster_and_those_that_write_have_one_of_their_own(tmp_path: Path) -> None:
    bundle = bundle_of(
        tmp_path,
        "GET https://api.example.com/items",
        "GET,HEAD https://api.example.com/items/{id}",
        "POST https://api.example.com/items",
        "GET http://other.example:8080/",
    )
    names = {name: [operation.name for operation in cluster.operations] for name, cluster in bundle.clusters.items()}
    assert names == {
        "api-example-com-443": ["get-head-items-id", "get-items"],
        "api-example-com-443-changes": ["post-items"],
        "other-example-8080": ["get"],
    }
    assert bundle.clusters["api-example-com-443-changes"].risk is Risk.TRANSFORMATIVE
    assert bundle.clusters["api-example-com-443-changes"].proof is Proof.REQUEST


@pytest.mark.parametrize(
    ("text", "any_query", "query"),
    [
        pytest.param("GET https://a.example/?*", True, {}, id="any query"),
        pytest.param("GET https://a.example/?page=*", False, {"page": None}, id="any value"),
        pytest.param("GET https://a.example/?s=open&s=17", False, {"s": {"open", "17"}}, id="two values"),
        pytest.param("GET https://a.example/?a=yes&b=*&b=1", False, {"a": {"yes"}, "b": None}, id="several"),
    ],
)
def test_the_query_is_what_was_said(
    tmp_path: Path, text: str, any_query: bool, query: dict[str, set[str] | None]
) -> None:
    (cluster,) = bundle_of(tmp_path, text).clusters.values()
    (operation,) = cluster.operations
    assert operation.any_query is any_query
    assert {rule.name: rule.values for rule in operation.query} == query


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        pytest.param("localhost", ["127.0.0.0/8", "::1/128"], id="localhost"),
        pytest.param("127.0.0.1", ["127.0.0.1/32"], id="loopback"),
        pytest.param("10.1.2.3", ["10.1.2.3/32"], id="a private address"),
        pytest.param("[fd00::1]", ["fd00::1/128"], id="IPv6"),
    ],
)
def test_addresses_that_are_not_public_are_named(tmp_path: Path, host: str, addresses: list[str]) -> None:
    (cluster,) = bundle_of(tmp_path, f"GET https://{host}:8443/x").clusters.values()
    assert [str(network) for network in cluster.addresses] == addresses


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://a.example/", id="no method"),
        pytest.param("get https://a.example/", id="a method in small letters"),
        pytest.param("GET ftp://a.example/", id="another scheme"),
        pytest.param("GET a.example/x", id="no scheme"),
        pytest.param("GET https:///x", id="no host"),
        pytest.param("GET https://a.example:99999/", id="an impossible port"),
        pytest.param("GET https://me@a.example/", id="a user"),
        pytest.param("GET https://a.example/#top", id="a fragment"),
        pytest.param("GET https://a.example/{", id="a broken template"),
        pytest.param("GET https://a.example/../b", id="dot segments"),
        pytest.param("GET https://a.example/?page", id="a parameter without a value"),
        pytest.param("GET https://a\x1b.example/", id="an escape"),
    ],
)
def test_what_is_not_a_call_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"expected something like 'GET https://api\.example\.com"):
        read_permit(text)


def test_names_stay_apart_and_short() -> None:
    entries = cluster_entries(permits("GET http://a.example:80/x", "GET https://a.example:80/x"))
    assert list(entries) == ["a-example-80", "a-example-80-2"]
    long = cluster_entries(permits(f"GET https://a.example/{'x' * 200}", f"GET https://a.example/{'x' * 201}"))
    names = [line.strip() for line in long["a-example-443"] if "- name:" in line]
    assert len(set(names)) == 2 and all(len(name) < 75 for name in names)


def test_an_example_url_is_one_that_is_permitted() -> None:
    (permit,) = permits("GET https://localhost:8443/v1/{set}/items/{id:rest}?page=*")
    assert permit.example_url == "https://localhost:8443/v1/1/items/1"
