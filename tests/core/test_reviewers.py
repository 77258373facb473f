"""Who may decide a hold, from when on, and who is told (DESIGN: holding)."""

from dataclasses import replace
from datetime import datetime, timedelta

import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import DEPUTY, NOW, REVIEWER, SPONSOR, person

from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Hold
from proxy.core.reviewers import check_permitted, check_turn, most_people, on_ladder, rungs, told_of

SECOND = "dora"
HOUR = timedelta(hours=1)


def house(*, lapsed: tuple[str, ...] = (), deputies: dict[str, str | None] | None = None) -> Bundle:
    """Ada, her deputy Ben, and his deputy Dora; Cleo stands beside."""
    line = {SPONSOR: DEPUTY, DEPUTY: SECOND, SECOND: None, REVIEWER: None} if deputies is None else deputies
    until = {name: NOW - HOUR if name in lapsed else NOW + timedelta(days=9) for name in line}
    return identities.bundle(people=[person(name, deputy=line[name], certified_until=until[name]) for name in line])


def held(*who: str, quorum: int = 1, sponsor: str = SPONSOR) -> Hold:
    return replace(identities.hold(who=who, ttl_s=3 * 3600, sponsor=sponsor), quorum=quorum)


def ladder(hold: Hold, bundle: Bundle | None = None) -> list[tuple[int, tuple[str, ...]]]:
    """Hours after the filing, and who comes then."""
    return [(int((rung.since - NOW) / HOUR), rung.people) for rung in rungs(hold, bundle or house(), at=NOW)]


@pytest.mark.parametrize(
    ("hold", "bundle", "expected"),
    [
        pytest.param(
            held("sponsor", "deputy"),
            house(),
            [(0, (SPONSOR,)), (1, (DEPUTY,)), (2, (SECOND,))],
            id="one after another",
        ),
        pytest.param(held("sponsor"), house(), [(0, (SPONSOR,))], id="the sponsor alone"),
        pytest.param(held("deputy"), house(), [(0, (DEPUTY,)), (1, (SECOND,))], id="no sponsor to wait for"),
        pytest.param(
            held("sponsor", "deputy", REVIEWER),
            house(),
            [(0, (SPONSOR, REVIEWER)), (1, (DEPUTY,)), (2, (SECOND,))],
            id="who is named comes at once",
        ),
        pytest.param(
            held("sponsor", "deputy", DEPUTY),
            house(),
            [(0, (SPONSOR, DEPUTY)), (1, (SECOND,))],
            id="a deputy who is named does not wait",
        ),
        pytest.param(
            held("sponsor", "deputy"),
            house(lapsed=(SPONSOR,)),
            [(0, (SPONSOR, DEPUTY)), (1, (SECOND,))],
            id="for a lapsed sponsor the deputy comes forward",
        ),
        pytest.param(
            held("sponsor", "deputy"),
            house(lapsed=(SPONSOR, DEPUTY)),
            [(0, (SPONSOR, DEPUTY, SECOND))],
            id="and for a lapsed deputy the next",
        ),
        pytest.param(
            held("sponsor", "deputy", quorum=2),
            house(),
            [(0, (SPONSOR, DEPUTY)), (1, (SECOND,))],
            id="as many as must release it come at once",
        ),
        pytest.param(held("sponsor", "deputy", sponsor="gone"), house(), [(0, ())], id="a sponsor who left"),
        pytest.param(
            held("sponsor", "deputy"),
            house(deputies={SPONSOR: DEPUTY, DEPUTY: SPONSOR}),
            [(0, (SPONSOR,)), (1, (DEPUTY,))],
            id="each other's deputies",
        ),
        pytest.param(
            held("sponsor", "deputy"), house(deputies={SPONSOR: "gone"}), [(0, (SPONSOR,))], id="a deputy who left"
        ),
        pytest.param(held(), house(), [(0, ())], id="nobody"),
    ],
)
def test_the_sponsor_comes_first_then_deputies(
    hold: Hold, bundle: Bundle, expected: list[tuple[int, tuple[str, ...]]]
) -> None:
    assert ladder(hold, bundle) == expected
    assert on_ladder(hold, bundle, at=NOW) == tuple(name for _, people in expected for name in people)


