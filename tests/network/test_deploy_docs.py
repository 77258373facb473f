"""The pages on deployments: every command of each is run as it stands, in its order, on hosts of their own.

Their addresses and interfaces are those of the page. What is not on it is what a reader brings: the world.
"""

import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from bare import bare
from certs import Authority
from cordons import Resolver
from houses import ROOT
from origins import Origin
from walled import Host, Town, walled

pytestmark = pytest.mark.system

ORIGIN = "52.0.0.10"  # public, so no rule of an address is needed; it is nobody's outside these namespaces
_DONE = "--done--"


def blocks(page: str) -> list[tuple[str, str]]:
    """Where each block is run, and its lines."""
    text = (ROOT / "docs" / f"deploy-{page}.md").read_text("utf-8")
    assert not re.search(r"^```sh$", text, re.M), "a block says on which host it is run"
    return re.findall(r"^```sh (proxy|agent)\n(.*?)^```", text, re.M | re.S)


class Shell:
    """Root's shell on a host, into which a reader pastes one block after the other. A command that fails ends it."""

    def __init__(self, host: Host, ends: ExitStack, folder: Path, *, resolver: str) -> None:
        own = ("--pid", "--fork", "--kill-child", "--mount-proc")  # whatever it starts ends with it
        command = bare(0, "sh", "-e", resolver=resolver, privileges="")
        command[2:2] = own
        self._file = folder / f"{host.name}-{id(self)}.sh"
        self._process = host.inside(
            lambda: subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        ends.callback(self._end)
        self._lines: SimpleQueue[str] = SimpleQueue()
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def paste(self, block: str) -> str:
        """What it prints. A proxy that it starts has to be ready."""
        assert self._process.stdin is not None
        self._file.write_text(block)  # sourced, so that no program in it reads what comes after
        self._process.stdin.write(f". {self._file} </dev/null\nprintf '\\n{_DONE}\\n'\n")
        self._process.stdin.flush()
        said = self._until(lambda line: line == f"{_DONE}\n")
        if " run " in block and not any(" ready on " in line for line in said):
            said += self._until(lambda line: " ready on " in line)
        return "".join(said)

    def _until(self, found: Callable[[str], bool]) -> list[str]:
        said: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=60)
            except Empty:
                line = ""
            assert line, "".join([*self.said, *said])
            if found(line):
                return said
            said.append(line)
            self.said.append(line)

    def _end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()


class Reader:
    """Somebody with a page, the hosts it speaks of, and a world with an origin."""

    def __init__(self, town: Town, ends: ExitStack, page: str, folder: Path) -> None:
        self.page, self.folder = page, folder
        world = town.host("world")
        gate, agent = self._hosts(town, world)
        self.gate, self.agent, self.world = gate, agent, world
        world.must("ip", "addr", "add", f"{ORIGIN}/32", "dev", "lo")
        authority = Authority()
        self.origin_ca = authority.write(folder)
        self.origin = ends.enter_context(
            world.inside(lambda: Origin(host=ORIGIN, port=443, tls=authority.server("erp.example")))
        )
        asked = world.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        ends.callback(asked.close)
        asked.bind((ORIGIN, 53))
        Resolver(asked, {"erp.example": ORIGIN})
        self.shells = {
            "proxy": Shell(gate, ends, folder, resolver=ORIGIN),
            "agent": Shell(agent, ends, folder, resolver="9.9.9.9"),
        }

    def _hosts(self, town: Town, world: Host) -> tuple[Host, Host]:
        gate = town.host("gate")
        town.wire(gate, world, 2)
        gate.reach(world, 2)
        world.reach(gate, 2)
        if self.page == "sidecar":
            gate.must("ip", "link", "set", "net2", "down")
            gate.must("ip", "link", "set", "net2", "name", "eth0")
            gate.must("ip", "link", "set", "eth0", "up")
            gate.must("ip", "-6", "addr", "replace", "fd77:2::1/64", "dev", "eth0", "nodad")
            gate.reach(world, 2)
            return gate, gate
        agent = town.host("agent")
        town.wire(agent, gate, 1)
        for host, end in ((gate, 1), (agent, 7)):
            host.must("ip", "link", "set", "net1", "down")
            host.must("ip", "addr", "flush", "dev", "net1")
            host.must("ip", "link", "set", "net1", "name", "eth1")
            host.must("ip", "link", "set", "eth1", "up")
            host.must("ip", "addr", "add", f"10.0.1.{end}/24", "dev", "eth1")
            host.must("ip", "addr", "add", f"fd00:1::{end}/64", "dev", "eth1", "nodad")
        agent.must("ip", "route", "add", "default", "via", "10.0.1.1")
        agent.must("ip", "-6", "route", "add", "default", "via", "fd00:1::1")
        return gate, agent

    def follow(self) -> str:
        """The whole page. What the last block prints is the agent's answer."""
        said = ""
        for where, block in blocks(self.page):
            text = block.replace("/srv/", f"{self.folder}/")
            text = text.replace("--yes", f"--upstream-ca {self.origin_ca} --yes") if " init " in text else text
            if where == "agent":
                self._carry()
            said = self.shells[where].paste(text)
        return said

    def _carry(self) -> None:
        """The files that the page says are on the agent's host."""
        to, shop = self.folder / "agent", self.folder / "intent-proxy" / "shop"
        if to.exists():
            return
        to.mkdir()
        for name in ("state/ca/ca.pem", "manifests/invoice-bot.jws", "keys/invoice-bot.pem"):
            copy = shutil.copy(shop / name, to)
            shutil.chown(copy, 20001, 20001)


@pytest.fixture
def town() -> Iterator[tuple[Town, ExitStack]]:
    with walled() as made, ExitStack() as ends:
        yield made, ends


@pytest.mark.parametrize("page", ["explicit", "gateway", "sidecar"])
def test_the_page_can_be_followed(town: tuple[Town, ExitStack], page: str) -> None:
    made, ends = town
    folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="page-")))
    folder.chmod(0o755)  # pytest's own is root's alone
    reader = Reader(made, ends, page, folder)
    said = reader.follow()
    assert [each.target for each in reader.origin.since(()).requests] == ["/v1/invoices/7"], said
    told = "".join(reader.shells["agent"].said)
    assert "FAIL" not in told and "\n?" not in told
    twin = shlex.join(["curl", "-sS", "-m", "5", "--noproxy", "*", "-k", f"https://{ORIGIN}/v1/invoices/7"])
    reader.shells["agent"].paste(f"if $A {twin}; then exit 9; fi")
    assert len(reader.origin.since(()).requests) == 1
