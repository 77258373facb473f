"""Datagrams from an agent's place, and questions for names: who answered, or who said that nobody does."""

import ipaddress
import secrets
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from proxy.agent.doctor.attempts import NEAR_S, Seen, closed, leads_out, untold
from proxy.agent.doctor.kernel import address, beyond, gateways
from proxy.agent.proxyurl import host_and_port

STUB_NETWORK = ipaddress.ip_network("198.18.0.0/15")
"""Where the addresses lie that the proxy's stub gives to names."""

A, TXT = 1, 16
NTP = b"\x23" + bytes(47)  # a client's question (RFC 5905 §7.3)
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}  # IP(V6)_RECVERR
_HOPS_LEFT = {  # told with an error, too
    socket.AF_INET: (socket.IPPROTO_IP, 12),  # IP_RECVTTL
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT),
}
_UNROUTED = frozenset({64, 128, 255})  # what packets begin with: no router has counted one down
_HOPS = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}


def datagram(to: str, port: int, packet: bytes, timeout_s: float) -> Seen:
    """One there; an answer is a way out, and so is an error that whoever is there sent itself (RFC 1122 §3.2.2.1)."""
    where = f"UDP {host_and_port(to, port)}"
    try:
        with _socket(to, socket.SOCK_DGRAM, timeout_s) as sock:
            sock.connect((to, port))
            sock.send(packet)
            try:
                sock.recv(4096)
            except ConnectionRefusedError:
                by, near = _who_refused(sock)
                if by != to or (near and beyond(to)):  # rules that redirect refuse in the name of whoever was meant
                    return closed(f"{where} is refused on the way")
                if near:
                    return untold(f"{where} is refused, perhaps by whoever is there")
                return leads_out(f"{where}: the host itself says that nobody listens")
    except TimeoutError:
        return closed(f"{where} does not answer")
    except (OSError, ValueError) as fault:
        return closed(f"{where}: {getattr(fault, 'strerror', None) or type(fault).__name__}")
    return leads_out(f"{where} answers")


def _socket(to: str, kind: socket.SocketKind, timeout_s: float, *, near: bool = False) -> socket.socket:
    """One that is told of errors on the way; `near`: whose packets pass no router."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.settimeout(timeout_s)
    if kind is socket.SOCK_DGRAM:
        sock.setsockopt(*_RECVERR[family], 1)
        sock.setsockopt(*_HOPS_LEFT[family], 1)
    if near:
        sock.setsockopt(*_HOPS[family], 1)
    return sock


def _who_refused(sock: socket.socket) -> tuple[str | None, bool]:
    """The address that sent the error (ip(7), IP_RECVERR), None for a part of this place; and whether it is near."""
    own, by, near = {sock.getsockname()[0], *gateways()}, str(sock.getpeername()[0]), False
    with suppress(OSError, ValueError, struct.error):
        _, control, *_ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
        for _, kind, data in control:
            if kind in (socket.IP_TTL, socket.IPV6_HOPLIMIT):
                near = struct.unpack_from("=i", data)[0] in _UNROUTED
            elif kind in (11, 25):
                family = struct.unpack_from("=H", data, 16)[0]
                by = str(address(socket.inet_ntop(family, data[20:24] if family == socket.AF_INET else data[24:40])))
    return None if by in own else by, near


# --- names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a name server answered (RFC 1035 §4.1)."""

    code: int
    answers: int
    authority: int
    addresses: tuple[str, ...]  # of records of type A


class NotDns(ValueError):
    """What answered is no name server."""


def ask_name(
    server: str, name: str, kind: int, timeout_s: float, *, stream: bool = False, near: bool = False
) -> Reply | None:
    """One question, by UDP or TCP, and its answer; None where the connection was closed without a word.

    Raises:
        NotDns: what came was no answer.
        OSError, ValueError: it could not be asked, or none came.
    """
    number = secrets.token_bytes(2)
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("ascii").split(b"."))
    question = number + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", kind, 1)
    with _socket(server, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM, timeout_s, near=near) as sock:
        sock.connect((server, 53))
        sock.sendall(struct.pack(">H", len(question)) + question if stream else question)
        answer = sock.recv(4096)
    return read_reply(answer[2:] if stream else answer, number) if answer else None


def read_reply(answer: bytes, number: bytes) -> Reply:
    """The answer to the question with this number.

    Raises:
        NotDns: it is none.
    """
    if len(answer) < 12 or answer[:2] != number or not answer[2] & 0x80:
        raise NotDns
    questions, answers, authority = struct.unpack_from(">3H", answer, 4)
    found: list[str] = []
    with suppress(IndexError, struct.error, OSError):  # it is cut off
        at = 12
        for _ in range(questions):
            at = _after_name(answer, at) + 4
        for _ in range(answers):
            at = _after_name(answer, at)
            kind, length = struct.unpack_from(">H6xH", answer, at)
            if kind == A and length == 4:
                found.append(socket.inet_ntoa(answer[at + 10 : at + 14]))
            at += 10 + length
    return Reply(code=answer[3] & 0x0F, answers=answers, authority=authority, addresses=tuple(found))


def _after_name(packet: bytes, at: int) -> int:
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def stands_for(reply: Reply | None) -> str | None:
    """The address that the stub gave the name, if it was the stub that answered."""
    if reply is None or len(reply.addresses) != 1 or reply.answers != 1:
        return None
    return reply.addresses[0] if ipaddress.ip_address(reply.addresses[0]) in STUB_NETWORK else None


def question(server: str, name: str, kind: int, timeout_s: float, *, stream: bool = False, own: bool = False) -> Seen:
    """One question for a name, and whether somebody asked the world to answer it.

    `own`: the server is this place's own. From elsewhere even a refusal shows that the question got there.
    """
    where = f"{'TCP' if stream else 'UDP'} {host_and_port(server, 53)}, {'TXT' if kind == TXT else 'A'} of {name}"
    try:
        reply = ask_name(server, name, kind, timeout_s, stream=stream)
    except TimeoutError:
        return closed(f"{where}: no answer")
    except NotDns:
        return leads_out(f"{where}: something answers that is no name server")
    except ConnectionRefusedError:
        return closed(f"{where}: refused") if own or stream else datagram(server, 53, bytes(12), timeout_s)
    except (OSError, ValueError) as fault:
        return closed(f"{where}: {getattr(fault, 'strerror', None) or type(fault).__name__}")
    if reply is None:
        return closed(f"{where}: closed without a word")
    if kind == A and (given := stands_for(reply)):
        return closed(f"{where}: the proxy's stub answers {given}")
    if reply.answers or reply.authority:  # only who asked the world knows whose zone a name is in
        return leads_out(f"{where}: it is answered from outside")
    if own or _stub_is_near(server, name, kind, stream=stream):
        return closed(f"{where}: refused, or empty")
    return untold(f"{where}: refused or empty, perhaps by that server itself")


def _stub_is_near(server: str, name: str, kind: int, *, stream: bool) -> bool:
    with suppress(OSError, ValueError):
        return beyond(server) and ask_name(server, name, kind, NEAR_S, stream=stream, near=True) is not None
    return False
