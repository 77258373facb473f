"""`intent-proxy exec`: the program's signals, terminal, variables and exit code are its own; no proxy is needed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import identities
import pytest
from certs import Authority
from clirun import PROGRAM, cli, spawn

from proxy.agent.keyfile import save_key
from proxy.agent.sidecar.environment import variables

TRUSTING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "DENO_CERT",
)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "bot.jws").write_text(identities.root(identities.draft(now=datetime.now(UTC))))
    save_key(folder / "bot.pem", identities.key(identities.AGENT))
    files = ["--manifest", folder / "bot.jws", "--key", folder / "bot.pem", "--ca", Authority().write(folder)]
    return [str(word) for word in (*files, "--proxy", "http://127.0.0.1:9")]


def python(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", text]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        pytest.param(python("raise SystemExit(3)"), 3, id="its own"),
        pytest.param(["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL, id="128 and the signal that ended it"),
        pytest.param(["no-such-program"], 127, id="127 when there is none"),
        pytest.param(["/etc/passwd"], 126, id="126 when it cannot be run"),
    ],
)
def test_the_exit_code(options: list[str], program: list[str], code: int) -> None:
    ran = spawn("exec", *options, "--", *program)
    assert (ran.code, ran.out) == (code, "")
    assert (f"intent-proxy: {program[0]}: " in ran.err) is (code in (126, 127)), ran.err


def test_the_program_alone_has_the_variables(options: list[str]) -> None:
    """What was inherited of them is replaced: nothing goes around the proxy by accident."""
    before = dict(os.environ)
    inherited = {"NO_PROXY": "erp.example", "no_proxy": "*", "https_proxy": "http://192.0.2.1:1"}
    read = "import json, os; v = dict(os.environ); v['trust'] = open(v['SSL_CERT_FILE']).read(); print(json.dumps(v))"
    ran = spawn("exec", *options, "--", *python(read), "--json", "-c", "--help", env=inherited).ok()
    found = json.loads(ran.out)
    proxies = {found[name] for each in ("http_proxy", "https_proxy") for name in (each, each.upper())}
    assert len(proxies) == 1 and proxies.pop().startswith("http://agent:")
    assert found["NO_PROXY"] == found["no_proxy"] == ""
    assert len({found[name] for name in (*TRUSTING, "AWS_CA_BUNDLE")}) == 1
    assert found["NODE_USE_ENV_PROXY"] == "1"
    assert found["trust"].count("BEGIN CERTIFICATE") == 2  # the sidecar's own, and the proxy's
    assert not Path(found["SSL_CERT_FILE"]).exists()  # it lives as long as the program
    assert dict(os.environ) == before
    assert ran.err == ""


def test_who_names_hosts_to_be_called_directly_gets_them() -> None:
    found = variables(proxy_url="http://127.0.0.1:1", trust=Path("x"), no_proxy="localhost,10.0.0.0/8")
    assert found["NO_PROXY"] == found["no_proxy"] == "localhost,10.0.0.0/8"


@contextmanager
def started(options: Sequence[str], program: str, **how: object) -> Iterator["subprocess.Popen[str]"]:
    """`exec` with a program that has said "ready"."""
    command = [*PROGRAM, "exec", *options, "--", *python(program)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, **how)  # type: ignore[call-overload]
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


TELLING = """
import signal, sys, time
def tell(number, frame):
    print("got", signal.Signals(number).name)
    raise SystemExit(7)
for each in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(each, tell)
print("ready")
time.sleep(30)
"""


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1"])
def test_signals_are_passed_on(options: list[str], name: str) -> None:
    with started(options, TELLING) as process:
        process.send_signal(signal.Signals[name])
        assert process.stdout is not None
        assert process.stdout.read() == f"got {name}\n"
        assert process.wait(20) == 7


def test_what_was_ignored_stays_so_as_under_nohup(options: list[str]) -> None:
    told = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    command = [*PROGRAM, "exec", *options, "--", *python(told)]
    done = subprocess.run(["nohup", *command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


COUNTING = """
import os, signal, time
got = []
signal.signal(signal.SIGINT, lambda *_: got.append(1))
print("ready", flush=True)
until = time.monotonic() + 20
while not got and time.monotonic() < until:
    signal.sigtimedwait([signal.SIGUSR1], 0.05)
