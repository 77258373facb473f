"""Credentials over HTTP/2, in WebSockets' handshakes, before bodies that stream, and on connections that are kept."""

import secrets
from contextlib import ExitStack

import pytest
from h2client import fields, open_http2
from h2origin import Reply2
from keepers import PLACEHOLDER, VALUES, Keeper
from origin_replies import Reply
from wsends import ask

KEY = VALUES["api-key"]
TOKEN = VALUES["erp-token"]


def test_over_http2_on_both_sides(keeper: Keeper) -> None:
    """Its value never enters the compression table, and no trailer repeats it."""
    echo = KEY.encode()
    keeper.h2.on(
        "/v1/ledger/*",
        Reply2(headers=((b"x-echo", echo),), body=[b"<", echo, b">"], trailers=((b"x-late", b"Bearer " + echo),)),
    )
    before = keeper.h2.mark()
    with open_http2(keeper.house, keeper.h2.url("/")) as wire:
        for _ in range(2):
            url = keeper.h2.url(f"/v1/ledger/{secrets.token_hex(4)}")
            lines = fields(keeper.house, "GET", url, chain=keeper.house.chain(), intent="")
            stream = wire.send([*lines, ("x-erp", PLACEHOLDER)])
            answer = wire.answer(stream)
            assert answer.status == 200, answer
            assert answer.header("x-echo") == "credential-removed"
            assert answer.header("x-late") == "Bearer credential-removed"
            assert bytes(answer.body) == b"<" + b"*" * len(echo) + b">"
    _, streams, raw = keeper.h2.since(before)
    assert [stream.header("x-erp") for stream in streams] == [echo, echo]
    assert PLACEHOLDER.encode() not in raw


def test_a_websockets_handshake_has_it_and_its_answer_has_not(keeper: Keeper) -> None:
    with ExitStack() as ends:
        headers = [("Authorization", PLACEHOLDER), ("Sec-WebSocket-Protocol", "chat")]
        agent = ask(keeper.house, keeper.sockets.url("/v1/live/news"), keeper.house.chain(), ends, headers=headers)
        origin = keeper.sockets.accept(ends, headers=[f"X-Echo: {TOKEN}", "Sec-WebSocket-Protocol: chat"])
        answer = agent.opened()
        assert origin.header("authorization") == f"Bearer {TOKEN}"
        assert (answer.header("x-echo"), answer.header("sec-websocket-protocol")) == ("credential-removed", "chat")
        agent.say("hello")
        assert origin.hear() == ("text", "hello")
        origin.say(f"hello, {TOKEN}!")
        assert agent.hear() == ("text", f"hello, {'*' * len(TOKEN)}!")


@pytest.mark.parametrize("size", [10, 300_000], ids=["a small body", "a large one"])
def test_a_body_that_streams_follows_it(keeper: Keeper, size: int) -> None:
    target, body = f"/v1/uploads/{secrets.token_hex(4)}", b"x" * size
    keeper.plain.on("POST", target, Reply(status=201))
    answer = keeper.house.call("POST", keeper.url(target), body=body, headers=[("Authorization", PLACEHOLDER)])
    assert answer.status == 201, answer
    (request,) = [each for each in keeper.plain.requests if each.target == target]
    assert (request.header("authorization"), request.body) == (f"Bearer {TOKEN}", body)


def test_a_connection_is_not_shared_by_calls_with_different_credentials(keeper: Keeper) -> None:
    """Some origins remember who authenticated on a connection."""
    chain, used = keeper.house.chain(), {}
    with keeper.house.open(keeper.url("/", host="both")) as wire:
        for cluster in ("both-with", "both-without", "both-with", "both-without"):
            target = f"/{secrets.token_hex(4)}"
            intent = f'cluster="{cluster}"'
            url = keeper.url(target, host="both")
            assert keeper.house.call("GET", url, chain=chain, wire=wire, intent=intent).status == 200
            (request,) = [each for each in keeper.plain.requests if each.target == target]
            assert (request.header("authorization") is None) is (cluster == "both-without")
            used.setdefault(cluster, set()).add(request.connection)
    assert [len(each) for each in used.values()] == [1, 1], "each is kept"
    assert used["both-with"] != used["both-without"]
