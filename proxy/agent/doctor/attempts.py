"""One TCP connection from an agent's place, and what the answer proves: a way out, or a proxy that caught it.

Behind rules that redirect, every connection is accepted, by the proxy. So being accepted proves nothing; this does:

1. Whoever answers with bytes that are not the proxy's, or with a certificate that its CA did not issue, is a way out.
2. The kernel's own table shows the other end in this network namespace: the connection never left it.
3. A packet that may pass no router (TTL 1) is answered all the same, though the address is not a neighbour's: the
   next hop answered in its place.
4. Who is known to speak, and is silent, was not reached.

What none of these decides is unknown, and no pass.
"""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from proxy.agent.answers import Denied, Held, read_answer
from proxy.agent.doctor.findings import State
from proxy.agent.doctor.kernel import beyond, other_end
from proxy.agent.proxyurl import host_and_port

MAX_ANSWER_BYTES = 65_536
NEAR_S = 0.5  # a neighbour needs no longer
_TLS_PORTS = frozenset({443, 853, 6443, 8443})
_BANNER_PORTS = frozenset({21, 22, 25, 587})  # there the server speaks first
_POSTGRES_TLS = b"\0\0\0\x08\x04\xd2\x16\x2f"  # SSLRequest, which every server answers with one letter
_HANDSHAKE, _ALERT = 0x16, 0x15  # RFC 8446 §5.1
_GET = "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of one attempt. OK is closed, FAIL is a way out."""

    state: State
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One address and port, and what to say there."""

    address: str
    port: int
    speaks: bool = False  # whether whoever really is there is known to answer what is said
    part: bool = False  # whether even the proxy's own words are too much: it is a part of the proxy's
    tls: bool | None = None  # None: as is usual at this port
    said: bytes | None = None  # None: as is usual at this port
    name: str | None = None  # the server to name in TLS
    ca: Path | None = None  # the proxy's
    timeout_s: float = 2.0

    @property
    def where(self) -> str:
        return host_and_port(self.address, self.port)


def closed(text: str) -> Seen:
    return Seen(state=State.OK, text=text)


def leads_out(text: str) -> Seen:
    return Seen(state=State.FAIL, text=text)


def untold(text: str) -> Seen:
    return Seen(state=State.UNKNOWN, text=text)


def attempt(trial: Trial) -> Seen:
    """Connect, say something, and judge what comes back."""
    try:
        sock = socket.create_connection((trial.address, trial.port), timeout=trial.timeout_s)
    except ConnectionRefusedError:
        if trial.speaks or _near(trial) is ConnectionRefusedError:
            return closed(f"{trial.where} refused")
        return untold(f"{trial.where} is refused, perhaps by whoever is there: the packet may have got out")
    except TimeoutError:
        return closed(f"{trial.where} does not answer")
    except (OSError, ValueError) as fault:
        return closed(f"{trial.where}: {getattr(fault, 'strerror', None) or type(fault).__name__}")
    with sock:
        here = other_end(sock)
        tls = trial.port in _TLS_PORTS if trial.tls is None else trial.tls
        try:
            found = _by_tls(trial, sock) if tls else _by_words(trial, sock)
        except TimeoutError:
            found = None
        except OSError:  # reset: closed without a word
            found = b""
        if isinstance(found, Seen):
            return found
    end = "accepts, and says nothing" if found is None else "accepts, and closes without a word"
    if here is not None:
        by = "" if here.owner is None else f", by uid {here.owner}"
        return closed(f"{trial.where} was caught in this network namespace{by}")
    if _near(trial) is socket.socket:
        return closed(f"{trial.where} was caught by the next hop")
    if found is not None and trial.speaks:
        return closed(f"{trial.where} was caught: who is there would have spoken")
    return untold(f"{trial.where} {end}: it may be whoever is there")


def _near(trial: Trial) -> type | None:
    """What a packet that passes no router meets: `socket` when it is accepted, the exception when it is refused."""
    with suppress(OSError, ValueError):
        if not beyond(trial.address):
            return None
        six = ":" in trial.address
        with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as sock:
            sock.settimeout(NEAR_S)
            if six:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
            try:
                sock.connect((trial.address, trial.port))
            except ConnectionRefusedError:
                return ConnectionRefusedError
            own = sock.getsockname()[0] == sock.getpeername()[0]  # this place's own address
            return None if own else socket.socket
    return None


# --- what is said, and what comes back --------------------------------------------------------------------------------


def _by_words(trial: Trial, sock: socket.socket) -> Seen | bytes:
    """Empty when the connection was closed without a word.

    Raises:
        OSError: it broke, or nothing came.
    """
    said = trial.said
    if said is None:
        usual: Mapping[int, bytes] = {5432: _POSTGRES_TLS, 6379: b"PING\r\n", **dict.fromkeys(_BANNER_PORTS, b"")}
        said = usual.get(trial.port, _GET.format(trial.where).encode("ascii"))
    if said:
        sock.sendall(said)
    first = sock.recv(4096)
    if first and trial.part:
        return _reached(trial)
    return judge(trial.where, first + _rest(sock, first)) if first else b""


def _reached(trial: Trial) -> Seen:
    return leads_out(f"{trial.where} answers: it can be reached directly")


def _rest(sock: socket.socket, first: bytes) -> bytes:
    """What follows the first bytes of an answer in HTTP, for as long as one waits."""
    if not first.startswith(b"HTTP/"):
        return b""
    ends, parts, size = monotonic() + (sock.gettimeout() or 1), [b""], 0
    with suppress(OSError):
        while size < MAX_ANSWER_BYTES and monotonic() < ends and (part := sock.recv(4096)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def judge(where: str, answer: bytes) -> Seen:
    """Bytes that came back: are they the proxy's refusal?"""
    found = refusal(answer)
    if found is not None:
        return closed(f"{where} was answered by the proxy: {found.code}")
    shown = answer[:40].split(b"\r\n")[0].decode("latin-1")
    return leads_out(f"{where} answers {shown!a}: somebody else is there")


