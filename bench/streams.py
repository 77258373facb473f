"""What streams cost: how much later their first byte arrives, and how much memory 50 MB take on their way, up and down.

Beside stock mitmproxy that is told to stream (`stream_large_bodies`): as it comes, it would keep every body whole.
"""

import hashlib
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.children import Child
from bench.deployment import Deployment
from bench.evidence import JournalTail
from bench.failures import Dishonest, Failed
from bench.floods import EVENT_BYTES, EVENTS, LARGE_BYTES, event, large_sha256
from bench.honesty import faults_of_streams
from bench.load import Line, Round
from bench.memory import forget_peak, resident_kib
from bench.spread import percentile
from bench.systems import System
from proxy.agent.signer import Signer

SYSTEMS = ("stock_streaming", "full")
CALLS = 16
WARMING = 8
TIMEOUT_S = 60.0
_WRITTEN = re.compile(rb"data: (\d+) ")

type Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """One round of one system. The delay is from the origin's write of an event to its arrival, the median of calls."""

    first_byte_ms: float
    down_mb: float  # the most its processes had while 50 MB came down, over what they had when idle
    up_mb: float

    @property
    def memory_mb(self) -> float:
        return max(self.down_mb, self.up_mb)

    def as_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(slots=True)
class _Client:
    """One connection through a system, and everything that was sent on it."""

    line: Line
    authority: str
    signer: Signer | None
    sent: list[str] = field(default_factory=list)

    def send(self, method: str, target: str, body: bytes = b"") -> None:
        lines = [("User-Agent", "bench"), *([("Content-Length", str(len(body)))] if body else [])]
        if self.signer is not None:
            lines += self.signer.headers_for(method, f"https://{self.authority}{target}", lines, body or None)
        self.sent.append(f"{method} {target}")
        fields = [f"{name}: {value}" for name, value in (("Host", self.authority), *lines)]
        self.line.sock.sendall("\r\n".join([f"{self.sent[-1]} HTTP/1.1", *fields, "", ""]).encode("ascii"))
        self.line.sock.sendall(body)

    def answer(self) -> bytes:
        """What came with the head of the answer.

        Raises:
            Failed: it is no 200.
        """
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"{self.sent[-1]} was answered {head[:200]!r}")
        return rest

    def pieces(self, first: bytes, size: int) -> Iterator[bytes]:
        """A body of this size, as it comes."""
        piece, left = first, size
        while True:
            if piece:
                left -= len(piece)
                yield piece
            if left <= 0:
                return
            piece = self._more()

    def _more(self) -> bytes:
        data = self.line.sock.recv(262_144)
        if not data:
            raise Failed(f"the connection ended within the answer to {self.sent[-1]}")
        return data


class Streams:
    """The rounds over streams, through systems that run."""

    def __init__(self, deployment: Deployment, origin: Child, authority: str, journal: JournalTail) -> None:
        self._deployment, self._origin, self._authority, self._journal = deployment, origin, authority, journal
        self._idle_kib: dict[str, int] = {}
        self._body = secrets.token_bytes(LARGE_BYTES)
        self._body_sha256, self._large_sha256 = hashlib.sha256(self._body).hexdigest(), large_sha256()

    def measure(self, system: System, *, calls: int) -> Streamed:
        """One round. Memory is counted from what the system had when it was first asked, warm but for large bodies.

        Raises:
            Dishonest: what was sent, arrived, was recorded and came back do not agree.
            Failed: a part broke.
        """
        self._origin.ask({"take": True})
        self._journal.allowed()
        client = self._connect(system)
        try:
            if system.name not in self._idle_kib:
                for _ in range(WARMING):
                    self._delay_ms(client)
                self._idle_kib[system.name] = resident_kib(system.child.pid)
            delays_ms = sorted(self._delay_ms(client) for _ in range(calls))
            down_mb = self._memory_mb(system, lambda: self._down(client))
            up_mb = self._memory_mb(system, lambda: self._up(client))
        finally:
            client.line.sock.close()
        came = self._origin.ask({"take": True})
        allowed = [line.target for line in self._journal.allowed()] if system.name == "full" else None
        faults = faults_of_streams(client.sent, came["targets"], came["bodies"], self._body_sha256, allowed)
        if faults:
            raise Dishonest(f"the round of streams of {system.name} does not count", faults)
        return Streamed(first_byte_ms=percentile(delays_ms, 50), down_mb=down_mb, up_mb=up_mb)

    def _connect(self, system: System) -> _Client:
        trust = ssl.create_default_context(cafile=system.ca_file)
        trust.set_alpn_protocols(["http/1.1"])
        wanted = Round(
            proxy=system.address,
            ca_file=str(system.ca_file),
            authority=self._authority,
            connections=1,
            warmup=0,
            count=0,
            signing=None,
        )
        line, signing = Line(wanted, trust), self._deployment.signing()
        line.sock.settimeout(TIMEOUT_S)
        signer = None
        if system.name == "full":
            manifest, key = Path(signing["manifest"]), Path(signing["key_file"])
            signer = Signer(manifest, key, cluster=signing["cluster"], task=signing["task"])
        return _Client(line, self._authority, signer)

    def _delay_ms(self, client: _Client) -> float:
        """How long the first event was on its way.

        Raises:
            Failed: events were changed, or did not arrive before the next was written.
        """
        client.send("GET", f"/v1/invoices/events-{secrets.token_hex(4)}")
        data, arrived_ns = b"", []
        for piece in client.pieces(client.answer(), EVENTS * EVENT_BYTES):
            data += piece
            arrived_ns += [time.monotonic_ns()] * (len(data) // EVENT_BYTES - len(arrived_ns))
        written_ns = [int(each) for each in _WRITTEN.findall(data)]
        if data != b"".join(event(number, each) for number, each in enumerate(written_ns)):
            raise Failed("the events that arrived are not those that were sent")
        if any(arrived > following for arrived, following in zip(arrived_ns, written_ns[1:], strict=False)):
            raise Failed("an event arrived only after the next was written: the stream was kept back")
        return (arrived_ns[0] - written_ns[0]) / 1e6

    def _memory_mb(self, system: System, carry: Callable[[], None]) -> float:
        forget_peak(system.child.pid)
        carry()
        return (resident_kib(system.child.pid, peak=True) - self._idle_kib[system.name]) * 1024 / 1e6

    def _down(self, client: _Client) -> None:
        client.send("GET", f"/v1/invoices/large-{secrets.token_hex(4)}")
        digest = hashlib.sha256()
        for piece in client.pieces(client.answer(), LARGE_BYTES):
            digest.update(piece)
        if digest.hexdigest() != self._large_sha256:
            raise Failed("the large response that arrived is not the one that was sent")

    def _up(self, client: _Client) -> None:
        client.send("POST", f"/v1/invoices/{secrets.token_hex(4)}/scan", self._body)
        client.answer()


def run_streams(
    streams: Streams, systems: dict[str, System], *, rounds: int, calls: int, tell: Tell
) -> dict[str, list[Streamed]]:
    """Every round of both systems, interleaved.

    Raises:
        Dishonest, Failed: as `Streams.measure`.
    """
    found: dict[str, list[Streamed]] = {name: [] for name in SYSTEMS}
    for number in range(rounds):
        for name in SYSTEMS if number % 2 else SYSTEMS[::-1]:  # nobody is always first
            measured = streams.measure(systems[name], calls=calls)
            found[name].append(measured)
            said = f"first byte {measured.first_byte_ms:.2f} ms later, 50 MB took {measured.memory_mb:.1f} MB"
            tell(f"streams {number + 1}/{rounds}, {name}: {said}")
    return found
