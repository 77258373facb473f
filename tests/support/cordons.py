"""Agents whose only way out is the real proxy, under a uid of its own, behind the real rules; a gateway or a sidecar.

    with cordon("gateway") as it:
        it.curl("https://erp.example/v1/invoices/7")        # as the agent, with no proxy settings: its status
        with it.evil.watch() as seen:                       # a host that nobody may reach
            ...
            it.ring()
            assert seen.until(BELL) == []

`world` holds the origins (80 and 443) and the resolver that the proxy asks; `evil` would answer anything. Needs root.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import identities
from certs import Authority
from houses import ROOT, House, house
from nodes import wait_for
from origins import Origin
from valkeys import Valkey
from walled import Host, Town, apply, walled

from proxy.core.manifest import parse_manifest
from proxy.registry import names_of
from proxy.stores.redis_control import RedisMandates

PROXY, AGENT, OTHER = 10001, 20001, 20002
EXPLICIT, REDIS, DESK, BELL = 8080, 6379, 8090, 7007
GOOD, BAD = {4: "10.77.2.2", 6: "fd77:2::2"}, {4: "10.77.3.2", 6: "fd77:3::2"}
NAMES = {"erp.example": GOOD[4], "evil.example": BAD[4], "dns.example": BAD[4]}

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    description: Read and file supplier invoices
    risk: routine
    proof: source
    hosts: [erp.example]
    schemes: [http, https]
    ports: [80, 443]
    addresses: [10.77.2.0/24]
    operations:
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{id}
  - id: payments
    description: Pay what is due
    risk: routine
    proof: source
    hosts: [erp.example]
    schemes: [http, https]
    ports: [80, 443]
    addresses: [10.77.2.0/24]
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments/{id}
"""


class Resolver:
    """The name server that the proxy asks. `asked` is every question it got, whoever sent it."""

    def __init__(self, sock: socket.socket, names: Mapping[str, str] = NAMES) -> None:
        self.asked: list[str] = []
        self._names = names
        self._sock = sock
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                packet, sender = self._sock.recvfrom(2048)
                labels, at = [], 12
                while length := packet[at]:
                    labels.append(packet[at + 1 : at + 1 + length].decode())
                    at += 1 + length
                name, kind = ".".join(labels).lower(), packet[at + 2]
                self.asked.append(name)
                address = self._names.get(name) if kind == 1 else None
                answer = b"" if address is None else b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address)
                head = packet[:2] + (b"\x81\x80" if name in self._names else b"\x81\x83") + b"\0\1"
                count = b"\0\1" if answer else b"\0\0"
                self._sock.sendto(head + count + bytes(4) + packet[12 : at + 5] + answer, sender)


