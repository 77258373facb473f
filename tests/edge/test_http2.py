"""HTTP/2 from clients, to an origin that speaks it and to one that does not: what is sent is the judged call."""

import json
import time

import pytest
from h2client import fields, open_http2, tunnel
from h2origin import Reply2
from h2towns import Http2Town
from origin_replies import Gate, Reply

from proxy.core.model import HoldState, Verdict

ORIGINS = ("h2", "h1")
MOST_CALLS = 32


@pytest.fixture
def town(http2_town: Http2Town) -> Http2Town:
    return http2_town


def outcomes(town: Http2Town, after: int, number: int) -> list[str]:
    """The errors of so many outcomes, as soon as they are written."""
    deadline_s = time.monotonic() + 5
    while len(lines := town.house.journal("outcome")[after:]) < number:
        assert time.monotonic() < deadline_s, lines
        time.sleep(0.01)
    return sorted(str(line.get("error", "")) for line in lines)


# --- where it is spoken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alpn",
    [
        pytest.param(("h2", "http/1.1"), id="named first"),
        pytest.param(("http/1.1", "h2"), id="named last, as httpx does that can speak it"),
    ],
)
def test_it_is_offered_where_a_rule_asks_for_it_and_nowhere_else(town: Http2Town, alpn: tuple[str, ...]) -> None:
    for over, agreed in (("h2", "h2"), ("h1", "h2"), ("other", "http/1.1")):
        with tunnel(town.house, town.url("/", over=over), alpn=alpn) as wire:
            assert wire.tls is not None and wire.tls.alpn == agreed, over


def test_who_can_speak_nothing_else_gets_no_further_where_no_rule_asks_for_it(town: Http2Town) -> None:
    before = town.other.mark()
    with tunnel(town.house, town.url("/", over="other"), alpn=("h2",)) as wire:
        assert wire.tls is not None and wire.tls.alpn is None
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        assert json.loads(wire.response().body)["code"] == "request.malformed"
    assert town.other.since(before).nothing


@pytest.mark.parametrize("alpn", [("http/1.1",), ()])
def test_an_origin_is_offered_no_more_than_the_client_speaks(town: Http2Town, alpn: tuple[str, ...]) -> None:
    url = town.url("/v1/invoices/17", over="h1")
    before = len(town.h2.alpn)
    with tunnel(town.house, url, alpn=alpn) as wire:
        assert town.house.call("GET", url, wire=wire).status == 200
    assert town.h2.alpn[before:] == []
    with tunnel(town.house, town.url("/v1/invoices/17"), alpn=alpn) as wire:
        town.house.call("GET", town.url("/v1/invoices/17"), wire=wire)
    assert town.h2.alpn[before:] == [None], "this origin speaks nothing but h2, which it was not offered"


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_an_http2_origin_gets_the_judged_call_and_nothing_else(town: Http2Town) -> None:
    url, chain, before = town.url("/v1/invoices/%7E17"), town.chain(), town.h2.mark()
    own = [("accept", "application/json"), ("authorization", "Bearer x"), ("x-many", "a"), ("x-many", "b")]
    crumbs = [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
    signed = fields(town.house, "GET", url, chain=chain, headers=[*own, ("cookie", "a=1; b=2")])
    split = [each for each in signed if each[0] != "cookie"]
    split[8:8] = crumbs
    with open_http2(town.house, url) as h2:
        answer = h2.answer(h2.send(split))
    assert (answer.status, answer.body) == (200, b"served over h2")
    ((stream,),) = (town.h2.since(before)[1],)
    assert stream.fields == (
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", f"erp.example:{town.h2.port}".encode()),
        (b":path", b"/v1/invoices/~17"),
        (b"accept", b"application/json"),
        (b"authorization", b"Bearer x"),
        (b"x-many", b"a"),
        (b"x-many", b"b"),
        (b"cookie", b"a=1; b=2"),
    )


def test_an_http1_origin_gets_the_judged_call_and_nothing_else(town: Http2Town) -> None:
    url, chain, before = town.url("/v1/invoices/17", over="h1"), town.chain(), town.h1.mark()
    with open_http2(town.house, url) as h2:
        answer = h2.answer(h2.send(fields(town.house, "GET", url, chain=chain, headers=[("accept", "a/b")])))
    assert answer.status == 200
    (request,) = town.h1.since(before).requests
    assert (
        request.raw
        == f"GET /v1/invoices/17 HTTP/1.1\r\nHost: erp.example:{town.h1.port}\r\naccept: a/b\r\n\r\n".encode()
    )


@pytest.mark.parametrize("over", ORIGINS)
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 300_000])
def test_a_body_arrives_whole(town: Http2Town, over: str, size: int) -> None:
    url, body = town.url("/v1/invoices", over=over), bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    mark2, mark1 = town.h2.mark(), town.h1.mark()
    with open_http2(town.house, url) as h2:
        head = fields(town.house, "POST", url, chain=town.chain(), body=body or None)
        assert h2.answer(h2.send(head, body=body)).status == 200
    if over == "h2":
        (stream,) = town.h2.since(mark2)[1]
        assert (bytes(stream.body), stream.header("content-length")) == (body, str(size).encode() if size else None)
    else:
        (request,) = town.h1.since(mark1).requests
        assert (request.body, request.header("content-length")) == (body, str(size) if size else None)


