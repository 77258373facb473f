"""docs/codes.md is what the code says."""

from pathlib import Path

from proxy.core.codetable import page, unlisted
from proxy.core.errors import Code
from proxy.core.guides import GUIDES, Next

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_code_says() -> None:
    written = (DOCS / "codes.md").read_text("utf-8")
    assert written == page(), "docs/codes.md is stale: python -m proxy.cli.codetable > docs/codes.md"


def test_every_code_that_an_agent_can_be_told_stands_there_once() -> None:
    assert unlisted() == frozenset(), "a new family of codes needs a heading in proxy/core/codetable.py"
    told = [line.split("`")[1] for line in page().splitlines() if line.startswith("| `")]
    assert sorted(told) == sorted(code.value for code in Code if GUIDES[code].next is not Next.GO_ON)


def test_it_is_linked_from_where_people_look() -> None:
    assert "(docs/codes.md)" in (DOCS.parent / "README.md").read_text("utf-8")
    assert "(codes.md)" in (DOCS / "wire.md").read_text("utf-8")
