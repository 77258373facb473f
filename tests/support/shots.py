"""One call with every part an attacker may choose, and how it is made: in absolute form, or in a tunnel with TLS."""

import json
import re
import secrets
import socket
import ssl
import struct
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import houses
import identities
import rawclient
from nodes import wait_for
from origin_replies import chunk
from streets import Street

from addons.live import LOOK_EVERY_S
from proxy.core.control import Act
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.keys import PrivateKey, jwk
from proxy.core.manifest import parse_manifest
from proxy.core.proof import sign_request

type Lines = list[tuple[str, str]]
type Spoil = Callable[[Lines, str, str], Lines]
"""What happens to the header lines after they were signed, given also the method and the URL that were signed."""

CLOSED = "closed"
"""In place of a code: the connection was closed without an answer."""

LED = "transparent"
"""The way in of an agent that knows of no proxy, where the network leads to it (tests/network/test_led_attacks.py)."""

LED_CODES = frozenset(
    {
        "no address",
        "url.ambiguous",
        "proof.source",
        *(f"transparent.{why}" for why in ("literal", "unmapped", "sni", "protocol")),
    }
)
"""What may come of an attack there before anything else does: names that do not agree are refused first."""

NO_ADDRESS = "no address"
"""In place of a code: the stub gave the name no address, and there is nothing to connect to."""

PROMISE_S = 2.0
"""A stop reaches every worker within this time."""

