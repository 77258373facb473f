"""What is asked of the proxy: is it there, is its CA trusted here, do the clocks agree?"""

import hashlib
import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from proxy.agent.answers import Denied, read_answer
from proxy.agent.doctor.findings import Finding, fail, ok, skip
from proxy.agent.doctor.place import VARIABLES, Answer, Lines, Place, ask, tunnel, within
from proxy.agent.variables import TRUST

HEALTH = "http://intent.internal/health"
TUNNEL = "intent.internal:443"
"""A name that only the proxy answers for: whoever is not the proxy learns of nothing."""

MOST_SKEW = timedelta(seconds=5)
"""What the proxy forgives a clock that is ahead; one that is behind fails after a minute, and renews too late."""

_EXPORT = "intent-proxy ca export > ca.pem, at the proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a proxy that answered said of itself."""

    deployment: str
    answer: Answer


def reach(place: Place) -> tuple[Finding, Reached | None]:
    """Does an intent-proxy answer?"""
    if place.proxy.scheme == "https" and place.ca is not None:
        try:
            ssl.create_default_context(cafile=str(place.ca))
        except OSError as fault:
            return _unreadable("proxy", place.ca, fault), None
    try:
        answer = ask(place, "GET", HEALTH)
        if answer.status == 407 and place.session:  # a sidecar, which serves nobody but its own program
            answer = ask(place, "GET", HEALTH, place.session)
    except (OSError, http.client.HTTPException) as fault:
        return _unreached(place, fault), None
    refused = read_answer(answer.status, answer.headers, answer.body)
    if isinstance(refused, Denied):
        text = f"the proxy at {place.where} answers {answer.status}: {refused.detail} ({refused.code})"
        return fail("proxy", text, "its operator finds the cause in its log, and with `intent-proxy check`"), None
    deployment = _deployment(answer.body) if answer.status == 200 else None
    if deployment is None:
        text = f"what answers at {place.where} (status {answer.status}) is no intent-proxy"
        mend = f"give the address of intent-proxy, `listen` in its proxy.yaml; this one came from {place.said_by}"
        return fail("proxy", text, mend), None
    found = ok("proxy", f"intent-proxy of deployment {deployment} answers at {place.where}")
    return found, Reached(deployment=deployment, answer=answer)


def _unreached(place: Place, fault: Exception) -> Finding:
    match fault:
        case ssl.SSLCertVerificationError():
            text = f"the proxy's own certificate does not verify: {fault.verify_message}"
            return fail("proxy", text, "name the CA it was issued by with --ca, or correct the host in the proxy's URL")
        case socket.gaierror():
            text = f"the proxy's name {place.host} does not resolve here"
            return fail("proxy", text, "give its address, or let this place resolve that one name")
        case ConnectionRefusedError():
            mend = f"start it (intent-proxy run), or correct the address: it came from {place.said_by}"
            return fail("proxy", f"nothing listens at {place.where}", mend)
        case TimeoutError():
            text = f"{place.where} does not answer within {place.timeout_s:g} s"
        case OSError():
            text = f"{place.where} cannot be reached: {fault.strerror or type(fault).__name__}"
        case _:
            text = f"what answers at {place.where} does not speak HTTP"
            return fail("proxy", text, f"correct the address, or http:// to https://: it came from {place.said_by}")
    return fail("proxy", text, f"let this place's network reach {place.where} over TCP")


def _deployment(body: bytes) -> str | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = value.get("deployment") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


# --- the environment --------------------------------------------------------------------------------------------------


def environment(place: Place) -> Finding:
    """Do the variables that programs read lead to this proxy, and nowhere else?"""
    values = {name: place.environment[name] for name in VARIABLES if place.environment.get(name)}
    if not values:
        return skip("variables", "no proxy variables are set: programs must be told of the proxy in another way")
    for name, value in values.items():
        led = value.rpartition("@")[2].rpartition("://")[2].rstrip("/")
        if led.lower() != place.proxy.netloc.rpartition("@")[2].lower():
            text = f"{name} leads elsewhere than to {place.where}"
            return fail("variables", text, f"export {name}={place.proxy.scheme}://{place.where}, or unset it")
    for scheme in ("HTTP_PROXY", "HTTPS_PROXY"):
        if (
            scheme not in values
            and scheme.lower() not in values
            and "ALL_PROXY" not in {each.upper() for each in values}
        ):
            return fail(
                "variables", f"{scheme} is not set: such calls go around the proxy", "set it like the other one"
            )
    for name in ("NO_PROXY", "no_proxy"):
        around = [host for host in place.environment.get(name, "").replace(" ", "").split(",") if host]
        foreign = [host for host in around if not _is_local(host)]
        if foreign:
            text = f"{name} sends calls to {', '.join(foreign)} around the proxy"
            return fail("variables", text, f"unset {name}, or leave nothing but this machine's own names in it")
    return ok("variables", f"{', '.join(values)} lead to the proxy")


