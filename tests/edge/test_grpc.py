"""gRPC through the proxy: unary and server-streaming calls pass with their trailers, refusals are gRPC's own."""

import json
from base64 import b64decode
from urllib.parse import unquote

import pytest
from h2client import Answer2, fields, open_http2, unsigned
from h2origin import Reply2, Stream2
from h2towns import Http2Town
from origin_replies import Gate

from proxy.core.model import Verdict

GRPC = [("content-type", "application/grpc+proto"), ("te", "trailers"), ("grpc-timeout", "10S")]
HEAD = ((b"content-type", b"application/grpc+proto"),)
OK = ((b"grpc-status", b"0"), (b"grpc-message", b""))


@pytest.fixture
def town(http2_town: Http2Town) -> Http2Town:
    return http2_town


def message(data: bytes) -> bytes:
    """One message in the framing of gRPC."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def call(town: Http2Town, path: str, body: bytes = message(b"ask"), **more: object) -> Answer2:
    url = town.url(path)
    chain = more.pop("chain", None) or town.chain()
    extra = [*GRPC, *more.pop("headers", [])]  # type: ignore[misc]
    with open_http2(town.house, url) as h2:
        return h2.answer(h2.send(fields(town.house, "POST", url, chain=chain, headers=extra, body=body), body=body))


def problem(answer: Answer2) -> dict[str, object]:
    text = answer.header("intent-problem-bin") or ""
    found = json.loads(b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(found, dict)
    return found


def test_a_unary_call_passes_with_its_trailers(town: Http2Town) -> None:
    town.h2.on("/acme.Ledger/Read", Reply2(headers=HEAD, body=[message(b"answer")], trailers=OK))
    before = town.h2.mark()
    answer = call(town, "/acme.Ledger/Read")
    assert (answer.status, answer.body, answer.ended) == (200, message(b"answer"), True)
    assert answer.trailers == (("grpc-status", "0"), ("grpc-message", ""))
    (stream,) = town.h2.since(before)[1]
    assert stream.header("te") == b"trailers", "without it a server takes us for one that loses them"
    assert (bytes(stream.body), stream.header("grpc-timeout")) == (message(b"ask"), b"10S")


def test_an_error_without_a_body_passes(town: Http2Town) -> None:
    town.h2.on("/acme.Ledger/Miss", Reply2(headers=(*HEAD, (b"grpc-status", b"5")), head_only=True))
    answer = call(town, "/acme.Ledger/Miss")
    assert (answer.status, answer.header("grpc-status"), answer.ended, answer.reset) == (200, "5", True, None)


def test_a_stream_from_the_server_passes_message_by_message(town: Http2Town) -> None:
    gates = [Gate(), Gate()]
    parts = [message(b"one"), gates[0], message(b"two"), gates[1], message(b"three")]
    town.h2.on("/acme.Ledger/Watch", Reply2(headers=HEAD, body=parts, trailers=OK))
    url = town.url("/acme.Ledger/Watch")
    with open_http2(town.house, url) as h2:
        head = fields(town.house, "POST", url, chain=town.chain(), headers=GRPC, body=message(b"ask"))
        stream = h2.send(head, body=message(b"ask"))
        answer = h2.answers[stream]
        h2.until(lambda: answer.body == message(b"one"))
        gates[0].open()
        h2.until(lambda: answer.body == message(b"one") + message(b"two"))
        gates[1].open()
        assert h2.answer(stream).body == message(b"one") + message(b"two") + message(b"three")
    assert answer.header("grpc-status") == "0"


def test_trailers_that_would_frame_or_route_the_answer_are_left_out(town: Http2Town) -> None:
    odd = (*OK, (b"content-length", b"9"), (b"transfer-encoding", b"chunked"), (b"host", b"evil.example"))
    town.h2.on("/acme.Ledger/Odd", Reply2(headers=HEAD, body=[message(b"x")], trailers=odd))
    assert call(town, "/acme.Ledger/Odd").trailers == (("grpc-status", "0"), ("grpc-message", ""))


def test_both_sides_stream_at_once(town: Http2Town) -> None:
    """Its body is nobody's to examine, so that each message passes as it comes, either way."""
    town.h2.on("/acme.Streams/Chat", Reply2(headers=HEAD, echo=True, trailers=OK))
    url, before = town.url("/acme.Streams/Chat"), town.h2.mark()
    with open_http2(town.house, url, chain=town.chain()) as h2:
        stream = h2.send(unsigned("POST", url, *GRPC), end=False)
        answer, said = h2.answers[stream], b""
        h2.until(lambda: answer.status == 200)
        for word in (b"one", b"two", b"three"):
            h2.data(stream, message(word))
            said += message(word)
            h2.until(lambda said=said: answer.body == said)
        h2.data(stream, b"", end=True)
        assert h2.answer(stream).header("grpc-status") == "0"
    (chat,) = town.h2.since(before)[1]
    assert (chat.header("te"), chat.header("content-length")) == (b"trailers", None)


def test_a_stream_from_the_client_arrives_message_by_message(town: Http2Town) -> None:
    town.h2.on("/acme.Streams/Record", Reply2(headers=HEAD, body=[message(b"two of them")], trailers=OK))
    url, before = town.url("/acme.Streams/Record"), town.h2.mark()
    with open_http2(town.house, url, chain=town.chain()) as h2:
        stream = h2.send(unsigned("POST", url, *GRPC), end=False)
        h2.data(stream, message(b"one"))
        town.h2.wait_for(lambda: any(each.body == message(b"one") for each in town.h2.since(before)[1]))
        h2.data(stream, message(b"two"), end=True)
        answer = h2.answer(stream)
    assert (answer.body, answer.header("grpc-status")) == (message(b"two of them"), "0")


