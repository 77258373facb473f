"""The deployment under test: signed policy, people and an agent with a mandate of three clusters, on a real disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import houses
import identities
from certs import Authority

from proxy.agent.keyfile import save_key
from proxy.edge.ca import load_authority
from proxy.edge.parts import now
from proxy.policy.settings import Settings
from proxy.stores.files import private_dir

HOST = "localhost"  # resolves as on every machine: no name of a test has to be faked
CLUSTER, TASK = "supplier-invoices", "T-4711"

_CLUSTER = """\
  - id: {id}
    description: {description}
    risk: routine
    hosts: [localhost]
    schemes: [https]
    ports: {ports}
    addresses: [127.0.0.0/8, "::1/128"]
    operations:
      - name: read
        methods: [GET]
        path: /v1/{collection}/{{id}}
      - name: list
        methods: [GET]
        path: /v1/{collection}
        query:
          page: any
          status: [open, paid]
      - name: file
        methods: [POST]
        path: /v1/{collection}
      - name: scan
        methods: [POST]
        path: /v1/{collection}/{{id}}/scan
        body: unexamined
"""

_GRANTED = (
    (CLUSTER, "Read and file supplier invoices", "invoices"),
    ("purchase-orders", "Match invoices with orders", "orders"),
    ("goods-receipts", "See what was delivered", "receipts"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The files of one run."""

    house: houses.House
    origin_ca: Path
    agent_key: Path
    manifest: Path

    @property
    def settings(self) -> Settings:
        return self.house.settings

    @property
    def config(self) -> Path:
        return self.house.settings.file

    @property
    def ca_file(self) -> Path:
        return self.house.ca

    def signing(self) -> dict[str, str]:
        """What the load generator signs with."""
        return {
            "manifest": str(self.manifest),
            "key_file": str(self.agent_key),
            "cluster": CLUSTER,
            "task": TASK,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The origin's certificate and the authority behind it."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def pair(self) -> tuple[Path, Path]:
        return self.certificate, self.key


def make_certificates(folder: Path) -> Certificates:
    """A throw-away authority and one certificate for the origin."""
    authority = Authority("origin of the benchmark")
    certificate, key = authority.server(HOST).write(folder, "origin")
    return Certificates(ca=authority.write(folder), certificate=certificate, key=key)


def make_deployment(folder: Path, certificates: Certificates, *, ports: Sequence[int]) -> Deployment:
    """Write and sign everything for origins on these ports; nothing runs yet."""
    clusters = "".join(
        _CLUSTER.format(id=name, description=description, collection=collection, ports=list(ports))
        for name, description, collection in _GRANTED
    )
    house = houses.build(
        folder / "edge",
        clusters=f"version: 1\nclusters:\n{clusters}",
        extra=f"upstream_cas: [{certificates.ca}]\ndesk: {{start: false}}\n",  # a desk writes a journal file of its own
    )
    agent_key, manifest = folder / "agent.pem", folder / "agent.manifest"
    save_key(agent_key, identities.key(identities.AGENT))
    manifest.write_text(house.root())
    state = private_dir(house.settings.state)
    load_authority(state / "ca", deployment=house.settings.deployment, now=now())  # made here: two systems share it
    return Deployment(
        house=house,
        origin_ca=certificates.ca,
        agent_key=agent_key,
        manifest=manifest,
    )
