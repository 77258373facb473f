"""proxy.yaml: how this node runs, where the policy stands, and the operator keys everything else hangs on."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from proxy.core.headers import Limits
from proxy.core.model import PublicKey
from proxy.core.verify import Lifetimes
from proxy.policy.document import THE_FILE
from proxy.policy.faults import Faults, instead, refuse_any, shown
from proxy.policy.files import read_guarded
from proxy.policy.oidc import OIDC, OidcProvider
from proxy.policy.secrets import SECRET, SecretSource
from proxy.policy.values import (
    GENERATION,
    IDENTIFIER,
    LISTEN,
    LISTENS,
    NAME_OR_ADDRESS,
    ORIGIN,
    OWN_LISTENS,
    PATH,
    PATHS,
    PUBLIC_KEY,
    REDIS,
    UNDER,
    VERSION,
    Listen,
    count,
    size,
    span,
)
from proxy.policy.webhooks import WEBHOOKS, Webhook
from proxy.policy.yaml import Items, Node, Table, load, plain
from proxy.ports import BodyRoom, HoldCaps

_EXPECTED = {
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "tuple_type": "expected a list",
}


def _key(default: object, description: str) -> Any:
    """A key with its default as a person would write it; it is read like any other value."""
    return Field(default=default, validate_default=True, description=description)


def _optional(description: str, *, secret: bool = False) -> Any:
    """A key that may be absent; a secret one is not in the `repr`."""
    return Field(default=None, repr=not secret, description=description)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class LifetimeSettings(_Part):
    """How long signed authority may live."""

    root_max: Annotated[timedelta, span("1m", "366d")] = _key("90d", "Longest life of a manifest a sponsor signs.")
    leaf_max: Annotated[timedelta, span("1m", "1d")] = _key("1h", "Longest life of the last link of a delegated chain.")
    sponsor_grace: Annotated[timedelta, span("0s", "30d")] = _key(
        "7d",
        "How long running mandates pass to the deputy after the sponsor's certification has ended.",
    )


class LimitSettings(_Part):
    """How large a request may be."""

    headers: Annotated[int, size("1KiB", "1MiB")] = _key("64KiB", "All header lines together.")
    header_count: Annotated[int, count(10, 1000)] = _key(100, "Number of header lines.")
    target: Annotated[int, size("256B", "64KiB")] = _key("8KiB", "The request target, as received.")
    inspected: Annotated[int, size("1KiB", "64MiB")] = _key(
        "4MiB", "What is kept of a body in memory, and may be examined; at most limits.body."
    )
    body: Annotated[int, size("1KiB", "1GiB")] = _key(
        "64MiB", "The body of a call, unless its operation leaves it unexamined."
    )
    unproven_body: Annotated[int, size("1KiB", "1MiB")] = _key(
        "64KiB",
        "The largest body the proxy's own pages take, and the largest that is waited for where the head alone denies.",
    )


class BodySettings(_Part):
    """How much of bodies one worker keeps at once, until they were sent or refused."""

    memory: Annotated[int, size("1MiB", "64GiB")] = _key("256MiB", "In memory, all together.")
    memory_per_mandate: Annotated[int, size("1MiB", "64GiB")] = _key("64MiB", "In memory, under one root mandate.")
    spool: Annotated[int, size("1MiB", "1024GiB")] = _key("1GiB", "Encrypted on disk, all together.")
    spool_per_mandate: Annotated[int, size("1MiB", "1024GiB")] = _key(
        "256MiB", "Encrypted on disk, under one root mandate."
    )


class HoldSettings(_Part):
    """How much may wait for reviewers, and how long."""

    max_ttl: Annotated[timedelta, span("1m", "30d")] = _key(
        "24h", "Longest time a call is held; a longer review.ttl of a cluster is cut to it."
    )
    max_wait: Annotated[timedelta, span("0s", "1h")] = _key(
        "2m", "Longest time a connection waits for a reviewer; caps Prefer: wait and review.wait."
    )
    open_per_mandate: Annotated[int, count(1, 10_000)] = _key(20, "Open holds under one root mandate.")
    open_per_sponsor: Annotated[int, count(1, 100_000)] = _key(100, "Open holds of all mandates of one sponsor.")
    per_hour: Annotated[int, count(1, 100_000)] = _key(60, "New holds in an hour under one root mandate.")
    bytes: Annotated[int, size("1KiB", "1GiB")] = _key("64MiB", "Stored bodies of the open holds of one root mandate.")
    response_bytes: Annotated[int, size("1KiB", "64MiB")] = _key(
        "1MiB", "Largest body of a response to a delivered call that is kept for its agent."
    )
    response_ttl: Annotated[timedelta, span("1m", "24h")] = _key("24h", "How long such a response is kept.")


class JournalSettings(_Part):
    """Where else the journal's checkpoints go."""

    sink: Annotated[Path | None, PATH] = _optional(
        "A file that also gets every signed checkpoint; best on another machine's disk.",
    )


