"""Who may send a released hold, and what becomes of a send that nobody finishes: kept by memory and Redis alike."""

from dataclasses import replace

import pytest
from held import ROOMY, draft

from proxy.core.holds import BEAT_S, EXCLUSIVE_S, LONGEST_SEND_S, Event
from proxy.core.model import Hold, HoldState, Risk


async def approved(holds, *, ttl_s=100_000, **about) -> Hold:
    wanted = replace(draft(), **about)
    hold = (await holds.file(wanted, b"sealed", ttl_s=ttl_s, caps=ROOMY)).hold
    moved = await holds.apply(hold.id, Event.APPROVE, statement="signed", by="ada", reason="seen")
    assert moved.applied
    return moved.hold


async def claimed(holds, worker="a", **about) -> Hold:
    hold = await approved(holds, **about)
    moved = await holds.apply(hold.id, Event.CLAIM, worker=worker)
    assert moved.applied
    return moved.hold


async def lives(shelf, holds, *workers, seconds=2 * BEAT_S) -> None:
    """These workers are heard of every second for so long; nobody else is."""
    for _ in range(seconds):
        for worker in workers:
            await holds.sweep(worker)
        shelf.later(1)


# --- the worker where the agent waits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beats", "passes_s", "claims"),
    [
        pytest.param(True, 0, False, id="while it lives and the moment lasts, no other may"),
        pytest.param(True, EXCLUSIVE_S, True, id="once the moment is over, any may"),
        pytest.param(False, 0, True, id="when it was never heard of, any may"),
    ],
)
async def test_where_the_agent_waits_is_first(holds, shelf, beats, passes_s, claims):
    hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
    await holds.wait_at(hold.id, "there")
    if beats:
        await holds.sweep("there")
    hold = (await holds.apply(hold.id, Event.APPROVE, by="ada")).hold
    assert hold.waits_at == "there"
    shelf.later(passes_s)

    moved = await holds.apply(hold.id, Event.CLAIM, worker="elsewhere")

    assert moved.applied is claims
    assert moved.hold.state is (HoldState.RELEASING if claims else HoldState.APPROVED)
    if not claims:
        assert (await holds.apply(hold.id, Event.CLAIM, worker="there")).applied


async def test_where_an_agent_waits_no_longer_nobody_is_first(holds):
    hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
    await holds.sweep("there")
    await holds.wait_at(hold.id, "there")
    await holds.wait_at(hold.id, "")
    await holds.apply(hold.id, Event.APPROVE, by="ada")
    assert (await holds.apply(hold.id, Event.CLAIM, worker="elsewhere")).applied


async def test_once_it_is_decided_nobody_begins_to_wait(holds):
    hold = await approved(holds)
    await holds.wait_at(hold.id, "there")
    assert await holds.get(hold.id) == hold


# --- settling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Event.SENT, Event.UNSENT, Event.LOST])
async def test_only_who_claimed_says_what_became_of_it(holds, event):
    hold = await claimed(holds, worker="a")
    assert hold.claimed_by == "a"
    assert not (await holds.apply(hold.id, event, fence=hold.fence, worker="b")).applied
    assert (await holds.apply(hold.id, event, fence=hold.fence, worker="a")).applied


# --- abandoned sends --------------------------------------------------------------------------------------------------


async def test_the_send_of_a_dead_worker_becomes_uncertain_once(holds, shelf):
    await lives(shelf, holds, "a", "b")
    hold = await claimed(holds, worker="a")
    await lives(shelf, holds, "b", seconds=BEAT_S - 1)
    assert (await holds.get(hold.id)).state is HoldState.RELEASING
    shelf.later(2)

    (swept,) = (await holds.sweep("b")).ended

    assert swept.state is HoldState.UNCERTAIN
    assert await holds.get(hold.id) == swept
    assert (await holds.sweep("b")).ended == ()
    for event in (Event.SENT, Event.UNSENT, Event.CLAIM, Event.APPROVE):
        assert not (await holds.apply(hold.id, event, fence=hold.fence, worker="a")).applied


