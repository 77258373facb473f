"""Files that hold secrets: read only if nobody else can."""

import os
import stat
from pathlib import Path

from proxy.core.errors import Code, Rejected

_WRITABLE = stat.S_IWGRP | stat.S_IRWXO


def mark_of(about: os.stat_result) -> tuple[int, ...]:
    """What tells one state of a file from another."""
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def read_closed(path: Path, *, limit_bytes: int, mounted: bool) -> tuple[os.stat_result, bytes]:
    """The bytes of a file that others cannot read, one more than `limit_bytes` of them at most, and what it is.

    `mounted`: somebody else provides it; a link, root's file and its group's reading will do.

    Raises:
        Rejected(CONFIG_INVALID): it cannot be opened, is no file, or others can read it, or could put a link to another
            one in its place; with the mend.
        FileNotFoundError: there is none.
    """
    follow = 0 if mounted else os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_RDONLY | follow | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{path} cannot be opened: {fault.strerror}", field="secret") from None
    try:
        about = os.fstat(descriptor)
        _check_secret(path, about, mounted=mounted)
        _check_place(path.parent)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return about, file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)


def _check_secret(path: Path, about: os.stat_result, *, mounted: bool) -> None:
    owners = {os.geteuid(), 0} if mounted else {os.geteuid()}
    closed = _WRITABLE if mounted else stat.S_IRWXG | stat.S_IRWXO
    mode, wanted = stat.S_IMODE(about.st_mode), "640" if mounted else "600"
    for wrong, expected in (
        (not stat.S_ISREG(about.st_mode), "be a file"),
        (about.st_uid not in owners, f"belong to user {os.geteuid()}, got user {about.st_uid}: chown it"),
        (bool(mode & closed), f"be closed to others, got mode {mode:04o}; run: chmod {wanted} {path}"),
    ):
        if wrong:
            raise Rejected(Code.CONFIG_INVALID, f"{path} must {expected}", field="secret")


def _check_place(directory: Path) -> None:
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise Rejected(Code.CONFIG_INVALID, f"everybody may write to {directory}: chmod o-w it", field="secret")