@pytest.mark.parametrize("over", ORIGINS)
@pytest.mark.parametrize("size", [65_535, 300_000])
def test_a_response_arrives_whole(town: Http2Town, over: str, size: int) -> None:
    url, body = town.url(f"/v1/invoices/big-{size}", over=over), b"r" * size
    town.h2.on(f"/v1/invoices/big-{size}", Reply2(body=[body]))
    town.h1.on("GET", f"/v1/invoices/big-{size}", Reply(body=body, framing="chunked"))
    with open_http2(town.house, url) as h2:
        answer = h2.answer(h2.send(fields(town.house, "GET", url, chain=town.chain())))
    assert (answer.status, answer.body, answer.reset) == (200, body, None)
    assert answer.header("transfer-encoding") is None


def test_a_head_request_has_an_answer_without_a_body(town: Http2Town) -> None:
    town.h2.on("/v1/invoices/head", Reply2(headers=((b"content-length", b"5"),), head_only=True))
    town.h1.on("HEAD", "/v1/invoices/head", Reply(body=b"12345"))
    for over in ORIGINS:
        url = town.url("/v1/invoices/head", over=over)
        with open_http2(town.house, url) as h2:
            answer = h2.answer(h2.send(fields(town.house, "HEAD", url, chain=town.chain())))
        assert (answer.status, answer.header("content-length"), answer.body) == (200, "5", b""), over


def test_a_client_that_waits_for_a_continue_gets_it(town: Http2Town) -> None:
    url = town.url("/v1/invoices")
    head = fields(town.house, "POST", url, chain=town.chain(), body=b"x", headers=[("expect", "100-continue")])
    with open_http2(town.house, url) as h2:
        stream = h2.send(head, end=False)
        h2.until(lambda: h2.answers[stream].interim == [100])
        h2.data(stream, b"x", end=True)
        assert h2.answer(stream).status == 200


# --- side by side ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ORIGINS)
def test_many_calls_run_side_by_side_while_one_is_held(town: Http2Town, over: str) -> None:
    """And each has its answer: those of the origin in any order, the held one when a person has decided."""
    gate = Gate()
    town.h2.on("/v1/invoices/slow-*", Reply2(before=gate))
    town.h1.on("GET", "/v1/invoices/slow-*", Reply(before=gate))
    chain, url = town.chain(), town.url("/v1/payroll/9", over=over)
    with open_http2(town.house, url, timeout_s=30) as h2:
        held = h2.send(fields(town.house, "GET", url, chain=chain, headers=[("prefer", "wait=20")]))
        paths = [f"/v1/invoices/slow-{number}" for number in range(20)]
        slow = [h2.send(fields(town.house, "GET", town.url(path, over=over), chain=chain)) for path in paths]
        quick = h2.send(fields(town.house, "GET", town.url("/v1/invoices/quick", over=over), chain=chain))
        assert h2.answer(quick).status == 200
        assert not any(h2.answers[each].headers for each in (held, *slow))
        gate.open()
        assert {h2.answer(each).status for each in slow} == {200}
        hold_id = town.house.wait_for_hold(chain)
        town.house.decide(hold_id, Verdict.ALLOW)
        answer = h2.answer(held)
    assert (answer.status, answer.header("preference-applied")) == (200, "wait")
    assert town.house.hold(hold_id).state is HoldState.RELEASED


