"""Every attack of the corpus, each over each way in, beside its twin."""

from pathlib import Path

import pytest
from attacks import Case, corpus, try_case
from streets import Street

CASES = {f"{path.stem}, {case}": case for path, cases in corpus(Path(__file__).parent).items() for case in cases}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_of_an_attack_nobody_sees_anything_and_its_twin_passes(street: Street, case: Case) -> None:
    try_case(street, case)
