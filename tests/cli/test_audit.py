"""`audit`: reading the journal with filters, and naming the first line that is not as it was written."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import identities
import pytest
from clirun import cli
from journals import NODE_KEY, Desk, change, cut, remove, tamper

from proxy.agent.keyfile import save_key
from proxy.audit.records import decision_fields, hold_fields, outcome_fields
from proxy.audit.sinks import FileCheckpoints
from proxy.cli.exits import Exit
from proxy.core.errors import Code
from proxy.core.model import Decision, Verdict

HOSTILE = "\x1b[2J\u202e"


def decision(number: int, verdict: Verdict, code: Code, message: str = "because") -> Decision:
    return Decision(
        decision_id=f"d-{number}",
        verdict=verdict,
        code=code,
        message=message,
        at=identities.NOW,
        agent="robot" if number % 2 else "helper",
        sponsor="ada",
    )


@pytest.fixture
def journal(home: Path) -> Path:
    """Six decisions, an outcome and a hold event, written and sealed by the real writer, now."""
    state = home / "state"
    (state / "node.key").unlink()
    save_key(state / "node.key", NODE_KEY)
    (state / "journal").mkdir(mode=0o700)
    desk = Desk(directory=state / "journal")
    desk.clock.now = datetime.now(UTC) - timedelta(minutes=1)

    async def write() -> Path:
        chain = await desk.open(sinks=(FileCheckpoints(state / "checkpoints.jsonl"),))
        made = (
            decision(1, Verdict.ALLOW, Code.ALLOWED),
            decision(2, Verdict.HOLD, Code.NOT_COVERED),
            decision(3, Verdict.DENY, Code.URL_AMBIGUOUS, f"{HOSTILE}[red]x"),
            decision(4, Verdict.ALLOW, Code.ALLOWED),
            decision(5, Verdict.DENY, Code.PROOF_MISSING),
        )
        for each in made:
            await chain.append("decision", decision_fields(each, keyed_hash=str))
        await chain.append("outcome", outcome_fields("d-1", status=200, bytes_up=0, bytes_down=9, duration_ms=4))
        await chain.append("hold", hold_fields(identities.hold("h-1"), "file"))
        await chain.append("session", {"agent": "robot"})
        await chain.seal()
        await chain.close()
        return desk.path(chain)

    return asyncio.run(write())


def kinds(ran_out: str) -> list[str]:
    return [json.loads(line)["kind"] for line in ran_out.splitlines()]


def test_every_line_is_shown_oldest_first_with_its_place(journal: Path) -> None:
    ran = cli("audit", "show", "--json").ok()
    assert kinds(ran.out) == ["start", *["decision"] * 5, "outcome", "hold", "session", "stop"]
    second = json.loads(ran.out.splitlines()[1])
    assert (second["file"], second["line"], second["decision_id"]) == (journal.name, 2, "d-1")
    text = cli("audit", "show").ok().out
    assert "allow  robot  allowed" in text and "200  0 bytes up, 9 down, 4 ms  (decision d-1)" in text
    assert "file, now held  invoice-bot  h-1" in text and len(text.splitlines()) == 10


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("--verdict", "deny"), ["d-3", "d-5"], id="by verdict"),
        pytest.param(("--code", "mandate.not_covered"), ["d-2", None], id="by code, the hold with it"),
        pytest.param(("--agent", "helper"), ["d-2", "d-4"], id="by agent"),
        pytest.param(("--decision", "d-1"), ["d-1", "d-1"], id="by decision, with its outcome"),
        pytest.param(("--kind", "outcome"), ["d-1"], id="by kind"),
        pytest.param(("--kind", "decision", "--last", "2"), ["d-4", "d-5"], id="the newest"),
        pytest.param(("--kind", "decision", "--since", "1h", "--agent", "robot"), ["d-1", "d-3", "d-5"], id="since"),
        pytest.param(("--kind", "decision", "--until", "2024-01-01"), [], id="until"),
        pytest.param(("--sponsor", "nobody"), [], id="nothing"),
    ],
)
def test_filters_leave_what_matches_all_of_them(
    journal: Path, words: tuple[str, ...], expected: list[str | None]
) -> None:
    ran = cli("audit", "show", *words, "--json").ok()
    assert [json.loads(line).get("decision_id") for line in ran.out.splitlines()] == expected


def test_nothing_that_matches_is_said_so(journal: Path) -> None:
    assert cli("audit", "show", "--agent", "nobody").ok().err == "no line matches\n"


@pytest.mark.parametrize("words", [("--since", "soon"), ("--verdict", "maybe"), ("--kind", "x"), ("--last", "0")])
def test_a_filter_that_cannot_be_is_wrong_usage(journal: Path, words: tuple[str, ...]) -> None:
    assert cli("audit", "show", *words).code == Exit.CANNOT_TELL


def test_what_a_journal_holds_never_reaches_the_terminal_raw(journal: Path) -> None:
    for words in ((), ("--json",)):
        ran = cli("audit", "show", *words).ok()
        assert all(line.isprintable() for line in ran.out.split("\n"))
    assert "[red]x" in cli("audit", "show").out


def test_a_torn_or_damaged_line_is_shown_in_its_place(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + b"\x1b[2Jrubbish\n" + b"".join(lines[3:]))
    ran = cli("audit", "show", "--agent", "robot").ok()
    assert f"{journal.name}:3  UNREADABLE: " in ran.out and "\x1b" not in ran.out
    assert any(json.loads(line).get("unreadable") for line in cli("audit", "show", "--json").ok().out.splitlines())


# --- verify ----------------------------------------------------------------------------------------------------------


def test_a_whole_journal_is_exit_0(journal: Path) -> None:
    ran = cli("audit", "verify").ok()
    assert ran.out.startswith("whole: 1 files, 10 lines, ")
    report = cli("audit", "verify", "--json").ok().json
    assert (report["whole"], report["findings"], report["missed"]) == (True, [], None)


@pytest.mark.parametrize(
    ("edit", "line", "what"),
    [
        pytest.param(change(5), 5, "changed", id="a changed line"),
        pytest.param(remove(4), 4, "removed", id="a removed line"),
        pytest.param(cut(8), 8, "cut", id="a cut tail"),
    ],
)
def test_damage_is_exit_1_and_the_first_line_names_file_and_line(
    journal: Path, edit: object, line: int, what: str
) -> None:
    tamper(journal, edit)  # type: ignore[arg-type]
    ran = cli("audit", "verify")
    assert ran.code == Exit.REFUSED
    assert ran.out.splitlines()[0].startswith(f"{journal.name}:{line}: {what}: ")
    report = cli("audit", "verify", "--json")
    assert (report.code, report.json["whole"]) == (Exit.REFUSED, False)
    assert (report.json["findings"][0]["line"], report.json["findings"][0]["what"]) == (line, what)


def test_a_missing_file_is_damage(journal: Path) -> None:
    journal.unlink()
    ran = cli("audit", "verify")
    assert (ran.code, ran.out.splitlines()[0].startswith(f"{journal.name}: missing file")) == (Exit.REFUSED, True)


@pytest.mark.parametrize("gone", ["the key", "the journal", "every line"])
def test_what_cannot_be_told_is_exit_2(journal: Path, home: Path, gone: str) -> None:
    match gone:
        case "the key":
            (home / "state" / "node.key").unlink()
        case "the journal":
            (home / "state" / "journal").rename(home / "elsewhere")
        case _:
            journal.unlink()
            (home / "state" / "checkpoints.jsonl").unlink()
    ran = cli("audit", "verify")
    assert (ran.code, "it cannot be told" in ran.err, ran.out) == (Exit.CANNOT_TELL, True, "")
    ran = cli("audit", "verify", "--json")
    assert (ran.code, ran.json["whole"]) == (Exit.CANNOT_TELL, None)


def test_another_nodes_key_may_be_given(journal: Path, home: Path) -> None:
    (home / "state" / "node.key").rename(home / "other.pem")
    cli("keys", "new", home / "state" / "node.key").ok()
    assert cli("audit", "verify").code == Exit.REFUSED
    (home / "other.jwk").write_text(cli("keys", "show", home / "other.pem").ok().out)
    cli("audit", "verify", "--node-key", home / "other.jwk").ok()


def test_a_store_that_is_away_is_said_but_does_not_hide_the_files(journal: Path, home: Path) -> None:
    settings = home / "proxy.yaml"
    settings.write_text(settings.read_text() + "\nredis_url: unix:///nowhere/at/all\n")
    ran = cli("audit", "verify").ok()
    assert "checkpoints in the store were not looked at" in ran.err
