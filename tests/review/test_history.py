"""What was decided, by whom, how fast and with what outcome; and how it shows that somebody does not read."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import identities
import pytest
from identities import AGENT, DEPUTY, NOW, REVIEWER, SPONSOR
from journals import Desk

from proxy.audit.lines import Kind
from proxy.audit.show import Row, Unreadable
from proxy.core.clusters import compile_policy
from proxy.core.encoding import Json
from proxy.core.manifest import parse_manifest
from proxy.core.model import HoldState
from proxy.review.history import Asked, Ending, Ruling, Sent, paces, rulings
from proxy.review.joined import joined
from proxy.review.oversight import Oversight


def row(after_s: float, kind: str, hold: str | None, **fields: Json) -> Row:
    members: dict[str, Json] = {"hold_id": hold, **fields}

    def text(name: str) -> str | None:
        value = members.get(name)
        return value if isinstance(value, str) else None

    return Row(
        file="f",
        number=1,
        seq=1,
        at=at(after_s),
        kind=kind,
        fields={name: value for name, value in members.items() if value is not None},
        decision_id=text("decision_id"),
        hold_id=hold,
        agent=text("agent"),
        sponsor=text("sponsor"),
        manifest=None,
        verdict=text("verdict"),
        code=text("code"),
        host=None,
    )


def at(after_s: float) -> datetime:
    return NOW + timedelta(seconds=after_s)


def filed(hold: str, after_s: float = 0, *, agent: str = AGENT) -> list[Row]:
    """The two lines of a call that is held."""
    facts: Mapping[str, Json] = {"agent": agent, "sponsor": SPONSOR, "code": "mandate.not_covered", "risk": "routine"}
    asked = {"decision_id": f"d-{hold}", "verdict": "hold", "method": "GET", "url": f"https://erp.example/{hold}"}
    return [
        row(after_s, Kind.DECISION, hold, **asked, **facts),
        row(after_s, Kind.HOLD, hold, event="file", state="held", **facts),
    ]


def said(hold: str, event: str, after_s: float, by: str | None = None, **more: Json) -> Row:
    return row(after_s, Kind.HOLD, hold, event=event, by=by, agent=AGENT, sponsor=SPONSOR, **more)


def sent(
    hold: str, after_s: float, status: int, *, decision: str = "", url: str = "https://erp.example/x"
) -> list[Row]:
    """The decision that lets a released call pass, and its outcome."""
    decision = decision or f"d2-{hold}"
    return [
        row(after_s, Kind.DECISION, hold, decision_id=decision, verdict="allow", method="GET", url=url),
        row(after_s, Kind.OUTCOME, None, decision_id=decision, status=status),
    ]


def one(rows: Iterable[Row | Unreadable]) -> Ruling:
    (found,) = rulings(rows)
    return found


# --- rulings ---------------------------------------------------------------------------------------------------------


def test_a_released_call_is_told_from_its_filing_to_the_answer_upstream() -> None:
    found = one(
        [
            *filed("h"),
            said("h", "approve", 60, SPONSOR, reason="month-end"),
            said("h", "claim", 61),
            *sent("h", 61, 201),
            said("h", "sent", 62),
        ]
    )
    assert (found.ending, found.by, found.reason, found.took) == (
        Ending.RELEASED,
        (SPONSOR,),
        "month-end",
        timedelta(seconds=60),
    )
    assert (found.asked, found.sent, found.status) == ("GET https://erp.example/h", Sent.SENT, 201)
    assert (found.agent, found.sponsor, found.code, found.risk) == (AGENT, SPONSOR, "mandate.not_covered", "routine")


@pytest.mark.parametrize(
    ("lines", "ending", "became"),
    [
        pytest.param([("deny", SPONSOR)], Ending.DENIED, None, id="denied"),
        pytest.param([("cancel", SPONSOR)], Ending.CANCELLED, None, id="cancelled"),
        pytest.param([("expire", None)], Ending.EXPIRED, None, id="nobody decided"),
        pytest.param([("unverified", None)], Ending.UNVERIFIED, None, id="nobody signed"),
        pytest.param([("approve", SPONSOR)], Ending.RELEASED, Sent.WAITING, id="released, and not sent yet"),
        pytest.param([("approve", SPONSOR), ("expire", None)], Ending.RELEASED, Sent.NOT_SENT, id="not sent in time"),
        pytest.param(
            [("approve", SPONSOR), ("claim", None), ("lost", None)], Ending.RELEASED, Sent.UNCERTAIN, id="lost"
        ),
        pytest.param(
            [("approve", SPONSOR), ("claim", None), ("lost", None), ("arrived", SPONSOR)],
            Ending.RELEASED,
            Sent.ARRIVED,
            id="lost, and found",
        ),
        pytest.param(
            [("approve", SPONSOR), ("lost", None), ("closed", SPONSOR)],
            Ending.RELEASED,
            Sent.NOT_ARRIVED,
            id="lost, and not found",
        ),
        pytest.param(
            [("approve", SPONSOR), ("claim", None), ("unsent", None), ("approve", SPONSOR)],
            Ending.RELEASED,
            Sent.WAITING,
            id="not sent at the first try",
        ),
        pytest.param(
            [("unverified", None), ("deny", SPONSOR)], Ending.DENIED, None, id="first nobody's, then somebody's"
        ),
    ],
)
def test_every_end_has_its_name(lines: list[tuple[str, str | None]], ending: Ending, became: Sent | None) -> None:
    events = [said("h", event, 10 + number, by) for number, (event, by) in enumerate(lines)]
    found = one([*filed("h"), *events])
    assert (found.ending, found.sent) == (ending, became)


def test_a_release_that_counted_no_more_is_told_until_somebody_decides_anew() -> None:
    """Another node may write the same down later."""
    lines = [*filed("h"), said("h", "approve", 10, SPONSOR, version=2)]
    lapse = said("h", "lapse", 20, SPONSOR, version=3, reason="a rule denies it")
    ruling = one([*lines, lapse, lapse])
    assert (ruling.ending, ruling.by, ruling.reason, ruling.sent) == (
        Ending.LAPSED,
        (SPONSOR,),
        "a rule denies it",
        None,
    )
    denied = one([*lines, lapse, said("h", "deny", 30, SPONSOR, version=4), lapse])
    assert (denied.ending, [(each.by, each.released) for each in denied.said]) == (
        Ending.DENIED,
        [(SPONSOR, True), (SPONSOR, False)],
    )
    assert one([*lines, lapse, said("h", "approve", 30, SPONSOR, version=4), lapse]).ending is Ending.RELEASED


def test_a_hold_that_still_waits_is_no_ruling() -> None:
    assert rulings([*filed("h"), said("h", "comment", 1, SPONSOR), said("h", "sign", 2, SPONSOR)]) == ()


def test_what_several_nodes_wrote_down_counts_once() -> None:
    found = one([*filed("h"), said("h", "approve", 1, SPONSOR), said("h", "approve", 2, SPONSOR)])
    assert ([each.by for each in found.said], found.ended_at) == ([SPONSOR], at(1))


def test_of_a_quorum_everybody_is_named_the_last_one_decided() -> None:
    found = one([*filed("h"), said("h", "sign", 1, SPONSOR), said("h", "approve", 9, DEPUTY)])
    assert found.by == (SPONSOR, DEPUTY)


def test_a_lifted_denial_and_a_grant_are_told_and_a_call_under_the_grant_is_another() -> None:
    denied = one([*filed("h"), said("h", "deny", 1, SPONSOR), said("h", "lift", 2, DEPUTY)])
    assert (denied.ending, denied.lifted_by) == (Ending.DENIED, DEPUTY)
    granted = one(
        [
            *filed("h"),
            said("h", "approve", 1, SPONSOR),
            said("h", "grant", 1, SPONSOR, grant="g-1"),
            *sent("h", 2, 200),
            *sent("h", 3, 500, decision="d3", url="https://erp.example/other"),
        ]
    )
    assert (granted.grant, granted.status, granted.asked) == ("g-1", 200, "GET https://erp.example/h")


def test_what_is_older_than_what_was_read_is_not_known() -> None:
    found = one([said("h", "deny", 1, SPONSOR), Unreadable(file="f", number=1, at=None, torn=True, detail="torn")])
    assert (found.filed_at, found.took, found.asked, found.agent) == (None, None, None, AGENT)


def test_no_more_holds_are_kept_than_that_and_the_newest_are() -> None:
    rows = [line for n in range(9) for line in (*filed(f"h{n}", n), said(f"h{n}", "deny", n + 0.5, SPONSOR))]
    assert [each.hold_id for each in rulings(rows, most=3)] == ["h6", "h7", "h8"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        pytest.param(Asked(), ["a", "b"], id="everything"),
        pytest.param(Asked(reviewer=DEPUTY), ["b"], id="a reviewer's"),
        pytest.param(Asked(agent="other"), ["b"], id="an agent's"),
        pytest.param(Asked(sponsor="nobody"), [], id="a sponsor's"),
        pytest.param(Asked(since=at(10)), ["b"], id="from a moment on"),
        pytest.param(Asked(until=at(10)), ["a"], id="before a moment"),
    ],
)
def test_rulings_are_filtered(asked: Asked, found: list[str]) -> None:
    rows = [
        *filed("a"),
        said("a", "deny", 5, SPONSOR),
        *filed("b", agent="other"),
        replace(said("b", "sign", 9, DEPUTY), agent="other"),
        said("b", "approve", 10, SPONSOR),
    ]
    assert [each.hold_id for each in rulings(rows) if asked.matches(each)] == found


# --- people ----------------------------------------------------------------------------------------------------------


def test_rubber_stamping_shows_though_every_call_has_waited_long() -> None:
    rows: list[Row] = []
    for number in range(10):
        rows += filed(f"h{number}", number)
    rows += [said(f"h{number}", "approve", 3600 + number, SPONSOR) for number in range(10)]
    stamping, idle = paces(rulings(rows), [SPONSOR, DEPUTY])
    assert (stamping.person, stamping.rulings, stamping.release_share) == (SPONSOR, 10, 1.0)
    assert (stamping.hasty, stamping.hasty_share) == (9, 0.9)  # for the first there was an hour
    assert stamping.median == timedelta(seconds=3600)
    assert (idle.rulings, idle.release_share, idle.hasty_share, idle.median, idle.last) == (0, None, None, None, None)


def test_who_reads_is_not_hasty() -> None:
    rows = [*filed("a", 0), *filed("b", 1), said("a", "deny", 40, SPONSOR), said("b", "approve", 90, SPONSOR)]
    (pace,) = paces(rulings(rows), [])
    assert (pace.hasty, pace.released, pace.denied, pace.median, pace.last) == (
        0,
        1,
        1,
        timedelta(seconds=64.5),
        at(90),
    )


def test_who_decides_at_once_is_hasty() -> None:
    (pace,) = paces(rulings([*filed("a"), said("a", "approve", 4.9, SPONSOR)]), [])
    assert pace.hasty == 1
    (pace,) = paces(rulings([*filed("a"), said("a", "approve", 5, SPONSOR)]), [])
    assert pace.hasty == 0


# --- the service -----------------------------------------------------------------------------------------------------


async def test_the_service_reads_a_real_journal_the_people_and_the_manifests(tmp_path: Path) -> None:
    desk = Desk(directory=tmp_path / "journal")
    journal = await desk.open()
    for line in [*filed("h"), said("h", "approve", 60, SPONSOR), *sent("h", 61, 200), *filed("i")]:
        await journal.append(line.kind, dict(line.fields))
    await journal.append("hold", {"hold_id": "i", "event": "deny", "by": "gone", "agent": AGENT, "sponsor": SPONSOR})
    await journal.close()
    world = identities.world()
    root = parse_manifest(world.tokens[0])
    policy = compile_policy(world.bundle)
    oversight = Oversight(journal=desk.directory, policy=lambda: policy, manifests=lambda: (root,))

    found = await oversight.history(Asked())
    assert ([each.hold_id for each in found.rulings], found.whole) == (["h", "i"], True)
    people = {each.id: each for each in await oversight.reviewers(Asked())}
    assert people.keys() == {SPONSOR, DEPUTY, REVIEWER, "gone"}
    assert people["gone"].person is None and people[SPONSOR].person is not None
    (mine,) = await oversight.reviewers(Asked(reviewer=SPONSOR))
    assert (mine.pace.rulings, mine.pace.released) == (1, 1)
    agents = {each.agent.id: each for each in await oversight.agents(Asked())}
    assert (agents[AGENT].manifest, agents[AGENT].released, agents[AGENT].denied) == (root, 1, 1)
    assert [each.manifest for each in agents.values() if each.agent.id != AGENT] == [None]
    assert [each.agent.id for each in await oversight.agents(Asked(agent=AGENT, sponsor=SPONSOR))] == [AGENT]

    small = Oversight(journal=desk.directory, policy=lambda: policy, manifests=lambda: (root,), most_bytes=600)
    assert not (await small.history(Asked())).whole


def test_a_lapsed_release_that_the_store_knows_to_be_decided_anew_is_told_so() -> None:
    """Another machine wrote down what came after it."""
    hold = replace(identities.hold(state=HoldState.DENIED), decided_by=SPONSOR, decided_at=at(30))
    told = one([*filed(hold.id), said(hold.id, "lapse", 20, SPONSOR, version=3)])
    assert [each.ending for each in joined([told], [hold], now=at(40))] == [Ending.DENIED]
    held = replace(hold, state=HoldState.HELD)
    assert [each.ending for each in joined([told], [held], now=at(40))] == [Ending.LAPSED]