_PLAIN_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the agent got. `code` is "" for an origin's response."""

    status: int
    code: str
    response: rawclient.Response | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The problem, or whatever JSON the proxy itself answered with."""
        assert self.response is not None
        return json.loads(self.response.body)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One call. In every text `{port}` stands for the origin's port, `{proxy}` and `{desk}` for the proxy's own."""

    method: str = "GET"
    scheme: str = ""  # of the request target; "": http in absolute form, and none inside a tunnel
    authority: str = "erp.example:{port}"  # of the request target, and of CONNECT
    connect: str = ""  # of CONNECT, where it differs
    connect_lines: tuple[tuple[str, str], ...] | None = None  # the header lines of CONNECT; None: Host, as it should be
    sni: str | None = ""  # "": the host of CONNECT; None: none is sent
    host: tuple[str, ...] | None = None  # the Host lines; None: the authority
    path: str = "/v1/invoices/17"
    headers: tuple[tuple[str, str], ...] = ()
    body: str | bytes = ""
    chunked: bool = False
    declares: str = ""  # the cluster in Agent-Intent; "": no declaration
    clusters: tuple[str, ...] = ()  # what the mandate grants; () is `streets.USUAL`
    proof: str = "request"  # or "tunnel": CONNECT is signed in place of the request; or "none"
    edits: tuple[tuple[str, str], ...] = ()  # (these bytes of the finished request, what stands in their place)
    resolves_to: tuple[Any, ...] = ()  # what the host resolves to meanwhile
    # for attacks written in Python
    chain: Callable[[Street], Sequence[str]] | None = None  # the manifests it bears
    signer: PrivateKey | None = None  # the leaf's key unless told otherwise
    signs: "Shot | None" = None  # the call that is signed, where it is not this one
    spoil: Spoil | None = None
    age_s: int = 0  # how long ago it was signed

    @property
    def body_bytes(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else self.body

    def head(self, street: Street, way: str) -> bytes:
        """The request as bytes, body included."""
        scheme = self.scheme or ("http" if way == "plain" else "")
        target = f"{scheme}://{self.authority}{self.path}" if scheme else self.path
        hosts = (self.authority,) if self.host is None else self.host
        after = self.signed(street, way) if self.proof == "request" else [*self.headers, *self._framing()]
        body = self.body_bytes
        coded = chunk(body) + chunk(b"") if self.chunked else body
        data = _request(self.method, target, [*(("Host", host) for host in hosts), *after]) + coded
        for old, new in self.edits:
            assert old.encode() in data, f"nothing to edit: {old!r} is not in {data!r}"
            data = data.replace(old.encode(), new.encode(), 1)
        return data

    def signed(self, street: Street, way: str, *, connect: bool = False) -> Lines:
        """The header lines after Host, with the agent's proof; with `connect`, those of CONNECT."""
        call = self.signs or self
        method, url = ("CONNECT", call.connect or call.authority) if connect else (call.method, call.target_uri(way))
        tokens = self.chain(street) if self.chain else street.chain(*call.clusters)
        intent = identities.intent_header(call.declares) if call.declares else ""
        own = [] if connect else [*call.headers, *call._framing()]
        intents = identities.intent_headers(tokens, intent=intent)
        body = None if connect else call.body_bytes or None
        try:
            added = self._signature(method, url, [*own, *intents], body)
        except Rejected:  # no such URL can be signed, so it comes with a signature that is good for another
            added = self._signature("GET", "http://erp.example/", [*own, *intents], body)
        sent = [] if connect else [*self.headers, *self._framing()]
        lines = [*sent, *intents, *added]
        return self.spoil(lines, method, url) if self.spoil else lines

    def target_uri(self, way: str) -> str:
        """What an honest signer of this call signs as its URL."""
        authority = self.authority if way == "plain" or self.host is None else self.host[0] if self.host else ""
        return f"{self.scheme.lower() or ('http' if way == 'plain' else 'https')}://{authority}{self.path}"

    def _signature(self, method: str, url: str, lines: Lines, body: bytes | None) -> tuple[tuple[str, str], ...]:
        return sign_request(
            method=method,
            target_uri=url,
            headers=lines,
            body=body,
            key=self.signer or identities.leaf_key(),
            created=datetime.now(UTC) - timedelta(seconds=self.age_s),
            nonce=identities.nonce(secrets.token_hex(16)),
        )

    def _framing(self) -> Lines:
        if self.chunked:
            return [("Transfer-Encoding", "chunked")]
        return [("Content-Length", str(len(self.body_bytes)))] if self.body else []


def filled(shot: Shot, street: Street, way: str) -> Shot:
    """The shot with its placeholders filled in."""

    def fill(value: object) -> Any:
        match value:
            case str():
                ports = {
                    "{port}": street.port(way),
                    "{proxy}": street.house.address[1],
                    "{desk}": street.house.settings.desk.listen.port,
                }
                for name, port in ports.items():
                    value = value.replace(name, str(port))
                return value
            case tuple():
                return tuple(fill(item) for item in value)
            case Shot():
                return filled(value, street, way)
            case _:
                return value

    return replace(shot, **{each.name: fill(getattr(shot, each.name)) for each in fields(shot)})


def fire(street: Street, way: str, shot: Shot, *, house: houses.House | None = None) -> Answer:
    """Make one call over its own connection, to this node or another."""
    if way == LED:
        return _led(street, filled(shot, street, way))
    with closing(rawclient.connect((house or street.house).address)) as wire:
        return enter(wire, street, way, shot, house=house) or send(wire, street, way, shot)


def _led(street: Street, shot: Shot) -> Answer:
    """Make one call as an agent that knows of no proxy: by the address that the stub gives its name.

    What the proxy closes without a word it must journal: that code stands for the answer.
    """
    host, _, port = (shot.connect or shot.authority).rpartition(":")
    said = {each["decision_id"] for each in street.house.journal("decision")}
    address = given(host.strip("[]"))
    if address is None or not (port.isascii() and port.isdigit()):
        return Answer(status=0, code=NO_ADDRESS)
    try:
        opened = rawclient.connect((address, int(port)))
    except OSError:  # it leads nowhere, not even here
        return Answer(status=0, code=NO_ADDRESS)
    try:
        with closing(opened) as wire:
            sni = host if shot.sni == "" else shot.sni
            plain = sni is not None and _PLAIN_HOST.fullmatch(sni)
            wire.start_tls(street.house.ca, sni=sni if plain else None, check_name=False)
            answer = send(wire, street, LED, shot)
    except (OSError, ssl.SSLError):
        answer = Answer(status=0, code=CLOSED)
    return replace(answer, code=_journaled(street, said)) if answer.code == CLOSED else answer


def _journaled(street: Street, said: Collection[object]) -> str:
    """Why a connection was closed, of which nothing was said: as soon as the journal has more than this."""

    def look() -> str | None:
        lines = [each for each in street.house.journal("decision") if each["decision_id"] not in said]
        return next((str(each["code"]) for each in lines if each["code"] in LED_CODES), None)

    return wait_for(look, "why it was closed", within_s=5)


def given(name: str) -> str | None:
    """The address by which an agent comes to a name: as the stub says; None where it says none."""
    try:
        address = ip_address(name)
    except ValueError:
        pass
    else:  # an agent's own loopback is nobody else's (tests/network/test_rules.py)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return None if mapped.is_loopback or mapped.is_unspecified else str(address)
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split(".") if len(each) < 64)
    question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.sendto(question, ("127.0.0.1", 5353))
        try:
            answer = sock.recv(512)
        except TimeoutError:
            return None
    return socket.inet_ntoa(answer[-4:]) if answer[7] else None


