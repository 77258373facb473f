"""The files an operator signs: found, read once into memory, hashed and parsed from the same bytes."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Cluster, DenyRule, Person, PublicKey, ReviewDesk
from proxy.policy.agents import read_agents
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults, refuse_any
from proxy.policy.files import entries, is_directory, read_guarded
from proxy.policy.people import Enrolled, read_people
from proxy.policy.settings import Settings
from proxy.policy.yaml import Table, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file as it was when it was read. `name` is its path from proxy.yaml's directory."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything a bundle signs."""

    people: Source
    agents: Source
    clusters: tuple[Source, ...]

    @property
    def hashes(self) -> dict[str, str]:
        """Name to hex SHA-256, of every file."""
        return {source.name: source.sha256 for source in (self.people, self.agents, *self.clusters)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What people wrote, parsed and checked against each other."""

    people: Mapping[str, Person]
    agents: Mapping[str, Agent]
    clusters: Mapping[str, Cluster]
    deny: tuple[DenyRule, ...]
    desk: ReviewDesk


def read_sources(settings: Settings) -> Sources:
    """Read every file the settings name, each once.

    Raises:
        Rejected(CONFIG_INVALID): one is absent, named twice, or may be changed by others.
    """
    absent = "mend the path in proxy.yaml, or put the file back"
    seen: set[Path] = set()

    def read(path: Path) -> Source:
        if path in seen:
            raise Rejected(Code.CONFIG_INVALID, f"{path}: proxy.yaml names this file twice; name it once")
        seen.add(path)
        return Source(name=_name(path, settings.directory), data=read_guarded(path, absent=absent))

    return Sources(
        people=read(settings.people),
        agents=read(settings.agents),
        clusters=tuple(read(path) for path in _cluster_files(settings.clusters)),
    )


def _name(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix() if path.is_relative_to(directory) else path.as_posix()


def _cluster_files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not is_directory(path):
            yield path
            continue
        for entry in entries(path):
            if entry.suffix == ".yml":
                raise Rejected(Code.CONFIG_INVALID, f'{entry}: would not be read; name it "{entry.stem}.yaml"')
            if entry.suffix == ".yaml":
                yield entry


def parse(sources: Sources, *, operators: Iterable[PublicKey]) -> Policy:
    """Parse and cross-check what was read.

    Raises:
        Rejected(CONFIG_INVALID): with every fault of every file, a line each.
    """
    enrolled = Enrolled(operators)
    collected: list[Faults] = []

    def open_file(source: Source) -> tuple[Faults, Table | None]:
        faults = Faults(source.name)
        collected.append(faults)
        return faults, load(source.data, faults)

    faults, root = open_file(sources.people)
    nobody: dict[str, Person] = {}
    people, desk = read_people(root, faults, enrolled) if root is not None else (nobody, ReviewDesk())
    known = None if faults else people.keys()  # with people unread, every name would seem unknown
    faults, root = open_file(sources.agents)
    agents = read_agents(root, faults, enrolled, people=known) if root is not None else {}
    rules = Rules(people=known)
    for source in sources.clusters:
        faults, root = open_file(source)
        if root is not None:
            rules.read(root, faults)
    refuse_any(*collected)
    deny = tuple(rules.deny[name] for name in sorted(rules.deny))
    return Policy(people=people, agents=agents, clusters=rules.clusters, deny=deny, desk=desk)
