"""docs/configuration.md: every key and default, and the messages it quotes, as they are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from written import deployment

from proxy.core.errors import Rejected
from proxy.policy.bundle import faults_of, load_bundle
from proxy.policy.schemas import schemas

DOC = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
FILES = ("proxy", "clusters", "agents", "people")


def section(name: str) -> str:
    found = re.search(rf"^## {name}\.yaml\n(.*?)(?=^## )", DOC, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """First column to the whole rows, without back-quotes."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            found.setdefault(line.split("|")[1].strip().strip("`"), []).append(line)
    return found


def keys(node: object, definitions: dict[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    """Every key a person may write with its schema; those of proxy.yaml with their parents."""
    if isinstance(node, list):
        for inner in node:
            yield from keys(inner, definitions, prefix)
    if not isinstance(node, dict):
        return
    if "kty" in (node.get("properties") or {}):  # a JWK, told once for all files
        return
    reference = node.get("$ref")
    if isinstance(reference, str):
        yield from keys(definitions[reference.rpartition("/")[2]], definitions, prefix)
    for name, inner in (node.get("properties") or {}).items():
        yield prefix + name, inner
        deeper = "$ref" in inner or (prefix and "items" in inner) or (prefix.count(".") == 1 and "properties" in inner)
        yield from keys(inner, definitions, f"{prefix}{name}." if deeper else prefix)
    for step, inner in node.items():
        if step not in ("properties", "$defs"):
            yield from keys(inner, definitions, prefix)


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_row_with_its_default(name: str) -> None:
    schema = schemas()[f"{name}.schema.json"]
    definitions = schema.get("$defs", {})
    assert isinstance(definitions, dict)
    told = rows(section(name))
    wanted = dict.fromkeys(path for path, _ in keys(schema, definitions, ""))
    assert [path for path in wanted if path not in told] == []
    assert [path for path in told if path not in wanted] == []
    for path, inner in keys(schema, definitions, ""):
        default = inner.get("default") if isinstance(inner, dict) else None
        if isinstance(default, str | int):
            text = default if isinstance(default, str) else json.dumps(default)
            assert any(f"| `{text}` |" in row for row in told[path]), (path, text)


def quoted(start: str) -> str:
    """The one line of the page's text blocks that begins so."""
    (found,) = (line for line in DOC.splitlines() if line.startswith(start))
    return found


def test_the_mistakes_it_quotes_read_like_that(tmp_path: Path) -> None:
    house = deployment(tmp_path)
    house.change("clusters.yaml", "hosts:", "host:")
    house.change("clusters.yaml", "[GET]", "[get]")
    house.change("agents.yaml", "sponsor: maria", "sponsor: mario")
    told = faults_of(house.proxy_yaml)
    assert len(told) == 3
    for line in told:
        assert quoted(line) == line


def test_the_refusals_of_the_bundle_it_quotes_read_like_that(tmp_path: Path) -> None:
    house = deployment(tmp_path)
    house.write("old.yaml", "version: 1\nclusters: []\n")
    house.change("proxy.yaml", "workers: 2", "workers: 2\nclusters: [clusters.yaml, old.yaml]")
    for _ in range(3):
        house.sign()
    house.write("extra.yaml", "version: 1\nclusters: []\n")
    house.change("proxy.yaml", "old.yaml", "extra.yaml")
    house.write("clusters.yaml", house.read("clusters.yaml") + "\n")
    with pytest.raises(Rejected) as refused:
        load_bundle(house.settings, dev=False, floor=0)
    for line in refused.value.detail.splitlines():
        assert quoted(line) == line


def test_the_refusal_of_an_unsafe_file_reads_like_that(tmp_path: Path) -> None:
    house = deployment(tmp_path)
    (tmp_path / "clusters.yaml").chmod(0o666)
    (line,) = faults_of(house.proxy_yaml)
    assert quoted("/srv/edge/clusters.yaml:") == line.replace(str(tmp_path), "/srv/edge")
