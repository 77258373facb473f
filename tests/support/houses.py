"""A whole deployment for tests: real keys and files, a real Valkey, a real supervisor and workers, over real TCP.

    with house(tmp_path, origin) as it:
        answer = it.call("GET", "https://erp.example:PORT/v1/invoices/17")

`call` goes in as an agent does, signed and fresh, by one of the ways in (`WAYS`). What the origin saw is the proof.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent, indent

import identities
import rawclient
import redis
from authenticators import ORIGIN, authenticator

from proxy.agent.keyfile import save_key
from proxy.core.control import Act, state
from proxy.core.encoding import b64u
from proxy.core.holds import Event
from proxy.core.keys import PrivateKey, jwk
from proxy.core.manifest import parse_manifest
from proxy.core.model import Bundle, Grant, Hold, Verdict
from proxy.core.release import state_release
from proxy.policy.bundle import load_bundle, sign_bundle
from proxy.policy.passkeys import passkey_line
from proxy.policy.settings import Settings, load_settings
from proxy.stores.embedded import EmbeddedStore
from proxy.stores.names import REMEMBER_S
from proxy.stores.redis import RedisServer
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.statements import Statements

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parent.parent
START_S = 90.0

WAYS = ("plain", "tls")
"""The ways in of explicit mode: absolute form, and CONNECT with TLS inside."""

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    description: Read and file supplier invoices
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{{id}}
      - name: list-invoices
        methods: [GET]
        path: /v1/invoices
        query:
          page: any
          status: [open, paid]
      - name: post-invoice
        methods: [POST]
        path: /v1/invoices
"""


