"""`keys`, `people`, `agents add|list`, `bundle`, `check` and `ca`: the commands about what an operator signs."""

import json
import ssl
from datetime import timedelta
from pathlib import Path

import identities
import pytest
from clirun import cli

from proxy.agent.keyfile import load_key, save_key
from proxy.cli.possession import prove_possession, read_possession
from proxy.core.encoding import parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import from_jwk, jwk

NOW = identities.NOW


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_a_new_key_is_its_owners_alone_and_its_public_half_is_printed(tmp_path: Path, alg: str) -> None:
    path = tmp_path / "robin.pem"
    ran = cli("keys", "new", path, "--alg", alg).ok()
    key = load_key(path).public
    assert key.alg == alg
    printed = parse_json(ran.out.encode(), code=Code.CONFIG_INVALID, what="it")
    assert from_jwk(printed, code=Code.CONFIG_INVALID, field="it") == key
    assert ran.err == f"{alg} key, thumbprint {key.kid}\n"
    assert cli("keys", "show", path).out == ran.out
    assert cli("keys", "show", path, "--json").json == {
        "file": str(path),
        "kid": key.kid,
        "alg": alg,
        "jwk": jwk(key),
    }


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "robin.pem"
    cli("keys", "new", path).ok()
    before = path.read_bytes()
    ran = cli("keys", "new", path)
    assert (ran.code, "already exists" in ran.err, path.read_bytes()) == (1, True, before)


def test_an_unknown_algorithm_is_refused(tmp_path: Path) -> None:
    ran = cli("keys", "new", tmp_path / "x.pem", "--alg", "RS256")
    assert (ran.code, "Ed25519 or ES256" in ran.err, list(tmp_path.iterdir())) == (1, True, [])


# --- people and agents -----------------------------------------------------------------------------------------------


def test_people_are_listed(home: Path) -> None:
    listed = cli("people", "list", "--json").ok().json
    assert [(person["id"], person["deputy"]) for person in listed] == [("ada", "ben"), ("ben", None)]
    assert "Ada Example" in cli("people", "list").ok().out


def test_a_person_is_added_and_counts_once_an_operator_signed(home: Path, tmp_path: Path) -> None:
    cli("keys", "new", tmp_path / "robin.pem").ok()
    (tmp_path / "robin.jwk").write_text(cli("keys", "show", tmp_path / "robin.pem").out)
    words = ("people", "add", "robin", "--name", "Robin Lee", "--role", "Auditor", "--key", tmp_path / "robin.jwk")
    ran = cli(*words).ok()
    assert "next: intent-proxy bundle sign" in ran.err
    assert "people.yaml: was changed after version 1 was signed" in cli("bundle", "verify").err
    cli("bundle", "sign").ok()
    cli("bundle", "verify").ok()
    assert [person["id"] for person in cli("people", "list", "--json").json] == ["ada", "ben", "robin"]
    again = cli(*words)
    assert (again.code, "already" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param('{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}', "private key", id="a private JWK"),
        pytest.param("{", "strict JSON", id="no JSON"),
        pytest.param("{}", "must be a public JWK", id="no key"),
    ],
)
def test_what_is_no_public_key_is_refused(home: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "k.jwk").write_text(text)
    ran = cli("people", "add", "robin", "--name", "R", "--role", "R", "--key", tmp_path / "k.jwk")
    assert (ran.code, said in ran.err) == (1, True)
    assert "robin" not in (home / "people.yaml").read_text()


def test_an_agent_is_added_when_it_proves_its_key_here_or_elsewhere(home: Path, tmp_path: Path) -> None:
    save_key(tmp_path / "a.pem", identities.key("a"))
    save_key(tmp_path / "b.pem", identities.key("b"))
    (tmp_path / "b.proof").write_text(
        cli("keys", "prove", tmp_path / "b.pem", "--agent", "b-bot", "--deployment", "mine").ok().out
    )
    common = ("--sponsor", "ada", "--owner", "logistics")
    cli("agents", "add", "a-bot", *common, "--key", tmp_path / "a.pem", "--class", "embedded").ok()
    cli("agents", "add", "b-bot", *common, "--proof", tmp_path / "b.proof", "--may-delegate-to", "a-bot").ok()
    listed = {agent["id"]: agent for agent in cli("agents", "list", "--json").ok().json}
    assert set(listed) == {"robot", "a-bot", "b-bot"}
    assert (listed["a-bot"]["must_declare"], listed["b-bot"]["must_declare"]) == (True, False)
    assert listed["b-bot"]["may_delegate_to"] == ["a-bot"]
    assert listed["b-bot"]["keys"] == [{"kid": identities.key("b").public.kid, "alg": "Ed25519"}]
    assert "b-bot" in cli("agents", "list").ok().out
    cli("bundle", "sign").ok()


@pytest.mark.parametrize(
    ("agent", "deployment", "said"),
    [
        pytest.param("other-bot", "mine", "the proof's sub must be b-bot", id="for another agent"),
        pytest.param("b-bot", "theirs", "the proof's aud must be mine", id="for another deployment"),
    ],
)
def test_a_proof_for_something_else_adds_nobody(
    home: Path, tmp_path: Path, agent: str, deployment: str, said: str
) -> None:
    save_key(tmp_path / "b.pem", identities.key("b"))
    proof = cli("keys", "prove", tmp_path / "b.pem", "--agent", agent, "--deployment", deployment).ok().out
    (tmp_path / "b.proof").write_text(proof)
    ran = cli("agents", "add", "b-bot", "--sponsor", "ada", "--owner", "x", "--proof", tmp_path / "b.proof")
    assert (ran.code, said in ran.err) == (1, True)
    assert "b-bot" not in (home / "agents.yaml").read_text()


