"""Adding an entry to a YAML file: one entry more, and not a byte of the rest changed."""

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.deployment import Deployment, open_deployment
from proxy.cli.entries import add_agent, add_person, scalar
from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, AgentClass, Person
from proxy.policy.faults import Faults
from proxy.policy.sources import parse, read_sources
from proxy.policy.yaml import Scalar, load

ROBIN = Person(
    id="robin",
    name="Robin Lee",
    role="Auditor",
    deputy="ada",
    certified_until=datetime(2030, 1, 1, tzinfo=UTC),
    keys=(identities.key("robin").public,),
)
HELPER = Agent(
    id="helper",
    owner="IT: operations",
    sponsor="ada",
    agent_class=AgentClass.EMBEDDED,
    must_declare=True,
    may_delegate_to=frozenset({"robot"}),
    keys=(identities.key("helper").public,),
)


def people(deployment: Deployment) -> dict[str, Person]:
    return dict(parse(read_sources(deployment.settings), operators=deployment.settings.operators).people)


def test_the_new_entry_is_read_back_and_the_rest_is_byte_for_byte_the_same(home: Path) -> None:
    path = home / "people.yaml"
    path.write_text(path.read_text() + "\n# the end; nobody below\n\n\n")
    path.chmod(0o600)
    before, deployment = path.read_text(), open_deployment(home)
    known = people(deployment)
    assert add_person(deployment, ROBIN, certified_until="2029-12-31") == path
    after = path.read_text()
    assert people(deployment) == {**known, "robin": ROBIN}
    entry = after[next(place for place in range(len(before)) if before[place] != after[place]) :]
    added = len(after) - len(before)
    assert any(after[:cut] + after[cut + added :] == before for cut in range(len(before) + 1))
    assert "id: robin" in entry and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_agent_with_delegates_is_added_as_it_is(home: Path) -> None:
    deployment = open_deployment(home)
    add_agent(deployment, HELPER)
    found = parse(read_sources(deployment.settings), operators=deployment.settings.operators).agents
    assert found["helper"] == HELPER


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("version: 1\npeople: []\n", id="an empty list"),
        pytest.param("version: 1\npeople: [] # nobody yet\n# and so on\n", id="an empty list with comments"),
        pytest.param("people: []\nversion: 1", id="an empty list that is not last, and no final newline"),
    ],
)
def test_an_empty_list_can_be_added_to(home: Path, text: str) -> None:
    (home / "agents.yaml").write_text("version: 1\nagents: []\n")
    (home / "people.yaml").write_text(text)
    deployment = open_deployment(home)
    robin = replace(ROBIN, deputy=None)
    add_person(deployment, robin, certified_until="2029-12-31")
    assert people(deployment) == {"robin": robin}
    after = (home / "people.yaml").read_text()
    assert all(line in after for line in text.replace(" []", "").splitlines())


@pytest.mark.parametrize(
    ("shape", "rest"),
    [
        pytest.param("people:\n- id: x\n  name: X\n  role: R\n  certified_until: 2030-01-01\n", "", id="no indent"),
        pytest.param(
            "people:\n    - role: R\n      id: x\n      certified_until: 2030-01-01\n      name: 'X'\n",
            "# after\nversion: 1\n",
            id="deep indent, another order, a key after the list",
        ),
        pytest.param(
            "people:\n  - {id: x, name: X, role: R,\n     certified_until: 2030-01-01}\n",
            "",
            id="a flow mapping over two lines",
        ),
        pytest.param(
            "people:\n  - id: x\n    role: R\n    certified_until: 2030-01-01\n    name: >-\n      X\n\n",
            "# after\n",
            id="a block scalar at the end",
        ),
    ],
)
def test_any_block_list_can_be_added_to(home: Path, shape: str, rest: str) -> None:
    (home / "agents.yaml").write_text("version: 1\nagents: []\n")
    head = "" if "version" in rest else "version: 1\n"
    (home / "people.yaml").write_text(head + shape + rest)
    deployment = open_deployment(home)
    known = people(deployment)
    robin = replace(ROBIN, deputy="x")
    add_person(deployment, robin, certified_until="2029-12-31")
    assert people(deployment) == {**known, "robin": robin}
    after = (home / "people.yaml").read_text()
    assert after.startswith(head + shape.rstrip("\n")) and after.endswith(rest)


@pytest.mark.parametrize(
    ("person", "said"),
    [
        pytest.param(replace(ROBIN, id="ada"), "already", id="an id that is taken"),
        pytest.param(replace(ROBIN, id="operator"), "reserved", id="a reserved id"),
        pytest.param(replace(ROBIN, keys=(identities.key("x").public,) * 2), "twice", id="a key twice"),
        pytest.param(replace(ROBIN, deputy="nobody"), "there is no person", id="an unknown deputy"),
        pytest.param(replace(ROBIN, name="two\nlines"), "one line", id="a name of two lines"),
        pytest.param(replace(ROBIN, role="\u202eevil"), "invisible", id="a role with an override"),
    ],
)
def test_what_the_policy_refuses_is_not_written(home: Path, person: Person, said: str) -> None:
    deployment, before = open_deployment(home), (home / "people.yaml").read_bytes()
    with pytest.raises(Rejected, match=said) as fault:
        add_person(deployment, person, certified_until="2029-12-31")
    assert fault.value.code is Code.CONFIG_INVALID
    assert (home / "people.yaml").read_bytes() == before


def test_a_flow_list_with_entries_is_left_to_an_editor(home: Path) -> None:
    text = "version: 1\npeople: [{id: ada, name: A, role: R, certified_until: 2030-01-01}]\n"
    (home / "people.yaml").write_text(text)
    with pytest.raises(Rejected, match="one below the other"):
        add_person(open_deployment(home), ROBIN, certified_until="2029-12-31")
    assert (home / "people.yaml").read_text() == text


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable() and text == text.strip()))
def test_any_line_of_text_is_read_back_as_it_was(text: str) -> None:
    faults = Faults("x.yaml")
    root = load(f"name: {scalar(text)}\nlist: [{scalar(text)}]\n".encode(), faults)
    assert root is not None, faults.listed()
    node = root.get("name")
    assert isinstance(node, Scalar) and node.text == text and str(node.kind) == "Kind.TEXT"
