"""The API's OpenAPI document and its behaviour agree: schemathesis asks a real desk, with a token, whatever it can."""

import subprocess
import sys
from pathlib import Path

import pytest
from apiclients import make
from roomservers import served

from proxy.review.desk.api.routes import operations
from proxy.review.desk.tokens import Scope

SETTINGS = """\
[parameters]
"path.hold" = "{hold}"

[[operations]]
include-path = "/events/stream"
enabled = false

# What a schema cannot say (a statement must verify, a denial needs a reason) is 422; 5xx is another check's.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "410", "422"]
"""
BODY = b'{"amount": 1, "password": "x"}'
KIND = (("Content-Type", "application/json"),)


@pytest.mark.system
@pytest.mark.parametrize(
    ("scopes", "phase"),
    [
        pytest.param(frozenset({Scope.READ, Scope.REVEAL}), "coverage", id="about a call that goes on waiting"),
        pytest.param(frozenset(Scope), "fuzzing", id="about a call that is decided meanwhile"),
    ],
)
def test_the_document_and_the_desk_agree(tmp_path: Path, scopes: frozenset[Scope], phase: str) -> None:
    with served(tmp_path / "room") as desk:
        (tmp_path / "room" / "journal").mkdir(parents=True, exist_ok=True)
        hold = desk.file("https://erp.example/v1/salaries/1?token=x", method="POST", body=BODY, headers=KIND)
        for number in range(3):
            desk.file(f"https://erp.example/v1/salaries/{number}")
        desk.decide(desk.file("https://erp.example/v1/salaries/4"), release=False)
        (tmp_path / "schemathesis.toml").write_text(SETTINGS.format(hold=hold.id))
        origin = desk.room.origins[1]
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(tmp_path / "schemathesis.toml")),
                *("run", f"{origin}/api/v1/openapi.json", "--url", f"{origin}/api/v1"),
                *("--header", f"Authorization: Bearer {make(desk.room, scopes)}"),
                *("--phases", phase, "--max-examples", "8", "--seed", "1"),
                *("--checks", "all", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    told = "\n".join(line[:300] for line in ran.stdout.splitlines())
    assert ran.returncode == 0, told[-8000:] + ran.stderr[-2000:]
    assert f"Tested: {len(operations()) - 1}" in told, told[-2000:]
