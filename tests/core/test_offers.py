"""Where HTTP/2 may be spoken: exactly where a cluster that says so reaches."""

from dataclasses import replace

import identities
import pytest

from proxy.core.clusters import compile_policy
from proxy.core.offers import index_offers

GRPC = replace(identities.cluster("grpc", hosts=["api.example", "*.svc.example"], ports=[443, 8443]), http2=True)
OTHER = identities.cluster("other", hosts=["plain.example"])


@pytest.mark.parametrize(
    ("host", "port", "offered"),
    [
        pytest.param("api.example", 443, True, id="a host of the cluster"),
        pytest.param("api.example", 8443, True, id="another of its ports"),
        pytest.param("api.example", 444, False, id="a port that is not its own"),
        pytest.param("a.svc.example", 443, True, id="a name below its wildcard"),
        pytest.param("a.b.svc.example", 8443, True, id="a name far below its wildcard"),
        pytest.param("a.svc.example", 444, False, id="a name below its wildcard, another port"),
        pytest.param("svc.example", 443, False, id="the name of the wildcard itself"),
        pytest.param("xsvc.example", 443, False, id="a name that ends alike"),
        pytest.param("plain.example", 443, False, id="a cluster that does not ask for it"),
        pytest.param("127.0.0.1", 443, False, id="an address"),
    ],
)
def test_it_is_offered_where_a_cluster_asks_for_it(host: str, port: int, offered: bool) -> None:
    assert index_offers([GRPC, OTHER]).covers(host, port) is offered


def test_it_is_offered_nowhere_without_tls() -> None:
    plain = replace(GRPC, schemes=frozenset({"http"}))
    assert not index_offers([plain]).covers("api.example", 443)


def test_a_compiled_policy_knows_its_offers() -> None:
    policy = compile_policy(identities.bundle(clusters=[GRPC, OTHER]))
    assert policy.http2.covers("api.example", 443)
    assert not policy.http2.covers("plain.example", 443)
