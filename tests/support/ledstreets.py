"""An agent with no proxy settings beside its proxy, in a namespace whose network leads to it; and origins behind it.

    with opened(folder, source={AGENT: "lo 127.0.0.1"}) as it:
        it.connect("tls", "/v1/invoices/7")         # the status that curl tells

The redirect is the bare one: packet rules have tests of their own (tests/network/test_rules.py).
"""

import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import rawclient
from enclosure import Enclosure, enclosure
from houses import CLUSTERS
from towns import Town, open_town

RULES = """
table ip t { chain o { type nat hook output priority -100;
  ip daddr 198.18.0.0/15 tcp dport 1-65535 redirect to :8444
  ip daddr 192.0.2.0/24 tcp dport 1-65535 redirect to :8444
}
}
"""
SETTINGS = 'transparent: {listen: ["127.0.0.1:8444"], dns: {listen: ["127.0.0.1:5353"]}}\n'


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


class Street:
    """An agent beside its proxy, in a namespace of their own."""

    def __init__(self, town: Town, place: Enclosure, folder: Path) -> None:
        self.town, self.place, self.folder = town, place, folder

    def curl(self, *words: str) -> str:
        """The status that curl tells; "000" for none."""
        command = ["curl", "-s", "-m", "8", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"]
        done = self.place.run([*command, "--cacert", str(self.town.house.ca), *words], environment=os.environ)
        return done.stdout

    def ask(self, name: str, kind: int = 1) -> bytes:
        """What the stub answers."""
        return self.place.inside(lambda: _asked(name, kind))

    def given(self, name: str) -> str:
        """The address that the stub gives a name."""
        return socket.inet_ntoa(self.ask(name)[-4:])

    def connect(self, way: str, path: str, *words: str, host: str = "erp.example", to: str = "") -> str:
        to = to or self.given("erp.example")
        port = self.town.origin(way).port
        scheme = "https" if way == "tls" else "http"
        return self.curl("--resolve", f"{host}:{port}:{to}", f"{scheme}://{host}:{port}{path}", *words)

    def lead(self) -> None:
        """From now on every signed call of the house's goes in by the way of this agent, with TLS (`House.open`)."""
        self.town.house.open = self._open  # type: ignore[method-assign]

    def _open(self, url: str, *, timeout_s: float = 10.0, alpn: Sequence[str] = ()) -> rawclient.Wire:
        host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
        wire = rawclient.connect((_given(host), int(port)), timeout_s=timeout_s)
        wire.start_tls(self.town.house.ca, sni=host, alpn=tuple(alpn))
        return wire

    def hello(self, parts: list[bytes], *, pause_s: float = 0.0) -> bytes:
        """At most three bytes of what a connection to the TLS origin that begins so gets; b"" if it is ended."""
        to, port = self.given("erp.example"), self.town.origin("tls").port

        def said() -> bytes:
            with socket.create_connection((to, port), timeout=20) as wire:
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    for part in parts:
                        wire.sendall(part)
                        time.sleep(pause_s)
                    return wire.recv(3)
                except (ConnectionResetError, BrokenPipeError):
                    return b""

        return self.place.inside(said)

    def dns(self) -> list[dict[str, object]]:
        return self.town.house.journal("dns")

    def codes(self) -> list[object]:
        return [each.get("code") for each in self.town.house.journal("decision")]


def _asked(name: str, kind: int = 1) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(question(name, kind), ("127.0.0.1", 5353))
        return sock.recv(512)


def _given(name: str) -> str:
    return socket.inet_ntoa(_asked(name)[-4:])


@contextmanager
def opened(folder: Path, clusters: str = CLUSTERS, source: Mapping[str, str] | None = None) -> Iterator[Street]:
    """Have all of it running."""
    rules = folder / "rules.nft"
    rules.write_text(RULES)
    with enclosure() as place:
        place.ip("addr", "add", "10.99.0.1/32", "dev", "lo")
        place.ip("route", "add", "default", "dev", "lo", "src", "10.99.0.1")
        done = place.run(["nft", "-f", rules], environment=os.environ)
        assert done.returncode == 0, done.stderr
        opening = open_town(folder, workers=1, clusters=clusters, extra=SETTINGS, source=source)
        town = place.inside(opening.__enter__)
        try:
            yield Street(town, place, folder)
        finally:
            place.inside(lambda: opening.__exit__(None, None, None))