def test_a_server_that_has_said_all_does_not_wait_for_its_client(town: Http2Town) -> None:
    town.h2.on("/acme.Streams/Enough", Reply2(headers=HEAD, at_head=True, trailers=((b"grpc-status", b"8"),)))
    url, before = town.url("/acme.Streams/Enough"), town.h2.mark()
    with open_http2(town.house, url, chain=town.chain()) as h2:
        stream = h2.send(unsigned("POST", url, *GRPC), end=False)
        h2.data(stream, message(b"one"))
        answer = h2.answer(stream)
        assert (answer.header("grpc-status"), answer.ended) == ("8", True)
        h2.until(lambda: answer.reset is not None)
        assert answer.reset == 0, "stop sending, without a fault"
        (enough,) = town.h2.since(before)[1]
        town.h2.wait_for(lambda: enough.reset is not None)


def test_a_stream_outside_the_mandate_is_refused_before_its_first_message(town: Http2Town) -> None:
    url, before = town.url("/acme.Payroll/Chat"), town.h2.mark()
    with open_http2(town.house, url) as h2:
        answer = h2.answer(h2.send(unsigned("POST", url, *GRPC), end=False))
    assert (answer.header("grpc-status"), problem(answer)["code"]) == ("16", "proof.missing")
    assert town.h2.since(before)[1] == []


def test_a_call_outside_the_mandate_is_held_in_words_a_grpc_client_hears(town: Http2Town) -> None:
    chain, before = town.chain(), town.h2.mark()
    answer = call(town, "/acme.Payroll/Raise", chain=chain)
    assert (answer.status, answer.header("content-type"), answer.body) == (200, "application/grpc", b"")
    assert answer.header("grpc-status") == "7"
    hold_id = town.house.wait_for_hold(chain)
    assert f"http://intent.internal/holds/{hold_id}" in unquote(answer.header("grpc-message") or "")
    assert problem(answer)["task"]["id"] == hold_id  # type: ignore[index]
    assert town.h2.since(before)[1] == []
    town.house.decide(hold_id, Verdict.ALLOW)
    assert call(town, "/acme.Payroll/Raise", chain=chain).status == 200
    assert [stream.path for stream in town.h2.since(before)[1]] == ["/acme.Payroll/Raise"]


def test_a_call_that_waits_for_its_review_has_the_servers_own_answer(town: Http2Town) -> None:
    town.h2.on("/acme.Payroll/Wait", Reply2(headers=HEAD, body=[message(b"done")], trailers=OK))
    chain, url = town.chain(), town.url("/acme.Payroll/Wait")
    with open_http2(town.house, url, timeout_s=30) as h2:
        extra = [*GRPC, ("prefer", "wait=20")]
        head = fields(town.house, "POST", url, chain=chain, headers=extra, body=message(b"ask"))
        stream = h2.send(head, body=message(b"ask"))
        town.house.decide(town.house.wait_for_hold(chain), Verdict.ALLOW)
        answer = h2.answer(stream)
    assert (answer.body, answer.header("grpc-status")) == (message(b"done"), "0")


@pytest.mark.parametrize(
    ("spoil", "status", "code"),
    [
        pytest.param(("signature", f"intent=:{'A' * 86}==:"), "16", "proof.signature", id="a bad signature"),
        pytest.param((":path", "/acme.Ledger/../Read"), "3", "url.ambiguous", id="an odd path"),
    ],
)
def test_a_refusal_before_the_body_is_grpcs_own(
    town: Http2Town, spoil: tuple[str, str], status: str, code: str
) -> None:
    url = town.url("/acme.Ledger/Read")
    head = fields(town.house, "POST", url, chain=town.chain(), headers=GRPC, body=message(b"ask"))
    spoiled = [(name, spoil[1] if name == spoil[0] else value) for name, value in head]
    with open_http2(town.house, url) as h2:
        answer = h2.answer(h2.send(spoiled, body=None, end=False))
    assert (answer.status, answer.header("grpc-status")) == (200, status)
    assert problem(answer)["code"] == code


def test_a_broken_origin_is_told_as_unavailable(town: Http2Town) -> None:
    town.h2.on("/acme.Ledger/Gone", Reply2(raw=_reset))
    answer = call(town, "/acme.Ledger/Gone")
    assert (answer.status, answer.header("grpc-status")) == (200, "14")
    assert problem(answer)["code"] == "upstream.broken"


def test_without_grpcs_content_type_a_refusal_is_http(town: Http2Town) -> None:
    url = town.url("/acme.Payroll/Raise")
    with open_http2(town.house, url) as h2:
        head = fields(town.house, "POST", url, chain=town.chain(), headers=[("content-type", "text/plain")], body=b"x")
        answer = h2.answer(h2.send(head, body=b"x"))
    assert (answer.status, answer.code) == (403, "mandate.not_covered")


def _reset(stream: Stream2) -> bytes:
    return (4).to_bytes(3, "big") + b"\x03\x00" + stream.id.to_bytes(4, "big") + (2).to_bytes(4, "big")