@pytest.mark.parametrize("words", [(), ("--key", "a.pem", "--proof", "b.proof")], ids=["neither", "both"])
def test_a_key_or_a_proof_is_needed(home: Path, words: tuple[str, ...]) -> None:
    ran = cli("agents", "add", "b-bot", "--sponsor", "ada", "--owner", "x", *words)
    assert (ran.code, "--proof" in ran.err) == (2, True)


def test_a_proof_of_possession_is_read_back_and_ages() -> None:
    key = identities.key("b")
    token = prove_possession(key, agent="b-bot", deployment="mine", now=NOW)

    def read(days: float) -> object:
        later = NOW + timedelta(days=days)
        return read_possession(token, agent="b-bot", deployment="mine", now=later)

    assert read(0) == read(0.99) == key.public
    for days in (1, -0.01):
        with pytest.raises(Rejected, match="within the last day") as fault:
            read(days)
        assert fault.value.code is Code.STATEMENT_INVALID


def test_a_proof_signed_with_another_key_than_it_names_is_refused() -> None:
    token = prove_possession(identities.key("b"), agent="b-bot", deployment="mine", now=NOW)
    forged = identities.resealed(token, identities.key("other"), typ="intent-possession+jwt")
    with pytest.raises(Rejected) as fault:
        read_possession(forged, agent="b-bot", deployment="mine", now=NOW)
    assert fault.value.code is Code.STATEMENT_INVALID
    for broken in ({"cnf": {}}, {"cnf": "x"}, {"iat": "now"}, {"iat": -1}, {"more": 1}):
        token_b = identities.resealed(token, identities.key("b"), typ="intent-possession+jwt", **broken)  # type: ignore[arg-type]
        with pytest.raises(Rejected):
            read_possession(token_b, agent="b-bot", deployment="mine", now=NOW)
    assert read_possession(token, agent="b-bot", deployment="mine", now=NOW) == identities.key("b").public


# --- bundle and check ------------------------------------------------------------------------------------------------


def test_the_bundle_is_signed_one_version_up_and_verified(home: Path) -> None:
    assert cli("bundle", "verify", "--json").ok().json["version"] == 1
    signed = cli("bundle", "sign", "--json").ok().json
    assert (signed["version"], sorted(signed["files"])) == (2, ["agents.yaml", "clusters.yaml", "people.yaml"])
    assert cli("bundle", "verify").ok().out.startswith("verified version 2")
    assert cli("bundle", "sign", "--key", home / "keys" / "operator.pem").ok().out.startswith("signed version 3")


def test_only_an_operators_key_signs_the_bundle(home: Path) -> None:
    ran = cli("bundle", "sign", "--key", home / "keys" / "ada.pem")
    assert (ran.code, "not listed under operators" in ran.err) == (1, True)
    (home / "keys" / "operator.pem").unlink()
    ran = cli("bundle", "sign")
    assert (ran.code, "has no key of an operator" in ran.err) == (1, True)
    assert cli("bundle", "verify").ok().out.startswith("verified version 1")


def test_check_names_every_fault_with_file_and_line(home: Path) -> None:
    clusters = home / "clusters.yaml"
    clusters.write_text(clusters.read_text().replace("methods: [GET]", "method: [GET]").replace("risk:", "risc:", 1))
    ran = cli("check")
    assert (ran.code, ran.err) == (1, "2 to mend\n")
    faults = cli("check", "--json").json
    assert (faults["ok"], len(faults["faults"])) == (False, 2)
    lines = clusters.read_text().splitlines()
    for fault in faults["faults"]:
        assert fault["file"] == "clusters.yaml" and "did you mean" in fault["message"]
        assert ("risc" if "risc" in fault["message"] else "method:") in lines[fault["line"] - 1]
    assert f"clusters.yaml:{faults['faults'][0]['line']}: " in ran.out


def test_check_says_whether_it_is_signed_but_that_is_no_fault(home: Path) -> None:
    assert cli("check").ok().err == "version 1 is signed\n"
    people = home / "people.yaml"
    people.write_text(people.read_text() + "# a remark\n")
    ran = cli("check").ok()
    assert "people.yaml: was changed after version 1 was signed" in ran.err
    assert cli("check", "--json").ok().json["ok"] is True


def test_escapes_in_a_file_are_shown_as_text(home: Path) -> None:
    clusters = home / "clusters.yaml"
    clusters.write_text(clusters.read_text() + '    "\\e[2Jevil": 1\n')
    ran = cli("check")
    assert ran.code == 1
    assert "\x1b" not in ran.out + ran.err and "evil" in ran.out


# --- ca --------------------------------------------------------------------------------------------------------------


def test_the_ca_is_printed_with_its_fingerprint(home: Path, tmp_path: Path) -> None:
    ran = cli("ca", "export").ok()
    ssl.create_default_context(cadata=ran.out)
    out = tmp_path / "ca.pem"
    cli("ca", "export", "--out", out).ok()
    assert out.read_text() == ran.out
    shown = cli("ca", "export", "--json").ok().json
    assert shown["pem"] == ran.out and f"SHA-256 {shown['sha256']}, valid until {shown['not_after']}" in ran.err


def test_a_ca_that_was_never_made_is_not_made_by_looking(home: Path) -> None:
    for path in (home / "state" / "ca").iterdir():
        path.unlink()
    (home / "state" / "ca").rmdir()
    ran = cli("ca", "export")
    assert (ran.code, "made by init" in ran.err) == (1, True)
    assert not (home / "state" / "ca").exists()
    assert json.loads(cli("ca", "export", "--json").err)["error"]["code"] == "config.invalid"
