"""A deployment for foreign programs: a session in their environment, and stand-ins for what they usually talk to.

    with client_town(folder) as town:
        told = town.run(["curl", "-sS", town.url("tls", "/v1/invoices/17")])

One mandate covers all clusters; `/v1/salaries` is outside it (held), `/v1/secrets` is denied by a rule.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import foreign
import identities
from certs import Authority
from houses import ROOT, House, house
from origins import Origin, Seen
from towns import ROOMY

from proxy.agent.keyfile import save_key
from proxy.core.manifest import parse_manifest
from proxy.core.model import Hold
from proxy.stores.redis_holds import RedisHolds

HOSTS = ("erp.example", "llm.example", "pypi.example", "dav.example", "grpc.example", "ws.example")

CLUSTERS = """\
version: 1
clusters:
  - id: erp
    description: Read and file supplier invoices
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{plain}, {tls}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read
        methods: [GET, HEAD]
        path: /v1/invoices/{{id}}
      - name: file
        methods: [POST]
        path: /v1/invoices
{more}
deny:
  - id: no-secrets
    description: Secrets are nobody's task
    hosts: [{hosts}]
    operations:
      - name: secrets
        methods: [GET, HEAD, POST, PUT, DELETE, PROPFIND]
        path: /v1/secrets
      - name: folder
        methods: [GET, HEAD, PROPFIND]
        path: /secrets/
      - name: rpc
        methods: [POST]
        path: /acme.Ledger/Secrets
      - name: below
        methods: [GET, HEAD, POST, PUT, DELETE, PROPFIND]
        path: /secrets/{{rest:rest}}
"""

COVERED, OUTSIDE, DENIED = "/v1/invoices/17", "/v1/salaries", "/v1/secrets"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a program's user gets to see."""

    exit_code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err

    @property
    def document(self) -> dict[str, object]:
        """The JSON that a program of ours printed last."""
        lines = self.out.splitlines()
        assert lines, self
        return json.loads(lines[-1])


@dataclass(kw_only=True)
class ClientTown:
    """What runs, and what programs need to know of it."""

    folder: Path
    house: House
    plain: Origin
    tls: Origin
    authority: Authority
    root: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def origin(self, way: str) -> Origin:
        return self.plain if way == "plain" else self.tls

    def url(self, way: str, path: str = "", *, host: str = "erp.example") -> str:
        return self.origin(way).url(path, host=host)

    @property
    def proxy_url(self) -> str:
        return "http://{}:{}".format(*self.house.address)

    @property
    def manifest(self) -> Path:
        return self.folder / "chain.jws"

    @property
    def key(self) -> Path:
        return self.folder / "agent.pem"

    def run(
        self,
        command: Sequence[str | Path],
        *,
        given: Mapping[str, str] | None = None,
        session: bool = True,
        timeout_s: float = 60.0,
    ) -> Told:
        """Run a program to its end, with the session in its environment unless told otherwise."""
        environment = {**foreign.plain_environment(), "HOME": str(self.folder), **(given or {})}
        if session:
            environment |= self.environment
        done = subprocess.run(
            [str(part) for part in command],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        return Told(exit_code=done.returncode, out=out, err=err)

    def holds(self) -> list[Hold]:
        """Every hold of the programs' mandate."""
        root_id = parse_manifest(self.root).id
        return self.house.with_store(lambda server: RedisHolds(server).listing(root_id=root_id))

    def wait_for_a_hold(self, known: Sequence[Hold]) -> Hold:
        """The hold that was not there before, as soon as it is."""
        ids, deadline = {hold.id for hold in known}, time.monotonic() + 20
        while time.monotonic() < deadline:
            if found := [hold for hold in self.holds() if hold.id not in ids]:
                return found[0]
            time.sleep(0.05)
        raise AssertionError("no hold was filed")


def seen_by(town: ClientTown, marks: tuple[object, object]) -> Seen:
    """What both origins saw since `marks`."""
    plain, tls = town.plain.since(marks[0]), town.tls.since(marks[1])  # type: ignore[arg-type]
    return replace(
        plain,
        accepted=plain.accepted + tls.accepted,
        requests=plain.requests + tls.requests,
        raw_bytes=plain.raw_bytes + tls.raw_bytes,
    )


@contextmanager
def client_town(
    folder: Path, *, more: str = "", ports: Mapping[str, int] | None = None, authority: Authority | None = None
) -> Iterator[ClientTown]:
    """Build and run one. `more` are further clusters, in which `{plain}`, `{tls}` and `ports`' names may stand."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = authority or Authority()
    with Origin() as plain, Origin(tls=authority.server(*HOSTS)) as tls:
        numbers = {"plain": plain.port, "tls": tls.port, **(ports or {})}
        clusters = CLUSTERS.format(**numbers, more=more.format(**numbers), hosts=", ".join(HOSTS))
        extra = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}"
        names = {host: ["127.0.0.1"] for host in HOSTS}
        with house(folder / "house", clusters=clusters, extra=extra, names=names) as running:
            town = ClientTown(
                folder=folder, house=running, plain=plain, tls=tls, authority=authority, root=running.root()
            )
            town.manifest.write_text(town.root)
            save_key(town.key, identities.key(identities.AGENT))
            town.environment = session_environment(town)
            yield town


def session_environment(town: ClientTown) -> dict[str, str]:
    """What `eval "$(intent-proxy session new …)"` sets in a shell."""
    options = ["--manifest", town.manifest, "--key", town.key, "--proxy", town.proxy_url, "--ca", town.house.ca]
    command = [sys.executable, "-m", "proxy.cli.main", "session", "new", *map(str, options), "--json"]
    environment = {**foreign.plain_environment(), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["environment"]


def signed_environment(town: ClientTown) -> dict[str, str]:
    """Proxy, trust and key; no session."""
    trust = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(town.house.ca))
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), town.proxy_url)
    return {
        **trust,
        **proxies,
        "INTENT_MANIFEST": str(town.manifest),
        "INTENT_KEY": str(town.key),
        "PYTHONPATH": str(ROOT),
    }


def answered(line: str) -> Told:
    """What a program that makes several calls told of one; a status other than 200 stands for its exit code."""
    document = json.loads(line)
    return Told(exit_code=0 if document["status"] == 200 else document["status"], out=document["text"], err="")
