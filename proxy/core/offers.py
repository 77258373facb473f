"""Where agents may speak HTTP/2: a matter of transport, asked once for each tunnel. It decides about no call."""

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.core.matching import names_above
from proxy.core.model import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Http2Offers:
    """The hosts and ports of every cluster with `http2: true`."""

    exact: frozenset[tuple[str, int]]
    below: frozenset[tuple[str, int]]  # names whose subdomains are meant, never the name itself

    def covers(self, host: str, port: int) -> bool:
        """Whether a tunnel to this canonical host and port may carry HTTP/2 inside its TLS."""
        return (host, port) in self.exact or any((name, port) in self.below for name in names_above(host))


def index_offers(clusters: Iterable[Cluster]) -> Http2Offers:
    """Index what the clusters offer. HTTP/2 needs TLS here, so one without the scheme https offers nothing."""
    places = [
        (host, port)
        for cluster in clusters
        if cluster.http2 and "https" in cluster.schemes
        for host in cluster.hosts
        for port in cluster.ports
    ]
    return Http2Offers(
        exact=frozenset((host.name, port) for host, port in places if not host.wildcard),
        below=frozenset((host.name, port) for host, port in places if host.wildcard),
    )
