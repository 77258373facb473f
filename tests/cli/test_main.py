"""The program's frame: failures become one line and an exit code, whatever happens, and help teaches."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clirun import PROGRAM, cli, on_terminal, spawn

import proxy.cli.main as program
from proxy.cli import exits, where
from proxy.cli.exits import Exit, exit_for
from proxy.cli.origin import check_origin
from proxy.core.errors import Code, Rejected, Unavailable

GROUPS = {
    "keys": ("new", "show", "prove"),
    "people": ("list", "add"),
    "agents": ("list", "add", "quarantine", "restore"),
    "bundle": ("sign", "verify"),
    "manifest": ("draft", "sign", "renew", "delegate", "show", "verify", "revoke"),
    "kill": ("on", "off"),
    "session": ("new",),
    "holds": ("list", "show", "release", "deny", "watch"),
    "audit": ("show", "verify"),
    "ca": ("export",),
}
COMMANDS = [("init",), ("run",), ("check",), ("explain",), ("exec",), ("sidecar",), ("doctor",)] + [
    (g, c) for g, cs in GROUPS.items() for c in cs
]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(where.ENVIRONMENT, raising=False)
    yield


def failing(monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    """Let the check of the program's origin, which comes first, end in `fault`."""

    def fail() -> None:
        raise fault

    monkeypatch.setattr(program, "check_origin", fail)


def test_the_version_is_that_of_the_distribution() -> None:
    ran = cli("--version").ok()
    assert ran.out.startswith("intent-proxy ")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    ran = cli(*words, "--help").ok()
    assert "Example" in ran.out
    assert f"intent-proxy {' '.join(words)}" in ran.out


def test_the_overview_names_every_command() -> None:
    ran = cli("--help").ok()
    assert all(f" {name} " in ran.out for name in ("init", "run", "demo", "check", "explain", "doctor", *GROUPS))


def test_a_missing_command_is_wrong_usage() -> None:
    assert cli().code == Exit.CANNOT_TELL


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("holds", "lst"), "Did you mean 'list'?", id="a misspelt command"),
        pytest.param(("holds", "list", "--jsn"), "--json", id="a misspelt option"),
        pytest.param(("holds", "show"), "HOLD", id="a missing argument"),
        pytest.param(("run", "--listen", "nowhere"), "127.0.0.1:8080", id="a value of the wrong kind"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(words: tuple[str, ...], said: str) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (Exit.CANNOT_TELL, "")
    assert ran.err.startswith("intent-proxy: ") and said in ran.err
    assert "--help)" in ran.err and ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        pytest.param(Rejected(Code.CONFIG_INVALID, "mend it"), Exit.REFUSED, "mend it", id="bad input"),
        pytest.param(Unavailable(Code.STORE_DOWN, "away"), Exit.UNAVAILABLE, "away", id="a store that is away"),
        pytest.param(Rejected(Code.HOLD_NOT_PERMITTED, "no"), Exit.NOT_PERMITTED, "no", id="not permitted"),
        pytest.param(Rejected(Code.HOLD_UNKNOWN, "none"), Exit.UNKNOWN, "none", id="an unknown hold"),
        pytest.param(Rejected(Code.HOLD_EXPIRED, "late"), Exit.EXPIRED, "late", id="an expired hold"),
        pytest.param(FileNotFoundError(2, "No such file", "x.json"), Exit.REFUSED, "x.json: No such file", id="a file"),
        pytest.param(KeyboardInterrupt(), Exit.INTERRUPTED, "stopped", id="Ctrl-C"),
        pytest.param(
            ModuleNotFoundError("x", name="yaml"), Exit.CANNOT_TELL, "install intent-proxy[server]", id="an extra"
        ),
        pytest.param(
            ModuleNotFoundError("x", name="proxy.cli.hold"), Exit.BROKEN, "ModuleNotFoundError", id="a part of our own"
        ),
        pytest.param(ValueError("with a \x1b secret"), Exit.BROKEN, "ValueError at main.py:", id="our own error"),
    ],
)
def test_a_failure_is_a_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, fault: BaseException, code: Exit, text: str
) -> None:
    failing(monkeypatch, fault)
    ran = cli("holds", "list")
    assert (ran.code, ran.out) == (code, "")
    assert text in ran.err and "Traceback" not in ran.err and "secret" not in ran.err
    failing(monkeypatch, fault)
    ran = cli("holds", "list", "--json")
    assert (ran.code, ran.out) == (code, "")
    error = json.loads(ran.err)["error"]
    assert set(error) == {"code", "message"} and text in error["message"]


