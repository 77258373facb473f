"""What people say by the desk's API: by the desk's key where that suffices, else with their own; and what is read."""

import base64
from dataclasses import replace
from pathlib import Path

import httpx
import identities
import pytest
from apiclients import Caller, caller
from identities import DEPUTY, SPONSOR, key
from reviewrooms import Room

from proxy.core.jws import seal
from proxy.core.model import HoldState, Risk
from proxy.review.desk.api.operations import Operation
from proxy.review.desk.api.routes import operations
from proxy.review.desk.signing import with_desk_key
from proxy.review.desk.tokens import Scope
from proxy.review.updates import Proposal, written

OUTSIDE = "https://erp.example/v1/salaries"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


async def state(room: Room, hold_id: str) -> HoldState:
    found = await room.holds.get(hold_id)
    assert found is not None
    return found.state


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_credentials_are_hidden_until_a_token_of_that_scope_asks_and_that_is_written_down(room: Room) -> None:
    body = b'{"amount": 1, "password": "s3cret-body"}'
    headers = (("Authorization", "Bearer s3cret-head"), ("Content-Type", "application/json"))
    hold = await room.file(f"{OUTSIDE}?token=s3cret-url&page=2", method="POST", headers=headers, body=body)
    async with caller(room, frozenset({Scope.READ})) as reader:
        shown = await reader.get(f"/holds/{hold.id}")
        assert "s3cret" not in shown.text
        assert shown.json()["call"]["hidden"] == ["url", "headers", "body"]
        assert base64.b64encode(body).decode() not in shown.text
        assert (await reader.post(f"/holds/{hold.id}/reveal", None)).status_code == 403
        await reader.get(f"/holds/{hold.id}")
    lines = room.journal.of("read")
    assert [(line["by"], line["hold_id"]) for line in lines] == [(SPONSOR, hold.id)] and lines[0]["token"]
    assert room.journal.of("reveal") == []
    async with caller(room) as one:
        call = (await one.post(f"/holds/{hold.id}/reveal", None)).json()["call"]
        assert call["url"].endswith("?token=s3cret-url&page=2") and call["hidden"] == []
        assert ["Authorization", "Bearer s3cret-head"] in call["headers"]
        assert base64.b64decode(call["body_base64"]) == body
        assert "s3cret-head" not in str(call["filed"]), "what is signed needs its hash alone"
    assert [line["by"] for line in room.journal.of("reveal")] == [SPONSOR]


async def test_what_cannot_be_written_down_is_not_shown_and_not_said(room: Room) -> None:
    from proxy.core.errors import Code, Unavailable

    hold = await room.file()
    room.journal.fault = Unavailable(Code.JOURNAL_DOWN, "the disk is full")
    async with caller(room) as one:
        for answer in (
            await one.get(f"/holds/{hold.id}"),
            await one.post(f"/holds/{hold.id}/reveal", None),
            await one.post(f"/holds/{hold.id}/rulings", {"verb": "release", "digest": hold.call_digest}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "service.journal")
            assert answer.headers["retry-after"] and "call_digest" not in answer.text
        assert await state(room, hold.id) is HoldState.HELD
        room.journal.fault = None
        assert (await one.get(f"/holds/{hold.id}")).status_code == 200


async def test_a_list_has_what_concerns_the_person_and_goes_on_where_it_ended(room: Room) -> None:
    holds = [await room.file(f"{OUTSIDE}/{number}", ttl_s=600 + number) for number in range(5)]
    async with caller(room) as one, caller(room, person=identities.REVIEWER) as cleo:
        seen: list[str] = []
        cursor = ""
        for _ in range(3):
            page = (await one.get(f"/holds?limit=2{cursor and f'&cursor={cursor}'}")).json()
            seen += [each["id"] for each in page["holds"]]
            cursor = page["next"] or ""
            assert page["found"] == 5 and all(each["asks"].startswith("GET https://") for each in page["holds"])
        assert (seen, cursor) == ([hold.id for hold in holds], "")
        assert (await cleo.get("/holds")).json()["holds"] == []
        for path in ("", "/suggestion"):
            assert (await cleo.get(f"/holds/{holds[0].id}{path}")).status_code == 404
        for verb in ("drafts", "rulings"):
            asked = {"verb": "deny", "reason": "x", **({"digest": holds[0].call_digest} if verb == "rulings" else {})}
            assert (await cleo.post(f"/holds/{holds[0].id}/{verb}", asked)).status_code == 404
        assert len((await one.get("/holds?search=salaries/3")).json()["holds"]) == 1
        (group,) = (await one.get("/groups")).json()["groups"]
        assert group["count"] == 5
        assert len((await one.get(f"/holds?group={group['id']}&which=mine")).json()["holds"]) == 5


async def test_what_is_over_is_listed_by_its_state_newest_first(room: Room) -> None:
    ids = []
    async with caller(room) as one:
        for number in range(3):
            hold = await room.file(f"{OUTSIDE}/{number}")
            ids.append(hold.id)
            asked = {"verb": "deny", "reason": "no", "digest": hold.call_digest}
            assert (await one.post(f"/holds/{hold.id}/rulings", asked)).status_code == 200
        first = (await one.get("/holds?state=denied&limit=2")).json()
        rest = (await one.get(f"/holds?state=denied&limit=2&cursor={first['next']}")).json()
        assert sorted(each["id"] for each in first["holds"] + rest["holds"]) == sorted(ids)
        assert rest["next"] is None
        await room.file(f"{OUTSIDE}/waits")
        assert (await one.get(f"/holds?cursor={first['next']}")).json()["code"] == "api.cursor", "of another list"


@pytest.mark.parametrize("asked", [each for each in operations() if "{hold}" in each.path], ids=lambda each: each.name)
async def test_anothers_hold_answers_as_one_that_never_was(room: Room, asked: Operation) -> None:
    hold = await room.file()
    deny = {"verb": "deny", "reason": "x"}
    bodies = {"Wish": deny, "Ruling": {**deny, "digest": hold.call_digest}, "Statement": {"statement": "a.b.c"}}
    body = bodies[asked.body] if asked.body else {}
    async with caller(room) as ada, caller(room, person=identities.REVIEWER) as cleo:

        async def ask(who: Caller, hold_id: str) -> httpx.Response:
            path = asked.path.replace("{hold}", hold_id)
            return await (who.get(path) if asked.method == "GET" else who.post(path, body))

        answers = [await ask(cleo, hold_id) for hold_id in (hold.id, hold.id[:-3] + "zzz")]
        told = [answer.text.replace(hold.id[:-3], "").replace(hold.id[-3:], "zzz") for answer in answers]
        assert told[0] == told[1] and {answer.status_code for answer in answers} == {404}
        assert (await ask(ada, hold.id)).status_code != 404  # the twin: whom it concerns


async def test_a_list_that_may_be_old_is_not_told_as_that_of_now(room: Room) -> None:
    hold = await room.file()
    async with caller(room) as one:
        room.parts.index.fault = "the store is away"
        for path in ("/holds", "/groups"):
            answer = await one.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "service.store")
        await room.parts.index.read()
        assert [each["id"] for each in (await one.get("/holds")).json()["holds"]] == [hold.id]


