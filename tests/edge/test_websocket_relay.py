"""The relay alone, with a clock that the test moves: what is asked, what is waited for, and how much may be said."""

import time
from collections.abc import Iterator

import pytest
from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.http import HTTPFlow
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from wsproto.frame_protocol import FrameProtocol, Opcode

from addons.conversation import Conversation
from addons.websocket import MESSAGE_BYTES, ConversationEndedHook, Relay
from proxy.core.credential import Credential, Way
from proxy.core.errors import Code
from proxy.core.injection import Injection


class Bench:
    """A relay between two ends, and what it did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, injection: Injection | None = None) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.client = Client(peername=("a", 1), sockname=("b", 2), timestamp_start=0, state=ConnectionState.OPEN)
        self.server = Server(address=("c", 3))
        self.server.state = ConnectionState.OPEN
        context = Context(self.client, Options())
        context.server = self.server
        self.said = Conversation(client_key="")
        self.relay = Relay(context, HTTPFlow(self.client, self.server), self.said, injection)
        self.pending: list[tuple[float, commands.RequestWakeup]] = []
        self.closed: list[Connection] = []
        self.ended = 0
        self.agent, self.origin = FrameProtocol(client=True, extensions=[]), FrameProtocol(client=False, extensions=[])
        self.heard: dict[str, list[tuple[Opcode, object]]] = {"agent": [], "origin": []}
        self.give(events.Start())

    def give(self, event: events.Event) -> None:
        for command in self.relay.handle_event(event):
            match command:
                case commands.RequestWakeup():
                    self.pending.append((self.now_s + command.delay, command))
                case ConversationEndedHook():
                    self.ended += 1
                    self.give(events.HookCompleted(command))
                case commands.CloseConnection():
                    self.closed.append(command.connection)
                case commands.SendData():
                    name, end = ("agent", self.agent) if command.connection is self.client else ("origin", self.origin)
                    end.receive_bytes(command.data)
                    self.heard[name] += [(frame.opcode, frame.payload) for frame in end.received_frames()]

    def agent_says(self, data: bytes) -> None:
        self.give(events.DataReceived(self.client, bytes(data)))

    def origin_says(self, data: bytes) -> None:
        self.give(events.DataReceived(self.server, bytes(data)))

    def pass_time(self, seconds: float) -> None:
        until = self.now_s + seconds
        while due := sorted((each for each in self.pending if each[0] <= until), key=lambda each: each[0]):
            self.pending.remove(due[0])
            self.now_s = due[0][0]
            self.give(events.Wakeup(due[0][1]))
        self.now_s = until

    def count(self, name: str, kind: Opcode) -> int:
        return sum(opcode is kind for opcode, _ in self.heard[name])


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with monkeypatch.context() as patch:
        yield Bench(patch)


def test_a_side_that_is_silent_is_asked_and_one_that_answers_may_be_silent_for_hours(bench: Bench) -> None:
    for _ in range(240):
        bench.pass_time(30)
        bench.agent_says(bench.agent.pong())
        bench.origin_says(bench.origin.pong())
    assert not bench.ended
    assert 100 < bench.count("agent", Opcode.PING) <= 240
    assert len(bench.pending) <= 2


def test_a_side_that_talks_is_not_asked(bench: Bench) -> None:
    for _ in range(20):
        bench.pass_time(10)
        bench.agent_says(bench.agent.send_data(b"x"))
    assert bench.count("agent", Opcode.PING) == 0
    assert bench.count("origin", Opcode.PING) > 0


@pytest.mark.parametrize(
    ("silent", "fault"), [("agent", Code.CLIENT_GONE), ("origin", Code.UPSTREAM_BROKEN)], ids=["agent", "origin"]
)
def test_a_side_that_answers_nothing_for_five_minutes_is_gone(bench: Bench, silent: str, fault: Code) -> None:
    for _ in range(29):
        bench.pass_time(10)
        if silent == "origin":
            bench.agent_says(bench.agent.pong())
        else:
            bench.origin_says(bench.origin.pong())
    assert not bench.ended
    bench.pass_time(41)
    assert (bench.ended, bench.said.fault) == (1, fault)
    assert set(bench.closed) == {bench.client, bench.server}
    other = "origin" if silent == "agent" else "agent"
    assert bench.heard[other][-1][0] is Opcode.CLOSE


def test_an_origin_that_never_answers_a_close_is_not_waited_for(bench: Bench) -> None:
    bench.agent_says(bench.agent.close(1000, "done"))
    assert bench.heard["origin"] == [(Opcode.CLOSE, (1000, "done"))]
    bench.origin_says(bench.origin.send_data(b"still here"))
    bench.pass_time(4.9)
    assert not bench.ended
    assert bench.heard["agent"] == [(Opcode.BINARY, b"still here")]
    bench.pass_time(0.2)
    assert bench.ended == 1
    assert bench.heard["agent"][-1] == (Opcode.CLOSE, (1000, ""))
    assert (bench.said.close_code, bench.said.closed_by, bench.said.fault) == (1000, "agent", None)


def test_after_its_close_a_side_is_neither_read_nor_answered(bench: Bench) -> None:
    bench.origin_says(bench.origin.close(1001))
    bench.origin_says(bytes(bench.origin.ping(b"x")) + b"\xff" * 100_000)
    bench.agent_says(bench.agent.ping(b"y"))
    assert [opcode for opcode, _ in bench.heard["origin"]] == []
    assert bench.said.fault is None
    bench.pass_time(3)
    bench.give(events.ConnectionClosed(bench.server))
    assert bench.ended == 1, "the origin has said its last word"
    assert bench.said.fault is None


def test_of_two_that_close_at_once_the_first_counts(bench: Bench) -> None:
    bench.agent_says(bench.agent.close(1000))
    bench.origin_says(bench.origin.close(1001))
    assert (bench.ended, bench.said.close_code, bench.said.closed_by) == (1, 1000, "agent")
    assert (bench.count("agent", Opcode.CLOSE), bench.count("origin", Opcode.CLOSE)) == (1, 1)


@pytest.mark.parametrize(
    ("by", "fault"), [("agent", Code.REQUEST_TOO_LARGE), ("origin", Code.UPSTREAM_BROKEN)], ids=["agent", "origin"]
)
def test_a_message_may_have_sixteen_mebibytes_and_no_more(bench: Bench, by: str, fault: Code) -> None:
    end, say = (bench.agent, bench.agent_says) if by == "agent" else (bench.origin, bench.origin_says)
    part = b"x" * (MESSAGE_BYTES // 16)
    for more in range(15, -1, -1):
        say(end.send_data(part, fin=not more))
    assert not bench.ended
    for _ in range(16):
        say(end.send_data(part, fin=False))
    say(end.send_data(b"", fin=False))
    assert not bench.ended
    say(end.send_data(b"x", fin=True))
    assert (bench.ended, bench.said.fault) == (1, fault)
    opcode, told = bench.heard[by][-1]
    assert opcode is Opcode.CLOSE
    assert isinstance(told, tuple)
    assert told[0] == 1009
    assert bench.said.messages_up + bench.said.messages_down == 1


def test_what_follows_the_end_is_not_read(bench: Bench) -> None:
    bench.give(events.ConnectionClosed(bench.client))
    bench.give(events.ConnectionClosed(bench.server))
    bench.origin_says(bench.origin.send_data(b"x"))
    bench.pass_time(1000)
    assert bench.ended == 1
    assert bench.count("agent", Opcode.BINARY) == 0


def test_large_frames_are_passed_on_as_they_come(bench: Bench) -> None:
    """However large the frame, only a piece of it is ever kept."""
    frame = bytes(bench.agent.send_data(b"x" * 1_000_000))
    for at in range(0, len(frame), 10_000):
        bench.agent_says(frame[at : at + 10_000])
        passed = sum(len(payload) for _, payload in bench.heard["origin"] if isinstance(payload, bytes))
        assert passed >= at - 80_000
    assert len(bench.heard["origin"]) > 10
    assert (bench.said.messages_up, bench.said.bytes_up) == (1, 1_000_000)


SECRET = "tok-4f9a81c2"
BEARER = Injection(credential=Credential(secret="erp", way=Way.BEARER), to=("https", "erp.example", 443), value=SECRET)


def told(bench: Bench) -> list[object]:
    """What the agent heard, frame by frame."""
    return [payload for opcode, payload in bench.heard["agent"] if opcode in (Opcode.TEXT, Opcode.BINARY)]


def test_a_credential_is_taken_out_of_what_its_origin_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, origin = Bench(monkeypatch, BEARER), FrameProtocol(client=False, extensions=[])
    bench.origin = origin
    bench.origin_says(origin.send_data(f"é {SECRET} à", fin=True))
    for part, last in ((b"<", False), (SECRET[:8].encode(), False), (SECRET[8:].encode() + b">", True)):
        bench.origin_says(origin.send_data(part, fin=last))
    bench.origin_says(origin.send_data("tok-4", fin=True))
    bench.origin_says(origin.send_data(SECRET[5:], fin=True))
    assert told(bench) == ["é ************ à", b"<", b"************>", "tok-4", SECRET[5:]]
    bench.origin_says(origin.close(1008, f"bad token {SECRET}"))
    assert bench.heard["agent"][-1] == (Opcode.CLOSE, (1008, "bad token ************"))


def test_what_is_said_without_one_passes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.origin_says(bench.origin.send_data(f"see {SECRET}", fin=True))
    assert told(bench) == [f"see {SECRET}"]
