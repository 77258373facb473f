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
from clirun import PROGRAM, cli, running, spawn
from origins import Origin, Reply

from proxy.agent.keyfile import save_key
from proxy.agent.sidecar import environment
from proxy.agent.sidecar.environment import lay_out, variables

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
    around = ("no_grpc_proxy", "PIP_PROXY", "npm_config_noproxy", "RCLONE_HTTP_PROXY", "INTENT_PROXY_SECRET")
    inherited = {"NO_PROXY": "erp.example", "no_proxy": "*", "https_proxy": "http://192.0.2.1:1", "KEPT": "x"}
    inherited |= dict.fromkeys(around, "x")
    read = "import json, os; v = dict(os.environ); v['trust'] = open(v['SSL_CERT_FILE']).read(); print(json.dumps(v))"
    ran = spawn("exec", *options, "--", *python(read), "--json", "-c", "--help", env=inherited).ok()
    found = json.loads(ran.out)
    proxies = {found[name] for each in ("http_proxy", "https_proxy") for name in (each, each.upper())}
    assert len(proxies) == 1 and proxies.pop().startswith("http://agent:")
    assert found["NO_PROXY"] == found["no_proxy"] == ""
    assert len({found[name] for name in (*TRUSTING, "AWS_CA_BUNDLE")}) == 1
    assert found["NODE_USE_ENV_PROXY"] == "1"
    assert found["KEPT"] == "x" and not found.keys() & set(around)
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


def test_signals_are_passed_on_where_the_proxy_has_a_name_and_was_asked_for_its_ca(
    options: list[str], tmp_path: Path
) -> None:
    """Its name was looked up in a thread; one that stayed would be sent the signals, and end us without the program."""
    authority = Authority()
    with Origin() as proxy:
        proxy.on("GET", "*", Reply(body=authority.write(tmp_path).read_bytes()))
        named = [f"http://localhost:{proxy.port}" if word.startswith("http://") else word for word in options]
        at = named.index("--ca")
        with started([*named[:at], *named[at + 2 :]], TELLING) as process:
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            assert process.stdout.read() == "got SIGTERM\n"
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


def test_a_configuration_of_wgets_that_is_not_for_all_to_read_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, folder = tmp_path / "wgetrc", tmp_path / "given"
    folder.mkdir()
    monkeypatch.setattr(environment, "_SYSTEM_WGETRC", system)
    for mode, copied in ((0o600, False), (0o644, True)):
        system.write_text("http_password = hush\n")
        system.chmod(mode)
        found = lay_out(folder, b"", proxy_url="http://127.0.0.1:1")
        assert ("hush" in Path(found["SYSTEM_WGETRC"]).read_text()) is copied


# --- sidecar ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        pytest.param(0o604, "acts as the agent", id="others may read it"),
        pytest.param(0o640, "serves who knows the password", id="its group may"),
    ],
)
def test_a_password_that_anybody_can_read_is_none(options: list[str], tmp_path: Path, mode: int, said: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    secret.chmod(mode)
    listening = ["--listen", "127.0.0.1:0", "--secret-file", secret]
    with running("sidecar", *options, *listening, errors=subprocess.STDOUT) as (_, line):
        assert said in line


@pytest.mark.parametrize("linked", [True, False], ids=["a link", "a file of that name"])
def test_what_the_agent_is_to_trust_overwrites_nothing_elsewhere(
    options: list[str], tmp_path: Path, linked: bool
) -> None:
    """The agent, who may write there, could lead it to the key."""
    key, trust = tmp_path / "key.pem", tmp_path / "trust.pem"
    key.write_text("key")
    if linked:
        trust.symlink_to(key)
    else:
        trust.write_text("old, and longer than what comes" * 1000)
    listening = ["--listen", "127.0.0.1:0", "--trust", trust]
    with running("sidecar", *options, *listening, errors=subprocess.STDOUT) as (_, line):
        assert ("ready" in line and "serves every program on this machine" in line) is not linked, line
    assert key.read_text() == "key"
    if not linked:
        assert trust.read_text().startswith("-----BEGIN") and trust.stat().st_mode & 0o777 == 0o644


def test_the_program_is_not_given_what_the_proxy_sets_in_its_place(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called from the operator's shell, it would inherit the very credential that the cluster injects."""
    with (home / "proxy.yaml").open("a") as settings:
        settings.write("\nsecrets:\n  erp: {environment: ERP_TOKEN}\n")
    monkeypatch.setenv("ERP_TOKEN", "canary-7f3a")
    monkeypatch.setenv("ERP_URL", "https://erp.example")
    cli("exec", "--agent", "robot", "--", "sh", "-c", f"env > {tmp_path / 'found'}").ok()
    found = (tmp_path / "found").read_text()
    assert "ERP_URL=https://erp.example" in found
    assert "canary-7f3a" not in found
