"""Published test vectors kept beside the repository: facts to test against, not part of the product."""

import json
from pathlib import Path

import pytest

_CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def wycheproof(name: str) -> list[dict]:
    """The test groups of one Wycheproof file; skips the test where the corpus is not there."""
    path = _CORPUS / f"wycheproof_{name}_test.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} in ../shared/corpus (from C2SP/wycheproof, testvectors_v1)")
    return json.loads(path.read_text("utf-8"))["testGroups"]
