"""`init`: a deployment that runs as it is, made whole or not at all."""

import os
import shlex
import stat
from pathlib import Path

import pytest
from clirun import cli, on_terminal

from proxy.core.manifest import parse_manifest
from proxy.policy.example import example_files

ALLOW = ("--allow", "GET https://api.example.com/v1/items/{id}")


def modes(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): f"{stat.S_IMODE(path.stat().st_mode):o}"
        for path in sorted(directory.rglob("*"))
    }


def test_everything_is_there_with_private_things_private(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        cli("init", tmp_path / "mine").ok()
    finally:
        os.umask(before)
    found = modes(tmp_path / "mine")
    assert {name: mode for name, mode in found.items() if name.startswith(("keys", "state"))} == {
        "keys": "700",
        "keys/invoice-bot.pem": "600",
        "keys/jonas.pem": "600",
        "keys/maria.pem": "600",
        "keys/operator.pem": "600",
        "state": "700",
        "state/ca": "700",
        "state/ca/ca-key.pem": "600",
        "state/ca/ca.pem": "644",
        "state/desk.key": "600",
        "state/node.key": "600",
        "state/secret.key": "600",
    }
    assert found.keys() >= {"proxy.yaml", "clusters.yaml", "agents.yaml", "people.yaml", "bundle.jws", "pinned"}
    assert {found["proxy.yaml"], found["clusters.yaml"], found["bundle.jws"]} == {"644"}
    assert not list(tmp_path.glob(".mine.*"))
    assert cli("check", "-c", tmp_path / "mine").ok().err.strip() == "version 1 is signed"


def test_the_example_is_the_one_in_config(tmp_path: Path) -> None:
    cli("init", tmp_path / "mine").ok()
    text = (tmp_path / "mine" / "clusters.yaml").read_text()
    assert text == Path("config/clusters.yaml").read_text()
    assert example_files.__module__ == "proxy.policy.example"


@pytest.mark.parametrize("kind", ["a file", "a full directory", "a link to one"])
def test_what_is_there_is_never_touched(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mine"
    if kind == "a file":
        target.write_text("mine")
    else:
        full = tmp_path / "full" if kind == "a link to one" else target
        full.mkdir()
        (full / "mine.txt").write_text("mine")
        if full != target:
            target.symlink_to(full)
    before = modes(tmp_path)
    ran = cli("init", target)
    assert (ran.code, "already there and not empty" in ran.err) == (1, True)
    assert modes(tmp_path) == before


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    cli("init", tmp_path / "mine").ok()


def test_what_cannot_be_made_whole_is_not_made(tmp_path: Path) -> None:
    ran = cli("init", tmp_path / "mine", "--sponsor", "maria", "--reviewer", "maria")
    assert ran.code == 1 and "maria" in ran.err
    ran = cli("init", tmp_path / "mine", "--agent", "No Id")
    assert ran.code == 2
    assert list(tmp_path.iterdir()) == []


def test_with_allow_the_first_manifest_is_signed_and_valid(tmp_path: Path) -> None:
    made = tmp_path / "mine"
    ran = cli("init", made, *ALLOW, "--agent", "robot", "--sponsor", "ada=Ada L.", "--purpose", "Read.", "--yes").ok()
    assert "It permits get-v1-items-id: GET /v1/items/{id} without a query." in ran.out
    manifest = parse_manifest((made / "manifests" / "robot.jws").read_text().strip())
    assert (manifest.sub, manifest.iss, manifest.sponsor_name, manifest.purpose) == ("robot", "ada", "Ada L.", "Read.")
    assert (
        cli("manifest", "verify", made / "manifests" / "robot.jws", "-c", made).ok().out.startswith("valid for robot")
    )
    url = "https://api.example.com/v1/items/17"
    assert cli("explain", "GET", url, "--agent", "robot", "-c", made).code == 0
    assert cli("explain", "POST", url, "--agent", "robot", "-c", made).code != 0


def test_nothing_is_signed_where_nobody_can_be_asked(tmp_path: Path) -> None:
    ran = cli("init", tmp_path / "mine", *ALLOW)
    assert (ran.code, "add --yes" in ran.err) == (2, True)
    assert list(tmp_path.iterdir()) == []
    cli("init", tmp_path / "mine", *ALLOW, "--yes").ok()


def test_json_says_what_was_made(tmp_path: Path) -> None:
    made = cli("init", tmp_path / "mine", *ALLOW, "--yes", "--json").ok().json
    assert (made["agent"], made["clusters"], len(made["next"])) == ("invoice-bot", ["api-example-com-443"], 3)
    assert made["directory"] == str(tmp_path / "mine")
    shown = cli("ca", "export", "-c", tmp_path / "mine", "--json").ok().json
    assert shown["sha256"] == made["ca_sha256"]


def test_settings_that_were_named_are_in_proxy_yaml(tmp_path: Path) -> None:
    ca = tmp_path / "own ca.pem"
    ca.write_text("x")
    cli("init", tmp_path / "mine", "--listen", "127.0.0.1:3128", "--deployment", "edge-7", "--upstream-ca", ca).ok()
    text = (tmp_path / "mine" / "proxy.yaml").read_text()
    assert "listen: 127.0.0.1:3128\n" in text and "deployment: edge-7\n" in text
    assert f'upstream_cas:\n  - "{ca}"\n' in text


def test_the_commands_it_prints_work_as_printed(tmp_path: Path) -> None:
    """Without --allow: sign the bundle, then the manifest, asked on a terminal. (`run` is in test_journey.)"""
    made = cli("init", tmp_path / "my home", "--json").ok().json
    sign_bundle, sign_manifest, run = made["next"]
    assert run == f"intent-proxy run -c {shlex.quote(str(tmp_path / 'my home'))}"
    ran = cli(*shlex.split(sign_bundle)[1:]).ok()
    assert ran.out.startswith("signed version 2")
    said = on_terminal(*shlex.split(sign_manifest)[1:], typed="y\n")
    assert "Sign this as maria?" in said and "signed by maria" in said
    ran = cli("manifest", "verify", tmp_path / "my home" / "manifests" / "invoice-bot.jws", "-c", tmp_path / "my home")
    assert ran.ok().out.startswith("valid for invoice-bot")


def test_a_no_at_the_terminal_signs_nothing(tmp_path: Path) -> None:
    made = cli("init", tmp_path / "mine", "--json").ok().json
    assert "not signed" in on_terminal(*shlex.split(made["next"][1])[1:], typed="n\n")
    assert list((tmp_path / "mine" / "manifests").iterdir()) == []
