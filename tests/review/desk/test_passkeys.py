"""Passkeys at the desk, with an authenticator in software: what is shown is signed, and nothing else counts.

In a real browser, and on a real node: test_passkeys_browser.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import httpx
import identities
import pytest
from authenticators import UP, Authenticator, authenticator
from filing import OUTSIDE
from identities import DEPUTY, REVIEWER, SPONSOR, key
from passkeyrooms import PasskeyRoom
from reviewrooms import Browser, Room, hidden, text_of
from touches import answer, asked, challenge, credential, form_of

from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code
from proxy.core.grants import GRANT_TYP
from proxy.core.holds import Event
from proxy.core.jws import open_one_of
from proxy.core.model import Hold, HoldState, Means, Review, Verdict
from proxy.core.notes import NOTE_TYP
from proxy.core.release import RELEASE_TYP, read_release
from proxy.policy.passkeys import read_passkey_line
from proxy.review.desk.once import LIVES, MOST_EACH, Once
from proxy.review.desk.statements import in_words

PAGES = "http://localhost:8090"
ALSO = "http://127.0.0.1:8090"
RISKY = {"method": "DELETE"}


def room_of(tmp_path: Path, *, without: Sequence[str] = (), **about: object) -> Room:
    """A desk as operators enrolled it, and people with a passkey each but for those `without`."""
    world = identities.world(identities.cluster(**about))  # type: ignore[arg-type]
    return PasskeyRoom(
        directory=tmp_path, bundle=world.bundle, tokens=world.tokens, origins=(PAGES, ALSO), without=without
    )


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return room_of(tmp_path)


async def touched(
    browser: Browser, hold: Hold, page: httpx.Response, stick: Authenticator, **changes: object
) -> httpx.Response:
    """The page's form as passkey.js sends it, once its owner touched their authenticator."""
    signed = answer(stick.sign(challenge(page), **changes))
    return await browser.post(f"/holds/{hold.id}/sign", {**form_of(page), "answer": signed})


async def now(room: Room, hold: Hold) -> Hold:
    found = await room.holds.get(hold.id)
    assert found is not None
    return found


def said(room: Room, hold: Hold) -> tuple[str, Means, Verdict]:
    """Who said what with what, as a node reads it."""
    assert hold.statement is not None
    read = read_release(hold.statement, hold=hold, bundle=room.bundle, barred=frozenset(), now=room.time())
    return read.by, read.means, read.verdict


# --- deciding --------------------------------------------------------------------------------------------------------


