"""The desk's list and its stream: nothing that happens is missed, and nobody hears of what does not concern them."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import identities
import pytest
from identities import DEPUTY, REVIEWER, SPONSOR
from reviewrooms import Room, Stream, kept_up

from proxy.core.errors import Code, Unavailable
from proxy.review.desk import events as events_module
from proxy.review.desk import index as index_module
from proxy.review.desk.app import build_app
from proxy.review.desk.index import END, KEPT_EVENTS, RESET, Change
from proxy.review.desk.parts import Earlier
from proxy.review.opened import HeldCall

URL = "https://erp.example/v1/customers/"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


async def heard(listening: index_module.Listening) -> Change:
    change = await listening.next(5.0)
    assert change is not None
    return change


# --- the list --------------------------------------------------------------------------------------------------------


async def test_the_list_is_what_is_open_and_follows_what_happens(room: Room) -> None:
    first = await room.filer.file(f"{URL}1", method="GET")
    async with kept_up(room.parts.index):
        listening = room.parts.index.listen(room.parts.index.cursor)
        second = await room.filer.file(f"{URL}2", method="GET")
        assert (await heard(listening)).hold_id == second.id
        assert [entry.hold.id for entry in room.parts.index.entries()] == [first.id, second.id]
        async with room.browser() as maria:
            await maria.say(first, "deny", reason="no")
        change = await heard(listening)
        assert change.hold is not None and (change.hold_id, change.hold.state) == (first.id, "denied")
        assert [entry.hold.id for entry in room.parts.index.entries()] == [second.id]


async def test_whoever_was_away_hears_what_happened_since(room: Room) -> None:
    async with kept_up(room.parts.index):
        listening = room.parts.index.listen("")
        holds = [await room.filer.file(f"{URL}{number}", method="GET") for number in range(3)]
        changes = [change for change in [await heard(listening) for _ in range(4)] if change is not RESET][:3]
        again = room.parts.index.listen(changes[0].cursor)
        assert [(await heard(again)).hold_id for _ in range(2)] == [hold.id for hold in holds[1:]]


async def test_whoever_comes_from_a_place_that_is_not_known_reads_everything_again(room: Room) -> None:
    async with kept_up(room.parts.index):
        for place in ("", "1-1", "\r\nid: x", "9" * 500):
            if place != room.parts.index.cursor:
                assert await heard(room.parts.index.listen(place)) is RESET
        assert await room.parts.index.listen(room.parts.index.cursor).next(0.01) is None


async def test_a_listener_that_is_too_far_behind_reads_everything_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "BACKLOG", 2)
    async with kept_up(room.parts.index):
        listening = room.parts.index.listen(room.parts.index.cursor)
        slow = room.parts.index.listen(room.parts.index.cursor)
        for number in range(4):
            await room.filer.file(f"{URL}{number}", method="GET")
            assert (await heard(listening)).hold is not None
        assert await heard(slow) is RESET


async def test_only_so_many_events_are_remembered(room: Room) -> None:
    index = room.parts.index
    async with kept_up(index):
        start = index.cursor
        for number in range(KEPT_EVENTS + 1):
            index._events.append(Change(cursor=f"{number}-9", hold_id="x", hold=None))
        index._base = "0-9"
        assert await heard(index.listen(start)) is RESET
        assert (await heard(index.listen("0-9"))).cursor == "1-9"


async def test_while_the_store_is_away_the_list_stays_and_says_so(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "RETRY_S", 0.01)
    hold = await room.filer.file(f"{URL}1", method="GET")
    index = room.parts.index
    await index.read()
    cursor, asked, back = room.holds.cursor, asyncio.Event(), asyncio.Event()

    async def away() -> str:
        if back.is_set():
            return await cursor()
        asked.set()
        raise Unavailable(Code.STORE_DOWN, "the store does not answer")

    monkeypatch.setattr(room.holds, "cursor", away)
    async with kept_up(index), room.browser() as maria:
        listening = index.listen(index.cursor)
        await asyncio.wait_for(asked.wait(), 5)
        page = (await maria.get("/queue")).text
        assert hold.id in page and "The store does not answer" in page
        back.set()
        while await heard(listening) is not RESET or index.fault:  # it says when it is back
            pass
        assert "The store does not answer" not in (await maria.get("/queue")).text


async def test_a_page_that_comes_while_the_store_is_away_reads_itself_again(room: Room) -> None:
    index = room.parts.index
    await index.read()
    assert await index.listen(index.cursor).next(0.01) is None  # the twin
    index.fault = "the store does not answer"
    assert await heard(index.listen(index.cursor)) is RESET


async def test_what_happens_while_a_page_is_made_is_heard_by_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = await room.file(f"{URL}1")
    index = room.parts.index
    async with kept_up(index), room.browser() as maria:
        earlier = room.parts.earlier

        async def meanwhile(held: HeldCall) -> tuple[Earlier, ...]:
            """The call was read; before its page is made somebody else decides, and the list hears of it."""
            listening = index.listen(index.cursor)
            person = room.person(DEPUTY)
            await room.parts.reviews.deny(hold.id, person=person, key=identities.key(DEPUTY), reason="no")
            while (await heard(listening)).hold_id != hold.id:
                pass
            return await earlier(held)

        room.parts = replace(room.parts, earlier=meanwhile)
        room.app = build_app(room.parts)
        async with room.browser() as maria:
            page = (await maria.get(f"/holds/{hold.id}")).text
            found = re.search(r'data-cursor="([^"]*)"', page)
            assert "Release once" in page and found is not None  # it shows what is over
            stream = Stream(maria, f"/events?after={found[1]}")
            assert (await stream.next())["event"] == "hello"
            assert hold.id in (await stream.next())["data"]  # and hears so
            await stream.leave()


# --- the stream ------------------------------------------------------------------------------------------------------


async def test_a_page_hears_of_each_change_under_the_streams_own_id_and_goes_on_from_there(room: Room) -> None:
    async with kept_up(room.parts.index), room.browser() as maria:
        stream = Stream(maria, f"/events?after={room.parts.index.cursor}")
        assert (await stream.next())["event"] == "hello"
        first, second = [await room.filer.file(f"{URL}{number}", method="GET") for number in range(2)]
        event = await stream.next()
        assert (event["event"], first.id in event["data"]) == ("hold", True)
        await stream.leave()
        again = Stream(maria, "/events?after=long-ago", last=event["id"])
        await again.next()
        assert second.id in (await again.next())["data"]
        await again.leave()


async def test_nobody_hears_of_what_does_not_concern_them(room: Room) -> None:
    async with kept_up(room.parts.index), room.browser(REVIEWER) as cleo, room.browser(DEPUTY) as ben:
        theirs, his = Stream(cleo, "/events"), Stream(ben, "/events")
        for stream in (theirs, his):
            await stream.next()
            assert (await stream.next())["event"] == "reset"
        hold = await room.filer.file(f"{URL}1", method="GET")
        assert hold.id in (await his.next())["data"]
        room.parts.index._tell_all(RESET)
        assert (await theirs.next())["event"] == "reset"  # and nothing before it
        for stream in (theirs, his):
            await stream.leave()


async def test_a_stream_says_nothing_of_a_call_and_ends_with_its_session(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.review.desk.events.LOOK_S", 0.01)
    async with kept_up(room.parts.index), room.browser() as maria:
        stream = Stream(maria, f"/events?after={room.parts.index.cursor}")
        await stream.next()
        hold = await room.filer.file(f"{URL}s3cret?token=abc", method="GET")
        event = await stream.next()
        assert hold.id in event["data"] and "s3cret" not in event["data"] and "erp.example" not in event["data"]
        room.parts.sessions.end_all_of(SPONSOR)
        assert (await stream.next())["event"] == "bye"
        await stream.leave()
    assert not room.parts.index._listeners


async def test_a_desk_that_stops_lets_go_of_whoever_listens(room: Room) -> None:
    async with kept_up(room.parts.index), room.browser() as maria:
        stream = Stream(maria, f"/events?after={room.parts.index.cursor}")
        await stream.next()
        room.parts.index.end()
        await asyncio.wait_for(stream._task, 5)
        assert await heard(room.parts.index.listen("")) in (RESET, END)


async def test_streams_leave_room_for_pages(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MOST_IN_ALL", 1)
    hold = await room.file(f"{URL}1")
    async with room.browser() as maria, room.browser(DEPUTY) as ben:
        stream = Stream(maria, "/events")
        assert (await stream.next())["event"] == "hello"
        refused = await ben.get("/events")
        assert refused.status_code == 429 and "already" in refused.text
        assert (await ben.say(hold, "deny", reason="no")).status_code == 200
        await stream.leave()
