"""What the desk shows to whom: credentials are hidden until they are asked for, and not all may read an ended call."""

import json
from pathlib import Path

import identities
import pytest
from apiclients import caller
from identities import AGENT, DEPUTY, SPONSOR
from reviewrooms import Room, hidden, text_of

from proxy.core.holds import Event
from proxy.core.model import HoldState
from proxy.review.desk.tokens import Scope
from proxy.review.groups import difference, print_of
from proxy.review.notify.notices import asks_for
from proxy.review.outcomes import Outcome

BOT = "bot123456:AAHs3cretS3cretS3cret-s3cret"
IN_PATH = f"https://erp.example/{BOT}/sendMessage"
HIDDEN = f"(hidden, {len(BOT)} characters)"
JSON = (("Content-Type", "application/json"),)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


async def test_a_credential_in_the_path_is_shown_nowhere_unasked(room: Room) -> None:
    hold = await room.file(IN_PATH)
    await room.file(IN_PATH, task="T-2")
    await room.parts.index.open_some([entry.hold.id for entry in room.parts.index.entries()])
    async with room.browser() as maria, caller(room) as one:
        (group,) = (await one.get("/groups")).json()["groups"]
        pages = ["/queue", f"/holds/{hold.id}", f"/holds/{hold.id}/propose", f"/groups/{group['id']}", "/history"]
        for page in pages:
            answer = await maria.get(page)
            assert answer.status_code == 200 and "s3cret" not in answer.text, page
        said = text_of((await maria.get(f"/holds/{hold.id}")).text)
        assert f"{AGENT} wants to GET /{HIDDEN}/sendMessage on erp.example" in said
        assert f"GET https://erp.example/{HIDDEN}/sendMessage" in said
        for asked in ("/holds", f"/holds/{hold.id}", f"/holds/{hold.id}/suggestion", "/groups"):
            answer = await one.get(asked)
            assert answer.status_code == 200 and "s3cret" not in answer.text, asked
        call = (await one.get(f"/holds/{hold.id}")).json()["call"]
        assert "url" in call["hidden"] and call["filed"]["call"]["path"] == f"/{HIDDEN}/sendMessage"
    held = await room.parts.reviews.show(hold.id)
    assert held.shown is not None and HIDDEN in asks_for(held.shown.stored.call)


async def test_it_is_shown_to_whoever_asks_and_that_is_written_down_first(room: Room) -> None:
    hold = await room.file(IN_PATH)
    async with room.browser() as maria:
        page = await maria.get(f"/holds/{hold.id}")
        assert room.journal.of("reveal") == []
        shown = await maria.post(f"/holds/{hold.id}/reveal", {"form_token": hidden(page.text)["form_token"]})
        assert IN_PATH in text_of(shown.text)
        assert [line["hold_id"] for line in room.journal.of("reveal")] == [hold.id]
    async with caller(room) as one:
        whole = (await one.post(f"/holds/{hold.id}/reveal", None)).json()["call"]
        assert whole["url"] == IN_PATH and whole["filed"]["call"]["path"] == f"/{BOT}/sendMessage"


async def test_a_drafted_grant_shows_the_address_and_so_wants_the_scope_and_is_written_down(room: Room) -> None:
    hold = await room.file(f"{IN_PATH}?token=s3cret-url")
    wish = {"verb": "release", "reason": "seen", "scope": {"count": 2, "for_s": 60}}
    once = {"verb": "release", "reason": "seen"}
    async with caller(room, frozenset({Scope.READ})) as reader:
        refused = await reader.post(f"/holds/{hold.id}/drafts", wish)
        assert refused.status_code == 403 and "reveal" in refused.text and "s3cret" not in refused.text
        passed = await reader.post(f"/holds/{hold.id}/drafts", once)
        assert passed.status_code == 200 and "s3cret" not in passed.text
        assert room.journal.of("reveal") == []
    async with caller(room) as one:
        drafted = await one.post(f"/holds/{hold.id}/drafts", wish)
        assert drafted.status_code == 200 and "s3cret" in drafted.text
        assert [line["hold_id"] for line in room.journal.of("reveal")] == [hold.id]


# --- who sees an ended hold ------------------------------------------------------------------------------------------


async def release(room: Room, hold_id: str) -> Outcome:
    return await room.parts.reviews.release(hold_id, person=room.person(SPONSOR), key=identities.key(SPONSOR))


