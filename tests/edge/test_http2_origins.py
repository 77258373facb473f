"""What origins may do over HTTP/2, each oddity beside a call on the same connection that it does not hurt."""

import pytest
from h2client import Answer2, Http2Wire, fields, open_http2
from h2origin import Reply2, Stream2
from h2towns import Http2Town
from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe import frame as frames
from origin_replies import Gate

STATUS = (b":status", b"200")


@pytest.fixture
def town(http2_town: Http2Town) -> Http2Town:
    return http2_town


def get(town: Http2Town, h2: Http2Wire, path: str, chain: object = None, method: str = "GET") -> int:
    return h2.send(fields(town.house, method, town.url(path), chain=chain or town.chain()))  # type: ignore[arg-type]


def head(*pairs: tuple[bytes, bytes], end: bool = True) -> bytes:
    """A HEADERS frame without its id, whose fields leave no trace in the compression table."""
    block = Encoder().encode([NeverIndexedHeaderTuple(*pair) for pair in pairs])
    return frames.HeadersFrame(1, block, flags=["END_HEADERS", *(["END_STREAM"] if end else [])]).serialize()


def on_stream(stream: Stream2, *parts: bytes) -> bytes:
    """The frames, with the id of this stream in place of the 1 they were written with."""
    return b"".join(part[:5] + stream.id.to_bytes(4, "big") + part[9:] for part in parts)


def raw(*parts: bytes) -> Reply2:
    return Reply2(raw=lambda stream: on_stream(stream, *parts))


def data(body: bytes, *, end: bool = True) -> bytes:
    return frames.DataFrame(1, body, flags=["END_STREAM"] if end else []).serialize()


def beside(town: Http2Town, reply: Reply2, *, method: str = "GET") -> Answer2:
    """The answer to a call that the origin answers so, while another is under way on the same connection."""
    gate, chain = Gate(), town.chain()
    town.h2.on("/v1/invoices/good", Reply2(before=gate, body=[b"good"]))
    town.h2.on("/v1/invoices/odd", reply)
    before = town.h2.mark()
    with open_http2(town.house, town.url("/")) as h2:
        good = get(town, h2, "/v1/invoices/good", chain)
        town.h2.wait_for(lambda: len(town.h2.since(before)[1]) == 1)
        answer = h2.answer(get(town, h2, "/v1/invoices/odd", chain, method))
        gate.open()
        assert (h2.answer(good).status, h2.answer(good).body) == (200, b"good")
    assert town.h2.since(before)[0] == 1, "one connection for both"
    return answer