def test_every_failure_has_an_exit_code_and_success_has_none_of_them() -> None:
    assert len({int(code) for code in Exit}) == len(Exit)
    assert {exit_for(Rejected(code, "")) for code in Code} == {
        Exit.REFUSED,
        Exit.NOT_PERMITTED,
        Exit.UNKNOWN,
        Exit.EXPIRED,
    }
    assert exits.Exit.OK == 0


def test_faults_of_several_lines_stay_apart_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Rejected(Code.CONFIG_INVALID, "a.yaml:1: \x1b[2J\nb.yaml:2: two"))
    assert cli("check").err == "intent-proxy: a.yaml:1: \\x1b[2J\nb.yaml:2: two\n"


def test_a_pipe_that_nobody_reads_any_more_is_no_failure() -> None:
    words = " ".join([*PROGRAM, "--help"])
    done = subprocess.run(["sh", "-c", f"{words} | true; echo"], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_without_a_terminal_there_are_no_colours_and_no_color_is_obeyed_on_one(tmp_path: Path) -> None:
    assert "\x1b" not in cli("holds", "--help").out
    assert "\x1b" in on_terminal("keys", "--help")
    assert "\x1b[3" not in on_terminal("keys", "--help", env={"NO_COLOR": "1"})


def test_a_light_command_imports_nothing_heavy() -> None:
    code = (
        "import sys; from proxy.cli.main import main; main(['keys', 'show', 'nothing.pem']); "
        "sys.exit(any(name in sys.modules for name in ('mitmproxy', 'redis', 'yaml')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "behind"),
    [
        pytest.param(
            ["holds", "release", "-bcdefghijklmnopqrst", "--as", "x"], True, id="an id that begins with a dash"
        ),
        pytest.param(["holds", "release", "abcdefghijklmnopqrst", "--as", "x"], False, id="any other id"),
        pytest.param(["keys", "show", "-bcdefghijklmnopqrst"], False, id="another command"),
        pytest.param(["holds", "release", "--", "-bcdefghijklmnopqrst"], False, id="said by the caller"),
    ],
)
def test_an_id_that_begins_with_a_dash_is_not_taken_for_an_option(words: list[str], behind: bool) -> None:
    expected = [*(word for word in words if word[:2] != "-b"), "--", words[2]] if behind else words
    assert program._ids_last(words) == expected


# --- where things come from ------------------------------------------------------------------------------------------


def test_the_packages_are_our_own() -> None:
    check_origin()


def test_an_intruder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="must be intent-proxy's own, in") as fault:
        check_origin(tmp_path)
    assert fault.value.code is Code.CONFIG_INVALID


def test_a_package_written_over_ours_is_named_by_the_program_itself(tmp_path: Path) -> None:
    """Another distribution's `addons` comes first on the path."""
    intruder = tmp_path / "addons"
    intruder.mkdir()
    (intruder / "__init__.py").write_text("version = 1\n")
    ran = spawn("--version", env={"PYTHONPATH": str(tmp_path)})
    assert ran.code == Exit.REFUSED
    assert ran.err.startswith("intent-proxy: the package 'addons' must be intent-proxy's own")
    assert str(intruder) in ran.err
    (intruder / "__init__.py").unlink()
    intruder.rmdir()
    spawn("--version", env={"PYTHONPATH": str(tmp_path)}).ok()


def test_the_deployment_is_found_by_option_then_environment_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, environment = tmp_path / "a", tmp_path / "b"
    option.mkdir()
    environment.mkdir()
    assert where.find_config(None) == tmp_path / "proxy.yaml"
    monkeypatch.setenv(where.ENVIRONMENT, str(environment))
    assert where.find_config(None) == environment / "proxy.yaml"
    assert where.find_config(option / "other.yaml") == option / "other.yaml"
    for words in (("check", "-c", option), ("--config", option, "check")):
        assert f"{option / 'proxy.yaml'}: there is no such file" in cli(*words).out
    assert f"{environment / 'proxy.yaml'}: there is no such file" in cli("check").out
