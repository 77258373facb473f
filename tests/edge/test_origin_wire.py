"""What an origin may do on the wire: its oddities end at the proxy. The agent gets a whole response, or our own words.

Each broken response stands beside its twin, the same with only the oddity removed, which passes.
"""

import json

import pytest
from houses import WAYS
from origin_replies import Gate, Reply
from rawclient import Broken, Response, request_bytes
from towns import Town

GOOD = b"HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def answer_to(town: Town, way: str, raw: bytes, *, method: str = "GET", then: str = "keep") -> Response:
    """What the agent gets when the origin answers with exactly these bytes."""
    town.origin(way).on("*", "/v1/invoices/odd", Reply(raw=raw, then=then))
    return town.house.call(method, town.url(way, "/v1/invoices/odd"))


BROKEN = {
    "a switch of protocols": GOOD.replace(b"200 OK", b"101 Switching Protocols"),
    "a status below 100": GOOD.replace(b"200 OK", b"099 Odd"),
    "a status above 599": GOOD.replace(b"200 OK", b"600 Odd"),
    "a status of four digits": GOOD.replace(b"200 OK", b"2000 OK"),
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "an empty line first": b"\r\n" + GOOD,
    "HTTP/2 in the status line": GOOD.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/1.9 in the status line": GOOD.replace(b"HTTP/1.1", b"HTTP/1.9"),
    "bare line feeds": GOOD.replace(b"\r\n", b"\n"),
    "one bare line feed": GOOD.replace(b"X: a\r\n", b"X: a\nSet-Cookie: b=1\r\n"),
    "a bare carriage return": GOOD.replace(b"X: a", b"X: a\rSet-Cookie: b=1"),
    "a NUL in a value": GOOD.replace(b"X: a", b"X: a\0b"),
    "a terminal escape in a value": GOOD.replace(b"X: a", b"X: \x1b[31m"),
    "a terminal escape in the reason": GOOD.replace(b"200 OK", b"200 \x1b[31m"),
    "a folded header": GOOD.replace(b"X: a", b"X: a\r\n b"),
    "white space before the colon": GOOD.replace(b"X: a", b"X : a"),
    "a header without a name": GOOD.replace(b"X: a", b": a"),
    "a header without a colon": GOOD.replace(b"X: a", b"X a"),
    "two content lengths": GOOD.replace(b"X: a", b"Content-Length: 2"),
    "a length with a sign": GOOD.replace(b"Length: 2", b"Length: +2"),
    "a length and chunks": CHUNKED.replace(b"chunked\r\n", b"chunked\r\nContent-Length: 3\r\n"),
    "an odd transfer coding": CHUNKED.replace(b"chunked", b"xchunked"),
    "chunks in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "201 header lines": GOOD.replace(b"X: a\r\n", b"X: a\r\n" * 201),
    "a head over 64 KiB": GOOD.replace(b"X: a", b"X: " + b"a" * 70_000),
    "a hundred and one interim responses": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101 + GOOD,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_response_is_told_in_our_own_words(town: Town, way: str, raw: bytes) -> None:
    answer = answer_to(town, way, raw)
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.broken")
    assert answer.header("content-type") == "application/problem+json"
    assert answer.interim == ()
    assert answer.header("set-cookie") is None
    assert b"\x1b" not in answer.raw


WHOLE = {
    "a length": (GOOD, b"ok"),
    "chunks": (CHUNKED, b"abc"),
    "chunks with extensions": (CHUNKED.replace(b"3\r\n", b'3;a="b"\r\n'), b"abc"),
    "chunks with trailers": (CHUNKED.replace(b"0\r\n", b"0\r\nX-Trailer: 1\r\n"), b"abc"),
    "no reason": (GOOD.replace(b" OK", b""), b"ok"),
    "an eight-bit character in a value": (GOOD.replace(b"X: a", b"X: caf\xe9"), b"ok"),
    "199 header lines": (GOOD.replace(b"X: a\r\n", b"X: a\r\n" * 198), b"ok"),
    "a head just under 64 KiB": (GOOD.replace(b"X: a", b"X: " + b"a" * 65_000), b"ok"),
    "HTTP/1.0 with a length": (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), b"ok"),
    "100 before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, b"ok"),
    "102 and 103 before it": (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD,
        b"ok",
    ),
    "a hundred interim responses": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + GOOD, b"ok"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("raw", "body"), WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_response_passes_and_the_connection_goes_on(town: Town, way: str, raw: bytes, body: bytes) -> None:
    town.origin(way).on("GET", "/v1/invoices/odd", Reply(raw=raw))
    with town.house.open(town.url(way, "/")) as wire:
        answer = town.house.call("GET", town.url(way, "/v1/invoices/odd"), wire=wire)
        assert (answer.status, answer.body, answer.interim) == (200, body, ())
        assert answer.header("x-trailer") is answer.header("link") is None
        assert town.house.call("GET", town.url(way, "/v1/invoices/17"), wire=wire).status == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_a_body_that_ends_with_the_connection_passes_whole(town: Town, way: str, version: bytes) -> None:
    answer = answer_to(town, way, version + b" 200 OK\r\nX: a\r\n\r\nall of it", then="close")
    assert (answer.status, answer.body) == (200, b"all of it")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", id="204 with a length"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", id="304 with the length of another"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", id="304 with a coding"),
    ],
)
def test_after_a_response_without_a_body_the_next_one_is_read_right(town: Town, way: str, raw: bytes) -> None:
    town.origin(way).on("GET", "/v1/invoices/odd", Reply(raw=raw))
    with town.house.open(town.url(way, "/")) as wire:
        for _ in range(2):
            answer = town.house.call("GET", town.url(way, "/v1/invoices/odd"), wire=wire)
            assert (answer.status, answer.body) == (int(raw[9:12]), b"")
            assert answer.header("transfer-encoding") is None
            assert answer.status == 304 or answer.header("content-length") is None
        assert town.house.call("GET", town.url(way, "/v1/invoices/17"), wire=wire).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_what_concerns_only_the_hop_to_the_origin_ends_there(town: Town, way: str) -> None:
    hop = (
        b"Connection: keep-alive, X-Secret, Content-Length\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n"
        b'Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic realm="x"\r\nProxy-Authentication-Info: x\r\n'
        b"Upgrade: h2c\r\nTE: trailers\r\nTrailer: X-T\r\n"
    )
    answer = answer_to(town, way, GOOD.replace(b"X: a\r\n", b"X: a\r\n" + hop))
    assert (answer.status, answer.body) == (200, b"ok")
    assert [name.lower() for name, _ in answer.headers] == ["x", "content-length"]


