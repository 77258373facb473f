"""What was judged is what is sent: for generated calls, the origin received exactly the canonical call.

The proxy under test reads the same bytes as the pure core does here; what the origin saw, and what the journal says,
must both equal the core's call: method, target, header lines in order, body. What has no canonical form, or leaves the
mandate, is refused with the core's own code, and the origin sees nothing.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from houses import WAYS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import intent_headers, leaf_key
from origins import Request
from rawclient import Response, request_bytes
from towns import Town, open_town

from proxy.core.canonical import canonicalise
from proxy.core.content_digest import content_digest
from proxy.core.encoding import b64u, sha256_b64u
from proxy.core.errors import Rejected
from proxy.core.model import Call, Leg, Received
from proxy.core.proof import sign_request, target_uri
from proxy.core.readings import doubt

EXAMPLES = 60

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH")

CLUSTERS = f"""\
version: 1
clusters:
  - id: supplier-invoices
    description: Anything under /v1/
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{{http}}, {{https}}]
    addresses: [127.0.0.0/8]
    operations:
      - name: anything
        methods: [{", ".join(METHODS)}]
        path: /v1/{{{{rest:rest}}}}
        query: any
      - name: encoded
        methods: [{", ".join(METHODS)}]
        path: /packages/{{{{name:encoded}}}}
        query: any
      - name: odd
        methods: [{", ".join(METHODS)}]
        path: /odd/{{{{rest:rest,encoded,matrix}}}}
        query: any
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town whose mandate covers nearly everything, so that what is refused is refused for its form."""
    with open_town(tmp_path_factory.mktemp("wide"), workers=1, clusters=CLUSTERS) as town:
        yield town


# --- calls -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A call before it is signed, as its agent writes it. `host` is a format for the port."""

    method: str
    host: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunked: bool


