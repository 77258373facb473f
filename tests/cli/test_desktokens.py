"""`intent-proxy desk tokens`: made, listed and removed where the deployment is; shown once."""

from pathlib import Path

import pytest
from clirun import cli

from proxy.cli.deployment import open_deployment
from proxy.cli.deskplace import desk_tokens
from proxy.review.desk.tokens import Scope


def test_a_token_is_made_used_listed_and_removed(home: Path) -> None:
    assert cli("desk", "tokens", "list").ok().err == "there are no tokens\n"
    made = cli("desk", "tokens", "add", "--as", "ada", "--scope", "read", "--scope", "decide", "--name", "ci")
    text = made.ok().out.strip()
    assert "names ada, may decide read" in made.err and "(in 90 d)" in made.err.replace("89 d 23 h", "90 d")
    (listed,) = cli("desk", "tokens", "list", "--json").ok().json
    assert (listed["person"], listed["scopes"], listed["name"], listed["used"]) == (
        "ada",
        ["decide", "read"],
        "ci",
        None,
    )
    assert text not in cli("desk", "tokens", "list").ok().out
    tokens = desk_tokens(open_deployment(home).settings)
    found = tokens.find(text)
    assert found is not None and found.scopes == {Scope.READ, Scope.DECIDE}
    assert "never" not in cli("desk", "tokens", "list").ok().out
    assert "is removed" in cli("desk", "tokens", "remove", listed["id"]).ok().out
    assert tokens.find(text) is None
    assert cli("desk", "tokens", "remove", listed["id"]).code == 1


def test_a_token_goes_to_a_private_file_on_request(home: Path, tmp_path: Path) -> None:
    ran = cli("desk", "tokens", "add", "--as", "ben", "--scope", "read", "-o", tmp_path / "ben.token", "--json").ok()
    assert "token" not in ran.json and ran.json["person"] == "ben"
    path = tmp_path / "ben.token"
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_text().startswith("ipd_")


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        pytest.param(("--as", "bem", "--scope", "read"), 1, 'did you mean "ben"', id="nobody of that name"),
        pytest.param(("--as", "ben", "--scope", "all"), 2, "scope", id="no such scope"),
        pytest.param(("--as", "ben"), 2, "scope", id="no scope"),
        pytest.param(("--scope", "read"), 2, "--as", id="for nobody"),
        pytest.param(("--as", "ben", "--scope", "read", "--for", "400d"), 1, "366 days", id="for ever"),
    ],
)
def test_no_token_is_made(home: Path, words: tuple[str, ...], code: int, why: str) -> None:
    ran = cli("desk", "tokens", "add", *words)
    assert (ran.code, why in ran.err) == (code, True), ran.err
    assert not (home / "state" / "desk" / "tokens").exists()
