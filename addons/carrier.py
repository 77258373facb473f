"""What a stream cannot do by itself for a body: wait for the disk, for the origin to read, and for the gate's word."""

import asyncio
from dataclasses import dataclass, field

from mitmproxy.connection import Client, Connection
from mitmproxy.proxy import commands
from mitmproxy.proxy.server import ConnectionIO

from addons.exchange import Exchange
from addons.intake import Intake
from addons.transports import Connections, abort
from proxy.core.content_digest import BodyDigests
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.judging import check_body

TAKEN_WITHIN_S = 60.0
"""How long an origin may take to read one piece of a body."""

type Fault = Rejected | Unavailable | None


def _undone() -> Fault:
    return Unavailable(Code.SPOOL, "the body could not be handled")


@dataclass
class Writing:
    """A part of a body that must be on disk before more of it is read. Each job fails unless it is said to be done."""

    intake: Intake
    rest: bool
    fault: Fault = field(default_factory=_undone)


@dataclass
class Sending:
    """The next piece of a spooled body, once the origin has taken the one before."""

    exchange: Exchange
    intake: Intake
    number: int
    client: Client
    server: Connection
    piece: bytes = b""
    gone: bool = False  # the origin has left; what that means is told by an event of its own
    fault: Fault = field(default_factory=_undone)


@dataclass
class Ending:
    """The end of a body that passed through: is it the one that was signed?"""

    exchange: Exchange
    digests: BodyDigests
    client: Client
    server: Connection
    fault: Fault = field(default_factory=_undone)


@dataclass
class WriteBodyHook(commands.StartHook):
    """A part of a body has to be written to disk."""

    data: Writing


@dataclass
class SendPieceHook(commands.StartHook):
    """A piece of a spooled body may be read and sent. The stream goes on meanwhile: it must hear the origin."""

    data: Sending


@dataclass
class EndBodyHook(commands.StartHook):
    """A body that passed through is whole, but for its end."""

    data: Ending


class Carrier:
    """Does what streams ask for. A job that is not said to be done has failed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def write_body(self, job: Writing) -> None:
        try:
            await job.intake.write(rest=job.rest)
        except Unavailable as fault:
            job.fault = fault
        else:
            job.fault = None

    async def send_piece(self, job: Sending) -> None:
        """Wait until the origin has taken what was sent before, then read the next piece."""
        try:
            if await self._taken(job.client, job.server):
                job.piece = await job.intake.read(job.number)
            else:
                job.gone = True
        except (Rejected, Unavailable) as fault:
            self._cut(job, fault)
        else:
            job.fault = None

    def end_body(self, job: Ending) -> None:
        """Let the message end if its body is the signed one; else cut the origin off before it ends."""
        assert job.exchange.admission is not None  # it was allowed
        try:
            check_body(job.exchange.admission, job.digests)
        except Rejected as fault:
            self._cut(job, fault)
        else:
            job.fault = None

    async def _taken(self, client: Client, server: Connection) -> bool:
        """Whether the origin has taken most of what was sent; False when it has left.

        Raises:
            Rejected(UPSTREAM_BROKEN): it is there and does not read.
        """
        io = self._io(client, server)
        if io is None or io.writer is None:
            return False
        try:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                await io.writer.drain()
        except TimeoutError:
            detail = f"the origin did not read on for {TAKEN_WITHIN_S:.0f} s"
            raise Rejected(Code.UPSTREAM_BROKEN, detail) from None
        except OSError:
            return False
        return True

    def _cut(self, job: "Sending | Ending", fault: Rejected | Unavailable) -> None:
        """Reset the origin's connection: nobody takes the end of what was sent for the end of a message."""
        job.fault = fault
        job.exchange.fault, job.exchange.fault_detail = fault.code, fault.detail
        io = self._io(job.client, job.server)
        if io is not None and job.server.alpn != b"h2":  # there other calls go on, and the stream is reset
            abort(io, "the body cannot be sent to its end")

    def _io(self, client: Client, server: Connection) -> ConnectionIO | None:
        handler = self._connections.get(client.id)
        return None if handler is None else handler.transports.get(server)
