"""Between the two connections of a WebSocket that a rule allows: a relay of frames (RFC 6455 §5).

What is said is not examined, only how: a frame that breaks the protocol ends the WebSocket, and reaches nobody. Pings
are answered here and pongs end here, so that neither side learns of the other by them. Nothing is kept but the frame
that is coming: a larger one is passed on as it comes, in fragments. A credential that the call bore is taken out of
each message of its origin.
"""

import time
from dataclasses import dataclass, field

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, Opcode, ParseFailed

from addons.alarm import Alarm
from addons.conversation import Conversation
from addons.http1 import Commands
from addons.tidings import Leaving
from proxy.core.errors import Code
from proxy.core.injection import Injection, Mask

WHOLE_FRAME_BYTES = 65_536
"""A frame up to this size is passed on as one; a larger one in pieces of about this size."""

MESSAGE_BYTES = 16_777_216
PING_AFTER_S = 30.0
"""A side that was silent for so long is asked whether it is still there."""
SILENT_S = 300.0
"""A side from which nothing came for so long, not even a pong, is gone."""
CLOSE_S = 5.0
"""For the closing handshake, once one side began it."""


@dataclass
class ConversationEndedHook(commands.StartHook):
    """A WebSocket has ended; its flow had its response long ago."""

    flow: http.HTTPFlow


@dataclass(slots=True, kw_only=True)
class _Side:
    """One of the two WebSockets: what it sends is read, and what it is told is written, by the rules of its role."""

    name: str
    connection: Connection
    frames: FrameProtocol
    gone: Code  # what it means when it is gone
    broken: Code  # what it means when it breaks the protocol
    heard_s: float
    pieces: list[bytes | str] = field(default_factory=list)  # of a frame that is still coming
    pieces_bytes: int = 0
    message_bytes: int = 0
    said_close: bool = False
    told_close: bool = False


