"""Spools: what was written comes back and nothing else does, nobody can read it on disk, and no file is left."""

import asyncio
import errno
import hashlib
import os
from pathlib import Path

import pytest

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores import spool as module
from proxy.stores.spool import PIECE_BYTES, Spool, Spools

SECRET = b"the wages of everybody, "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def body_of(size: int) -> bytes:
    return (SECRET * (size // len(SECRET) + 1))[:size]


def pieces_of(body: bytes) -> list[bytes]:
    return [body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES)]


async def written(folder: Path, body: bytes) -> Spool:
    spool = Spools(folder).begin()
    for piece in pieces_of(body):
        await spool.append([piece])
    return spool


def open_files(folder: Path) -> list[int]:
    """The descriptors of this process that are files of this folder, named or not."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()).startswith(f"{folder}/"):
                found.append(int(entry.name))
        except OSError:  # the listing's own
            continue
    return found


async def ended(folder: Path) -> None:
    """Until no file is open any more: closing is a thread's work."""
    for _ in range(500):
        if not open_files(folder):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a spool stays open")


@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7])
async def test_a_body_comes_back_as_it_was_written_with_its_digests(folder, size):
    body = body_of(size)
    spool = await written(folder, body)
    assert spool.count == len(pieces_of(body))
    assert b"".join([await spool.read(number) for number in range(spool.count)]) == body
    assert (spool.digests.size, spool.digests.sha256) == (size, hashlib.sha256(body).digest())
    assert spool.digests.digest("sha-512") == hashlib.sha512(body).digest()
    spool.close()
    await ended(folder)


async def test_nobody_finds_it_on_disk_and_its_file_has_no_name(folder):
    spool = await written(folder, body_of(3 * PIECE_BYTES))
    [descriptor] = open_files(folder)
    about = os.fstat(descriptor)
    assert (about.st_nlink, about.st_mode & 0o777) == (0, 0o600)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == []
    on_disk = os.pread(descriptor, about.st_size, 0)
    assert len(on_disk) >= 3 * PIECE_BYTES
    assert SECRET not in on_disk
    spool.close()
    await ended(folder)


async def test_a_system_that_must_name_files_takes_the_name_away_at_once(folder, monkeypatch):
    monkeypatch.setattr(module, "_UNNAMED", 0)
    spool = await written(folder, b"x")
    [descriptor] = open_files(folder)
    about = os.fstat(descriptor)
    assert (about.st_nlink, about.st_mode & 0o777) == (0, 0o600)
    assert list(folder.iterdir()) == []
    spool.close()
    await ended(folder)


@pytest.mark.parametrize("offset", [0, PIECE_BYTES, PIECE_BYTES + 16 + 5], ids=["a byte", "a tag", "another piece"])
async def test_what_was_changed_on_disk_is_not_read(folder, offset):
    spool = await written(folder, body_of(2 * PIECE_BYTES))
    [descriptor] = open_files(folder)
    [before] = os.pread(descriptor, 1, offset)
    os.pwrite(descriptor, bytes([before ^ 1]), offset)
    with pytest.raises(Unavailable, match="changed on disk") as caught:
        [await spool.read(number) for number in range(2)]
    assert caught.value.code is Code.SPOOL
    spool.close()
    await ended(folder)


async def test_pieces_cannot_change_places(folder):
    spool = await written(folder, body_of(2 * PIECE_BYTES))
    [descriptor] = open_files(folder)
    sealed = PIECE_BYTES + 16
    os.pwrite(descriptor, os.pread(descriptor, sealed, sealed), 0)
    with pytest.raises(Unavailable, match="changed on disk"):
        await spool.read(0)
    spool.close()


async def test_a_full_disk_is_told(folder, monkeypatch):
    spool = await written(folder, body_of(PIECE_BYTES))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for failing in (full, lambda descriptor, data, offset: len(data) - 1):
        monkeypatch.setattr(os, "pwrite", failing)
        with pytest.raises(Unavailable, match=r"No space left|no space is left") as caught:
            await spool.append([b"x"])
        assert caught.value.code is Code.SPOOL
    spool.close()


async def test_a_disk_that_hangs_is_told_and_the_file_closed_once_it_moves_again(folder, monkeypatch):
    loop, going_on = asyncio.get_running_loop(), asyncio.Event()
    spool = await written(folder, body_of(PIECE_BYTES))
    write = os.pwrite

    def hanging(*given: object) -> int:
        asyncio.run_coroutine_threadsafe(going_on.wait(), loop).result()
        return write(*given)

    monkeypatch.setattr(os, "pwrite", hanging)
    monkeypatch.setattr(module, "DISK_S", 0.05)
    with pytest.raises(Unavailable, match="within"):
        await spool.append([b"x"])
    spool.close()
    assert open_files(folder)
    going_on.set()
    await ended(folder)


async def test_nothing_is_written_or_read_once_it_was_given_up(folder):
    spool = await written(folder, b"x")
    spool.close()
    spool.close()
    for use in (spool.append([b"y"]), spool.read(0)):
        with pytest.raises(Unavailable, match="given up"):
            await use
    await ended(folder)
    unused = Spools(folder).begin()
    unused.close()
    with pytest.raises(Unavailable):
        await unused.append([b"z"])
    assert open_files(folder) == []


@pytest.mark.parametrize("pieces", [[b""], [b"x", b"y"], [bytes(PIECE_BYTES + 1)]], ids=["empty", "small", "large"])
async def test_pieces_of_other_sizes_are_a_mistake_of_the_caller(folder, pieces):
    spool = Spools(folder).begin()
    with pytest.raises(ValueError, match="a piece must be whole"):
        await spool.append(pieces)
    spool.close()


def test_a_directory_that_others_may_read_is_refused(folder):
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(Rejected, match="0700"):
        Spools(folder)