def refusal(answer: bytes) -> Denied | Held | None:
    """The proxy's answer in bytes of HTTP/1.1 that end with the connection, or None when it is none."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if not first.startswith("HTTP/1.1 ") or not words[1].isdigit():
        return None
    pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return read_answer(int(words[1]), pairs, body)


def _by_tls(trial: Trial, sock: socket.socket) -> Seen | bytes:
    """A handshake, up to whose certificate it is. Empty when the connection was closed without a word.

    Raises:
        OSError: it broke before a word, or nothing came.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # only whose it is counts here
    if trial.ca is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context.load_verify_locations(cafile=str(trial.ca))
        except OSError as fault:
            return untold(f"{trial.where}: {trial.ca} cannot be read ({fault.strerror or 'no certificate'})")
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(coming, going, server_hostname=trial.name)
    heard = b""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            with suppress(ConnectionError):  # what it said before it closed still counts
                sock.sendall(going.read())
            try:
                part = sock.recv(65_536)
            except OSError:
                if not heard:
                    raise
                part = b""
            if not part:
                return _broken(trial, heard) if heard else b""
            if trial.part:
                return _reached(trial)
            heard += part
            coming.write(part)
        except ssl.SSLCertVerificationError:
            return leads_out(f"{trial.where} shows a certificate that the proxy's CA did not issue")
        except ssl.SSLError:
            return _broken(trial, heard)
        else:
            if trial.ca is None:
                return untold(f"{trial.where} speaks TLS: without --ca nobody can say whose certificate it shows")
            return closed(f"{trial.where} was answered by the proxy, with a certificate of its CA")


def _broken(trial: Trial, heard: bytes) -> Seen:
    if heard[0] == _ALERT:
        if _near(trial) is socket.socket:
            return closed(f"{trial.where} was caught by the next hop, which ends TLS")
        return leads_out(f"{trial.where} speaks TLS: somebody else is there")
    if heard[0] == _HANDSHAKE:
        return leads_out(f"{trial.where} speaks TLS, and shows no certificate of the proxy's CA")
    return judge(trial.where, heard)