async def test_what_may_change_things_is_released_in_two_steps_with_a_passkey(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release", reason="the customer asked")
        assert page.status_code == 200 and (await now(room, hold)).version == 1, "nothing is recorded by the first"
        told = text_of(page.text)
        for word in ("Release this call, once", "the customer asked", hold.call_digest, hold.id, "Ada Example", "once"):
            assert word in told
        assert f"holds release {hold.id} --as {SPONSOR}" in told, "the other way stays"
        done = await touched(ada, hold, page, authenticator(SPONSOR))
        assert done.status_code == 200 and f"released by {SPONSOR}" in text_of(done.text)
    after = await now(room, hold)
    assert (after.state, said(room, after)) == (HoldState.APPROVED, (SPONSOR, Means.PASSKEY, Verdict.ALLOW))
    assert after.reason == "the customer asked"


async def test_everything_that_is_signed_stands_on_the_page(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release", reason="seen")
        told = text_of(page.text)
        await touched(ada, hold, page, authenticator(SPONSOR))
    claims = open_one_of(str((await now(room, hold)).statement), typs=(RELEASE_TYP,), code=Code.RELEASE_INVALID).claims
    texts = {name: value for name, value in claims.items() if isinstance(value, str) and name not in ("verdict", "iss")}
    assert set(texts) >= {"aud", "hold", "digest", "reason", "nonce", "scope"}
    assert [name for name, value in texts.items() if value not in told] == []


async def test_it_is_denied_with_a_reason(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "deny", reason="not your task")
        assert "Deny this call" in text_of(page.text)
        done = await touched(ada, hold, page, authenticator(SPONSOR))
    assert done.status_code == 200 and f"denied by {SPONSOR}" in text_of(done.text)
    after = await now(room, hold)
    assert (after.state, after.reason, said(room, after)[1]) == (HoldState.DENIED, "not your task", Means.PASSKEY)


async def test_notes_and_more_time_and_the_end_are_signed_too(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada, room.browser(DEPUTY) as ben:
        for act, more, word in (
            ("comment", {}, "commented on by"),
            ("extend", {"minutes": "30"}, "extended by"),
            ("escalate", {}, "escalated by"),
        ):
            page = await ada.say(hold, f"notes/{act}", reason=f"because {act}", **more)
            assert f"because {act}" in text_of(page.text)
            assert word in text_of((await touched(ada, hold, page, authenticator(SPONSOR))).text)
            assert f"because {act}" in text_of((await ben.get(f"/holds/{hold.id}")).text)
        page = await ada.say(hold, "notes/cancel", reason="asked wrongly")
        assert "cancelled by" in text_of((await touched(ada, hold, page, authenticator(SPONSOR))).text)
    assert (await now(room, hold)).state is HoldState.CANCELLED


async def test_a_denial_is_taken_back_with_a_passkey(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "deny", reason="no")
        await touched(ada, hold, page, authenticator(SPONSOR))
        page = await ada.say(hold, "notes/lift", reason="the right one after all")
        assert "Take the denial back" in text_of(page.text)
        done = await touched(ada, hold, page, authenticator(SPONSOR))
    assert done.status_code == 200 and "lifted by" in text_of(done.text)


async def test_of_an_uncertain_call_it_is_said_with_a_passkey_that_it_arrived(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        await touched(ada, hold, page, authenticator(SPONSOR))
        claimed = await room.holds.apply(hold.id, Event.CLAIM)
        assert (await room.holds.apply(hold.id, Event.LOST, fence=claimed.hold.fence)).applied
        page = await ada.say(hold, "resolve", found="arrived", reason="it is in their list")
        assert "Say that it arrived" in text_of(page.text)
        done = await touched(ada, hold, page, authenticator(SPONSOR))
    assert "it arrived" in text_of(done.text)
    assert (await now(room, hold)).state is HoldState.RELEASED


async def test_a_wider_release_than_the_desk_signs_is_signed_with_a_passkey(room: Room) -> None:
    hold = await room.file(method="GET")
    async with room.browser() as ada:
        page = await ada.say(
            hold, "grant", minutes="600", count="200", path="/v1/customers/{id}", reason="stock-taking"
        )
        told = text_of(page.text)
        assert "others like it" in told and "/v1/customers/{id}" in told and "200" in told
        assert await room.grants.every() == ()
        done = await touched(ada, hold, page, authenticator(SPONSOR))
        assert done.status_code == 200, text_of(done.text)
    (listed,) = await room.parts.granter.listing()
    assert listed.grant is not None and (listed.grant.count, listed.grant.means) == (200, Means.PASSKEY)
    assert said(room, await now(room, hold))[1] is Means.DESK


@pytest.mark.parametrize(("field", "value"), [("count", "1001"), ("minutes", "1441"), ("minutes", "0")])
async def test_wider_than_any_grant_may_be_is_refused(room: Room, field: str, value: str) -> None:
    hold = await room.file(method="GET")
    async with room.browser() as ada:
        refused = await ada.say(hold, "grant", **{"minutes": "15", "count": "3", "reason": "x", field: value})
    assert refused.status_code == 422 and (await now(room, hold)).state is HoldState.HELD


async def test_what_the_desk_signs_needs_no_second_page(room: Room) -> None:
    hold = await room.file(method="GET")
    async with room.browser() as ada:
        assert f"released by {SPONSOR}" in text_of((await ada.say(hold, "release")).text)
    assert said(room, await now(room, hold))[1] is Means.DESK


async def test_two_people_release_with_a_passkey_each_and_votes_are_shown(tmp_path: Path) -> None:
    room = room_of(tmp_path, review=Review(always=True, quorum=2, who=(SPONSOR, REVIEWER)))
    hold = await room.file("https://erp.example/v1/invoices/7", method="GET")
    async with room.browser() as ada, room.browser(REVIEWER) as cleo:
        page = await ada.say(hold, "release", reason="seen")
        assert "0 of 2" in text_of(page.text)
        first = await touched(ada, hold, page, authenticator(SPONSOR))
        assert first.status_code == 200 and "1 of 2" in text_of(first.text)
        assert (await now(room, hold)).state is HoldState.HELD
        again = await ada.post(
            f"/holds/{hold.id}/release", {**form_of(page), "digest": hold.call_digest, "reason": "once more"}
        )
        assert again.status_code == 403 and "different people must" in text_of(again.text)
        page = await cleo.say(hold, "release", reason="seen, too")
        assert "1 of 2" in text_of(page.text) and f"Ada Example ({SPONSOR})" in text_of(page.text)
        second = await touched(cleo, hold, page, authenticator(REVIEWER))
    assert second.status_code == 200 and f"released by {SPONSOR} and {REVIEWER}" in text_of(second.text)
    assert (await now(room, hold)).state is HoldState.APPROVED


async def test_two_who_sign_pages_that_were_open_at_once_both_count(tmp_path: Path) -> None:
    room = room_of(tmp_path, review=Review(always=True, quorum=2, who=(SPONSOR, REVIEWER)))
    hold = await room.file("https://erp.example/v1/invoices/7", method="GET")
    async with room.browser() as ada, room.browser(REVIEWER) as cleo:
        pages = [(ada, SPONSOR, await ada.say(hold, "release")), (cleo, REVIEWER, await cleo.say(hold, "release"))]
        answers = [await touched(browser, hold, page, authenticator(name)) for browser, name, page in pages]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (await now(room, hold)).state is HoldState.APPROVED


async def test_nobody_signs_for_somebody_else(tmp_path: Path) -> None:
    """Two people at one browser, one after the other: what the first asked for, the second does not sign."""
    room = room_of(tmp_path, review=Review(always=True, quorum=2, who=(SPONSOR, REVIEWER)))
    hold = await room.file("https://erp.example/v1/invoices/7", method="GET")
    async with room.browser() as both:
        page = await both.say(hold, "release")
        await both.sign_in(REVIEWER)
        token = hidden((await both.get("/queue")).text)["form_token"]
        signed = answer(authenticator(REVIEWER).sign(challenge(page)))
        refused = await both.post(f"/holds/{hold.id}/sign", {**form_of(page), "form_token": token, "answer": signed})
        assert refused.status_code == 409
        own = await both.say(hold, "release")
        assert (await touched(both, hold, own, authenticator(REVIEWER))).status_code == 200  # the twin
    assert len((await now(room, hold)).said) == 1


async def test_what_was_decided_meanwhile_is_told_by_whom_and_when(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada, room.browser(DEPUTY) as ben:
        page = await ada.say(hold, "release")
        other = await ben.say(hold, "deny", reason="not their task")
        await touched(ben, hold, other, authenticator(DEPUTY))
        late = await touched(ada, hold, page, authenticator(SPONSOR))
    told = text_of(late.text)
    assert late.status_code == 409 and f"decided by {DEPUTY} at 2026-03-02T09:30:00Z" in told
    assert "Nothing that you said now was recorded." in told
    assert (await now(room, hold)).state is HoldState.DENIED


async def test_a_hold_that_ended_while_its_page_was_read_is_not_released(room: Room) -> None:
    hold = await room.file(**RISKY, ttl_s=60)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        room.later(seconds=61)
        late = await touched(ada, hold, page, authenticator(SPONSOR))
    assert late.status_code == 410 and "expired" in text_of(late.text)


async def test_a_person_without_a_passkey_is_told_how_else_and_how_to_get_one(tmp_path: Path) -> None:
    room = room_of(tmp_path, without=[SPONSOR])
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.get(f"/holds/{hold.id}/release")
        told = text_of(page.text)
        assert "You have no passkey that counts here" in told and 'href="/passkeys"' in page.text
        assert f"holds release {hold.id} --as {SPONSOR}" in told
        sealed = {"digest": hold.call_digest, "form_token": hidden(page.text)["form_token"]}
        refused = await ada.post(f"/holds/{hold.id}/release", sealed)
    assert refused.status_code == 403 and "data-passkey=" not in refused.text


# --- groups ----------------------------------------------------------------------------------------------------------


async def group_of(browser: Browser) -> str:
    return (await browser.get("/queue")).text.partition('href="/groups/')[2].partition('"')[0]


async def test_a_group_is_decided_one_after_the_other_each_with_its_own_signature(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}{number}", **RISKY) for number in range(3)]
    async with room.browser() as ada:
        group = await group_of(ada)
        page = await ada.get(f"/groups/{group}")
        assert "one by one" in text_of(page.text)
        shown = [f"{hold.id}:{hold.call_digest}" for hold in holds]
        fields: dict[str, str | list[str]] = {**hidden(page.text), "hold": shown, "reason": "month end"}
        step = await ada.post(f"/groups/{group}/release", fields)
        for number, hold in enumerate(holds):
            assert hold.id in step.text and hold.call_digest in text_of(step.text)
            result = await touched(ada, hold, step, authenticator(SPONSOR))
            assert f"released by {SPONSOR}" in text_of(result.text)
            states = [(await now(room, each)).state for each in holds]
            assert states == [HoldState.APPROVED] * (number + 1) + [HoldState.HELD] * (2 - number)
            if number < 2:
                assert f"{2 - number} left to release: month end" in text_of(result.text)
                left = re.findall(r'name="hold" value="([^"]*)"', result.text)
                assert left == shown[number + 1 :]
                step = await ada.post(f"/groups/{group}/release", {**hidden(result.text), "hold": left})
        assert "left to release" not in text_of(result.text)
    assert len({(await now(room, hold)).statement for hold in holds}) == 3


async def test_of_a_group_what_others_decided_is_told_and_the_next_comes(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}{number}", **RISKY) for number in range(2)]
    async with room.browser() as ada:
        group = await group_of(ada)
        page = await ada.get(f"/groups/{group}")
        other = await ada.say(holds[0], "deny", reason="no")
        await touched(ada, holds[0], other, authenticator(SPONSOR))
        shown = [f"{hold.id}:{hold.call_digest}" for hold in holds]
        first = await ada.post(f"/groups/{group}/release", {**hidden(page.text), "hold": shown, "reason": "x"})
        assert first.status_code == 409 and f"decided by {SPONSOR}" in text_of(first.text)
        assert "1 left to release" in text_of(first.text)


async def test_what_is_not_of_the_group_is_not_decided_with_it(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}{number}", **RISKY) for number in range(2)]
    other = await room.file("https://erp.example/v1/salaries/7", **RISKY)
    async with room.browser() as ada:
        group = await group_of(ada)
        page = hidden((await ada.get(f"/groups/{group}")).text)
        for hold, digest in ((other, other.call_digest), (holds[0], holds[1].call_digest)):
            fields = {**page, "hold": f"{hold.id}:{digest}", "reason": "x"}
            refused = await ada.post(f"/groups/{group}/release", fields)
            assert refused.status_code == 422 and "not the one that the page showed" in text_of(refused.text)


# --- what is refused -------------------------------------------------------------------------------------------------

STICK = authenticator(SPONSOR)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"flags": UP}, "flags must be a person who was verified", id="nobody was verified"),
        pytest.param({"flags": 0}, "flags must be a person who was present", id="nobody was there"),
        pytest.param({"origin": "https://desk.evil.example"}, "origin", id="another origin"),
        pytest.param({"origin": ALSO}, "origin", id="another name of this machine"),
        pytest.param({"rp_id": "evil.example"}, "rp_id", id="another RP id"),
        pytest.param({"kind": "webauthn.create"}, "type", id="a ceremony of another kind"),
        pytest.param({"members": {"crossOrigin": True}}, "crossOrigin", id="in another site's frame"),
        pytest.param({"id": authenticator(DEPUTY).id, "key": authenticator(DEPUTY).key}, "credential", id="another's"),
        pytest.param({"id": b"0123456789abcdef"}, "credential", id="a passkey that nobody enrolled"),
        pytest.param({"key": key("mallory", "ES256")}, "signature", id="another key"),
        pytest.param({"extensions": b"\xa0"}, "authenticator_data", id="extensions"),
    ],
)
async def test_an_answer_that_is_not_theirs_here_and_now_records_nothing(
    room: Room, changes: dict[str, object], why: str
) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        refused = await touched(ada, hold, await ada.say(hold, "release"), STICK, **changes)
        assert refused.status_code == 403 and f"passkey: {why}" in text_of(refused.text)
        assert (await now(room, hold)).version == 1
        assert (await touched(ada, hold, await ada.say(hold, "release"), STICK)).status_code == 200  # the twin


async def _other_hold(room: Room, ada: Browser, hold: Hold) -> httpx.Response:
    return await ada.say(await room.file(f"{OUTSIDE}7", **RISKY), "release")


async def _denial(room: Room, ada: Browser, hold: Hold) -> httpx.Response:
    return await ada.say(hold, "deny", reason="no")


async def _other_reason(room: Room, ada: Browser, hold: Hold) -> httpx.Response:
    return await ada.say(hold, "release", reason="another")


async def _note(room: Room, ada: Browser, hold: Hold) -> httpx.Response:
    return await ada.say(hold, "notes/comment", reason="no")


async def _earlier(room: Room, ada: Browser, hold: Hold) -> httpx.Response:
    return await ada.say(hold, "release")


@pytest.mark.parametrize("of", [_other_hold, _denial, _other_reason, _note, _earlier])
async def test_an_answer_to_another_page_records_nothing(room: Room, of: Callable[..., object]) -> None:
    """For another hold, verdict, reason or kind of word, and for the same asked before."""
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        other = await of(room, ada, hold)  # type: ignore[misc]
        page = await ada.say(hold, "release")
        fields = {**form_of(page), "answer": answer(STICK.sign(challenge(other)))}
        refused = await ada.post(f"/holds/{hold.id}/sign", fields)
        assert refused.status_code == 403 and "challenge must be that of this very statement" in text_of(refused.text)
    assert (await now(room, hold)).version == 1


async def test_an_answer_for_another_scope_records_nothing(room: Room) -> None:
    hold = await room.file(method="GET")
    width = {"minutes": "600", "path": "/v1/customers/{id}", "reason": "stock-taking"}
    async with room.browser() as ada:
        narrow = await ada.say(hold, "grant", **width, count="30")
        wide = await ada.say(hold, "grant", **width, count="900")
        fields = {**form_of(wide), "answer": answer(STICK.sign(challenge(narrow)))}
        refused = await ada.post(f"/holds/{hold.id}/sign", fields)
        assert refused.status_code == 403 and "challenge" in text_of(refused.text)
        assert await room.grants.every() == () and (await now(room, hold)).state is HoldState.HELD
        assert (await touched(ada, hold, narrow, STICK)).status_code == 200  # the twin


async def test_an_answer_counts_once(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "notes/comment", reason="asked them")
        fields = {**form_of(page), "answer": answer(STICK.sign(challenge(page)))}
        assert (await ada.post(f"/holds/{hold.id}/sign", fields)).status_code == 200
        again = await ada.post(f"/holds/{hold.id}/sign", fields)
        assert again.status_code == 409 and "answered already" in text_of(again.text)
    assert len((await now(room, hold)).said) == 1


async def test_fields_that_are_added_to_the_second_page_say_nothing(room: Room) -> None:
    """What is recorded is what the page showed: no field of either page changes it."""
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "deny", reason="not your task")
        more = {"verdict": "release", "reason": "another", "digest": "x", "hold": "y", "scope": "route"}
        fields = {**form_of(page), **more, "answer": answer(STICK.sign(challenge(page)))}
        assert (await ada.post(f"/holds/{hold.id}/sign", fields)).status_code == 200
    after = await now(room, hold)
    assert (after.state, after.reason) == (HoldState.DENIED, "not your task")