class TlsSettings(_Part):
    """TLS to the proxy itself, for agents on other machines; and the client certificates they may show."""

    listen: Annotated[Listen | None, LISTEN] = _optional(
        "IP address and port where agents reach the proxy over TLS alone: https://HOST:PORT. Port 0 picks a free one."
    )
    names: tuple[Annotated[str, NAME_OR_ADDRESS], ...] = _key(
        (), "Host names and addresses of this proxy that its certificate bears besides the one a client asks for."
    )
    certificate: Annotated[Path | None, PATH] = _optional(
        "PEM file with the certificate of the proxy and those up to its CA; without it, the proxy's own CA makes one."
    )
    key: Annotated[Path | None, PATH] = _optional("PEM file with the key of tls.certificate, mode 0600.")
    client_cas: tuple[Annotated[Path, PATH], ...] = _key(
        (), "PEM files of the CAs whose client certificates count; without any, none is asked for."
    )


class DnsSettings(_Part):
    """The DNS stub of transparent mode."""

    listen: Annotated[tuple[Listen, ...], OWN_LISTENS] = Field(
        default=(),
        description="IP addresses and ports, UDP and TCP, that agents ask names at; without any, no stub runs.",
    )
    quota: Annotated[int, count(1, 65_536)] = _key(256, "How many names one source may have addresses for at once.")
    absent: tuple[Annotated[str, UNDER], ...] = _key(
        (), "Names under these do not exist (NXDOMAIN) and get no address: search domains of Kubernetes."
    )


class TransparentSettings(_Part):
    """Transparent mode: connections that the network redirects here."""

    listen: Annotated[tuple[Listen, ...], LISTENS] = Field(
        default=(),
        description="IP addresses and ports that rules redirect connections to; without any, the mode is off.",
    )
    generation: Annotated[str | None, GENERATION] = _optional(
        "What tells this network from an earlier one, such as the pod's UID; else the inode of the network namespace."
    )
    dns: DnsSettings = Field(default_factory=DnsSettings, description="The DNS stub.")


class DeskSettings(_Part):
    """The review desk: the pages where people decide about held calls."""

    start: bool = _key(True, "Whether intent-proxy run starts the desk, too.")
    listen: Annotated[Listen, LISTEN] = _key(
        "127.0.0.1:8090", "IP address and port of the desk, plain HTTP; beyond loopback it needs desk.url."
    )
    url: Annotated[str | None, ORIGIN] = _optional(
        "Where browsers find the desk: https://NAME when TLS ends before it; else http://localhost and its port."
    )
    key: Annotated[Path | None, PATH] = _optional("The desk's private key, mode 0600; else state/desk.key.")
    links: bool = _key(True, "Whether a link made on this machine (intent-proxy desk --link) signs somebody in.")
    oidc: Annotated[OidcProvider | None, OIDC] = _optional(
        "An OpenID Connect provider that signs people in, whom people.yaml names under it."
    )
    webhooks: Annotated[tuple[Webhook, ...], WEBHOOKS] = _key(
        (), "Who is told of held calls, decisions and ending mandates."
    )


