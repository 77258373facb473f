"""A running deployment whose proxy sets credentials: one cluster for each way, each at a host of its own.

Every secret holds `CANARY`, so that one search finds whichever of them stands where it must not.
"""

import base64
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from urllib.parse import quote

from certs import Authority
from h2origin import Http2Origin
from houses import House, house
from origins import Origin
from towns import ROOMY
from wsends import Listener

CANARY = f"cnry{secrets.token_hex(8)}"
PLACEHOLDER = "put-your-token-here"

_ONE = """\
  - id: @id@
    risk: routine
    hosts: [@host@]
    schemes: [http]
    ports: [@http@]
    addresses: [127.0.0.0/8]
    operations:
      - {name: read, methods: [GET, POST], path: "/{path:rest}", query: any}
"""


def one(name: str, credential: str, *, host: str = "") -> str:
    """A cluster that permits everything at `NAME.example`, with this credential."""
    text = _ONE.replace("@id@", name).replace("@host@", host or f"{name}.example")
    return f"{text}    credential: {credential}\n" if credential else text


CLUSTERS = (
    """\
version: 1
clusters:
  - id: supplier-invoices
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [@http@, @https@, @ws@]
    addresses: [127.0.0.0/8]
    credential: {secret: erp-token, as: bearer, over_http: true}
    operations:
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{id}
      - name: post-invoice
        methods: [POST]
        path: /v1/invoices
      - name: upload
        methods: [POST]
        path: /v1/uploads/{id}
        body: unexamined
      - name: hear
        methods: [GET]
        path: /v1/live/{topic}
        websocket: true
  - id: payments
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [@http@, @https@]
    addresses: [127.0.0.0/8]
    credential: {secret: erp-token, as: bearer, over_http: true}
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments/{id}
    review: {always: true, effect: deliver}
"""
    + """\
  - id: ledger
    risk: routine
    hosts: [erp.example]
    ports: [@h2@]
    addresses: [127.0.0.0/8]
    http2: true
    credential: {secret: api-key, header: X-Erp}
    operations:
      - {name: read, methods: [GET], path: "/v1/ledger/{id}"}
      - {name: upload, methods: [POST], path: "/v1/uploads/{id}", body: unexamined}
"""
    + one("header", "{secret: api-key, header: X-Api-Key, over_http: true}")
    + one("query", "{secret: query-key, query: key, over_http: true}")
    + one("basic", "{secret: password, basic: {user: svc}, over_http: true}")
    + one("lost", "{secret: lost, as: bearer, over_http: true}")
    + one("printed", "{secret: printed, as: bearer, over_http: true}")
    + one("open", "")
    + one("literal", "{secret: api-key, header: X-Api-Key, over_http: true}", host="127.0.0.1")
    + one("both-with", "{secret: api-key, as: bearer, over_http: true}", host="both.example")
    + one("both-without", "", host="both.example")
)
HOSTS = ("erp", "header", "query", "basic", "lost", "printed", "open", "both")


@dataclass(kw_only=True)
class Keeper:
    """A running house, the origins behind it, and the secrets it sets."""

    house: House
    plain: Origin
    tls: Origin
    h2: Http2Origin
    sockets: Listener
    folder: Path

    def origin(self, way: str) -> Origin:
        return self.plain if way == "plain" else self.tls

    def url(self, path: str, *, host: str = "erp", way: str = "plain") -> str:
        return self.origin(way).url(path, host=f"{host}.example")

    def put(self, name: str, value: str) -> None:
        """Rotate a secret that is in a file."""
        write_secret(self.folder / name, value)


def write_secret(path: Path, value: str) -> None:
    """Put a secret there in one step, closed to others."""
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(value + "\n")
    draft.replace(path)


def fresh(what: str) -> str:
    """A new secret, which needs escapes in a URL, in JSON and in HTML."""
    return f'{what}/{CANARY}+{secrets.token_hex(8)}="&'


def spellings(secret: str) -> tuple[bytes, ...]:
    """What would open something, however it is written."""
    plain = secret.encode()
    return plain, quote(secret, safe="").encode(), base64.b64encode(plain), base64.b64encode(b"svc:" + plain)


VALUES = {name: fresh(name) for name in ("erp-token", "api-key", "query-key", "password")}
"""The secrets as they are at the start."""


@contextmanager
def open_keeper(folder: Path, *, workers: int = 1) -> Iterator[Keeper]:
    """Build and run one."""
    authority, kept = Authority(), folder / "secrets"
    kept.mkdir(mode=0o700)
    for name, value in VALUES.items():
        write_secret(kept / name, value)
    printer = kept / "printer.py"
    printer.write_text(f"print(open({str(kept / 'api-key')!r}).read(), end='')\n")
    extra = f"""\
        secrets:
          erp-token: {{file: secrets/erp-token}}
          api-key: {{file: secrets/api-key}}
          query-key: {{file: secrets/query-key}}
          password: {{file: secrets/password}}
          lost: {{file: secrets/lost}}
          printed: {{command: ["{sys.executable}", "{printer}"], every: 1d}}
        """
    leaf = authority.server("erp.example")
    with Origin() as plain, Origin(tls=leaf) as tls, Http2Origin(tls=leaf) as h2, Listener() as sockets:
        text = CLUSTERS
        for mark, port in (("https", tls.port), ("http", plain.port), ("h2", h2.port), ("ws", sockets.port)):
            text = text.replace(f"@{mark}@", str(port))
        settings = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}{dedent(extra)}"
        names = {f"{host}.example": ["127.0.0.1"] for host in HOSTS}
        with house(folder, clusters=text, extra=settings, names=names, workers=workers) as running:
            yield Keeper(house=running, plain=plain, tls=tls, h2=h2, sockets=sockets, folder=kept)