@pytest.mark.parametrize("over", ORIGINS)
def test_nothing_is_sent_for_a_call_that_its_client_gives_up_while_it_is_held(town: Http2Town, over: str) -> None:
    chain, url = town.chain(), town.url("/v1/payroll/gone", over=over)
    before = town.h2.mark(), town.h1.mark()
    with open_http2(town.house, url) as h2:
        held = h2.send(fields(town.house, "GET", url, chain=chain, headers=[("prefer", "wait=20")]))
        hold_id = town.house.wait_for_hold(chain)
        h2.reset(held)
        h2.settle()
        town.house.decide(hold_id, Verdict.ALLOW)
        other = h2.send(fields(town.house, "GET", town.url("/v1/invoices/1", over=over), chain=chain))
        assert h2.answer(other).status == 200, "the connection goes on"
        assert town.house.hold(hold_id).state is HoldState.APPROVED
        again = h2.send(fields(town.house, "GET", url, chain=chain))
        assert h2.answer(again).status == 200, "the release is still there for the next attempt"
    seen2, seen1 = town.h2.since(before[0])[1], town.h1.since(before[1]).requests
    paths = [stream.path for stream in seen2] or [request.path for request in seen1]
    assert paths == ["/v1/invoices/1", "/v1/payroll/gone"]


@pytest.mark.parametrize("over", ORIGINS)
def test_a_call_that_its_client_gives_up_ends_at_the_origin_alone(town: Http2Town, over: str) -> None:
    gate = Gate()
    town.h2.on("/v1/invoices/given-up", Reply2(body=[b"begun", gate, b"rest"]))
    town.h1.on("GET", "/v1/invoices/given-up", Reply(stream=[b"begun", gate, b"rest"]))
    url, chain = town.url("/v1/invoices/given-up", over=over), town.chain()
    before, lines = town.h2.mark(), len(town.house.journal("outcome"))
    with open_http2(town.house, url) as h2:
        stream = h2.send(fields(town.house, "GET", url, chain=chain))
        h2.until(lambda: h2.answers[stream].body == b"begun")
        h2.reset(stream)
        other = h2.send(fields(town.house, "GET", town.url("/v1/invoices/2", over=over), chain=chain))
        assert h2.answer(other).status == 200
        if over == "h2":
            (given_up,) = (each for each in town.h2.since(before)[1] if each.path.endswith("given-up"))
            town.h2.wait_for(lambda: given_up.reset is not None)
        else:
            gate.open()
            town.h1.wait_for(lambda it: it.connections[-1].closed or it.connections[-2].closed)
        gate.open()
    assert outcomes(town, lines, 2) == ["", "client.gone"]


def test_a_client_that_leaves_ends_all_its_calls(town: Http2Town) -> None:
    gate, chain = Gate(), town.chain()
    town.h2.on("/v1/invoices/left-*", Reply2(body=[b"begun", gate, b"rest"]))
    before, lines = town.h2.mark(), len(town.house.journal("outcome"))
    with open_http2(town.house, town.url("/")) as h2:
        for number in range(5):
            h2.send(fields(town.house, "GET", town.url(f"/v1/invoices/left-{number}"), chain=chain))
        h2.until(lambda: all(each.body == b"begun" for each in h2.answers.values()))
    town.h2.wait_for(lambda: town.h2.open_connections == 0)
    gate.open()
    assert town.h2.since(before)[0] == 1
    assert outcomes(town, lines, 5) == ["client.gone"] * 5


# --- connections to origins ------------------------------------------------------------------------------------------


def test_calls_side_by_side_share_one_connection_to_an_http2_origin(town: Http2Town) -> None:
    gate, chain, before = Gate(), town.chain(), town.h2.mark()
    town.h2.on("/v1/invoices/shared-*", Reply2(before=gate))
    with open_http2(town.house, town.url("/")) as h2:
        streams = [
            h2.send(fields(town.house, "GET", town.url(f"/v1/invoices/shared-{number}"), chain=chain))
            for number in range(30)
        ]
        town.h2.wait_for(lambda: len(town.h2.since(before)[1]) == 30)
        gate.open()
        assert {h2.answer(each).status for each in streams} == {200}
    accepted, seen, _ = town.h2.since(before)
    assert len(seen) == 30
    assert accepted <= 4, "those that came before the origin said how many streams it takes"


