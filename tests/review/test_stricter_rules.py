"""Rules that became stricter while a call is held: what whoever sends it would refuse is not recorded (THREATS F07).

Operators often change the rules because of what is held. Whoever decides then is asked for what counts now, and a word
that counts no more does not take the hold away from those whose word does.
"""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from authenticators import ORIGIN, authenticator
from filing import Filer
from identities import DEPUTY, NOW, REVIEWER, SPONSOR, key
from questions import deny

from proxy.audit.reviews import review_fields
from proxy.core.clusters import compile_policy
from proxy.core.control import ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.model import Bundle, Cluster, Hold, HoldState, Means, Review, ReviewDesk, Risk, StoredCall, Verdict
from proxy.core.notes import NoteAct
from proxy.core.release import read_approval
from proxy.core.reviewed import as_judged, as_sealed
from proxy.core.stored import stored_from_bytes
from proxy.recalls import Recalls
from proxy.review.documents import remarks
from proxy.review.drafts import Draft
from proxy.review.granting import Granter, Width
from proxy.review.service import Result, ReviewService
from proxy.stores.memory_grants import MemoryGrants
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault

DESK = ReviewDesk(keys=(key("desk").public,), origins=(ORIGIN,))
PEOPLE = [
    identities.person(SPONSOR, deputy=DEPUTY, passkeys=[authenticator(SPONSOR).passkey]),
    identities.person(DEPUTY),
    identities.person(REVIEWER),
]


def ruled(cluster: Cluster) -> Bundle:
    return identities.bundle(people=PEOPLE, clusters=[cluster], desk=DESK)


USUAL = ruled(identities.cluster())
WORLDLY = ruled(identities.cluster(risk=Risk.TRANSFORMATIVE))
BOTH = ruled(identities.cluster(review=Review(quorum=2)))
OTHERS = ruled(identities.cluster(review=Review(who=(REVIEWER,))))


class Held:
    """A call that is held under the usual rules, and a desk whose rules may change."""

    def __init__(self) -> None:
        self.bundle, self.now = USUAL, NOW
        self.holds = MemoryHolds(now=lambda: self.now)
        self.vault = SecretVault(b"s" * 32)
        tokens = identities.world().tokens
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=USUAL, tokens=tokens, now=NOW)
        self.policy = compile_policy(USUAL)
        self.recalls = Recalls(
            holds=self.holds,
            policy=lambda: self.policy,
            view=ControlView,
            stored=self.stored,
            clock=lambda: self.now,
        )
        numbers = iter(range(10**6))

        def new_nonce() -> str:
            return identities.nonce(f"stricter {next(numbers)}")

        self.service = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=lambda: compile_policy(self.bundle),
            clock=lambda: self.now,
            new_nonce=new_nonce,
        )
        self.granter = Granter(
            reviews=self.service,
            grants=MemoryGrants(now=lambda: NOW),
            policy=lambda: compile_policy(self.bundle),
            clock=lambda: self.now,
            new_nonce=new_nonce,
            new_id=lambda: "grant-1",
        )

    async def drafted(self, hold: Hold, verdict: Verdict = Verdict.ALLOW, by: str = SPONSOR) -> Draft:
        draft = await self.service.draft(hold.id, verdict, person=self.bundle.people[by], reason="seen")
        assert isinstance(draft, Draft), draft
        return draft

    def change(self, bundle: Bundle) -> None:
        """Other rules, at the desk and at the node."""
        self.bundle, self.policy = bundle, compile_policy(bundle)

    async def stored(self, hold: Hold) -> StoredCall:
        sealed = await self.holds.sealed(hold.id)
        assert sealed is not None
        return stored_from_bytes(self.vault.unseal(hold.id, sealed))

    async def line(self, hold: Hold, version: int) -> dict[str, Json]:
        """What a node writes down about the step that took a hold to this version, back to its reviewers."""
        now = await self.holds.get(hold.id)
        assert now is not None
        then, filed = replace(now, state=HoldState.HELD), await self.stored(hold)
        gone = self.recalls.lapsed(then, filed)
        return review_fields(then, version, self.bundle, now=self.now, filed=filed, lapsed=gone)

    async def state(self, hold: Hold) -> HoldState:
        now = await self.holds.get(hold.id)
        assert now is not None
        return now.state

    async def would_be_sent(self, hold: Hold) -> bool:
        """As a node asks it, by the rules of now."""
        now, today = await self.holds.get(hold.id), replace(self.filer, bundle=self.bundle).stored(method="GET")
        assert now is not None
        meant = as_judged(as_sealed(now, self.filer.stored(method="GET")), today.decision)
        meant = replace(meant, filed_at=now.filed_at, expires_at=now.expires_at)
        try:
            read_approval(meant, bundle=self.bundle, barred=frozenset(), now=NOW)
        except Rejected:
            return False
        return True


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.mark.parametrize(
    ("bundle", "why"),
    [
        pytest.param(WORLDLY, "not the desk's", id="the call changes things"),
        pytest.param(BOTH, "not the desk's", id="two people must release it"),
        pytest.param(OTHERS, "by today's rules ada may not", id="somebody else must release it"),
    ],
)
async def test_a_word_that_counts_no_more_is_not_recorded(held: Held, bundle: Bundle, why: str) -> None:
    hold, twin = await held.filer.file(method="GET"), await held.filer.file("https://erp.example/v1/x", method="GET")
    words = [(await held.drafted(each)).signed(key("desk")) for each in (hold, twin)]
    assert (await held.service.record(twin.id, words[1])).result is Result.DONE
    held.bundle = bundle
    late = await held.service.record(hold.id, words[0])
    assert (late.result, why in late.detail) == (Result.NOT_PERMITTED, True), late
    assert await held.state(hold) is HoldState.HELD


