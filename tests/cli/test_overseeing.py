"""`holds history` and `reviewers`: tables and JSON from a real journal."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clirun import cli
from journals import Clock, Desk

from proxy.core.encoding import Json

FACTS: dict[str, Json] = {"agent": "robot", "sponsor": "ada", "code": "mandate.not_covered", "risk": "routine"}


async def write(home: Path) -> None:
    """Two holds of an hour ago: one released by ada after ten minutes, one denied by ben a second later."""
    clock = Clock(datetime.now(UTC) - timedelta(hours=1))
    desk = Desk(directory=home / "state" / "journal", clock=clock)
    journal = await desk.open()

    async def line(kind: str, **fields: Json) -> None:
        await journal.append(kind, FACTS | fields if kind != "outcome" else fields)

    for hold in ("h-1", "h-2"):
        url = f"https://erp.example/\x1b[2J/{hold}"
        await line("decision", hold_id=hold, decision_id=f"d-{hold}", verdict="hold", method="GET", url=url)
        await line("hold", hold_id=hold, event="file", state="held")
    clock.now += timedelta(minutes=10)
    await line("hold", hold_id="h-1", event="approve", state="approved", by="ada", reason="month-end")
    await line("decision", hold_id="h-1", decision_id="d-3", verdict="allow", method="GET", url="https://erp.example/")
    await line("outcome", decision_id="d-3", status=200)
    await line("hold", hold_id="h-1", event="sent", state="released", by="ada")
    clock.now += timedelta(seconds=1)
    await line("hold", hold_id="h-2", event="deny", state="denied", by="ben", reason="no")
    await journal.close()


@pytest.fixture
def told(home: Path) -> Path:
    asyncio.run(write(home))
    return home


def test_how_holds_ended_is_told_newest_last(told: Path) -> None:
    listed = cli("holds", "history", "--json").ok().json
    assert listed["whole"] is True
    first, second = listed["rulings"]
    assert (first["hold"], first["ending"], first["by"], first["sent"], first["status"], first["took_s"]) == (
        "h-1",
        "released",
        ["ada"],
        "sent",
        200,
        pytest.approx(600, abs=1),
    )
    assert (second["hold"], second["ending"], second["by"], second["reason"], second["sent"]) == (
        "h-2",
        "denied",
        ["ben"],
        "no",
        None,
    )
    shown = cli("holds", "history").ok().out
    assert "released" in shown and "10 min" in shown and "sent 200" in shown
    assert shown.replace("\n", "").isprintable() and "\\x1b[2J" in shown


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--reviewer", "ben"), ["h-2"]),
        (("--agent", "robot"), ["h-1", "h-2"]),
        (("--agent", "other"), []),
        (("--sponsor", "ada"), ["h-1", "h-2"]),
        (("--since", "15m"), []),
        (("--since", "2h"), ["h-1", "h-2"]),
        (("--until", "2h"), []),
        (("--last", "1"), ["h-2"]),
    ],
)
def test_it_is_filtered(told: Path, words: tuple[str, ...], found: list[str]) -> None:
    assert [each["hold"] for each in cli("holds", "history", *words, "--json").ok().json["rulings"]] == found


def test_how_people_decide_is_told_of_everybody(told: Path) -> None:
    people = {each["id"]: each for each in cli("reviewers", "--json").ok().json}
    assert people.keys() == {"ada", "ben"}
    ada = people["ada"]
    assert (ada["rulings"], ada["released"], ada["release_share"], ada["hasty_share"]) == (1, 1, 1.0, 0.0)
    assert ada["median_s"] == pytest.approx(600, abs=1) and ada["enrolled"]
    shown = cli("reviewers").ok().out
    assert "under 5 s" in shown and "1 (100%)" in shown
    (only,) = cli("reviewers", "--reviewer", "ben", "--json").ok().json
    assert (only["denied"], only["release_share"]) == (1, 0.0)


def test_where_nothing_was_decided_it_is_said_so(home: Path) -> None:
    (home / "state" / "journal").mkdir(parents=True, mode=0o700)
    assert cli("holds", "history").ok().err == "no held call has ended\n"
    assert [each["rulings"] for each in cli("reviewers", "--json").ok().json] == [0, 0]