def _is_local(host: str) -> bool:
    """Whether an entry of NO_PROXY means this machine and nothing else, as programs write and read it."""
    name = host.lower().lstrip(".").rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    bare = name.partition("]")[0].lstrip("[") if name.startswith("[") else name
    if bare.count(":") == 1:  # with a port
        bare = bare.partition(":")[0]
    try:
        return bare == "localhost" or ipaddress.ip_network(bare, strict=False).is_loopback
    except ValueError:
        return False


# --- the CA -----------------------------------------------------------------------------------------------------------


def certificates(place: Place, proof: Callable[[], Lines]) -> Iterator[Finding]:
    """Would each of this place's stores trust what the proxy shows inside tunnels? Asked by a handshake with each.

    `proof` is what a tunnel is opened with where the proxy wants it, each time anew.
    """
    stores: dict[Path | None, list[str]] = {place.ca: ["Python" if place.ca is None else "--ca"]}
    for name in TRUST:
        if value := place.environment.get(name):
            stores.setdefault(Path(value), []).append(name)
    for file, (name, *others) in stores.items():
        found = _trusted(place, f"CA, {name}", file, proof)
        also = (f"the same file: {', '.join(others)}",) if others else ()
        yield replace(found, lines=(*found.lines, *also))


def _trusted(place: Place, name: str, file: Path | None, proof: Callable[[], Lines]) -> Finding:
    try:
        context = ssl.create_default_context(cafile=None if file is None else str(file))
    except OSError as fault:
        return _unreadable(name, file, fault)
    try:
        status, sock = tunnel(place, TUNNEL)
        for lines in (proof(), place.session) if status == 407 else ():
            if lines and status == 407:
                sock.close()
                status, sock = tunnel(place, TUNNEL, lines)
        with sock:
            if status != 200:
                return skip(
                    name, f"the proxy opens no tunnel without proof (status {status}): give --manifest and --key"
                )
            with within(sock, place.timeout_s):
                shake_hands(sock, context, TUNNEL.partition(":")[0])
    except ssl.SSLCertVerificationError as fault:
        return _distrusted(name, file, fault)
    except OSError as fault:
        return fail(name, f"no TLS inside a tunnel: {fault.strerror or type(fault).__name__}", "see the proxy's log")
    print_ = "" if file is None else _fingerprint(file)
    return ok(name, "what the proxy shows inside tunnels is trusted", *([print_] if print_ else []))


def _unreadable(name: str, file: Path | None, fault: OSError) -> Finding:
    why = "it holds no certificate" if isinstance(fault, ssl.SSLError) else fault.strerror or type(fault).__name__
    return fail(name, f"{file} cannot be read: {why}", f"write the proxy's CA there: {_EXPORT}")


def _distrusted(name: str, file: Path | None, fault: ssl.SSLCertVerificationError) -> Finding:
    if fault.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        text = f"the proxy's certificate is {'not valid yet' if fault.verify_code == 9 else 'over'} by this clock"
        return fail(name, text, "set this machine's clock (NTP), or the proxy's")
    if file is None:
        mend = f"{_EXPORT}; here: export SSL_CERT_FILE=ca.pem, or give it to the program itself and to doctor with --ca"
        return fail(name, f"Python does not trust the proxy's CA: {fault.verify_message}", mend)
    text = f"{file} does not hold the CA of this proxy: {fault.verify_message}"
    return fail(name, text, f"{_EXPORT}; here: name ca.pem there, or add it to that file; `intent-proxy exec` sets all")


def shake_hands(sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
    """A TLS handshake over any socket, also one that is TLS itself.

    Raises:
        ssl.SSLCertVerificationError: the certificate does not verify.
        OSError: anything else.
    """
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(coming, going, server_hostname=name)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            sock.sendall(going.read())
            part = sock.recv(65_536)
            if not part:
                raise ConnectionError("the connection ended in the handshake") from None
            coming.write(part)
        else:
            sock.sendall(going.read())
            return


def _fingerprint(file: Path) -> str:
    """What to compare with `intent-proxy ca export`; of a bundle with many certificates nothing."""
    try:
        pem = file.read_text("ascii")
        if pem.count("-----BEGIN CERTIFICATE-----") != 1:
            return ""
        begin = pem.index("-----BEGIN CERTIFICATE-----")
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[begin:].strip())).hexdigest().upper()
    except (OSError, ValueError):
        return ""
    return f"SHA-256 {':'.join(digest[at : at + 2] for at in range(0, len(digest), 2))}: compare with ca export"


# --- the clock --------------------------------------------------------------------------------------------------------


def clock(reached: Reached) -> Finding:
    """Does this machine's clock agree with the proxy's?"""
    said = reached.answer.date
    if said is None:
        return skip("clock", "the proxy did not say what time it is")
    ahead = reached.answer.at - (said + timedelta(seconds=0.5))  # it says whole seconds, cut off
    if abs(ahead) <= MOST_SKEW:
        return ok("clock", "agrees with the proxy's")
    seconds = abs(round(ahead.total_seconds()))
    text = (
        f"this clock is {seconds} s {'ahead of' if ahead > timedelta(0) else 'behind'} the proxy's: proofs are refused"
    )
    return fail(
        "clock", text, "set this machine's clock (NTP: timedatectl set-ntp true), or the proxy's if that is wrong"
    )
