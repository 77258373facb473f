"""What only holds on a server can suffer: an administrator's hands, and its own layout."""

import asyncio
import json
from contextlib import suppress

import pytest
from held import ROOMY, draft
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import MAX_SAID, TERMINAL, Event
from proxy.core.model import HoldState
from proxy.ports import Missed
from proxy.stores import hold_records, redis_holds
from proxy.stores.hold_records import read_hold
from proxy.stores.redis import PREFIX
from proxy.stores.redis_holds import RedisHolds


@pytest.fixture
def holds(server):
    return RedisHolds(server)


async def filed(holds, **about):
    return (await holds.file(draft(**about), b"sealed", ttl_s=600, caps=ROOMY)).hold


CHANGES = {
    "a state that is none": {"state": "allowed"},
    "an upper-case state": {"state": "HELD"},
    "a version in words": {"version": "two"},
    "a negative fence": {"fence": "-1"},
    "a time with a fraction": {"expires_at": "1763800000000.5"},
    "a time beyond the calendar": {"filed_at": "999999999999999"},
    "a count too long for a number": {"body_bytes": "1" * 400},
    "an unknown code": {"code": "made.up"},
    "an unknown risk": {"risk": "none"},
    "an unknown proof": {"proof": "none"},
    "reviewers that are no list": {"who": '"ada"'},
    "reviewers that are no names": {"who": "[1]"},
    "reviewers that are no JSON": {"who": "ada"},
    "a foreign member": {"approved": "yes"},
    "another id": {"id": "hold-of-another"},
    "bytes that are no text": {"task": b"\xff"},
    "a decision at no time": {"decided_at": "now"},
    "a denial that sticks for ever": {"sticky_until": "for ever"},
    "a missing state": {"state": None},
    "a missing digest": {"call_digest": None},
    "a missing version": {"version": None},
    "no reviewers": {"who": None},
    "more words than are kept": {"said": "\n".join(f"{number} x" for number in range(2, MAX_SAID + 3))},
}


def tamper(valkey, hold_id, changes):
    with valkey.client() as client:
        for member, value in changes.items():
            if value is None:
                client.hdel(f"{PREFIX}hold:{hold_id}", member)
            else:
                client.hset(f"{PREFIX}hold:{hold_id}", member, value)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
async def test_a_record_changed_by_someone_else_is_named_tampered(holds, valkey, changes):
    hold, twin = await filed(holds, call="same"), await filed(holds)
    tamper(valkey, hold.id, changes)

    for attempt in (
        holds.get(hold.id),
        holds.apply(hold.id, Event.APPROVE),
        holds.find(hold.root_id, hold.call_digest),
        holds.file(draft(call="same"), b"", ttl_s=600, caps=ROOMY),
    ):
        with pytest.raises(Rejected) as caught:
            await attempt
        assert caught.value.code is Code.HOLD_TAMPERED

    assert await holds.listing() == (twin,)
    assert (await holds.sweep()).ended == ()
    assert await holds.get(twin.id) == twin


async def test_a_record_of_another_kind_is_named_tampered(holds, valkey):
    hold, twin = await filed(holds), await filed(holds)
    with valkey.client() as client:
        client.delete(f"{PREFIX}hold:{hold.id}")
        client.set(f"{PREFIX}hold:{hold.id}", "held")
        client.zadd(f"{PREFIX}due", {hold.id: 1})
    with pytest.raises(Rejected) as caught:
        await holds.get(hold.id)
    assert caught.value.code is Code.HOLD_TAMPERED
    assert (await holds.sweep()).ended == ()
    assert await holds.listing() == (twin,)


async def test_an_equal_call_that_leads_to_another_calls_hold_is_named_tampered(holds, valkey):
    hold, other = await filed(holds, call="same"), await filed(holds)
    with valkey.client() as client:
        client.set(f"{PREFIX}call:{hold.root_id}:{hold.call_digest}", other.id)
    with pytest.raises(Rejected) as caught:
        await holds.find(hold.root_id, hold.call_digest)
    assert caught.value.code is Code.HOLD_TAMPERED


async def test_a_record_deleted_by_someone_else_is_absent_and_leaves_room(holds, valkey):
    hold = await filed(holds, call="same")
    with valkey.client() as client:
        client.delete(f"{PREFIX}hold:{hold.id}")
    assert await holds.get(hold.id) is None
    assert await holds.listing() == ()
    with pytest.raises(Rejected) as caught:
        await holds.apply(hold.id, Event.APPROVE)
    assert caught.value.code is Code.HOLD_UNKNOWN
    assert (await filed(holds, call="same")).id != hold.id
    with valkey.client() as client:
        assert client.zscore(f"{PREFIX}open:root:{hold.root_id}", hold.id) is None


MEMBERS = st.sampled_from(
    [b"id", b"state", b"version", b"fence", b"who", b"code", b"risk", b"proof", b"filed_at", b"sticky_until", b"x"]
)


@given(st.lists(st.one_of(MEMBERS, st.binary(max_size=12), st.integers(), st.none()), max_size=40))
def test_reading_a_record_raises_nothing_but_rejected(flat):
    with suppress(Rejected):
        read_hold(flat)