async def test_what_one_page_asked_for_is_not_answered_at_another_holds_address(room: Room) -> None:
    hold, other = await room.file(**RISKY), await room.file(f"{OUTSIDE}7", **RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        refused = await touched(ada, other, page, STICK)
        assert refused.status_code == 409
    assert [(await now(room, each)).version for each in (hold, other)] == [1, 1]


async def test_it_takes_the_session_that_was_asked_and_its_token(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada, room.browser() as elsewhere, room.browser(DEPUTY) as ben:
        page = await ada.say(hold, "release")
        fields = {**form_of(page), "answer": answer(STICK.sign(challenge(page)))}
        path = f"/holds/{hold.id}/sign"
        for other in (elsewhere, ben):  # another session of hers, and somebody else's
            token = hidden((await other.get("/queue")).text)["form_token"]
            assert (await other.post(path, {**fields, "form_token": token})).status_code == 409
            assert (await other.post(path, fields)).status_code == 403
        assert (await ada.post(path, {**fields, "form_token": "x"})).status_code == 403
        assert (await ada.post(path, fields, Origin="https://evil.example")).status_code == 403
        assert (await ada.post(path, fields, Sec_Fetch_Site="cross-site")).status_code == 403
        async with room.browser(None) as nobody:
            assert (await nobody.post(path, fields)).status_code == 401
        assert (await now(room, hold)).version == 1
        assert (await ada.post(path, fields)).status_code == 200  # the twin


async def test_a_session_that_ended_signs_nothing(room: Room) -> None:
    hold = await room.file(**RISKY, ttl_s=36_000)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        room.later(minutes=31)
        assert (await touched(ada, hold, page, STICK)).status_code == 401
        await ada.sign_in(SPONSOR)
        token = hidden((await ada.get("/queue")).text)["form_token"]
        fields = {**form_of(page), "form_token": token, "answer": answer(STICK.sign(challenge(page)))}
        assert (await ada.post(f"/holds/{hold.id}/sign", fields)).status_code == 409
    assert (await now(room, hold)).version == 1


async def test_it_waits_for_minutes_and_no_restart(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        room.later(seconds=LIVES.total_seconds())
        late = await touched(ada, hold, page, STICK)
        assert late.status_code == 409 and "5 minutes ago" in text_of(late.text)
        page, token = await ada.say(hold, "release"), ada.client.cookies
    room.restart()
    async with room.browser(None) as ada:
        ada.client.cookies = token
        assert (await touched(ada, hold, page, STICK)).status_code == 409


async def test_a_passkey_that_was_taken_away_meanwhile_signs_nothing(room: Room) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        people = {**room.bundle.people, SPONSOR: replace(room.bundle.people[SPONSOR], passkeys=())}
        room.bundle = replace(room.bundle, people=people)
        refused = await touched(ada, hold, page, STICK)
    assert refused.status_code == 403 and "enrolled passkeys" in text_of(refused.text)
    assert (await now(room, hold)).version == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "that needs script", id="nothing, as without script"),
        pytest.param("{", "JSON", id="half an answer"),
        pytest.param("[]", "JSON object", id="a list"),
        pytest.param("{}", "has no rawId", id="an empty answer"),
        pytest.param('{"rawId": "!"}', "rawId", id="no base64url"),
        pytest.param("[" * 5000, "JSON", id="a deep one"),
    ],
)
async def test_what_is_no_answer_of_a_browser_is_refused_in_words(room: Room, text: str, why: str) -> None:
    hold = await room.file(**RISKY)
    async with room.browser() as ada:
        page = await ada.say(hold, "release")
        refused = await ada.post(f"/holds/{hold.id}/sign", {**form_of(page), "answer": text})
        assert refused.status_code == 422 and why in text_of(refused.text)
        assert "Nothing was" in text_of(refused.text)
    assert (await now(room, hold)).version == 1


