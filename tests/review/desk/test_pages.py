"""The desk's pages: what a reviewer reads, and what becomes of what they say, on real services and stores in memory."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import identities
import pytest
from filing import OUTSIDE
from identities import AGENT, DEPUTY, REVIEWER, SPONSOR
from reviewrooms import Room, hidden, text_of

from proxy.core.errors import Code, Unavailable
from proxy.core.model import HoldState, Review


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


def risky(tmp_path: Path, **about: object) -> Room:
    """A desk whose calls are of a cluster with another risk or review."""
    world = identities.world(identities.cluster(**about))  # type: ignore[arg-type]
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_the_first_page_is_the_card_of_what_expires_first(room: Room) -> None:
    await room.file(f"{OUTSIDE}1", ttl_s=900)
    soonest = await room.file(f"{OUTSIDE}2", ttl_s=300)
    async with room.browser() as maria:
        answer = await maria.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/holds/{soonest.id}")


async def test_with_nothing_to_decide_the_first_page_says_so(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        answer = await maria.get("/")
        assert answer.status_code == 200 and "Nothing waits for you" in text_of(answer.text)


async def test_a_card_says_what_would_happen_why_it_stopped_and_that_nothing_was_sent(room: Room) -> None:
    hold = await room.file(body=b'{"id": 42}', headers=[("Content-Type", "application/json")])
    async with room.browser() as maria:
        said = text_of((await maria.get(f"/holds/{hold.id}")).text)
    assert f"{AGENT} wants to GET /v1/customers/42 on erp.example; " in said
    assert "Nothing has been sent." in said and "10 min left" in said
    assert "path" in said and "/v1/invoices" in said  # what the mandate allows instead
    assert "Release once" in said and "Deny, because" in said
    assert '{ "id": 42 }' in said


async def test_the_queue_is_searched_filtered_and_sorted(room: Room) -> None:
    first = await room.file("https://erp.example/v1/salaries", ttl_s=900)
    second = await room.file("https://erp.example/v1/customers/7", method="GET", ttl_s=300, task="T-9")
    async with room.browser() as maria:
        everything = (await maria.get("/queue")).text
        assert everything.index(second.id) < everything.index(first.id)
        found = (await maria.get("/queue?search=SALARIES+get")).text
        assert first.id in found and second.id not in found
        assert first.id not in (await maria.get("/queue?search=t-9")).text
        assert "Nothing matches" in (await maria.get("/queue?risk=transformative")).text


async def test_alike_holds_are_a_group_that_is_decided_together_each_signed_for_itself(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}{number}") for number in range(3)]
    async with room.browser() as maria:
        queue = (await maria.get("/queue")).text
        assert "3×" in queue
        group = queue.partition('href="/groups/')[2].partition('"')[0]
        page = (await maria.get(f"/groups/{group}")).text
        assert "3 different addresses; all have the same headers and body" in page
        late = await room.file(f"{OUTSIDE}9")  # after the page was made
        shown = [f"{hold.id}:{hold.call_digest}" for hold in holds]
        fields = {"form_token": hidden(page)["form_token"], "hold": shown, "reason": "month end"}
        answer = await maria.post(f"/groups/{group}/release", fields)
    assert "Released: 3 of 3" in text_of(answer.text)
    states = [(await room.holds.get(hold.id)) for hold in (*holds, late)]
    assert [hold.state for hold in states if hold] == [HoldState.APPROVED] * 3 + [HoldState.HELD]
    assert len({hold.statement for hold in states if hold}) == 4


async def test_of_a_group_what_others_decided_first_is_told_and_the_rest_is_decided(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}{number}") for number in range(2)]
    async with room.browser() as maria:
        group = (await maria.get("/queue")).text.partition('href="/groups/')[2].partition('"')[0]
        page = hidden((await maria.get(f"/groups/{group}")).text)
        await maria.say(holds[0], "deny", reason="no")
        shown = [f"{hold.id}:{hold.call_digest}" for hold in holds]
        answer = await maria.post(f"/groups/{group}/release", {**page, "hold": shown, "reason": "month end"})
    said = text_of(answer.text)
    assert answer.status_code == 409 and "Released: 1 of 2" in said and "already decided" in said


async def test_a_group_is_not_decided_without_a_reason(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}{number}") for number in range(2)]
    async with room.browser() as maria:
        group = (await maria.get("/queue")).text.partition('href="/groups/')[2].partition('"')[0]
        page = (await maria.get(f"/groups/{group}")).text
        answer = await maria.post(f"/groups/{group}/deny", {**hidden(page), "reason": " "})
    assert answer.status_code == 422 and "needs a reason" in text_of(answer.text)
    assert [(await room.holds.get(hold.id)).state for hold in holds] == [HoldState.HELD] * 2  # type: ignore[union-attr]


# --- saying ----------------------------------------------------------------------------------------------------------


async def test_released_once_the_page_says_by_whom_and_the_proxy_takes_it(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        answer = await maria.say(hold, "release")
    assert answer.status_code == 200 and f"released by {SPONSOR}" in text_of(answer.text)
    now = await room.holds.get(hold.id)
    assert now is not None and now.state is HoldState.APPROVED


async def test_denied_with_a_reason_the_agent_can_read_it(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        answer = await maria.say(hold, "deny", reason="not your task")
        assert answer.status_code == 200 and f"denied by {SPONSOR}" in text_of(answer.text)
        card = text_of((await maria.get(f"/holds/{hold.id}")).text)
    assert "not your task" in card and "It was not sent." in card
    now = await room.holds.get(hold.id)
    assert now is not None and (now.state, now.reason) == (HoldState.DENIED, "not your task")


async def test_a_denial_without_a_reason_comes_back_with_the_form(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        answer = await maria.say(hold, "deny", reason="")
    assert answer.status_code == 422 and "needs a reason" in text_of(answer.text)
    assert (await room.holds.get(hold.id)).state is HoldState.HELD  # type: ignore[union-attr]


async def test_whoever_is_second_hears_by_whom_and_when_it_was_decided(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria, room.browser() as again:
        page = hidden((await again.get(f"/holds/{hold.id}")).text)
        await maria.say(hold, "deny", reason="no")
        answer = await again.post(f"/holds/{hold.id}/release", page)
    said = text_of(answer.text)
    assert answer.status_code == 409 and f"decided by {SPONSOR} at 2026-03-02T09:30:00Z" in said


async def test_a_hold_that_expired_while_it_was_read_is_not_released(room: Room) -> None:
    hold = await room.file(ttl_s=60)
    async with room.browser() as maria:
        page = hidden((await maria.get(f"/holds/{hold.id}")).text)
        room.later(seconds=61)
        answer = await maria.post(f"/holds/{hold.id}/release", page)
    assert answer.status_code == 410 and "expired" in text_of(answer.text)


async def test_a_deputy_is_told_when_their_turn_comes_and_may_deny_before(room: Room) -> None:
    hold = await room.file()
    async with room.browser(DEPUTY) as ben:
        card = text_of((await ben.get(f"/holds/{hold.id}")).text)
        assert "You cannot release it" in card and "Release once" not in card and "Deny, because" in card
        page = hidden((await ben.get(f"/holds/{hold.id}")).text)
        refused = await ben.post(f"/holds/{hold.id}/release", page)
        assert refused.status_code == 403 and "the sponsor comes first" in text_of(refused.text)
        room.later(minutes=4)
        assert (await ben.say(hold, "release")).status_code == 200


async def test_comments_escalations_and_more_time_are_signed_and_shown(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria, room.browser(DEPUTY) as ben:
        assert (await maria.say(hold, "notes/comment", reason="asked the supplier")).status_code == 200
        assert (await maria.say(hold, "notes/extend", reason="waiting", minutes="30")).status_code == 200
        assert (await maria.say(hold, "notes/escalate", reason="on a train")).status_code == 200
        card = text_of((await ben.get(f"/holds/{hold.id}")).text)
        assert "asked the supplier" in card and "Release once" in card
    now = await room.holds.get(hold.id)
    assert now is not None and now.expires_at == hold.expires_at + timedelta(minutes=30)


async def test_a_denial_is_taken_back(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        await maria.say(hold, "deny", reason="no")
        answer = await maria.say(hold, "notes/lift", reason="the right one after all")
    assert answer.status_code == 200 and "lifted by" in text_of(answer.text)


async def test_calls_like_it_pass_for_a_while_with_a_reason(room: Room) -> None:
    hold = await room.file(method="GET")
    async with room.browser() as maria:
        fields = {"minutes": "15", "count": "3", "path": "/v1/customers/{id}", "reason": "stock-taking"}
        answer = await maria.say(hold, "grant", **fields)
    assert answer.status_code == 200
    assert len(await room.grants.every()) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("count", "21", id="more calls than the desk may"),
        pytest.param("minutes", "61", id="longer than the desk may"),
        pytest.param("minutes", "", id="for ever"),
        pytest.param("minutes", "x", id="a length that is none"),
    ],
)
async def test_a_wider_release_than_the_desk_may_sign_is_refused(room: Room, field: str, value: str) -> None:
    hold = await room.file(method="GET")
    async with room.browser() as maria:
        fields = {"minutes": "15", "count": "3", "reason": "stock-taking", field: value}
        answer = await maria.say(hold, "grant", **fields)
    assert answer.status_code == 422
    assert await room.grants.every() == () and (await room.holds.get(hold.id)).state is HoldState.HELD  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("about", "method", "word"),
    [
        pytest.param({}, "DELETE", "may change things", id="it may change things"),
        pytest.param({"review": Review(always=True, quorum=2)}, "GET", "0 of 2", id="two people must"),
    ],
)
async def test_of_weightier_calls_the_desk_signs_nothing_and_says_how_to_decide(
    tmp_path: Path, about: dict[str, object], method: str, word: str
) -> None:
    room = risky(tmp_path, **about)
    hold = await room.file("https://erp.example/v1/invoices/7", method=method)
    async with room.browser() as maria:
        card = (await maria.get(f"/holds/{hold.id}")).text
        assert word in text_of(card) and "Release once" not in text_of(card)
        confirm = await maria.get(f"/holds/{hold.id}/release")
        assert f"holds release {hold.id} --as {SPONSOR}" in text_of(confirm.text)
        digest = {"digest": hold.call_digest, "form_token": hidden(card)["form_token"]}
        for verb in ("release", "deny", "notes/comment"):
            answer = await maria.post(f"/holds/{hold.id}/{verb}", {**digest, "reason": "x"})
            assert answer.status_code == 403
    now = await room.holds.get(hold.id)
    assert now is not None and (now.state, now.version) == (HoldState.HELD, 1)


async def test_a_form_decides_only_the_call_that_its_page_showed(room: Room) -> None:
    one, other = await room.file(f"{OUTSIDE}1"), await room.file(f"{OUTSIDE}2")
    async with room.browser() as maria:
        page = hidden((await maria.get(f"/holds/{one.id}")).text)
        answer = await maria.post(f"/holds/{other.id}/release", page)
    assert answer.status_code == 409 and "showed another call" in text_of(answer.text)
    assert (await room.holds.get(other.id)).state is HoldState.HELD  # type: ignore[union-attr]


# --- what is hidden --------------------------------------------------------------------------------------------------


async def test_credentials_are_hashes_until_they_are_asked_for_and_that_is_written_down(room: Room) -> None:
    body = b'{"api_key": "b0dy-secret", "amount": 1.10}'
    hold = await room.file(f"{OUTSIDE}?token=qu3ry", body=body, headers=[("Authorization", "Bearer s3cret")])
    async with room.browser() as maria:
        card = (await maria.get(f"/holds/{hold.id}")).text
        assert not any(secret in card for secret in ("s3cret", "qu3ry", "b0dy-secret"))
        assert "1.10" in card
        assert [line["hold_id"] for line in room.journal.of("read")] == [hold.id]
        await maria.get(f"/holds/{hold.id}")
        assert len(room.journal.of("read")) == 1
        shown = (await maria.post(f"/holds/{hold.id}/reveal", hidden(card))).text
        assert all(secret in shown for secret in ("s3cret", "qu3ry", "b0dy-secret"))
    assert [(line["by"], line["hold_id"]) for line in room.journal.of("reveal")] == [(SPONSOR, hold.id)]


async def test_what_cannot_be_written_down_is_not_shown(room: Room) -> None:
    hold = await room.file(body=b"the body", headers=[("Authorization", "Bearer s3cret")])
    async with room.browser() as maria:
        token = hidden((await maria.get("/queue")).text)
        room.journal.fault = Unavailable(Code.JOURNAL_DOWN, "the disk is full")
        card = await maria.get(f"/holds/{hold.id}")
        assert card.status_code == 200 and "the body" not in card.text and "could not be written down" in card.text
        assert (await maria.post(f"/holds/{hold.id}/reveal", token)).status_code == 503
        assert (await maria.get(f"/holds/{hold.id}/body")).status_code == 503


async def test_what_could_not_be_read_is_not_released_and_may_be_denied(room: Room) -> None:
    hold, other = await room.file(body=b"the body"), await room.file(body=b"another body")
    async with room.browser() as maria:
        token = hidden((await maria.get("/queue")).text)
        room.journal.fault = Unavailable(Code.JOURNAL_DOWN, "the disk is full")
        for verb, more in (("release", {}), ("grant", {"minutes": "5", "count": "2"})):
            said = await maria.post(
                f"/holds/{hold.id}/{verb}", {**token, "digest": hold.call_digest, "reason": "x", **more}
            )
            assert said.status_code == 503
        found = await room.holds.get(hold.id)
        assert found is not None and found.state is HoldState.HELD
        denied = await maria.post(f"/holds/{other.id}/deny", {**token, "digest": other.call_digest, "reason": "unread"})
        assert denied.status_code == 200
        room.journal.fault = None
        assert (await maria.say(hold, "release")).status_code == 200  # the twin
        assert [line["hold_id"] for line in room.journal.of("read")] == [hold.id]


async def test_a_body_is_saved_byte_for_byte_as_nothing_that_a_browser_opens(room: Room) -> None:
    hold = await room.file(body=b"<script>alert(1)</script>\x00")
    async with room.browser() as maria:
        answer = await maria.get(f"/holds/{hold.id}/body")
    assert answer.content == b"<script>alert(1)</script>\x00"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(params=["", "/body", "/release", "/propose"], ids=["card", "body", "second step", "proposal"])
def page(request: pytest.FixtureRequest) -> Iterator[str]:
    yield str(request.param)


async def test_a_hold_that_does_not_concern_somebody_is_not_there_for_them(room: Room, page: str) -> None:
    hold = await room.file()
    async with room.browser(REVIEWER) as cleo, room.browser() as maria:
        answer, of_none = await cleo.get(f"/holds/{hold.id}{page}"), await cleo.get(f"/holds/no-such-hold{page}")
        assert (answer.status_code, of_none.status_code) == (404, 404)
        assert answer.text.replace(hold.id, "no-such-hold") == of_none.text
        assert hold.id not in (await cleo.get("/queue")).text
        refused = await cleo.post(
            f"/holds/{hold.id}/deny",
            {**hidden((await cleo.get("/queue")).text), "digest": hold.call_digest, "reason": "x"},
        )
        assert refused.status_code == 404
        assert (await maria.get(f"/holds/{hold.id}{page}")).status_code in (200, 303)  # its sponsor has it
    assert room.journal.of("read") == [] or all(line["by"] == SPONSOR for line in room.journal.of("read"))


async def test_a_hold_that_was_changed_in_the_store_is_not_shown(room: Room) -> None:
    hold = await room.file(changed={"call_digest": "x" * 43})
    async with room.browser() as maria, room.browser(REVIEWER) as cleo:
        answer = await maria.get(f"/holds/{hold.id}")
        assert answer.status_code == 409 and "do not release it" in text_of(answer.text)
        assert (await cleo.get(f"/holds/{hold.id}")).status_code == 404
        assert "do not release it" in text_of((await maria.get("/queue")).text)