async def test_a_clock_that_was_set_back_leaves_nothing_lying(holds, shelf):
    """By an hour: who died is noticed, who lives is not taken for dead, and what was due is due."""
    await lives(shelf, holds, "a", "b")
    lost, kept = await claimed(holds, worker="a"), await claimed(holds, worker="b")
    due = await approved(holds, delivers=True)
    over = (await holds.file(draft(), b"sealed", ttl_s=1, caps=ROOMY)).hold
    shelf.later(2)
    assert await holds.get(over.id)  # it has expired, and nobody was told
    shelf.later(-3600)
    swept = await holds.sweep("b")
    assert ([hold.id for hold in swept.ended], swept.deliver) == ([over.id], (due.id,))
    ended = []
    for _ in range(2 * BEAT_S):
        ended += [hold.id for hold in (await holds.sweep("b", told=(over.id,))).ended]
        shelf.later(1)
    assert lost.id in ended
    assert (await holds.get(lost.id)).state is HoldState.UNCERTAIN
    assert (await holds.get(kept.id)).state is HoldState.RELEASING


async def test_the_send_of_a_living_worker_stays(holds, shelf):
    await lives(shelf, holds, "a", "b")
    hold = await claimed(holds, worker="a")
    await lives(shelf, holds, "a", "b", seconds=3 * BEAT_S)
    assert (await holds.apply(hold.id, Event.SENT, fence=hold.fence, worker="a")).applied


async def test_a_send_that_takes_longer_than_any_may_becomes_uncertain(holds, shelf):
    await lives(shelf, holds, "a", "b")
    hold = await claimed(holds, worker="a")
    shelf.later(LONGEST_SEND_S)
    await holds.sweep("a")
    assert (await holds.get(hold.id)).state is HoldState.UNCERTAIN


async def test_after_the_store_was_away_nobody_is_declared_dead_who_comes_back(holds, shelf):
    await lives(shelf, holds, "a", "b")
    hold = await claimed(holds, worker="a")
    shelf.later(10 * BEAT_S)  # nobody could be heard of
    assert (await holds.sweep("b")).ended == ()
    await lives(shelf, holds, "a", "b")
    assert (await holds.get(hold.id)).state is HoldState.RELEASING


async def test_a_look_by_nobody_declares_nobody_dead(holds, shelf):
    hold = await claimed(holds, worker="a")
    shelf.later(10 * BEAT_S)
    assert (await holds.sweep()).ended == ()
    assert (await holds.get(hold.id)).state is HoldState.RELEASING


async def test_how_a_hold_ended_is_told_until_somebody_has_written_it_down(holds, shelf):
    """A look whose answer is lost, or whose worker dies, takes nothing with it."""
    over = [(await holds.file(draft(), b"sealed", ttl_s=1, caps=ROOMY)).hold.id for _ in range(2)]
    shelf.later(2)
    assert {hold.id for hold in (await holds.sweep("a")).ended} == {*over}
    assert (await holds.sweep("b")).ended == ()
    shelf.later(BEAT_S)
    assert {hold.id for hold in (await holds.sweep("b", told=over[:1])).ended} == {over[1]}
    await holds.sweep("b", told=over[1:])
    shelf.later(BEAT_S)
    assert (await holds.sweep("b")).ended == ()


# --- deliveries -------------------------------------------------------------------------------------------------------


async def test_a_released_call_is_delivered_by_its_worker_first(holds, shelf):
    await lives(shelf, holds, "a", "b")
    hold = await approved(holds, delivers=True, waits_at="a")
    plain = await approved(holds)
    assert (await holds.sweep("b")).deliver == ()
    assert (await holds.sweep("a")).deliver == (hold.id,)
    shelf.later(EXCLUSIVE_S)
    assert (await holds.sweep("b")).deliver == (hold.id,)
    assert (await holds.sweep()).deliver == ()
    assert plain.id not in (await holds.sweep("b")).deliver


