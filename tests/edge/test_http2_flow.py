"""Nobody is sent, and nothing is kept, faster than it is taken: bodies over HTTP/2 that wait, in both directions."""

import pytest
from h2client import Http2Wire, fields, open_http2, unsigned
from h2origin import Reply2
from h2towns import Http2Town
from origin_replies import Reply
from workers import memory_kib, reset_peak, workers

ORIGINS = ("h2", "h1")
MIB = 1024 * 1024
SIZE = 48 * MIB
ROOM_KIB = 16 * 1024
"""What a worker may need beyond what it has, for a body of `SIZE`."""


@pytest.fixture
def town(http2_town: Http2Town) -> Http2Town:
    return http2_town


@pytest.mark.parametrize("over", ORIGINS)
def test_a_client_that_takes_nothing_fills_no_memory_and_stops_no_other_call(town: Http2Town, over: str) -> None:
    body = bytes(range(256)) * (SIZE // 256)
    town.h2.on("/v1/invoices/large", Reply2(body=[body]))
    town.h1.on("GET", "/v1/invoices/large", Reply(body=body))
    url, chain = town.url("/v1/invoices/large", over=over), town.chain()
    (worker,) = workers(town.house)
    with open_http2(town.house, url, hoard=True, timeout_s=60) as h2:
        h2.h2.increment_flow_control_window(2 * SIZE)  # of the connection: only streams stop here
        h2.flush()
        assert h2.answer(h2.send(fields(town.house, "GET", town.url("/v1/invoices/1", over=over), chain=chain))).status
        before_kib = memory_kib(worker)
        reset_peak(worker)
        large = h2.send(fields(town.house, "GET", url, chain=chain))
        h2.until(lambda: len(h2.answers[large].body) == 65_535)
        other = h2.send(fields(town.house, "GET", town.url("/v1/invoices/2", over=over), chain=chain))
        assert h2.answer(other).status == 200
        assert len(h2.answers[large].body) == 65_535
        while not h2.answers[large].ended:
            h2.h2.increment_flow_control_window(MIB, large)
            h2.flush()
            room = len(h2.answers[large].body) + MIB
            h2.until(lambda room=room: len(h2.answers[large].body) >= room or h2.answers[large].ended)
    assert h2.answers[large].body == body
    assert memory_kib(worker, "VmHWM") < before_kib + ROOM_KIB


def test_a_client_sends_no_more_than_its_origin_takes_and_other_calls_go_on(town: Http2Town) -> None:
    """An upload that nobody examines passes through as it comes: what the origin does not take waits at the client."""
    body = bytes(range(256)) * (8 * MIB // 256)
    url, chain = town.url("/v1/uploads/large"), town.chain()
    (worker,) = workers(town.house)
    before, before_kib = town.h2.mark(), memory_kib(worker)
    town.h2.hoards = True
    try:
        with open_http2(town.house, url, chain=chain, timeout_s=60) as h2:
            reset_peak(worker)
            stream = h2.send(unsigned("POST", url), end=False)
            sent = 0
            while sent < MIB and (room := _room(h2, stream)):
                size = min(room, 16_384)
                h2.h2.send_data(stream, body[sent : sent + size])
                h2.flush()
                sent += size
                h2.settle()
            assert sent < MIB, "it would take it all"
            other = h2.send(unsigned("GET", town.url("/v1/invoices/1")))
            assert h2.answer(other).status == 200
            town.h2.give_back()
            h2.data(stream, body[sent:], end=True)
            assert h2.answer(stream).status == 200
    finally:
        town.h2.hoards = False
    (upload,) = (each for each in town.h2.since(before)[1] if each.path == "/v1/uploads/large")
    assert bytes(upload.body) == body
    assert memory_kib(worker, "VmHWM") < before_kib + ROOM_KIB


def _room(h2: Http2Wire, stream: int) -> int:
    return h2.h2.local_flow_control_window(stream)


def test_an_upload_to_an_http1_origin_passes_as_it_comes(town: Http2Town) -> None:
    body = bytes(range(256)) * (4 * MIB // 256)
    url, chain, before = town.url("/v1/uploads/old", over="h1"), town.chain(), town.h1.mark()
    with open_http2(town.house, url, chain=chain, timeout_s=60) as h2:
        stream = h2.send(unsigned("POST", url), end=False)
        h2.data(stream, body[:MIB])
        town.h1.wait_for(lambda it: len(it.since(before).raw_bytes) > MIB)
        h2.data(stream, body[MIB:], end=True)
        assert h2.answer(stream).status == 200
    (request,) = town.h1.since(before).requests
    assert (request.body, request.header("transfer-encoding")) == (body, "chunked")


@pytest.mark.parametrize("over", ORIGINS)
def test_an_upload_that_its_client_gives_up_never_looks_whole(town: Http2Town, over: str) -> None:
    url, chain = town.url("/v1/uploads/given-up", over=over), town.chain()
    before2, before1 = town.h2.mark(), town.h1.mark()
    with open_http2(town.house, url, chain=chain) as h2:
        stream = h2.send(unsigned("POST", url), end=False)
        h2.data(stream, b"begun")
        if over == "h2":
            town.h2.wait_for(lambda: any(each.body == b"begun" for each in town.h2.since(before2)[1]))
            h2.reset(stream)
            (upload,) = town.h2.since(before2)[1]
            town.h2.wait_for(lambda: upload.reset is not None)
            assert not upload.ended
        else:
            town.h1.wait_for(lambda it: b"begun" in it.since(before1).raw_bytes)
            h2.reset(stream)
            town.h1.wait_for(lambda it: it.connections[-1].closed)
            assert town.h1.since(before1).requests == ()
            assert not town.h1.since(before1).raw_bytes.endswith(b"0\r\n\r\n")
        assert h2.answer(h2.send(unsigned("GET", town.url("/v1/invoices/1", over=over)))).status == 200


def test_an_upload_that_is_shorter_than_it_said_never_looks_whole(town: Http2Town) -> None:
    url, chain, before = town.url("/v1/uploads/short"), town.chain(), town.h2.mark()
    with open_http2(town.house, url, chain=chain) as h2:
        stream = h2.send(unsigned("POST", url, ("content-length", "10")), body=b"four")
        answer = h2.answer(stream)
        assert (answer.status, answer.code) == (400, "request.malformed")
    town.h2.wait_for(lambda: len(town.h2.since(before)[1]) == 1)
    (upload,) = town.h2.since(before)[1]
    town.h2.wait_for(lambda: upload.reset is not None)
    assert not upload.ended
