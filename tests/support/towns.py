"""A running deployment with a plain and a TLS origin behind it, for end-to-end tests."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from certs import Authority
from houses import CLUSTERS, House, house
from origins import Origin

ROOMY = """\
holds:
  per_hour: 10000
  open_per_mandate: 1000
  open_per_sponsor: 10000
"""

DELIVERED = (
    CLUSTERS
    + """\
  - id: payments
    description: Pay what is due
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments/{{id}}
    review:
      always: true
      effect: deliver
      idempotency_key: true
"""
)
"""`CLUSTERS`, and one whose released calls the proxy sends by itself."""


@dataclass(kw_only=True)
class Town:
    """A running house and the origins behind it."""

    house: House
    plain: Origin
    tls: Origin
    authority: Authority

    def origin(self, way: str) -> Origin:
        return self.plain if way == "plain" else self.tls

    def now(self) -> datetime:
        return datetime.now(UTC)

    def settle_control(self, way: str) -> tuple[tuple[int, int], ...]:
        """Let the promised two seconds for a control statement pass, and mark what the origin saw until then."""
        time.sleep(2.0)
        return self.origin(way).mark()

    def wait_for_hold(self, chain: Sequence[str]) -> str:
        """The id of the one open hold of this chain's root, as soon as it is there."""
        return self.house.wait_for_hold(chain)

    def url(self, way: str, path: str, host: str = "erp.example") -> str:
        return self.origin(way).url(path, host=host)


@contextmanager
def open_town(
    folder: Path,
    *,
    workers: int = 2,
    clusters: str = CLUSTERS,
    extra: str = "",
    spiffe: Mapping[str, str] | None = None,
    source: Mapping[str, str] | None = None,
) -> Iterator[Town]:
    """Build and run one; caps are out of the way unless `extra` says otherwise."""
    authority = Authority()
    with Origin() as plain, Origin(tls=authority.server("erp.example")) as tls:
        text = clusters.format(http=plain.port, https=tls.port)
        settings = f"upstream_cas: [{authority.write(folder)}]\n{extra or ROOMY}"
        with house(folder, clusters=text, extra=settings, workers=workers, spiffe=spiffe, source=source) as running:
            yield Town(house=running, plain=plain, tls=tls, authority=authority)