@pytest.mark.parametrize("path", ["/holds/none/sign", "/passkeys/made"])
async def test_nothing_is_signed_or_made_by_a_get(room: Room, path: str) -> None:
    async with room.browser() as ada:
        assert (await ada.get(path)).status_code == 405


# --- where passkeys count --------------------------------------------------------------------------------------------


def _origins(room: Room) -> None:
    room.bundle = replace(room.bundle, desk=replace(room.bundle.desk, origins=("https://desk.example",)))


def _keys(room: Room) -> None:
    room.bundle = replace(room.bundle, desk=replace(room.bundle.desk, keys=(key("another").public,)))


@pytest.mark.parametrize(
    ("change", "host", "why"),
    [
        pytest.param(_origins, "localhost:8090", "operators have not listed it", id="an origin that nobody enrolled"),
        pytest.param(_keys, "localhost:8090", "not enrolled this desk's key", id="a desk that nobody enrolled"),
        pytest.param(None, "127.0.0.1:8090", f"open the desk as {PAGES}", id="an IP address"),
    ],
)
async def test_where_no_passkey_counts_the_page_says_why_and_asks_for_none(
    room: Room, change: Callable[[Room], None] | None, host: str, why: str
) -> None:
    hold = await room.file(**RISKY)
    if change is not None:
        change(room)
    async with room.browser() as ada:
        for path in (f"/holds/{hold.id}/release", "/passkeys"):
            page = await ada.get(path, Host=host)
            assert why in text_of(page.text) and "data-passkey" not in page.text
        token = hidden((await ada.get("/passkeys", Host=host)).text)["form_token"]
        refused = await ada.post("/passkeys", {"form_token": token, "name": "blue stick"}, Host=host)
        assert refused.status_code == 422 and why in text_of(refused.text)