def test_calls_side_by_side_have_a_connection_each_to_an_http1_origin_and_reuse_it_after(town: Http2Town) -> None:
    gate, chain, before = Gate(), town.chain(), town.h1.mark()
    town.h1.on("GET", "/v1/invoices/beside-*", Reply(before=gate))
    urls = [town.url(f"/v1/invoices/beside-{number}", over="h1") for number in range(12)]
    with open_http2(town.house, urls[0]) as h2:
        streams = [h2.send(fields(town.house, "GET", url, chain=chain)) for url in urls]
        town.h1.wait_for(lambda it: len(it.since(before).requests) == 12)
        assert town.h1.since(before).accepted == 12
        gate.open()
        assert {h2.answer(each).status for each in streams} == {200}
        for url in urls[:3]:
            assert h2.answer(h2.send(fields(town.house, "GET", url, chain=chain))).status == 200
        seen = town.h1.since(before)
        assert (seen.accepted, len(seen.requests)) == (12, 15)


@pytest.mark.parametrize("over", ORIGINS)
def test_a_released_call_has_a_connection_of_its_own(town: Http2Town, over: str) -> None:
    chain, url = town.chain(), town.url("/v1/payroll/alone", over=over)
    usual = town.url("/v1/invoices/3", over=over)
    with open_http2(town.house, url) as h2:
        assert h2.answer(h2.send(fields(town.house, "GET", usual, chain=chain))).status == 200
        held = h2.answer(h2.send(fields(town.house, "GET", url, chain=chain)))
        town.house.decide(held.document["task"]["id"], Verdict.ALLOW)
        before2, before1 = town.h2.mark(), town.h1.mark()
        assert h2.answer(h2.send(fields(town.house, "GET", url, chain=chain))).status == 200
        assert town.h2.since(before2)[0] + town.h1.since(before1).accepted == 1
        assert h2.answer(h2.send(fields(town.house, "GET", usual, chain=chain))).status == 200
        assert town.h2.since(before2)[0] + town.h1.since(before1).accepted == 1, "and the usual one is used again"
        if over == "h2":
            town.h2.wait_for(lambda: town.h2.open_connections == 1)


@pytest.mark.parametrize("over", ORIGINS)
def test_two_mandates_never_share_a_connection_to_an_origin(town: Http2Town, over: str) -> None:
    """An origin may remember on a connection who authenticated there (RFC 4559 §6), whoever asks next."""
    one, other, url = town.chain(), town.chain(), town.url("/v1/invoices/3", over=over)
    before2, before1 = town.h2.mark(), town.h1.mark()
    with open_http2(town.house, url) as h2:
        for chains, connections in (((one, one), 1), ((other, one, other), 2)):
            for chain in chains:
                assert h2.answer(h2.send(fields(town.house, "GET", url, chain=chain))).status == 200
            assert town.h2.since(before2)[0] + town.h1.since(before1).accepted == connections


def test_one_more_call_than_may_be_under_way_is_refused_untouched(town: Http2Town) -> None:
    """By a client that does not heed the settings; RFC 9113 §8.7 lets it try again."""
    gate, chain, before = Gate(), town.chain(), town.h2.mark()
    town.h2.on("/v1/invoices/crowd-*", Reply2(before=gate))
    with open_http2(town.house, town.url("/")) as h2:
        h2.settle()
        assert h2.h2.remote_settings.max_concurrent_streams == MOST_CALLS
        h2.h2.remote_settings.max_concurrent_streams = 100
        h2.h2.remote_settings.acknowledge()
        heads = [
            fields(town.house, "GET", town.url(f"/v1/invoices/crowd-{number}"), chain=chain)
            for number in range(MOST_CALLS + 3)
        ]
        streams = [h2.send(head) for head in heads]
        assert [h2.answer(each).reset for each in streams[MOST_CALLS:]] == [7, 7, 7]
        gate.open()
        assert {h2.answer(each).status for each in streams[:MOST_CALLS]} == {200}
    assert len(town.h2.since(before)[1]) == MOST_CALLS