async def test_whoever_decides_is_asked_for_what_counts_now(held: Held) -> None:
    hold = await held.filer.file(method="GET")
    assert (await held.drafted(hold)).means == set(Means)
    held.bundle = WORLDLY
    shown = await held.service.show(hold.id)
    assert shown.hold.risk is Risk.TRANSFORMATIVE
    draft = await held.drafted(hold)
    assert draft.means == {Means.KEY, Means.PASSKEY}
    token = draft.attested(key("desk"), authenticator(SPONSOR).sign(draft.challenge))
    assert (await held.service.record(hold.id, token)).result is Result.DONE
    assert await held.would_be_sent(hold)


async def test_of_a_quorum_that_is_new_each_must_sign(held: Held) -> None:
    hold = await held.filer.file(method="GET")
    held.bundle = BOTH
    first = await held.service.record(hold.id, (await held.drafted(hold)).signed(key(SPONSOR)))
    assert first.result is Result.SIGNED
    assert await held.state(hold) is HoldState.HELD
    shown = await held.service.show(hold.id)
    assert (shown.hold.quorum, shown.signers) == (2, (SPONSOR,))
    second = await held.service.record(hold.id, (await held.drafted(hold, by=DEPUTY)).signed(key(DEPUTY)))
    assert second.result is Result.DONE
    assert await held.would_be_sent(hold)


async def test_whom_the_rules_no_longer_name_is_not_offered_it_and_may_still_deny(held: Held) -> None:
    hold = await held.filer.file(method="GET")
    assert (await held.service.show(hold.id)).deciders == (SPONSOR,)
    held.bundle = OTHERS
    assert (await held.service.show(hold.id)).deciders == ()
    refused = await held.service.draft(hold.id, Verdict.ALLOW, person=held.bundle.people[SPONSOR])
    assert not isinstance(refused, Draft) and refused.result is Result.NOT_PERMITTED
    denial = (await held.drafted(hold, Verdict.DENY)).signed(key("desk"))
    assert (await held.service.record(hold.id, denial)).result is Result.DONE
    assert await held.state(hold) is HoldState.DENIED


async def test_what_was_said_before_is_still_shown(held: Held) -> None:
    hold = await held.filer.file(method="GET")
    note = await held.service.draft_note(NoteAct.COMMENT, hold.id, person=held.bundle.people[SPONSOR], reason="odd")
    assert isinstance(note, Draft)
    await held.service.record(hold.id, note.signed(key("desk")))
    held.bundle = WORLDLY
    assert [word.reason for word in (await held.service.show(hold.id)).said] == ["odd"]


async def test_calls_like_it_are_not_granted_any_more(held: Held) -> None:
    hold = await held.filer.file(method="GET")
    width = Width(count=2)

    async def grant() -> object:
        return await held.granter.draft(hold.id, person=held.bundle.people[SPONSOR], reason="more", width=width)

    assert await grant()
    held.bundle = WORLDLY
    with pytest.raises(Rejected, match="by itself, never by route"):
        await grant()


LATER = NOW + timedelta(seconds=30)
KEYLESS = replace(USUAL, people={**USUAL.people, SPONSOR: replace(USUAL.people[SPONSOR], passkeys=())})
LAPSED = replace(USUAL, people={**USUAL.people, SPONSOR: replace(USUAL.people[SPONSOR], certified_until=LATER)})
DENYING = replace(USUAL, deny=(deny("no-erp", hosts=("erp.example",)),))
ENDED = [
    pytest.param(WORLDLY, False, "not the desk's", id="the call changes things now and the desk signed"),
    pytest.param(DENYING, True, "deny the call to everyone", id="a rule denies the call now"),
    pytest.param(LAPSED, True, "certified until", id="the reviewer's certification ended"),
    pytest.param(OTHERS, True, "ada may not", id="others must release it now"),
]