# --- making one ------------------------------------------------------------------------------------------------------


async def made(browser: Browser, name: str = "blue stick", **changes: object) -> httpx.Response:
    """What the desk answers once a browser made a passkey."""
    page = await browser.post("/passkeys", {**hidden((await browser.get("/passkeys")).text), "name": name})
    assert page.status_code == 200, text_of(page.text)
    stick = authenticator("new stick")
    client_data, data = stick.make(challenge(page), **changes)
    response = {"clientDataJSON": b64u(client_data), "authenticatorData": b64u(data), "transports": ["usb"]}
    return await browser.post("/passkeys/made", {**form_of(page), "answer": credential(stick.id, response)})


async def test_a_passkey_is_made_and_shown_as_the_line_that_an_operator_signs(room: Room) -> None:
    async with room.browser() as ada:
        page = await made(ada)
    told = unescape(page.text)
    line = next(line for line in told.splitlines() if line.startswith('{"id"'))
    new = read_passkey_line(line)
    assert new == replace(authenticator("new stick").passkey, name="blue stick")
    assert f"intent-proxy people passkey add {SPONSOR} - <<'PASSKEY'" in told and "intent-proxy bundle sign" in told
    assert new.key.kid in text_of(page.text)
    assert room.bundle.people[SPONSOR].passkeys == (STICK.passkey,), "it counts once an operator signed it"


