"""Request bodies as they come: in memory up to the inspection cap, beyond it encrypted on disk, as there is room."""

from proxy.core.content_digest import BodyDigests
from proxy.core.errors import Code, Rejected
from proxy.core.headers import Limits
from proxy.ports import BodyRoom
from proxy.stores.room import Room
from proxy.stores.spool import PIECE_BYTES, Spool, Spools

NOBODY = ""
"""Whose the bodies are that come without proof, all together."""


class Bodies:
    """The room one worker has for bodies."""

    def __init__(self, spools: Spools, limits: Limits, room: BodyRoom) -> None:
        self.spools = spools
        self.memory = Room("in memory", total=room.memory, each=room.memory_per_root)
        self.disk = Room("on disk", total=room.spool, each=room.spool_per_root)
        self._limits = limits

    def begin(self, owner: str, announced: int | None) -> "Intake":
        """Take in a body under root mandate `owner`; one announced over the inspection cap goes to disk at once.

        Raises:
            Rejected(BODY_BUDGET), Unavailable(SPOOL): there is no room for what is announced.
        """
        limits = self._limits
        intake = Intake(self, owner, inspected=limits.inspected_bytes, most=limits.body_bytes)
        if announced is not None and announced > limits.inspected_bytes:
            intake.spool(announced)
        return intake

    def begin_small(self) -> "Intake":
        """Take in a body for the proxy's own pages; its sender may be nobody we know."""
        most = self._limits.unproven_body_bytes
        return Intake(self, NOBODY, inspected=most, most=most)


class Intake:
    """One body until it was sent or refused. It takes room while it grows, and `let_go` gives all of it back."""

    def __init__(self, bodies: Bodies, owner: str, *, inspected: int, most: int) -> None:
        self.size = 0
        self._bodies = bodies
        self._owner = owner
        self._inspected = inspected
        self._most = most
        self._memory = bytearray()  # the body, or what of it is not yet on disk
        self._in_memory = self._on_disk = 0  # counted with the rooms
        self._spool: Spool | None = None
        self._let_go = False

    def take(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Rejected(REQUEST_TOO_LARGE): more than a body may have.
            Rejected(BODY_BUDGET), Unavailable(SPOOL): there is no room for them.
        """
        if self.size + len(data) > self._most:
            raise Rejected(Code.REQUEST_TOO_LARGE, f"the body must be at most {self._most} bytes", field="body")
        if self._spool is not None or self.size + len(data) > self._inspected:
            self.spool(self.size + len(data))
        self._bodies.memory.take(self._owner, len(data))
        self._in_memory += len(data)
        self._memory += data
        self.size += len(data)

    def spool(self, size: int) -> None:
        """Have the body on disk, and room there for `size` bytes of it.

        Raises:
            Rejected(BODY_BUDGET), Unavailable(SPOOL): there is none.
        """
        more = max(0, size - self._on_disk)
        self._bodies.disk.take(self._owner, more)
        self._on_disk += more
        self._spool = self._spool or self._bodies.spools.begin()

    @property
    def spooled(self) -> bool:
        return self._spool is not None

    @property
    def due(self) -> bool:
        """Whether enough has come for a piece to be written."""
        return self._spool is not None and len(self._memory) >= PIECE_BYTES

    async def write(self, *, rest: bool) -> None:
        """Write what is due; with `rest`, all that is left: the body is whole.

        Raises:
            Unavailable(SPOOL): the disk is full, fails, or is too slow.
        """
        assert self._spool is not None
        data, size = self._memory, len(self._memory)
        written = size if rest else size - size % PIECE_BYTES
        self._memory = bytearray(data[written:])
        view = memoryview(data)
        await self._spool.append([view[at : min(at + PIECE_BYTES, written)] for at in range(0, written, PIECE_BYTES)])
        if not self._let_go:
            self._bodies.memory.give(self._owner, written)
            self._in_memory -= written

    def whole(self) -> bytes | BodyDigests:
        """The body, once all of it came; its size and digests when it is on disk."""
        return bytes(self._memory) if self._spool is None else self._spool.digests

    @property
    def count(self) -> int:
        """The number of pieces to read."""
        return 0 if self._spool is None else self._spool.count

    async def read(self, number: int) -> bytes:
        """A piece of a body on disk.

        Raises:
            Unavailable(SPOOL): the disk fails or is too slow, or what is there is not what was written.
        """
        assert self._spool is not None
        return await self._spool.read(number)

    def let_go(self) -> None:
        """Forget the body and give its room back. It may be called again."""
        if self._let_go:
            return
        self._let_go = True
        self._bodies.memory.give(self._owner, self._in_memory)
        self._bodies.disk.give(self._owner, self._on_disk)
        self._memory = bytearray()
        if self._spool is not None:
            self._spool.close()
