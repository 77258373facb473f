"""Files that decide what is permitted: who may change them, and how they are written."""

import os
from pathlib import Path

import pytest

from proxy.core.errors import Code, Rejected
from proxy.policy.files import check_directory, entries, read_guarded, read_if_there, write_whole


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "house" / "file"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"text")
    path.chmod(0o644)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(Rejected) as refused:
        read_guarded(path)
    assert refused.value.code is Code.CONFIG_INVALID
    assert "\n" not in refused.value.detail
    return refused.value.detail


def test_reads_a_file_only_we_may_change(file: Path) -> None:
    assert read_guarded(file) == b"text"


@pytest.mark.parametrize(
    ("mode", "passes"),
    [
        pytest.param(0o600, True, id="ours alone"),
        pytest.param(0o444, True, id="readable by all"),
        pytest.param(0o620, False, id="writable by the group"),
        pytest.param(0o602, False, id="writable by everybody"),
    ],
)
def test_a_file_others_may_write_is_refused_with_the_command(file: Path, mode: int, passes: bool) -> None:
    file.chmod(mode)
    if passes:
        assert read_guarded(file) == b"text"
    else:
        assert refusal(file) == f"{file}: group or others may write to it; run: chmod go-w {file}"


def test_a_directory_others_may_write_is_refused_with_the_command(file: Path) -> None:
    file.parent.chmod(0o770)
    assert refusal(file) == f"{file.parent}: group or others may write to it; run: chmod go-w {file.parent}"


def test_the_command_quotes_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a b"
    path.write_bytes(b"")
    path.chmod(0o666)
    assert refusal(path).endswith(f"run: chmod go-w '{path}'")


def test_a_directory_above_that_everybody_may_write_is_refused_unless_it_is_sticky(file: Path) -> None:
    above = file.parent.parent
    above.chmod(0o777)
    try:
        assert refusal(file) == f"{file.parent}: everybody may write to {above} above it; run: chmod o-w {above}"
        above.chmod(0o1777)
        assert read_guarded(file) == b"text"
    finally:
        above.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away: run as root")
def test_a_file_of_somebody_else_is_refused(file: Path) -> None:
    os.chown(file, 12_345, -1)
    assert refusal(file) == f"{file}: belongs to user 12345, expected root or us (0); run: chown 0 {file}"
    os.chown(file, 0, -1)
    assert read_guarded(file) == b"text"


def test_the_place_a_link_leads_to_is_checked_too(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_guarded(link) == b"text"
    file.parent.chmod(0o777)
    assert "group or others may write" in refusal(link)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert refusal(fifo) == f"{fifo}: expected a file, got something else of that name"
    assert refusal(tmp_path) == f"{tmp_path}: expected a file, got something else of that name"


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    assert refusal(link).startswith(f"{link}: cannot be opened")
    with pytest.raises(Rejected, match="cannot be looked at"):
        check_directory(link)
    with pytest.raises(Rejected, match="cannot be listed"):
        entries(link)


def test_a_file_over_the_limit_is_refused_and_one_at_it_is_not(file: Path) -> None:
    assert read_guarded(file, limit_bytes=4) == b"text"
    with pytest.raises(Rejected, match="expected at most 3 bytes, got more"):
        read_guarded(file, limit_bytes=3)


def test_absence_is_a_refusal_with_advice_or_none(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="there is no such file; make one"):
        read_guarded(tmp_path / "none", absent="make one")
    assert read_if_there(tmp_path / "none") is None
    assert read_if_there(tmp_path / "no" / "such") is None


def test_entries_are_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in entries(tmp_path)] == ["a", "b"]
    assert entries(tmp_path / "none") == []
    with pytest.raises(Rejected, match="cannot be listed"):
        entries(tmp_path / "a")


def test_a_directory_is_expected(file: Path) -> None:
    check_directory(file.parent)
    with pytest.raises(Rejected, match="expected a directory, got something else"):
        check_directory(file)


def test_writing_replaces_the_whole_file_with_the_mode_asked_for(file: Path) -> None:
    write_whole(file, b"new", mode=0o600)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_write_that_fails_leaves_what_was_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Rejected, match="cannot be written: No space left on device"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"text"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_writing_where_there_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be written: No such file or directory"):
        write_whole(tmp_path / "none" / "file", b"new")
