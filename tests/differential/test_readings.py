"""What six real servers parsed is what was judged, or nothing reached them.

The same raw requests go through the proxy in absolute form and in a tunnel with TLS, to nginx, Node.js and four Python
servers. What each of them parsed is compared with `canonicalise` of the request as it was written, which is what the
proxy decides on, and with the line the journal has of it.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

import identities
import pytest
import rawclient
from certs import Authority
from houses import WAYS, House, house
from readings_cases import Case, cases
from readings_origins import HOST, NAMES, Reading, Server, running_servers
from towns import ROOMY

from proxy.core.canonical import canonicalise
from proxy.core.errors import Rejected
from proxy.core.model import Call, Leg, Received

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

CLUSTERS = """\
version: 1
clusters:
  - id: everything-there
    description: Whatever can be read in one way only
    risk: routine
    hosts: [diff.example]
    schemes: [http, https]
    ports: [{ports}]
    addresses: [127.0.0.0/8]
    operations:
      - name: any-path
        methods: {methods}
        path: /{{path:rest}}
        query: any
      - name: root
        methods: {methods}
        path: /
        query: any
      - name: one-encoded
        methods: {methods}
        path: /v1/{{name:encoded}}
        query: any
"""
METHODS = "[GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, PROPFIND, REPORT, FOO, M-SEARCH]"


SUBSETS = frozenset({"nginx"})
"""Servers whose readings have only some of the fields."""

LENIENT = ("nginx", "node")
"""Who gets to see also what must not arrive anywhere: one answer of the proxy is like the other."""

PIPELINED = tuple(Case(name=f"pipelined {number}", target=f"/v1/pipelined/{number}") for number in (1, 2, 3))


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One case on its way: what we say was judged, and what came back."""

    case: Case
    server: str
    way: str
    judged: Call | Rejected | None  # None: bytes that are no request of parts
    status: int | None = None  # None: closed without an answer
    refused: bool = False  # by the proxy, not by the server

    @property
    def marker(self) -> str:
        return f"{self.way}: {self.case.name}"

    def __str__(self) -> str:
        return f"{self.server}, {self.marker}"


@dataclass(kw_only=True)
class Run:
    """All that happened."""

    sent: list[Sent] = field(default_factory=list)
    readings: dict[str, list[Reading]] = field(default_factory=dict)  # by server
    journal: list[dict[str, object]] = field(default_factory=list)

    def arrived(self) -> Iterator[tuple[Sent, Reading]]:
        """Every reading with what was sent; one that nobody sent is a failure."""
        sent = {(each.server, each.marker): each for each in self.sent}
        for server, readings in self.readings.items():
            for reading in readings:
                assert (server, reading.case) in sent, f"{server} parsed a request that nobody sent: {reading}"
                yield sent[server, reading.case], reading


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("readings")
    authority, done = Authority(), Run()
    with running_servers(folder, authority) as servers:
        ports = ", ".join(str(port) for server in servers.values() for port in server.ports.values())
        text = CLUSTERS.format(ports=ports, methods=METHODS)
        extra = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}"
        with house(folder / "house", clusters=text, extra=extra, names={HOST: ["127.0.0.1"]}, workers=2) as running:
            proof = session_proof(running)
            senders = [Sender(running, server, way, proof) for server in servers.values() for way in WAYS]
            with ThreadPoolExecutor(max_workers=4) as pool:
                done.sent = [sent for each in pool.map(Sender.send_all, senders) for sent in each]
        done.journal = running.journal("decision")
    for name, server in servers.items():
        done.readings[name] = server.readings()
    yield done


def session_proof(running: House) -> str:
    """What a session puts into Proxy-Authorization."""
    opened = json.loads(running.call("POST", "http://intent.internal/session").body)
    return identities.basic(opened["manifest"], opened["token"])


