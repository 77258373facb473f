"""docs/promises.md: every promise names tests, and those are there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text("utf-8")
ROWS = re.findall(r"^\| \*\*(.+?)\*\*.*? \| (`tests/.+?) \|$", PAGE, re.MULTILINE)


def test_no_promise_is_without_a_test() -> None:
    table = PAGE.partition("## Promised")[2].partition("## Not promised")[0].partition("What the short forms")[0]
    assert len(ROWS) == table.count("\n| **") > 10


@pytest.mark.parametrize("tried_by", [tried_by for _, tried_by in ROWS], ids=[said for said, _ in ROWS])
def test_the_tests_of_a_promise_are_there(tried_by: str) -> None:
    for pattern in re.findall(r"`([^`]+)`", tried_by):
        files = list(ROOT.glob(pattern))
        assert files, pattern
        for file in files:
            names = [node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if hasattr(node, "name")]
            assert any(str(name).startswith("test_") or name == "cases" for name in names), file
