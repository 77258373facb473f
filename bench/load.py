"""The load generator: signs, connects, warms up, and then keeps every connection busy with one call at a time.

A process of its own, driven by two messages: `prepare` (answered once everything is signed, connected and warm) and
`go` (answered with the times and the evidence of every call). Each call is signed once, just before the round, with
the window agents have; none is ever sent twice, unless a plant says so.
"""

import json
import re
import secrets
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from bench.failures import Failed
from bench.origin import body_for
from bench.spread import percentile
from proxy.agent.signer import Signer

TIMEOUT_S = 20.0
STALE = timedelta(minutes=2)
TOKEN = "Bearer " + "k" * 40  # what an agent sends to its API; the same every time

PLANTS = ("path", "method", "query", "url", "stale", "replay", "unsigned")
"""Calls that must not pass: three outside the mandate, and four whose proof does not hold."""

_NONCE = re.compile(r';nonce="([^"]+)"')
_KEYID = re.compile(r';keyid="([^"]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CODE = re.compile(rb'"code": ?"([a-z0-9._]+)"')


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of a round, and what came of it."""

    target: str
    data: bytes
    nonce: str = ""
    keyid: str = ""
    plant: str = ""
    status: int = 0
    code: str = ""  # of a refusal
    right: bool = False  # the body is this target's own
    taken_us: float = 0.0

    def evidence(self) -> dict[str, object]:
        return {
            "target": self.target,
            "nonce": self.nonce,
            "keyid": self.keyid,
            "plant": self.plant,
            "status": self.status,
            "code": self.code,
            "right": self.right,
        }


@dataclass(slots=True, kw_only=True)
class Round:
    """What `prepare` asks for."""

    proxy: tuple[str, int]
    ca_file: str
    authority: str  # host:port of the origin
    connections: int
    warmup: int
    count: int
    signing: Mapping[str, str] | None  # manifest, key_file, cluster, task; None: calls without any of our headers
    plants: Mapping[str, str] = field(default_factory=dict)  # place -> one of PLANTS


# --- before ----------------------------------------------------------------------------------------------------------


def make_calls(wanted: Round) -> list[Call]:
    """Every call of a round, signed now."""
    tag, host = secrets.token_hex(4), wanted.authority
    late_s = [timedelta()]
    signer = _signer(wanted.signing, late_s) if wanted.signing else None
    calls: list[Call] = []
    for place in range(wanted.warmup + wanted.count):
        plant = wanted.plants.get(str(place - wanted.warmup), "")
        if plant == "replay":
            calls.append(replace(calls[0], plant=plant))
            continue
        target = f"/v1/{'payroll' if plant == 'path' else 'invoices'}/{tag}-{place}"
        target += "?expand=lines" if plant == "query" else ""
        method = "DELETE" if plant == "method" else "GET"
        headers = [("User-Agent", "bench"), ("Accept", "*/*"), ("Authorization", TOKEN)]
        signed_target = target
        if plant == "url":
            target += "0"
        nonce = keyid = ""
        if signer is not None and plant != "unsigned":
            late_s[0] = STALE if plant == "stale" else timedelta()
            added = signer.headers_for(method, f"https://{host}{signed_target}", headers)
            headers += added
            signature_input = dict(added)["Signature-Input"]
            nonce, keyid = _NONCE.findall(signature_input)[0], _KEYID.findall(signature_input)[0]
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        data = "\r\n".join([*lines, "", ""]).encode("ascii")
        calls.append(Call(target=f"{method} {target}", data=data, nonce=nonce, keyid=keyid, plant=plant))
    return calls


def _signer(signing: Mapping[str, str], late_s: Sequence[timedelta]) -> Signer:
    manifest, key = Path(signing["manifest"]), Path(signing["key_file"])
    return Signer(
        manifest,
        key,
        cluster=signing["cluster"],
        task=signing["task"],
        clock=lambda: datetime.now(UTC) - late_s[0],
    )


# --- connections -----------------------------------------------------------------------------------------------------


class Line:
    """One connection through the proxy to the origin: CONNECT, then TLS."""

    def __init__(self, wanted: Round, trust: ssl.SSLContext) -> None:
        self._wanted, self._trust = wanted, trust
        self.call: Call | None = None
        self._started_ns = 0
        self._buffer = b""
        self.open()

    def open(self) -> None:
        raw = socket.create_connection(self._wanted.proxy, timeout=TIMEOUT_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        authority = self._wanted.authority
        raw.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = raw.recv(4096)
            if not data:
                raise Failed("the proxy closed the connection instead of answering CONNECT")
            answer += data
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise Failed(f"CONNECT was answered {answer[:80]!r}")
        self.sock = self._trust.wrap_socket(raw, server_hostname=authority.partition(":")[0])
        self.sock.setblocking(False)

    def start(self, call: Call) -> None:
        self.call, self._buffer = call, b""
        self._started_ns = time.perf_counter_ns()
        if self.sock.send(call.data) != len(call.data):  # a request fits many times over in an idle socket's buffer
            raise Failed("a request did not fit into the socket's buffer")

    def finished(self) -> bool:
        """Read what there is; True when the call in hand has its whole answer, or lost its connection."""
        assert self.call is not None
        try:
            data = self.sock.recv(65536)
        except ssl.SSLWantReadError:
            return False
        except OSError:
            data = b""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, end + 2) if end >= 0 else None
        whole = length is not None and len(self._buffer) >= end + 4 + int(length[1])
        if data and not whole:
            return self.sock.pending() > 0 and self.finished()
        self.call.taken_us = (time.perf_counter_ns() - self._started_ns) / 1000
        if whole:
            self._read(self.call, self._buffer[:end], self._buffer[end + 4 :])
        else:
            self.call.code = "connection lost"
        return True

    def _read(self, call: Call, head: bytes, body: bytes) -> None:
        call.status = int(head[9:12])
        if call.status == 200:
            call.right = body == body_for(call.target.partition(" ")[2].encode())
        else:
            code = _CODE.search(body)
            call.code = code[1].decode() if code else "none"

    def lost(self) -> bool:
        """Whether the other side closes this connection after the last answer."""
        return self.call is None or self.call.status == 0 or b"connection: close" in self._buffer.lower()

    def facts(self) -> dict[str, str]:
        """The TLS that was agreed on, so that two systems can be seen to do the same work."""
        der = self.sock.getpeercert(binary_form=True)
        cipher = self.sock.cipher()
        assert der is not None and cipher is not None
        key = x509.load_der_x509_certificate(der).public_key()
        kind = f"{type(key).__name__.removesuffix('PublicKey').strip('_')} {getattr(key, 'key_size', '')}"
        return {"version": str(self.sock.version()), "cipher": cipher[0], "certificate_key": kind}


def exchange(lines: Sequence[Line], calls: Sequence[Call]) -> float:
    """Make every call, one at a time on each connection; returns the seconds it took."""
    waiting = iter(calls)
    left = len(calls)
    with selectors.DefaultSelector() as ready:
        started_s = time.perf_counter()
        for line, call in zip(lines, waiting, strict=False):
            ready.register(line.sock, selectors.EVENT_READ, line)
            line.start(call)
        while left:
            events = ready.select(TIMEOUT_S)
            if not events:
                raise Failed(f"{left} calls have had no answer for {TIMEOUT_S:g} s")
            for key, _ in events:
                line = key.data
                if not line.finished():
                    continue
                left -= 1
                upcoming = next(waiting, None)
                if upcoming is None or line.lost():
                    ready.unregister(line.sock)
                if upcoming is not None:
                    if line.lost():
                        line.sock.close()
                        line.open()
                        ready.register(line.sock, selectors.EVENT_READ, line)
                    line.start(upcoming)
        return time.perf_counter() - started_s


# --- as a process ----------------------------------------------------------------------------------------------------


def hear() -> dict[str, object] | None:
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def say(message: Mapping[str, object]) -> None:
    print(json.dumps(message), flush=True)


def run_round(wanted: Round) -> None:
    """One round, from signing to evidence."""
    calls = make_calls(wanted)
    trust = ssl.create_default_context(cafile=wanted.ca_file)
    trust.set_alpn_protocols(["http/1.1"])
    lines = [Line(wanted, trust) for _ in range(wanted.connections)]
    try:
        exchange(lines, calls[: wanted.warmup])
        say({"ready": lines[0].facts(), "request_bytes": len(calls[-1].data)})
        if hear() is None:
            return
        wall_s = exchange(lines, calls[wanted.warmup :])
    finally:
        for line in lines:
            line.sock.close()
    taken_us = sorted(call.taken_us for call in calls[wanted.warmup :])
    say(
        {
            "wall_s": wall_s,
            "p50_us": percentile(taken_us, 50),
            "p99_us": percentile(taken_us, 99),
            "calls": [call.evidence() for call in calls],
        }
    )


def main() -> None:
    while (message := hear()) is not None:
        try:
            proxy = message.pop("proxy")
            run_round(Round(proxy=(proxy[0], proxy[1]), **message))  # type: ignore[index, arg-type]
        except (Failed, OSError) as fault:
            say({"failed": str(fault)})


if __name__ == "__main__":
    main()
