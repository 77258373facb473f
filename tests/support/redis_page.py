"""docs/redis.md: what it shows, for the tests that hold the product to it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "redis.md"
USER, PASSWORD = "intent-proxy", "least"


def blocks(kind: str) -> list[str]:
    """Every fenced block of this kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def commands(start: str) -> list[str]:
    """Every command line for a server that begins so, with a password in it."""
    lines = [line for block in blocks("text") for line in block.splitlines()]
    return [line.replace("PASSWORD", PASSWORD) for line in lines if line.startswith(start)]


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    rows = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    begin = next(number for number, row in enumerate(cells) if row[0] == first) + 2
    width = len(cells[begin])
    return [row for row in cells[begin:] if len(row) == width]


def acl_rules(*, cluster: bool = False) -> list[str]:
    """The commands that make the least user, of a server or of a node of a cluster."""
    made, clustered, _select, _sentinel = commands("ACL SETUSER")
    return [made, clustered] if cluster else [made]
