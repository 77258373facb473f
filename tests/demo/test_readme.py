"""README.md and docs/holds.md: every command they show is run, in their order, in a copy as fresh as a clone.

The server and the proxy are real; only the two ports are exchanged for free ones. What the server logged is the proof.
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from clones import ROOT, clone, environment, processes_of, temporary

from proxy.agent.variables import TRUST

pytestmark = pytest.mark.system  # a clone, with an environment of its own

README = (ROOT / "README.md").read_text("utf-8")
HOLDS = (ROOT / "docs" / "holds.md").read_text("utf-8")
RUN_BY_ITSELF = {"make test"}  # it is what runs this
SERVER_PORT, PROXY_PORT = "8000", "8080"  # as the pages have them
DEADLINE_S = 60.0

_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    return [line for block in _BLOCK.findall(text) for line in block.splitlines()]


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@dataclass(kw_only=True)
class Reader:
    """Somebody who follows the pages in a fresh clone, with as many terminals as it takes."""

    home: Path
    temporary: Path
    server_port: str = field(default_factory=free_port)
    proxy_port: str = field(default_factory=free_port)
    typed: set[str] = field(default_factory=set)
    running: list["subprocess.Popen[str]"] = field(default_factory=list)
    output: dict[str, str] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """A page's text with this machine's free ports."""
        return text.replace(SERVER_PORT, self.server_port).replace(PROXY_PORT, self.proxy_port)

    def run(self, command: str, hold: str = "HOLD", *, after: str = "") -> "subprocess.CompletedProcess[str]":
        """Type a command and wait for its end. `after` was typed before in the same shell."""
        self.typed.add(command)
        return subprocess.run(
            ["bash", "-c", f"{after}\n{self.here(command).replace('HOLD', hold)}"],
            cwd=self.home,
            env=environment(TMPDIR=str(self.temporary)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def start(self, command: str, name: str) -> "subprocess.Popen[str]":
        """Type a command in a terminal of its own; what it prints goes to a file."""
        self.typed.add(command)
        with (self.home / f"{name}.out").open("w") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(command)}"],
                cwd=self.home,
                env=environment(TMPDIR=str(self.temporary), PYTHONUNBUFFERED="1"),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.running.append(process)
        return process

    def printed(self, name: str) -> str:
        return (self.home / f"{name}.out").read_text("utf-8")

    def wait_for(self, text: str, name: str) -> None:
        """Until a terminal shows `text`."""
        deadline_s = time.monotonic() + DEADLINE_S
        while text not in self.printed(name):
            assert time.monotonic() < deadline_s, f"{name} did not print {text!r}:\n{self.printed(name)}"
            time.sleep(0.1)

    def served(self) -> list[str]:
        """Method and path of every request that reached the server."""
        return re.findall(r'"([A-Z]+ \S+) HTTP', self.printed("server"))

    def close(self) -> None:
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The six commands, done. What each of them printed is in `output`."""
    with temporary() as folder:
        one = Reader(home=clone(folder / "clone"), temporary=folder / "tmp")
        one.temporary.mkdir()
        try:
            _first_steps(one)
            yield one
        finally:
            one.close()
        assert processes_of(folder) == []


def _first_steps(reader: Reader) -> None:
    (demo,) = commands(section("Two commands"))[:1]
    init, serve, run, agent, release = commands(section("Your own agent, in six commands"))
    show_list, show = commands(section("Held calls"))
    # 1
    done = reader.run(demo)
    assert done.returncode == 0, done.stdout + done.stderr
    reader.output["demo"] = done.stdout
    # 2
    done = reader.run(init)
    assert done.returncode == 0, done.stderr
    settings = reader.home / "mine" / "proxy.yaml"
    assert f"listen: 127.0.0.1:{PROXY_PORT}" in settings.read_text()
    settings.write_text(reader.here(settings.read_text()))  # a free port in place of the usual one
    example = reader.home / "docs" / "first_agent.py"
    example.write_text(reader.here(example.read_text()))
    # 3 and 4
    reader.start(serve, "server")
    reader.wait_for("Serving HTTP on", "server")
    reader.start(run, "proxy")
    reader.wait_for(f"ready on 127.0.0.1:{reader.proxy_port}", "proxy")
    # 5
    working = reader.start(agent, "agent")
    reader.wait_for("held ", "agent")
    reader.output["served while held"] = " ".join(reader.served())
    (hold,) = re.findall(r"hold (\S{24}): mandate.not_covered", reader.printed("agent"))
    reader.output["hold"] = hold
    reader.output["list"] = reader.run(show_list).stdout
    reader.output["show"] = reader.run(show, hold).stdout
    # 6
    done = reader.run(release, hold)
    assert done.returncode == 0, done.stderr
    reader.output["release"] = done.stdout
    assert working.wait(DEADLINE_S) == 0, reader.printed("agent")


