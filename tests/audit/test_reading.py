"""Files as crashes leave them: nothing read raises, nothing torn is taken for a line."""

from pathlib import Path

import pytest
from identities import NOW

from proxy.audit import reading
from proxy.audit.lines import MAX_LINE_BYTES, JournalFile, Kind, boot_name, compose
from proxy.audit.reading import journal_files, raw_lines, read_tail
from proxy.core.errors import Code, Unavailable

FILE = JournalFile(slot="edge-1-0", boot=boot_name(NOW, b"abcd"))


def chain(count: int) -> list[bytes]:
    lines: list[bytes] = []
    prev = ""
    for seq in range(1, count + 1):
        written = compose(Kind.DECISION, {"n": seq}, seq=seq, prev=prev, at=NOW)
        lines.append(written.data + b"\n")
        prev = written.hash
    return lines


LINES = chain(5)


@pytest.mark.parametrize(
    ("data", "seqs", "torn_bytes"),
    [
        pytest.param(b"", [], 0, id="nothing"),
        pytest.param(b"".join(LINES), [1, 2, 3, 4, 5], 0, id="whole lines"),
        pytest.param(b"".join(LINES)[:-1], [1, 2, 3, 4], len(LINES[4]) - 1, id="a last line without its newline"),
        pytest.param(b"".join(LINES) + b'{"seq":6', [1, 2, 3, 4, 5], 8, id="half a line"),
        pytest.param(b"".join(LINES) + b"\0" * 100, [1, 2, 3, 4, 5], 100, id="zeros after a power cut"),
        pytest.param(b"".join(LINES) + b"\0\n\0", [1, 2, 3, 4, 5], 3, id="rubbish with a newline in it"),
        pytest.param(b"\0\n" + b"".join(LINES[2:]), [3, 4, 5], 0, id="a break before the last run"),
        pytest.param(LINES[0] + b"".join(LINES[2:]), [3, 4, 5], 0, id="a line missing before the last run"),
        pytest.param(b"rubbish\nrubbish", [], 15, id="no line at all"),
    ],
)
def test_the_end_of_a_chain_is_its_last_whole_run(
    tmp_path: Path, data: bytes, seqs: list[int], torn_bytes: int
) -> None:
    path = tmp_path / FILE.name
    path.write_bytes(data)
    tail = read_tail(path)
    assert [line.seq for line in tail.lines] == seqs
    assert tail.torn_bytes == torn_bytes
    previous = tail.as_previous(FILE)
    assert (previous.file, previous.seq, previous.torn_bytes) == (FILE.name, seqs[-1] if seqs else 0, torn_bytes)
    assert previous.head == (tail.lines[-1].hash if seqs else "")


def test_only_the_end_of_a_long_chain_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TAIL_BYTES", len(LINES[-1]) * 2 + 10)
    path = tmp_path / FILE.name
    path.write_bytes(b"".join(LINES))
    assert [line.seq for line in read_tail(path).lines] == [4, 5]


def test_a_line_longer_than_any_of_ours_comes_in_unreadable_pieces(tmp_path: Path) -> None:
    path = tmp_path / FILE.name
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 10) + b"\n" + LINES[0])
    pieces = list(raw_lines(path))
    assert [(piece.number, len(piece.data), piece.torn) for piece in pieces] == [
        (1, MAX_LINE_BYTES + 1, False),
        (2, 9, False),
        (3, len(LINES[0]) - 1, False),
    ]


def test_files_are_listed_by_slot_and_time_and_others_left_out(tmp_path: Path) -> None:
    names = [
        "edge-1-0-20260302T093000000000Z00000000.jsonl",
        "edge-1-0-20260302T093000000001Z00000000.jsonl",
        "edge-1-10-20260302T092000000000Z00000000.jsonl",
        "edge-1-2-20260302T092000000000Z00000000.jsonl",
    ]
    for name in [*reversed(names), "edge-1-0.lock", "notes.txt"]:
        (tmp_path / name).touch()
    assert [file.name for file in journal_files(tmp_path)] == names


def test_what_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    for read in (journal_files, read_tail, lambda path: list(raw_lines(path))):
        with pytest.raises(Unavailable) as caught:
            read(tmp_path / "gone")
        assert caught.value.code is Code.JOURNAL_DOWN
    with pytest.raises(Unavailable):
        read_tail(tmp_path)
