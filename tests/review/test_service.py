"""The review service: what a reviewer is shown, who may rule, and what is recorded (THREATS F01, F02, F04)."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import identities
import pytest
from filing import OUTSIDE, Filer
from identities import AGENT, DEPLOYMENT, DEPUTY, NOW, REVIEWER, SPONSOR, key

from proxy.core.clusters import compile_policy
from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.errors import Code, Rejected
from proxy.core.holds import MAX_SAID, Event
from proxy.core.model import Bundle, Hold, HoldState, Person, Proof, Review, Risk, Verdict
from proxy.core.notes import NoteAct
from proxy.core.release import read_approval, read_release
from proxy.core.reviewed import event_of
from proxy.core.stored import stored_to_bytes
from proxy.review.drafts import Draft
from proxy.review.service import Outcome, Result, ReviewService
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault


@dataclass(kw_only=True)
class Desk:
    """A review service on stores in memory, with a clock to turn."""

    bundle: Bundle
    now: datetime = NOW
    view: ControlView = field(default_factory=ControlView)

    def __post_init__(self) -> None:
        world = identities.world()
        self.holds = MemoryHolds(now=lambda: self.now)
        self.vault = SecretVault(b"s" * 32)
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=self.bundle, tokens=world.tokens, now=NOW)
        self.service = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=lambda: compile_policy(self.bundle),
            clock=lambda: self.now,
            new_nonce=lambda: identities.nonce("review"),
            view=lambda: self.view,
        )

    def person(self, name: str) -> Person:
        return self.bundle.people[name]

    async def release(self, hold: Hold, by: str = SPONSOR, reason: str = "") -> Outcome:
        return await self.service.release(hold.id, person=self.person(by), key=key(by), reason=reason)

    async def deny(self, hold: Hold, by: str = SPONSOR, reason: str = "not your task") -> Outcome:
        return await self.service.deny(hold.id, person=self.person(by), key=key(by), reason=reason)

    async def note(
        self,
        act: NoteAct,
        hold: Hold,
        by: str = SPONSOR,
        reason: str = "because",
        longer: timedelta = timedelta(0),
    ) -> Outcome:
        return await self.service.note(act, hold.id, person=self.person(by), key=key(by), reason=reason, longer=longer)


@pytest.fixture
def desk() -> Desk:
    return Desk(bundle=identities.bundle())


# --- what is shown ---------------------------------------------------------------------------------------------------


async def test_a_reviewer_reads_what_would_happen_why_it_stopped_and_exactly_what_would_be_sent(desk: Desk) -> None:
    hold = await desk.filer.file(body=b'{"id": 42}')
    held = await desk.service.show(hold.id)
    assert held.hold == hold
    assert held.deciders == (SPONSOR,)
    assert [rung.people for rung in held.later] == [(DEPUTY,)]
    shown = held.shown
    assert shown is not None
    assert shown.consequence.startswith(f"{AGENT} wants to DELETE /v1/customers/42 on erp.example; ")
    assert "read-invoice" in " ".join(shown.explanation.near)
    assert shown.url == OUTSIDE
    assert shown.body == b'{"id": 42}'


async def test_credentials_are_shown_as_keyed_hashes_so_that_equal_ones_look_equal(desk: Desk) -> None:
    first, second = (
        await desk.filer.file(f"{OUTSIDE}?token=s3cret"),
        await desk.filer.file(f"{OUTSIDE}?token=s3cret&a=1"),
    )
    shown = [(await desk.service.show(hold.id)).shown for hold in (first, second)]
    assert all(each is not None and "s3cret" not in f"{each.headers}{each.url}" for each in shown)
    assert shown[0] is not None and shown[1] is not None
    assert dict(shown[0].headers)["Authorization"] == dict(shown[1].headers)["Authorization"]


async def test_once_a_hold_is_over_its_call_is_gone_but_its_record_stays(desk: Desk) -> None:
    hold = await desk.filer.file()
    await desk.deny(hold)
    held = await desk.service.show(hold.id)
    assert (held.hold.state, held.shown) == (HoldState.DENIED, None)


async def test_a_hold_that_never_was_is_unknown(desk: Desk) -> None:
    with pytest.raises(Rejected) as fault:
        await desk.service.show("h\x1b[2J")
    assert fault.value.code is Code.HOLD_UNKNOWN
    assert "\x1b" not in fault.value.detail


async def test_the_listing_is_the_stores_with_its_filters(desk: Desk) -> None:
    open_one, denied = await desk.filer.file(), await desk.filer.file(f"{OUTSIDE}0")
    await desk.deny(denied)
    assert [hold.id for hold in await desk.service.listing()] == [open_one.id]
    assert [hold.id for hold in await desk.service.listing(states=frozenset({HoldState.DENIED}))] == [denied.id]
    assert await desk.service.listing(agent="somebody-else") == ()


async def test_watching_begins_with_what_is_open_and_misses_nothing_after(desk: Desk) -> None:
    before = await desk.filer.file()
    seen: list[tuple[str, HoldState]] = []

    async def watch() -> None:
        async for hold in desk.service.watch():
            seen.append((hold.id, hold.state))
            if len(seen) == 3:
                return

    watching = asyncio.ensure_future(watch())
    while not seen:
        await asyncio.sleep(0)
    later = await desk.filer.file(f"{OUTSIDE}1")
    await desk.release(before)
    await asyncio.wait_for(watching, 5)
    assert seen == [(before.id, HoldState.HELD), (later.id, HoldState.HELD), (before.id, HoldState.APPROVED)]


# --- ruling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "after_s"), [pytest.param(SPONSOR, 0, id="the sponsor"), pytest.param(DEPUTY, 4800, id="the deputy later")]
)
async def test_a_release_is_signed_over_the_digest_and_recorded(desk: Desk, by: str, after_s: int) -> None:
    hold = await desk.filer.file(ttl_s=14_400)
    desk.now = NOW + timedelta(seconds=after_s)
    outcome = await desk.release(hold, by, "month-end")
    assert (outcome.result, outcome.detail) == (Result.DONE, f"released by {by}")
    now = outcome.hold
    assert now is not None and now.statement is not None
    assert (now.state, now.decided_by, now.reason) == (HoldState.APPROVED, by, "month-end")
    release = read_release(now.statement, hold=hold, bundle=desk.bundle, barred=frozenset(), now=desk.now)
    assert (release.verdict, release.call_digest, release.not_after) == (
        Verdict.ALLOW,
        hold.call_digest,
        hold.expires_at,
    )


async def test_a_denial_bears_its_reason(desk: Desk) -> None:
    hold = await desk.filer.file()
    outcome = await desk.deny(hold, reason="salaries are not your task")
    assert outcome.result is Result.DONE
    assert outcome.hold is not None and outcome.hold.statement is not None
    assert (outcome.hold.state, outcome.hold.reason) == (HoldState.DENIED, "salaries are not your task")
    said = read_release(outcome.hold.statement, hold=hold, bundle=desk.bundle, barred=frozenset(), now=NOW)
    assert said.verdict is Verdict.DENY


async def test_a_denial_without_a_reason_is_refused_and_nothing_is_recorded(desk: Desk) -> None:
    hold = await desk.filer.file()
    with pytest.raises(Rejected, match="needs a reason") as fault:
        await desk.deny(hold, reason=" ")
    assert fault.value.code is Code.RELEASE_INVALID
    assert await desk.holds.get(hold.id) == hold


async def test_a_second_ruling_says_who_decided_and_when(desk: Desk) -> None:
    hold = await desk.filer.file()
    await desk.release(hold, SPONSOR)
    outcome = await desk.deny(hold, DEPUTY)
    assert outcome.result is Result.ALREADY_DECIDED
    assert outcome.detail == f"hold {hold.id} is approved: decided by {SPONSOR} at 2026-03-02T09:30:00Z"


@pytest.mark.parametrize("event", [Event.APPROVE, Event.DENY])
async def test_what_only_the_store_says_is_nobodys_word(desk: Desk, event: Event) -> None:
    hold, true = await desk.filer.file(), await desk.filer.file(f"{OUTSIDE}0")
    await desk.holds.apply(hold.id, event, by=SPONSOR, reason="as maria said")
    await (desk.release(true) if event is Event.APPROVE else desk.deny(true))
    for found in (
        (await desk.service.show(hold.id)).hold,
        *[each for each in await desk.service.listing(states=frozenset(HoldState)) if each.id == hold.id],
    ):
        assert (found.decided_by, found.reason) == (None, None)
    outcome = await desk.release(hold)
    assert (outcome.result, "no reviewer's signature" in outcome.detail) == (Result.ALREADY_DECIDED, True)
    with pytest.raises(Rejected, match="no reviewer's signature") as fault:
        await desk.service.decided(hold.id)
    assert fault.value.code is Code.HOLD_TAMPERED
    assert (await desk.service.decided(true.id)).decided_by == SPONSOR


async def test_a_hold_that_cannot_be_read_does_not_end_the_watching(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = desk.service.watch()
    first = await desk.filer.file()
    assert (await anext(watching)).id == first.id
    get = desk.holds.get

    async def changed_by_hand(hold_id: str) -> Hold | None:
        if hold_id == first.id:
            raise Rejected(Code.HOLD_TAMPERED, "a stored hold was changed by someone else")
        return await get(hold_id)

    monkeypatch.setattr(desk.holds, "get", changed_by_hand)
    await desk.holds.apply(first.id, Event.APPROVE)
    second = await desk.filer.file(f"{OUTSIDE}0")
    assert (await anext(watching)).id == second.id


async def test_of_two_reviewers_at_once_one_decides_and_the_other_is_told_who(desk: Desk) -> None:
    hold = await desk.filer.file()
    outcomes = await asyncio.gather(desk.release(hold, SPONSOR), desk.deny(hold, DEPUTY))
    assert sorted(outcome.result for outcome in outcomes) == [Result.ALREADY_DECIDED, Result.DONE]
    loser = next(outcome for outcome in outcomes if outcome.result is Result.ALREADY_DECIDED)
    winner = next(outcome for outcome in outcomes if outcome.result is Result.DONE)
    assert winner.hold is not None and winner.hold.decided_by is not None
    assert f"decided by {winner.hold.decided_by}" in loser.detail


async def test_a_withdrawn_call_cannot_be_decided(desk: Desk) -> None:
    hold = await desk.filer.file()
    await desk.holds.apply(hold.id, Event.CANCEL)
    outcome = await desk.release(hold)
    assert (outcome.result, outcome.detail) == (
        Result.ALREADY_DECIDED,
        f"hold {hold.id} is cancelled; nobody's word changes that",
    )


async def test_an_expired_hold_cannot_be_decided(desk: Desk) -> None:
    hold = await desk.filer.file(ttl_s=60)
    desk.now = NOW + timedelta(seconds=60)
    assert (await desk.release(hold)).result is Result.EXPIRED


async def test_a_hold_past_its_deadline_is_expired_even_when_the_store_lags(desk: Desk) -> None:
    hold = await desk.filer.file(ttl_s=60)
    late = ReviewService(
        holds=desk.holds,
        vault=desk.vault,
        policy=lambda: compile_policy(desk.bundle),
        clock=lambda: NOW + timedelta(seconds=61),
        new_nonce=identities.nonce,
    )
    outcome = await late.release(hold.id, person=desk.person(SPONSOR), key=key(SPONSOR))
    assert outcome.result is Result.EXPIRED
    assert (await desk.release(hold)).result is Result.DONE


async def test_an_unknown_hold_cannot_be_decided(desk: Desk) -> None:
    outcome = await desk.service.release("nothing", person=desk.person(SPONSOR), key=key(SPONSOR))
    assert (outcome.result, outcome.hold) == (Result.UNKNOWN, None)


# --- who may ---------------------------------------------------------------------------------------------------------


async def test_somebody_the_hold_does_not_name_is_not_permitted_and_hears_who_is(desk: Desk) -> None:
    hold = await desk.filer.file()
    outcome = await desk.release(hold, REVIEWER)
    assert outcome.result is Result.NOT_PERMITTED
    assert outcome.detail == f"{REVIEWER} may not decide hold {hold.id}: ada, ben may"
    assert await desk.holds.get(hold.id) == hold


async def test_another_persons_key_is_not_permitted(desk: Desk) -> None:
    hold = await desk.filer.file()
    outcome = await desk.service.release(hold.id, person=desk.person(SPONSOR), key=key(DEPUTY))
    assert outcome.result is Result.NOT_PERMITTED
    assert "ada has no enrolled key" in outcome.detail
    assert (await desk.release(hold)).result is Result.DONE


async def test_a_lapsed_reviewer_is_not_permitted() -> None:
    lapsed = identities.person(SPONSOR, deputy=DEPUTY, certified_until=NOW + timedelta(hours=1))
    desk = Desk(bundle=identities.bundle(people=[lapsed, identities.person(DEPUTY)]))
    hold = await desk.filer.file(ttl_s=7200)
    desk.now = NOW + timedelta(hours=1)
    outcome = await desk.release(hold)
    assert (outcome.result, "certified until" in outcome.detail) == (Result.NOT_PERMITTED, True)
    assert (await desk.release(hold, DEPUTY)).result is Result.DONE


async def test_the_key_that_asked_never_releases_even_as_a_reviewers_enrolled_key() -> None:
    own = identities.person(SPONSOR, deputy=DEPUTY, keys=[key(SPONSOR).public, identities.leaf_key().public])
    desk = Desk(bundle=identities.bundle(people=[own, identities.person(DEPUTY)]))
    hold = await desk.filer.file()
    outcome = await desk.service.release(hold.id, person=own, key=identities.leaf_key())
    assert (outcome.result, "nobody reviews their own call" in outcome.detail) == (Result.NOT_PERMITTED, True)
    assert await desk.holds.get(hold.id) == hold
    assert (await desk.release(hold)).result is Result.DONE


# --- what an intruder in the store can do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"agent": "harmless-bot"}, id="another agent"),
        pytest.param({"sponsor": REVIEWER}, id="another sponsor"),
        pytest.param({"who": (REVIEWER,)}, id="other reviewers"),
        pytest.param({"risk": Risk.ROUTINE}, id="a lower risk"),
        pytest.param({"proof": Proof.SESSION}, id="a weaker proof"),
        pytest.param({"task": "T-1"}, id="another task"),
        pytest.param({"cluster": "supplier-orders"}, id="another cluster"),
        pytest.param({"code": Code.CLUSTER_REVIEW}, id="another reason"),
        pytest.param({"root_id": "cm9vdC1tYW5pZmVzdC1pZC1vZi00My1jaGFyYWN0ZXI"}, id="another mandate"),
        pytest.param({"call_digest": "Zm9ydHktdGhyZWUtY2hhcmFjdGVycy1vZi1kaWdlc3Q"}, id="another digest"),
        pytest.param({"body_bytes": 0}, id="another size"),
    ],
)
async def test_a_hold_whose_record_was_changed_is_neither_shown_nor_released(
    desk: Desk, changed: dict[str, object]
) -> None:
    hold = await desk.filer.file(body=b"four", changed=changed)
    for attempt in (desk.service.show(hold.id), desk.release(hold), desk.deny(hold)):
        with pytest.raises(Rejected) as fault:
            await attempt
        assert fault.value.code is Code.HOLD_TAMPERED
    assert await desk.holds.get(hold.id) == hold
    twin = await desk.filer.file(f"{OUTSIDE}1", body=b"four")
    assert (await desk.release(twin)).result is Result.DONE


async def test_the_call_of_another_hold_in_its_place_is_refused(desk: Desk) -> None:
    hold = await desk.filer.file()
    other = desk.filer.stored("https://erp.example/v1/harmless")
    record = desk.holds._records[hold.id]
    record.sealed = desk.vault.seal(hold.id, stored_to_bytes(other))
    with pytest.raises(Rejected) as fault:
        await desk.release(hold)
    assert fault.value.code is Code.HOLD_TAMPERED
    record.sealed = desk.vault.seal("another", stored_to_bytes(other))
    with pytest.raises(Rejected) as fault:
        await desk.release(hold)
    assert fault.value.code is Code.HOLD_TAMPERED


async def test_bytes_that_do_not_have_the_digest_they_claim_are_refused(desk: Desk) -> None:
    hold = await desk.filer.file()
    stored = desk.filer.stored()
    lied = replace(stored, call=replace(stored.call, path="/v1/other", segments=("v1", "other")))
    lied = replace(lied, decision=replace(lied.decision, hold_id=hold.id))
    desk.holds._records[hold.id].sealed = desk.vault.seal(hold.id, stored_to_bytes(lied))
    with pytest.raises(Rejected) as fault:
        await desk.release(hold)
    assert fault.value.code is Code.HOLD_TAMPERED


# --- whose turn it is, and how many must -----------------------------------------------------------------------------


def a_house(*, quorum: int = 1, who: tuple[str, ...] = ("sponsor", "deputy")) -> Desk:
    """A desk of a cluster that has its calls released so."""
    review = Review(who=who, quorum=quorum)
    return Desk(bundle=identities.bundle(clusters=[identities.cluster(review=review)]))


async def test_a_deputy_hears_when_their_turn_is_and_may_deny_before(desk: Desk) -> None:
    hold = await desk.filer.file(ttl_s=600)
    early = await desk.release(hold, DEPUTY)
    assert early.result is Result.NOT_PERMITTED
    assert f"from {NOW + timedelta(seconds=200):%Y-%m-%dT%H:%M:%SZ} on, or once it is escalated" in early.detail
    assert (await desk.deny(hold, DEPUTY)).result is Result.DONE
    other = await desk.filer.file(f"{OUTSIDE}1", ttl_s=600)
    desk.now = NOW + timedelta(seconds=200)
    assert (await desk.release(other, DEPUTY)).result is Result.DONE


async def test_an_escalation_lets_the_deputy_decide_at_once(desk: Desk) -> None:
    hold = await desk.filer.file()
    assert (await desk.note(NoteAct.ESCALATE, hold, DEPUTY)).result is Result.NOT_PERMITTED
    escalated = await desk.note(NoteAct.ESCALATE, hold, SPONSOR, "on the train")
    assert (escalated.result, escalated.detail) == (Result.DONE, f"escalated by {SPONSOR}")
    held = await desk.service.show(hold.id)
    assert (held.deciders, held.later) == ((SPONSOR, DEPUTY), ())
    assert [(one.by, one.reason) for one in held.said] == [(SPONSOR, "on the train")]
    assert (await desk.release(hold, DEPUTY)).result is Result.DONE


async def test_a_quorum_takes_different_people_and_keeps_what_each_signed() -> None:
    desk = a_house(quorum=2)
    hold = await desk.filer.file()
    assert hold.quorum == 2
    first = await desk.release(hold, SPONSOR)
    assert (first.result, first.detail) == (Result.SIGNED, f"released by {SPONSOR}, 1 of 2: 1 more must")
    assert (await desk.service.show(hold.id)).signers == (SPONSOR,)
    again = await desk.release(hold, SPONSOR)
    assert (again.result, "has released" in again.detail) == (Result.NOT_PERMITTED, True)
    second = await desk.release(hold, DEPUTY, "seen, too")
    assert (second.result, second.detail) == (Result.DONE, f"released by {SPONSOR} and {DEPUTY}")
    now = second.hold
    assert now is not None and now.state is HoldState.APPROVED
    approval = read_approval(now, bundle=desk.bundle, barred=frozenset(), now=NOW)
    assert [one.by for one in approval] == [DEPUTY, SPONSOR]


async def test_two_of_a_quorum_at_once_are_both_heard() -> None:
    desk = a_house(quorum=2)
    hold = await desk.filer.file()
    outcomes = await asyncio.gather(desk.release(hold, SPONSOR), desk.release(hold, DEPUTY))
    assert sorted(outcome.result for outcome in outcomes) == [Result.DONE, Result.SIGNED]


async def test_one_denial_ends_a_quorum() -> None:
    desk = a_house(quorum=2)
    hold = await desk.filer.file()
    await desk.release(hold, SPONSOR)
    denied = await desk.deny(hold, DEPUTY)
    assert denied.hold is not None
    assert (denied.result, denied.hold.state) == (Result.DONE, HoldState.DENIED)
    assert (await desk.release(hold, SPONSOR)).result is Result.ALREADY_DECIDED


async def test_one_release_of_a_quorum_outlasts_an_extension() -> None:
    desk = a_house(quorum=2)
    hold = await desk.filer.file(ttl_s=600)
    await desk.release(hold, SPONSOR)
    assert (await desk.note(NoteAct.EXTEND, hold, SPONSOR, longer=timedelta(hours=1))).result is Result.DONE
    desk.now = NOW + timedelta(minutes=30)
    done = await desk.release(hold, DEPUTY)
    assert done.result is Result.DONE
    assert done.hold is not None
    meant = replace(done.hold, expires_at=hold.expires_at)
    assert len(read_approval(meant, bundle=desk.bundle, barred=frozenset(), now=NOW + timedelta(minutes=69))) == 2


# --- what is said without deciding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [act for act in NoteAct if act is not NoteAct.LIFT])
async def test_whoever_lapsed_since_they_signed_a_note_records_it_no_more(act: NoteAct) -> None:
    """Else somebody whose certificate ended writes on, in the name of an earlier time."""
    ends = NOW + timedelta(minutes=5)
    desk = Desk(bundle=identities.bundle(people=[identities.person(certified_until=ends)]))
    hold = await desk.filer.file()
    longer = timedelta(hours=1) if act is NoteAct.EXTEND else timedelta(0)
    drafted = await desk.service.draft_note(act, hold.id, person=desk.person(SPONSOR), reason="soon", longer=longer)
    assert isinstance(drafted, Draft)
    desk.now = ends
    late = await desk.service.record(hold.id, drafted.signed(key(SPONSOR)))
    assert (late.result, "certified until" in late.detail) == (Result.NOT_PERMITTED, True)
    desk.now = ends - timedelta(seconds=1)
    assert (await desk.service.record(hold.id, drafted.signed(key(SPONSOR)))).result is Result.DONE


async def test_a_comment_is_kept_and_changes_nothing_else(desk: Desk) -> None:
    hold = await desk.filer.file()
    outcome = await desk.note(NoteAct.COMMENT, hold, DEPUTY, "asked the supplier")
    assert outcome.hold is not None
    assert outcome.result is Result.DONE
    assert replace(outcome.hold, said=(), version=1) == hold
    (said,) = (await desk.service.show(hold.id)).said
    assert (said.by, said.reason) == (DEPUTY, "asked the supplier")


async def test_an_extension_is_bounded_and_its_end_is_signed(desk: Desk) -> None:
    hold = await desk.filer.file(ttl_s=600)
    with pytest.raises(Rejected, match=r"at the longest \(holds.max_ttl\)"):
        await desk.note(NoteAct.EXTEND, hold, longer=timedelta(days=7))
    outcome = await desk.note(NoteAct.EXTEND, hold, longer=timedelta(hours=1))
    assert outcome.hold is not None
    assert outcome.hold.expires_at == hold.expires_at + timedelta(hours=1)
    desk.now = hold.expires_at + timedelta(minutes=1)
    assert (await desk.release(hold)).result is Result.DONE


@pytest.mark.parametrize("longer", [timedelta(0), timedelta(milliseconds=500), timedelta.max])
async def test_an_extension_by_nothing_or_for_ever_is_none(desk: Desk, longer: timedelta) -> None:
    hold = await desk.filer.file()
    with pytest.raises(Rejected) as fault:
        await desk.note(NoteAct.EXTEND, hold, longer=longer)
    assert (fault.value.code, await desk.holds.get(hold.id)) == (Code.RELEASE_INVALID, hold)


async def test_a_cancelled_call_may_be_asked_again(desk: Desk) -> None:
    hold = await desk.filer.file()
    outcome = await desk.note(NoteAct.CANCEL, hold)
    assert outcome.hold is not None
    assert outcome.hold.state is HoldState.CANCELLED
    assert (await desk.filer.file()).id != hold.id


async def test_a_denial_is_lifted_by_whoever_may_decide_and_the_call_is_held_anew(desk: Desk) -> None:
    hold = await desk.filer.file()
    early = await desk.note(NoteAct.LIFT, hold)
    assert (early.result, early.detail) == (Result.NOT_PERMITTED, f"hold {hold.id} is held: only a denial is lifted")
    await desk.deny(hold)
    assert (await desk.note(NoteAct.LIFT, hold, REVIEWER)).result is Result.NOT_PERMITTED
    lifted = await desk.note(NoteAct.LIFT, hold, DEPUTY)
    assert lifted.hold is not None
    assert (lifted.result, lifted.hold.state) == (Result.DONE, HoldState.DENIED)
    assert (await desk.filer.file()).id != hold.id


async def test_of_an_unknown_hold_nothing_is_said(desk: Desk) -> None:
    outcome = await desk.service.note(
        NoteAct.COMMENT, "nothing", person=desk.person(SPONSOR), key=key(SPONSOR), reason="x"
    )
    assert outcome.result is Result.UNKNOWN


async def test_so_much_is_kept_and_no_more(desk: Desk) -> None:
    hold = await desk.filer.file()
    for _ in range(MAX_SAID):
        assert (await desk.note(NoteAct.COMMENT, hold)).result is Result.DONE
    with pytest.raises(Rejected, match="no more is kept") as fault:
        await desk.note(NoteAct.COMMENT, hold)
    assert fault.value.code is Code.HOLD_CAP
    assert (await desk.release(hold)).result is Result.DONE


async def test_waiting_ends_with_the_decision(desk: Desk) -> None:
    hold = await desk.filer.file()
    waiting = asyncio.ensure_future(desk.service.decided(hold.id))
    await asyncio.sleep(0)
    await desk.note(NoteAct.COMMENT, hold)
    assert not waiting.done()
    await desk.deny(hold)
    assert (await asyncio.wait_for(waiting, 5)).state is HoldState.DENIED
    assert (await desk.service.decided(hold.id)).state is HoldState.DENIED
    with pytest.raises(Rejected, match="there is no hold nothing"):
        await desk.service.decided("nothing")


# --- while something is stopped --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "target", "said_of_it"),
    [
        pytest.param(Act.QUARANTINE, AGENT, f"until `agents restore {AGENT}`", id="its agent"),
        pytest.param(Act.KILL_ON, "*", "until an operator says `kill off`", id="everything"),
    ],
)
async def test_nothing_is_released_while_it_is_stopped(desk: Desk, act: Act, target: str, said_of_it: str) -> None:
    hold, other = await desk.filer.file(), await desk.filer.file(f"{OUTSIDE}?other=1")
    token = state(act, target, by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=NOW)
    desk.view = ControlView().absorb(read_statement(token, desk.bundle))
    refused = await desk.release(hold)
    assert refused.result is Result.NOT_PERMITTED
    assert said_of_it in refused.detail
    kept = await desk.holds.get(hold.id)
    assert kept is not None
    assert kept.state is HoldState.HELD
    assert (await desk.deny(other)).result is Result.DONE, "it may be denied"
    desk.view = ControlView()
    assert (await desk.release(hold)).result is Result.DONE


def said(act: Act, desk: Desk, after_s: float) -> None:
    moment = NOW + timedelta(seconds=after_s)
    token = state(act, AGENT, by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=moment)
    desk.view = desk.view.absorb(read_statement(token, desk.bundle))


async def test_of_a_quorum_who_released_before_a_stop_is_asked_again() -> None:
    desk = a_house(quorum=2)
    hold = await desk.filer.file()
    assert (await desk.release(hold, SPONSOR)).result is Result.SIGNED
    said(Act.QUARANTINE, desk, 5)
    said(Act.RESTORE, desk, 10)
    desk.now = NOW + timedelta(seconds=60)
    assert (await desk.service.show(hold.id)).signers == (), "nobody has released it since"
    second = await desk.release(hold, DEPUTY)
    assert (second.result, second.detail) == (Result.SIGNED, f"released by {DEPUTY}, 1 of 2: 1 more must")
    assert (await desk.service.show(hold.id)).signers == (DEPUTY,)
    again = await desk.release(hold, SPONSOR)
    assert (again.result, again.hold is not None and again.hold.state) == (Result.DONE, HoldState.APPROVED)


async def test_a_release_by_a_clock_before_the_end_of_a_stop_is_not_recorded(desk: Desk) -> None:
    hold = await desk.filer.file()
    said(Act.QUARANTINE, desk, 5)
    said(Act.RESTORE, desk, 30)
    desk.now = NOW + timedelta(seconds=20)
    refused = await desk.release(hold)
    assert (refused.result, "from before the end of a stop" in refused.detail) == (Result.NOT_PERMITTED, True)
    kept = await desk.holds.get(hold.id)
    assert kept is not None and kept.state is HoldState.HELD
    desk.now = NOW + timedelta(seconds=31)
    assert (await desk.release(hold)).result is Result.DONE


async def test_a_hold_that_was_taken_back_is_shown_as_held_and_released_anew(desk: Desk) -> None:
    hold = await desk.filer.file()
    assert (await desk.release(hold, reason="seen")).result is Result.DONE
    said(Act.QUARANTINE, desk, 5)
    said(Act.RESTORE, desk, 10)
    stop = desk.view.words[AGENT][0]
    assert (await desk.holds.apply(hold.id, Event.RECALL, said=stop.token)).applied
    held = await desk.service.show(hold.id)
    assert (held.hold.state, held.hold.decided_by, held.hold.decided_at) == (HoldState.HELD, None, None)
    assert [(event_of(one), one.by) for one in held.said] == [("recall", "operator")]
    desk.now = NOW + timedelta(seconds=60)
    assert (await desk.release(hold)).result is Result.DONE
