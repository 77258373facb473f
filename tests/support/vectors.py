"""Published test vectors kept beside the repository: facts to test against, not part of the product."""

import json
from pathlib import Path
from typing import Any

import pytest

ABSENT = "not in ../shared/corpus: "
"""How the reason of a skip begins that is right even where everything is required: the corpus is not ours to ship."""

_CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def corpus(name: str) -> Any:
    """One JSON file of the corpus; skips the test where it is not there."""
    path = _CORPUS / name
    if not path.is_file():
        pytest.skip(f"{ABSENT}{name}")
    return json.loads(path.read_text("utf-8"))


def wycheproof(name: str) -> list[dict]:
    """The test groups of one Wycheproof file (C2SP/wycheproof, testvectors_v1)."""
    return corpus(f"wycheproof_{name}_test.json")["testGroups"]
