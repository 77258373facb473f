"""Private files, and the node's own record of control statements."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import DEPLOYMENT, NOW, bundle, key

from proxy.core.control import Act, Statement, read_statement, state
from proxy.core.errors import Code, Rejected
from proxy.stores import files
from proxy.stores.files import StatementFile, private_dir, read_private, write_atomically

# --- private files ---------------------------------------------------------------------------------------------------


def test_a_private_directory_is_made_and_taken_again(tmp_path):
    made = private_dir(tmp_path / "deep" / "state")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_dir(made) == made


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o777], ids=oct)
def test_a_directory_others_may_enter_is_refused_with_the_fix(tmp_path, mode):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    with pytest.raises(Rejected, match="chmod 0700") as caught:
        private_dir(tmp_path / "state")
    assert caught.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_what_is_no_directory_is_refused(tmp_path, kind):
    (tmp_path / "real").mkdir(mode=0o700)
    if kind == "a link":
        (tmp_path / "state").symlink_to(tmp_path / "real")
    else:
        (tmp_path / "state").touch(mode=0o600)
    with pytest.raises(Rejected, match="must be a directory"):
        private_dir(tmp_path / "state")


def test_a_file_is_written_whole_and_private(tmp_path):
    path = tmp_path / "secret"
    assert write_atomically(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    assert write_atomically(path, b"two")
    assert read_private(path) == b"two"
    assert read_private(path, from_byte=1) == b"wo"
    assert not write_atomically(path, b"three", replace=False)
    assert read_private(path) == b"two"
    assert write_atomically(tmp_path / "other", b"four", replace=False)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["other", "secret"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert read_private(path) == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666], ids=oct)
def test_a_file_others_may_read_is_refused_with_the_fix(tmp_path, mode):
    path = tmp_path / "secret"
    write_atomically(path, b"x")
    path.chmod(mode)
    with pytest.raises(Rejected, match="chmod 0600") as caught:
        read_private(path)
    assert caught.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize("kind", ["a link", "a directory", "a pipe"])
def test_what_is_no_plain_file_is_refused(tmp_path, kind):
    path = tmp_path / "secret"
    match kind:
        case "a link":
            write_atomically(tmp_path / "real", b"x")
            path.symlink_to(tmp_path / "real")
        case "a directory":
            path.mkdir(mode=0o700)
        case _:
            os.mkfifo(path, 0o600)
    with pytest.raises(Rejected) as caught:
        read_private(path)
    assert caught.value.code is Code.CONFIG_INVALID


def test_a_file_of_absurd_size_is_refused(tmp_path):
    path = tmp_path / "secret"
    write_atomically(path, b"")
    os.truncate(path, files.MAX_PRIVATE_BYTES + 1)
    with pytest.raises(Rejected, match="larger"):
        read_private(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(tmp_path):
    path = tmp_path / "secret"
    write_atomically(path, b"x")
    os.chown(path, 12345, 12345)
    with pytest.raises(Rejected, match="must belong to user 0"):
        read_private(path)


# --- statements ------------------------------------------------------------------------------------------------------


def statement(target: str = "*", act: Act = Act.KILL_ON) -> Statement:
    token = state(act, target, by="ada", reason='a "reason"', deployment=DEPLOYMENT, key=key("ada"), now=NOW)
    return read_statement(token, bundle())


def test_what_is_remembered_is_read_back(tmp_path):
    path = tmp_path / "control.jsonl"
    file = StatementFile(path)
    one, two = statement(), statement("invoice-bot", Act.QUARANTINE)
    assert file.load() == ()
    assert file.remember(one) == (one,)
    assert file.remember(two) == (two,)
    assert file.remember(one) == ()
    assert StatementFile(path).load() == (one, two)
    assert file.load() == ()


def test_one_worker_reads_what_another_wrote_since(tmp_path):
    path = tmp_path / "control.jsonl"
    mine, theirs = StatementFile(path), StatementFile(path)
    one, two = statement("a", Act.REVOKE_KEY), statement("b", Act.REVOKE_KEY)
    mine.remember(one)
    assert theirs.remember(two) == (one, two)
    assert mine.load() == (two,)


def test_many_workers_at_once_write_each_statement_once(tmp_path):
    path = tmp_path / "control.jsonl"
    said = [statement(str(number), Act.REVOKE_KEY) for number in range(10)]
    workers = [StatementFile(path) for _ in range(4)]
    with ThreadPoolExecutor(8) as threads:
        for worker in workers:
            for one in said:
                threads.submit(worker.remember, one)
    assert {one.id for one in StatementFile(path).load()} == {one.id for one in said}
    assert len(path.read_bytes().splitlines()) == len(said)


def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path):
    path = tmp_path / "control.jsonl"
    one, two = statement(), statement("b", Act.REVOKE_KEY)
    StatementFile(path).remember(one)
    with path.open("ab") as file:
        file.write(b'{"act":"kill-off","at":17')
    after = StatementFile(path)
    assert after.load() == (one,)
    after.remember(two)
    assert StatementFile(path).load() == (one, two)


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"kill", b"\xff", b'{"act":1}'],
    ids=["empty", "no members", "a list", "a word", "no text", "a number for an act"],
)
def test_a_line_that_is_not_ours_is_refused(tmp_path, line):
    path = tmp_path / "control.jsonl"
    StatementFile(path).remember(statement())
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(Rejected) as caught:
        StatementFile(path).load()
    assert caught.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize(
    ("written", "instead"),
    [(b'"kill-on"', b'"kill-all"'), (b'"at":', b'"at":9999999999'), (b'"by":', b'"bye":')],
    ids=["an unknown act", "an impossible time", "an unknown member"],
)
def test_a_line_that_was_edited_is_refused(tmp_path, written, instead):
    path = tmp_path / "control.jsonl"
    StatementFile(path).remember(statement())
    path.write_bytes(path.read_bytes().replace(written, instead))
    with pytest.raises(Rejected) as caught:
        StatementFile(path).load()
    assert caught.value.code is Code.STATEMENT_INVALID


def test_a_record_others_may_read_is_refused(tmp_path):
    path = tmp_path / "control.jsonl"
    StatementFile(path).remember(statement())
    path.chmod(0o644)
    with pytest.raises(Rejected, match="chmod 0600"):
        StatementFile(path).load()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_reading_a_line_raises_nothing_but_rejected(tmp_path, line):
    with suppress(Rejected):
        files._read_line(line, tmp_path)