async def test_events_have_the_streams_ids_and_one_who_was_away_is_told(room: Room) -> None:
    async with caller(room) as one:
        await room.parts.index.read()
        here = (await one.get("/events")).json()
        assert here["events"] == [] and here["reset"] is False
        assert (await one.get("/events?after=nowhere")).json()["reset"] is True


async def test_whose_the_token_is_and_what_else_there_is_to_see(room: Room) -> None:
    mine = Proposal(id="p1", agent="invoice-bot", sponsor=SPONSOR, author=DEPUTY, why="more", at=room.now, text="")
    for each in (mine, replace(mine, id="p2", author="cleo")):
        await room.proposals.put(each.id, written(each))
    async with caller(room, frozenset({Scope.READ})) as one:
        me = (await one.get("/me")).json()
        assert (me["person"], me["deployment"], me["token"]["scopes"]) == (SPONSOR, identities.DEPLOYMENT, ["read"])
        assert [each["id"] for each in (await one.get("/proposals")).json()["proposals"]] == ["p1", "p2"]
        assert (await one.get("/history?since=2026-03-01T00:00:00Z")).json() == {"whole": True, "rulings": []}
        assert (await one.get("/reviewers")).json()["reviewers"] == []  # nobody ruled
        assert {each["sponsor"] for each in (await one.get("/agents")).json()["agents"]} == {SPONSOR}
        hold = await room.file()
        assert (await one.get(f"/holds/{hold.id}/suggestion")).json()["then"] == ["intent-proxy bundle sign"]
    async with caller(room, frozenset({Scope.READ}), identities.REVIEWER) as cleo:  # who wrote the second, and no more
        assert [each["id"] for each in (await cleo.get("/proposals")).json()["proposals"]] == ["p2"]
        assert (await cleo.get("/agents")).json()["agents"] == []


# --- saying ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "ends"),
    [
        pytest.param({"verb": "release"}, HoldState.APPROVED, id="released"),
        pytest.param({"verb": "deny", "reason": "no"}, HoldState.DENIED, id="denied"),
        pytest.param({"verb": "comment", "reason": "hm"}, HoldState.HELD, id="noted"),
        pytest.param({"verb": "extend", "reason": "later", "longer_s": 60}, HoldState.HELD, id="extended"),
        pytest.param({"verb": "escalate", "reason": "away"}, HoldState.HELD, id="escalated"),
        pytest.param({"verb": "cancel", "reason": "gone"}, HoldState.CANCELLED, id="cancelled"),
        pytest.param(
            {"verb": "release", "reason": "all", "scope": {"count": 3, "for_s": 60}}, HoldState.APPROVED, id="by route"
        ),
    ],
)
async def test_the_desk_signs_a_routine_word_for_whom_the_token_names(
    room: Room, asked: dict[str, object], ends: HoldState
) -> None:
    hold = await room.file()
    async with caller(room) as one:
        answer = await one.post(f"/holds/{hold.id}/rulings", {**asked, "digest": hold.call_digest})
        assert (answer.status_code, answer.json()["result"]) == (200, "done"), answer.text
        assert (answer.json()["grant"] is not None) is ("scope" in asked)
    assert await state(room, hold.id) is ends
    (line,) = room.journal.of("say")
    assert (line["by"], line["hold_id"]) == (SPONSOR, hold.id) and line["token"]