async def released(held: Held, *, touched: bool) -> Hold:
    """A call that its sponsor released at the desk, with a passkey or without."""
    hold = await held.filer.file(method="GET")
    draft = await held.drafted(hold)
    word = draft.attested(key("desk"), authenticator(SPONSOR).sign(draft.challenge))
    token = word if touched else draft.signed(key("desk"))
    assert (await held.service.record(hold.id, token)).result is Result.DONE
    return hold


@pytest.mark.parametrize(("bundle", "touched", "why"), ENDED)
async def test_a_release_that_stopped_to_count_is_told_by_a_look_and_taken_back_by_a_node(
    held: Held, bundle: Bundle, touched: bool, why: str
) -> None:
    hold = await released(held, touched=touched)
    await held.recalls.sweep()
    assert await held.state(hold) is HoldState.APPROVED, "it counts"
    held.change(bundle)
    if bundle is LAPSED:
        await held.recalls.sweep()
        assert await held.state(hold) is HoldState.APPROVED, "it counts until then"
        held.now = LATER
    seen = await held.service.show(hold.id)
    assert (seen.hold.state, await held.state(hold)) == (HoldState.APPROVED,) * 2, "a look changes nothing"
    for _ in range(2):
        said = remarks(seen)[-1]
        assert (said.by, said.event, why in said.reason) == (SPONSOR, "lapse", True), said
        await held.recalls.sweep()
        assert await held.state(hold) is HoldState.HELD
        seen = await held.service.show(hold.id)
    line = await held.line(hold, seen.hold.version)
    assert (line["event"], line["by"], why in str(line["reason"])) == ("lapse", SPONSOR, True)
    by = DEPUTY if bundle is LAPSED else SPONSOR
    denied = await held.service.deny(hold.id, person=bundle.people[by], key=key(by), reason="no more")
    assert (denied.result, await held.state(hold)) == (Result.DONE, HoldState.DENIED), denied


async def test_what_was_taken_back_is_released_anew(held: Held) -> None:
    hold = await released(held, touched=False)
    held.change(WORLDLY)
    await held.recalls.sweep()
    again = await held.service.release(hold.id, person=WORLDLY.people[SPONSOR], key=key(SPONSOR))
    assert again.result is Result.DONE, again
    await held.recalls.sweep()
    assert await held.state(hold) is HoldState.APPROVED
    seen = await held.service.show(hold.id)
    assert seen.said == (), "what counts is not told as lapsed"
    late = await held.line(replace(hold, state=HoldState.HELD), seen.hold.version - 1)
    assert (late["event"], "by" in late, "reason" in late) == ("lapse", False, False), "read late, it is nobody's word"


async def test_what_was_taken_back_can_be_withdrawn(held: Held) -> None:
    hold = await released(held, touched=True)
    held.change(DENYING)
    await held.recalls.sweep()
    person = DENYING.people[SPONSOR]
    outcome = await held.service.note(NoteAct.CANCEL, hold.id, person=person, key=key(SPONSOR), reason="over")
    assert (outcome.result, await held.state(hold)) == (Result.DONE, HoldState.CANCELLED)


async def test_a_mark_that_cannot_be_verified_stays_an_operators(held: Held) -> None:
    """A key that is no longer enrolled is no different from a forger's."""
    hold = await released(held, touched=True)
    held.change(KEYLESS)
    await held.recalls.sweep()
    assert await held.state(hold) is HoldState.APPROVED
    outcome = await held.service.deny(hold.id, person=KEYLESS.people[SPONSOR], key=key(SPONSOR), reason="no more")
    assert outcome.result is Result.ALREADY_DECIDED
    assert "tell an operator" in outcome.detail
    assert (await held.service.show(hold.id)).said == ()


async def test_a_release_that_counts_stays(held: Held) -> None:
    hold = await released(held, touched=True)
    outcome = await held.service.deny(hold.id, person=held.bundle.people[SPONSOR], key=key(SPONSOR), reason="no")
    assert outcome.result is Result.ALREADY_DECIDED
    assert (await held.service.show(hold.id)).hold.state is HoldState.APPROVED


async def test_a_call_that_a_new_rule_denies_is_not_released_but_denied(held: Held) -> None:
    hold = await held.filer.file(method="GET")
    held.bundle = DENYING
    person = held.bundle.people[SPONSOR]
    refused = await held.service.release(hold.id, person=person, key=key(SPONSOR))
    assert refused.result is Result.NOT_PERMITTED
    assert "deny the call to everyone" in refused.detail
    shown = await held.service.show(hold.id)
    assert SPONSOR in shown.deciders, "it is still theirs to deny"
    denied = await held.service.deny(hold.id, person=person, key=key(SPONSOR), reason="a rule denies it")
    assert denied.result is Result.DONE
