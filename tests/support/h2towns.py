"""A running deployment whose rules offer HTTP/2, with three origins behind it: HTTP/2, HTTP/1.1 over TLS, and a third
to which a rule leads that does not offer it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from certs import Authority
from h2origin import Http2Origin
from houses import House, house
from origins import Origin
from towns import ROOMY

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    description: Read and write the ledger, over whichever version of HTTP
    risk: routine
    hosts: [erp.example]
    ports: [{h2}, {h1}]
    addresses: [127.0.0.0/8]
    http2: true
    operations:
      - name: read-invoice
        methods: [GET, HEAD]
        path: /v1/invoices/{{id}}
      - name: post-invoice
        methods: [POST]
        path: /v1/invoices
      - name: rpc
        methods: [POST]
        path: /acme.Ledger/{{method}}
      - name: streaming-rpc
        methods: [POST]
        path: /acme.Streams/{{method}}
        body: unexamined
      - name: upload
        methods: [POST]
        path: /v1/uploads/{{id}}
        body: unexamined
  - id: archive
    description: The same, where nobody asked for HTTP/2
    risk: routine
    hosts: [erp.example]
    ports: [{other}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{{id}}
deny:
  - id: no-secrets
    description: Nobody sends any there
    hosts: [erp.example]
    operations:
      - name: any
        methods: [POST]
        path: /v1/secrets
"""


@dataclass(kw_only=True)
class Http2Town:
    """A running house and the origins behind it."""

    house: House
    h2: Http2Origin
    h1: Origin
    other: Origin

    def url(self, path: str, *, over: str = "h2") -> str:
        """A URL at the origin that speaks HTTP/2, or at the one that speaks HTTP/1.1 ("h1"), or at the "other"."""
        return {"h2": self.h2, "h1": self.h1, "other": self.other}[over].url(path, host="erp.example")

    def chain(self, **changes: object) -> Sequence[str]:
        return self.house.chain(**changes)


@contextmanager
def open_http2_town(
    folder: Path, *, workers: int = 1, extra: str = "", clusters: str = CLUSTERS
) -> Iterator[Http2Town]:
    """Build and run one."""
    authority = Authority()
    leaf = authority.server("erp.example")
    with Http2Origin(tls=leaf) as h2, Origin(tls=leaf) as h1, Origin(tls=leaf) as other:
        text = clusters.format(h2=h2.port, h1=h1.port, other=other.port)
        settings = f"upstream_cas: [{authority.write(folder)}]\n{extra or ROOMY}"
        with house(folder, clusters=text, extra=settings, workers=workers) as running:
            yield Http2Town(house=running, h2=h2, h1=h1, other=other)
