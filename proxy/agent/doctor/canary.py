"""What must be refused is refused, by the proxy, in a TLS connection that this place trusts.

The canary is the name of a cloud's metadata service: the proxy refuses it whatever the mandate says, before it is
resolved, and never holds it for a person. It is asked for the way an agent would: by the name, at the address that the
stub gives it, and by way of the proxy's own address where there is one.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.agent.answers import Denied, Held, read_answer
from proxy.agent.doctor.attempts import MAX_ANSWER_BYTES, refusal
from proxy.agent.doctor.datagrams import A, ask_name, stands_for
from proxy.agent.doctor.findings import Finding, fail, ok, skip, unknown
from proxy.agent.doctor.place import Place, ask, within

CANARY = "metadata.goog"
_REQUEST = "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"
_LOOK = "the proxy's journal says what became of it: intent-proxy audit"
_CA = "intent-proxy ca export > ca.pem, at the proxy; here: name it with --ca, and to programs in SSL_CERT_FILE"
_REDIRECT = "intent-proxy transparent apply, and `transparent.listen` and `transparent.dns.listen` in proxy.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stub:
    """The name servers of this place, and how its programs are to trust the proxy."""

    resolvers: Sequence[str]
    ca: Path | None
    timeout_s: float

    def given(self, name: str) -> str | None:
        """The address that the proxy's stub gives a name here; None when it is not the stub that answers."""
        for server in self.resolvers:
            with suppress(OSError, ValueError):
                if found := stands_for(ask_name(server, name, A, self.timeout_s)):
                    return found
        return None


def refusals(place: Place | None, stub: Stub) -> Iterator[Finding]:
    """By each way that there is. There must be one, or nothing here shows a proxy at all."""
    given = stub.given(CANARY)
    if place is not None:
        yield replace(
            _explicit(place), tried=f"http://{CANARY}/ through {place.where}", expected="refused by the proxy"
        )
    if given is not None:
        yield replace(_in_the_clear(given, stub), tried=f"http://{CANARY}/ at {given}", expected="refused by the proxy")
        yield replace(
            _over_tls(given, stub), tried=f"https://{CANARY}/", expected="refused, by a proxy that is trusted"
        )
    if place is None and given is None:
        text = f"no stub gives {CANARY} an address of 198.18.0.0/15, and no proxy is named"
        yield replace(
            fail("refusal", text, f"--proxy http://HOST:PORT; or, for agents without settings, {_REDIRECT}"),
            tried=f"the name at {', '.join(stub.resolvers) or 'no name server'}",
            expected="an address that leads to the proxy",
        )
    if place is not None and given is None:
        yield skip("refusal: transparent", "no stub answers here: agents have to know of the proxy")


def _told(name: str, answer: Denied | Held | None) -> Finding:
    match answer:
        case Denied():
            return ok(name, f"refused: {answer.title} ({answer.code})")
        case Held():
            return fail(name, "the proxy held it for a person: it must refuse it", _LOOK)
        case None:
            return fail(name, "what answered is not the proxy's refusal: the call went on", _LOOK)


def _explicit(place: Place) -> Finding:
    name = "refusal: explicit"
    try:
        answer = ask(place, "GET", f"http://{CANARY}/")
    except (OSError, http.client.HTTPException) as fault:
        return unknown(name, f"the proxy at {place.where} did not answer ({type(fault).__name__})", _LOOK)
    return _told(name, read_answer(answer.status, answer.headers, answer.body))


def _in_the_clear(address: str, stub: Stub) -> Finding:
    name = "refusal: transparent"
    try:
        with socket.create_connection((address, 80), timeout=stub.timeout_s) as sock, within(sock, stub.timeout_s):
            sock.sendall(_REQUEST.format(CANARY).encode("ascii"))
            answer = b"".join(iter(lambda: sock.recv(MAX_ANSWER_BYTES), b""))
    except OSError as fault:
        text = f"the way to the proxy is closed ({getattr(fault, 'strerror', None) or type(fault).__name__})"
        return unknown(name, text, f"the proxy has to run, and rules to lead to it: {_REDIRECT}")
    if not answer:
        return unknown(name, "the connection was closed without an answer", _LOOK)
    return _told(name, refusal(answer))


def _over_tls(address: str, stub: Stub) -> Finding:
    """As a program does it that trusts what this place trusts."""
    name = "TLS"
    try:
        context = ssl.create_default_context(cafile=None if stub.ca is None else str(stub.ca))
    except OSError as fault:
        why = "it holds no certificate" if isinstance(fault, ssl.SSLError) else fault.strerror
        return fail(name, f"{stub.ca} cannot be read: {why}", _CA)
    try:
        with (
            socket.create_connection((address, 443), timeout=stub.timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=CANARY) as sock,
            within(sock, stub.timeout_s),
        ):
            sock.sendall(_REQUEST.format(CANARY).encode("ascii"))
            answer = b"".join(iter(lambda: sock.recv(MAX_ANSWER_BYTES), b""))
    except ssl.SSLCertVerificationError as fault:
        return fail(name, f"what the proxy shows is not trusted here: {fault.verify_message}", _CA)
    except OSError as fault:
        return unknown(name, f"no answer over TLS: {getattr(fault, 'strerror', None) or type(fault).__name__}", _LOOK)
    return _told(name, refusal(answer))
