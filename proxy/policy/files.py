"""Files that decide what is permitted: read once, only if nobody else may change them; written whole or not at all."""

import os
import shlex
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from proxy.core.errors import Code, Rejected
from proxy.policy.yaml import MAX_FILE_BYTES

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_guarded(path: Path, *, absent: str = "", limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a regular file that only root or we may change, from one opening of it.

    Its directory is checked as `check_directory` does, also the one a symbolic link leads to. `absent` says what to do
    when there is no such file. Not checked here: who may read it.

    Raises:
        Rejected(CONFIG_INVALID): absent, unreadable, not a file, too large, or writable by somebody else.
    """
    data = read_if_there(path, limit_bytes=limit_bytes)
    if data is None:
        raise _bad(path, f"there is no such file{'; ' if absent else ''}{absent}")
    return data


def read_if_there(path: Path, *, limit_bytes: int = MAX_FILE_BYTES) -> bytes | None:
    """As `read_guarded`, but None when there is no such file, or no directory for it.

    Raises:
        Rejected(CONFIG_INVALID): as `read_guarded`, except for absence.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not make us wait
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise _bad(path, f"cannot be opened: {fault.strerror}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise _bad(path, "expected a file, got something else of that name")
        _check_owner(path, found)
        for directory in dict.fromkeys((path.parent, path.resolve().parent)):
            check_directory(directory)
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(limit_bytes + 1)
    except OSError as fault:
        raise _bad(path, f"cannot be read: {fault.strerror}") from None
    finally:
        os.close(handle)
    if len(data) > limit_bytes:
        raise _bad(path, f"expected at most {limit_bytes} bytes, got more; split it into several files")
    return data


def is_directory(path: Path) -> bool:
    """Whether there is a directory of that name, as far as we may know."""
    try:
        return path.is_dir()
    except OSError:  # a directory above may not be searched; before Python 3.13
        return False


def entries(directory: Path) -> list[Path]:
    """What is in a directory that only root or we may change, by name; nothing when it is absent. Hidden files are not.

    Raises:
        Rejected(CONFIG_INVALID): it cannot be listed, is no directory, or may be changed by somebody else.
    """
    try:
        names = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as fault:
        raise _bad(directory, f"cannot be listed: {fault.strerror}") from None
    check_directory(directory)
    return [path for path in names if not path.name.startswith(".")]


def check_directory(directory: Path) -> None:
    """Refuse a directory in which somebody other than root or us could put another file in a file's place.

    Above it, directories everybody may write to are refused too, unless they are sticky, as /tmp is.

    Raises:
        Rejected(CONFIG_INVALID): with the command that mends it.
    """
    try:
        real = directory.resolve(strict=True)
        found = real.stat()
        above = [(parent, parent.stat().st_mode) for parent in real.parents]
    except (OSError, RuntimeError) as fault:  # RuntimeError: a circle of links, before Python 3.13
        raise _bad(directory, f"cannot be looked at: {getattr(fault, 'strerror', fault)}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise _bad(directory, "expected a directory, got something else of that name")
    _check_owner(real, found)
    for parent, mode in above:
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise _bad(
                directory, f"everybody may write to {parent} above it; run: chmod o-w {shlex.quote(str(parent))}"
            )


def _check_owner(path: Path, found: os.stat_result) -> None:
    quoted = shlex.quote(str(path))
    if found.st_uid not in (0, os.geteuid()):
        us = os.geteuid()
        raise _bad(path, f"belongs to user {found.st_uid}, expected root or us ({us}); run: chown {us} {quoted}")
    if found.st_mode & _OTHERS_WRITE:
        raise _bad(path, f"group or others may write to it; run: chmod go-w {quoted}")


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` in place of `path` so that a reader, or a crash, finds the old bytes or the new, never a part.

    Raises:
        Rejected(CONFIG_INVALID): it could not be written; `path` is as it was.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as fault:
        raise _bad(path, f"cannot be written: {fault.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
        _sync(path.parent)
    except OSError as fault:
        with suppress(OSError):
            Path(name).unlink()
        raise _bad(path, f"cannot be written: {fault.strerror}") from None


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bad(path: Path, detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, f"{path}: {detail}")
