"""The stage of the demo: a server, a deployment as `init` makes one, a signed manifest, and what the agent is told."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from proxy.cli.demo.agent import Settings as AgentSettings
from proxy.cli.demo.certificates import certify
from proxy.cli.demo.origin import ERP, FORBIDDEN, HOST
from proxy.cli.deployment import Deployment, this_second
from proxy.cli.deskplace import desk_links
from proxy.cli.founding import Plan, Somebody, found
from proxy.cli.signing import Signing, prepare, sign_and_keep
from proxy.core.manifest import detail_claims
from proxy.core.model import AgentClass, Bundle, Grant
from proxy.policy.drafts import draft_for
from proxy.policy.example import AGENT, REVIEWER, SPONSOR
from proxy.policy.files import write_whole
from proxy.policy.settings import load_settings
from proxy.stores.files import write_atomically

CLUSTER, OTHER_CLUSTER = "supplier-invoices", "payroll"
PURPOSE = "Match the invoices of suppliers with orders."
TASK = "T-4711"
NAME = "Maria Brandt"

type Address = tuple[str, int]

_LIFE_S = 86_400
_CLUSTER = """\
- id: {name}
  description: {description}
  hosts: [{host}]
  ports: [{port}]
  addresses: ["127.0.0.0/8", "::1/128"]
  risk: routine
  operations:
    - name: {operation}
      methods: [GET]
      path: {path}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where everything of one demo lies: in `folder`, and it goes with it."""

    folder: Path

    @property
    def edge(self) -> Path:
        """The proxy's deployment."""
        return self.folder / "edge"

    @property
    def server(self) -> Path:
        return self.folder / "server"

    @property
    def log(self) -> Path:
        """Every byte that reached the server."""
        return self.server / "origin.jsonl"

    @property
    def state(self) -> Path:
        return self.edge / "state"

    @property
    def ca(self) -> Path:
        """The proxy's CA, which the agent trusts."""
        return self.state / "ca" / "ca.pem"


def prepare_server(stage: Stage) -> None:
    """What the server needs before it can start."""
    stage.server.mkdir(mode=0o700)
    certify(stage.server, HOST)
    write_atomically(stage.server / "api.key", f"erp-{secrets.token_hex(8)}\n".encode("ascii"))


def prepare_edge(stage: Stage, doors: Mapping[str, Address]) -> None:
    """Everything else, once the server's ports are known: policy, keys, manifest, the agent's settings."""
    made = _deployment(stage, doors[ERP][1])
    bundle = made.bundle()
    wish = Signing(
        deployment=made,
        bundle=bundle,
        draft=draft_for(bundle.agents[AGENT], [bundle.clusters[CLUSTER]], purpose=PURPOSE, lifetime_s=_LIFE_S),
        key=None,
        name=None,
        now=this_second(),
    )
    sign_and_keep(wish, prepare(wish), out=made.manifest_file(AGENT))
    host, port = doors[FORBIDDEN]
    told = AgentSettings(
        erp=f"https://{HOST}:{doors[ERP][1]}",
        erp_ca=str(stage.server / "ca.pem"),
        forbidden=f"http://{f'[{host}]' if ':' in host else host}:{port}",
        api_key=(stage.server / "api.key").read_text("ascii").strip(),
        manifest=str(made.manifest_file(AGENT)),
        key=str(made.keys / f"{AGENT}.pem"),
        cluster=CLUSTER,
        task=TASK,
        payroll_grant=dict(detail_claims(_whole(bundle, OTHER_CLUSTER))),
    )
    write_atomically(stage.folder / "agent.json", json.dumps(asdict(told)).encode("ascii"))


def _deployment(stage: Stage, port: int) -> Deployment:
    stage.edge.mkdir(mode=0o755)
    plan = Plan(
        deployment="demo",
        listen="127.0.0.1:0",
        agent=AGENT,
        agent_class=AgentClass.EMBEDDED,
        owner="accounts payable",
        sponsor=Somebody(id=SPONSOR, name=NAME, role="Head of accounts payable"),
        reviewer=Somebody(id=REVIEWER, name="Jonas Weber", role="Financial controller"),
        certified_until=(this_second() + timedelta(days=365)).date(),
        clusters={
            name: _CLUSTER.format(
                name=name, description=description, host=HOST, port=port, operation=operation, path=path
            ).splitlines()
            for name, description, operation, path in (
                (CLUSTER, "Read the invoices of suppliers.", "read-invoice", "/v1/invoices/{id}"),
                (OTHER_CLUSTER, "Read what employees earn.", "read-employee", "/v1/payroll/{id}"),
            )
        },
        upstream_cas=(stage.server / "ca.pem",),
    )
    made = found(stage.edge, plan, now=this_second())
    settings = made.settings.file
    write_whole(settings, settings.read_bytes() + b"\ndesk:\n  listen: 127.0.0.1:0 # any that is free\n")
    return made


def sign_in_link(stage: Stage, person: str) -> str:
    """The word of a link that signs somebody in at the review desk, once."""
    return desk_links(load_settings(stage.edge / "proxy.yaml")).make(person)


def still_signs_in(stage: Stage, word: str) -> bool:
    """Whether a link was not used yet, and has not ended."""
    return desk_links(load_settings(stage.edge / "proxy.yaml")).look(word) is not None


def _whole(bundle: Bundle, cluster: str) -> Grant:
    """A grant of everything in a cluster."""
    draft = draft_for(bundle.agents[AGENT], [bundle.clusters[cluster]], purpose=PURPOSE, lifetime_s=_LIFE_S)
    return draft.grants[0]
