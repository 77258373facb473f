"""A deployment made from nothing: its files, keys and CA, built aside and put in place when they are whole."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from proxy.agent.keyfile import new_key
from proxy.cli.deployment import Deployment
from proxy.cli.entries import entry_lines, scalar
from proxy.core.errors import Code, Rejected
from proxy.core.model import AgentClass
from proxy.edge.ca import load_authority
from proxy.policy.bundle import sign_bundle
from proxy.policy.example import ExampleKeys, example_files, key_line
from proxy.policy.files import write_whole
from proxy.policy.settings import load_settings
from proxy.stores.files import private_dir
from proxy.stores.vault import open_vault

OPERATOR_KEY = "operator"
DESK_KEY = "desk.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Somebody:
    """A person to enrol."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make."""

    deployment: str
    listen: str
    agent: str
    agent_class: AgentClass
    owner: str
    sponsor: Somebody
    reviewer: Somebody
    certified_until: date
    clusters: Mapping[str, Sequence[str]]  # entries for clusters.yaml by id; empty: the example's
    upstream_cas: tuple[Path, ...]


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A directory beside `target` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        Rejected(CONFIG_INVALID): `target` is there and not empty.
    """
    target = target.absolute()
    check_empty(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    aside.mkdir(mode=0o755)
    try:
        yield aside
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def check_empty(target: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        Rejected(CONFIG_INVALID): `target` is a file, or a directory that is not empty.
    """
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists() or target.is_symlink():
        detail = f"{target} is already there and not empty; name a new directory"
        raise Rejected(Code.CONFIG_INVALID, detail)


def found(directory: Path, plan: Plan, *, now: datetime) -> Deployment:
    """Fill an empty directory: keys, configuration, CA, the node's secrets, the operator's signature.

    Raises:
        Rejected(CONFIG_INVALID): an id or a cluster is not one; the faults name file and line.
    """
    os.umask(0o022)  # what this makes may be changed by its owner alone
    for name, mode in (("keys", 0o700), ("manifests", 0o755), ("pinned", 0o755)):
        (directory / name).mkdir(mode=mode)
    operator = new_key(directory / "keys" / f"{OPERATOR_KEY}.pem")
    state = private_dir(directory / "state")
    keys = ExampleKeys(
        operator=operator.public,
        sponsor=new_key(directory / "keys" / f"{plan.sponsor.id}.pem").public,
        reviewer=new_key(directory / "keys" / f"{plan.reviewer.id}.pem").public,
        agent=new_key(directory / "keys" / f"{plan.agent}.pem").public,
        desk=new_key(state / DESK_KEY).public,
    )
    for name, text in _files(plan, keys).items():
        path = directory / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        write_whole(path, text.encode("utf-8"))
    settings = load_settings(directory / "proxy.yaml")
    load_authority(state / "ca", deployment=settings.deployment, now=now)
    open_vault(state / "secret.key")
    new_key(state / "node.key")
    sign_bundle(settings, operator, now=now)
    return Deployment(settings=settings)


def _files(plan: Plan, keys: ExampleKeys) -> dict[str, str]:
    """The example's files with our own people, agent and clusters under their heads."""
    files = example_files(keys, certified_until=plan.certified_until, deployment=plan.deployment, listen=plan.listen)
    files["people.yaml"] = _with_entries(files["people.yaml"], "people", _people(plan, keys))
    files["agents.yaml"] = _with_entries(files["agents.yaml"], "agents", [_agent(plan, keys)])
    if plan.clusters:
        files["clusters.yaml"] = _with_entries(files["clusters.yaml"], "clusters", list(plan.clusters.values()))
    if plan.upstream_cas:
        files["proxy.yaml"] += "\n# Trusted for upstream TLS besides the system's roots.\nupstream_cas:\n" + "".join(
            f"  - {scalar(str(path.absolute()))}\n" for path in plan.upstream_cas
        )
    return files


def _with_entries(example: str, key: str, entries: Sequence[Sequence[str]]) -> str:
    head, _, _ = example.partition(f"{key}:\n")
    blocks = ("".join(f"  {line}\n" for line in entry) for entry in entries)
    return f"{head}{key}:\n" + "\n".join(blocks)


def _people(plan: Plan, keys: ExampleKeys) -> list[list[str]]:
    until = plan.certified_until.isoformat()
    entries = []
    for person, deputy, key in (
        (plan.sponsor, plan.reviewer.id, keys.sponsor),
        (plan.reviewer, None, keys.reviewer),
    ):
        fields = [("id", person.id), ("name", scalar(person.name)), ("role", scalar(person.role))]
        fields += [("deputy", deputy)] if deputy is not None else []
        entries.append(entry_lines([*fields, ("certified_until", until)], keys=[key_line(key)]))
    return entries


def _agent(plan: Plan, keys: ExampleKeys) -> list[str]:
    fields = [
        ("id", plan.agent),
        ("owner", scalar(plan.owner)),
        ("sponsor", plan.sponsor.id),
        ("class", plan.agent_class.value),
    ]
    return entry_lines(fields, keys=[key_line(keys.agent)])
