"""The contract of `ports.Holds`, kept by memory and by Redis alike."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from held import LONG_AGO, ROOMY, draft

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import OPEN, TERMINAL, Event, after
from proxy.core.model import Hold, HoldState, Said
from proxy.ports import HoldCaps

STEPS = {
    HoldState.HELD: [],
    HoldState.APPROVED: [Event.APPROVE],
    HoldState.RELEASING: [Event.APPROVE, Event.CLAIM],
    HoldState.RELEASED: [Event.APPROVE, Event.CLAIM, Event.SENT],
    HoldState.UNCERTAIN: [Event.APPROVE, Event.CLAIM, Event.LOST],
    HoldState.DENIED: [Event.DENY],
    HoldState.CANCELLED: [Event.CANCEL],
}


async def filed(holds, *, ttl_s=600, caps=ROOMY, **about) -> Hold:
    outcome = await holds.file(draft(**about), b"sealed bytes", ttl_s=ttl_s, caps=caps)
    assert outcome.created
    return outcome.hold


async def brought_to(holds, state: HoldState, **about) -> Hold:
    if state is HoldState.EXPIRED:
        hold = await filed(holds, ttl_s=0, **about)
        await holds.sweep()
    else:
        hold = await filed(holds, **about)
        for event in STEPS[state]:
            moved = await holds.apply(hold.id, event, fence=hold.fence)
            assert moved.applied
            hold = moved.hold
    found = await holds.get(hold.id)
    assert found is not None
    assert found.state is state
    return found


# --- filing ----------------------------------------------------------------------------------------------------------


async def test_a_filed_hold_reads_back_as_it_was_with_the_stores_own_times(holds):
    wanted = replace(draft(), state=HoldState.APPROVED, version=9, fence=9, who=("sponsor", "cleo"), task='T "1" é')

    outcome = await holds.file(wanted, b"\x00sealed\xff", ttl_s=600, caps=ROOMY)

    hold = outcome.hold
    assert outcome.created
    times = {"filed_at": hold.filed_at, "expires_at": hold.expires_at}
    assert hold == replace(wanted, state=HoldState.HELD, version=1, fence=0, **times)
    assert hold.expires_at - hold.filed_at == timedelta(seconds=600)
    assert abs(hold.filed_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert await holds.get(hold.id) == hold
    assert await holds.sealed(hold.id) == b"\x00sealed\xff"


async def test_a_hold_nobody_filed_is_absent_and_cannot_be_moved(holds):
    assert await holds.get("nothing") is None
    assert await holds.sealed("nothing") is None
    assert await holds.find("root", "digest") is None
    with pytest.raises(Rejected, match="no hold nothing") as caught:
        await holds.apply("nothing", Event.APPROVE)
    assert caught.value.code is Code.HOLD_UNKNOWN


@pytest.mark.parametrize("state", sorted(OPEN))
async def test_while_a_hold_is_open_an_equal_call_gets_the_same_one(holds, state):
    hold = await brought_to(holds, state, call="same")

    again = await holds.file(draft(call="same"), b"other bytes", ttl_s=600, caps=ROOMY)

    assert not again.created
    assert again.hold == hold
    assert await holds.find(hold.root_id, hold.call_digest) == hold
    assert await holds.sealed(hold.id) == b"sealed bytes"


@pytest.mark.parametrize("state", [HoldState.RELEASED, HoldState.EXPIRED, HoldState.CANCELLED])
async def test_once_a_hold_is_over_an_equal_call_is_held_anew(holds, state):
    over = await brought_to(holds, state, call="same")

    assert await holds.find(over.root_id, over.call_digest) is None
    again = await holds.file(draft(call="same"), b"", ttl_s=600, caps=ROOMY)

    assert again.created
    assert again.hold.id != over.id
    assert await holds.find(over.root_id, over.call_digest) == again.hold
    assert await holds.get(over.id) == over


@pytest.mark.parametrize(
    ("sticky_until", "sticks"),
    [
        pytest.param(None, True, id="a day when nothing else is said"),
        pytest.param(datetime.now(UTC) + timedelta(hours=1), True, id="as long as it is told"),
        pytest.param(LONG_AGO, False, id="no longer than it is told"),
    ],
)
async def test_a_denial_answers_equal_calls(holds, sticky_until, sticks):
    hold = await filed(holds, call="same")
    denied = await holds.apply(hold.id, Event.DENY, by="ada", reason="no", sticky_until=sticky_until)

    again = await holds.file(draft(call="same"), b"", ttl_s=600, caps=ROOMY)

    assert denied.applied
    assert again.created is not sticks
    assert again.hold.state is (HoldState.DENIED if sticks else HoldState.HELD)
    assert await holds.find(hold.root_id, hold.call_digest) == again.hold


@pytest.mark.parametrize(
    "about", [{"call": "another"}, {"root": "another"}], ids=["another call", "the same call of another root"]
)
async def test_another_call_gets_its_own_hold(holds, about):
    hold = await filed(holds, call="same")
    other = await filed(holds, **{"call": "same", **about})
    assert other.id != hold.id


async def test_of_many_equal_calls_at_once_exactly_one_is_filed(holds):
    outcomes = await asyncio.gather(
        *(holds.file(draft(call="same"), b"", ttl_s=600, caps=ROOMY) for _ in range(20)),
    )
    assert Counter(outcome.created for outcome in outcomes) == {True: 1, False: 19}
    assert len({outcome.hold.id for outcome in outcomes}) == 1


async def test_an_id_is_not_given_twice(holds):
    hold = await filed(holds)
    with pytest.raises(Rejected, match="already held") as caught:
        await holds.file(replace(draft(), id=hold.id), b"other", ttl_s=600, caps=ROOMY)
    assert caught.value.code is Code.HOLD_TAMPERED
    assert await holds.sealed(hold.id) == b"sealed bytes"


# --- caps ------------------------------------------------------------------------------------------------------------

CAPS = HoldCaps(open_per_root=2, open_per_sponsor=3, per_hour_per_root=4, bytes_per_root=100)


async def test_open_holds_of_one_root_are_capped_and_another_root_is_not_affected(holds):
    first = await filed(holds, caps=CAPS)
    await filed(holds, caps=CAPS)
    with pytest.raises(Rejected, match="open_per_root is 2") as caught:
        await filed(holds, caps=CAPS)
    assert (caught.value.code, caught.value.field) == (Code.HOLD_CAP, "open_per_root")
    assert len(await holds.listing()) == 2

    await filed(holds, caps=CAPS, root="another")
    await holds.apply(first.id, Event.CANCEL)
    await filed(holds, caps=CAPS)


async def test_open_holds_of_one_sponsor_are_capped_across_roots(holds):
    for root in ("one", "two", "three"):
        await filed(holds, caps=CAPS, root=root)
    with pytest.raises(Rejected, match="open_per_sponsor is 3"):
        await filed(holds, caps=CAPS, root="four")
    await filed(holds, caps=CAPS, root="four", sponsor="ben")


async def test_filings_of_one_root_within_an_hour_are_capped_even_when_they_are_over(holds):
    for _ in range(4):
        await holds.apply((await filed(holds, caps=CAPS)).id, Event.CANCEL)
    with pytest.raises(Rejected, match="per_hour_per_root is 4"):
        await filed(holds, caps=CAPS)
    await filed(holds, caps=CAPS, root="another")


async def test_bytes_held_for_one_root_are_capped(holds):
    first = await filed(holds, caps=CAPS, body_bytes=60)
    with pytest.raises(Rejected, match="bytes_per_root is 100"):
        await filed(holds, caps=CAPS, body_bytes=41)
    await filed(holds, caps=CAPS, body_bytes=40)
    await holds.apply(first.id, Event.CANCEL)
    await filed(holds, caps=CAPS, body_bytes=60)


async def test_a_body_that_was_not_kept_takes_no_room(holds):
    large = await holds.file(replace(draft(body_bytes=5000), stored=False), b"", ttl_s=600, caps=CAPS)
    assert (large.hold.stored, large.hold.body_bytes, large.hold.stored_bytes) == (False, 5000, 0)
    assert await holds.get(large.hold.id) == large.hold
    with pytest.raises(Rejected, match="bytes_per_root is 100"):
        await filed(holds, caps=CAPS, body_bytes=101)
    assert (await filed(holds, caps=CAPS, body_bytes=100)).stored


async def test_an_equal_call_is_answered_at_the_cap(holds):
    hold = await filed(holds, caps=CAPS, call="same")
    await filed(holds, caps=CAPS)
    again = await holds.file(draft(call="same"), b"", ttl_s=600, caps=CAPS)
    assert again.hold == hold


async def test_an_overdue_hold_leaves_room_without_a_sweep(holds, shelf):
    overdue = await filed(holds, caps=CAPS)
    await filed(holds, caps=CAPS, ttl_s=86_400)
    await shelf.overdue(overdue)
    await filed(holds, caps=CAPS)


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(HoldState))
async def test_every_event_does_what_the_core_says_and_nothing_else(holds, state):
    for event in sorted(set(Event) - {Event.EXPIRE}):
        hold = await brought_to(holds, state)
        moved = await holds.apply(hold.id, event, fence=hold.fence)

        expected = after(state, event)
        assert moved.applied is (expected is not None), event
        if expected is None:
            assert moved.hold == hold, event
        else:
            assert (moved.hold.state, moved.hold.version) == (expected, hold.version + 1), event
        assert await holds.get(hold.id) == moved.hold
        assert (await holds.sealed(hold.id) is None) is (moved.hold.state in TERMINAL), event


async def test_a_decision_is_recorded_with_who_when_and_why(holds):
    hold = await filed(holds)
    moved = await holds.apply(hold.id, Event.APPROVE, statement="a.b.c", by="ada", reason="fine, once")

    assert moved.hold == replace(
        hold,
        state=HoldState.APPROVED,
        version=2,
        statement="a.b.c",
        decided_by="ada",
        decided_at=moved.hold.decided_at,
        reason="fine, once",
    )
    assert moved.hold.decided_at is not None
    assert moved.hold.decided_at >= hold.filed_at
    claimed = await holds.apply(hold.id, Event.CLAIM)
    assert replace(claimed.hold, state=HoldState.APPROVED, version=2, fence=0) == moved.hold


async def test_of_many_claims_at_once_exactly_one_succeeds(holds):
    hold = await brought_to(holds, HoldState.APPROVED)
    claims = await asyncio.gather(*(holds.apply(hold.id, Event.CLAIM) for _ in range(20)))
    assert sum(claim.applied for claim in claims) == 1
    assert {claim.hold.fence for claim in claims} == {1}


async def test_of_an_approval_and_a_denial_at_once_exactly_one_succeeds(holds):
    hold = await filed(holds)
    moves = await asyncio.gather(holds.apply(hold.id, Event.APPROVE), holds.apply(hold.id, Event.DENY))
    assert sum(move.applied for move in moves) == 1
    (won,) = [move.hold for move in moves if move.applied]
    assert await holds.get(hold.id) == won


@pytest.mark.parametrize("event", [Event.SENT, Event.UNSENT, Event.LOST])
async def test_only_the_holder_of_the_claim_may_report_what_became_of_it(holds, event):
    hold = await brought_to(holds, HoldState.APPROVED)
    first = (await holds.apply(hold.id, Event.CLAIM)).hold
    await holds.apply(hold.id, Event.UNSENT, fence=first.fence)
    second = (await holds.apply(hold.id, Event.CLAIM)).hold
    assert (first.fence, second.fence) == (1, 2)

    assert not (await holds.apply(hold.id, event)).applied
    assert not (await holds.apply(hold.id, event, fence=first.fence)).applied
    assert not (await holds.apply(hold.id, event, fence=second.fence + 1)).applied
    assert (await holds.apply(hold.id, event, fence=second.fence)).applied


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [HoldState.HELD, HoldState.APPROVED])
async def test_an_overdue_hold_has_expired_for_whoever_looks(holds, shelf, state):
    hold = await brought_to(holds, state)
    await shelf.overdue(hold)

    assert await holds.find(hold.root_id, hold.call_digest) is None
    found = await holds.get(hold.id)
    assert found is not None
    assert (found.state, found.version) == (HoldState.EXPIRED, hold.version + 1)
    assert await holds.sealed(hold.id) is None
    assert await holds.listing() == ()


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (HoldState.HELD, Event.APPROVE),
        (HoldState.HELD, Event.DENY),
        (HoldState.HELD, Event.CANCEL),
        (HoldState.APPROVED, Event.CLAIM),
    ],
    ids=str,
)
async def test_an_overdue_hold_cannot_be_moved_any_more(holds, shelf, state, event):
    hold = await brought_to(holds, state)
    await shelf.overdue(hold)
    moved = await holds.apply(hold.id, event, by="ada")
    assert not moved.applied
    assert moved.hold.state is HoldState.EXPIRED
    assert moved.hold.decided_by is None


async def test_a_hold_expires_when_its_deadline_has_passed_and_not_on_anyones_word(holds, shelf):
    hold = await filed(holds)
    early = await holds.apply(hold.id, Event.EXPIRE)
    assert not early.applied
    assert early.hold == hold

    await shelf.overdue(hold)
    late = await holds.apply(hold.id, Event.EXPIRE)
    assert late.applied
    assert late.hold.state is HoldState.EXPIRED
    assert not (await holds.apply(hold.id, Event.EXPIRE)).applied


async def test_a_claimed_hold_does_not_expire_under_its_claimant(holds, shelf):
    hold = await brought_to(holds, HoldState.RELEASING)
    await shelf.overdue(hold)
    assert (await holds.sweep()).ended == ()
    assert (await holds.apply(hold.id, Event.SENT, fence=hold.fence)).hold.state is HoldState.RELEASED


async def test_a_hold_given_back_after_its_deadline_expires(holds, shelf):
    hold = await brought_to(holds, HoldState.RELEASING)
    await shelf.overdue(hold)
    assert (await holds.apply(hold.id, Event.UNSENT, fence=hold.fence)).hold.state is HoldState.APPROVED
    assert [swept.id for swept in (await holds.sweep()).ended] == [hold.id]


async def test_a_sweep_returns_each_expired_hold_once_whoever_noticed_it(holds):
    unseen, seen, _ = [await filed(holds, ttl_s=0), await filed(holds, ttl_s=0), await filed(holds)]
    looked_at = await holds.get(seen.id)

    sweeps = await asyncio.gather(*(holds.sweep() for _ in range(5)))

    swept = [hold for sweep in sweeps for hold in sweep.ended]
    assert sorted(hold.id for hold in swept) == sorted([unseen.id, seen.id])
    assert {hold.state for hold in swept} == {HoldState.EXPIRED}
    assert looked_at in swept
    assert (await holds.sweep()).ended == ()


async def test_the_record_of_a_hold_that_is_over_is_forgotten_in_the_end(shelf):
    kept, forgetful = shelf.make(), shelf.make(retain_s=0)
    for holds, remains in ((kept, True), (forgetful, False)):
        hold = await brought_to(holds, HoldState.RELEASED)
        await holds.sweep()
        assert (await holds.get(hold.id) == hold) is remains
        assert (hold in await holds.listing(states=TERMINAL)) is remains


async def test_a_denial_is_remembered_for_as_long_as_it_sticks(shelf):
    holds = shelf.make(retain_s=0)
    denied = await brought_to(holds, HoldState.DENIED, call="same")
    await holds.sweep()
    assert await holds.find(denied.root_id, denied.call_digest) == denied


# --- listing ---------------------------------------------------------------------------------------------------------


async def test_a_listing_shows_the_open_holds_newest_first(holds):
    filed_in_order = [await brought_to(holds, state) for state in sorted(OPEN)]
    for state in sorted(TERMINAL):
        await brought_to(holds, state)

    listed = await holds.listing()

    assert set(listed) == set(filed_in_order)
    assert list(listed) == sorted(listed, key=lambda hold: (hold.filed_at, hold.id), reverse=True)


@pytest.mark.parametrize("states", [None, frozenset(HoldState)], ids=["of the open ones", "of all"])
async def test_a_listing_can_be_narrowed(holds, states):
    base = {"root": "r1", "agent": "a1", "sponsor": "s1"}
    mine = await filed(holds, **base)
    others = [await filed(holds, **{**base, member: "other"}) for member in base]

    async def ids(**narrowed):
        return {hold.id for hold in await holds.listing(states=states, **narrowed)}

    everything = {mine.id, *(other.id for other in others)}
    assert await ids() == everything
    assert await ids(root_id=mine.root_id) == everything - {others[0].id}
    assert await ids(agent="a1") == everything - {others[1].id}
    assert await ids(sponsor="s1") == everything - {others[2].id}
    assert await ids(root_id=mine.root_id, agent="a1", sponsor="s1") == {mine.id}
    assert await ids(agent="nobody") == set()


async def test_a_listing_of_given_states_shows_exactly_these(holds):
    by_state = {state: await brought_to(holds, state) for state in sorted(HoldState)}
    for state, hold in by_state.items():
        assert await holds.listing(states=frozenset({state})) == (hold,)
    wanted = frozenset({HoldState.DENIED, HoldState.HELD})
    assert set(await holds.listing(states=wanted)) == {by_state[state] for state in wanted}
    assert await holds.listing(states=frozenset()) == ()


async def test_a_listing_has_a_limit(holds):
    for _ in range(5):
        await filed(holds)
    everything = await holds.listing()
    assert await holds.listing(limit=3) == everything[:3]


# --- news ------------------------------------------------------------------------------------------------------------


async def test_news_from_a_cursor_tells_every_step_in_order(holds):
    start = await holds.cursor()
    hold = await brought_to(holds, HoldState.RELEASED)

    news = holds.news(start)
    told = [await anext(news) for _ in range(4)]

    assert [(item.hold_id, item.state, item.version) for item in told] == [
        (hold.id, HoldState.HELD, 1),
        (hold.id, HoldState.APPROVED, 2),
        (hold.id, HoldState.RELEASING, 3),
        (hold.id, HoldState.RELEASED, 4),
    ]
    assert told[-1].cursor == await holds.cursor()
    rest = holds.news(told[1].cursor)
    assert await anext(rest) == told[2]


async def test_news_waits_for_what_comes(holds):
    waiting = asyncio.ensure_future(anext(holds.news(await holds.cursor())))
    hold = await filed(holds)
    async with asyncio.timeout(5):
        assert (await waiting).hold_id == hold.id


async def test_news_without_a_cursor_begins_now(holds):
    old = await filed(holds)
    waiting = asyncio.ensure_future(anext(holds.news()))
    new = set()
    while not waiting.done():
        new.add((await filed(holds)).id)
        await asyncio.wait([waiting], timeout=0.05)
    assert (await waiting).hold_id in new - {old.id}


async def test_news_ends_when_what_follows_the_cursor_is_gone(shelf):
    holds = shelf.make(events_kept=3) if shelf.kind == "memory" else shelf.make()
    start = await holds.cursor()
    hold = await brought_to(holds, HoldState.RELEASED)
    if shelf.store is not None:
        events = f"{shelf.home(hold)}events"
        with shelf.store.keeper(events).client() as client:
            client.xtrim(events, maxlen=3, approximate=False)

    with pytest.raises(Unavailable, match="gone") as caught:
        await anext(holds.news(start))
    assert caught.value.code is Code.STORE_DOWN

    listed = await holds.listing(states=frozenset(HoldState))
    assert [found.id for found in listed] == [hold.id]


@pytest.mark.parametrize("cursor", ["9-9-9", "yesterday", ""], ids=["too long", "a word", "empty"])
async def test_a_cursor_that_never_was_is_refused(holds, cursor):
    with pytest.raises(Unavailable) as caught:
        await anext(holds.news(cursor))
    assert caught.value.code is Code.STORE_DOWN


# --- what is said without deciding -----------------------------------------------------------------------------------


async def test_what_is_said_is_kept_in_order_with_the_version_it_gave(holds):
    hold = await filed(holds)
    first = await holds.apply(hold.id, Event.SAY, said="a.b.c", version=1)
    second = await holds.apply(hold.id, Event.SAY, said="d.e.f", version=2)
    said = (Said(version=2, statement="a.b.c"), Said(version=3, statement="d.e.f"))
    assert (first.applied, second.applied) == (True, True)
    assert second.hold == replace(hold, version=3, said=said)
    approved = await holds.apply(hold.id, Event.APPROVE, statement="g.h.i", by="ada", version=3)
    assert approved.applied
    assert (approved.hold.said, approved.hold.statement) == (said, "g.h.i")
    assert await holds.get(hold.id) == approved.hold


@pytest.mark.parametrize("event", [Event.SAY, Event.APPROVE, Event.DENY, Event.CANCEL], ids=str)
async def test_a_step_at_a_version_that_is_past_is_not_taken(holds, event):
    hold = await filed(holds)
    await holds.apply(hold.id, Event.SAY, said="a.b.c")
    late = await holds.apply(hold.id, event, said="d.e.f", version=1)
    assert (late.applied, late.hold.version, len(late.hold.said)) == (False, 2, 1)
    assert (await holds.apply(hold.id, event, said="d.e.f", version=2)).applied


async def test_of_two_who_say_something_at_one_version_one_is_heard(holds):
    hold = await filed(holds)
    moves = await asyncio.gather(*(holds.apply(hold.id, Event.SAY, said=f"a.b.{n}", version=1) for n in range(9)))
    assert sum(move.applied for move in moves) == 1
    found = await holds.get(hold.id)
    assert found is not None
    assert len(found.said) == 1


async def test_an_extension_moves_the_deadline_and_the_first_one_is_remembered(holds, shelf):
    hold = await filed(holds)
    once, twice = hold.expires_at + timedelta(hours=1), hold.expires_at + timedelta(hours=2)
    await holds.apply(hold.id, Event.SAY, said="a.b.c", expires_at=once)
    moved = (await holds.apply(hold.id, Event.SAY, said="d.e.f", expires_at=twice)).hold
    assert (moved.expires_at, moved.first_end) == (twice, hold.expires_at)
    await shelf.overdue(moved)
    assert [swept.id for swept in (await holds.sweep()).ended] == [hold.id]


async def test_a_quorum_is_kept(holds):
    outcome = await holds.file(replace(draft(), quorum=3), b"", ttl_s=600, caps=ROOMY)
    assert outcome.hold.quorum == 3
    assert await holds.get(outcome.hold.id) == outcome.hold


async def test_a_lifted_denial_stays_one_and_an_equal_call_is_held_anew(holds):
    denied = await brought_to(holds, HoldState.DENIED, call="same")
    lifted = await holds.apply(denied.id, Event.LIFT, said="a.b.c", version=denied.version)
    assert lifted.applied
    assert lifted.hold == replace(denied, version=3, said=(Said(version=3, statement="a.b.c"),))
    assert await holds.find(denied.root_id, denied.call_digest) is None
    again = await filed(holds, call="same")
    assert again.id != denied.id
    assert await holds.get(denied.id) == lifted.hold