class Sender:
    """Sends every case to one server by one way in, over one connection for as long as it lasts."""

    def __init__(self, running: House, server: Server, way: str, proof: str) -> None:
        self.running, self.server, self.way, self.proof = running, server, way, f"Proxy-Authorization: {proof}"
        self.host = f"{HOST}:{server.ports[way]}"
        self.wire: rawclient.Wire | None = None

    def send_all(self) -> list[Sent]:
        sent = []
        for case in cases():
            judged = self.judge(case)
            if not isinstance(judged, Rejected) or self.server.name in LENIENT:
                sent.append(self.send(Sent(case=case, server=self.server.name, way=self.way, judged=judged)))
        sent += self.send_pipelined()
        self.drop()
        return sent

    def send(self, sent: Sent) -> Sent:
        case, fresh = sent.case, self.wire is None
        self.open()
        try:
            self.wire.send(self.bytes_of(sent))
            if not case.whole:
                raise rawclient.Broken("nobody waits for an answer to what has no end")
            sent = self.answered(sent)
        except (rawclient.Broken, OSError):
            self.drop()
            assert fresh or not case.whole or case.raw is not None, f"{sent}: the connection was closed under it"
            return sent
        if case.raw is not None or case.body:
            self.drop()  # whatever may still lie in it, or be answered in it, is not the next case's
        return sent

    def send_pipelined(self) -> Iterator[Sent]:
        self.drop()
        self.open()
        together = [
            Sent(case=case, server=self.server.name, way=self.way, judged=self.judge(case)) for case in PIPELINED
        ]
        self.wire.send(b"".join(self.bytes_of(sent) for sent in together))
        for sent in together:
            yield self.answered(sent)

    def answered(self, sent: Sent) -> Sent:
        answer = self.wire.response(to=sent.case.method)
        framed = answer.all("Content-Length") or answer.all("Transfer-Encoding")
        if "close" in answer.all("Connection") or not framed:
            self.drop()
        problem = answer.header("Content-Type") == "application/problem+json"
        return replace(sent, status=answer.status, refused=problem)

    def open(self) -> None:
        if self.wire is not None:
            self.wire.extend()
            return
        self.wire = rawclient.connect(self.running.address)
        if self.way == "tls":
            name, _, value = self.proof.partition(": ")
            assert self.wire.connect(self.host, headers=((name, value),)).status == 200
            self.wire.start_tls(self.running.ca, sni=HOST)

    def drop(self) -> None:
        if self.wire is not None:
            self.wire.close()
        self.wire = None

    def bytes_of(self, sent: Sent) -> bytes:
        base, proof = (f"http://{self.host}", (self.proof,)) if self.way == "plain" else ("", ())
        return sent.case.wire(base=base, host=self.host, marker=sent.marker, proof=proof)

    def judge(self, case: Case) -> Call | Rejected | None:
        """What the proxy must take this request for, from its parts: not from bytes that have to be parsed first."""
        if case.raw is not None or (case.body and case.content is None and "Transfer-Encoding: chunked" in case.lines):
            return None
        proof = (self.proof,) if self.way == "plain" else ()
        lines = (f"Host: {self.host}", f"X-Case: {self.way}: {case.name}", *proof, *case.lines)
        if not all(re.fullmatch(r"[^\s:]+:[^\r\n\0]*", line) for line in lines) or re.search(r"[\s]", case.target):
            return None
        pairs = [line.partition(":") for line in lines]
        inside = self.way == "tls"
        received = Received(
            method=case.method.encode("latin-1"),
            scheme="https" if inside else "http",
            form="origin" if inside else "absolute",
            authority=b"" if inside else self.host.encode("ascii"),
            target=case.target.encode("latin-1"),
            headers=tuple((name.encode("latin-1"), value.strip(" \t").encode("latin-1")) for name, _, value in pairs),
            body=case.body if case.content is None else case.content,
        )
        tunnel = (HOST, self.server.ports["tls"]) if inside else None
        leg = Leg(
            id="leg",
            source="127.0.0.1",
            tls=False,
            local=True,
            tunnel=tunnel,
            inner_tls=inside,
            sni=HOST if inside else None,
        )
        try:
            return canonicalise(received, leg)
        except Rejected as refused:
            return refused


# --- what was parsed -------------------------------------------------------------------------------------------------


