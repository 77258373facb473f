"""A place with a network of its own: nothing but loopback, and a door to one address of ours. Needs root.

    with enclosure() as place:
        place.door(8080, town.house.address)            # 127.0.0.1:8080 in there is our proxy
        place.give("192.0.2.53", ways={"tcp"})          # a planted way out: this address answers
        place.run([sys.executable, "-m", "proxy.agent.doctor", ...])

A thread of this process lives in a network namespace of its own (unshare(2)); what it starts lives there, too, and it
ends with the thread. Nothing of this machine's network is touched, and nothing leaves it.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

type Address = tuple[str, int]

WAYS = frozenset({"tcp", "udp", "dns"})
_PORTS = {"tcp": 443, "http": 80, "dns over tcp": 53}


class Enclosure:
    """The place. Everything in it ends with the block."""

    def __init__(self, thread: ThreadPoolExecutor, ends: ExitStack) -> None:
        self._thread, self._ends = thread, ends

    def inside[T](self, do: Callable[[], T]) -> T:
        """Do it in there."""
        return self._thread.submit(do).result(60)

    def run(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str], cwd: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program in there to its end."""
        words = [str(word) for word in command]
        return self.inside(
            lambda: subprocess.run(
                words, env=dict(environment), cwd=cwd, capture_output=True, text=True, timeout=50, check=False
            )
        )

    def ip(self, *words: str) -> None:
        done = self.run(["ip", *words], environment=os.environ)
        assert done.returncode == 0, done.stderr

    def give(self, address: str, ways: frozenset[str] | set[str] = WAYS) -> None:
        """An address that answers in there: to pings, and in these ways."""
        six = ":" in address
        self.ip("addr", "add", f"{address}/{128 if six else 32}", "dev", "lo", *(["nodad"] if six else []))
        for way in ways & _PORTS.keys():
            self._ends.enter_context(self.inside(lambda way=way: _tcp(address, _PORTS[way])))  # type: ignore[misc]
        if "udp" in ways:
            self._answer(self.inside(lambda: _udp(address, 443)), lambda packet: b"\xc0" + packet[:40])
        if "dns" in ways:
            self._answer(self.inside(lambda: _udp(address, 53)), lambda packet: packet[:2] + b"\x81\x80" + packet[4:])

    def door(self, port: int, to: Address) -> None:
        """Connections to loopback in there arrive at an address out here."""
        listener = self._ends.enter_context(self.inside(lambda: _tcp("127.0.0.1", port)))
        threading.Thread(target=_relay, args=(listener, to), daemon=True).start()

    def _answer(self, sock: socket.socket, reply: Callable[[bytes], bytes]) -> None:
        self._ends.enter_context(sock)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    packet, sender = sock.recvfrom(4096)
                    sock.sendto(reply(packet), sender)

        threading.Thread(target=serve, daemon=True).start()


@contextmanager
def enclosure() -> Iterator[Enclosure]:
    """Make one, or skip the test where nobody may."""
    with ExitStack() as ends, ThreadPoolExecutor(1, thread_name_prefix="enclosure") as thread:
        try:
            thread.submit(os.unshare, os.CLONE_NEWNET).result(10)
        except PermissionError:
            pytest.skip("network namespaces need root")
        made = Enclosure(thread, ends)
        made.ip("link", "set", "lo", "up")
        yield made


def _tcp(address: str, port: int) -> socket.socket:
    """The kernel accepts; nobody need be there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


def _udp(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def _relay(listener: socket.socket, to: Address) -> None:
    with suppress(OSError):
        while True:
            inner, _ = listener.accept()
            outer = socket.create_connection(to, timeout=30)
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