class Settings(_Part):
    """Everything in proxy.yaml. Paths are resolved against the directory of the file."""

    version: Annotated[int, VERSION] = Field(description="The version of this file's grammar: 1.")
    deployment: Annotated[str, IDENTIFIER] = Field(
        description="The name of this deployment; manifests and the bundle are signed for it (aud)."
    )
    listen: Annotated[Listen, LISTEN] = _key(
        "127.0.0.1:8080", "IP address and port agents connect to; port 0 picks a free one."
    )
    workers: Annotated[int, count(1, 64)] = _key(1, "Number of worker processes.")
    challenge_connect: bool = _key(False, "Answer CONNECT without proof with 407, instead of 403 inside the tunnel.")
    state: Annotated[Path, PATH] = _key(
        "state", "Directory of what this node keeps: secrets, CA, journal, store, large bodies; mode 0700."
    )
    secret_file: Annotated[Path | None, PATH] = _optional(
        "The secret that held calls are encrypted with, the same on every node; else state/secret.key, made here."
    )
    clusters: Annotated[tuple[Path, ...], PATHS] = _key(
        "clusters.yaml",
        "Task clusters and deny rules: a file, a directory (every *.yaml in it), or a list of these.",
    )
    agents: Annotated[Path, PATH] = _key("agents.yaml", "The inventory of agents.")
    people: Annotated[Path, PATH] = _key("people.yaml", "Sponsors, deputies and reviewers.")
    bundle: Annotated[Path, PATH] = _key("bundle.jws", "The operator's signature over the three above.")
    pinned: Annotated[Path, PATH] = _key("pinned", "Directory of clusters as sponsors once saw them, by digest.")
    operators: tuple[Annotated[PublicKey, PUBLIC_KEY], ...] = _key(
        (), "Public keys that may sign the bundle; without any, only --dev runs."
    )
    redis_url: Annotated[str | None, REDIS] = _optional(
        "Redis or Valkey for holds and control; without it one is started here.",
        secret=True,
    )
    redis_fast_url: Annotated[str | None, REDIS] = _optional(
        "A second one, without persistence, for nonces and counters.",
        secret=True,
    )
    redis_replicas: Annotated[int, count(0, 10)] = _key(
        0, "On how many replicas' disks a decision about a hold must be before it counts."
    )
    secrets: dict[Annotated[str, IDENTIFIER], Annotated[SecretSource, SECRET]] = Field(
        default_factory=dict, description="Secrets that clusters may name: where each comes from, never what it is."
    )
    upstream_cas: tuple[Annotated[Path, PATH], ...] = _key(
        (), "PEM files of CAs trusted for upstream TLS besides the system's."
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="TLS to the proxy itself.")
    transparent: TransparentSettings = Field(
        default_factory=TransparentSettings, description="Connections that the network redirects here."
    )
    desk: DeskSettings = Field(default_factory=DeskSettings, description="The review desk.")
    lifetimes: LifetimeSettings = Field(default_factory=LifetimeSettings, description="How long authority may live.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="How large a request may be.")
    bodies: BodySettings = Field(default_factory=BodySettings, description="How much of bodies a worker keeps at once.")
    holds: HoldSettings = Field(default_factory=HoldSettings, description="How much may wait for reviewers.")
    journal: JournalSettings = Field(default_factory=JournalSettings, description="Where checkpoints also go.")

    _file: Path = PrivateAttr(default=Path("proxy.yaml"))
    _secret_lines: dict[str, int] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        if isinstance(context, Path):
            self._file = context

    @property
    def file(self) -> Path:
        """The proxy.yaml this was read from."""
        return self._file

    def place_of_secret(self, name: str) -> str:
        """`proxy.yaml:7`: where a secret is told of, or could be."""
        line = self._secret_lines.get(name)
        return self._file.name if line is None else f"{self._file.name}:{line}"

    def note_places(self, root: Table) -> None:
        """Keep the lines that messages name."""
        table = root.get("secrets")
        entries = table.entries if isinstance(table, Table) else ()
        self._secret_lines.update({name.text: name.line for name, _ in entries})

    @property
    def directory(self) -> Path:
        """Where the files of the deployment are."""
        return self._file.parent

    @property
    def authority(self) -> Lifetimes:
        """`lifetimes` as verification takes them."""
        return Lifetimes(
            root_max_s=int(self.lifetimes.root_max.total_seconds()),
            leaf_max_s=int(self.lifetimes.leaf_max.total_seconds()),
            grace_s=int(self.lifetimes.sponsor_grace.total_seconds()),
        )

    @property
    def request_limits(self) -> Limits:
        """`limits` as the canonical form takes them."""
        return Limits(
            header_bytes=self.limits.headers,
            header_count=self.limits.header_count,
            target_bytes=self.limits.target,
            inspected_bytes=min(self.limits.inspected, self.limits.body),
            body_bytes=self.limits.body,
            unproven_body_bytes=self.limits.unproven_body,
        )

    @property
    def body_room(self) -> BodyRoom:
        """`bodies` as whoever keeps them takes it."""
        return BodyRoom(
            memory=self.bodies.memory,
            memory_per_root=self.bodies.memory_per_mandate,
            spool=self.bodies.spool,
            spool_per_root=self.bodies.spool_per_mandate,
        )

    @property
    def hold_caps(self) -> HoldCaps:
        """`holds` as the store takes them."""
        return HoldCaps(
            open_per_root=self.holds.open_per_mandate,
            open_per_sponsor=self.holds.open_per_sponsor,
            per_hour_per_root=self.holds.per_hour,
            bytes_per_root=self.holds.bytes,
        )


def load_settings(path: Path) -> Settings:
    """Read proxy.yaml. Not checked here: whether the files it names are there.

    Raises:
        Rejected(CONFIG_INVALID): with every fault as `proxy.yaml:LINE: …`.
    """
    file = path.absolute()
    data = read_guarded(file, absent='make a deployment with "intent-proxy init DIR", or name its proxy.yaml')
    faults = Faults(file.name)
    settings = read_settings(data, faults, file=file)
    refuse_any(faults)
    assert settings is not None
    return settings


def read_settings(data: bytes, faults: Faults, *, file: Path) -> Settings | None:
    """The settings in the bytes of a proxy.yaml that stands at `file`, or None when `faults` grew."""
    root = load(data, faults)
    if root is None:
        return None
    try:
        settings = Settings.model_validate(plain(root), context=file)
        settings.note_places(root)
        return settings
    except ValidationError as refused:
        for error in refused.errors(include_url=False, include_input=False):
            _add(error, root, faults)
    return None


def _add(error: ErrorDetails, root: Table, faults: Faults) -> None:
    """One pydantic error in the words and with the line that faults of every other file have."""
    *parents, key = (str(part) for part in error["loc"])
    what = ".".join(parents) or THE_FILE
    place = _walk(root, parents)
    match error["type"]:
        case "extra_forbidden":
            line = next(name.line for name, _ in place.entries if name.text == key) if isinstance(place, Table) else 0
            faults.add(line, f"unknown key {shown(key)} in {what}{instead(key, _keys_at(parents))}")
        case "missing":
            faults.add(place.line, f"{what} has no {shown(key)}; add it")
        case "value_error":
            value = _walk(root, [*parents, key])
            faults.add(value.line, f"{'.'.join([*parents, key])}: {error['ctx']['error']}")
        case kind:
            value = _walk(root, [*parents, key])
            faults.add(value.line, f"{'.'.join([*parents, key])}: {_EXPECTED.get(kind, error['msg'])}, got {value}")


def _walk(root: Table, names: list[str]) -> Node:
    """The node under these keys and places, or the last one on the way that is there."""
    node: Node = root
    for name in names:
        inner = node.get(name) if isinstance(node, Table) else None
        if isinstance(node, Items) and name.isdecimal():
            inner = node.nodes[int(name)]
        node = inner or node
    return node


def _keys_at(names: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for name in names:
        kind = model.model_fields[name].annotation
        model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else model
    return list(model.model_fields)
