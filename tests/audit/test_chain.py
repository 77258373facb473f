"""Telling what happened from marks alone, without any file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.chain import differences
from proxy.audit.findings import Finding, What


def found(stands: str, written: str = "abcdefghij", *, unmarked: str = "") -> list[tuple[What, int, int]]:
    """What differs when `stands` is in the file; every letter is a line. `unmarked` lines lost their checkpoint."""
    marks = {seq: mark for seq, mark in enumerate(written, 1) if mark not in unmarked}
    return [(each.what, each.line, each.last_line) for each in differences(marks, stands)]


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        pytest.param("abcdefghij", [], id="as written"),
        pytest.param("abcdefghijklm", [], id="with more that is not sealed yet"),
        pytest.param("abXdefghij", [(What.CHANGED, 3, 0)], id="one changed"),
        pytest.param(
            "XYcdefghiZ", [(What.CHANGED, 1, 0), (What.CHANGED, 2, 0), (What.CHANGED, 10, 0)], id="three changed"
        ),
        pytest.param("abdefghij", [(What.REMOVED, 3, 0)], id="one removed"),
        pytest.param("abfghij", [(What.REMOVED, 3, 0)], id="a stretch removed"),
        pytest.param("abcXdefghij", [(What.INSERTED, 4, 0)], id="one inserted"),
        pytest.param("abcXYZdefghij", [(What.INSERTED, 4, 0)], id="a stretch inserted"),
        pytest.param("abcadefghij", [(What.INSERTED, 4, 0)], id="an old one repeated"),
        pytest.param("acbdefghij", [(What.REORDERED, 2, 0)], id="two swapped"),
        pytest.param("abcdefg", [(What.CUT, 8, 0)], id="the tail cut"),
        pytest.param("", [(What.CUT, 1, 0)], id="everything cut"),
        pytest.param("abXdfghij", [(What.CHANGED, 3, 0), (What.REMOVED, 5, 0)], id="one changed, one removed"),
    ],
)
def test_edits_are_told_apart(stands: str, expected: list[tuple[What, int, int]]) -> None:
    assert found(stands) == expected


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        pytest.param("abcXYfghij", [], id="a change among unmarked lines shows in no mark"),
        pytest.param("abcdfghij", [(What.REMOVED, 4, 6)], id="one removed"),
        pytest.param("abcdXefghij", [(What.INSERTED, 4, 6)], id="one inserted"),
        pytest.param("abcdeXghij", [(What.CHANGED, 4, 6)], id="the first line after them changed"),
    ],
)
def test_between_marks_an_edit_is_placed_in_the_stretch(stands: str, expected: list[tuple[What, int, int]]) -> None:
    assert found(stands, unmarked="de") == expected


@given(st.text("abcdefghijXY", max_size=14), st.sets(st.sampled_from("abcdefghij")))
def test_whatever_stands_there_it_ends_and_says_no_place_outside(stands: str, unmarked: set[str]) -> None:
    places = found(stands, unmarked="".join(unmarked))
    assert all(1 <= line <= len(stands) + 1 for _, line, _ in places)
    if all(stands[seq : seq + 1] == mark for seq, mark in enumerate("abcdefghij") if mark not in unmarked):
        assert places == []
    else:
        assert places


def test_a_finding_reads_like_a_compiler_s() -> None:
    here = Finding(file="f.jsonl", line=7, seq=7, what=What.CHANGED, detail="not as sealed")
    assert str(here) == "f.jsonl:7: changed: not as sealed"
    there = Finding(file="f.jsonl", line=7, seq=7, what=What.UNSEALED, detail="no checkpoint", last_line=9)
    assert str(there) == "f.jsonl:7-9: unsealed: no checkpoint"
    gone = Finding(file="f.jsonl", line=0, seq=0, what=What.MISSING_FILE, detail="sealed")
    assert str(gone) == "f.jsonl: missing file: sealed"
