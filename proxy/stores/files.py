"""Files nobody else may read: private directories, atomic writes, and what a node remembers of control statements."""

import fcntl
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from proxy.core.control import Act, Statement
from proxy.core.encoding import Json, canonical_json, from_epoch, parse_json, to_epoch
from proxy.core.errors import Code, Rejected

MAX_PRIVATE_BYTES = 64 * 1024 * 1024

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_dir(path: Path) -> Path:
    """Make `path` (and its parents) if need be, 0700, and return it.

    Raises:
        Rejected(CONFIG_INVALID): it is not a directory of ours, or others may enter it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(path.lstat(), path, directory=True)
    return path


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> bool:
    """Put `data` at `path`, 0600, so that a reader or a crash finds the old file or the new one, on disk, never half.

    With `replace=False` an existing file stays as it is and the answer is False.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    sync_dir(path.parent)
    return True


def read_private(path: Path, *, from_byte: int = 0) -> bytes:
    """The contents of a file that only we can read, or what follows its first `from_byte` bytes.

    Raises:
        Rejected(CONFIG_INVALID): a link, not a regular file, not ours, readable by others, or absurdly large.
        FileNotFoundError: there is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{path} cannot be opened: {fault.strerror}", field=path.name) from None
    try:
        about = os.fstat(descriptor)
        _check_private(about, path, directory=False)
        if about.st_size > MAX_PRIVATE_BYTES:
            raise Rejected(Code.CONFIG_INVALID, f"{path} is larger than {MAX_PRIVATE_BYTES} bytes", field=path.name)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(from_byte)
            return file.read(MAX_PRIVATE_BYTES)
    finally:
        os.close(descriptor)


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_private(about: os.stat_result, path: Path, *, directory: bool) -> None:
    kind = "directory" if directory else "file"
    if not (stat.S_ISDIR(about.st_mode) if directory else stat.S_ISREG(about.st_mode)):
        raise Rejected(Code.CONFIG_INVALID, f"{path} must be a {kind}, not a link or something else", field=path.name)
    if about.st_uid != os.geteuid():
        raise Rejected(
            Code.CONFIG_INVALID,
            f"{path} must belong to user {os.geteuid()}, got user {about.st_uid}: run as its owner, or chown it",
            field=path.name,
        )
    if about.st_mode & _OTHERS:
        mode = stat.S_IMODE(about.st_mode)
        wanted = "0700" if directory else "0600"
        raise Rejected(
            Code.CONFIG_INVALID,
            f"{path} must be closed to group and others ({wanted}), got {mode:04o}: chmod {wanted} it",
            field=path.name,
        )


class StatementFile:
    """Every control statement this node ever accepted, one JSON line each, shared by its workers.

    It is trusted without checking signatures again, because only we can write it: what was revoked stays revoked
    after a restart, whatever the shared store forgot and whoever has left `people.yaml` since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0
        self._known: set[str] = set()
        self._turn = threading.Lock()

    def load(self) -> tuple[Statement, ...]:
        """Statements not returned before, written by this worker or another.

        Raises:
            Rejected(STATEMENT_INVALID): a line is not one of ours.
            Rejected(CONFIG_INVALID): others can read the file.
        """
        with self._turn:
            return self._read_on()

    def _read_on(self) -> tuple[Statement, ...]:
        try:
            data = read_private(self.path, from_byte=self._read_bytes)
        except FileNotFoundError:
            return ()
        whole = data[: data.rfind(b"\n") + 1]  # a line without its end was never acknowledged
        fresh = tuple(_read_line(line, self.path) for line in whole.splitlines())
        self._read_bytes += len(whole)
        self._known |= {said.id for said in fresh}
        return fresh

    def remember(self, said: Statement) -> tuple[Statement, ...]:
        """Append a statement unless a worker has done so already, and return once it is on disk.

        Answers what `load` would: everything not returned before, this statement included.

        Raises:
            OSError: it may not be on disk.
            Rejected: as `load`.
        """
        with self._turn, self._locked() as descriptor:
            fresh = self._read_on()
            if said.id in self._known:
                return fresh
            os.ftruncate(descriptor, self._read_bytes)  # cuts what a crash left of an unfinished line
            os.pwrite(descriptor, _line(said), self._read_bytes)
            os.fsync(descriptor)
            sync_dir(self.path.parent)
            return fresh + self._read_on()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _line(said: Statement) -> bytes:
    members: dict[str, Json] = {
        "act": said.act.value,
        "at": to_epoch(said.at),
        "by": said.by,
        "id": said.id,
        "reason": said.reason,
        "serial": said.serial,
        "target": said.target,
        "token": said.token,
    }
    return canonical_json(members) + b"\n"


def _read_line(line: bytes, path: Path) -> Statement:
    code = Code.STATEMENT_INVALID
    value = parse_json(line, code=code, what=f"a line of {path}")
    match value:
        case {
            "act": str(act),
            "at": int(at),
            "by": str(by),
            "id": str(statement_id),
            "reason": str(reason),
            "serial": int(serial),
            "target": str(target),
            "token": str(token),
        } if isinstance(value, Mapping) and len(value) == 8:
            pass
        case _:
            raise Rejected(code, f"{path} must hold one accepted statement a line: restore it from a copy, do not edit")
    try:
        return Statement(
            token=token,
            id=statement_id,
            by=by,
            act=Act(act),
            target=target,
            reason=reason,
            serial=serial,
            at=from_epoch(at),
        )
    except (ValueError, OverflowError, OSError):
        raise Rejected(code, f"{path} has an act or a time that cannot be: restore it from a copy") from None