async def test_what_is_not_released_or_is_being_sent_is_not_delivered(holds):
    hold = (await holds.file(replace(draft(), delivers=True), b"sealed", ttl_s=600, caps=ROOMY)).hold
    assert (await holds.sweep("a")).deliver == ()
    await holds.apply(hold.id, Event.APPROVE, by="ada")
    moved = await holds.apply(hold.id, Event.CLAIM, worker="a")
    assert (await holds.sweep("a")).deliver == ()
    await holds.apply(hold.id, Event.SENT, fence=moved.hold.fence, worker="a")
    assert (await holds.sweep("a")).deliver == ()


async def test_what_could_not_be_sent_is_delivered_again_later_and_later(holds, shelf):
    hold = await approved(holds, delivers=True)
    pauses = []
    for _ in range(3):
        moved = await holds.apply(hold.id, Event.CLAIM, worker="a")
        await holds.apply(hold.id, Event.UNSENT, fence=moved.hold.fence, worker="a")
        pauses.append(0)
        while (await holds.sweep("a")).deliver == ():
            shelf.later(1)
            pauses[-1] += 1
    assert pauses == [1, 2, 4]


@pytest.mark.parametrize(
    ("node", "delivers"), [("mine", True), ("another", False)], ids=["its own node does", "another node does not"]
)
async def test_what_changes_the_world_is_delivered_where_it_was_filed(holds, node, delivers):
    hold = await approved(holds, delivers=True, risk=Risk.TRANSFORMATIVE, node="mine")
    assert (await holds.sweep("a", node)).deliver == ((hold.id,) if delivers else ())


async def test_what_is_refused_every_time_keeps_no_other_from_its_turn(holds, shelf):
    """As when the mandate of many released calls was revoked before they were sent."""
    stuck = {(await approved(holds, delivers=True)).id for _ in range(20)}
    shelf.later(60)
    assert set((await holds.sweep("a")).deliver) < stuck
    other = await approved(holds, delivers=True)
    handed_out = (await holds.sweep("a")).deliver
    assert other.id in handed_out
    assert {*handed_out} & stuck
    assert (await holds.sweep("b")).deliver == ()
    shelf.later(31)
    assert len({*(await holds.sweep("a")).deliver, *(await holds.sweep("a")).deliver}) == 21


async def test_what_waits_for_a_node_that_is_gone_keeps_no_other_from_its_turn(holds):
    for _ in range(110):
        await approved(holds, delivers=True, risk=Risk.TRANSFORMATIVE, node="gone")
    other = await approved(holds, delivers=True)
    mine = await approved(holds, delivers=True, risk=Risk.TRANSFORMATIVE, node="mine")
    assert set((await holds.sweep("mine.0.x", "mine")).deliver) == {other.id, mine.id}


async def test_what_a_node_claimed_and_did_not_send_is_for_that_node(holds, shelf):
    """Nobody else can know that it was not sent."""
    hold = await approved(holds, delivers=True)
    assert (await holds.sweep("n.0.x", "n")).deliver == (hold.id,)
    moved = await holds.apply(hold.id, Event.CLAIM, worker="n.0.x/1")
    await holds.apply(hold.id, Event.UNSENT, fence=moved.hold.fence, worker="n.0.x/1")
    shelf.later(60)
    assert (await holds.sweep("m.0.y", "m")).deliver == ()
    assert (await holds.sweep("n.1.z", "n")).deliver == (hold.id,)
    moved = await holds.apply(hold.id, Event.CLAIM, worker="n.1.z/1")
    await holds.apply(hold.id, Event.SENT, fence=moved.hold.fence, worker="n.1.z/1")
    shelf.later(60)
    assert (await holds.sweep("n.0.x", "n")).deliver == ()


async def test_a_response_is_kept_for_its_time(holds, shelf):
    hold = await claimed(holds)
    assert await holds.kept_response(hold.id) is None
    await holds.keep_response(hold.id, b"\x00sealed\xff", ttl_s=600)
    assert await holds.kept_response(hold.id) == b"\x00sealed\xff"
    await holds.keep_response(hold.id, b"", ttl_s=600)
    assert await holds.kept_response(hold.id) == b""