async def salaries(room: Room) -> str:
    hold = await room.file(
        "https://erp.example/v1/salaries",
        method="POST",
        headers=(*JSON, ("X-Note", "payroll-note")),
        body=b'{"of": "ada"}',
    )
    return hold.id


async def test_whose_turn_never_came_sees_the_ruling_and_not_the_call(room: Room) -> None:
    hold_id = await salaries(room)
    async with caller(room, person=DEPUTY) as before:
        assert (await before.get(f"/holds/{hold_id}")).json()["call"] is not None, "they may deny it"
    outcome = await release(room, hold_id)
    assert outcome.hold is not None and outcome.hold.state is HoldState.APPROVED
    room.later(seconds=3)
    await room.parts.index.read()
    await room.parts.index.open_some([hold_id])
    async with caller(room, person=DEPUTY) as jonas, room.browser(DEPUTY) as browser:
        document = (await jonas.get(f"/holds/{hold_id}")).json()
        assert document["call"] is None and document["hold"]["decided_by"] == SPONSOR
        assert (await jonas.post(f"/holds/{hold_id}/reveal", None)).status_code == 403
        for asked in ("/holds", "/holds?state=approved", f"/holds/{hold_id}"):
            assert "salaries" not in (await jonas.get(asked)).text, asked
        card = await browser.get(f"/holds/{hold_id}")
        assert card.status_code == 200 and "before your turn had come" in card.text and "released" in card.text
        assert "payroll-note" not in card.text and "application/json" not in card.text
        assert (await browser.get(f"/holds/{hold_id}/body")).status_code == 403
        assert "salaries" not in (await browser.get("/queue")).text
    assert room.journal.of("reveal") == []
    async with caller(room) as maria:
        assert (await maria.get(f"/holds/{hold_id}")).json()["call"] is not None


async def test_an_uncertain_call_is_read_by_whoever_may_find_out(room: Room) -> None:
    hold_id = await salaries(room)
    await release(room, hold_id)
    for event in (Event.CLAIM, Event.LOST):
        found = await room.holds.get(hold_id)
        assert found is not None
        await room.holds.apply(hold_id, event, fence=found.fence)
    async with caller(room, person=DEPUTY) as jonas:
        assert (await jonas.get(f"/holds/{hold_id}")).json()["call"] is None, "not their turn yet"
        room.later(hours=2)
        assert (await jonas.get(f"/holds/{hold_id}")).json()["call"] is not None


# --- alike, and how they differ --------------------------------------------------------------------------------------


async def test_a_group_says_in_how_many_ways_its_calls_differ(room: Room) -> None:
    url = "https://erp.example/v1/salaries/{}"
    for number, body in enumerate((b'{"a": 1}', b'{"a": 1}', b'{"a": 999999}')):
        await room.file(url.format(number), method="POST", headers=JSON, body=body)
    await room.parts.index.open_some([entry.hold.id for entry in room.parts.index.entries()])
    words = "3 different addresses and 2 different bodies; all have the same headers"
    async with room.browser() as maria, caller(room) as one:
        (group,) = (await one.get("/groups")).json()["groups"]
        assert group["differ"] == words
        page = text_of((await maria.get(f"/groups/{group['id']}")).text)
        assert f"Of these 3: {words}." in page
        assert (page.count("body 1 of 2"), page.count("body 2 of 2"), page.count("headers 1")) == (2, 1, 0)
        assert words in text_of((await maria.get("/queue")).text)


async def test_what_makes_no_call_another_is_no_difference(room: Room) -> None:
    calls = []
    for number in range(2):
        hold = await room.file("https://erp.example/v1/x", headers=(("Date", f"{number}"),), task=f"T-{number}")
        held = await room.parts.reviews.show(hold.id)
        assert held.shown is not None
        calls.append(print_of(held.shown.stored.call))
    assert difference(calls) == "all have the same address and headers and body"


async def test_a_credential_in_the_path_stays_out_of_a_signed_call_s_digest_claims(room: Room) -> None:
    hold = await room.file(IN_PATH)
    held = await room.parts.reviews.show(hold.id)
    assert held.shown is not None
    assert held.shown.stored.call.url == IN_PATH and HIDDEN in held.shown.url, "what is signed is the whole call"
    assert "s3cret" not in json.dumps(held.shown.explanation.lines) + held.shown.consequence
