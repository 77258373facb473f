"""docs/threats.md says what is covered; here it is held to the corpus, and to what is due by now."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks import Case, corpus
from houses import WAYS
from shots import LED

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "threats.md"
CORPUS = ROOT / "tests" / "corpus"

IDS = (
    *("A01", "A02", "A03", "A04", "A05", "B01", "B02", "B03", "B04", "C01", "C02", "C03", "C04", "D01", "D02", "D03"),
    *("E01", "E02", "E03", "E04", "E05", "F01", "F02", "F03", "F04", "F05", "F06", "F07", "G01"),
)
DUE_BY_NOW = frozenset({"S"})
ISSUES = frozenset("SCHADTP")

_ROW = re.compile(r"\| ([A-G]\d\d) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
_NOT_APPLICABLE = re.compile(r"n/a: \S.{19,}")
_LINK = re.compile(r"\]\(\.\./tests/corpus/([A-G]\d\d-[^)]+)\)")
_MISSING = re.compile(r"^- \*\*([A-G]\d\d)\*\*: \S.{19,}", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One threat as the page tells it."""

    id: str
    due: str
    cells: dict[str, str]  # way in -> whole, part, "issue X" or "n/a: reason"


def rows() -> dict[str, Row]:
    found = [
        Row(threat, due, {"plain": plain, "tls": tls, "transparent": transparent})
        for threat, _, due, plain, tls, transparent in _ROW.findall(PAGE.read_text("utf-8"))
    ]
    assert [row.id for row in found] == list(IDS), "every id stands once, in order"
    return {row.id: row for row in found}


ROWS = rows()
FILES: dict[Path, list[Case]] = corpus(CORPUS)
CASES = Counter((case.threat, case.way) for cases in FILES.values() for case in cases)
CASES += Counter((case.threat, LED) for cases in corpus(CORPUS, ways=(LED,)).values() for case in cases)


def reason_given(cell: str) -> bool:
    return _NOT_APPLICABLE.fullmatch(cell) is not None


@pytest.mark.parametrize("threat", IDS)
def test_every_cell_is_one_of_the_words_the_page_explains(threat: str) -> None:
    row = ROWS[threat]
    assert row.due in ISSUES
    for way, cell in row.cells.items():
        later = cell.startswith("issue ") and cell.removeprefix("issue ") in ISSUES
        assert cell in ("whole", "part") or later or reason_given(cell), f"{way}: {cell}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("threat", [threat for threat in IDS if ROWS[threat].due in DUE_BY_NOW])
def test_what_is_due_by_now_is_there_whole_or_has_a_reason(threat: str, way: str) -> None:
    cell = ROWS[threat].cells[way]
    assert cell == "whole" or reason_given(cell)


@pytest.mark.parametrize("way", (*WAYS, LED))
@pytest.mark.parametrize("threat", IDS)
def test_a_claim_has_cases_and_cases_are_claimed(threat: str, way: str) -> None:
    claimed = ROWS[threat].cells[way] in ("whole", "part")
    assert claimed is (CASES[threat, way] > 0), f"{CASES[threat, way]} cases"


def test_what_is_missing_is_said() -> None:
    partly = {
        row.id
        for row in ROWS.values()
        if not all(row.cells[way] == "whole" or reason_given(row.cells[way]) for way in WAYS)
    }
    assert set(_MISSING.findall(PAGE.read_text("utf-8"))) == partly


def test_every_file_of_the_corpus_is_listed_and_every_listed_file_is_there() -> None:
    listed = _LINK.findall(PAGE.read_text("utf-8"))
    assert sorted(listed) == sorted(path.name for path in FILES)


def test_nothing_in_the_folder_is_overlooked() -> None:
    known = {path.name for path in FILES} | {"conftest.py", "network", "__pycache__"}
    others = {path.name for path in CORPUS.iterdir()} - known
    assert all(name.startswith("test_") for name in others), others
