"""Bodies that do not fit in memory: encrypted, in files without a name, for as long as somebody needs them."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.core.content_digest import BodyDigests
from proxy.core.errors import Code, Unavailable
from proxy.stores.files import private_dir

PIECE_BYTES = 262_144
"""What is encrypted, written, read and sent at once."""

DISK_S = 10.0
THREADS = 4

_UNNAMED = getattr(os, "O_TMPFILE", 0)
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Spools:
    """The directory of the spools of one worker, and the threads in which the disk is waited for."""

    def __init__(self, directory: Path) -> None:
        self._directory = private_dir(directory)
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="spool")

    def begin(self) -> "Spool":
        """A spool for one body. No file is made before something is written."""
        return Spool(self._directory, self._threads)


class Spool:
    """One body: written once, piece by piece to its end, then read in the same pieces.

    Its key is made here and never leaves memory (AES-256-GCM; the nonce is the number of the piece, the key serves one
    spool). So nothing can be read from the disk later, and no byte is read that was not written. The file has no name
    from the start where the system knows how (`O_TMPFILE`), else from when it was made: with the process, it is gone.
    """

    def __init__(self, directory: Path, threads: ThreadPoolExecutor) -> None:
        self._directory = directory
        self._threads = threads
        self._cipher = AESGCM(AESGCM.generate_key(bit_length=256))
        self._descriptor: int | None = None
        self._lock = threading.Lock()  # a descriptor must not be closed, and given to others, under a thread's hands
        self._closed = False
        self._size = 0
        self.digests = BodyDigests()

    @property
    def count(self) -> int:
        """The number of pieces written."""
        return -(-self._size // PIECE_BYTES)

    async def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write the next pieces, each of `PIECE_BYTES`, only the very last one shorter; take their digests.

        Raises:
            Unavailable(SPOOL): the disk is full, fails, or is too slow.
        """
        await self._within_deadline(lambda: self._append(pieces))

    async def read(self, number: int) -> bytes:
        """The piece of this number, from 0.

        Raises:
            Unavailable(SPOOL): the disk fails or is too slow, or what is there is not what was written.
        """
        return await self._within_deadline(lambda: self._read(number))

    def close(self) -> None:
        """Let go of the file, once whatever is under way in it has ended."""
        self._closed = True
        self._threads.submit(self._close)

    async def _within_deadline[T](self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DISK_S):
                return await loop.run_in_executor(self._threads, self._locked, work)
        except TimeoutError:
            raise Unavailable(Code.SPOOL, f"a body was not written or read within {DISK_S:g} s") from None
        except OSError as fault:
            raise Unavailable(Code.SPOOL, f"a body could not be kept on disk: {fault.strerror}") from None
        except InvalidTag:
            raise Unavailable(Code.SPOOL, "a body was changed on disk") from None

    def _locked[T](self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._closed:
                raise OSError(0, "it was given up")
            return work()

    def _append(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            if self._size % PIECE_BYTES or not 0 < len(piece) <= PIECE_BYTES:
                raise ValueError(f"a piece must be whole unless it is the last, got {len(piece)} bytes")
            number = self._size // PIECE_BYTES
            sealed = self._cipher.encrypt(_nonce(number), piece, None)
            if os.pwrite(self._opened(), sealed, _offset(number)) != len(sealed):
                raise OSError(0, "no space is left")
            self._size += len(piece)
            self.digests.add(piece)

    def _read(self, number: int) -> bytes:
        size = min(PIECE_BYTES, self._size - number * PIECE_BYTES) + _TAG_BYTES
        return self._cipher.decrypt(_nonce(number), os.pread(self._opened(), size, _offset(number)), None)

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = _without_a_name(self._directory)
        return self._descriptor

    def _close(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _without_a_name(directory: Path) -> int:
    with suppress(OSError):  # a system, or a file system, that does not know how
        return os.open(directory, _UNNAMED | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
    descriptor, path = tempfile.mkstemp(dir=directory)  # 0600
    Path(path).unlink()
    return descriptor


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES)


def _offset(number: int) -> int:
    return number * (PIECE_BYTES + _TAG_BYTES)
