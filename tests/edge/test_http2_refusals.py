"""What of HTTP/2 is not accepted, and that it hurts nobody else on the same connection."""

import json
import secrets
from datetime import UTC, datetime

import pytest
from h2client import Answer2, Http2Wire, fields, open_http2
from h2towns import Http2Town
from hyperframe import frame as frames
from identities import intent_headers, leaf_key, nonce

from proxy.core.proof import sign_request

ENHANCE_YOUR_CALM = 11


@pytest.fixture
def town(http2_town: Http2Town) -> Http2Town:
    return http2_town


def good(town: Http2Town, method: str = "GET", path: str = "/v1/invoices/17", **more: object) -> list[tuple[str, str]]:
    return fields(town.house, method, town.url(path), chain=town.chain(), **more)  # type: ignore[arg-type, return-value]


def passes(h2: Http2Wire, town: Http2Town) -> bool:
    """Whether a good call passes on this very connection."""
    return h2.answer(h2.send(good(town))).status == 200


def refused(town: Http2Town, head: list[tuple[str, str]], *, end: bool = True) -> Answer2:
    """The answer to a head, on a connection on which other calls pass before and after, and one stays open."""
    before, lines = len(town.h2.streams), len(town.house.journal("decision"))
    with open_http2(town.house, town.url("/")) as h2:
        open_one = h2.send(good(town, "POST", "/v1/invoices", body=b"later"), end=False)
        assert passes(h2, town)
        answer = h2.answer(h2.send(head, end=end))
        assert passes(h2, town)
        h2.data(open_one, b"later", end=True)
        assert h2.answer(open_one).status == 200
    assert len(town.h2.streams) == before + 3, "only the good ones"
    assert len(town.house.journal("decision")) == lines + 4
    return answer


def spoiled(name: str, value: str | None) -> list[tuple[str, str]]:
    """In place of one pseudo-header field, another value or none."""
    return [
        (name, value or "") if key == name else (key, text) for key, text in HEAD if key != name or value is not None
    ]


HEAD: list[tuple[str, str]] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a"),
    (":path", "/"),
    ("a", "b"),
]

