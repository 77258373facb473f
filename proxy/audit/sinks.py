"""Where checkpoints go: the Protocol of a sink, and the one that is a file. (The other is in `proxy.stores`.)"""

import asyncio
import json
import os
from pathlib import Path
from typing import Protocol

from proxy.core.errors import Code, Unavailable


class CheckpointSink(Protocol):
    """A place checkpoints go to, out of reach of whoever can change the journal."""

    async def publish(self, checkpoint: str) -> None:
        """Keep one checkpoint. Any exception means: not kept, try again."""


class FileCheckpoints:
    """Checkpoints in a file, one JSON string a line, each on disk before `publish` returns. Workers may share it.

    It is opened for every checkpoint, so that a file moved away is begun again, and a line torn by a full disk
    spoils no line but itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def publish(self, checkpoint: str) -> None:
        """Append one checkpoint.

        Raises:
            Unavailable(STORE_DOWN): it may not be on disk.
        """
        try:
            await asyncio.to_thread(self._append, json.dumps(checkpoint).encode("ascii") + b"\n")
        except OSError as fault:
            raise Unavailable(Code.STORE_DOWN, f"checkpoints {self._path}: {fault.strerror}") from None

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = b"\n" + line if torn else line
            if os.write(descriptor, data) != len(data):
                raise OSError(0, "a checkpoint was written in part")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_checkpoint_file(path: Path) -> tuple[str, ...]:
    """The checkpoints in a file sink, oldest first. A torn last line is left out: it seals nothing.

    Lines that are no JSON string come back as they are, for `verify` to report.

    Raises:
        Unavailable(JOURNAL_DOWN): the file exists and cannot be read. A missing file holds no checkpoints.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as fault:
        raise Unavailable(Code.JOURNAL_DOWN, f"cannot read the checkpoints {path}: {fault.strerror}") from None
    return tuple(_unquoted(line.decode("utf-8", "replace")) for line in data.split(b"\n")[:-1] if line)


def _unquoted(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, str) else text
