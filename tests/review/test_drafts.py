"""Everything is said in two steps: a draft, signed wherever the key is; and what was signed, recorded (THREATS F07)."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import identities
import pytest
from authenticators import ORIGIN, UP, Authenticator, authenticator
from filing import OUTSIDE, Filer
from identities import DEPLOYMENT, DEPUTY, NOW, REVIEWER, SPONSOR, key

from proxy.core.clusters import compile_policy
from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.jws import seal
from proxy.core.keys import ED25519
from proxy.core.model import Bundle, Hold, HoldState, Means, Proof, ReviewDesk, Verdict
from proxy.core.notes import NOTE_TYP, NoteAct
from proxy.core.passkeys import WEBAUTHN
from proxy.core.release import RELEASE_TYP, read_release
from proxy.core.resolution import Found
from proxy.review.drafts import Draft
from proxy.review.granting import GrantDraft, Granter, Width
from proxy.review.resolving import Resolving
from proxy.review.service import Outcome, Result, ReviewService
from proxy.review.together import each_of
from proxy.stores.memory_grants import MemoryGrants
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault

DESK_KEY = key("desk")
STICKS: dict[str, Authenticator] = {
    SPONSOR: authenticator(SPONSOR),
    DEPUTY: authenticator(DEPUTY, alg=ED25519),
    REVIEWER: authenticator(REVIEWER),
}
DEPUTIES = {SPONSOR: DEPUTY}


def bundle_of(quorum: int = 1) -> Bundle:
    people = [
        identities.person(name, deputy=DEPUTIES.get(name), passkeys=[stick.passkey]) for name, stick in STICKS.items()
    ]
    review = replace(identities.cluster().review, quorum=quorum, who=(SPONSOR, DEPUTY))
    desk = ReviewDesk(keys=(DESK_KEY.public,), origins=(ORIGIN,))
    return identities.bundle(people=people, clusters=[identities.cluster(review=review)], desk=desk)


class Room:
    """The review services on stores in memory, with a clock to turn."""

    def __init__(self, quorum: int = 1) -> None:
        self.now, self.bundle, self.view = NOW, bundle_of(quorum), ControlView()
        numbers = count()
        self.holds, self.grants = MemoryHolds(now=lambda: self.now), MemoryGrants(now=lambda: self.now)
        self.vault = SecretVault(b"s" * 32)
        grant = identities.grant(self.bundle.clusters[identities.CLUSTER])
        tokens = identities.chain(identities.draft(grants=[grant]))
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=self.bundle, tokens=tokens, now=NOW)
        self.reviews = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=lambda: compile_policy(self.bundle),
            clock=lambda: self.now,
            new_nonce=lambda: identities.nonce(str(next(numbers))),
            view=lambda: self.view,
        )
        self.granter = Granter(
            reviews=self.reviews,
            grants=self.grants,
            policy=lambda: compile_policy(self.bundle),
            clock=lambda: self.now,
            new_nonce=identities.nonce,
            new_id=lambda: f"g-{next(numbers)}",
        )
        self.resolving = Resolving(
            reviews=self.reviews,
            holds=self.holds,
            policy=lambda: compile_policy(self.bundle),
            clock=lambda: self.now,
            new_nonce=identities.nonce,
        )

    async def file(self, method: str = "GET", url: str = OUTSIDE) -> Hold:
        """A held call: GET changes nothing, DELETE may."""
        return await self.filer.file(url, method=method)

    async def draft(self, hold: Hold, by: str = SPONSOR, verdict: Verdict = Verdict.ALLOW) -> Draft:
        drafted = await self.reviews.draft(hold.id, verdict, person=self.bundle.people[by], reason="seen")
        assert isinstance(drafted, Draft), drafted
        return drafted

    async def state(self, hold: Hold) -> HoldState:
        found = await self.holds.get(hold.id)
        assert found is not None
        return found.state


def attested(draft: Draft, by: str = SPONSOR, **changes: object) -> str:
    return draft.attested(DESK_KEY, STICKS[by].sign(draft.challenge, **changes))


def signed_in_every_way(draft: Draft, by: str = SPONSOR) -> dict[Means, str]:
    return {
        Means.KEY: draft.signed(key(by)),
        Means.PASSKEY: attested(draft, by),
        Means.DESK: draft.signed(DESK_KEY),
    }


# --- a draft ---------------------------------------------------------------------------------------------------------


async def test_a_draft_says_exactly_what_is_to_be_signed_about_which_call() -> None:
    room = Room()
    hold = await room.file()
    draft = await room.draft(hold)
    assert draft.call is not None
    assert draft.call.stored.call_digest == draft.claims["digest"] == hold.call_digest
    assert {name: draft.claims[name] for name in ("iss", "aud", "hold", "verdict", "scope", "reason")} == {
        "iss": SPONSOR,
        "aud": DEPLOYMENT,
        "hold": hold.id,
        "verdict": "release",
        "scope": "once",
        "reason": "seen",
    }
    assert await room.holds.get(hold.id) == hold, "nothing is kept of it"


@pytest.mark.parametrize(
    ("quorum", "method", "means"),
    [
        pytest.param(1, "GET", set(Means), id="one person decides what changes nothing"),
        pytest.param(1, "DELETE", {Means.KEY, Means.PASSKEY}, id="it may change things"),
        pytest.param(2, "GET", {Means.KEY, Means.PASSKEY}, id="two must"),
    ],
)
@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.DENY])
async def test_a_draft_says_with_what_it_may_be_signed_and_so_it_is(
    quorum: int, method: str, means: set[Means], verdict: Verdict
) -> None:
    for used in Means:
        room = Room(quorum)
        hold = await room.file(method)
        draft = await room.draft(hold, verdict=verdict)
        assert draft.means == means
        outcome = await room.reviews.record(hold.id, signed_in_every_way(draft)[used])
        if used in means:
            assert outcome.result in (Result.DONE, Result.SIGNED), outcome
        else:
            assert outcome.result is Result.NOT_PERMITTED
            assert "not the desk's" in outcome.detail
            assert await room.holds.get(hold.id) == hold


@pytest.mark.parametrize("used", Means)
async def test_what_is_recorded_is_what_the_proxy_will_read(used: Means) -> None:
    room = Room()
    hold = await room.file()
    token = signed_in_every_way(await room.draft(hold))[used]
    outcome = await room.reviews.record(hold.id, token)
    assert outcome.hold is not None
    assert (outcome.hold.statement, outcome.hold.decided_by, outcome.hold.reason) == (token, SPONSOR, "seen")
    release = read_release(token, hold=outcome.hold, bundle=room.bundle, barred=frozenset(), now=NOW)
    assert release.means is used
    assert (await room.reviews.show(hold.id)).hold.decided_with is used


@pytest.mark.parametrize(
    ("by", "verdict"),
    [pytest.param(REVIEWER, Verdict.ALLOW, id="somebody else"), pytest.param(REVIEWER, Verdict.DENY, id="a denial")],
)
async def test_who_may_not_decide_gets_no_draft(by: str, verdict: Verdict) -> None:
    room = Room()
    hold = await room.file()
    outcome = await room.reviews.draft(hold.id, verdict, person=room.bundle.people[by], reason="x")
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.NOT_PERMITTED


async def test_of_what_is_over_stopped_or_unknown_there_is_no_draft() -> None:
    room, ada = Room(), bundle_of().people[SPONSOR]

    async def result(hold_id: str) -> Result:
        outcome = await room.reviews.draft(hold_id, Verdict.ALLOW, person=ada)
        return outcome.result if isinstance(outcome, Outcome) else Result.DONE

    denied, late, stopped = [await room.file(url=f"{OUTSIDE}?n={number}") for number in range(3)]
    assert [await result(hold.id) for hold in (denied, late, stopped)] == [Result.DONE] * 3
    await room.reviews.deny(denied.id, person=ada, key=key(SPONSOR), reason="no")
    assert await result(denied.id) is Result.ALREADY_DECIDED
    assert await result("nothing") is Result.UNKNOWN
    token = state(Act.KILL_ON, "*", by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=NOW)
    room.view = ControlView().absorb(read_statement(token, room.bundle))
    assert await result(stopped.id) is Result.NOT_PERMITTED
    room.now = late.expires_at
    assert await result(late.id) is Result.EXPIRED


async def test_who_has_released_it_is_asked_for_no_second_signature() -> None:
    room = Room(quorum=2)
    hold = await room.file()
    await room.reviews.record(hold.id, attested(await room.draft(hold)))
    again = await room.reviews.draft(hold.id, Verdict.ALLOW, person=room.bundle.people[SPONSOR])
    assert isinstance(again, Outcome)
    assert (again.result, "already" in again.detail) == (Result.NOT_PERMITTED, True)
    done = await room.reviews.record(hold.id, attested(await room.draft(hold, DEPUTY), DEPUTY))
    assert (done.result, done.detail) == (Result.DONE, f"released by {SPONSOR} and {DEPUTY}")


# --- recording -------------------------------------------------------------------------------------------------------


async def test_between_the_two_steps_somebody_else_may_decide() -> None:
    room = Room()
    hold = await room.file()
    draft = await room.draft(hold)
    await room.reviews.deny(hold.id, person=room.bundle.people[DEPUTY], key=key(DEPUTY), reason="no")
    outcome = await room.reviews.record(hold.id, attested(draft))
    assert (outcome.result, f"decided by {DEPUTY}" in outcome.detail) == (Result.ALREADY_DECIDED, True)


async def test_or_its_agent_may_be_stopped() -> None:
    room = Room()
    hold = await room.file()
    draft = await room.draft(hold)
    token = state(Act.KILL_ON, "*", by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=NOW)
    room.view = ControlView().absorb(read_statement(token, room.bundle))
    assert (await room.reviews.record(hold.id, attested(draft))).result is Result.NOT_PERMITTED
    room.view = ControlView()
    assert (await room.reviews.record(hold.id, attested(draft))).result is Result.DONE


async def test_a_statement_is_recorded_once_whoever_hands_it_in_again() -> None:
    room = Room(quorum=2)
    hold = await room.file()
    token = attested(await room.draft(hold))
    assert (await room.reviews.record(hold.id, token)).result is Result.SIGNED
    assert (await room.reviews.record(hold.id, token)).result is Result.NOT_PERMITTED


WRONG: dict[str, dict[str, object]] = {
    "nobody verified": {"flags": UP},
    "another origin": {"origin": "https://evil.example"},
    "another RP id": {"rp_id": "evil.example"},
    "another person's passkey": {"key": STICKS[DEPUTY].key, "id": STICKS[DEPUTY].id},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
async def test_what_the_proxy_would_refuse_is_not_recorded(changes: dict[str, object]) -> None:
    room = Room()
    hold = await room.file("DELETE")
    draft = await room.draft(hold)
    assert (await room.reviews.record(hold.id, attested(draft, **changes))).result is Result.NOT_PERMITTED
    assert await room.holds.get(hold.id) == hold
    assert (await room.reviews.record(hold.id, attested(draft))).result is Result.DONE


async def test_a_statement_about_another_hold_is_not_recorded() -> None:
    room = Room()
    hold, other = await room.file(), await room.file(url=f"{OUTSIDE}?other=1")
    token = attested(await room.draft(other))
    assert (await room.reviews.record(hold.id, token)).result is Result.NOT_PERMITTED
    assert (await room.reviews.record(other.id, token)).result is Result.DONE


@pytest.mark.parametrize(
    ("later", "passes"), [pytest.param(0, True, id="as the hold"), pytest.param(60, False, id="longer than the hold")]
)
async def test_a_release_ends_with_its_hold_also_when_it_was_signed_elsewhere(later: int, passes: bool) -> None:
    room = Room()
    hold = await room.file()
    draft = await room.draft(hold)
    longer = replace(draft, claims={**draft.claims, "exp": int(hold.expires_at.timestamp()) + later})
    outcome = await room.reviews.record(hold.id, longer.signed(key(SPONSOR)))
    assert outcome.result is (Result.DONE if passes else Result.NOT_PERMITTED)
    assert passes or "must end by" in outcome.detail


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("nonsense", id="no JWS"),
        pytest.param(seal({}, typ="intent-manifest+jwt", key=key(SPONSOR)), id="another kind of statement"),
        pytest.param(seal({"act": "approve"}, typ=NOTE_TYP, key=key(SPONSOR)), id="a note that says nothing we know"),
        pytest.param(seal({}, typ=NOTE_TYP, key=key(SPONSOR)), id="a note that says nothing"),
    ],
)
async def test_what_is_no_statement_is_refused(statement: str) -> None:
    room = Room()
    hold = await room.file()
    with pytest.raises(Rejected) as refused:
        await room.reviews.record(hold.id, statement)
    assert refused.value.code is Code.RELEASE_INVALID
    assert await room.holds.get(hold.id) == hold


# --- notes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", Means)
async def test_a_note_is_signed_in_every_way(used: Means) -> None:
    room = Room()
    hold = await room.file()
    draft = await room.reviews.draft_note(
        NoteAct.EXTEND, hold.id, person=room.bundle.people[SPONSOR], reason="lunch", longer=timedelta(minutes=5)
    )
    assert isinstance(draft, Draft)
    assert draft.means == set(Means)
    token = signed_in_every_way(draft)[used]
    outcome = await room.reviews.record(hold.id, token)
    assert (outcome.result, outcome.detail) == (Result.DONE, f"extended by {SPONSOR}")
    assert outcome.hold is not None
    assert outcome.hold.expires_at == hold.expires_at + timedelta(minutes=5)
    (said,) = (await room.reviews.show(hold.id)).said
    assert said.means is used
    with pytest.raises(Rejected, match="extended by a second or more"):
        await room.reviews.record(hold.id, token)


async def test_the_desk_says_nothing_of_what_it_may_not_decide() -> None:
    room = Room()
    hold = await room.file("DELETE")
    draft = await room.reviews.draft_note(
        NoteAct.COMMENT, hold.id, person=room.bundle.people[SPONSOR], reason="the bank agrees"
    )
    assert isinstance(draft, Draft)
    assert draft.means == {Means.KEY, Means.PASSKEY}
    assert (await room.reviews.record(hold.id, draft.signed(DESK_KEY))).result is Result.NOT_PERMITTED
    assert await room.holds.get(hold.id) == hold
    assert (await room.reviews.record(hold.id, attested(draft))).result is Result.DONE


async def test_a_note_of_what_is_no_longer_so_is_not_recorded() -> None:
    room = Room()
    hold, ada = await room.file(), room.bundle.people[SPONSOR]
    draft = await room.reviews.draft_note(NoteAct.CANCEL, hold.id, person=ada, reason="withdrawn")
    assert isinstance(draft, Draft)
    await room.reviews.deny(hold.id, person=ada, key=key(SPONSOR), reason="no")
    assert (await room.reviews.record(hold.id, draft.signed(DESK_KEY))).result is Result.ALREADY_DECIDED
    lift = await room.reviews.draft_note(NoteAct.LIFT, hold.id, person=ada, reason="yes")
    assert isinstance(lift, Draft)
    assert lift.call is None
    assert (await room.reviews.record(hold.id, lift.signed(DESK_KEY))).result is Result.DONE


# --- grants ----------------------------------------------------------------------------------------------------------

SMALL = Width(path="/v1/customers/{id}", count=2, lasting=timedelta(minutes=15))
LARGE = Width(path="/v1/customers/{id}", count=2, lasting=timedelta(hours=2))


async def granting(room: Room, hold: Hold, width: Width, by: str = SPONSOR) -> GrantDraft:
    draft = await room.granter.draft(hold.id, person=room.bundle.people[by], reason="stock-taking", width=width)
    assert isinstance(draft, GrantDraft), draft
    return draft


@pytest.mark.parametrize("used", Means)
@pytest.mark.parametrize(
    ("width", "passes"),
    [
        pytest.param(SMALL, set(Means), id="as far as a desk may go"),
        pytest.param(LARGE, {Means.KEY, Means.PASSKEY}, id="further"),
    ],
)
async def test_a_grant_is_two_drafts_each_signed(used: Means, width: Width, passes: set[Means]) -> None:
    room = Room()
    hold = await room.file()
    draft = await granting(room, hold, width)
    assert (draft.release.means, draft.grant.means) == (set(Means), passes)
    release, grant = (signed_in_every_way(each)[used] for each in (draft.release, draft.grant))
    outcome, given = await room.granter.record(hold.id, release, grant)
    kept = await room.granter.listing()
    if used in passes:
        assert given is not None
        assert (outcome.result, given.means, [each.id for each in kept]) == (Result.DONE, used, [given.id])
    else:
        assert (outcome.result, given, kept) == (Result.NOT_PERMITTED, None, ())
        assert await room.holds.get(hold.id) == hold


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"hold": "another"}, id="another hold's"),
        pytest.param({"root": "another"}, id="another mandate's"),
        pytest.param({"sub": identities.HELPER}, id="another agent's"),
        pytest.param({"proof": Proof.SESSION.label}, id="for less proof"),
        pytest.param({"path": "/v1/salaries"}, id="for other calls"),
    ],
)
async def test_a_grant_belongs_to_its_release(changed: dict[str, Json]) -> None:
    room = Room()
    hold = await room.file()
    draft = await granting(room, hold, SMALL)
    other = replace(draft.grant, claims={**draft.grant.claims, **changed})
    release = draft.release.signed(DESK_KEY)
    outcome, given = await room.granter.record(hold.id, release, other.signed(DESK_KEY))
    assert (outcome.result, given, await room.granter.listing()) == (Result.NOT_PERMITTED, None, ())
    assert await room.state(hold) is HoldState.HELD
    outcome, given = await room.granter.record(hold.id, release, draft.grant.signed(DESK_KEY))
    assert outcome.result is Result.DONE


async def test_a_grant_is_given_by_whoever_releases() -> None:
    room = Room()
    hold = await room.file()
    adas, bens = await granting(room, hold, SMALL), await granting(room, hold, SMALL, DEPUTY)
    outcome, _ = await room.granter.record(hold.id, adas.release.signed(DESK_KEY), bens.grant.signed(DESK_KEY))
    assert (outcome.result, "does not belong" in outcome.detail) == (Result.NOT_PERMITTED, True)


async def test_nothing_of_weight_is_granted_by_route() -> None:
    room = Room()
    hold = await room.file("DELETE")
    with pytest.raises(Rejected, match="never by route"):
        await granting(room, hold, SMALL)


async def test_a_grant_with_what_is_over_is_not_given() -> None:
    room = Room()
    hold = await room.file()
    draft = await granting(room, hold, SMALL)
    await room.reviews.deny(hold.id, person=room.bundle.people[SPONSOR], key=key(SPONSOR), reason="no")
    signed = draft.release.signed(DESK_KEY), draft.grant.signed(DESK_KEY)
    assert (await room.granter.record(hold.id, *signed))[0].result is Result.ALREADY_DECIDED
    outcome = await room.granter.draft(hold.id, person=room.bundle.people[SPONSOR], reason="again", width=SMALL)
    assert isinstance(outcome, Outcome)
    assert outcome.result is Result.ALREADY_DECIDED
    assert await room.granter.listing() == ()


# --- resolutions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_uncertain_hold_is_closed_with_what_would_have_released_it(method: str) -> None:
    room = Room()
    hold = await room.file(method)
    await room.reviews.release(hold.id, person=room.bundle.people[SPONSOR], key=key(SPONSOR))
    for event in (Event.CLAIM, Event.LOST):
        hold = (await room.holds.apply(hold.id, event, fence=1)).hold
    draft = await room.resolving.draft(
        hold.id, Found.ARRIVED, person=room.bundle.people[SPONSOR], reason="they have it"
    )
    assert isinstance(draft, Draft)
    assert (Means.DESK in draft.means) is (method == "GET")
    if method == "DELETE":
        assert (await room.resolving.record(hold.id, draft.signed(DESK_KEY))).result is Result.NOT_PERMITTED
        assert await room.state(hold) is HoldState.UNCERTAIN
    outcome = await room.resolving.record(hold.id, attested(draft))
    assert (outcome.result, outcome.detail) == (Result.DONE, f"resolved by {SPONSOR}: it arrived")
    assert (await room.reviews.show(hold.id)).hold.decided_with is Means.PASSKEY
    assert (await room.resolving.record(hold.id, attested(draft))).result is Result.ALREADY_DECIDED


# --- several ---------------------------------------------------------------------------------------------------------


async def test_of_a_group_every_digest_is_signed_and_a_fault_of_one_leaves_the_others_alone() -> None:
    room = Room()
    filed = [await room.file(url=f"{OUTSIDE}?n={number}") for number in range(3)]
    worldly = await room.file("DELETE")
    tampered = await room.filer.file(f"{OUTSIDE}?n=9", method="GET", changed={"who": (REVIEWER,)})
    ids = [tampered.id, *(hold.id for hold in filed), worldly.id]

    async def say(hold_id: str) -> Outcome:
        ada = room.bundle.people[SPONSOR]
        return await room.reviews.release(hold_id, person=ada, key=DESK_KEY, reason="all alike")

    outcomes = await each_of(ids, say)
    assert list(outcomes) == ids
    wanted = [Result.FAILED, Result.DONE, Result.DONE, Result.DONE, Result.NOT_PERMITTED]
    assert [outcome.result for outcome in outcomes.values()] == wanted
    for hold in filed:
        now = await room.holds.get(hold.id)
        assert now is not None and now.statement is not None
        said = read_release(now.statement, hold=hold, bundle=room.bundle, barred=frozenset(), now=NOW)
        assert (said.call_digest, said.means) == (hold.call_digest, Means.DESK)


async def test_without_a_store_it_is_said_what_was_not_tried() -> None:
    async def say(hold_id: str) -> Outcome:
        if hold_id == "b":
            raise Unavailable(Code.STORE_DOWN, "the store does not answer")
        return Outcome(result=Result.DONE, detail="released")

    outcomes = await each_of(["a", "b", "c"], say)
    assert [outcome.result for outcome in outcomes.values()] == [Result.DONE, Result.FAILED, Result.FAILED]
    assert "nobody knows" in outcomes["b"].detail
    assert "not decided" in outcomes["c"].detail


def test_a_draft_is_the_same_for_every_signer() -> None:
    claims: dict[str, Json] = {"iss": SPONSOR}
    draft = Draft(hold=identities.hold(), call=None, typ=RELEASE_TYP, claims=claims, means=frozenset(Means))
    own, passkey = identities.claims_of(draft.signed(key(SPONSOR))), identities.claims_of(attested(draft))
    assert own == claims
    assert {name: value for name, value in passkey.items() if name != WEBAUTHN} == claims
