"""Request bodies, whole before anything is sent: a signature covers the body's digest, which stands in the head.

Small ones stay in memory; larger ones lie in an unnamed temporary file, up to a cap for each and for all together.
"""

import tempfile
from collections.abc import Iterator
from typing import IO

from proxy.agent.sidecar.streams import PIECE_BYTES
from proxy.core.content_digest import BodyDigests

IN_MEMORY_BYTES = 1 << 20
MAX_BODY_BYTES = 256 << 20
MAX_BODIES_BYTES = 1 << 30


class TooLarge(Exception):
    """A body beyond what the sidecar keeps: of one call, or of all that are under way (`crowded`)."""

    def __init__(self, *, crowded: bool) -> None:
        super().__init__("a body is too large")
        self.crowded = crowded


class Room:
    """How much there is for bodies."""

    def __init__(self, *, each: int = MAX_BODY_BYTES, total: int = MAX_BODIES_BYTES) -> None:
        self.each, self.total, self.used = each, max(each, total), 0


class Body:
    """One body: filled, then read from its beginning, then closed."""

    def __init__(self, room: Room) -> None:
        self.digests = BodyDigests()
        self._room = room
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115

    @property
    def size(self) -> int:
        return self.digests.size

    def add(self, piece: bytes | bytearray) -> None:
        """The next piece.

        Raises:
            TooLarge: it is beyond one of the caps, or the disk is full.
        """
        self.announce(self.size + len(piece))
        if self._room.used + len(piece) > self._room.total:
            raise TooLarge(crowded=True)
        self._room.used += len(piece)
        self.digests.add(bytes(piece))
        try:
            self._file.write(piece)
        except OSError:  # the disk is full
            raise TooLarge(crowded=True) from None

    def announce(self, size: int) -> None:
        """Check a length before anything of it is read.

        Raises:
            TooLarge: it is beyond the cap of one body.
        """
        if size > self._room.each:
            raise TooLarge(crowded=False)

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Forget it."""
        self._file.close()
        self._room.used -= self.size