@dataclass(kw_only=True)
class Cordon:
    """One of them, running."""

    kind: str
    town: Town
    agent: Host
    gate: Host  # where the proxy runs; for a sidecar the same
    world: Host
    evil: Host
    house: House
    plain: Origin
    tls: Origin
    resolver: Resolver
    own: dict[int, str]  # the proxy's addresses, as agents see them

    @property
    def ca(self) -> Path:
        return self.house.ca

    # --- the proxy ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start `intent-proxy run` under its own uid, with the resolver of the world."""
        command = [sys.executable, "-m", "proxy.cli.main", "run", "--config", str(self.house.settings.file)]
        words = self._lived_in("10.77.2.2", PROXY, command)
        process = self.gate.inside(
            lambda: subprocess.Popen(
                words,
                cwd=ROOT,
                env={**self.house.environment(), "TEST_NAMES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
        self.house.process = process
        ready = threading.Event()
        threading.Thread(target=self._listen, args=(process, ready), daemon=True).start()
        assert ready.wait(90) and process.poll() is None, "".join(self.house.output)

    def _listen(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.house.output.append(line)
            if "ready on " in line:
                ready.set()
        ready.set()

    def register(self, *clusters: str) -> str:
        """The agent's one mandate, for these clusters or all, in the registry. Returns its token."""
        token = self.house.root(grants=self.house.grants(*clusters))
        manifest = parse_manifest(token)
        for name in names_of(manifest):
            self.house.with_store(
                lambda server, name=name: RedisMandates(server).register(name, manifest.id, token)  # type: ignore[misc]
            )
        return token

    def ring(self) -> None:
        """The twin of everything that is not seen: the proxy itself gets out."""
        assert self.gate.tcp(BAD[4], BELL, user=PROXY) == "reached"

    # --- the agent ---------------------------------------------------------------------------------------------------

    def run(self, *words: str, user: int = AGENT) -> "subprocess.CompletedProcess[str]":
        """A program of the agent's: no capability over the network, no proxy settings, a resolver somewhere outside."""
        return self.agent.run(*self.lived_in(*words, user=user))

    def lived_in(self, *words: str, user: int = AGENT) -> list[str]:
        """That program's whole command, for whoever starts it in the agent's place."""
        # What is installed may lie where only root reads.
        return self._lived_in("9.9.9.9", user, words, SSL_CERT_FILE=self.ca, NODE_EXTRA_CA_CERTS=self.ca)

    def curl(self, *words: str, user: int = AGENT) -> str:
        """The status that curl tells; "000" for none."""
        command = ["curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(self.ca)]
        return self.run(*command, *words, user=user).stdout

    def python(self, text: str, *, user: int = AGENT, within_s: float = 5) -> str:
        """What a few lines of Python print, or the name of what they raise."""
        body = "\n".join(f"    {line}" for line in text.splitlines())
        script = (
            f"import socket, ssl, urllib.request\nsocket.setdefaulttimeout({within_s})\ntry:\n{body}\n"
            "except OSError as fault:\n    print(type(fault).__name__)"
        )
        return self.run(sys.executable, "-c", script, user=user).stdout.strip()

    def _lived_in(self, resolver: str, user: int, words: Sequence[str], **variables: object) -> list[str]:
        """A command as this user, with a resolver of its own."""
        conf = self.house.folder / f"resolv-{resolver}.conf"
        conf.write_text(f"nameserver {resolver}\noptions timeout:2 attempts:1\n")
        given = "".join(f"{name}={shlex.quote(str(value))} " for name, value in variables.items())
        become = (
            f"setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all,+dac_read_search"
            " --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search"
        )
        script = f"mount --bind {conf} /etc/resolv.conf && exec env {given}{become} {shlex.join(words)}"
        return ["unshare", "--mount", "sh", "-c", script]

    # --- what stays --------------------------------------------------------------------------------------------------

    def codes(self) -> list[object]:
        return [each.get("code") for each in self.house.journal("decision")]

    def journaled(self, code: str, since: int) -> None:
        """Wait until a decision with this code is in the journal, after so many lines."""
        wait_for(lambda: code in self.codes()[since:], f"{code}; there is {self.codes()[since:]}")


def _set(house: House, *, explicit: str, transparent: Sequence[str]) -> None:
    """The settings that differ by kind; the proxy's files are its own."""
    text = house.settings.file.read_text().replace("listen: 127.0.0.1:0", f"listen: {explicit}:{EXPLICIT}")
    ports = [", ".join(f'"{address}:{port}"' for address in transparent) for port in (8444, 5353)]
    text += f"transparent: {{listen: [{ports[0]}], dns: {{listen: [{ports[1]}]}}}}\n"
    house.settings.file.write_text(text)
    for path in (house.folder, *house.folder.rglob("*")):
        os.chown(path, PROXY, PROXY)


@contextmanager
def cordon(kind: str) -> Iterator[Cordon]:
    """Build one, start it, and set the rules."""
    with ExitStack() as ends:
        town = ends.enter_context(walled())
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="cordon-")))
        folder.chmod(0o755)  # pytest's own folder is root's alone
        agent, gate, world, evil = _hosts(town, kind)
        authority = Authority()
        leaf = authority.server("erp.example", "evil.example", "dns.example")
        plain, tls = (
            ends.enter_context(world.inside(lambda port=port, tls=tls: Origin(host=GOOD[4], port=port, tls=tls)))
            for port, tls in ((80, None), (443, leaf))
        )
        asked = world.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        ends.callback(asked.close)
        asked.bind((GOOD[4], 53))
        evil.stand(4444, 53, 443, 80, 22, 853, BELL, user=0)
        store = Valkey(port=str(REDIS), bind="0.0.0.0 ::", protected_mode="no")
        gate.inside(store.start)
        ends.callback(shutil.rmtree, store.directory, ignore_errors=True)
        ends.callback(store.kill)
        store.age_epoch()
        settings = f"""\
upstream_cas: [{authority.write(folder)}]
redis_url: redis://127.0.0.1:{REDIS}
desk: {{listen: 127.0.0.1:{DESK}}}
"""
        source = {identities.AGENT: "net1 10.77.1.1" if kind == "gateway" else "lo 127.0.0.1"}
        house_at = folder / "house"
        running = ends.enter_context(house(house_at, clusters=CLUSTERS, extra=settings, start=False, source=source))
        # The rules keep us from the port, too.
        running.settings = running.settings.model_copy(update={"redis_url": store.url})
        own = {4: "10.77.1.2", 6: "fd77:1::2"} if kind == "gateway" else {4: "127.0.0.1", 6: "::1"}
        _set(running, explicit=own[4], transparent=[own[4], f"[{own[6]}]"])
        it = Cordon(
            kind=kind,
            town=town,
            agent=agent,
            gate=gate,
            world=world,
            evil=evil,
            house=running,
            plain=plain,
            tls=tls,
            resolver=Resolver(asked),
            own=own,
        )
        words = ("--from", "net1") if kind == "gateway" else ("--closed-port", str(REDIS))
        apply(gate, kind, "--uid", str(PROXY), "--explicit-port", str(EXPLICIT), *words)
        it.start()
        yield it


def _hosts(town: Town, kind: str) -> tuple[Host, Host, Host, Host]:
    world, evil = town.host("world"), town.host("xevil")
    if kind == "gateway":
        agent, gate = town.host("agent"), town.host("gate")
        town.wire(agent, gate, 1)
        agent.reach(gate, 1)
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            gate.set(switch, 1)  # the rules hold without its being off
    else:
        agent = gate = town.host("pod")
    town.wire(gate, world, 2)
    town.wire(gate, evil, 3)
    gate.reach(world, 2)
    world.reach(gate, 2)
    evil.reach(gate, 3)
    return agent, gate, world, evil