def test_from_a_clone_to_ones_own_agent_it_takes_six_commands(reader: Reader) -> None:
    own = commands(section("Your own agent, in six commands"))
    assert len(["make demo", *own]) == 6
    agent = reader.printed("agent").splitlines()
    assert [line.split()[0] for line in agent if not line.startswith(" ")] == ["allowed", "held", "allowed"]
    assert reader.output["served while held"] == "GET /holds.md", "the held call had not reached the server"
    assert reader.served() == ["GET /holds.md", "GET /decisions/0002-layers-not-patches.md"]
    assert reader.output["release"].startswith("released by maria\n")


def test_the_demo_runs_from_make(reader: Reader) -> None:
    assert "steps did what they claim." in reader.output["demo"]


def test_programs_that_cannot_sign_come_through_exec_or_a_session(reader: Reader) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing: apt-get install curl")
    behind, session, curl, python = commands(section("Programs that cannot sign"))
    before = reader.served()
    signed = reader.run(behind)
    assert signed.stdout.startswith("# The wire"), signed
    assert signed.stderr.endswith("intent-proxy: 1 allowed, 0 held, 0 denied\n"), signed
    fetched = reader.run(curl, after=reader.here(session))
    assert fetched.stdout.startswith("# The wire"), fetched
    assert reader.run(python, after=reader.here(session)).stdout == "200\n"
    reader.typed.add(session)
    assert reader.served()[len(before) :] == ["GET /wire.md"] * 3
    shown = reader.run(".venv/bin/intent-proxy audit show -c mine --kind decision --last 3 --json").stdout
    assert shown.count('"verdict": "allow"') == 3, "all came through the proxy"
    names = set(re.findall(r"export (\w+)=", reader.run(session.removeprefix('eval "$(').removesuffix(')"')).stdout))
    table = section("Programs that cannot sign").partition("|---|---|")[2]
    told = set(re.findall(r"`([A-Z_]{6,})`", table))
    assert names - {name.lower() for name in names} >= {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}
    assert {name for name in names if name.isupper()} <= told


def test_an_agent_is_stopped_and_goes_on_and_the_doctor_finds_nothing(reader: Reader) -> None:
    stop, go_on, doctor = commands(section("When something is wrong"))
    agent = ".venv/bin/intent-proxy exec -c mine --agent invoice-bot -q -- curl -s http://localhost:8000/wire.md"
    before = reader.served()
    assert reader.run(stop).returncode == 0
    assert '"code":"agent.quarantined"' in reader.run(agent).stdout
    assert reader.served() == before
    assert reader.run(go_on).returncode == 0
    assert reader.run(agent).stdout.startswith("# The wire")
    done = reader.run(doctor, after=f"unset {' '.join(TRUST)}")  # this machine's own may name no CA of ours
    assert (done.returncode, "FAIL" in done.stdout) == (0, False), done


def test_the_page_on_holds_shows_what_is_printed(reader: Reader) -> None:
    shown = _plain(reader.here(reader.output["show"]))
    for block in re.findall(r"^```text\n(.*?)^```", HOLDS, re.MULTILINE | re.DOTALL):
        for line in filter(None, reader.here(block).splitlines()):
            assert _plain(line) in shown, f"{line}\nis not in\n{shown}"
    assert reader.output["hold"] in reader.output["list"]