HEADS = {
    "no path": [each for each in HEAD if each[0] != ":path"],
    "no method": [each for each in HEAD if each[0] != ":method"],
    "no scheme": [each for each in HEAD if each[0] != ":scheme"],
    "an empty path": spoiled(":path", ""),
    "a path twice": [HEAD[3], *HEAD],
    "a path after a field": [*HEAD[:3], HEAD[4], HEAD[3]],
    "a field nobody knows": [(":evil", "x"), *HEAD],
    "a status": [(":status", "200"), *HEAD],
    "CONNECT": [(":method", "CONNECT"), (":authority", "evil.example:443")],
    "CONNECT for a protocol": [(":method", "CONNECT"), (":protocol", "websocket"), *HEAD[1:]],
    "a scheme nobody speaks": spoiled(":scheme", "ftp"),
    "a name with a space": [*HEAD, ("a b", "c")],
    "a name with a colon": [*HEAD, ("a:b", "c")],
    "an empty name": [*HEAD, ("", "c")],
    "two lengths": [*HEAD, ("content-length", "0"), ("content-length", "1")],
    "a length that is none": [*HEAD, ("content-length", "1x")],
    "a length of five thousand digits": [*HEAD, ("content-length", "1" * 5000)],
    "a length where no body follows": [*HEAD, ("content-length", "5")],
    "a transfer coding": [*HEAD, ("transfer-encoding", "chunked")],
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_no_request_is_answered_on_its_own_stream(town: Http2Town, name: str) -> None:
    answer = refused(town, HEADS[name])
    assert (answer.status, answer.code, answer.reset) == (400, "request.malformed", None), answer


@pytest.mark.parametrize("end", [True, False], ids=["whole", "with a body to come"])
def test_a_head_that_is_refused_by_the_gate_is_answered_on_its_own_stream(town: Http2Town, end: bool) -> None:
    head = [(name, value) for name, value in good(town, "POST", "/v1/invoices", body=b"x") if name != "signature"]
    answer = refused(town, [line for line in head if not end or line[0] != "content-length"], end=end)
    assert (answer.status, answer.code) == (403, "proof.malformed")
    assert answer.header("connection") is None, "which HTTP/2 has no place for"


def test_who_is_refused_while_still_sending_is_told_to_stop_without_a_fault(town: Http2Town) -> None:
    """RFC 9113 §8.1: a whole response, then RST_STREAM with NO_ERROR."""
    head = [(name, value) for name, value in good(town, "POST", "/v1/invoices", body=b"x") if name != "signature"]
    with open_http2(town.house, town.url("/")) as h2:
        stream = h2.send(head, end=False)
        answer = h2.answer(stream)
        h2.until(lambda: answer.reset is not None)
        assert (answer.ended, answer.reset) == (True, 0)
        assert passes(h2, town)


def test_a_large_head_is_answered_and_a_larger_one_ends_the_connection(town: Http2Town) -> None:
    padding = [(f"x-{number}", "v" * 1000) for number in range(70)]
    answer = refused(town, [*good(town), *padding])
    assert (answer.status, answer.code) == (413, "request.too_large")
    with open_http2(town.house, town.url("/")) as h2:
        h2.send([*good(town), *padding, *padding])
        h2.until_closed()
        assert h2.goaway is not None and h2.goaway.error_code == ENHANCE_YOUR_CALM


def test_trailers_of_a_request_are_refused(town: Http2Town) -> None:
    before = len(town.h2.streams)
    with open_http2(town.house, town.url("/")) as h2:
        stream = h2.send(good(town, "POST", "/v1/invoices", body=b"x"), body=b"x", end=False)
        h2.h2.send_headers(stream, [("x-late", "1")], end_stream=True)
        h2.flush()
        answer = h2.answer(stream)
        assert (answer.status, answer.code) == (400, "request.unsupported")
        assert passes(h2, town)
    assert len(town.h2.streams) == before + 1


@pytest.mark.parametrize(
    ("declared", "body"),
    [("5", b"four"), ("3", b"four"), ("0", b"x"), ("4", b"")],
    ids=["long", "short", "none", "all"],
)
def test_a_body_of_another_length_than_declared_is_refused(town: Http2Town, declared: str, body: bytes) -> None:
    before = len(town.h2.streams)
    url, lines = town.url("/v1/invoices"), [("content-length", declared), *intent_headers(town.chain())]
    signed = sign_request(
        method="POST",
        target_uri=url,
        headers=lines,
        body=body or b"none",
        key=leaf_key(),
        created=datetime.now(UTC),
        nonce=nonce(secrets.token_hex(16)),
    )
    pseudo = good(town, "POST", "/v1/invoices")[:4]
    head = [*pseudo, *((name.lower(), value) for name, value in (*lines, *signed))]
    with open_http2(town.house, town.url("/")) as h2:
        answer = h2.answer(h2.send(head, body=body))
        assert (answer.status, answer.code) == (400, "request.malformed")
        assert passes(h2, town)
    assert len(town.h2.streams) == before + 1


def test_a_body_nobody_vouched_for_is_not_taken(town: Http2Town) -> None:
    """A page of our own takes bodies before anybody is known: no more than its cap, and no more than a window."""
    head = [(":method", "POST"), (":scheme", "https"), (":authority", town.url("/").split("/")[2]), (":path", "/v1")]
    with open_http2(town.house, town.url("/")) as h2:
        stream = h2.send(head, end=False)
        answer = h2.answer(stream)
        assert (answer.status, answer.code) == (403, "proof.missing")
        h2.until(lambda: answer.reset == 0)
        assert passes(h2, town)


# --- floods ----------------------------------------------------------------------------------------------------------


def _headers(town: Http2Town, h2: Http2Wire, stream_id: int) -> frames.HeadersFrame:
    return frames.HeadersFrame(stream_id, h2.h2.encoder.encode(HEAD), flags=["END_HEADERS", "END_STREAM"])


def _continuations(town: Http2Town, h2: Http2Wire, number: int) -> list[frames.Frame]:
    first = frames.HeadersFrame(1, b"", flags=[])
    return [first] if number == 0 else [frames.ContinuationFrame(1, b"\x00\x01a" + b"\x7f\x80\x7f" + b"v" * 255)]


def _reset_at_once(town: Http2Town, h2: Http2Wire, number: int) -> list[frames.Frame]:
    stream_id = 2 * number + 1
    return [_headers(town, h2, stream_id), frames.RstStreamFrame(stream_id, error_code=8)]


def _overflow(town: Http2Town, h2: Http2Wire, number: int) -> list[frames.Frame]:
    """A fault for which we must reset the stream ourselves (CVE-2025-8671)."""
    stream_id = 2 * number + 1
    head = frames.HeadersFrame(stream_id, h2.h2.encoder.encode(HEAD), flags=["END_HEADERS"])
    return [head, *(frames.WindowUpdateFrame(stream_id, window_increment=2**31 - 1) for _ in range(2))]


class Unknown:
    def serialize(self) -> bytes:
        return b"\0\0\x01\x77\0\0\0\0\0x"


FLOODS = {
    "CVE-2024-27316, a head without an end": _continuations,
    "CVE-2023-44487, streams reset at once": _reset_at_once,
    "CVE-2025-8671, streams we must reset": _overflow,
    "CVE-2019-9512, pings": lambda town, h2, number: [frames.PingFrame(0, b"12345678")],
    "CVE-2019-9515, settings": lambda town, h2, number: [frames.SettingsFrame(0)],
    "CVE-2019-9513, priorities": lambda town, h2, number: [frames.PriorityFrame(2 * number + 1, depends_on=0)],
    "CVE-2019-9518, empty bodies": lambda town, h2, number: [
        frames.HeadersFrame(1, h2.h2.encoder.encode(HEAD), flags=["END_HEADERS"])
        if number == 0
        else frames.DataFrame(1, b"")
    ],
    "CVE-2019-9511, windows a byte at a time": lambda town, h2, number: [
        frames.WindowUpdateFrame(0, window_increment=1)
    ],
    "frames of a kind nobody knows": lambda town, h2, number: [Unknown()],
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_that_move_nothing_ends_the_connection(town: Http2Town, name: str) -> None:
    before, lines = len(town.h2.streams), len(town.house.journal("decision"))
    with open_http2(town.house, town.url("/"), timeout_s=20) as h2:
        try:
            for number in range(3000):
                h2.frame(*FLOODS[name](town, h2, number))
        except (BrokenPipeError, ConnectionError):
            pass
        h2.rest(timeout_s=20)
    assert len(town.h2.streams) == before
    with open_http2(town.house, town.url("/")) as other:
        assert passes(other, town)
    told = [line for line in town.house.journal("decision")[lines:] if "asked too much" in json.dumps(line)]
    assert told, "and it is written down"


def test_a_lively_connection_is_no_flood(town: Http2Town) -> None:
    """Pings and window updates as gRPC clients send them while data flows, and calls given up now and then."""
    with open_http2(town.house, town.url("/"), timeout_s=30) as h2:
        for number in range(60):
            assert passes(h2, town)
            for _ in range(5):
                h2.h2.ping(b"12345678")
            h2.h2.increment_flow_control_window(1)
            h2.flush()
            if number % 5 == 0:
                h2.reset(h2.send(good(town)))
        assert passes(h2, town)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: erp.example\r\n\r\n", id="HTTP/1.1 where HTTP/2 was agreed on"),
        pytest.param(
            frames.PushPromiseFrame(1, promised_stream_id=2, flags=["END_HEADERS"]).serialize(),
            id="a push from a client",
        ),
        pytest.param(frames.DataFrame(1, b"x").serialize(), id="a body without a head"),
        pytest.param(frames.ContinuationFrame(1, b"x").serialize(), id="a continuation of nothing"),
        pytest.param(frames.HeadersFrame(2, b"\x82", flags=["END_HEADERS"]).serialize(), id="a stream of our kind"),
        pytest.param(
            frames.HeadersFrame(1, b"\xff\xff\xff\xff\xff\x7f", flags=["END_HEADERS"]).serialize(), id="no HPACK"
        ),
        pytest.param(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", id="a frame of sixteen megabytes"),
    ],
)
def test_what_breaks_the_rules_of_frames_ends_the_connection(town: Http2Town, data: bytes) -> None:
    before = len(town.h2.streams)
    with open_http2(town.house, town.url("/")) as h2:
        h2.settle()
        h2.wire.send(data)
        h2.until_closed()
    assert len(town.h2.streams) == before