async def test_another_call_than_was_looked_at_is_not_decided(room: Room) -> None:
    hold, other = await room.file(), await room.file(f"{OUTSIDE}/2")
    async with caller(room) as one:
        answer = await one.post(f"/holds/{hold.id}/rulings", {"verb": "release", "digest": other.call_digest})
        assert (answer.status_code, answer.json()["code"]) == (409, "api.other_call")
        assert await state(room, hold.id) is HoldState.HELD
        for status in (200, 409):  # once; then it is told that it was decided
            answer = await one.post(f"/holds/{hold.id}/rulings", {"verb": "release", "digest": hold.call_digest})
            assert answer.status_code == status
        assert answer.json()["outcome"]["hold"]["decided_by"] == SPONSOR


async def test_a_deputy_out_of_turn_is_refused_as_everywhere(room: Room) -> None:
    hold = await room.file()
    async with caller(room, person=DEPUTY) as ben:
        answer = await ben.post(f"/holds/{hold.id}/rulings", {"verb": "release", "digest": hold.call_digest})
        assert (answer.status_code, answer.json()["code"]) == (403, "hold.not_permitted")
        assert "the sponsor comes first" in answer.json()["detail"]


async def test_what_may_change_things_is_signed_with_ones_own_key_alone(room: Room) -> None:
    room.parts = replace(room.parts, signing=with_desk_key(key("desk")))
    from proxy.review.desk.app import build_app

    room.app = build_app(room.parts)
    hold = await room.file(method="DELETE")
    assert hold.risk is Risk.TRANSFORMATIVE
    async with caller(room) as one:
        answer = await one.post(f"/holds/{hold.id}/rulings", {"verb": "release", "digest": hold.call_digest})
        assert (answer.status_code, answer.json()["code"]) == (403, "api.own_key")
        drafted = (await one.post(f"/holds/{hold.id}/drafts", {"verb": "release"})).json()
        assert drafted["means"] == ["key", "passkey"] and drafted["call_digest"] == hold.call_digest
        claims, typ = drafted["statement"]["claims"], drafted["statement"]["typ"]

        async def record(statement: str) -> tuple[int, str]:
            answer = await one.post(f"/holds/{hold.id}/statements", {"statement": statement})
            return answer.status_code, answer.json().get("code", answer.json().get("result"))

        assert await record(seal(claims, typ=typ, key=key("desk"))) == (403, "hold.not_permitted")
        assert await record(seal(claims, typ=typ, key=key(DEPUTY))) == (403, "hold.not_permitted")
        ben = {**claims, "iss": DEPUTY}
        assert await record(seal(ben, typ=typ, key=key(DEPUTY))) == (403, "hold.not_permitted")
        other = {**claims, "digest": "A" * 43}
        assert await record(seal(other, typ=typ, key=key(SPONSOR))) == (403, "hold.not_permitted")
        assert await record("nonsense") == (422, "release.invalid")
        assert await state(room, hold.id) is HoldState.HELD
        assert await record(seal(claims, typ=typ, key=key(SPONSOR))) == (200, "done")
    assert await state(room, hold.id) is HoldState.APPROVED
    assert room.journal.of("say") == [] and len(room.journal.of("record")) == 4


async def test_a_token_that_may_only_read_hands_in_what_its_person_signed(room: Room) -> None:
    hold = await room.file()
    async with caller(room, frozenset({Scope.READ})) as one:
        asked = {"verb": "release", "reason": "all", "scope": {"count": 2}}
        drafted = (await one.post(f"/holds/{hold.id}/drafts", asked)).json()
        signed = {
            name: seal(drafted[name]["claims"], typ=drafted[name]["typ"], key=key(SPONSOR))
            for name in ("statement", "grant")
        }
        answer = await one.post(f"/holds/{hold.id}/statements", signed)
        assert answer.json()["grant"]["count"] == 2
        refused = await one.post(f"/holds/{hold.id}/rulings", {"verb": "lift", "reason": "x", "digest": "A" * 43})
        assert refused.json()["code"] == "api.scope"
    assert await state(room, hold.id) is HoldState.APPROVED


async def test_what_expired_says_so(room: Room) -> None:
    hold = await room.file(ttl_s=60)
    room.later(seconds=61)
    async with caller(room) as one:
        answer = await one.post(f"/holds/{hold.id}/rulings", {"verb": "release", "digest": hold.call_digest})
        assert (answer.status_code, answer.json()["code"]) in ((410, "hold.expired"), (409, "hold.decided"))