async def test_a_persons_passkeys_are_listed_with_where_they_count_and_how_they_go(room: Room) -> None:
    office = replace(authenticator("office").passkey, rp_id="desk.example", name="it's mine")
    people = {**room.bundle.people, SPONSOR: replace(room.bundle.people[SPONSOR], passkeys=(STICK.passkey, office))}
    room.bundle = replace(room.bundle, people=people)
    async with room.browser() as ada:
        told = text_of((await ada.get("/passkeys")).text)
    for word in ("stick", "localhost", STICK.key.public.kid, f"Counts at {PAGES}, until", "counts here"):
        assert word in told
    assert told.count("counts here") == 1 and "no page of this desk" in told
    assert f"intent-proxy people passkey remove {SPONSOR} stick" in told
    assert f"""people passkey remove {SPONSOR} 'it'"'"'s mine'""" in told


async def test_a_passkey_that_somebody_has_is_not_offered_again_to_be_made(room: Room) -> None:
    async with room.browser() as ada:
        page = await ada.post("/passkeys", {**hidden((await ada.get("/passkeys")).text), "name": "another"})
    assert asked(page)["excludeCredentials"] == [{"type": "public-key", "id": b64u(STICK.id)}]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"flags": UP}, "verified", id="nobody was verified"),
        pytest.param({"origin": "https://desk.evil.example"}, "origin", id="another origin"),
        pytest.param({"rp_id": "evil.example"}, "rp_id", id="another RP id"),
        pytest.param({"kind": "webauthn.get"}, "type", id="a ceremony of another kind"),
    ],
)
async def test_what_was_made_otherwise_is_refused_in_words(room: Room, changes: dict[str, object], why: str) -> None:
    flags = {"flags": int(str(changes["flags"])) | 0x40} if "flags" in changes else {}
    async with room.browser() as ada:
        refused = await made(ada, **{**changes, **flags})
    assert refused.status_code == 422 and why in text_of(refused.text) and "{&#34;id" not in refused.text


