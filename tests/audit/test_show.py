"""Reading the journal: what is asked for, in order, and nothing unreadable passed over."""

from datetime import timedelta
from pathlib import Path

import pytest
from identities import NOW
from journals import Desk, crash

from proxy.audit.show import Row, Unreadable, Wanted, show_journal
from proxy.core.errors import Code, Unavailable

DECISIONS = [
    {
        "decision_id": "d-1",
        "agent": "a",
        "sponsor": "ada",
        "verdict": "allow",
        "code": "allowed",
        "host": "erp.example",
        "manifest": "m-1",
    },
    {
        "decision_id": "d-2",
        "agent": "b",
        "sponsor": "ada",
        "verdict": "deny",
        "code": "guard.self",
        "host": "hr.example",
        "manifest": "m-2",
    },
    {
        "decision_id": "d-3",
        "agent": "a",
        "sponsor": "ben",
        "verdict": "hold",
        "code": "mandate.not_covered",
        "host": "hr.example",
        "manifest": "m-1",
        "hold_id": "h-1",
    },
]


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    """Two workers take turns; outcomes and a hold's release come later; a second chain follows."""
    desk = Desk(directory=tmp_path / "journal")
    journals = [await desk.open(), await desk.open(worker=1)]
    for number, decision in enumerate(DECISIONS):
        await journals[number % 2].append("decision", decision)
    await journals[0].append("outcome", {"decision_id": "d-1", "status": 200})
    await journals[1].append("hold", {"hold_id": "h-1", "event": "approve", "agent": "a", "by": "ada"})
    await journals[0].close()
    await (await desk.open()).append("policy", {"bundle_version": 2})
    await journals[1].close()
    return desk


def shown(desk: Desk, wanted: Wanted) -> list[str]:
    rows = [row for row in show_journal(desk.directory, wanted) if isinstance(row, Row)]
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    return [f"{row.kind} {row.decision_id or row.hold_id or ''}".strip() for row in rows]


async def test_everything_comes_in_the_order_it_was_written(desk: Desk) -> None:
    assert shown(desk, Wanted()) == [
        "start",
        "start",
        "decision d-1",
        "decision d-2",
        "decision d-3",
        "outcome d-1",
        "hold h-1",
        "stop",
        "start",
        "policy",
        "stop",
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(Wanted(agent="a"), ["decision d-1", "decision d-3", "outcome d-1", "hold h-1"], id="by agent"),
        pytest.param(Wanted(agent="nobody"), [], id="by an agent who did nothing"),
        pytest.param(Wanted(sponsor="ben"), ["decision d-3"], id="by sponsor"),
        pytest.param(Wanted(verdict="deny"), ["decision d-2"], id="by verdict"),
        pytest.param(Wanted(code="allowed"), ["decision d-1", "outcome d-1"], id="by code, with the outcome"),
        pytest.param(Wanted(hold_id="h-1"), ["decision d-3", "hold h-1"], id="by hold"),
        pytest.param(Wanted(decision_id="d-1"), ["decision d-1", "outcome d-1"], id="by decision"),
        pytest.param(Wanted(manifest="m-2"), ["decision d-2"], id="by manifest"),
        pytest.param(Wanted(host="hr.example"), ["decision d-2", "decision d-3"], id="by host"),
        pytest.param(Wanted(host="hr.example", agent="a"), ["decision d-3"], id="by host and agent"),
        pytest.param(
            Wanted(kind="decision", agent="a"), ["decision d-1", "decision d-3"], id="by kind, without outcomes"
        ),
    ],
)
async def test_filters_narrow(desk: Desk, wanted: Wanted, expected: list[str]) -> None:
    assert shown(desk, wanted) == expected


async def test_since_is_included_and_until_is_not(desk: Desk) -> None:
    rows = [row for row in show_journal(desk.directory, Wanted()) if isinstance(row, Row)]
    third, sixth = rows[2].at, rows[5].at
    assert shown(desk, Wanted(since=third, until=sixth)) == ["decision d-1", "decision d-2", "decision d-3"]


async def test_a_row_has_every_field_and_its_place(desk: Desk) -> None:
    (row,) = show_journal(desk.directory, Wanted(verdict="deny"))
    assert isinstance(row, Row)
    assert (row.number, row.seq, row.kind, row.agent, row.host) == (2, 2, "decision", "b", "hr.example")
    assert dict(row.fields) == DECISIONS[1]
    assert NOW < row.at < NOW + timedelta(seconds=1)


async def test_a_torn_last_line_is_reported_and_stops_nothing(desk: Desk) -> None:
    journal = await desk.open(worker=2)
    await journal.append("decision", {"decision_id": "d-9"})
    await crash(journal)
    with desk.path(journal).open("ab") as file:
        file.write(b'{"seq":3,"prev":')
    await (await desk.open(worker=3)).close()
    entries = list(show_journal(desk.directory, Wanted()))
    (torn,) = [entry for entry in entries if isinstance(entry, Unreadable)]
    assert (torn.file, torn.number, torn.torn, torn.at is not None) == (journal.file, 3, True, True)
    assert isinstance(entries[-1], Row)
    assert list(show_journal(desk.directory, Wanted(agent="nobody"))) == [torn]


async def test_a_damaged_line_comes_out_in_its_place(desk: Desk) -> None:
    path = next(desk.directory.glob("edge-1-1-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'{"seq":2,', b'{"seq":2;'))
    entries = list(show_journal(desk.directory, Wanted()))
    (damaged,) = [entry for entry in entries if isinstance(entry, Unreadable)]
    assert (damaged.file, damaged.number, damaged.torn) == (path.name, 2, False)
    assert len(entries) == 11


def test_a_journal_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        list(show_journal(tmp_path / "gone", Wanted()))
    assert caught.value.code is Code.JOURNAL_DOWN