def _plain(text: str) -> str:
    """Without what differs from hold to hold: its id and its end."""
    text = re.sub(r"Hold \S{24}", "Hold …", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ( \(in .*?\))?", "…", text)


def test_the_commands_on_holds_do_what_they_say(reader: Reader) -> None:
    show_list, show, release, deny, route, grants, revoke, arrived, not_arrived, *read = commands(HOLDS)
    audit, verify, history, reviewers = read
    session = reader.here(commands(section("Programs that cannot sign"))[1])
    held = []
    for path in ("a/b", "c/d"):
        answer = reader.run(f"curl -s http://localhost:8000/{path}", after=session).stdout
        held += re.findall(r'"id":"(\S{24}?)"', answer)
    listed = reader.run(show_list).stdout
    assert all(each in listed for each in held)
    first, second = held
    assert "What would be sent" in reader.run(show, first).stdout
    assert reader.run(release, first).returncode == 0
    assert reader.run(release, first).returncode == 3, "decided before"
    assert reader.run(deny, second).returncode == 0
    refused = reader.run("curl -s http://localhost:8000/c/d", after=session).stdout
    assert '"code":"hold.denied"' in refused
    assert "not part of the task" in refused
    assert reader.run(release, "x" * 24).returncode == 5, "no such hold"
    place = "http://localhost:8000/decisions/none-of"
    answer = reader.run(f"curl -s {place}-these", after=session).stdout
    (third,) = re.findall(r'"id":"(\S{24}?)"', answer)
    assert reader.run(route, third).returncode == 0
    assert "404" in reader.run(f"curl -s {place}-those", after=session).stdout, "the server has no such page"
    (grant,) = re.findall(r"^([a-z2-7]{24})  in force", reader.run(grants).stdout, re.MULTILINE)
    assert reader.run(revoke.replace("GRANT", grant)).returncode == 0
    reader.typed.add(revoke)
    assert "revoked" in reader.run(grants).stdout
    for resolve in (arrived, not_arrived):
        assert reader.run(resolve, first).returncode == 3, "it is not uncertain"
    assert "approve by maria" in reader.run(audit, first).stdout
    assert reader.run(verify).returncode == 0
    assert first in reader.run(history).stdout
    assert "maria" in reader.run(reviewers).stdout
    assert "GET /a/b" not in reader.served(), "released, but the agent has not sent it again"


def test_every_command_shown_was_run(reader: Reader) -> None:
    """The last test here: the others have typed everything by now."""
    shown = set(commands(README)) | set(commands(HOLDS))
    assert shown - reader.typed == RUN_BY_ITSELF


@pytest.mark.parametrize("page", [README, HOLDS], ids=["README.md", "docs/holds.md"])
def test_links_lead_somewhere(page: str) -> None:
    folder = ROOT if page is README else ROOT / "docs"
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links
    assert [link for link in links if not _leads(folder, *link.partition("#")[::2])] == []


def _leads(folder: Path, page: str, part: str) -> bool:
    """Whether there is such a page, with such a heading where one is named."""
    there = folder / page
    if not part:
        return there.exists()
    headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE) if there.is_file() else []
    return part in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.long
def test_a_real_clone_makes_its_own_environment(tmp_path: Path) -> None:
    """Nothing of this run's environment helps: `make` finds a Python and installs what is pinned."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    done = subprocess.run(
        ["make", "demo"],
        cwd=tmp_path / "clone",
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps did what they claim." in done.stdout


@pytest.mark.long
def test_node_comes_through_a_session(reader: Reader) -> None:
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else "v0"
    if int(version[1:].partition(".")[0]) < 24:
        pytest.skip("Node.js 24 is missing: nvm install 24")
    session = reader.here(commands(section("Programs that cannot sign"))[1])
    script = f"fetch('http://localhost:{reader.server_port}/a/b/c').then(answer => console.log(answer.status))"
    done = reader.run(f'node -e "{script}"', after=session)
    assert done.stdout == "403\n", done
    assert "GET /a/b/c" not in reader.served()