@dataclass(kw_only=True)
class House:
    """One running deployment."""

    folder: Path
    settings: Settings
    bundle: Bundle
    names: Path
    address: tuple[str, int] = ("127.0.0.1", 0)
    tls_address: tuple[str, int] = ("127.0.0.1", 0)  # where TLS alone is spoken, if extra says `tls: {listen: …}`
    process: "subprocess.Popen[str] | None" = None
    output: list[str] = field(default_factory=list)
    last_stop_s: int = 0  # the second in which something was last stopped

    # --- authority ---------------------------------------------------------------------------------------------------

    def grants(self, *ids: str) -> tuple[Grant, ...]:
        """Everything of these clusters (default: all), as they are in the bundle."""
        return tuple(identities.grant(self.bundle.clusters[name]) for name in ids or self.bundle.clusters)

    def root(self, **changes: object) -> str:
        """A root manifest signed now by the sponsor."""
        now = datetime.now(UTC)
        given: dict[str, object] = {"now": now, "deployment": self.settings.deployment, "grants": self.grants()}
        issued = now - timedelta(minutes=1)
        given |= {"iat": issued, "nbf": issued, "jti": f"m-{secrets.token_hex(6)}"}
        draft = identities.draft(**(given | changes))  # type: ignore[arg-type]
        return identities.root(draft)

    def chain(self, root: str | None = None, **changes: object) -> tuple[str, str]:
        """Root and a leaf bound to `identities.leaf_key()`."""
        top = root or self.root(**changes)
        leaf = identities.child(top, now=datetime.now(UTC), jti=f"l-{secrets.token_hex(6)}", lifetime_s=1800)
        return top, leaf

    def signed(
        self,
        method: str,
        url: str,
        *,
        chain: Sequence[str],
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        intent: str | None = None,
        signer: PrivateKey | None = None,
        created: datetime | None = None,
        nonce_text: str | None = None,
    ) -> list[tuple[str, str]]:
        """The agent's headers for one call, fresh and used once unless told otherwise; Host is not among them."""
        return identities.signed_headers(
            method,
            url,
            headers=headers,
            body=body,
            tokens=chain,
            intent=intent,
            signer=signer,
            created=created or datetime.now(UTC),
            nonce_text=nonce_text or secrets.token_hex(16),
        )

    # --- calls -------------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        url: str,
        *,
        chain: Sequence[str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        wire: "rawclient.Wire | None" = None,
        timeout_s: float = 10.0,
        **signing: object,
    ) -> rawclient.Response:
        """One signed call, over its own connection unless `wire` is given (then already inside any tunnel)."""
        tokens = self.chain() if chain is None else chain
        lines = self.signed(method, url, chain=tokens, headers=headers, body=body, **signing)  # type: ignore[arg-type]
        return self.send(method, url, lines, body=body or b"", wire=wire, timeout_s=timeout_s)

    def send(
        self,
        method: str,
        url: str,
        lines: Sequence[tuple[str, str]],
        *,
        body: bytes = b"",
        wire: "rawclient.Wire | None" = None,
        timeout_s: float = 10.0,
    ) -> rawclient.Response:
        """Exactly these header lines after Host: plain URLs in absolute form, https ones through CONNECT and TLS."""
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        lines = [("Host", host), *lines]
        if wire is not None:
            return wire.request(method, url if scheme == "http" else slash + path, lines, body)
        with self.open(url, timeout_s=timeout_s) as opened:
            return opened.request(method, url if scheme == "http" else slash + path, lines, body)

    def open(self, url: str, *, timeout_s: float = 10.0) -> rawclient.Wire:
        """A connection ready for calls to this URL's origin: for https the tunnel and TLS stand."""
        wire = rawclient.connect(self.address, timeout_s=timeout_s)
        scheme, _, rest = url.partition("://")
        if scheme == "https":
            host = rest.partition("/")[0]
            authority = host if ":" in host else f"{host}:443"
            answer = wire.connect(authority)
            assert answer.status == 200, answer
            wire.start_tls(self.ca, sni=authority.rpartition(":")[0])
        return wire

    @property
    def ca(self) -> Path:
        return self.settings.state / "ca" / "ca.pem"

    # --- review and control ------------------------------------------------------------------------------------------

    def with_store[T](self, use: Callable[[RedisServer], Awaitable[T]]) -> T:
        """Run one piece of work on the deployment's store, as another program would."""

        async def work() -> T:
            server = RedisServer(self.settings.redis_url or EmbeddedStore(self.settings.state).url)
            try:
                return await use(server)
            finally:
                await server.close()

        return asyncio.run(work())

    def hold(self, hold_id: str) -> Hold:
        found = self.with_store(lambda server: RedisHolds(server).get(hold_id))
        assert found is not None
        return found

    def wait_for_hold(self, chain: Sequence[str]) -> str:
        """The id of the one open hold of this chain's root, as soon as it is there."""
        root_id = parse_manifest(chain[0]).id
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s:
            found = self.with_store(lambda server: RedisHolds(server).listing(root_id=root_id))
            if found:
                return found[0].id
            time.sleep(0.02)
        raise AssertionError("no hold was filed")

    def decide(self, hold_id: str, verdict: Verdict, *, by: str = identities.SPONSOR, reason: str = "seen") -> Hold:
        """A reviewer's signed word about a hold, recorded as the command line does it.

        Not within the second of the last stop: people sign in whole seconds, and a release would count as given before.
        """
        while verdict is Verdict.ALLOW and int(time.time()) <= self.last_stop_s:
            time.sleep(0.02)
        now = datetime.now(UTC)
        statement = state_release(
            hold=self.hold(hold_id),
            verdict=verdict,
            by=by,
            reason=reason,
            deployment=self.settings.deployment,
            key=identities.key(by),
            now=now,
            not_after=now + timedelta(minutes=10),
            nonce=identities.nonce(secrets.token_hex(8)),
        )
        event = Event.APPROVE if verdict is Verdict.ALLOW else Event.DENY
        moved = self.with_store(
            lambda server: RedisHolds(server).apply(
                hold_id, event, statement=statement, by=by, reason=reason, sticky_until=now + timedelta(hours=24)
            )
        )
        assert moved.applied, moved
        return moved.hold

    def stop_by(self, act: Act, target: str, *, by: str = "operator", reason: str = "test") -> None:
        """Publish a signed control statement, and wait until the workers follow it (2 s is the promise)."""
        token = state(
            act,
            target,
            by=by,
            reason=reason,
            deployment=self.settings.deployment,
            key=identities.key(by),
            now=datetime.now(UTC),
        )
        if act in (Act.QUARANTINE, Act.KILL_ON):
            self.last_stop_s = int(time.time())
        self.with_store(lambda server: RedisControl(server, Statements(lambda: self.bundle)).publish(token))

    # --- what stays --------------------------------------------------------------------------------------------------

    def journal(self, kind: str | None = None) -> list[dict[str, object]]:
        """Every journal line written so far, of one kind if given."""
        lines = [
            json.loads(line)
            for path in sorted((self.settings.state / "journal").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        return [line for line in lines if kind is None or line["kind"] == kind]

    def resolve(self, table: Mapping[str, Sequence[object] | str]) -> None:
        """What names resolve to from now on. What was answered before has been forgotten when this returns."""
        draft = self.names.with_suffix(".new")
        draft.write_text(json.dumps(table))
        draft.replace(self.names)
        log = Path(f"{self.names}.log")
        if log.exists():
            time.sleep(max(0.0, log.stat().st_mtime + REMEMBER_S + 0.05 - time.time()))

    @property
    def looked_up(self) -> list[str]:
        log = Path(f"{self.names}.log")
        return log.read_text().split() if log.exists() else []

    # --- its process -------------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join([str(SUPPORT / "names"), str(ROOT)])
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**kept, "PYTHONPATH": paths, "TEST_NAMES": str(self.names), "PYTHONUNBUFFERED": "1"}

    def start(self, *, workers: int = 1, command: Sequence[str] = (), listen_port: int = 0) -> None:
        """Start the proxy and wait until it serves. It finds its store running, and for a minute already."""
        store = EmbeddedStore(self.settings.state)
        if self.settings.redis_url is None and not store.directory.exists():
            store.start()
            age_epoch(store)
        run = command or (sys.executable, str(SUPPORT / "run_house.py"))
        self.process = subprocess.Popen(
            [*run, str(self.settings.file), str(workers), str(listen_port)],
            env=self.environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        assert ready.wait(START_S) and self.address[1], "".join(self.output)

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.output.append(line)
            if line.startswith("ready "):
                (host, _, port), *rest = [word.rpartition(":") for word in line.split()[1:]]
                self.address = (host, int(port))
                for tls_host, _, tls_port in rest:
                    self.tls_address = (tls_host, int(tls_port))
                ready.set()
        ready.set()

    def stop(self) -> int:
        """SIGTERM, and wait for the drain."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def house(
    folder: Path,
    *,
    clusters: str,
    extra: str = "",
    names: Mapping[str, Sequence[object]] | None = None,
    workers: int = 1,
    start: bool = True,
    command: Sequence[str] = (),
    spiffe: Mapping[str, str] | None = None,
    source: Mapping[str, str] | None = None,
) -> Iterator[House]:
    """Build a deployment in `folder`, run it, and stop it. `extra` goes into proxy.yaml as it is; `spiffe` names the
    SPIFFE ids of agents, `source` the places they are bound to."""
    built = build(folder, clusters=clusters, extra=extra, names=names, spiffe=spiffe, source=source)
    try:
        if start:
            built.start(workers=workers, command=command)
        yield built
    finally:
        if built.process is not None and built.process.poll() is None:
            built.stop()
        store = EmbeddedStore(built.settings.state)
        if store.alive():  # nobody was left to end it
            store.stop()


def age_epoch(store: EmbeddedStore) -> None:
    """As `valkeys.Valkey.age_epoch`: the nonce store looks as if it had run for a while, and proofs count at once."""
    with redis.Redis(unix_socket_path=str(store.socket), decode_responses=True) as client:
        born_ms, run_id = int((time.time() - 60) * 1000), client.info("server")["run_id"]
        client.hset("{ip:0}:epoch", mapping={"born_ms": born_ms, "run_id": run_id, "durable": "1"})


def build(
    folder: Path,
    *,
    clusters: str,
    extra: str = "",
    names: Mapping[str, Sequence[object]] | None = None,
    spiffe: Mapping[str, str] | None = None,
    source: Mapping[str, str] | None = None,
) -> House:
    """Write and sign everything; nothing runs yet."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    operator = identities.key("operator")
    head = f"""\
        version: 1
        deployment: {identities.DEPLOYMENT}
        listen: 127.0.0.1:0
        operators:
          - {json.dumps(jwk(operator.public))}
        """
    _write(folder / "proxy.yaml", dedent(head) + dedent(extra))
    _write(folder / "clusters.yaml", clusters)
    _write(folder / "people.yaml", _people())
    _write(folder / "agents.yaml", _agents(spiffe or {}, source or {}))
    settings = load_settings(folder / "proxy.yaml")
    sign_bundle(settings, operator, now=datetime.now(UTC))
    bundle = load_bundle(settings, dev=False, floor=0)
    built = House(folder=folder, settings=settings, bundle=bundle, names=folder / "names.json")
    built.resolve(names or {"erp.example": ["127.0.0.1"]})
    return built


_DEPUTIES = ((identities.SPONSOR, identities.DEPUTY), (identities.DEPUTY, ""), (identities.REVIEWER, ""))


def _people() -> str:
    until = (datetime.now(UTC) + timedelta(days=365)).date().isoformat()
    entries = [
        f"""\
        - id: {name}
          name: {name.title()} Example
          role: controller
          certified_until: "{until}"
          {f"deputy: {deputy}" if deputy else ""}
          keys: [{json.dumps(jwk(identities.key(name).public))}]
          passkeys: [{passkey_line(authenticator(name).passkey)}]
        """
        for name, deputy in _DEPUTIES
    ]
    desk = f"desk: {{keys: [{json.dumps(jwk(identities.key('desk').public))}], origins: ['{ORIGIN}']}}\n"
    return f"version: 1\n{desk}people:\n" + indent("".join(dedent(entry) for entry in entries), "  ")


def _agents(spiffe: Mapping[str, str], source: Mapping[str, str]) -> str:
    entries = [
        f"""\
        - id: {name}
          owner: finance
          sponsor: {identities.SPONSOR}
          class: {kind}
          may_delegate_to: [{", ".join(children)}]
          keys: [{json.dumps(jwk(identities.key(name).public))}]
          bindings: {{spiffe: [{spiffe.get(name, "")}], source: [{source.get(name, "")}]}}
        """
        for name, kind, children in (
            (identities.AGENT, "augmenting", (identities.HELPER,)),
            (identities.HELPER, "augmenting", ()),
            ("workflow-bot", "embedded", ()),
        )
    ]
    return "version: 1\nagents:\n" + indent("".join(dedent(entry) for entry in entries), "  ")


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


def reviewer_key_file(folder: Path, name: str = identities.SPONSOR) -> Path:
    """The private key of an enrolled person as a file for the command line."""
    path = folder / f"{name}-{b64u(secrets.token_bytes(4))}.pem"
    save_key(path, identities.key(name))
    return path
