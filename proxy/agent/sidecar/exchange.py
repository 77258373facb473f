"""One connection of the agent's, call by call: read whole, signed, sent to the proxy, and its answer streamed back."""

import asyncio
import contextlib
from dataclasses import dataclass

import h11

from proxy.agent.sidecar import heads
from proxy.agent.sidecar.bodies import Body, Room, TooLarge
from proxy.agent.sidecar.refusals import STRANGER, Reason, Refusal, broken, malformed, too_large
from proxy.agent.sidecar.route import HEAD_BYTES, Answered, Refused
from proxy.agent.sidecar.signing import addressed, is_page, signed
from proxy.agent.sidecar.streams import Stream, relay
from proxy.agent.sidecar.tally import MAX_ANSWER_BYTES, Tally, reads
from proxy.agent.sidecar.telling import Form, form_of, retold
from proxy.agent.sidecar.upstream import Cut, NoAnswer, Opening, Upstream, cancel
from proxy.agent.signer import Signer

IDLE_S = 75.0  # as the proxy's own
HEAD_S = 10.0
BODY_S = 60.0  # for every piece of a body
LINGER_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all connections of one sidecar share."""

    signer: Signer
    tally: Tally
    room: Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """The agent asks for a tunnel; `received` is what it sent before it was answered."""

    authority: str
    received: bytes


class Exchange:
    """Serves one client connection: the agent's own, or what is inside a tunnel that ends here."""

    def __init__(
        self,
        client: Stream,
        opening: Opening,
        means: Means,
        *,
        secret: str | None = None,
        inside: str | None = None,
        received: bytes = b"",
    ) -> None:
        """`inside`: the scheme of calls inside a tunnel. None: the agent's own connection, where `secret` counts."""
        self._client = client
        self._signer, self._tally, self._room = means.signer, means.tally, means.room
        self._secret, self._inside = secret, inside
        self._ours = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        if received:
            self._ours.receive_data(received)
        self._upstream = Upstream(opening)
        self._is_head = self._is_page = self._has_left = False  # of the call that is under way
        self._form = Form.USUAL

    async def serve(self) -> Connect | None:
        """Serve calls until the connection ends, or becomes a tunnel. Closes the connection to the proxy."""
        try:
            while True:
                request = await self._head()
                if request is None:
                    return None
                asked = await self._answer(request)
                if asked is not None:
                    return asked
                if self._ours.our_state is not h11.DONE or self._ours.their_state is not h11.DONE:
                    return None
                self._ours.start_next_cycle()
        except OSError:
            return None  # the agent has left
        finally:
            self._upstream.close()

    def accept(self) -> None:
        """Tell the agent that its tunnel stands."""
        self._client.put(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pass_on(self, answered: Answered) -> None:
        """Answer with what the proxy answered to a CONNECT. Its 407 is for us, who have nothing better to show."""
        status = 403 if answered.head.status_code == 407 else answered.head.status_code
        lines = [*heads.answered(answered.head.headers.raw_items()), (b"Connection", b"close")]
        lines = [line for line in lines if line[0].lower() not in (b"content-length", b"transfer-encoding")]
        lines.append((b"Content-Length", str(len(answered.body)).encode()))
        self._note(status, lines, answered.body)
        await self._tell(status, lines, answered.body, reason=bytes(answered.head.reason))

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with something of our own, and end the connection: what else came on it is not read."""
        if refusal is not STRANGER:  # whoever they are, they are not the agent; and some ask without before they know
            self._tally.fail(str(refusal.code))
        await self._tell(refusal.status, refusal.head(closes=True), refusal.body, reason=str(refusal.code).encode())
        if self._ours.their_state is not h11.DONE:  # closing at once while it still sends would lose it the answer
            with contextlib.suppress(OSError):
                self._client.finish()
                async with asyncio.timeout(LINGER_S):
                    while await self._client.read():
                        pass

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _head(self) -> h11.Request | None:
        """The next request's head; None when there is no more, or it was refused."""
        limit_s = IDLE_S
        try:
            async with asyncio.timeout(limit_s) as limit:
                while True:
                    event = self._ours.next_event()
                    if isinstance(event, h11.Request):
                        return event
                    if event is not h11.NEED_DATA:
                        return None
                    data = await self._client.read()
                    self._ours.receive_data(data)
                    if data and limit_s == IDLE_S:
                        limit_s = HEAD_S
                        limit.reschedule(asyncio.get_running_loop().time() + HEAD_S)
        except TimeoutError:
            if limit_s == HEAD_S:
                await self.refuse(malformed("its head did not come in time", status=408))
        except h11.RemoteProtocolError as fault:
            await self.refuse(malformed(str(fault), status=431 if fault.error_status_hint == 431 else 400))
        return None

    async def _body(self, request: h11.Request, body: Body) -> None:
        """Read the body to its end.

        Raises:
            Refused: it is too large, does not come in time, or has trailers.
        """
        try:
            announced = heads.first(request.headers, b"content-length")
            body.announce(int(announced) if announced else 0)
            if self._ours.they_are_waiting_for_100_continue:
                self._client.put(self._ours.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            while True:
                event = self._ours.next_event()
                if isinstance(event, h11.Data):
                    body.add(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    if event.headers:
                        raise Refused(malformed("trailers are not covered by a signature"))
                    return
                elif event is h11.NEED_DATA:
                    async with asyncio.timeout(BODY_S):
                        self._ours.receive_data(await self._client.read())
                else:
                    raise Refused(malformed("its body ended early"))
        except TooLarge as fault:
            raise Refused(too_large(self._room.each, crowded=fault.crowded)) from None
        except TimeoutError:
            raise Refused(malformed("its body did not come in time", status=408)) from None
        except h11.RemoteProtocolError as fault:
            raise Refused(malformed(str(fault))) from None

    # --- one call -----------------------------------------------------------------------------------------------------

    async def _answer(self, request: h11.Request) -> Connect | None:
        lines = list(request.headers.raw_items())
        self._is_head = request.method == b"HEAD"
        self._is_page, self._form = False, form_of(request.method, lines)
        if self._secret is not None and not heads.knows_secret(lines, self._secret):
            await self.refuse(STRANGER)
            return None
        if request.method == b"CONNECT" and self._inside is None:
            with contextlib.suppress(h11.RemoteProtocolError):
                self._ours.next_event()  # the end of the message, after which h11 waits for what we say
            return Connect(authority=request.target.decode("ascii"), received=self._ours.trailing_data[0])
        body = Body(self._room)
        try:
            target, url = addressed(request, inside=self._inside)
            self._is_page = request.method == b"GET" and is_page(url)
            await self._body(request, body)
            kept = heads.forwarded(lines, body_bytes=body.size)
            proof = signed(self._signer, request.method, url, kept, body)
            await self._send(h11.Request(method=request.method, target=target, headers=[*kept, *proof]), body)
        except Refused as fault:
            await self.refuse(fault.refusal)
        except h11.LocalProtocolError as fault:
            await self.refuse(malformed(str(fault)))
        finally:
            body.close()
        return None

    async def _send(self, request: h11.Request, body: Body) -> None:
        """Send one signed request, and bring its answer back."""
        refused = await self._upstream.begin(request, body)
        if refused is not None:
            await self.pass_on(refused)
            return
        self._tally.under_way += 1
        watching = asyncio.create_task(self._watch())
        try:
            await self._receive(watching)
        except NoAnswer as fault:
            if self._has_left:
                raise ConnectionError("the agent has left") from None
            self._tally.under_way -= 1
            raise Refused(broken(fault.why)) from None
        finally:
            await cancel(watching)
            await self._upstream.end()

    async def _watch(self) -> None:
        """End the call when the agent leaves, so that the proxy learns it. What it sends ahead is kept, once."""
        with contextlib.suppress(OSError):
            if data := await self._client.read():
                self._ours.receive_data(data)
                return
        self._has_left = True
        self._upstream.close()

    async def _receive(self, watching: "asyncio.Task[None]") -> None:
        """Stream the answer to the agent.

        Raises:
            NoAnswer: there is none.
        """
        while isinstance(head := await self._upstream.next(), h11.InformationalResponse):
            if head.status_code == 101:
                await cancel(watching)
                await self._switch(head)
                return
        assert isinstance(head, h11.Response)
        # The proxy's challenge is for us, who have nothing better to show; a program would ask its user for a password.
        status = 403 if head.status_code == 407 else head.status_code
        lines, kept = heads.answered(head.headers.raw_items()), bytearray()
        is_read = reads(status, heads.first(lines, b"content-type") or b"")
        is_retold = is_read and status >= 400 and self._form is not Form.USUAL
        if not is_read:  # the head says it all, and the agent may not want the rest
            self._settle(status, lines, b"")
        if not is_retold:
            await self._give(h11.Response(status_code=status, headers=lines, reason=head.reason))
        try:
            while isinstance(event := await self._upstream.next(), h11.Data):
                if is_read and len(kept) <= MAX_ANSWER_BYTES:
                    kept += event.data
                if not is_retold:
                    await self._give(event)
        except Cut:
            if not self._has_left:
                self._tally.under_way -= is_read
                self._tally.fail(Reason.BROKEN)
            raise
        if is_read:
            self._settle(status, lines, bytes(kept))
        if is_retold:
            await self._tell(status, lines, bytes(kept), reason=bytes(head.reason))
        else:
            assert isinstance(event, h11.EndOfMessage)
            await self._give(event)

    async def _give(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        self._client.put(self._ours.send(event) or b"")
        await self._client.drain()

    async def _switch(self, head: h11.InformationalResponse) -> None:
        """A WebSocket begins: from here on, bytes pass as they are."""
        lines = heads.answered(head.headers.raw_items(), switching=True)
        self._settle(101, lines, b"")
        answer = h11.InformationalResponse(status_code=101, headers=lines, reason=head.reason)
        stream, received = self._upstream.switched()
        self._client.put((self._ours.send(answer) or b"") + received)
        if early := self._ours.trailing_data[0]:
            stream.put(early)
        await relay(self._client, stream)

    def _settle(self, status: int, lines: list[heads.Line], body: bytes) -> None:
        """What became of the call that is under way is known."""
        self._tally.under_way -= 1
        self._note(status, lines, body)

    def _note(self, status: int, lines: list[heads.Line], body: bytes) -> None:
        texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]
        self._tally.note(status, texts, body, page=self._is_page)

    async def _tell(self, status: int, lines: list[heads.Line], body: bytes, *, reason: bytes) -> None:
        """An answer of our own, if none has begun."""
        if self._ours.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        status, lines, body = retold(self._form, status, lines, body)
        with contextlib.suppress(OSError):
            answer = h11.Response(status_code=status, headers=lines, reason=reason)
            whole = () if self._is_head else (h11.Data(data=body),)
            events = (answer, *whole, h11.EndOfMessage())
            self._client.put(b"".join(self._ours.send(event) or b"" for event in events))
            await self._client.drain()