@pytest.mark.parametrize("way", WAYS)
def test_an_origin_that_ends_its_connection_does_not_end_ours(town: Town, way: str) -> None:
    origin = town.origin(way)
    origin.on("GET", "/v1/invoices/odd", Reply(raw=GOOD.replace(b"X: a", b"Connection: close"), then="close"))
    before = origin.mark()
    with town.house.open(town.url(way, "/")) as wire:
        for _ in range(2):
            assert town.house.call("GET", town.url(way, "/v1/invoices/odd"), wire=wire).status == 200
    assert origin.since(before).accepted == 2


@pytest.mark.parametrize("way", WAYS)
def test_bytes_after_a_response_never_answer_the_next_call(town: Town, way: str) -> None:
    origin = town.origin(way)
    origin.on("GET", "/v1/invoices/odd", Reply(raw=GOOD + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"))
    with town.house.open(town.url(way, "/")) as wire:
        assert town.house.call("GET", town.url(way, "/v1/invoices/odd"), wire=wire).body == b"ok"
        assert town.house.call("GET", town.url(way, "/v1/invoices/17"), wire=wire).body != b"forged"


@pytest.mark.parametrize("way", WAYS)
def test_a_response_that_breaks_in_its_body_is_cut_off_as_such(town: Town, way: str) -> None:
    url = town.url(way, "/v1/invoices/odd")
    for raw in (CHUNKED.replace(b"0\r\n", b"zz\r\n"), CHUNKED.replace(b"0\r\n", b"5;" + b"x" * 200_000)):
        town.origin(way).on("GET", "/v1/invoices/odd", Reply(raw=raw))
        with town.house.open(url) as wire, pytest.raises(Broken):
            town.house.call("GET", url, wire=wire)


@pytest.mark.parametrize("way", WAYS)
def test_a_head_that_takes_long_to_begin_is_waited_for(town: Town, way: str) -> None:
    gate = Gate()
    town.origin(way).on("GET", "/v1/invoices/odd", Reply(before=gate, body=b"ok"))
    url = town.url(way, "/v1/invoices/odd")
    with town.house.open(url, timeout_s=60) as wire:
        lines = town.house.signed("GET", url, chain=town.house.chain())
        head = [("Host", url.split("/")[2]), *lines]
        wire.send(request_bytes("GET", url if way == "plain" else "/v1/invoices/odd", head))
        gate.wait_until_reached()
        gate.open()
        assert wire.response().body == b"ok"
