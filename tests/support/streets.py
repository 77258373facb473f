"""Where attacks are tried: one running deployment on a small street, and everybody on it counts what reaches them.

`home` is the origin the mandate permits, on 127.0.0.1. `world` stands for every other address of the internet and of
private networks (`tests/corpus/network` leads them there), `six` is [::1]; all three are on the same ports, so that a
call that goes astray is received by somebody. `trap` is the upstream proxy that our proxy's environment names.
"""

import errno
import json
import os
import socket
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import houses
import identities
import rawclient
from authenticators import ORIGIN, authenticator
from certs import Authority
from origins import Origin, Seen
from towns import ROOMY

from proxy.core.keys import jwk
from proxy.policy.bundle import load_bundle, sign_bundle
from proxy.policy.passkeys import passkey_line
from proxy.stores.embedded import EmbeddedStore

NETWORK = houses.SUPPORT.parent / "corpus" / "network"
PUBLIC = "93.184.215.14"
WORLD = "127.0.0.2"
WORKERS = 2
DESK = 8090  # the usual port of the review desk

NAMES: Mapping[str, Sequence[object]] = {
    name: ["127.0.0.1"]
    for name in (
        "erp.example",
        "self.example",
        "desk.example",
        "localhost",
        "partner.example",
        "open.partner.example",
        "secret.partner.example",
        "vault.example",
    )
}
"""Every name that is not here is a public address."""

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    http2: true
    operations:
      - {{name: read-invoice, methods: [GET], path: "/v1/invoices/{{id}}"}}
      - {{name: list-invoices, methods: [GET], path: /v1/invoices, query: {{page: any, status: [open, paid]}}}}
      - {{name: post-invoice, methods: [POST], path: /v1/invoices}}
      - {{name: hear, methods: [GET], path: "/v1/live/{{id}}", websocket: true}}
      - {{name: read-shared, methods: [GET], path: "/shared/{{name:rest}}"}}
  - id: catalogue
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - {{name: read-offers, methods: [GET], path: "/catalogue/{{kind:matrix}}/offers"}}
      - {{name: search, methods: [GET], path: /catalogue, query: any}}
      - {{name: follow, methods: [GET], path: /follow, query: {{to: {{encoded: true}}, by: any}}}}
      - {{name: export, methods: [GET], path: "/export/report.{{format}}"}}
  - id: supplier-payments
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments
        body:
          json:
            only: true
            fields:
              /amount: {{most: 500, required: true}}
              /payee/id: [88]
              /note: {{max_chars: 20}}
              "/lines/*/sku": any
      - name: pay-by-form
        methods: [POST]
        path: /v1/forms
        body: {{form: {{fields: {{amount: ["5"], note: any}}}}}}
      - name: upload
        methods: [POST]
        path: /v1/uploads
        body: {{multipart: {{fields: {{payee: ["88"]}}, files: {{scan: {{types: [image/png], required: true}}}}}}}}
      - {{name: ask, methods: [POST], path: /graphql, body: {{graphql: {{fields: [viewer, invoices]}}}}}}
      - {{name: use-tools, methods: [POST], path: /mcp, body: {{mcp: {{tools: {{search: any}}}}}}}}
      - name: chat
        methods: [POST]
        path: /v1/chat/completions
        body: {{llm: {{shape: openai-chat, models: [small], tools: [search], max_tokens: 500}}}}
      - name: respond
        methods: [POST]
        path: /v1/responses
        body: {{llm: {{shape: openai-responses, models: [small], tools: [search]}}}}
      - {{name: close, methods: [POST], path: /v1/close, body: none}}
  - id: partner-services
    risk: routine
    hosts: ["*.partner.example"]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations: [{{name: ask, methods: [GET], path: "/{{any:rest}}"}}]
  - id: public-services
    risk: routine
    hosts: ["*.public.example"]
    schemes: [http, https]
    ports: [{http}, {https}]
    operations: [{{name: ask, methods: [GET], path: "/{{any:rest}}"}}]
  - id: loopback-service
    risk: routine
    hosts: [self.example, desk.example, 127.0.0.1, "::1"]
    schemes: [http, https]
    ports: [{http}, {https}, {proxy}, {desk}]
    addresses: [127.0.0.0/8, "::1/128"]
    operations: [{{name: ask, methods: [GET], path: "/{{any:rest}}"}}]
  - id: vault
    risk: routine
    hosts: [vault.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    credential: {{secret: vault-key, header: X-Api-Key, over_http: true}}
    operations: [{{name: read, methods: [GET], path: "/v1/items/{{id}}"}}]
  - id: vault-too
    risk: routine
    hosts: [vault.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations: [{{name: read, methods: [GET], path: "/v1/items/{{id}}"}}]
  - id: guarded
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations: [{{name: look, methods: [GET], path: "/guarded/{{id}}"}}]
    review: {{always: true, quorum: 2}}
deny:
  - id: partner-secrets
    hosts: [secret.partner.example]
  - id: catalogue-secrets
    hosts: [erp.example]
    operations:
      - {{name: secret, methods: [GET], path: /catalogue/secret/offers}}
      - {{name: all-at-once, methods: [GET], path: "/catalogue/{{kind}}:all/offers"}}
      - {{name: debug, methods: [GET], path: /catalogue, query: {{debug: ["1"]}}}}
"""
SECRET = "vault-key-4f9a81c2d7b6"
USUAL = ("supplier-invoices", "supplier-payments", "partner-services", "public-services")

_YEAR, _DAY = timedelta(days=365), timedelta(days=1)
PEOPLE: Mapping[str, tuple[timedelta, str | None]] = {  # id -> (certified until, counted from now; deputy)
    identities.SPONSOR: (_YEAR, identities.DEPUTY),
    identities.DEPUTY: (_YEAR, None),
    identities.REVIEWER: (_YEAR, None),
    "dora": (-_DAY, None),
    "emil": (-_DAY, identities.DEPUTY),
    "fred": (-8 * _DAY, identities.DEPUTY),
    "gina": (-_DAY, "dora"),
}
AGENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {  # id -> (sponsor, may delegate to)
    identities.AGENT: (identities.SPONSOR, (identities.HELPER,)),
    identities.HELPER: (identities.SPONSOR, ()),
    "clerk-bot": (identities.SPONSOR, (identities.HELPER,)),
    **{f"{sponsor}-bot": (sponsor, ()) for sponsor in ("cleo", "dora", "emil", "fred", "gina")},
}


@dataclass(kw_only=True)
class RoutedHouse(houses.House):
    """A deployment whose processes live on the test internet, with `variables` in their environment."""

    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def dials(self) -> Path:
        return self.folder / "dials"

    def environment(self) -> dict[str, str]:
        base = super().environment()
        path = os.pathsep.join([str(NETWORK), base["PYTHONPATH"]])
        shim = {"TEST_ANY_NAME": PUBLIC, "TEST_WORLD": WORLD, "TEST_DIALS": str(self.dials)}
        return {**base, "PYTHONPATH": path, **shim, **self.variables}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What happened on the street since it was last asked."""

    seen: Mapping[str, Seen]  # listener -> what reached it
    dialled: tuple[str, ...]  # addresses our proxies began to connect to
    looked_up: tuple[str, ...]  # names they resolved

    @property
    def reached(self) -> frozenset[str]:
        return frozenset(name for name, seen in self.seen.items() if not seen.nothing)


@dataclass(kw_only=True)
class Street:
    """The running deployment and its neighbours. `trace` accounts for everything since the last `trace`."""

    house: RoutedHouse
    folder: Path
    clusters: str
    settings: str
    listeners: Mapping[str, Mapping[str, Origin]]  # name -> way in -> origin
    ends: ExitStack
    passed: dict[Hashable, float] = field(default_factory=dict)  # when a shared twin last passed, monotonic
    _chains: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)
    _marks: dict[tuple[str, str], tuple[tuple[int, int], ...]] = field(default_factory=dict)
    _read: dict[Path, int] = field(default_factory=dict)
    _names: Mapping[str, Sequence[object]] = field(default_factory=lambda: NAMES)

    def port(self, way: str) -> int:
        return self.listeners["home"]["plain" if way == "plain" else "tls"].port

    def chain(self, *clusters: str) -> tuple[str, str]:
        """Root and leaf for these clusters, by default the `USUAL` ones; the same tokens every time."""
        wanted = clusters or USUAL
        if wanted not in self._chains:
            self._chains[wanted] = self.house.chain(grants=self.house.grants(*wanted))
        return self._chains[wanted]

    def resolve(self, **answers: Sequence[object]) -> None:
        """What these names resolve to from now on; all others go back to `NAMES`."""
        names = {**NAMES, **answers}
        if names != self._names:
            self._names = names
            for house in self._houses:
                house.resolve(names)

    @cached_property
    def other_node(self) -> RoutedHouse:
        """A second node of the deployment, on the same store, without variables in its environment."""
        store = EmbeddedStore(self.house.settings.state).url
        extra = f"{self.settings}redis_url: {store}\n"
        house = _deploy(self.folder / "other", clusters=self.clusters, extra=extra, variables={})
        self.ends.callback(house.stop)
        house.start(workers=1)
        return house

    @property
    def secret(self) -> Path:
        """The file with the credential that every node sets at vault.example."""
        return self.folder / "vault-key"

    def put_secret(self) -> None:
        """Have it there, closed to others."""
        draft = self.secret.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(SECRET)
        draft.replace(self.secret)

    # --- what happened -----------------------------------------------------------------------------------------------

    def trace(self) -> Trace:
        """Everything since the last time this was asked."""
        seen = {}
        for name, ways in self.listeners.items():
            news = []
            for way, origin in ways.items():
                mark = self._marks.get((name, way), ())
                self._marks[name, way] = origin.mark()
                news.append(origin.since(mark))
            seen[name] = Seen(
                accepted=sum(part.accepted for part in news),
                requests=tuple(request for part in news for request in part.requests),
                raw_bytes=b"".join(part.raw_bytes for part in news),
            )
        dialled = [line.split()[0] for house in self._houses for line in self._news(house.dials)]
        names = [line for house in self._houses for line in self._news(Path(f"{house.names}.log"))]
        return Trace(seen=seen, dialled=tuple(dialled), looked_up=tuple(names))

    @property
    def _houses(self) -> list[RoutedHouse]:
        return [self.house, *([self.other_node] if "other_node" in vars(self) else [])]

    def _news(self, path: Path) -> list[str]:
        data = path.read_bytes()[self._read.get(path, 0) :] if path.exists() else b""
        self._read[path] = self._read.get(path, 0) + len(data)
        return data.decode().splitlines()

    # --- every worker ------------------------------------------------------------------------------------------------

    @contextmanager
    def wires(self, way: str) -> Iterator[list[rawclient.Wire]]:
        """One open connection to each worker, in the order of their slots, any tunnel standing."""
        found: dict[str, rawclient.Wire] = {}
        with ExitStack() as opened:
            for _ in range(200):
                wire = opened.enter_context(self.house.open(self.listeners["home"][way].url("/", host="erp.example")))
                found.setdefault(self._worker_of(wire, way), wire)
                if len(found) == WORKERS:
                    break
            assert len(found) == WORKERS, f"200 connections all reached {list(found)}"
            yield [found[name] for name in sorted(found)]

    def _worker_of(self, wire: rawclient.Wire, way: str) -> str:
        """The journal file that a refusal on this connection was written to."""
        url = self.listeners["home"][way].url("/", host="erp.example")
        refused = self.house.send("GET", url, [], wire=wire)
        decision_id = json.loads(refused.body)["decision_id"].encode()
        files = (self.house.settings.state / "journal").glob("*.jsonl")
        return next(path.name for path in files if decision_id in path.read_bytes())


@contextmanager
def open_street(folder: Path, extra: str = "") -> Iterator[Street]:
    """Build and start everything. `extra` goes into proxy.yaml."""
    authority = Authority()
    with ExitStack() as ends:
        listeners = _listeners(authority, ends)
        home, trap = listeners["home"], listeners["trap"]["plain"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        clusters = CLUSTERS.format(http=home["plain"].port, https=home["tls"].port, proxy=port, desk=DESK)
        secrets = f"secrets:\n  vault-key: {{file: {folder / 'vault-key'}}}\n"
        desk = "desk: {url: 'https://desk.example'}\n"
        settings = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}{secrets}{desk}{extra}"
        upstream = f"http://127.0.0.1:{trap.port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        variables = {name: upstream for upper in names for name in (upper, upper.lower())} | {"NO_PROXY": ""}
        house = _deploy(folder / "node", clusters=clusters, extra=settings, variables=variables)
        ends.callback(lambda: house.process is not None and house.stop())
        house.start(workers=WORKERS, listen_port=port)
        street = Street(
            house=house, folder=folder, clusters=clusters, settings=settings, listeners=listeners, ends=ends
        )
        street.put_secret()
        yield street
        assert not any("ended with status" in line for line in house.output), "".join(house.output)


def _listeners(authority: Authority, ends: ExitStack) -> dict[str, dict[str, Origin]]:
    at_home = authority.server("erp.example", "self.example", "vault.example", "*.partner.example", "127.0.0.1", "::1")
    abroad = authority.server("erp.example", "evil.example", "*.public.example", "*.partner.example", PUBLIC)
    listeners: dict[str, dict[str, Origin]] = {"home": {}, "world": {}, "six": {}, "trap": {}}
    for way in houses.WAYS:
        home_leaf, world_leaf = (at_home, abroad) if way == "tls" else (None, None)
        for _ in range(20):
            home = Origin(tls=home_leaf)
            try:
                world = Origin(host=WORLD, port=home.port, tls=world_leaf)
                six = Origin(host="::1", port=home.port, tls=home_leaf)
            except OSError as fault:  # this port is taken there: try another
                assert fault.errno == errno.EADDRINUSE, fault
                continue
            break
        for name, origin in (("home", home), ("world", world), ("six", six)):
            listeners[name][way] = ends.enter_context(origin)
    listeners["trap"]["plain"] = ends.enter_context(Origin())
    return listeners


def _deploy(folder: Path, *, clusters: str, extra: str, variables: Mapping[str, str]) -> RoutedHouse:
    """`houses.build` with the people and agents of the street."""
    built = houses.build(folder, clusters=clusters, extra=extra, names=NAMES)
    now = datetime.now(UTC)
    people = [
        {
            "id": name,
            "name": f"{name.title()} Example",
            "role": "controller",
            "certified_until": (now + until).isoformat(timespec="seconds"),
            **({"deputy": deputy} if deputy else {}),
            "keys": [jwk(identities.key(name).public)],
            "passkeys": [json.loads(passkey_line(authenticator(name).passkey))],
        }
        for name, (until, deputy) in PEOPLE.items()
    ]
    desk = {"keys": [jwk(identities.key("desk").public)], "origins": [ORIGIN]}
    agents = [
        {
            "id": name,
            "owner": "finance",
            "sponsor": sponsor,
            "class": "augmenting",
            "may_delegate_to": delegates,
            "keys": [jwk(identities.key(name).public)],
        }
        for name, (sponsor, delegates) in AGENTS.items()
    ]
    for name, more, items in (("people", {"desk": desk}, people), ("agents", {}, agents)):
        text = json.dumps({"version": 1, **more, name: items})  # YAML is a superset of JSON
        (folder / f"{name}.yaml").write_text(text)
    sign_bundle(built.settings, identities.key("operator"), now=now)
    given = {each.name: getattr(built, each.name) for each in fields(built)}
    given["bundle"] = load_bundle(built.settings, dev=False, floor=0)
    return RoutedHouse(**given, variables=variables)
