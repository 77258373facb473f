"""WebSockets through the proxy: opened only by a rule, relayed frame by frame, counted, and ended as they should be."""

import base64
import json
import secrets
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import rawclient
from certs import Authority
from houses import WAYS, House, house
from towns import ROOMY
from wsends import KEY, OPENING, Agent, Listener, Origin, ask, opening_answer

from proxy.core.manifest import parse_manifest
from proxy.core.model import HoldState, Verdict

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    description: Read supplier invoices, and hear of new ones
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: hear
        methods: [GET]
        path: /v1/live/{{topic}}
        websocket: true
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{{id}}
"""

type Chain = Sequence[str]


@dataclass(kw_only=True)
class Place:
    """A running house and the origins that speak WebSocket behind it."""

    house: House
    listeners: dict[str, Listener]  # by way in

    def talk(self, way: str, ends: ExitStack, *, chain: Chain = ()) -> tuple[Agent, Origin]:
        """An open WebSocket."""
        listener = self.listeners[way]
        agent = ask(self.house, listener.url("/v1/live/news"), chain or self.house.chain(), ends)
        origin = listener.accept(ends)
        agent.opened()
        return agent, origin

    def outcome(self, root: str) -> dict[str, object]:
        """The outcome of the one call allowed under this root, as soon as it is written."""
        root_id, deadline_s = parse_manifest(root).id, time.monotonic() + 5
        while time.monotonic() < deadline_s:
            calls = {line["decision_id"] for line in self.house.journal("decision") if line.get("manifest") == root_id}
            for line in self.house.journal("outcome"):
                if line["decision_id"] in calls:
                    return line
            time.sleep(0.02)
        raise AssertionError("no outcome was written")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, authority = tmp_path_factory.mktemp("websockets"), Authority()
    with Listener() as plain, Listener(tls=authority.server("erp.example")) as tls:
        text = CLUSTERS.format(http=plain.port, https=tls.port)
        settings = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}"
        with house(folder, clusters=text, extra=settings) as running:
            yield Place(house=running, listeners={"plain": plain, "tls": tls})


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


# --- the handshake ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_origin_gets_a_handshake_of_our_own(place: Place, way: str, ends: ExitStack) -> None:
    """What concerned one connection stays there; what says what is spoken inside is passed on."""
    extra = [("Sec-WebSocket-Extensions", "permessage-deflate"), ("Sec-WebSocket-Protocol", "chat, news.v2")]
    listener = place.listeners[way]
    agent = ask(place.house, listener.url("/v1/live/news"), place.house.chain(), ends, headers=extra)
    origin = listener.accept(ends, headers=["Sec-WebSocket-Protocol: news.v2", "Set-Cookie: a=1"])
    answer = agent.opened()
    assert (answer.header("sec-websocket-protocol"), answer.header("set-cookie")) == ("news.v2", "a=1")
    assert origin.head.startswith(b"GET /v1/live/news HTTP/1.1\r\n")
    assert (origin.header("upgrade"), origin.header("connection")) == ("websocket", "Upgrade")
    assert origin.header("sec-websocket-version") == "13"
    assert origin.header("sec-websocket-protocol") == "chat, news.v2"
    assert origin.header("sec-websocket-extensions") is None
    key = origin.header("sec-websocket-key")
    assert key is not None
    assert len(base64.b64decode(key)) == 16
    assert key != KEY
    assert origin.header("intent-manifest") is None


BAD_ANSWERS: dict[str, Callable[[str], bytes]] = {
    "the answer to another key": lambda key: opening_answer(KEY),
    "a subprotocol nobody offered": lambda key: opening_answer(key, "Sec-WebSocket-Protocol: soap"),
    "an extension nobody offered": lambda key: opening_answer(key, "Sec-WebSocket-Extensions: permessage-deflate"),
    "another protocol": lambda key: opening_answer(key).replace(b"websocket", b"foo"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spoil", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_a_switch_that_does_not_answer_what_was_asked_is_a_broken_origin(
    place: Place, way: str, spoil: Callable[[str], bytes], ends: ExitStack
) -> None:
    listener = place.listeners[way]
    agent = ask(place.house, listener.url("/v1/live/news"), place.house.chain(), ends)
    origin = listener.accept(ends, reply=b"")
    origin.raw(spoil(origin.header("sec-websocket-key") or "") + b"\x81\x05hello")
    answer = agent.wire.response()
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.broken")
    assert b"hello" not in answer.raw
    agent.raw(b"\x81\x85\0\0\0\0hello")
    assert origin.hear() == ("gone",)
    twin, _ = place.talk(way, ends)
    twin.close()


@pytest.mark.parametrize("way", WAYS)
def test_an_origin_that_does_not_open_it_is_heard_in_its_own_words(place: Place, way: str, ends: ExitStack) -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 3\r\n\r\nno\n"
    listener, chain = place.listeners[way], place.house.chain()
    agent = ask(place.house, listener.url("/v1/live/news"), chain, ends)
    origin = listener.accept(ends, reply=refusal)
    answer = agent.wire.response()
    assert (answer.status, answer.header("www-authenticate"), answer.body) == (401, "Bearer", b"no\n")
    assert "websocket" not in place.outcome(chain[0])
    agent.raw(b"\x81\x85\0\0\0\0hello")
    refused = agent.wire.response()
    assert json.loads(refused.body)["code"] == "request.malformed", "the connection speaks HTTP as before"
    agent.wire.close()
    assert origin.hear() == ("gone",)


@pytest.mark.parametrize("way", WAYS)
def test_only_an_operation_that_says_so_opens_one_and_it_permits_nothing_else(
    place: Place, way: str, ends: ExitStack
) -> None:
    listener = place.listeners[way]
    for path, opening in (("/v1/invoices/17", OPENING), ("/v1/live/news", ())):
        agent = ask(place.house, listener.url(path), place.house.chain(), ends, opening=opening)
        answer = agent.wire.response()
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "mandate.not_covered"), path
    assert listener.nothing
    for path, opening in (("/v1/invoices/17", ()), ("/v1/live/news", OPENING)):
        agent = ask(place.house, listener.url(path), place.house.chain(), ends, opening=opening)
        listener.accept(ends, reply=None if opening else b"HTTP/1.1 204 No Content\r\n\r\n")
        assert agent.wire.response().status == (101 if opening else 204), path


@pytest.mark.parametrize("way", WAYS)
def test_a_released_handshake_opens_once(place: Place, way: str, ends: ExitStack) -> None:
    """A handshake that is tried again has another key; it is the same call all the same."""
    listener, chain = place.listeners[way], place.house.chain()
    url = listener.url(f"/v1/invoices/{secrets.token_hex(6)}")
    other_key = [*OPENING[:-1], ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")]

    def held() -> str:
        answer = ask(place.house, url, chain, ends).wire.response()
        assert answer.status == 403, answer
        hold_id: str = json.loads(answer.body)["task"]["id"]
        return hold_id

    hold_id = held()
    place.house.decide(hold_id, Verdict.ALLOW)
    redeemed = place.house.call("POST", f"http://intent.internal/holds/{hold_id}/redeem", chain=chain)
    assert json.loads(redeemed.body)["code"] == "request.unsupported", "there is nothing to send without a handshake"
    assert listener.nothing
    agent = ask(place.house, url, chain, ends, opening=other_key)
    origin = listener.accept(ends)
    agent.opened(key=other_key[-1][1])
    agent.say("once")
    assert origin.hear() == ("text", "once")
    assert held() != hold_id
    assert listener.nothing
    assert place.house.hold(hold_id).state is HoldState.RELEASED


def test_the_proof_of_a_tunnel_opens_one(place: Place, ends: ExitStack) -> None:
    listener = place.listeners["tls"]
    authority = listener.url("/").split("/")[2]
    wire = ends.enter_context(rawclient.connect(place.house.address))
    assert wire.connect(authority, place.house.signed("CONNECT", authority, chain=place.house.chain())).status == 200
    wire.start_tls(place.house.ca, sni="erp.example")
    agent = Agent(wire)
    wire.send(rawclient.request_bytes("GET", "/v1/live/news", [("Host", authority), *OPENING]))
    origin = listener.accept(ends)
    agent.opened()
    origin.say("news")
    assert agent.hear() == ("text", "news")


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_in_one_packet_with_a_handshake_is_not_lost(place: Place, way: str, ends: ExitStack) -> None:
    listener = place.listeners[way]
    agent = ask(place.house, listener.url("/v1/live/news"), place.house.chain(), ends)
    agent.say("too early, but so it is")
    origin = listener.accept(ends, reply=b"")
    origin.raw(opening_answer(origin.header("sec-websocket-key") or "") + b"\x81\x05hello")
    agent.opened()
    assert agent.hear() == ("text", "hello")
    assert origin.hear() == ("text", "too early, but so it is")


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_messages_go_both_ways_and_are_counted(place: Place, way: str, ends: ExitStack) -> None:
    chain = place.house.chain()
    agent, origin = place.talk(way, ends, chain=chain)
    agent.say("good morning")
    assert origin.hear() == ("text", "good morning")
    origin.say(b"\0\1\2")
    origin.say("grüße")
    assert agent.hear() == ("binary", b"\0\1\2")
    assert agent.hear() == ("text", "grüße")
    agent.close(4001, "enough")
    assert origin.hear() == ("close", 4001, "enough")
    origin.raw(b"\x81\x1eone more, which was on its way")
    origin.close(4001, "enough")
    assert agent.hear() == ("text", "one more, which was on its way")
    assert agent.hear() == ("close", 4001, "enough")
    assert agent.hear() == origin.hear() == ("gone",)
    outcome = place.outcome(chain[0])
    assert outcome["status"] == 101
    assert (outcome["bytes_up"], outcome["bytes_down"], outcome.get("error")) == (12, 40, None)
    assert outcome["websocket"] == {"messages_up": 1, "messages_down": 3, "close_code": 4001, "closed_by": "agent"}


def test_fragments_stay_fragments_and_large_frames_come_in_pieces(place: Place, ends: ExitStack) -> None:
    agent, origin = place.talk("plain", ends)
    for part, last in (("ein", False), (" grö", False), ("ßeres", True)):
        agent.say(part, last=last)
        if not last:
            agent.ping(b"between")
    assert origin.hear() == ("text", "ein größeres")
    assert origin.pieces == [3, 4, 5]
    assert [agent.hear() for _ in range(2)] == [("pong", b"between")] * 2
    large = secrets.token_bytes(1_000_000)
    origin.say(large)
    assert agent.hear() == ("binary", large)
    assert all(size < 200_000 for size in agent.pieces)
    long = "ß" * 300_000
    agent.say(long)
    assert origin.hear() == ("text", long)


def test_pings_are_answered_here_and_reach_nobody(place: Place, ends: ExitStack) -> None:
    agent, origin = place.talk("tls", ends)
    agent.ping(b"are you there")
    origin.ping(b"and you")
    assert agent.hear() == ("pong", b"are you there")
    assert origin.hear() == ("pong", b"and you")
    agent.pong(b"unasked")
    origin.pong(b"unasked")
    agent.say("a")
    origin.say("b")
    assert (origin.hear(), agent.hear()) == (("text", "a"), ("text", "b"))


def test_an_agent_that_does_not_read_stops_its_origin(place: Place, ends: ExitStack) -> None:
    """Nothing piles up between the two."""
    agent, origin = place.talk("plain", ends)
    frame, sent, most = b"\x82\x7f" + (1_000_000).to_bytes(8) + b"x" * 1_000_000, 0, 64
    origin.sock.setblocking(False)
    while sent < most * len(frame) and select.select([], [origin.sock], [], 0.5)[1]:
        sent += origin.sock.send(frame[sent % len(frame) :])
    assert sent < most * len(frame) // 2, "the origin could send on and on"
    origin.sock.settimeout(10)
    whole = -(-sent // len(frame))
    rest = threading.Thread(target=lambda: origin.sock.sendall(frame[sent % len(frame) or len(frame) :]))
    rest.start()
    assert all(agent.hear() == ("binary", frame[10:]) for _ in range(whole))
    rest.join(10)


# --- what breaks the protocol ----------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[bytes, int]] = {
    "a reserved bit": (b"\xc1\x01x", 1002),
    "a reserved kind of frame": (b"\x83\x01x", 1002),
    "a ping in fragments": (b"\x09\x01x", 1002),
    "a ping that is too long": (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    "a continuation of nothing": (b"\x80\x01x", 1002),
    "a message within a message": (b"\x01\x01x\x81\x01x", 1002),
    "a length in more bytes than it needs": (b"\x81\x7e\x00\x01x", 1002),
    "a text that is not UTF-8": (b"\x81\x02\xc3\x28", 1007),
    "a text that ends within a character": (b"\x81\x01\xc3", 1007),
    "a closing code nobody may send": (b"\x88\x02\x03\xed", 1002),
    "half a closing code": (b"\x88\x01\x03", 1002),
    "a closing reason that is not UTF-8": (b"\x88\x04\x03\xe8\xc3\x28", 1007),
}
"""By the frames as an origin would send them, and the code that it is told."""


def masked(frames: bytes) -> bytes:
    """The same frames as an agent would send them, under a mask of zeros."""
    out = b""
    while frames:
        extended = {126: 2, 127: 8}.get(frames[1], 0)
        length = int.from_bytes(frames[2 : 2 + extended]) if extended else frames[1]
        head, end = 2 + extended, 2 + extended + length
        out += bytes([frames[0], frames[1] | 0x80]) + frames[2:head] + b"\0\0\0\0" + frames[head:end]
        frames = frames[end:]
    return out


@pytest.mark.parametrize(("frames", "code"), FAULTS.values(), ids=FAULTS.keys())
def test_whoever_breaks_the_protocol_is_told_and_the_other_hears_nothing_of_it(
    place: Place, frames: bytes, code: int, ends: ExitStack
) -> None:
    for way, breaks in (("plain", "agent"), ("tls", "origin")):
        chain = place.house.chain()
        agent, origin = place.talk(way, ends, chain=chain)
        guilty, other = (agent, origin) if breaks == "agent" else (origin, agent)
        guilty.say("fine")
        assert other.hear() == ("text", "fine")
        guilty.raw(masked(frames) if breaks == "agent" else frames)
        assert guilty.hear()[:2] == ("close", code)
        last = other.hear()
        assert last[:2] == ("close", 1001 if breaks == "agent" else 1011), last
        assert other.hear() == ("gone",)
        outcome = place.outcome(chain[0])
        assert outcome["error"] == ("request.malformed" if breaks == "agent" else "upstream.broken")
        assert outcome["websocket"] == {
            "messages_up": int(breaks == "agent"),
            "messages_down": int(breaks == "origin"),
        }


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_for_agents_and_only_for_them(place: Place, way: str, ends: ExitStack) -> None:
    agent, origin = place.talk(way, ends)
    agent.raw(b"\x81\x05hello")
    assert agent.hear()[:2] == ("close", 1002)
    assert origin.hear() == ("close", 1001, "")
    agent, origin = place.talk(way, ends)
    origin.raw(b"\x81\x85\0\0\0\0hello")
    assert origin.hear()[:2] == ("close", 1002)
    assert agent.hear()[:2] == ("close", 1011)


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_close_without_a_code_is_passed_on_without_one(place: Place, way: str, ends: ExitStack) -> None:
    chain = place.house.chain()
    agent, origin = place.talk(way, ends, chain=chain)
    origin.raw(b"\x88\x00")
    assert agent.hear() == ("close", 1005, "")
    agent.raw(masked(b"\x88\x00"))
    assert origin.hear() == ("close", 1005, "")
    told = place.outcome(chain[0])["websocket"]
    assert told == {"messages_up": 0, "messages_down": 0, "close_code": 1005, "closed_by": "origin"}


@pytest.mark.parametrize("way", WAYS)
def test_an_end_without_a_close_is_told_to_the_other_side(place: Place, way: str, ends: ExitStack) -> None:
    chain = place.house.chain()
    agent, origin = place.talk(way, ends, chain=chain)
    agent.wire.close()
    assert [origin.hear(), origin.hear()] == [("close", 1001, ""), ("gone",)]
    assert place.outcome(chain[0])["error"] == "client.gone"
    chain = place.house.chain()
    agent, origin = place.talk(way, ends, chain=chain)
    origin.sock.close()
    assert agent.hear()[:2] == ("close", 1011)
    assert agent.hear() == ("gone",)
    assert place.outcome(chain[0])["error"] == "upstream.broken"


def test_a_proxy_that_stops_takes_its_leave(place: Place, ends: ExitStack) -> None:
    """The last test of this file, for it stops the proxy."""
    talks = []
    for way in WAYS:
        chain = place.house.chain()
        talks.append((chain, *place.talk(way, ends, chain=chain)))
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(place.house.stop()))
    stopping.start()
    for _, agent, origin in talks:
        for end in (agent, origin):
            assert end.hear() == ("close", 1001, "the proxy is stopping")
            end.close(1001)
            assert end.hear() == ("gone",)
        agent.wire.close()
    stopping.join(20)
    assert codes == [0]
    for chain, _, _ in talks:
        outcome = place.outcome(chain[0])
        assert outcome.get("error") is None
        assert outcome["websocket"] == {
            "messages_up": 0,
            "messages_down": 0,
            "close_code": 1001,
            "closed_by": "proxy",
        }