class Relay(layer.Layer):
    """What follows on both connections of a stream once they have switched to WebSocket."""

    def __init__(
        self, context: Context, flow: http.HTTPFlow, conversation: Conversation, injection: Injection | None
    ) -> None:
        super().__init__(context)
        self._flow = flow
        self._said = conversation
        self._injection = injection
        self._mask: Mask | None = None  # of a message of the origin that is still coming
        self._alarm = Alarm()
        self._close_by_s: float | None = None
        self._ended = False
        now_s = time.monotonic()
        self._agent = _Side(
            name="agent",
            connection=context.client,
            frames=FrameProtocol(client=False, extensions=[]),
            gone=Code.CLIENT_GONE,
            broken=Code.REQUEST_MALFORMED,
            heard_s=now_s,
        )
        self._origin = _Side(
            name="origin",
            connection=context.server,
            frames=FrameProtocol(client=True, extensions=[]),
            gone=Code.UPSTREAM_BROKEN,
            broken=Code.UPSTREAM_BROKEN,
            heard_s=now_s,
        )

    def _handle_event(self, event: events.Event) -> Commands:
        match event:
            case events.Start():
                yield from self._alarm.set(time.monotonic() + PING_AFTER_S)
            case events.Wakeup():
                if (yield from self._alarm.rings(event)) and not self._ended:
                    yield from self._look()
            case events.DataReceived() if not self._ended:
                yield from self._read(self._side(event.connection), event.data)
            case Leaving() if not self._ended:
                yield from self._take_leave()
            case events.ConnectionClosed() if not self._ended:
                yield from self._lost(self._side(event.connection))
            case _:
                pass

    def _side(self, connection: Connection) -> _Side:
        return self._agent if connection is self._agent.connection else self._origin

    def _other(self, side: _Side) -> _Side:
        return self._origin if side is self._agent else self._agent

    # --- frames ---

    def _read(self, side: _Side, data: bytes) -> Commands:
        side.heard_s = time.monotonic()
        if side.said_close:
            return  # it may not say more, and nothing reads it
        side.frames.receive_bytes(data)
        try:
            for frame in side.frames.received_frames():
                yield from self._take(side, frame)
                if self._ended:
                    return
        except ParseFailed as fault:
            yield from self._break(side, fault.code, str(fault))

    def _take(self, side: _Side, frame: Frame) -> Commands:
        match frame.opcode, frame.payload:
            case Opcode.CLOSE, (int(code), str(reason)):
                yield from self._close(side, code, reason)
            case Opcode.PING, bytes(payload):
                if not side.told_close:
                    yield self._tell(side, side.frames.pong(payload))
            case ((Opcode.TEXT | Opcode.BINARY), (bytes() | str()) as payload):
                yield from self._pass_on(side, payload, frame)
            case _:
                pass  # a pong

    def _pass_on(self, side: _Side, payload: bytes | str, frame: Frame) -> Commands:
        """A part of a message: with the rest of its frame as one, or, of a large frame, as soon as there is enough."""
        size = len(payload) if isinstance(payload, bytes) or payload.isascii() else len(payload.encode())
        side.pieces.append(payload)
        side.pieces_bytes += size
        side.message_bytes += size
        if side.message_bytes > MESSAGE_BYTES:
            detail = f"a message may have at most {MESSAGE_BYTES} bytes"
            yield from self._break(side, CloseReason.MESSAGE_TOO_BIG, detail)
            return
        if not frame.frame_finished and side.pieces_bytes < WHOLE_FRAME_BYTES:
            return
        whole = _joined(side.pieces)
        self._count(side, side.pieces_bytes, messages=1 if frame.message_finished else 0)
        side.pieces.clear()
        side.pieces_bytes = 0
        if frame.message_finished:
            side.message_bytes = 0
        if side is self._origin:
            said = whole if isinstance(whole, bytes) else whole.encode()
            left = self._masked(said, ends=frame.message_finished)
            whole = left if isinstance(whole, bytes) else left.decode()
        other = self._other(side)
        if not other.told_close and (whole or frame.message_finished):
            yield self._tell(other, other.frames.send_data(whole, fin=frame.message_finished))

    def _masked(self, said: bytes, *, ends: bool) -> bytes:
        """A part of what the origin says, without the credential; with `ends` also all that was kept back of it."""
        if self._injection is None:
            return said
        mask = self._mask or self._injection.body()
        self._mask = None if ends else mask
        return mask.pass_on(said) + (mask.end() if ends else b"")

    def _count(self, side: _Side, size: int, *, messages: int) -> None:
        if side is self._agent:
            self._said.bytes_up += size
            self._said.messages_up += messages
        else:
            self._said.bytes_down += size
            self._said.messages_down += messages

    def _tell(self, side: _Side, data: bytes | bytearray) -> commands.SendData:
        return commands.SendData(side.connection, bytes(data))

    # --- the end ---

    def _close(self, side: _Side, code: int, reason: str) -> Commands:
        """A side closes: the other hears it as it was said, and may answer in its own words."""
        side.said_close = True
        if side is self._origin:
            self._mask = None
            reason = self._masked(reason.encode(), ends=True).decode()
        if self._said.closed_by is None:
            self._said.closed_by, self._said.close_code = side.name, int(code)
        yield from self._tell_close(self._other(side), code, reason)
        if self._other(side).said_close:
            yield from self._end()
        else:
            self._close_by_s = time.monotonic() + CLOSE_S
            yield from self._alarm.set(self._close_by_s)

    def _take_leave(self) -> Commands:
        """The proxy is about to end: both sides are told, and have their time to answer."""
        if self._said.closed_by is None:
            self._said.closed_by, self._said.close_code = "proxy", int(CloseReason.GOING_AWAY)
            self._close_by_s = time.monotonic() + CLOSE_S
            yield from self._alarm.set(self._close_by_s)
        for side in (self._agent, self._origin):
            yield from self._tell_close(side, CloseReason.GOING_AWAY, "the proxy is stopping")

    def _tell_close(self, side: _Side, code: int, reason: str) -> Commands:
        if not side.told_close:
            side.told_close = True
            yield self._tell(side, side.frames.close(code, reason))

    def _lost(self, side: _Side) -> Commands:
        """A connection has ended; without a closing handshake that is a fault."""
        if self._said.closed_by is None:
            yield from self._fail(
                side, side.gone, f"the {side.name} ended its connection without closing the WebSocket"
            )
        else:
            yield from self._finish()

    def _break(self, side: _Side, code: CloseReason, detail: str) -> Commands:
        """A side broke the protocol: it is told how, and nothing of that frame goes on."""
        yield from self._tell_close(side, code, detail)
        too_large = code is CloseReason.MESSAGE_TOO_BIG and side is self._agent
        fault = Code.REQUEST_TOO_LARGE if too_large else side.broken
        yield from self._fail(side, fault, f"the {side.name} broke the WebSocket protocol: {detail}")

    def _fail(self, side: _Side, fault: Code, detail: str) -> Commands:
        self._said.fault = fault
        other = self._other(side)
        code = CloseReason.INTERNAL_ERROR if other is self._agent else CloseReason.GOING_AWAY
        yield from self._tell_close(other, code, detail if other is self._agent else "")
        yield from self._end()

    def _look(self) -> Commands:
        """The time of something has come: of the closing handshake, of a side that is silent, or to ask it."""
        now_s = time.monotonic()
        if self._close_by_s is not None and now_s >= self._close_by_s:
            yield from self._finish()
            return
        for side in (self._agent, self._origin):
            if now_s - side.heard_s >= SILENT_S:
                yield from self._fail(side, side.gone, f"nothing was heard of the {side.name} for {SILENT_S:.0f} s")
                return
            if now_s - side.heard_s >= PING_AFTER_S and not side.told_close:
                yield self._tell(side, side.frames.ping())
        yield from self._alarm.set(now_s + PING_AFTER_S if self._close_by_s is None else self._close_by_s)

    def _finish(self) -> Commands:
        """End a closing handshake that one side left open: who began it is answered all the same."""
        code = self._said.close_code or CloseReason.NORMAL_CLOSURE
        for side in (self._agent, self._origin):
            yield from self._tell_close(side, code, "")
        yield from self._end()

    def _end(self) -> Commands:
        self._ended = True
        self._alarm.clear()
        self._flow.live = False
        yield ConversationEndedHook(self._flow)
        yield commands.CloseConnection(self._origin.connection)
        yield commands.CloseConnection(self._agent.connection)


def _joined(pieces: list[bytes | str]) -> bytes | str:
    """The pieces of one frame, which are all of its kind."""
    if isinstance(pieces[0], str):
        return "".join(piece for piece in pieces if isinstance(piece, str))
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))