def enter(
    wire: rawclient.Wire, street: Street, way: str, shot: Shot, *, house: houses.House | None = None
) -> Answer | None:
    """Make a fresh connection ready for the call: CONNECT and TLS where the way has them. An answer is a refusal."""
    if way == "plain":
        return None
    shot = filled(shot, street, way)
    asked = shot.connect or shot.authority
    proof = shot.signed(street, way, connect=True) if shot.proof == "tunnel" else []
    lines = [("Host", asked)] if shot.connect_lines is None else shot.connect_lines
    wire.send(_request("CONNECT", asked, [*lines, *proof]))
    refused = answer_of(wire, to="CONNECT")
    if refused.status != 200:
        return refused
    sni = _host(asked) if shot.sni == "" else shot.sni
    plain = sni is not None and _PLAIN_HOST.fullmatch(sni)
    try:
        wire.start_tls((house or street.house).ca, sni=sni if plain else None, check_name=False)
    except (ssl.SSLError, ConnectionError):
        return Answer(status=0, code=CLOSED)
    return None


def send(wire: rawclient.Wire, street: Street, way: str, shot: Shot) -> Answer:
    """Make one call on a connection that is ready for it."""
    shot = filled(shot, street, way)
    street.resolve(**({_host(shot.authority): shot.resolves_to} if shot.resolves_to else {}))
    try:
        wire.send(shot.head(street, way))
    except ConnectionError:  # it was ended before
        return Answer(status=0, code=CLOSED)
    return answer_of(wire, to=shot.method)


def stop(street: Street, way: str, act: Act, target: str, call: Shot) -> None:
    """Publish an operator's control statement, and hold every worker to the promise: `call` follows it in time.

    Where the statement lets something run again, `call` must pass again.
    """
    passes = act in (Act.RESTORE, Act.KILL_OFF)
    with ExitStack() as opened:
        wires = opened.enter_context(street.wires(way))
        street.house.stop_by(act, target)
        deadline_s = time.monotonic() + PROMISE_S
        for number in range(len(wires)):
            while (passed := _passed(wires[number], street, way, call)) is not passes and (passes or passed):
                assert time.monotonic() < deadline_s, f"{act.value} {target} was not followed within {PROMISE_S} s"
                if passed is None:  # a worker that had not looked at the stop yet ends what the stop would have ended
                    wires = opened.enter_context(street.wires(way))
        if passes:  # and what had only begun by then, so that the next case begins after it
            time.sleep(LOOK_EVERY_S + 0.1)


def _passed(wire: rawclient.Wire, street: Street, way: str, call: Shot) -> bool | None:
    """Whether a call passes; None on a connection that was ended."""
    try:
        answer = send(wire, street, way, call)
    except (rawclient.Broken, OSError):
        return None
    return None if answer.code == CLOSED else answer.status == 200


def leaf_under(root: str, **claims: Json) -> str:
    """A leaf for `leaf_key()` under any root, permitted or not: its parent's claims, but for its place, and these."""
    above = parse_manifest(root)
    now, signer = int(datetime.now(UTC).timestamp()), identities.key(above.sub)
    exp = min(now + 1800, int(above.exp.timestamp()))
    place: dict[str, Json] = {
        "iss": signer.public.kid,
        "jti": f"l-{secrets.token_hex(6)}",
        "cnf": {"jwk": jwk(identities.leaf_key().public)},
        "par_hash": above.id,
        "del_depth": 1,
        "iat": min(now, exp - 60),
        "nbf": max(min(now, exp - 60), int(above.nbf.timestamp())),
        "exp": exp,
    }
    return identities.resealed(root, signer, **{**place, **claims})


def answer_of(wire: rawclient.Wire, *, to: str = "GET") -> Answer:
    """The next answer on a connection."""
    try:
        response = wire.response(to=to)
    except (ssl.SSLError, ConnectionError, rawclient.Closed):
        return Answer(status=0, code=CLOSED)
    problem = response.header("content-type") == "application/problem+json"
    return Answer(status=response.status, code=json.loads(response.body)["code"] if problem else "", response=response)


def _request(method: str, target: str, lines: Sequence[tuple[str, str]]) -> bytes:
    text = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines), "", ""]
    return "\r\n".join(text).encode()


def _host(authority: str) -> str:
    return authority.rpartition(":")[0].strip("[]") or authority