@given(st.data())
def test_reading_an_almost_right_record_raises_nothing_but_rejected(data):
    fields = {name: str(value) for name, value in hold_records.fields_of(draft()).items()}
    fields |= {"version": "1", "fence": "0", "filed_at": "1", "expires_at": "2"}
    assert read_hold([part.encode() for pair in fields.items() for part in pair]).version == 1
    member = data.draw(st.sampled_from(sorted(fields)))
    fields[member] = data.draw(st.text(max_size=20))
    with suppress(Rejected):
        read_hold([part.encode("utf-8", "replace") for pair in fields.items() for part in pair])


# --- the scripts themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("target", sorted(set(HoldState) - {HoldState.EXPIRED}))
async def test_a_terminal_state_is_never_left_even_if_the_caller_permits_it(holds, server, valkey, state, target):
    hold = await filed(holds)
    tamper(valkey, hold.id, {"state": state})
    asked = {"id": hold.id, "sources": sorted(HoldState), "target": target, "changes": {"reason": "mine"}}

    reply = await server.run(redis_holds._APPLY, (redis_holds.EVENTS,), (holds._houses[0], json.dumps(asked)))

    assert reply[:2] == [b"moved", 0]
    after = await holds.get(hold.id)
    assert (after.state, after.version, after.reason) == (state, 1, None)


async def test_the_twin_of_it_an_open_state_is_left_when_the_caller_permits_it(holds, server):
    hold = await filed(holds)
    asked = {"id": hold.id, "sources": sorted(HoldState), "target": "denied", "changes": {"reason": "mine"}}
    reply = await server.run(redis_holds._APPLY, (redis_holds.EVENTS,), (holds._houses[0], json.dumps(asked)))
    assert reply[:2] == [b"moved", 1]


async def test_scripts_are_sent_again_to_a_server_that_forgot_them(holds, valkey):
    hold = await filed(holds)
    with valkey.client() as client:
        client.script_flush()
        assert (await holds.apply(hold.id, Event.APPROVE)).applied
        sha1 = redis_holds._APPLY.sha1
        assert client.script_exists(sha1) == [True]


async def test_every_key_stands_in_one_slot_and_the_stored_call_is_gone_with_the_end(holds, valkey):
    hold = await filed(holds)
    with valkey.client() as client:
        before = set(client.keys("*"))
        assert f"{PREFIX}sealed:{hold.id}" in before
        assert all(key.startswith("{ip:0}:") for key in before)

        await holds.apply(hold.id, Event.DENY)
        assert f"{PREFIX}sealed:{hold.id}" not in client.keys("*")
        assert client.zrange(f"{PREFIX}open", 0, -1) == client.zrange(f"{PREFIX}due", 0, -1) == []
        day_s = 86_400
        assert day_s < client.ttl(f"{PREFIX}hold:{hold.id}") <= day_s + 3600
        assert day_s - 60 < client.ttl(f"{PREFIX}call:{hold.root_id}:{hold.call_digest}") <= day_s


async def test_a_forgotten_hold_leaves_only_the_event_stream(server, valkey):
    holds = RedisHolds(server, retain_s=0)
    hold = await filed(holds)
    await holds.apply(hold.id, Event.CANCEL)
    await holds.sweep()
    with valkey.client() as client:
        assert client.keys("*") == [f"{PREFIX}events"]


async def test_a_flushed_stream_is_noticed(holds, valkey):
    await filed(holds)
    start = await holds.cursor()
    valkey.flush()
    await filed(holds)
    with pytest.raises(Unavailable, match="gone"):
        await anext(holds.news(start))


async def test_a_stream_that_went_back_is_noticed_before_anything_comes(holds, valkey):
    """With a clock that was set back, too, what comes next would have ids that are long passed."""
    await filed(holds)
    start = await holds.cursor()
    valkey.flush()
    async with asyncio.timeout(5):
        with pytest.raises(Missed):
            await anext(holds.news(start))


@pytest.mark.parametrize(
    "fields",
    [{"state": "allowed"}, {"version": "x"}, {"id": None}],
    ids=["a state that is none", "a version in words", "no id"],
)
async def test_a_foreign_event_ends_the_news(holds, valkey, fields):
    await filed(holds)
    start = await holds.cursor()
    event = {"prev": start, "id": "h", "state": "held", "version": "1"} | fields
    with valkey.client() as client:
        client.xadd(f"{PREFIX}events", {name: value for name, value in event.items() if value is not None})
    with pytest.raises(Missed):  # and whoever follows begins anew after it
        await anext(holds.news(start))


async def test_an_event_that_does_not_name_the_one_before_ends_the_news(holds, valkey):
    await filed(holds)
    start = await holds.cursor()
    with valkey.client() as client:
        client.xadd(f"{PREFIX}events", {"prev": "0-0", "id": "h", "state": "held", "version": "1"})
    with pytest.raises(Unavailable, match="gone"):
        await anext(holds.news(start))
