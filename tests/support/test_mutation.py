"""The summary of `make mutants`: what counts as killed, and when the run fails."""

import json
from pathlib import Path

import mutation
import pytest

KILLED, SURVIVED, NEVER_RUN, UNTRIED, TIMEOUT = 1, 0, 33, None, 36


def results(folder: Path, module: str, codes: list[int | None]) -> None:
    """A module's results as mutmut keeps them."""
    path = folder / f"proxy/core/{module}.py.meta"
    path.parent.mkdir(parents=True, exist_ok=True)
    names = {f"proxy.core.{module}.x_f__mutmut_{number}": code for number, code in enumerate(codes)}
    path.write_text(json.dumps({"exit_code_by_key": names}))


@pytest.mark.parametrize(
    ("codes", "exits"),
    [
        pytest.param([KILLED] * 8 + [TIMEOUT, SURVIVED], 0, id="nine of ten are enough"),
        pytest.param([KILLED] * 8 + [SURVIVED] * 2, 1, id="eight of ten are not"),
        pytest.param([KILLED] * 8 + [NEVER_RUN, SURVIVED], 1, id="a mutant no test ran is alive"),
        pytest.param([KILLED] * 8 + [UNTRIED, SURVIVED], 1, id="a mutant that was not tried is alive"),
        pytest.param([], 1, id="no mutants are no proof"),
    ],
)
def test_under_ninety_of_a_hundred_is_a_failure(codes: list[int | None], exits: int, tmp_path: Path) -> None:
    results(tmp_path, "verify", codes)
    assert mutation.main([str(tmp_path)]) == exits


def test_every_module_and_every_survivor_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results(tmp_path, "verify", [KILLED, SURVIVED])
    results(tmp_path, "proof", [KILLED])
    mutation.main(["--alive", str(tmp_path)])
    proof, verify, survivor, everything = capsys.readouterr().out.splitlines()
    assert proof.split()[:4] == ["proxy/core/proof.py", "1", "of", "1"]
    assert verify.split()[:4] == ["proxy/core/verify.py", "1", "of", "2"]
    assert survivor.split() == ["mutmut", "show", "proxy.core.verify.x_f__mutmut_1"]
    assert everything.split()[:4] == ["all", "2", "of", "3"]
