"""Is there a way to the Internet that does not lead through the proxy?

What is tried is what a program would try that knows of no proxy: TCP connections, a first QUIC packet, one question
for a name, one ping. Nothing else is sent, and nothing of this place is in it. The addresses are those of public
resolvers (RFC 7094 anycast), which answer everywhere; others may be named.

Not seen here: a way that is open to other addresses alone, and one whose answers are dropped on their way back.
"""

import os
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.agent.doctor.findings import Finding, fail, ok

ADDRESSES_4 = ("1.1.1.1", "9.9.9.9")
ADDRESSES_6 = ("2606:4700:4700::1111", "2620:fe::fe")
"""Cloudflare's and Quad9's resolvers: https://developers.cloudflare.com/1.1.1.1/, https://quad9.net/."""

QUESTION = "example.com"
RESOLV_CONF = Path("/etc/resolv.conf")

METADATA = ("169.254.169.254", "fd00:ec2::254")
"""Where a cloud tells whoever asks what this machine is, and gives out its credentials."""

_OTHER_PORTS = (22, 53, 80, 853)
_QUIC_INITIAL_BYTES = 1200
_MEND = "let this place's network reach the proxy at {} and nothing else (docs/doctor.md has rules)"
_DNS_MEND = (
    "let nothing here ask a name server: the proxy resolves names itself, and a question can carry data out "
    "(docs/doctor.md has rules)"
)
_METADATA_MEND = (
    "let nothing here reach the cloud's metadata service: it gives out credentials (docs/doctor.md has rules)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What is tried."""

    addresses_4: tuple[str, ...] = ADDRESSES_4
    addresses_6: tuple[str, ...] = ADDRESSES_6
    metadata: tuple[str, ...] = METADATA
    resolvers: tuple[str, ...] = ()  # besides the addresses above
    question: str = QUESTION
    timeout_s: float = 3.0


def own_resolvers(file: Path = RESOLV_CONF) -> tuple[str, ...]:
    """The name servers of this place."""
    found: list[str] = []
    with suppress(OSError, UnicodeDecodeError):
        for line in file.read_text("utf-8").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                found.append(words[1])
    return tuple(found)


def around(targets: Targets, *, proxy: str) -> tuple[Finding, ...]:
    """Every way that is tried, and whether it is closed. They are tried side by side."""
    four, six, after_s = targets.addresses_4, targets.addresses_6, targets.timeout_s
    resolvers = tuple(dict.fromkeys((*targets.resolvers, *four[:1], *six[:1])))
    ways: tuple[tuple[str, Callable[[str], str], Sequence[str], str], ...] = (
        ("around: IPv4, TCP 443", lambda to: tcp(to, after_s), four, _MEND.format(proxy)),
        ("around: IPv6, TCP 443", lambda to: tcp(to, after_s), six, _MEND.format(proxy)),
        ("around: TCP 22, 53, 80, 853", lambda to: other_ports(to, after_s), (*four, *six), _MEND.format(proxy)),
        ("around: UDP 443", lambda to: quic(to, after_s), (*four, *six), _MEND.format(proxy)),
        ("around: DNS", lambda to: dns(to, targets.question, after_s), resolvers, _DNS_MEND),
        ("around: ICMP", lambda to: ping(to, after_s), (*four, *six), _MEND.format(proxy)),
        ("around: metadata", lambda to: tcp(to, after_s, 80), targets.metadata, _METADATA_MEND),
    )
    with ThreadPoolExecutor(max(1, sum(len(to) for _, _, to, _ in ways))) as pool:
        tried = [(name, to, [pool.submit(attempt, each) for each in to], mend) for name, attempt, to, mend in ways]
        return tuple(
            _finding(name, [(each, answer.result()) for each, answer in zip(to, answers, strict=True)], mend)
            for name, to, answers, mend in tried
        )


def _finding(name: str, found: Sequence[tuple[str, str]], mend: str) -> Finding:
    for address, answer in found:
        if answer:
            return fail(name, f"{address} {answer}", mend)
    return ok(name, "no way" if found else "not tried: no address")


# --- one attempt each: what came back, "" when nothing did ------------------------------------------------------------


def tcp(address: str, timeout_s: float, port: int = 443) -> str:
    """A connection that was refused counts as closed: those who are asked by default refuse none, a firewall may."""
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
    except (OSError, ValueError):
        return ""
    return "accepts connections" if port == 443 else f"accepts connections at port {port}"


def other_ports(address: str, timeout_s: float) -> str:
    """Ports that are left open by rules which think of web pages alone, side by side."""
    with ThreadPoolExecutor(len(_OTHER_PORTS)) as pool:
        return next(filter(None, pool.map(lambda port: tcp(address, timeout_s, port), _OTHER_PORTS)), "")


def quic(address: str, timeout_s: float) -> str:
    """The first packet of a client."""
    return "answers over QUIC" if _exchange(address, 443, quic_packet(), timeout_s) is not None else ""


def quic_packet() -> bytes:
    """One with a version that nobody speaks: whoever speaks QUIC answers with those it does (RFC 9000 §6)."""
    head = b"\xc0" + bytes.fromhex("1a2a3a4a") + b"\x08" + secrets.token_bytes(8) + b"\x08" + secrets.token_bytes(8)
    return head.ljust(_QUIC_INITIAL_BYTES, b"\0")


def dns(address: str, name: str, timeout_s: float) -> str:
    """One question for the address of `name` (RFC 1035 §4.1). A server that says it cannot find out is no way out."""
    number = secrets.randbits(16)
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("ascii").split(b"."))
    question = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    answer = _exchange(address, 53, question, timeout_s)
    if answer is None or len(answer) < 12 or answer[:2] != question[:2]:
        return ""
    return f"answers for {name}" if answer[3] & 0x0F in (0, 3) else ""  # NOERROR, NXDOMAIN: somebody asked the world


def ping(address: str, timeout_s: float) -> str:
    """One echo request (RFC 792, RFC 4443 §4.1), where whoever runs this may send one: else an agent may not either."""
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    request, reply = (128, 129) if six else (8, 0)
    token = secrets.token_bytes(16)
    packet = struct.pack(">BBHHH", request, 0, 0, os.getpid() & 0xFFFF, 1) + token
    packet = packet[:2] + struct.pack(">H", 0 if six else _checksum(packet)) + packet[4:]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            with socket.socket(family, kind, protocol) as sock:
                sock.settimeout(timeout_s)
                sock.connect((address, 0))
                sock.send(packet)
                while True:  # ends by the timeout: a raw socket hears everything
                    heard = sock.recv(2048)
                    body = heard if six or kind is socket.SOCK_DGRAM else heard[(heard[0] & 0x0F) * 4 :]
                    if len(body) >= 24 and body[0] == reply and body[8:24] == token:
                        return "answers a ping"
        except PermissionError:
            continue
        except (OSError, ValueError):
            return ""
    return ""


def _exchange(address: str, port: int, packet: bytes, timeout_s: float) -> bytes | None:
    """One datagram there, and the first that comes back from there."""
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect((address, port))
            sock.send(packet)
            return sock.recv(4096)
    except (OSError, ValueError):
        return None


def _checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071); `packet` has an even length."""
    total = sum(int(word) for word in struct.unpack(f">{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