@pytest.mark.parametrize("name", ["", "a" * 61, "a'b", "p\u0430ypal", "a\nPASSKEY\nb;rm", "stick"])
async def test_a_name_that_could_mislead_is_refused(room: Room, name: str) -> None:
    async with room.browser() as ada:
        page = await ada.post("/passkeys", {**hidden((await ada.get("/passkeys")).text), "name": name})
    assert page.status_code == 422 and "name" in text_of(page.text).lower() and "data-passkey" not in page.text


async def test_what_was_asked_to_be_made_is_made_once_and_in_its_session(room: Room) -> None:
    async with room.browser() as ada, room.browser(DEPUTY) as ben:
        page = await ada.post("/passkeys", {**hidden((await ada.get("/passkeys")).text), "name": "phone"})
        stick = authenticator("new stick")
        client_data, data = stick.make(challenge(page))
        response = {"clientDataJSON": b64u(client_data), "authenticatorData": b64u(data)}
        fields = {**form_of(page), "answer": credential(stick.id, response)}
        token = hidden((await ben.get("/passkeys")).text)["form_token"]
        assert (await ben.post("/passkeys/made", {**fields, "form_token": token})).status_code == 409
        assert (await ada.post("/passkeys/made", {**fields, "form_token": "x"})).status_code == 403
        assert (await ada.post("/passkeys/made", fields)).status_code == 200
        assert (await ada.post("/passkeys/made", fields)).status_code == 409


