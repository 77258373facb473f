"""Changing the passkeys of one person in people.yaml, and not a byte of anything else.

As `entries` does, the new text is read again before it is written: only when it says the same as before but for these
passkeys is the file changed.
"""

import stat
from dataclasses import replace
from pathlib import Path

import yaml

from proxy.cli.deployment import Deployment
from proxy.cli.entries import last_row
from proxy.core.errors import Code, Rejected
from proxy.core.model import Passkey
from proxy.policy.faults import instead, shown
from proxy.policy.files import write_whole
from proxy.policy.passkeys import passkey_line
from proxy.policy.sources import Sources, parse, read_sources

_KEY = "passkeys"


def add_passkey(deployment: Deployment, owner: str, passkey: Passkey) -> Path:
    """Enrol a passkey for a person. Returns the file; the passkey counts once an operator has signed that.

    Raises:
        Rejected(CONFIG_INVALID): there is no such person, the passkey is somebody's already or of no use at this desk,
            or the file cannot be changed by program; it is as it was.
    """
    sources = read_sources(deployment.settings)
    text = sources.people.data.decode("utf-8")
    known = _passkeys(deployment, sources, owner)
    return _write(deployment, sources, owner, _longer(text, owner, passkey), (*known, passkey))


def remove_passkey(deployment: Deployment, owner: str, name: str) -> Path:
    """Take a passkey from a person. Returns the file.

    Raises:
        Rejected(CONFIG_INVALID): there is no such person, they have no such passkey, or the file cannot be changed by
            program; it is as it was.
    """
    sources = read_sources(deployment.settings)
    text = sources.people.data.decode("utf-8")
    known = _passkeys(deployment, sources, owner)
    place = next((place for place, each in enumerate(known) if each.name == name), None)
    if place is None:
        names = [each.name for each in known]
        raise Rejected(Code.CONFIG_INVALID, f"{owner} has no passkey {shown(name)}{instead(name, names)}")
    return _write(deployment, sources, owner, _shorter(text, owner, place), (*known[:place], *known[place + 1 :]))


def _passkeys(deployment: Deployment, sources: Sources, owner: str) -> tuple[Passkey, ...]:
    people = parse(sources, operators=deployment.settings.operators).people
    if owner not in people:
        raise Rejected(Code.CONFIG_INVALID, f"there is no person {shown(owner)}{instead(owner, people)}")
    return people[owner].passkeys


def _write(
    deployment: Deployment, before: Sources, owner: str, text: str | None, passkeys: tuple[Passkey, ...]
) -> Path:
    """Write the new text, if it says what it should and the same of everything else."""
    path, operators = deployment.settings.people, deployment.settings.operators
    if text is not None:
        after = replace(before, people=replace(before.people, data=text.encode("utf-8")))
        old, new = parse(before, operators=operators), parse(after, operators=operators)
        changed = {**old.people, owner: replace(old.people[owner], passkeys=passkeys)}
        if (changed, old.desk) == (dict(new.people), new.desk):
            write_whole(path, after.people.data, mode=stat.S_IMODE(path.stat().st_mode))
            return path
    raise Rejected(Code.CONFIG_INVALID, f"{path}: cannot be changed by program; change {owner}'s {_KEY} with an editor")


def _longer(text: str, owner: str, passkey: Passkey) -> str | None:
    """The text with a passkey more at the end of its owner's list; None: it is written in a way we leave alone."""
    entry, rows = _entry(text, owner), text.splitlines(keepends=True)
    if entry is None:
        return None
    line = f"- {passkey_line(passkey)}\n"
    found = _listed(entry)
    if found is None:
        row, indent = last_row(entry) + 1, entry.start_mark.column
        new = [" " * indent + f"{_KEY}:\n", " " * (indent + 2) + line]
    else:
        key, items = found
        if items.flow_style and items.value:
            return None
        if items.flow_style:  # `passkeys: []`
            place, begin, end = items.start_mark.line, items.start_mark.column, items.end_mark.column
            rows[place] = rows[place][:begin].rstrip() + rows[place][end:]
            row, indent = place + 1, key.start_mark.column + 2
        else:
            row, indent = last_row(items) + 1, items.start_mark.column
        new = [" " * indent + line]
    if not rows[row - 1].endswith("\n"):
        rows[row - 1] += "\n"
    rows[row:row] = new
    return "".join(rows)


def _shorter(text: str, owner: str, place: int) -> str | None:
    """The text without one passkey, and without the list when it was the last one."""
    entry, rows = _entry(text, owner), text.splitlines(keepends=True)
    found = None if entry is None else _listed(entry)
    if found is None or found[1].flow_style:
        return None
    key, items = found
    item = items.value[place]
    first = key.start_mark.line if len(items.value) == 1 else item.start_mark.line
    del rows[first : last_row(item) + 1]
    return "".join(rows)


def _entry(text: str, owner: str) -> yaml.MappingNode | None:
    """The mapping of one person, if it is written one key below the other."""
    people = _under(yaml.compose(text, Loader=yaml.CSafeLoader), "people")
    entries = people.value if isinstance(people, yaml.SequenceNode) else []
    for entry in entries:
        if isinstance(entry, yaml.MappingNode) and not entry.flow_style:
            name = _under(entry, "id")
            if isinstance(name, yaml.ScalarNode) and name.value == owner:
                return entry
    return None


def _listed(entry: yaml.MappingNode) -> tuple[yaml.Node, yaml.SequenceNode] | None:
    """The key and the list of a person's passkeys, if they have one."""
    for key, value in entry.value:
        if key.value == _KEY and isinstance(value, yaml.SequenceNode):
            return key, value
    return None


def _under(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    found: list[yaml.Node] = [value for name, value in pairs if name.value == key]
    return found[0] if found else None