def test_an_extension_does_not_move_whose_turn_it_is() -> None:
    hold = held("sponsor", "deputy")
    longer = replace(hold, expires_at=hold.expires_at + timedelta(days=1), first_end=hold.expires_at)
    assert ladder(longer) == ladder(hold)


@pytest.mark.parametrize(
    ("after_h", "escalated", "expected"),
    [
        pytest.param(0, False, (SPONSOR,), id="at the filing the sponsor"),
        pytest.param(1, False, (SPONSOR, DEPUTY), id="after a third the deputy, too"),
        pytest.param(2, False, (SPONSOR, DEPUTY, SECOND), id="after two thirds that one's deputy, too"),
        pytest.param(0, True, (SPONSOR, DEPUTY, SECOND), id="everybody once it is escalated"),
        pytest.param(-1, False, (SPONSOR,), id="the sponsor, whatever the clocks say"),
    ],
)
def test_who_is_told(after_h: int, escalated: bool, expected: tuple[str, ...]) -> None:
    at = NOW + after_h * HOUR
    assert told_of(held("sponsor", "deputy"), house(), at=at, escalated=escalated) == expected


@pytest.mark.parametrize(
    ("by", "turn"), [pytest.param(DEPUTY, HOUR, id="the deputy"), pytest.param(SECOND, 2 * HOUR, id="and that one's")]
)
def test_a_deputy_waits_for_their_turn_and_hears_when_it_is(by: str, turn: timedelta) -> None:
    hold, bundle = held("sponsor", "deputy"), house()
    with pytest.raises(Rejected, match=f"{by} may decide hold h-1 from {NOW + turn:%Y-%m-%dT%H:%M:%SZ} on") as refused:
        check_turn(bundle.people[by], hold, bundle, at=NOW + turn - timedelta(seconds=1))
    assert refused.value.code is Code.HOLD_NOT_PERMITTED
    check_turn(bundle.people[by], hold, bundle, at=NOW + turn)
    check_permitted(bundle.people[by], hold, bundle, at=NOW)


def test_the_sponsor_never_waits() -> None:
    hold, bundle = held("sponsor", "deputy"), house()
    check_turn(bundle.people[SPONSOR], hold, bundle, at=NOW - HOUR)


@pytest.mark.parametrize(
    ("who", "most"),
    [
        pytest.param((), 0, id="nobody"),
        pytest.param(("sponsor",), 1, id="the sponsor"),
        pytest.param(("sponsor", "deputy"), 3, id="the sponsor and two deputies"),
        pytest.param(("sponsor", "sponsor", REVIEWER), 2, id="each counts once"),
    ],
)
def test_how_many_can_be_meant_at_the_most(who: tuple[str, ...], most: int) -> None:
    assert most_people(who) == most


@given(
    who=st.lists(st.sampled_from(["sponsor", "deputy", REVIEWER, DEPUTY, "gone"]), max_size=4),
    quorum=st.integers(1, 4),
    lapsed=st.sets(st.sampled_from([SPONSOR, DEPUTY, SECOND, REVIEWER])),
    after=st.timedeltas(timedelta(0), timedelta(days=1)),
)
def test_nobody_stands_twice_on_the_ladder_and_time_only_adds_people(
    who: list[str], quorum: int, lapsed: set[str], after: timedelta
) -> None:
    hold, bundle = held(*who, quorum=quorum), house(lapsed=tuple(lapsed))
    people = on_ladder(hold, bundle, at=NOW)
    assert len(set(people)) == len(people) <= most_people(who)

    def told(at: datetime) -> set[str]:
        return set(told_of(hold, bundle, at=at, escalated=False))

    assert told(NOW) <= told(NOW + after) <= set(people)