signal.sigtimedwait([signal.SIGUSR1], 0.5)  # a second one would come now
print("interrupted", len(got), "times", flush=True)
"""


def test_a_terminals_interrupt_reaches_the_program_once(options: list[str]) -> None:
    """It is sent to the whole process group, us among them, who must not pass it on."""
    ours, theirs = os.openpty()
    command = [*PROGRAM, "exec", *options, "--", *python(COUNTING)]
    process = subprocess.Popen(["setsid", "--ctty", "--wait", *command], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        deadline = time.monotonic() + 30
        while b"times" not in said and time.monotonic() < deadline:
            said += os.read(ours, 4096)
            if b"ready" in said and b"^C" not in said:
                os.write(ours, b"\x03")
                while b"^C" not in said:
                    said += os.read(ours, 4096)
    finally:
        process.wait(20)
        os.close(ours)
    assert b"interrupted 1 times" in said
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("exec", "--", "true"), "proxy.yaml", id="neither a deployment nor files"),
        pytest.param(
            ("exec", "--manifest", "a", "--key", "b", "--proxy", "127.0.0.1:1", "--", "true"), "b", id="no key"
        ),
        pytest.param(
            ("sidecar", "--manifest", "a", "--key", "b", "--proxy", "c", "--listen", "x"),
            "127.0.0.1:3128",
            id="no port",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = cli(*words)
    assert ran.code in (1, 2) and ran.out == ""
    assert ran.err.count("\n") == 1 and said in ran.err


@pytest.mark.parametrize("words", [("exec", "--agent", "robto", "--", "true"), ("session", "new", "--agent", "robto")])
def test_an_agent_that_has_no_manifest_is_told_which_has(home: Path, words: tuple[str, ...]) -> None:
    (home / "manifests").mkdir(exist_ok=True)
    (home / "manifests" / "robot.jws").write_text("x")
    ran = cli(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert 'has no manifest of an agent "robto"; did you mean "robot"?' in ran.err
    (home / "manifests" / "robot.jws").unlink()
    assert "sign one with intent-proxy manifest sign" in cli(*words).err


def test_without_the_servers_libraries_the_files_must_be_named(options: list[str]) -> None:
    """As with the extra `sidecar` alone."""
    without = "import sys; sys.modules['yaml'] = None; from proxy.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for words, code, said in (
        (["exec", *options, "--", "true"], 0, ""),
        (["exec", "--agent", "robot", "--", "true"], 2, "name --manifest, --key and --proxy, all of them"),
        (["run"], 2, "for the rest install intent-proxy[server]"),
    ):
        command = [sys.executable, "-c", without, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code and said in done.stderr and done.stderr.count("\n") <= 1, done


def test_a_manifest_that_is_over_runs_nothing(options: list[str], tmp_path: Path) -> None:
    old = tmp_path / "old.jws"
    draft = identities.draft(now=datetime(2020, 1, 1, tzinfo=UTC))
    old.write_text(identities.root(draft))
    words = [str(old) if word.endswith("bot.jws") else word for word in options]
    ran = spawn("exec", *words, "--", "touch", tmp_path / "ran")
    assert ran.code == 1 and "ask its sponsor to renew it" in ran.err
    assert not (tmp_path / "ran").exists()


def test_it_needs_nothing_of_the_servers(options: list[str]) -> None:
    """The extra `sidecar` is h11, typer and rich; typer takes pydantic where it finds it."""
    code = f"""
import sys
from proxy.cli.main import main
status = main(["exec", *{options!r}, "--", "true"])
heavy = {{"mitmproxy", "redis", "yaml", "idna", "publicsuffixlist", "certifi"}} & set(sys.modules)
sys.exit(status or repr(heavy) if heavy else status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_program_may_run_as_somebody_who_cannot_read_the_key(options: list[str]) -> None:
    key = options[options.index("--key") + 1]
    told = f'id -un; echo "$USER"; head -n 1 "$SSL_CERT_FILE"; cat "{key}" 2>/dev/null || echo no key'
    ran = spawn("exec", *options, "--user", "nobody", "--", "sh", "-c", told).ok()
    assert ran.out.split("\n")[:4] == ["nobody", "nobody", "-----BEGIN CERTIFICATE-----", "no key"]


def test_a_user_that_is_not_there_runs_nothing(options: list[str]) -> None:
    ran = spawn("exec", *options, "--user", "no-such-user", "--", "true")
    assert ran.code == 1 and "there is no user 'no-such-user'" in ran.err