# --- what waits for an answer ----------------------------------------------------------------------------------------


def test_so_many_of_a_session_wait_and_the_oldest_is_forgotten_first() -> None:
    kept: Once[int] = Once(clock=lambda: identities.NOW)
    words = [kept.keep("ada", number) for number in range(MOST_EACH + 1)]
    other = kept.keep("ben", 7)
    assert kept.take("ada", words[0]) is None
    assert [kept.take("ada", word) for word in words[1:]] == list(range(1, MOST_EACH + 1))
    assert kept.take("ada", other) is None and kept.take("ben", other) == 7


def test_what_waited_too_long_is_forgotten() -> None:
    moment = identities.NOW
    kept: Once[int] = Once(clock=lambda: moment)
    first = kept.keep("ada", 1)
    moment += LIVES
    assert kept.take("ada", first) is None
    second = kept.keep("ada", 2)
    assert kept.take("ada", second) == 2


# --- in words --------------------------------------------------------------------------------------------------------

CLAIMS: Mapping[str, Json] = {"iss": SPONSOR, "aud": "d", "hold": "h", "reason": "r", "nonce": "n", "iat": 0}


@pytest.mark.parametrize(
    ("typ", "claims", "does", "shown"),
    [
        pytest.param(
            NOTE_TYP, {"act": "extend", "until": 3600}, "Let it wait longer", "1970-01-01 01:00:00", id="more"
        ),
        pytest.param(NOTE_TYP, {"act": "comment", "until": 0}, "Comment on it", "comment", id="of others until is now"),
        pytest.param(
            RELEASE_TYP, {"verdict": "release", "node": "n1"}, "Release this call, once", "n1 alone", id="node"
        ),
        pytest.param(
            GRANT_TYP, {"query": "token=s3cret"}, "others like it", "the same as in this", id="no credentials"
        ),
        pytest.param(GRANT_TYP, {"vary": ["page"], "body": "any"}, "others like it", "page", id="what varies"),
        pytest.param(RELEASE_TYP, {"later": {"x": 1}}, "Sign intent-release+jwt", '{"x": 1}', id="what has no words"),
        pytest.param(RELEASE_TYP, {"exp": "never"}, "Sign intent-release+jwt", "never", id="a time that is none"),
    ],
)
def test_a_statement_is_put_into_words_whole(typ: str, claims: dict[str, Json], does: str, shown: str) -> None:
    told = in_words(typ, {**CLAIMS, **claims}, identities.bundle(), now=identities.NOW)
    lines = (*told.lines, *told.besides)
    assert does in told.does and any(shown in text for _, text in lines)
    assert len(lines) == len({**CLAIMS, **claims}) - ("until" in claims and claims["act"] != "extend")
    assert not any("s3cret" in text for _, text in lines)