BROKEN = {
    "no status": raw(head((b"a", b"b"))),
    "a status that is none": raw(head((b":status", b"2xx"))),
    "two statuses": raw(head(STATUS, STATUS)),
    "a status after a field": raw(head((b"a", b"b"), STATUS)),
    "a pseudo-header field of requests": raw(head(STATUS, (b":path", b"/"))),
    "a name in capitals": raw(head(STATUS, (b"Content-Type", b"text/plain"))),
    "a name with a space": raw(head(STATUS, (b"a b", b"c"))),
    "a line feed in a value": raw(head(STATUS, (b"a", b"b\nset-cookie: c=d"))),
    "a NUL in a value": raw(head(STATUS, (b"a", b"b\0c"))),
    "two lengths": raw(head(STATUS, (b"content-length", b"1"), (b"content-length", b"2"))),
    "a length of five thousand digits": raw(head(STATUS, (b"content-length", b"1" * 5000))),
    "a reset": raw(frames.RstStreamFrame(1, error_code=2).serialize()),
    "more interim responses than anybody sends": Reply2(interim=101),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_told_and_hurts_no_other(town: Http2Town, name: str) -> None:
    answer = beside(town, BROKEN[name])
    assert (answer.status, answer.code) == (502, "upstream.broken"), answer


CUT = {
    "a body longer than declared": raw(head(STATUS, (b"content-length", b"3"), end=False), data(b"four")),
    "a body shorter than declared": raw(head(STATUS, (b"content-length", b"5"), end=False), data(b"four")),
    "a reset within the body": raw(
        head(STATUS, end=False), data(b"four", end=False), frames.RstStreamFrame(1, error_code=2).serialize()
    ),
    "trailers with a pseudo-header field": raw(head(STATUS, end=False), data(b"four", end=False), head(STATUS)),
}


@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_breaks_off_is_cut_and_hurts_no_other(town: Http2Town, name: str) -> None:
    answer = beside(town, CUT[name])
    assert (answer.status, answer.ended) == (200, False)
    assert answer.reset is not None and answer.reset != 0


@pytest.mark.parametrize(
    ("reply", "method", "status"),
    [
        pytest.param(raw(head(STATUS, end=False), data(b"x")), "HEAD", 200, id="to HEAD"),
        pytest.param(raw(head((b":status", b"204"), end=False), data(b"x")), "GET", 204, id="with 204"),
        pytest.param(raw(head((b":status", b"304"), end=False), data(b"x")), "GET", 304, id="with 304"),
    ],
)
def test_a_body_where_there_is_none_is_not_passed_on(town: Http2Town, reply: Reply2, method: str, status: int) -> None:
    answer = beside(town, reply, method=method)
    assert (answer.status, answer.body, answer.ended) == (status, b"", False)


def test_what_concerns_only_the_hop_to_the_origin_ends_here(town: Http2Town) -> None:
    hop = [(b"connection", b"x"), (b"keep-alive", b"timeout=5"), (b"alt-svc", b'h3=":443"'), (b"upgrade", b"h2c")]
    answer = beside(town, raw(head(STATUS, *hop, (b"proxy-authenticate", b"Basic"), (b"x-own", b"1"))))
    assert answer.headers == ((":status", "200"), ("x-own", "1"))


def test_interim_responses_end_here(town: Http2Town) -> None:
    answer = beside(town, Reply2(interim=3, body=[b"final"]))
    assert (answer.status, answer.body, answer.interim) == (200, b"final", [])


def test_an_origin_that_goes_away_finishes_what_it_took_and_the_next_call_goes_elsewhere(town: Http2Town) -> None:
    town.h2.on("/v1/invoices/last", Reply2(goaway=0, body=[b"last words"]))
    gate, chain, before = Gate(), town.chain(), town.h2.mark()
    town.h2.on("/v1/invoices/before", Reply2(before=gate, body=[b"begun before"]))
    with open_http2(town.house, town.url("/")) as h2:
        begun = get(town, h2, "/v1/invoices/before", chain)
        town.h2.wait_for(lambda: len(town.h2.since(before)[1]) == 1)
        assert h2.answer(get(town, h2, "/v1/invoices/last", chain)).body == b"last words"
        assert h2.answer(get(town, h2, "/v1/invoices/next", chain)).status == 200
        gate.open()
        assert h2.answer(begun).body == b"begun before"
    assert town.h2.since(before)[0] == 2
    town.h2.wait_for(lambda: town.h2.open_connections == 0)


def test_an_origin_that_goes_away_for_a_fault_breaks_its_calls_alone(town: Http2Town) -> None:
    town.h2.on("/v1/invoices/fault", Reply2(goaway=2))
    before, chain = town.h2.mark(), town.chain()
    with open_http2(town.house, town.url("/")) as h2:
        assert h2.answer(get(town, h2, "/v1/invoices/fault", chain)).code == "upstream.broken"
        assert h2.answer(get(town, h2, "/v1/invoices/next", chain)).status == 200
    assert [stream.path for stream in town.h2.since(before)[1]] == ["/v1/invoices/fault", "/v1/invoices/next"]


def test_a_call_that_the_origin_did_not_take_is_not_sent_again_by_itself(town: Http2Town) -> None:
    goaway = frames.GoAwayFrame(0, last_stream_id=0, error_code=0).serialize()
    town.h2.on("/v1/invoices/untaken", Reply2(raw=lambda stream: goaway))
    before = town.h2.mark()
    with open_http2(town.house, town.url("/")) as h2:
        assert h2.answer(get(town, h2, "/v1/invoices/untaken")).code == "upstream.broken"
    assert len(town.h2.since(before)[1]) == 1


ENDS = {
    "a push": frames.PushPromiseFrame(1, promised_stream_id=2, data=b"\x88", flags=["END_HEADERS"]).serialize(),
    "a body before a head": data(b"x"),
    "a frame of sixteen megabytes": b"\xff\xff\xff\0\0\0\0\0\x01",
    "HTTP/1.1": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a head of a hundred frames": frames.HeadersFrame(1, b"", flags=[]).serialize()
    + frames.ContinuationFrame(1, b"").serialize() * 100,
    "a flood of pings": frames.PingFrame(0, b"12345678").serialize() * 3000,
    "a flood of settings": frames.SettingsFrame(0).serialize() * 1000,
    "a head of a megabyte": head(STATUS, *[(b"x", b"v" * 4000)] * 30),
}


@pytest.mark.parametrize("name", ENDS)
def test_an_origin_that_breaks_the_rules_of_frames_is_left(town: Http2Town, name: str) -> None:
    town.h2.on("/v1/invoices/ends", Reply2(raw=lambda stream: ENDS[name]))
    with open_http2(town.house, town.url("/")) as h2:
        answer = h2.answer(get(town, h2, "/v1/invoices/ends"))
        assert (answer.status, answer.code) == (502, "upstream.broken")
        town.h2.wait_for(lambda: town.h2.open_connections == 0)
        assert h2.answer(get(town, h2, "/v1/invoices/next")).status == 200


def test_an_origin_that_takes_few_streams_at_a_time_gets_few(town: Http2Town) -> None:
    gate, chain, before = Gate(), town.chain(), town.h2.mark()
    town.h2.settings = {3: 1}  # SETTINGS_MAX_CONCURRENT_STREAMS
    town.h2.on("/v1/invoices/few-*", Reply2(before=gate))
    try:
        with open_http2(town.house, town.url("/")) as h2:
            assert h2.answer(get(town, h2, "/v1/invoices/first", chain)).status == 200
            streams = [get(town, h2, f"/v1/invoices/few-{number}", chain) for number in range(3)]
            town.h2.wait_for(lambda: len(town.h2.since(before)[1]) == 4)
            gate.open()
            assert {h2.answer(each).status for each in streams} == {200}
    finally:
        town.h2.settings = {}
    assert town.h2.since(before)[0] >= 2


def test_an_origin_that_takes_no_streams_at_all_breaks_its_calls_alone(town: Http2Town) -> None:
    chain = town.chain()
    town.h2.settings = {3: 0}  # SETTINGS_MAX_CONCURRENT_STREAMS
    with open_http2(town.house, town.url("/")) as h2:
        try:
            streams = [get(town, h2, f"/v1/invoices/{number}", chain) for number in range(3)]
            assert {h2.answer(each).code for each in streams} == {"upstream.broken"}
        finally:
            town.h2.settings = {}
        assert h2.answer(get(town, h2, "/v1/invoices/17", chain)).status == 200


def test_an_origin_that_cannot_be_reached_is_told_to_everybody_who_waits(town: Http2Town) -> None:
    chain = town.chain()
    town.house.resolve({"erp.example": ["127.0.0.9"]})  # where nobody listens
    try:
        with open_http2(town.house, town.url("/")) as h2:
            streams = [get(town, h2, f"/v1/invoices/{number}", chain) for number in range(5)]
            assert {h2.answer(each).code for each in streams} == {"upstream.connect"}
            town.house.resolve({"erp.example": ["127.0.0.1"]})
            assert h2.answer(get(town, h2, "/v1/invoices/17", chain)).status == 200
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})
