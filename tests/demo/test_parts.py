"""The demo's parts that can be wrong by themselves."""

import json
import subprocess
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.audit.lines import Kind, compose, read_line
from proxy.cli.demo.actors import as_typed
from proxy.cli.demo.claims import BrokenClaim, Claims
from proxy.cli.demo.evidence import Seen, ServerLog, seen_in
from proxy.cli.demo.forgery import forge


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ip", "holds", "list"], id="a short one stays on its line"),
        pytest.param(["ip", "holds", "release", "-abc", "--as", "maria", "--reason", "a b"], id="words with spaces"),
        pytest.param(["ip", *["word"] * 40, "-c", "/tmp/x"], id="a long one is broken"),
    ],
)
def test_a_command_is_typed_so_that_a_shell_reads_it_back(command: list[str]) -> None:
    lines = as_typed(command, 40)
    assert all(len(line) <= 40 for line in lines)
    assert all(line.endswith(" \\") for line in lines[:-1])
    read = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {chr(10).join(lines)}"], capture_output=True, text=True, check=True
    )
    assert read.stdout.split("\0")[:-1] == command


def test_an_option_stays_with_its_value() -> None:
    assert as_typed(["ip", "holds", "show", "-c", "/tmp/somewhere"], 24) == ["ip holds show \\", "  -c /tmp/somewhere"]


def line(connection: int, data: str | None) -> str:
    event = {"event": "opened"} if data is None else {"event": "received", "bytes": data}
    return json.dumps({"door": "erp", "connection": connection, **event})


def test_a_request_counts_once_its_head_is_whole() -> None:
    log = [line(1, None), line(1, "GET /a HTTP/1.1\r\nHost: x\r\n"), line(2, None), line(2, "GET /b HTTP/1.1\r\n")]
    assert seen_in(log) == Seen(connections=2, requests=())
    assert seen_in([*log, line(1, "\r\n")]) == Seen(connections=2, requests=("GET /a",))


def test_the_log_is_read_onwards(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "origin.jsonl")
    assert log.news() == Seen(connections=0, requests=())
    (tmp_path / "origin.jsonl").write_text(line(1, None) + "\n" + line(1, "GET /a HTTP/1.1\r\n\r\n") + "\n")
    assert log.news() == Seen(connections=1, requests=("GET /a",))
    assert log.news() == Seen(connections=0, requests=())


def test_a_claim_that_does_not_hold_is_kept_and_raised(tmp_path: Path) -> None:
    claims = Claims()
    claims.check("true", expected={"status": 200}, seen={"status": 200})
    with pytest.raises(BrokenClaim, match="step 2, false: expected"):
        claims.check("false", expected={"status": 403}, seen={"status": 200})
    claims.write(tmp_path / "story.json")
    steps = json.loads((tmp_path / "story.json").read_text())
    assert [(step["step"], step["expected"] == step["seen"]) for step in steps] == [(1, True), (2, False)]


def test_a_forged_journal_fits_together_again(tmp_path: Path) -> None:
    prev, lines = "", []
    for seq in range(1, 6):
        fields = {"hold_id": f"h{seq}", "url": "https://x/v1/payroll/88"}
        written = compose(Kind.DECISION, fields, seq=seq, prev=prev, at=datetime(2026, 1, 1, tzinfo=UTC))
        prev, lines = written.hash, [*lines, written.data]
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(each + b"\n" for each in lines))
    forged = forge(tmp_path, (b"h3",), b"/v1/payroll/88", b"/v1/invoices/88")
    assert (forged.file, forged.line, forged.fits) == ("a.jsonl", 3, True)
    after = [read_line(each) for each in file.read_bytes().splitlines()]
    assert after[2].fields["url"] == "https://x/v1/invoices/88"
    assert [each.fields["url"] for each in after].count("https://x/v1/payroll/88") == 4
    assert all(second.prev == first.hash for first, second in pairwise(after))
    with pytest.raises(LookupError):
        forge(tmp_path, (b"h9",), b"a", b"b")
