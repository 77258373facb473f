"""The desk's pages of oversight: what was decided, how people decide, and which agents there are; and who sees it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import identities
import pytest
from filing import OUTSIDE
from identities import AGENT, DEPUTY, HELPER, NOW, REVIEWER, SPONSOR
from journals import Desk
from reviewrooms import Room, text_of

from proxy.audit.lines import Kind
from proxy.core.control import Act, ControlView, Statement
from proxy.core.encoding import Json
from proxy.core.holds import Event
from proxy.core.manifest import parse_manifest
from proxy.core.model import Hold, HoldState
from proxy.review.desk.history import Period, Sought, became, read_sought, remarks, upstream
from proxy.review.desk.parts import Earlier
from proxy.review.history import Ending, Pace, Ruling, Sent
from proxy.review.joined import joined


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


def ruling(**about: object) -> Ruling:
    given: dict[str, object] = {
        "hold_id": "h",
        "ending": Ending.RELEASED,
        "ended_at": NOW,
        "filed_at": NOW - timedelta(minutes=1),
        "agent": AGENT,
        "sponsor": SPONSOR,
        "code": "mandate.not_covered",
        "risk": "routine",
        "cluster": None,
        "task": None,
        "who": (),
        "asked": None,
        "said": (),
        "reason": None,
        "grant": None,
        "lifted_by": None,
        "sent": Sent.WAITING,
        "status": None,
        "error": None,
    }
    return Ruling(**{**given, **about})  # type: ignore[arg-type]


async def write(room: Room, lines: Sequence[tuple[Kind, dict[str, Json]]], *, ago: timedelta) -> None:
    """A journal as a node writes it, its first line so long ago, one a second."""
    desk = Desk(directory=room.journal_dir)
    desk.clock.now = room.now - ago
    journal = await desk.open()
    for kind, fields in lines:
        desk.clock.now += timedelta(seconds=1)
        await journal.append(kind, fields)
    await journal.close()


def past(hold: str, by: str, *, sponsor: str = SPONSOR, **more: Json) -> list[tuple[Kind, dict[str, Json]]]:
    """The lines of a call that was released, sent, and answered."""
    about: dict[str, Json] = {"hold_id": hold, "agent": AGENT, "sponsor": sponsor, "code": "mandate.not_covered"}
    call: dict[str, Json] = {"method": "GET", "url": f"https://erp.example/v1/{hold}"}
    return [
        (Kind.DECISION, {**about, **call, "decision_id": f"d-{hold}", "verdict": "hold"}),
        (Kind.HOLD, {**about, "event": "file", "who": ["sponsor", "deputy"], "task": "T-7", **more}),
        (Kind.HOLD, {**about, "event": "approve", "by": by, "reason": "month end"}),
        (Kind.DECISION, {**about, **call, "decision_id": f"e-{hold}", "verdict": "allow"}),
        (Kind.OUTCOME, {"decision_id": f"e-{hold}", "status": 502}),
        (Kind.HOLD, {**about, "event": "sent"}),
    ]


# --- history ---------------------------------------------------------------------------------------------------------


async def test_what_was_decided_is_told_with_by_whom_how_fast_why_and_what_upstream_answered(room: Room) -> None:
    await write(room, past("salaries", SPONSOR), ago=timedelta(days=3))
    async with room.browser() as maria:
        said = text_of((await maria.get("/history")).text)
    assert (
        "GET https://erp.example/v1/salaries released by Ada Example (ada) after 1 s “month end” sent, answered 502"
        in said
    )
    assert "1 of 1 that concern you, in the last 7 days" in said


async def test_what_the_store_alone_knows_is_told_too_and_leads_to_its_card(room: Room) -> None:
    await write(room, past("salaries", SPONSOR), ago=timedelta(days=3))
    hold = await room.file()
    async with room.browser() as maria:
        await maria.say(hold, "deny", reason="not its task")
        page = (await maria.get("/history")).text
    assert f'href="/holds/{hold.id}"' in page and 'href="/holds/salaries"' not in page
    assert text_of(page).index("not its task") < text_of(page).index("month end")  # the newest first


async def test_a_call_nobody_decided_in_time_is_told_as_that(room: Room) -> None:
    await room.file(f"{OUTSIDE}1", ttl_s=60)
    room.later(minutes=2)
    async with room.browser() as maria:
        said = text_of((await maria.get("/history")).text)
    assert "1 of them without a decision in time" in said and "expired by nobody" in said


@pytest.mark.parametrize(
    ("person", "sees"),
    [
        pytest.param(SPONSOR, True, id="the sponsor"),
        pytest.param(DEPUTY, True, id="who could have decided it"),
        pytest.param(REVIEWER, False, id="whom it does not concern"),
    ],
)
async def test_history_is_for_whom_it_concerns(room: Room, person: str, sees: bool) -> None:
    await write(room, past("salaries", SPONSOR), ago=timedelta(days=3))
    async with room.browser(person) as somebody:
        assert ("v1/salaries" in (await somebody.get("/history")).text) is sees
        assert ("Ada Example" in (await somebody.get("/reviewers")).text) is (sees or person == SPONSOR)


async def test_whoever_was_named_by_id_or_ruled_sees_it_the_deputy_who_could_not_does_not(room: Room) -> None:
    await write(
        room,
        [*past("named", SPONSOR, who=["sponsor", REVIEWER]), *past("ruled", REVIEWER, who=["sponsor"])],
        ago=timedelta(days=3),
    )
    async with room.browser(REVIEWER) as cleo, room.browser(DEPUTY) as ben:
        hers, his = (await cleo.get("/history")).text, (await ben.get("/history")).text
    assert "v1/named" in hers and "v1/ruled" in hers
    assert "v1/named" not in his and "v1/ruled" not in his


async def test_history_is_searched_filtered_and_turned_page_by_page(room: Room) -> None:
    lines = [line for number in range(60) for line in past(f"n{number}", SPONSOR if number else DEPUTY)]
    await write(room, lines, ago=timedelta(days=3))
    async with room.browser() as maria:
        first, second = [text_of((await maria.get(f"/history?page={page}")).text) for page in (1, 2)]
        assert "page 1 of 2" in first and "v1/n59 " in first and "v1/n5 " not in first
        assert "page 2 of 2" in second and "v1/n5 " in second and "v1/n0 " in second
        for query, found in (
            ("search=n17+ada", 1),
            ("search=n17+zoe", 0),
            (f"person={DEPUTY}", 1),
            ("became=denied", 0),
            ("became=released", 60),
            ("agent=none", 0),
            ("period=day", 0),
            ("period=all&page=99", 60),
            ("became=x&period=y&page=-1", 60),
        ):
            assert f"{found} of {0 if 'day' in query else 60} that concern you" in text_of(
                (await maria.get(f"/history?{query}")).text
            ), query


async def test_a_journal_that_cannot_be_read_is_said_and_the_store_is_still_told(room: Room) -> None:
    hold = await room.file()
    room.journal_dir.rmdir()
    async with room.browser() as maria:
        await maria.say(hold, "deny", reason="no")
        said = text_of((await maria.get("/history")).text)
    assert "The journal cannot be read" in said and "denied by Ada" in said


async def test_a_journal_is_read_once_as_long_as_it_stays_the_same(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(room, past("one", SPONSOR), ago=timedelta(days=3))
    remembered = room.parts.remembered
    first = await remembered.history(Period.WEEK)
    assert await remembered.history(Period.WEEK) is first
    await write(room, past("two", SPONSOR), ago=timedelta(days=2))
    assert len((await remembered.history(Period.WEEK)).rulings) == 2


@pytest.mark.parametrize(
    ("about", "words"),
    [
        pytest.param({}, "not sent yet", id="waits for its agent"),
        pytest.param({"sent": Sent.SENT, "status": 201}, "sent, answered 201", id="answered"),
        pytest.param({"sent": Sent.UNCERTAIN, "error": "reset"}, "uncertain whether it arrived (reset)", id="lost"),
        pytest.param({"sent": Sent.NOT_SENT}, "never sent", id="its time ran out"),
        pytest.param({"sent": Sent.ARRIVED}, "it arrived, somebody found out", id="found"),
        pytest.param({"sent": None}, "", id="was never to leave"),
    ],
)
def test_what_became_of_a_call_upstream_is_a_sentence(about: dict[str, object], words: str) -> None:
    assert upstream(ruling(**about)) == words


@pytest.mark.parametrize(
    ("about", "words"),
    [
        pytest.param({}, "released", id="once"),
        pytest.param({"grant": "g"}, "released, and calls like it", id="with a grant"),
        pytest.param({"ending": Ending.DENIED, "lifted_by": SPONSOR}, "denied, taken back since", id="lifted"),
        pytest.param({"ending": Ending.UNVERIFIED}, "decided, and nobody signed that", id="nobody's"),
    ],
)
def test_how_a_hold_ended_is_a_word(about: dict[str, object], words: str) -> None:
    assert became(ruling(**about)) == words


def test_the_address_of_a_wish_says_what_was_wished() -> None:
    sought = Sought(search="a b", person="ada", ending=Ending.DENIED, period=Period.ALL, page=2)
    query = sought.query()
    assert query == "?search=a+b&person=ada&became=denied&period=all&page=2"
    assert read_sought({"search": "a b", "person": "ada", "became": "denied", "period": "all", "page": "2"}) == sought


# --- the journal and the store together ------------------------------------------------------------------------------


async def test_the_store_says_what_another_machine_sent_the_journal_what_somebody_found_out(room: Room) -> None:
    hold = await room.filer.file(f"{OUTSIDE}1", method="GET")
    for event in (Event.APPROVE, Event.CLAIM, Event.SENT):
        found = await room.holds.get(hold.id)
        assert found is not None
        await room.holds.apply(hold.id, event, fence=found.fence)
    sent = await room.holds.get(hold.id)
    assert sent is not None and sent.state is HoldState.RELEASED

    def told(became: Sent) -> Ruling:
        (only,) = joined([ruling(hold_id=hold.id, sent=became)], [sent], now=NOW)
        return only

    assert told(Sent.WAITING).sent is Sent.SENT
    assert told(Sent.ARRIVED).sent is Sent.ARRIVED


@pytest.mark.parametrize(
    ("about", "ending", "sent"),
    [
        pytest.param({"state": HoldState.APPROVED, "decided_by": SPONSOR}, Ending.RELEASED, Sent.WAITING, id="waits"),
        pytest.param({"state": HoldState.UNCERTAIN}, Ending.RELEASED, Sent.UNCERTAIN, id="uncertain"),
        pytest.param({"state": HoldState.DENIED, "decided_by": SPONSOR}, Ending.DENIED, None, id="denied"),
        pytest.param({"state": HoldState.CANCELLED, "decided_by": SPONSOR}, Ending.CANCELLED, None, id="cancelled"),
        pytest.param({"state": HoldState.EXPIRED}, Ending.EXPIRED, None, id="nobody decided"),
        pytest.param(
            {"state": HoldState.EXPIRED, "decided_by": SPONSOR}, Ending.RELEASED, Sent.NOT_SENT, id="never sent"
        ),
        pytest.param(
            {"state": HoldState.APPROVED, "expires_at": NOW}, Ending.RELEASED, Sent.NOT_SENT, id="its time is up"
        ),
    ],
)
async def test_what_the_store_knows_of_an_end(
    room: Room, about: dict[str, object], ending: Ending, sent: Sent | None
) -> None:
    hold: Hold = replace(await room.filer.file(method="GET"), **about)  # type: ignore[arg-type]
    (only,) = joined([], [hold], now=NOW)
    assert (only.ending, only.sent) == (ending, sent)
    assert joined([], [replace(hold, state=HoldState.HELD)], now=NOW) == ()


# --- how people decide -----------------------------------------------------------------------------------------------


def pace(rulings: int, released: int, hasty: int) -> Pace:
    return Pace(
        person=SPONSOR,
        rulings=rulings,
        released=released,
        denied=rulings - released,
        median=timedelta(seconds=9),
        hasty=hasty,
        last=NOW,
    )


@pytest.mark.parametrize(
    ("how", "found"),
    [
        pytest.param(pace(10, 6, 1), [], id="somebody who reads"),
        pytest.param(pace(10, 6, 4), ["4 of 10 in under 5 seconds: nobody reads a call in less"], id="hasty"),
        pytest.param(pace(4, 4, 4), [], id="too few to say"),
        pytest.param(pace(50, 50, 0), ["releases nearly everything"], id="everything"),
        pytest.param(pace(50, 45, 0), [], id="nearly everything is not enough"),
    ],
)
def test_rubber_stamping_is_remarked(how: Pace, found: list[str]) -> None:
    assert list(remarks(how)) == found


async def test_reviewers_are_shown_with_how_often_and_how_fast(room: Room) -> None:
    lines = [line for number in range(8) for line in past(f"n{number}", DEPUTY if number < 6 else SPONSOR)]
    await write(room, lines, ago=timedelta(days=3))
    async with room.browser() as maria:
        said = text_of((await maria.get("/reviewers")).text)
        nobody = text_of((await maria.get("/reviewers?period=day")).text)
    assert "Ben Example (ben) decided 6 released 6 100 % denied 0 usually after 1 s in under 5 s 6 100 %" in said
    assert "6 of 6 in under 5 seconds" in said
    assert "Nobody decided anything in that time." in nobody


# --- agents ----------------------------------------------------------------------------------------------------------


def with_manifest(room: Room, **about: object) -> None:
    root = parse_manifest(identities.root(identities.draft(**about)))  # type: ignore[arg-type]
    room.manifests = (*room.manifests, root)


async def test_an_agent_is_shown_with_its_mandate_until_when_and_what_of_it_waits(room: Room) -> None:
    with_manifest(room, exp=NOW + timedelta(days=3))
    await room.file()
    async with room.browser() as maria:
        said = text_of((await maria.get("/agents")).text)
    assert f"{AGENT} Match supplier invoices with purchase orders. mandate ends in 3 d 1 held" in said
    assert f"{HELPER} no mandate kept here that counts" in said


async def test_an_agents_page_says_what_it_is_for_may_do_and_did(room: Room) -> None:
    with_manifest(room)
    with_manifest(room, jti="m-2", now=NOW - timedelta(days=60))
    room.did = (Earlier(at=NOW, what="allow", asked="GET https://erp.example/v1/invoices/7", why="ok", task="T-9"),)
    async with room.browser() as maria:
        said = text_of((await maria.get(f"/agents/{AGENT}")).text)
    assert "may go on" in said and "ended 31 d ago" in said and "ends in 29 d" in said
    assert "Purpose Match supplier invoices" in said and "supplier-invoices" in said and "The agent may:" in said
    assert "may be handed on 3 times" in said
    assert "Its tasks: T-9 (1 call)" in said and "GET https://erp.example/v1/invoices/7" in said
    assert f"agents quarantine {AGENT} --as {SPONSOR}" in said


async def test_an_agent_that_is_stopped_says_by_whom_and_why(room: Room) -> None:
    word = Statement(
        token="", id="s", by=SPONSOR, act=Act.QUARANTINE, target=AGENT, reason="odd calls", serial=1, at=NOW
    )
    room.view = ControlView().absorb(word)
    with_manifest(room)
    async with room.browser() as maria:
        listed, said = [text_of((await maria.get(path)).text) for path in ("/agents", f"/agents/{AGENT}")]
    assert f"{AGENT} Match supplier invoices with purchase orders. stopped" in listed
    assert f"It is stopped by Ada Example ({SPONSOR})" in said and "“odd calls”" in said
    assert f"agents restore {AGENT}" in said


async def test_the_kill_switch_is_said(room: Room) -> None:
    word = Statement(token="", id="s", by="operator", act=Act.KILL_ON, target="*", reason="incident", serial=1, at=NOW)
    room.view = ControlView().absorb(word)
    async with room.browser() as maria:
        listed, said = [text_of((await maria.get(path)).text) for path in ("/agents", f"/agents/{AGENT}")]
    assert "Everything is stopped" in listed and "Everything is stopped by operator" in said
    assert "agents restore --all" in said


async def test_a_revoked_mandate_does_not_count(room: Room) -> None:
    with_manifest(room)
    room.view = ControlView(revoked_roots=frozenset({room.manifests[0].id}))
    async with room.browser() as maria:
        assert f"{AGENT} no mandate kept here that counts" in text_of((await maria.get("/agents")).text)
        assert "revoked" in text_of((await maria.get(f"/agents/{AGENT}")).text)


async def test_a_sponsor_who_is_not_certified_is_warned_about(room: Room) -> None:
    room.now = NOW + timedelta(days=364)
    async with room.browser() as maria:
        assert "Ada Example is certified for 1 d more." in text_of((await maria.get("/agents")).text)
        room.later(days=2)
        await maria.sign_in(SPONSOR)
        assert "has not been certified for 1 d" in text_of((await maria.get("/agents")).text)


@pytest.mark.parametrize(
    ("person", "status"),
    [
        pytest.param(SPONSOR, 200, id="the sponsor"),
        pytest.param(DEPUTY, 200, id="the sponsor's deputy"),
        pytest.param(REVIEWER, 404, id="whom it does not concern"),
    ],
)
async def test_an_agent_is_there_for_whom_it_concerns(room: Room, person: str, status: int) -> None:
    async with room.browser(person) as somebody:
        assert (await somebody.get(f"/agents/{AGENT}")).status_code == status
        assert (AGENT in (await somebody.get("/agents")).text) is (status == 200)
        assert (await somebody.get("/agents/none")).status_code == 404


async def test_whoever_decides_calls_of_its_cluster_sees_an_agent(tmp_path: Path) -> None:
    review = replace(identities.cluster().review, who=("sponsor", REVIEWER))
    world = identities.world(identities.cluster(review=review))
    room = Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)
    async with room.browser(REVIEWER) as cleo:
        assert (await cleo.get(f"/agents/{AGENT}")).status_code == 404
        room.manifests = (parse_manifest(world.tokens[0]),)
        assert (await cleo.get(f"/agents/{AGENT}")).status_code == 200
