"""agents.yaml: the inventory, and what is refused with which words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import key

from proxy.core.keys import jwk
from proxy.core.model import Agent, AgentClass, Bindings
from proxy.policy.agents import read_agents
from proxy.policy.faults import Faults
from proxy.policy.people import Enrolled
from proxy.policy.yaml import load

BOT = json.dumps(jwk(key("bot").public))
OPERATOR = key("operator").public
PEOPLE = ("ada", "ben")

BASE = f"""\
version: 1
agents:
  - id: invoice-bot
    owner: accounts payable
    sponsor: ada
    class: embedded
    must_declare: false
    may_delegate_to: [lookup-bot]
    keys: [{BOT}]
  - id: lookup-bot
    owner: accounts payable
    sponsor: ben
    class: augmenting
"""


def agents(text: str, *, people: tuple[str, ...] | None = PEOPLE) -> tuple[dict[str, Agent], list[str]]:
    faults = Faults("agents.yaml")
    root = load(text.encode(), faults)
    found = read_agents(root, faults, Enrolled([OPERATOR]), people=people) if root is not None else {}
    return found, [str(fault) for fault in faults.listed()]


def changed(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new, 1)


def test_every_key_is_read() -> None:
    found, faults = agents(BASE)
    assert faults == []
    assert found["invoice-bot"] == Agent(
        id="invoice-bot",
        owner="accounts payable",
        sponsor="ada",
        agent_class=AgentClass.EMBEDDED,
        must_declare=False,
        may_delegate_to=frozenset({"lookup-bot"}),
        keys=(key("bot").public,),
    )
    assert found["lookup-bot"].may_delegate_to == frozenset()
    assert found["lookup-bot"].bindings == Bindings()


def test_an_agent_may_be_bound_to_spiffe_ids() -> None:
    found, faults = agents(f"{BASE}    bindings: {{spiffe: ['spiffe://example.org/a', 'spiffe://example.org/b']}}\n")
    assert faults == []
    assert found["lookup-bot"].bindings.spiffe == {"spiffe://example.org/a", "spiffe://example.org/b"}
    assert agents(f"{BASE}    bindings: {{spiffe: []}}\n")[0]["lookup-bot"].bindings == Bindings()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            f"{BASE}    bindings: {{spiffe: [spiffe://example.org]}}\n",
            '14: bindings of agent "lookup-bot": spiffe',
            id="a trust domain without a path",
        ),
        pytest.param(
            f"{BASE}    bindings: {{spifee: []}}\n", 'did you mean "spiffe"?', id="a misspelt kind of binding"
        ),
        pytest.param(
            BASE.replace("    may_delegate_to", "    bindings: {spiffe: ['spiffe://a/b']}\n    may_delegate_to")
            + "    bindings: {spiffe: ['spiffe://a/b']}\n",
            'spiffe://a/b is already that of agent "invoice-bot"; it is one agent\'s',
            id="one id for two agents",
        ),
    ],
)
def test_a_wrong_binding_is_told(text: str, fault: str) -> None:
    _, faults = agents(text)
    assert any(fault in told or ("spiffe://example.org" in told and "SPIFFE id" in told) for told in faults), faults


@pytest.mark.parametrize(
    ("kind", "declares"),
    [
        pytest.param("embedded", True, id="embedded agents must declare"),
        pytest.param("augmenting", False, id="augmenting agents need not"),
    ],
)
def test_the_class_says_whether_an_agent_declares(kind: str, declares: bool) -> None:
    found, _ = agents(changed("    must_declare: false\n", "").replace("class: embedded", f"class: {kind}"))
    assert found["invoice-bot"].must_declare is declares


BOT_IS = 'agent "invoice-bot"'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            changed("sponsor: ada", "sponsor: aba"),
            f'5: sponsor of {BOT_IS}: there is no person "aba"; did you mean "ada"?',
            id="an unknown sponsor",
        ),
        pytest.param(changed("    sponsor: ada\n", ""), f'3: {BOT_IS} has no "sponsor"; add it', id="no sponsor"),
        pytest.param(
            changed("embedded", "embeded"),
            f'6: class of {BOT_IS}: got "embeded"; did you mean "embedded"?',
            id="a misspelt class",
        ),
        pytest.param(changed("    class: embedded\n", ""), f'3: {BOT_IS} has no "class"; add it', id="no class"),
        pytest.param(
            changed("must_declare: false", "must_declare: no"),
            '7: "no" is not the same to every YAML reader; write true or false, or put it in quotes',
            id="a surprise for a flag",
        ),
        pytest.param(
            changed("must_declare: false", "must_declare: 'false'"),
            f'7: must_declare of {BOT_IS}: expected true or false, got "false"',
            id="a flag in quotes",
        ),
        pytest.param(
            changed("[lookup-bot]", "[lookup-bat]"),
            f'8: may_delegate_to of {BOT_IS}: there is no agent "lookup-bat"; did you mean "lookup-bot"?',
            id="delegation to nobody",
        ),
        pytest.param(
            changed("may_delegate_to", "may_delegate"),
            f'8: unknown key "may_delegate" in {BOT_IS}; did you mean "may_delegate_to"?',
            id="a misspelt key",
        ),
        pytest.param(
            BASE.replace(BOT, json.dumps(jwk(OPERATOR))),
            f"9: keys of {BOT_IS}: the key {OPERATOR.kid} is already that of an operator; "
            "everyone needs a key of their own",
            id="an operator's key",
        ),
        pytest.param(
            BASE + f"    keys: [{BOT}]\n",
            f'14: keys of agent "lookup-bot": the key {key("bot").public.kid} is already that of {BOT_IS}; '
            "everyone needs a key of their own",
            id="two agents of one key",
        ),
        pytest.param(
            changed("id: lookup-bot", "id: invoice-bot").replace("    may_delegate_to: [lookup-bot]\n", ""),
            f'9: id of {BOT_IS}: "invoice-bot" is already {BOT_IS}; choose another',
            id="two agents of one id",
        ),
    ],
)
def test_refuses_with_place_and_mend(text: str, fault: str) -> None:
    assert agents(text)[1] == [f"agents.yaml:{fault}"]


def test_sponsors_are_not_checked_while_the_people_are_unknown() -> None:
    assert agents(changed("sponsor: ada", "sponsor: aba"), people=None)[1] == []


@given(st.text(max_size=30))
def test_any_value_is_read_or_refused_with_faults(value: str) -> None:
    for place in ("invoice-bot", "ada", "embedded", "[lookup-bot]"):
        agents(BASE.replace(place, json.dumps(value), 1))
