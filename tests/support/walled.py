"""Hosts of our own in network namespaces: agents, a proxy's host, and a world that counts every packet it sees.

    with walled() as town:
        agent, gateway, world = town.host("agent"), town.host("gateway"), town.host("world")
        town.wire(agent, gateway, 1)                  # 10.77.1.1 and 10.77.1.2, fd77:1::1 and fd77:1::2
        agent.route_by(gateway, 1)
        with world.watch() as seen: ...

Nothing of this machine's network is touched, and nothing leaves it. Needs root.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from houses import ROOT

LED = Path(__file__).parent / "led_program.py"
_ETH_ALL = 3
# The interpreter may lie where only root reads: whoever runs it becomes another once it is there.
_BECOME = (
    "import encodings.idna, os, socket; os.setgroups([]); os.setresgid(*3 * [{user}]); os.setresuid(*3 * [{user}])"
)
_TELL = "except OSError as fault:\n    print(type(fault).__name__, fault.errno)"
_QUIET = frozenset({133, 134, 135, 136, 143})  # ICMPv6 that every host sends by itself


class Watch:
    """The packets that arrived at a host, as (protocol, source, port they were for; 0 for none)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen: list[tuple[int, str, int]] = []
        self._lock = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                data, (_, kind, direction, *_) = self._sock.recvfrom(65_535)
            except OSError:
                return
            if direction == socket.PACKET_OUTGOING:
                continue
            packet = _packet(kind, data)
            if packet is not None:
                with self._lock:
                    self._seen.append(packet)
                    self._lock.notify_all()

    def until(self, port: int) -> list[tuple[int, str, int]]:
        """What arrived before, and without, the packet for this port, which has been sent or will be."""
        with self._lock:
            assert self._lock.wait_for(lambda: any(each[2] == port for each in self._seen), 10), "it never came"
            return [each for each in self._seen if each[2] != port]


def _packet(kind: int, data: bytes) -> tuple[int, str, int] | None:
    if kind == 0x0800:
        protocol, source, at = data[9], socket.inet_ntop(socket.AF_INET, data[12:16]), (data[0] & 15) * 4
    elif kind == 0x86DD:
        protocol, source, at = data[6], socket.inet_ntop(socket.AF_INET6, data[8:24]), 40
        if protocol in (0, 58) and (protocol == 0 or data[at] in _QUIET):
            return None
    else:
        return None
    return protocol, source, int.from_bytes(data[at + 2 : at + 4]) if protocol in (6, 17) else 0


class Host:
    """One network namespace, and a thread that lives there."""

    def __init__(self, name: str, thread: ThreadPoolExecutor, ends: ExitStack) -> None:
        self.name, self._thread, self._ends = name, thread, ends
        self.inside(lambda: os.unshare(os.CLONE_NEWNET))
        self.path = f"/proc/{os.getpid()}/task/{self.inside(threading.get_native_id)}/ns/net"
        self.must("ip", "link", "set", "lo", "up")

    def inside[T](self, do: Callable[[], T]) -> T:
        return self._thread.submit(do).result(60)

    def run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run a program in there to its end, as root."""
        return self.inside(
            lambda: subprocess.run(
                [str(word) for word in words],
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
                cwd=ROOT,
            )
        )

    def must(self, *words: object) -> str:
        done = self.run(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def set(self, switch: str, value: object) -> None:
        """One of its kernel's switches below /proc/sys/net."""
        self.inside(lambda: (Path("/proc/sys/net") / switch).write_text(str(value)))

    def python(self, text: str, *, user: int) -> str:
        """What a few lines of Python print in there, or the name of what they raise."""
        script = f"{_BECOME.format(user=user)}\nsocket.setdefaulttimeout(1)\ntry:\n    {text}\n{_TELL}"
        return self.run(sys.executable, "-c", script).stdout.strip()

    def tcp(self, address: str, port: int, *, user: int) -> str:
        """What whoever answers at this address says first."""
        return self.python(
            f"print(socket.create_connection(({address!r}, {port})).recv(99).decode().strip())", user=user
        )

    def udp(self, address: str, port: int, *, user: int) -> str:
        family = "AF_INET6" if ":" in address else "AF_INET"
        text = f"s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.connect(({address!r}, {port}));"
        return self.python(f"{text} s.send(b'x'); print(s.recv(99).decode())", user=user)

    def stand(self, led: int, stub: int, *others: int, user: int, at: str = "") -> "subprocess.Popen[str]":
        """Have somebody listen, its stub on `lo` alone where that is asked; ends with the town, or before."""
        process = self.inside(
            lambda: subprocess.Popen(
                [sys.executable, LED, *map(str, (user, at or "all", led, stub, *others))],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._ends.callback(_end, process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """See every packet that arrives."""
        sock = self.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_ALL)))
        with sock:
            yield Watch(sock)

    def reach(self, other: "Host", net: int) -> None:
        """Send what is for elsewhere by this neighbour."""
        end = 1 if other.name < self.name else 2
        self.must("ip", "route", "replace", "default", "via", f"10.77.{net}.{end}")
        self.must("ip", "-6", "route", "replace", "default", "via", f"fd77:{net}::{end}")


class Town:
    """The hosts; each wire between two of them is a network of its own."""

    def __init__(self, ends: ExitStack) -> None:
        self._ends = ends

    def host(self, name: str) -> Host:
        thread = self._ends.enter_context(ThreadPoolExecutor(1, thread_name_prefix=name))
        return Host(name, thread, self._ends)

    def wire(self, one: Host, two: Host, net: int) -> None:
        """Join two hosts: the first by name is .1 and ::1, the other .2 and ::2; each names the interface `netN`."""
        first, second = sorted((one, two), key=lambda host: host.name)
        there = f"w{net}-{os.getpid()}"
        first.must("ip", "link", "add", f"net{net}", "type", "veth", "peer", "name", there)
        first.must("ip", "link", "set", there, "netns", second.path)
        second.must("ip", "link", "set", there, "name", f"net{net}")
        for end, host in ((1, first), (2, second)):
            host.must("ip", "addr", "add", f"10.77.{net}.{end}/24", "dev", f"net{net}")
            host.must("ip", "addr", "add", f"fd77:{net}::{end}/64", "dev", f"net{net}", "nodad")
            host.must("ip", "link", "set", f"net{net}", "up")


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def walled() -> Iterator[Town]:
    """A town without hosts, or skip the test where nobody may make one."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    with ExitStack() as ends:
        yield Town(ends)


def apply(host: Host, *words: str) -> None:
    """`intent-proxy transparent apply` on a host."""
    host.must(sys.executable, "-m", "proxy.cli.main", "transparent", "apply", *words)
