"""Adding one entry to a list in a YAML file without touching anything else in it: comments, order and spacing stay.

The new text is put after the list's last entry, then the whole policy is read again from the new bytes: only when it
has exactly one entry more, and every old one as it was, is the file written.
"""

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from proxy.cli.deployment import Deployment
from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Person
from proxy.policy.example import key_line
from proxy.policy.files import write_whole
from proxy.policy.permits import scalar as scalar
from proxy.policy.sources import Policy, Source, Sources, parse, read_sources

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def add_person(deployment: Deployment, person: Person, *, certified_until: str) -> Path:
    """Append a person to people.yaml; `certified_until` is the text to write. Returns the file.

    Raises:
        Rejected(CONFIG_INVALID): the id or a key is taken, or the file cannot be added to; it is as it was.
    """
    path, sources = deployment.settings.people, read_sources(deployment.settings)
    fields: list[tuple[str, str]] = [("id", person.id), ("name", scalar(person.name)), ("role", scalar(person.role))]
    if person.deputy is not None:
        fields.append(("deputy", person.deputy))
    fields.append(("certified_until", certified_until if _DATE.fullmatch(certified_until) else scalar(certified_until)))
    source = _longer(sources.people, "people", entry_lines(fields, keys=[key_line(key) for key in person.keys]))
    before, after = _read_both(deployment, sources, replace(sources, people=source))
    written = after.people.get(person.id, person)
    _check_only(before.people, after.people, replace(person, certified_until=written.certified_until), path)
    _write(path, source.data)
    return path


def add_agent(deployment: Deployment, agent: Agent) -> Path:
    """Append an agent to agents.yaml and return the file.

    Raises:
        Rejected(CONFIG_INVALID): the id or a key is taken, or the file cannot be added to; it is as it was.
    """
    path, sources = deployment.settings.agents, read_sources(deployment.settings)
    fields = [
        ("id", agent.id),
        ("owner", scalar(agent.owner)),
        ("sponsor", agent.sponsor),
        ("class", agent.agent_class.value),
    ]
    if agent.may_delegate_to:
        fields.append(("may_delegate_to", f"[{', '.join(sorted(agent.may_delegate_to))}]"))
    source = _longer(sources.agents, "agents", entry_lines(fields, keys=[key_line(key) for key in agent.keys]))
    before, after = _read_both(deployment, sources, replace(sources, agents=source))
    _check_only(before.agents, after.agents, agent, path)
    _write(path, source.data)
    return path


def entry_lines(fields: Sequence[tuple[str, str]], *, keys: Sequence[str]) -> list[str]:
    """One entry of a list, as lines without indentation: `- id: robin`, `  name: Robin`, …"""
    lines = [f"{name}: {value}" for name, value in fields]
    if keys:
        lines += ["keys:", *(f"  - {key}" for key in keys)]
    return [("- " if place == 0 else "  ") + line for place, line in enumerate(lines)]


def _longer(source: Source, key: str, lines: Sequence[str]) -> Source:
    """The file with an entry more at the end of the list under the top-level `key`."""
    text = source.data.decode("utf-8")
    items = _list_under(text, key)
    rows = text.splitlines(keepends=True)
    if items is None or (items.flow_style and items.value):
        shape = "entries that begin with a dash, one below the other"
        raise Rejected(Code.CONFIG_INVALID, f"{source.name}: {key} must be a list of {shape}, to add one by program")
    if items.flow_style:  # `people: []`
        row, begin, end = items.start_mark.line, items.start_mark.column, items.end_mark.column
        rows[row] = rows[row][:begin].rstrip() + rows[row][end:]
        place, indent = row + 1, 2
    else:
        place, indent = last_row(items) + 1, items.start_mark.column
    if not rows[place - 1].endswith("\n"):
        rows[place - 1] += "\n"
    gap = ["\n"] if _spaced(items, rows) else []
    rows[place:place] = [*gap, *(" " * indent + line + "\n" for line in lines)]
    return replace(source, data="".join(rows).encode("utf-8"))


def _list_under(text: str, key: str) -> yaml.SequenceNode | None:
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found = [value for name, value in pairs if name.value == key]
    return found[0] if found and isinstance(found[0], yaml.SequenceNode) else None


def last_row(node: yaml.Node) -> int:
    """The row in which a node's own text ends, comments and blank lines after it not counted."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return last_row(last[1] if isinstance(last, tuple) else last)
    end: yaml.Mark = node.end_mark
    row: int = end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line
    return row


def _spaced(items: yaml.SequenceNode, rows: Sequence[str]) -> bool:
    """Whether entries are kept apart by a blank line in this file."""
    return len(items.value) > 1 and not rows[items.value[-1].start_mark.line - 1].strip()


def _read_both(deployment: Deployment, old: Sources, new: Sources) -> tuple[Policy, Policy]:
    operators = deployment.settings.operators
    return parse(old, operators=operators), parse(new, operators=operators)


def _check_only[T: (Agent, Person)](before: Mapping[str, T], after: Mapping[str, T], added: T, path: Path) -> None:
    if {**before, added.id: added} != dict(after):
        raise Rejected(Code.CONFIG_INVALID, f"{path}: cannot be added to by program; add {added.id} with an editor")


def _write(path: Path, data: bytes) -> None:
    write_whole(path, data, mode=stat.S_IMODE(path.stat().st_mode))