def differences(call: Call, reading: Reading, server: str) -> Iterator[str]:
    """Everything in which a server's reading is not the call that was judged."""
    target = f"{call.path}?{call.query}" if call.has_query else call.path
    if server == "uvicorn" and not call.query:
        target = target.removesuffix("?")  # an ASGI scope does not tell an empty query from none
    yield from differ("method", call.method, reading.method)
    yield from differ("target", target, reading.target)
    yield from differ("path", unquote_to_bytes(call.path).decode("latin-1"), reading.path)
    yield from differ("query", grouped(call.parameters), grouped(reading.pairs))
    yield from differ("host", (call.authority,), reading.headers.get("host", ()))
    yield from differ("body", hashlib.sha256(call.body).hexdigest(), reading.body_sha256)
    judged, parsed = fields(call, server), {name: ",".join(values) for name, values in reading.headers.items()}
    if server in SUBSETS:
        judged = {name: value for name, value in judged.items() if name in parsed}
    yield from differ("fields", judged, parsed)


def differ(what: str, judged: object, parsed: object) -> Iterator[str]:
    if judged != parsed:
        yield f"{what}: judged {judged!r}, parsed {parsed!r}"


def grouped(pairs: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    """The values of each name in order: what every server keeps, also those that keep no order among names."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def fields(call: Call, server: str) -> dict[str, str]:
    """The fields as a server would hand them out, several lines as one list."""
    found: dict[str, list[str]] = {}
    for name, value in call.headers:
        if server != "gunicorn" or "_" not in name:  # it drops them: CGI cannot tell them from those with "-"
            found.setdefault(name.lower(), []).append(value)
    return {name: ",".join(values) for name, values in found.items()}


def test_what_every_server_parsed_is_what_was_judged(run: Run) -> None:
    wrong = [
        f"{sent}: {difference}"
        for sent, reading in run.arrived()
        if isinstance(sent.judged, Call)
        for difference in differences(sent.judged, reading, sent.server)
    ]
    assert wrong == []


def test_what_has_no_one_reading_reaches_nobody(run: Run) -> None:
    reached = [
        f"{sent}: {sent.judged!r}, but it arrived as {reading}"
        for sent, reading in run.arrived()
        if isinstance(sent.judged, Rejected)
    ]
    assert reached == []


def test_what_the_proxy_refused_reached_nobody_and_what_it_passed_arrived_once(run: Run) -> None:
    arrived = Counter((sent.server, sent.marker) for sent, _ in run.arrived())
    wrong = [
        f"{sent}: answered {sent.status}, arrived {arrived[sent.server, sent.marker]} times"
        for sent in run.sent
        if arrived[sent.server, sent.marker] != (1 if sent.status == 200 else 0)
    ]
    assert wrong == []


def test_every_ordinary_request_passes(run: Run) -> None:
    refused = [
        f"{sent}: {sent.status}, {sent.judged!r}" for sent in run.sent if sent.case.ordinary and sent.status != 200
    ]
    assert refused == []
    assert {sent.status for sent in run.sent if sent.case in PIPELINED} == {200}
    assert {sent.server for sent in run.sent} == set(NAMES)


def digest_of(line: Mapping[str, object]) -> str | None:
    digest = line.get("body_sha256")
    return base64.urlsafe_b64decode(f"{digest}=").hex() if digest is not None else None


def test_the_journal_says_of_each_what_the_server_parsed(run: Run) -> None:
    """Also of those that were sent as bytes. Method, URL without its query, and the body's digest."""
    parsed, arrived = Counter(), set()
    for sent, reading in run.arrived():
        scheme = "http" if sent.way == "plain" else "https"
        (host,) = reading.headers["host"]
        url = f"{scheme}://{host}{reading.target.partition('?')[0]}"
        parsed[reading.method, url, reading.body_sha256 if reading.body_bytes else None] += 1
        arrived.add((sent.server, sent.marker))
    for sent in run.sent:  # what went on, but was no request to that server: a method it does not know
        if sent.status is not None and not sent.refused and (sent.server, sent.marker) not in arrived:
            assert isinstance(sent.judged, Call) and not sent.judged.body, sent
            parsed[sent.judged.method, sent.judged.origin + sent.judged.path, None] += 1
    allowed = Counter(
        (line["method"], line["url"], digest_of(line)) for line in run.journal if line["verdict"] == "allow"
    )
    assert parsed == allowed
