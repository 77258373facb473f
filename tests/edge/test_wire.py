"""HTTP/1.1 as it must not be read: every odd head and body gets a coded refusal, nothing leaves, nothing hangs.

Each case stands beside its twin: the same request with only the oddity removed passes in the same run.
"""

import json
import secrets
from datetime import UTC, datetime

import pytest
from houses import WAYS
from identities import intent_headers, leaf_key, nonce
from rawclient import Response, Wire, connect, request_bytes
from towns import Town

from proxy.core.proof import sign_request


def read(wire: Wire) -> Response:
    wire.extend(5)
    return wire.response()


def raw(town: Town, way: str, path: str = "/v1/invoices/17", *, method: str = "GET", body: bytes = b"") -> bytes:
    """A good signed request as bytes, ready to be spoiled."""
    url = town.url(way, path)
    lines = town.house.signed(method, url, chain=town.house.chain(), body=body or None)
    return request_bytes(method, url if way == "plain" else path, [("Host", url.split("/")[2]), *lines], body)


def send(town: Town, way: str, data: bytes) -> Response:
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(data)
        return read(wire)


def after_request_line(data: bytes, line: bytes) -> bytes:
    first, _, rest = data.partition(b"\r\n")
    return first + b"\r\n" + line + rest


SPOILED = {
    "a bare line feed between headers": lambda data: after_request_line(data, b"X-A: 1\nX-B: 2\r\n"),
    "a bare carriage return in a value": lambda data: after_request_line(data, b"X-A: 1\r2\r\n"),
    "a NUL in a value": lambda data: after_request_line(data, b"X-A: 1\x002\r\n"),
    "an eight-bit character in a value": lambda data: after_request_line(data, b"X-A: caf\xe9\r\n"),
    "a vertical tab before a value": lambda data: after_request_line(data, b"X-A: \x0b1\r\n"),
    "a form feed after a value": lambda data: after_request_line(data, b"X-A: 1\x0c\r\n"),
    "a folded header": lambda data: after_request_line(data, b"X-A: 1\r\n 2\r\n"),
    "white space before the colon": lambda data: after_request_line(data, b"X-A : 1\r\n"),
    "a header without a colon": lambda data: after_request_line(data, b"X-A\r\n"),
    "two hosts": lambda data: after_request_line(data, b"Host: evil.example\r\n"),
    "two content lengths": lambda data: after_request_line(data, b"Content-Length: 0\r\nContent-Length: 5\r\n"),
    "a length and chunks": lambda data: after_request_line(
        data, b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    ),
    "an odd transfer coding": lambda data: after_request_line(data, b"Transfer-Encoding: xchunked\r\n"),
    "chunked twice": lambda data: after_request_line(data, b"Transfer-Encoding: chunked, chunked\r\n"),
    "an upgrade": lambda data: after_request_line(data, b"Connection: Upgrade\r\nUpgrade: foo\r\n"),
    "h2c": lambda data: after_request_line(
        data, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    ),
    "a WebSocket": lambda data: after_request_line(
        data, b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"
    ),
    "a method override": lambda data: after_request_line(data, b"X-HTTP-Method-Override: DELETE\r\n"),
    "a path override": lambda data: after_request_line(data, b"X-Original-URL: /v1/payroll\r\n"),
    "HTTP/1.0": lambda data: data.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1),
    "HTTP/2 in the request line": lambda data: data.replace(b" HTTP/1.1\r\n", b" HTTP/2.0\r\n", 1),
    "two spaces in the request line": lambda data: data.replace(b" ", b"  ", 1),
    "a lower-case method": lambda data: data.replace(b"GET ", b"get ", 1),
    "101 headers": lambda data: after_request_line(data, b"".join(b"X-%d: 1\r\n" % n for n in range(101))),
    "a target over 8 KiB": lambda data: data.replace(b"/v1/invoices/17 ", b"/v1/invoices/" + b"1" * 8200 + b" ", 1),
    "a head over 64 KiB": lambda data: after_request_line(data, b"X-A: " + b"1" * 70_000 + b"\r\n"),
    "no host": lambda data: b"".join(
        line for line in data.splitlines(keepends=True) if not line.lower().startswith(b"host:")
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_an_odd_head_is_refused_in_our_own_words(town: Town, way: str, spoil) -> None:
    origin = town.origin(way)
    before = origin.mark()
    answer = send(town, way, spoil(raw(town, way)))
    assert origin.since(before).nothing
    assert 400 <= answer.status < 500, answer
    assert answer.header("content-type") == "application/problem+json"
    assert json.loads(answer.body)["code"].startswith(("request.", "url."))


@pytest.mark.parametrize("way", WAYS)
def test_the_twin_of_every_odd_head_passes(town: Town, way: str) -> None:
    assert send(town, way, raw(town, way)).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_chunked_bodies_pass_whole_and_with_a_length(town: Town, way: str) -> None:
    origin, body = town.origin(way), b"a=1&b=2"
    before = origin.mark()
    good = raw(town, way, "/v1/invoices", method="POST", body=body)
    url = town.url(way, "/v1/invoices")
    assert send(town, way, good).status == 200
    # The signature covers Content-Length when it is there; a chunked body is signed without it.
    base = intent_headers(town.house.chain())
    lines = [
        *base,
        *sign_request(
            method="POST",
            target_uri=url,
            headers=base,
            body=body,
            key=leaf_key(),
            created=datetime.now(UTC),
            nonce=nonce(secrets.token_hex(8)),
        ),
    ]
    head = [("Host", url.split("/")[2]), ("Transfer-Encoding", "chunked"), *lines]
    coded = b"3;ext=1\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n"
    target = url if way == "plain" else "/v1/invoices"
    assert send(town, way, request_bytes("POST", target, head, coded)).status == 200
    trailed = b"7\r\na=1&b=2\r\n0\r\nX-Trailer: 1\r\n\r\n"
    refused = send(town, way, request_bytes("POST", target, head, trailed))
    assert json.loads(refused.body)["code"] == "request.unsupported"
    first, second = origin.since(before).requests
    assert first.body == second.body == body
    assert second.header("transfer-encoding") is None
    assert second.header("content-length") == "7"


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_caller_is_answered_before_its_large_body_is_read(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    url = town.url(way, "/v1/invoices")
    head = [("Host", url.split("/")[2]), ("Content-Length", str(5_000_000))]
    with town.house.open(url) as wire:
        wire.send(request_bytes("POST", url if way == "plain" else "/v1/invoices", head, b"x" * 1000))
        answer = read(wire)
    assert answer.status == (407 if way == "plain" else 403)
    assert json.loads(answer.body)["code"] == "proof.missing"
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_caller_who_expects_100_is_not_invited(town: Town, way: str) -> None:
    url = town.url(way, "/v1/invoices")
    head = [("Host", url.split("/")[2]), ("Content-Length", "10"), ("Expect", "100-continue")]
    with town.house.open(url) as wire:
        wire.send(request_bytes("POST", url if way == "plain" else "/v1/invoices", head))
        answer = read(wire)
    assert answer.interim == ()
    assert json.loads(answer.body)["code"] == "proof.missing"


@pytest.mark.parametrize("way", WAYS)
def test_an_allowed_caller_who_expects_100_is_invited(town: Town, way: str) -> None:
    url, body = town.url(way, "/v1/invoices"), b"0123456789"
    lines = town.house.signed("POST", url, chain=town.house.chain(), body=body)
    head = [("Host", url.split("/")[2]), ("Expect", "100-continue"), *lines]
    with town.house.open(url) as wire:
        wire.send(request_bytes("POST", url if way == "plain" else "/v1/invoices", head))
        wire.extend(5)
        assert wire.head()[0] == 100
        wire.send(body)
        assert read(wire).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_body_over_the_cap_is_refused_without_being_forwarded(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    body = b"x" * (64 * 1024 * 1024 + 1)
    url = town.url(way, "/v1/invoices")
    lines = town.house.signed("POST", url, chain=town.house.chain(), body=body)
    with town.house.open(url) as wire:
        wire.extend(20)
        head = [("Host", url.split("/")[2]), *lines]
        wire.send(request_bytes("POST", url if way == "plain" else "/v1/invoices", head, b""))
        answer = read(wire)
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "request.too_large")
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_pipelined_calls_are_judged_one_by_one(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(raw(town, way) + raw(town, way, "/v1/payroll/9") + raw(town, way, "/v1/invoices/18"))
        statuses = [read(wire).status for _ in range(3)]
    assert statuses == [200, 403, 200]
    assert [request.target for request in origin.since(before).requests] == ["/v1/invoices/17", "/v1/invoices/18"]


def test_a_slow_head_is_cut_off_within_its_time(town: Town) -> None:
    with connect(town.house.address, timeout_s=15) as wire:
        wire.send(b"GET http://erp.example/ HTTP/1.1\r\nHost: erp.ex")
        answer = wire.response()
    assert (answer.status, json.loads(answer.body)["code"]) == (408, "request.timeout")


def test_a_few_empty_lines_before_a_request_are_ignored_and_a_flood_is_refused(town: Town) -> None:
    assert send(town, "plain", b"\r\n" * 8 + raw(town, "plain")).status == 200
    before = town.plain.mark()
    for flood in (b"\r\n" * 9 + raw(town, "plain"), b"\r\n" * 100_000):
        answer = send(town, "plain", flood)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "request.malformed")
    assert town.plain.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_garbage_behind_a_request_is_answered_after_it(town: Town, way: str) -> None:
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(raw(town, way) + b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
        assert read(wire).status == 200
        answer = read(wire)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "request.malformed")


@pytest.mark.parametrize("way", WAYS)
def test_a_head_in_many_small_pieces_is_read_like_one(town: Town, way: str) -> None:
    with town.house.open(town.url(way, "/")) as wire:
        data = raw(town, way)
        for at in range(0, len(data), 7):
            wire.send(data[at : at + 7])
        assert read(wire).status == 200


def test_a_refused_caller_may_not_trickle_a_body(town: Town) -> None:
    url = town.url("plain", "/v1/invoices")
    with connect(town.house.address, timeout_s=15) as wire:
        wire.send(request_bytes("POST", url, [("Host", url.split("/")[2]), ("Content-Length", "60000")], b"abc"))
        answer = wire.response()
    assert (answer.status, json.loads(answer.body)["code"]) == (408, "request.timeout")


NOT_HTTP = {
    "an SSH greeting": b"SSH-2.0-OpenSSH_9.9\r\n",
    "raw bytes": bytes(range(1, 200)),
    "an SMTP greeting": b"EHLO evil.example\r\n",
    "an inner CONNECT": b"CONNECT erp.example:22 HTTP/1.1\r\nHost: erp.example:22\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP.keys())
@pytest.mark.parametrize("port", [22, 53, 443])
def test_a_tunnel_carries_http_and_nothing_else(town: Town, data: bytes, port: int) -> None:
    before = town.plain.mark(), town.tls.mark()
    with connect(town.house.address) as wire:
        assert wire.connect(f"erp.example:{port}").status == 200
        wire.send(data if data.endswith(b"\r\n\r\n") else data + b"\r\n\r\n")
        answer = read(wire)
    assert answer.status >= 400
    assert town.plain.since(before[0]).nothing
    assert town.tls.since(before[1]).nothing


def test_tls_in_tls_is_not_carried(town: Town) -> None:
    before = town.tls.mark()
    with town.house.open(town.url("tls", "/")) as wire:
        wire.send(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + b"\0" * 100 + b"\r\n\r\n")
        assert read(wire).status == 400
    assert town.tls.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asks", ["close", "Close", "keep-alive, close"])
def test_a_client_that_asks_for_the_end_gets_it_and_nothing_after_it(town: Town, way: str, asks: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(after_request_line(raw(town, way), f"Connection: {asks}\r\n".encode()) + raw(town, way))
        answer = read(wire)
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert wire.ended()
    assert len(origin.since(before).requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_its_twins_go_on(town: Town, way: str) -> None:
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(after_request_line(raw(town, way), b"Connection: keep-alive\r\n") + raw(town, way))
        assert [read(wire).status, read(wire).status] == [200, 200]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(b"zz\r\nabc\r\n0\r\n\r\n", id="a size that is no number"),
        pytest.param(b"3\r\nabcd\r\n0\r\n\r\n", id="a chunk longer than it says"),
        pytest.param(b"3;" + b"x" * 100_000, id="a size line without an end"),
        pytest.param(b"3\nabc\n0\n\n", id="bare line feeds"),
        pytest.param(b"10000000000000003\r\nabc\r\n0\r\n\r\n", id="a size of 2^64 and 3"),
    ],
)
def test_broken_chunks_are_answered_and_not_forwarded(town: Town, way: str, coded: bytes) -> None:
    origin = town.origin(way)
    before = origin.mark()
    url, base = town.url(way, "/v1/invoices"), intent_headers(town.house.chain())
    signed = sign_request(
        method="POST",
        target_uri=url,
        headers=base,
        body=b"abc",
        key=leaf_key(),
        created=datetime.now(UTC),
        nonce=nonce(secrets.token_hex(8)),
    )
    head = [("Host", url.split("/")[2]), ("Transfer-Encoding", "chunked"), *base, *signed]
    answer = send(town, way, request_bytes("POST", url if way == "plain" else "/v1/invoices", head, coded))
    assert json.loads(answer.body)["code"] == "request.malformed"
    assert origin.since(before).nothing
