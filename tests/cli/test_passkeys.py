"""Passkeys of people: enrolled and removed in people.yaml, and not a byte of the rest changed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from authenticators import authenticator
from clirun import cli

from proxy.cli.deployment import open_deployment
from proxy.cli.nested import add_passkey, remove_passkey
from proxy.core.errors import Code, Rejected
from proxy.core.model import Passkey
from proxy.policy.passkeys import passkey_line
from proxy.policy.sources import parse, read_sources

STICK = replace(authenticator("ada").passkey, name="blue stick")
PHONE = replace(authenticator("phone", alg="Ed25519").passkey, name='Zoë: "phone"')


def passkeys(home: Path, owner: str = "ada") -> tuple[Passkey, ...]:
    settings = open_deployment(home).settings
    return parse(read_sources(settings), operators=settings.operators).people[owner].passkeys


def test_a_passkey_is_enrolled_and_removed_and_the_file_is_as_it_was(home: Path) -> None:
    path, deployment = home / "people.yaml", open_deployment(home)
    before = path.read_text()
    assert add_passkey(deployment, "ada", STICK) == path
    once = path.read_text()
    add_passkey(deployment, "ada", PHONE)
    assert passkeys(home) == (STICK, PHONE)
    assert passkeys(home, "ben") == ()
    remove_passkey(deployment, "ada", PHONE.name)
    assert path.read_text() == once
    remove_passkey(deployment, "ada", STICK.name)
    assert path.read_text() == before


HEAD = "version: 1\ndesk: {keys: [], origins: ['http://localhost:8090']}\n"
PERSON = "  - id: ada\n    name: A\n    role: R\n    certified_until: 2030-01-01\n"
BEN = PERSON.replace("ada", "ben")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{HEAD}people:\n{PERSON}", id="nobody has one"),
        pytest.param(f"{HEAD}people:\n{PERSON}".rstrip(), id="no final newline"),
        pytest.param(f"{HEAD}people:\n{PERSON}    passkeys: [] # none yet\n    keys: []\n", id="an empty list"),
        pytest.param(f"{HEAD}people:\n{PERSON}    passkeys:\n    - {passkey_line(PHONE)}\n# end\n", id="no indent"),
        pytest.param(
            f"{HEAD}people:\n{PERSON}    passkeys:\n      - {passkey_line(PHONE)}\n\n    deputy: ben\n  # his:\n{BEN}",
            id="something follows",
        ),
    ],
)
def test_a_passkey_comes_last_however_the_file_is_written(home: Path, text: str) -> None:
    path, deployment = home / "people.yaml", open_deployment(home)
    (home / "agents.yaml").write_text("version: 1\nagents: []\n")
    path.write_text(text)
    had = passkeys(home)
    add_passkey(deployment, "ada", STICK)
    assert passkeys(home) == (*had, STICK)
    assert set(text.splitlines()) - {"    passkeys: [] # none yet"} <= set(path.read_text().splitlines())
    remove_passkey(deployment, "ada", STICK.name)
    assert passkeys(home) == had


@pytest.mark.parametrize(
    ("owner", "passkey", "told"),
    [
        pytest.param("bob", STICK, 'there is no person "bob"', id="nobody"),
        pytest.param("ada", replace(STICK, rp_id="evil.example"), "the desk's origins are", id="another domain"),
        pytest.param("ada", replace(STICK, name="two\nlines"), "one line", id="a name on two lines"),
    ],
)
def test_what_would_be_of_no_use_is_not_enrolled(home: Path, owner: str, passkey: Passkey, told: str) -> None:
    before = (home / "people.yaml").read_bytes()
    with pytest.raises(Rejected) as refused:
        add_passkey(open_deployment(home), owner, passkey)
    assert (refused.value.code, told in refused.value.detail) == (Code.CONFIG_INVALID, True)
    assert (home / "people.yaml").read_bytes() == before


def test_one_passkey_is_one_persons(home: Path) -> None:
    add_passkey(open_deployment(home), "ada", STICK)
    for owner in ("ada", "ben"):
        with pytest.raises(Rejected, match="already"):
            add_passkey(open_deployment(home), owner, replace(STICK, name="again"))
    assert (passkeys(home), passkeys(home, "ben")) == ((STICK,), ())


@pytest.mark.parametrize(
    "person",
    [
        pytest.param("{id: ada, name: A, role: R, certified_until: 2030-01-01}", id="a person on one line"),
        pytest.param(
            f"{{id: ada, name: A, role: R, certified_until: 2030-01-01, passkeys: [{passkey_line(PHONE)}]}}",
            id="a person with a passkey on one line",
        ),
        pytest.param(
            f"{PERSON.removeprefix('  - ')}    passkeys: [{passkey_line(PHONE)}]",
            id="passkeys on one line",
        ),
    ],
)
def test_what_is_written_otherwise_is_left_to_an_editor(home: Path, person: str) -> None:
    (home / "agents.yaml").write_text("version: 1\nagents: []\n")
    text = f"{HEAD}people:\n  - {person}\n"
    (home / "people.yaml").write_text(text)
    acts = [lambda: add_passkey(open_deployment(home), "ada", STICK)]
    if passkeys(home):
        acts.append(lambda: remove_passkey(open_deployment(home), "ada", PHONE.name))
    for act in acts:
        with pytest.raises(Rejected, match="with an editor"):
            act()
        assert (home / "people.yaml").read_text() == text


def test_a_passkey_that_is_not_there_is_not_removed(home: Path) -> None:
    add_passkey(open_deployment(home), "ada", STICK)
    with pytest.raises(Rejected, match='ada has no passkey "blue stik"; did you mean "blue stick"'):
        remove_passkey(open_deployment(home), "ada", "blue stik")


def refused(told: str, *words: str | Path) -> None:
    ran = cli("people", "passkey", *words)
    assert (ran.code, told in ran.err) == (1, True), ran


def test_the_whole_of_it_by_command(home: Path, tmp_path: Path) -> None:
    handed_over = tmp_path / "ada.passkey"
    handed_over.write_text(passkey_line(STICK) + "\n")
    added = cli("people", "passkey", "add", "ada", handed_over)
    assert STICK.key.kid in added.ok().out
    assert "bundle sign" in added.err
    listed = json.loads(cli("people", "passkey", "list", "--json").ok().out)
    assert [(each["person"], each["name"], each["fingerprint"]) for each in listed] == [
        ("ada", "blue stick", STICK.key.kid)
    ]
    assert "blue stick" in cli("people", "list").ok().out
    assert json.loads(cli("people", "passkey", "list", "ben", "--json").ok().out) == []
    assert cli("bundle", "verify").code == 1
    cli("bundle", "sign").ok()
    refused("already", "add", "ben", handed_over, "--name", "mine")
    cli("people", "passkey", "remove", "ada", "blue stick").ok()
    renamed = cli("people", "passkey", "add", "ben", handed_over, "--name", "mine", "--json")
    assert json.loads(renamed.ok().out)["name"] == "mine"
    handed_over.write_bytes(b"\xff")
    refused("UTF-8", "add", "ada", handed_over)
    refused("cannot be read", "add", "ada", tmp_path / "none")