NAMES = st.sampled_from(
    ["Accept", "accept-language", "X-Trace", "x-trace", "User-Agent", "Date", "ETag", "If-Match", "Referer", "Range"]
) | st.sampled_from(["Authorization", "Cookie", "Idempotency-Key", "Content-Type", "Content-Encoding", "Via"])
VALUES = st.one_of(
    st.text("abcXYZ019 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t", max_size=30).map(lambda text: text.strip(" \t")),
    st.sampled_from(["", "a,b", "bytes=0-1", "text/plain; charset=utf-8", 'W/"1"', "keep-alive"]),
)
SIGNED = {"authorization", "cookie", "idempotency-key", "content-type", "content-encoding", "prefer"}
HOP_BY_HOP = st.sampled_from(
    [
        ("Connection", "keep-alive"),
        ("Connection", "close, X-Trace"),
        ("Connection", "x-gone"),
        ("X-Gone", "named by Connection"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Proxy-Connection", "keep-alive"),
        ("Prefer", "respond-async, return=minimal"),
        ("Prefer", "wait=0"),
        ("Alt-Used", "erp.example"),
    ]
)
PARTS = st.lists(
    st.one_of(
        st.text("abcXYZ019-._~!$&'()*+,=:@", min_size=1, max_size=6),
        st.sampled_from(["%41", "%7e", "%c3%a9", "%20", "%2B", "%3f", "%e2%82%ac"]),
    ),
    min_size=1,
    max_size=4,
).map("".join)
ODD_PARTS = st.sampled_from(
    [
        *("", "%2F", "a%2fb", "..", "%2e%2e", ".", "%", "%zz", "a;b", "a%3bb;c", "a[0]|"),
        *("%5c", "%00", "%ff", "%252e", "a%2f..%2fb"),
    ]
)
WORDS = st.one_of(st.text("abc019=&+?/", max_size=6), st.sampled_from(["%41", "%26", "%3b", "%2b", "[]=1", "%c3%A9"]))
ODD_WORDS = st.sampled_from(["%zz", ";", "[", "%ff", "%2500", '"'])


def targets(*, odd: bool) -> st.SearchStrategy[str]:
    """Paths and queries; odd ones are likely to have no canonical form."""
    parts = st.lists(st.one_of(PARTS, ODD_PARTS) if odd else PARTS, min_size=1, max_size=4)
    words = st.lists(st.one_of(WORDS, ODD_WORDS) if odd else WORDS, max_size=5)
    queries = st.one_of(st.just(""), words.map(lambda some: "?" + "".join(some)))
    prefixes = st.sampled_from(["/v1/", "/packages/", "/odd/", "/"] if odd else ["/v1/"])
    return st.builds(lambda prefix, some, query: prefix + "/".join(some) + query, prefixes, parts, queries)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    lines = draw(st.lists(st.one_of(st.tuples(NAMES, VALUES), HOP_BY_HOP), max_size=8))
    signed = {name: value for name, value in lines if name.lower() in SIGNED}  # a signer refuses to sign two lines
    return Sample(
        method=draw(st.sampled_from(METHODS)),
        host=draw(st.sampled_from(["erp.example:{}", "ERP.Example:{}", "erp.example.:{}", "erp.example:0{}"])),
        target=draw(targets(odd=draw(st.sampled_from([False, False, True])))),
        headers=(*(line for line in lines if line[0].lower() not in SIGNED), *signed.items()),
        body=draw(st.one_of(st.just(b""), st.binary(max_size=200), st.binary(min_size=5000, max_size=5000))),
        chunked=draw(st.booleans()),
    )


def as_read(town: Town, way: str, sample: Sample, *, chain: tuple[str, ...], nonce: str) -> tuple[Received, Leg]:
    """The signed request as a proxy reads it off the wire, and the connection it reads it from."""
    port = town.origin(way).port
    framing = [("Transfer-Encoding", "chunked")] if sample.chunked else [("Content-Length", str(len(sample.body)))]
    lines = [
        *sample.headers,
        *(framing if sample.body or sample.chunked else []),
        *intent_headers(chain),
    ]
    if sample.chunked and not sample.body:
        lines.append(("Content-Digest", content_digest(b"")))
    host = sample.host.format(port)
    plain = way == "plain"
    received = Received(
        method=sample.method.encode(),
        scheme="http" if plain else "https",
        form="absolute" if plain else "origin",
        authority=host.encode() if plain else b"",
        target=sample.target.encode(),
        headers=tuple((name.encode(), value.encode()) for name, value in [("Host", host), *lines]),
        body=sample.body,
    )
    proof = sign_request(
        method=sample.method,
        target_uri=target_uri(received),
        headers=lines,
        body=sample.body,
        key=leaf_key(),
        created=datetime.now(UTC),
        nonce=nonce,
    )
    signed = tuple((name.encode(), value.encode()) for name, value in proof)
    local = Leg(id="leg", source="127.0.0.1", tls=False, local=True)
    leg = local if plain else replace(local, tunnel=("erp.example", port), inner_tls=True, sni="erp.example")
    return replace(received, headers=(*received.headers, *signed)), leg


def send(town: Town, way: str, received: Received, *, chunked: bool) -> Response:
    target = received.target.decode()
    if way == "plain":
        target = f"http://{received.authority.decode()}{target}"
    lines = [(name.decode(), value.decode()) for name, value in received.headers]
    body = received.body or b""
    if chunked:
        half = len(body) // 2
        parts = [part for part in (body[:half], body[half:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(request_bytes(received.method.decode(), target, tuple(lines), body))
        return wire.response(to=received.method.decode())


# --- the property ----------------------------------------------------------------------------------------------------


def code_of(answer: Response) -> str:
    return str(json.loads(answer.body)["code"])


def decision_of(town: Town, nonce: str) -> dict[str, object]:
    """The one decision line of this proof. Others may be half written while we read."""
    mark = sha256_b64u(nonce.encode())
    journals = (town.house.settings.state / "journal").glob("*.jsonl")
    lines = [line for path in journals for line in path.read_text().splitlines(keepends=True) if mark in line]
    (line,) = lines
    assert line.endswith("\n"), "the call was forwarded before its line was whole"
    return dict(json.loads(line))


def check_arrived(call: Call, seen: Request) -> None:
    assert seen.method == call.method
    assert seen.target == (f"{call.path}?{call.query}" if call.has_query else call.path)
    assert seen.version == "HTTP/1.1"
    assert seen.headers == call.headers
    assert seen.body == call.body


def check_recorded(call: Call, line: dict[str, object]) -> None:
    assert (line["verdict"], line["method"], line["host"], line["port"]) == ("allow", call.method, call.host, call.port)
    assert line["url"] == call.origin + call.path
    assert line["body_bytes"] == len(call.body)
    assert line.get("body_sha256") == (b64u(hashlib.sha256(call.body).digest()) if call.body else None)
    assert len(line.get("query", ())) == len(call.parameters)  # their values, and odd names, as keyed hashes


@pytest.mark.parametrize("way", WAYS)
def test_forwarded_bytes_equal_judged_bytes(wide: Town, way: str) -> None:
    chain, counted = wide.house.chain(), Counter[str]()

    @given(sample=samples())
    @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
    def property_holds(sample: Sample) -> None:
        nonce = b64u(secrets.token_bytes(16))
        received, leg = as_read(wide, way, sample, chain=chain, nonce=nonce)
        before = wide.origin(way).mark()
        answer = send(wide, way, received, chunked=sample.chunked)
        seen = wide.origin(way).since(before)
        try:
            call = canonicalise(received, leg)
        except Rejected as fault:
            assert seen.nothing
            assert answer.status >= 400
            if sample.method != "HEAD":
                assert code_of(answer) == fault.code.value
            counted[fault.code.value] += 1
            return
        if answer.status != 200:
            assert seen.nothing
            outside = "mandate.not_covered" if doubt(call) is None else "url.ambiguous"
            assert sample.method == "HEAD" or code_of(answer) == outside, answer
            counted[outside] += 1
            return
        (request,) = seen.requests
        check_arrived(call, request)
        assert seen.raw_bytes == request.raw
        check_recorded(call, decision_of(wide, nonce))
        counted["forwarded"] += 1

    property_holds()
    print(counted)
    assert counted["forwarded"] >= EXAMPLES // 4, counted
