"""New manifests: proposed by anybody enrolled, read in plain words, signed by the sponsor and by nobody else."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import identities
import pytest
from authenticators import ORIGIN, authenticator
from identities import AGENT, CLUSTER, DEPUTY, NOW, REVIEWER, SPONSOR, key

from proxy.core.clusters import compile_policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.jws import seal
from proxy.core.keys import one_form
from proxy.core.manifest import issue_root, parse_manifest
from proxy.core.model import Bundle, Constraints, Person, ReviewDesk
from proxy.core.verify import Lifetimes
from proxy.policy.chains import read_chain_file, write_chain_file
from proxy.policy.drafts import draft_for, draft_text
from proxy.review.endings import MOST_REMEMBERED, REMEMBERED, Ended, How, ended_text
from proxy.review.manifestwords import manifest_told
from proxy.review.preparing import differences
from proxy.review.tosign import ToSign
from proxy.review.updates import MOST_WAITING, Updates
from proxy.stores.memory_proposals import MemoryProposals


@dataclass(kw_only=True)
class Room:
    """The service with its store, directories and a clock to turn."""

    home: Path
    bundle: Bundle = field(default_factory=identities.bundle)
    now: datetime = NOW
    numbers: int = 0
    store: MemoryProposals = field(default_factory=MemoryProposals)

    def __post_init__(self) -> None:
        self.manifests, self.pins = self.home / "manifests", self.home / "pinned"
        self.pins.mkdir()
        self.updates = Updates(
            proposals=self.store,
            policy=lambda: compile_policy(self.bundle),
            lifetimes=Lifetimes(),
            manifests=self.manifests,
            pins=self.pins,
            clock=lambda: self.now,
            new_id=self._new_id,
        )

    def _new_id(self) -> str:
        self.numbers += 1
        return f"proposal-{self.numbers:04}"

    def person(self, name: str) -> Person:
        return self.bundle.people[name]

    def text(self, *, lifetime_s: int = 86_400, change: Callable[[str], str] = lambda text: text) -> str:
        agent, cluster = self.bundle.agents[AGENT], self.bundle.clusters[CLUSTER]
        draft = draft_for(agent, [cluster], purpose="Match invoices.", lifetime_s=lifetime_s)
        return change(draft_text(draft, self.bundle, sign="x"))

    async def propose(self, by: str = DEPUTY, why: str = "month-end", **more: Any) -> str:
        proposal = await self.updates.propose(self.text(**more), author=self.person(by), why=why)
        return proposal.id

    async def sign(self, proposal_id: str, by: str = SPONSOR) -> str:
        wanted = await self.updates.draft(proposal_id, person=self.person(SPONSOR))
        return seal(wanted.claims, typ=wanted.typ, key=key(by))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(home=tmp_path)


async def test_a_proposal_is_read_in_plain_words_signed_and_kept_where_agents_find_it(room: Room) -> None:
    proposal = await room.propose()
    update = await room.updates.show(proposal)
    assert update.told is not None and update.fault == ""
    assert update.told.title == f"Manifest for {AGENT}"
    assert [grant.cluster for grant in update.told.grants] == [CLUSTER]
    assert "The agent may: all of these operations." in [line.text for line in update.told.grants[0].lines]
    assert (update.differences, update.replaces) == ((), None)
    signed = await room.updates.record(proposal, await room.sign(proposal))
    assert read_chain_file(room.manifests / f"{AGENT}.jws") == (signed.token,)
    assert [path.name for path in room.pins.iterdir()] == [f"{signed.grants[0].digest}.json"]
    assert await room.updates.listing() == ()
    with pytest.raises(Rejected, match="there is no proposal"):
        await room.updates.show(proposal)


async def test_what_it_changes_is_told_and_what_widens_stands_out(room: Room) -> None:
    rows = room.text().splitlines(keepends=True)
    narrow = "".join(row for row in rows if "post-invoice" not in row)
    first = await room.updates.propose(narrow, author=room.person(DEPUTY), why="to begin with")
    await room.updates.record(first.id, await room.sign(first.id))
    second = await room.propose()
    update = await room.updates.show(second)
    assert update.replaces is not None
    (line,) = (line for line in update.differences if "post-invoice" in line.text)
    assert line.warns and "adds" in line.text


EXCHANGES: dict[str, tuple[Constraints, Constraints, str, bool]] = {
    "a payee exchanged for another": (
        Constraints(body={"/payee": frozenset({"17"})}),
        Constraints(body={"/payee": frozenset({"88"})}),
        "changes the constraint on what the body holds at /payee from 17 to 88",
        True,
    ),
    "a method exchanged for another": (
        Constraints(methods=frozenset({"GET"})),
        Constraints(methods=frozenset({"POST"})),
        "changes the constraint on methods from GET to POST",
        True,
    ),
    "one payee less": (
        Constraints(body={"/payee": frozenset({"17", "88"})}),
        Constraints(body={"/payee": frozenset({"88"})}),
        "tightens the constraint on what the body holds at /payee from 17, 88 to 88",
        False,
    ),
}


@pytest.mark.parametrize(("before", "after", "told", "warns"), EXCHANGES.values(), ids=EXCHANGES)
def test_what_may_widen_stands_out_too(before: Constraints, after: Constraints, told: str, warns: bool) -> None:
    """An author who exchanges what is permitted takes as much away as they add: a tired sponsor must see it."""
    old, new = (
        parse_manifest(issue_root(identities.draft(grants=[identities.grant(constraints=each)]), key=key(SPONSOR)))
        for each in (before, after)
    )
    (line,) = differences(old, new, identities.bundle())
    assert (line.text, line.warns) == (f"cluster {CLUSTER}: {told}", warns)


@pytest.mark.parametrize("signer", [DEPUTY, REVIEWER, AGENT, "operator"])
async def test_nobody_but_the_sponsor_signs(room: Room, signer: str) -> None:
    proposal = await room.propose()
    with pytest.raises(Rejected):
        await room.updates.record(proposal, await room.sign(proposal, signer))
    if signer in room.bundle.people:
        with pytest.raises(Rejected) as refused:
            await room.updates.draft(proposal, person=room.person(signer))
        assert refused.value.code is Code.HOLD_NOT_PERMITTED
    assert not room.manifests.exists()
    await room.updates.record(proposal, await room.sign(proposal))


def bulky() -> str:
    """Constraints that a draft may have, and no manifest: too many for one token."""
    return f"    constraints: {{params: {{id: [{', '.join(f'x{number:030}' for number in range(600))}]}}}}\n"


def widened(wanted: ToSign) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(json.dumps(wanted.claims))
    claims["authorization_details"][0]["locations"].append("https://elsewhere.example")
    return claims


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(widened, id="another place"),
        pytest.param(lambda wanted: {**wanted.claims, "purpose": "Anything."}, id="another purpose"),
        pytest.param(lambda wanted: {**wanted.claims, "exp": int(wanted.claims["exp"]) + 60}, id="a longer life"),
        pytest.param(lambda wanted: {**wanted.claims, "del_max_depth": 3}, id="handed on more often"),
    ],
)
async def test_what_was_signed_must_be_what_was_proposed(
    room: Room, change: Callable[[ToSign], dict[str, Any]]
) -> None:
    proposal = await room.propose()
    wanted = await room.updates.draft(proposal, person=room.person(SPONSOR))
    with pytest.raises(Rejected, match="not what was proposed"):
        await room.updates.record(proposal, seal(change(wanted), typ=wanted.typ, key=key(SPONSOR)))
    await room.updates.record(proposal, seal(wanted.claims, typ=wanted.typ, key=key(SPONSOR)))


@pytest.mark.parametrize("later", [timedelta(minutes=11), timedelta(seconds=-30)])
async def test_a_signature_counts_only_while_it_is_fresh(room: Room, later: timedelta) -> None:
    proposal = await room.propose()
    token = await room.sign(proposal)
    room.now += later
    with pytest.raises(Rejected, match="must be signed within 10 minutes"):
        await room.updates.record(proposal, token)
    room.now = NOW + timedelta(minutes=9)
    await room.updates.record(proposal, token)


async def test_a_proposal_that_no_longer_fits_says_why_and_is_not_signed(room: Room) -> None:
    proposal = await room.propose()
    changed = identities.cluster(operations=identities.OPERATIONS[:1])
    room.bundle = identities.bundle(clusters=[changed])
    update = await room.updates.show(proposal)
    assert update.told is None and "has no operation" in update.fault and "draft:" in update.fault
    with pytest.raises(Rejected, match="has no operation"):
        await room.updates.draft(proposal, person=room.person(SPONSOR))


async def test_one_that_nobody_can_sign_any_more_is_still_read_and_turned_down(room: Room) -> None:
    """As one is that was written into the store by hand: its page must not fail, for there it is turned down."""
    proposal = await room.propose()
    kept = json.loads(await room.store.get(proposal) or "")
    await room.store.put(proposal, json.dumps(kept | {"text": kept["text"] + bulky()}))
    update = await room.updates.show(proposal)
    assert update.told is None and "at most 16384 characters" in update.fault
    await room.updates.drop(proposal, person=room.person(SPONSOR), why="too much")


async def test_between_what_was_shown_and_what_is_signed_the_policy_may_not_change(room: Room) -> None:
    proposal = await room.propose()
    token = await room.sign(proposal)
    room.bundle = identities.bundle(clusters=[identities.cluster(hosts=("erp.example", "other.example"))])
    with pytest.raises(Rejected, match="not what was proposed"):
        await room.updates.record(proposal, token)


@pytest.mark.parametrize(
    ("why", "change", "told"),
    [
        pytest.param("", str, "a proposal needs a reason", id="no reason"),
        pytest.param("x", lambda text: text.replace(CLUSTER, "suplier-invoices"), "did you mean", id="no such cluster"),
        pytest.param("x", lambda text: text + "#" * 70_000, "at most 65536 characters", id="too long"),
        pytest.param("x", lambda text: text.replace("lifetime: 1d", "lifetime: 200d"), "not longer", id="a long life"),
        pytest.param("x", lambda text: text.replace(AGENT, "robot"), "there is no agent", id="nobody's"),
        pytest.param(
            "x", lambda text: text + bulky(), "at most 16384 characters, got 3 with", id="too long to be signed"
        ),
    ],
)
async def test_what_nobody_could_sign_is_not_kept(
    room: Room, why: str, change: Callable[[str], str], told: str
) -> None:
    with pytest.raises(Rejected, match=told):
        await room.propose(why=why, change=change)
    assert await room.updates.listing() == ()
    await room.propose()


async def test_an_author_whose_certificate_ended_proposes_nothing(room: Room) -> None:
    lapsed = replace(room.person(DEPUTY), certified_until=NOW)
    with pytest.raises(Rejected) as refused:
        await room.updates.propose(room.text(), author=lapsed, why="x")
    assert refused.value.code is Code.HOLD_NOT_PERMITTED


async def test_the_author_and_the_sponsor_drop_it_and_nobody_else(room: Room) -> None:
    for person in (DEPUTY, SPONSOR):
        proposal = await room.propose()
        with pytest.raises(Rejected) as refused:
            await room.updates.drop(proposal, person=room.person(REVIEWER))
        assert refused.value.code is Code.HOLD_NOT_PERMITTED
        if person == SPONSOR:
            with pytest.raises(Rejected, match="to turn it down needs a reason"):
                await room.updates.drop(proposal, person=room.person(person))
        await room.updates.drop(proposal, person=room.person(person), why="not now" if person == SPONSOR else "")
    assert await room.updates.listing() == ()


async def test_they_are_listed_oldest_first_and_wait_for_thirty_days(room: Room) -> None:
    first = await room.propose()
    room.now += timedelta(days=1)
    second = await room.propose()
    assert [each.id for each in await room.updates.listing(sponsor=SPONSOR)] == [first, second]
    assert await room.updates.listing(sponsor=DEPUTY) == ()
    room.now = NOW + timedelta(days=30)
    assert [each.id for each in await room.updates.listing()] == [second]


async def test_there_is_an_end_to_how_many_wait(room: Room) -> None:
    proposal = await room.propose()
    text = await room.store.get(proposal)
    assert text is not None
    for number in range(MOST_WAITING - 1):
        await room.store.put(f"p{number}", text)
    with pytest.raises(Rejected, match="200 proposals wait already"):
        await room.propose()
    await room.updates.drop("p0", person=room.person(DEPUTY))
    await room.propose()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"author": "nobody"}, id="an author nobody enrolled"),
        pytest.param({"agent": "nobody"}, id="an agent nobody enrolled"),
        pytest.param({"why": "\x1b[2J"}, id="a reason that cannot be shown"),
        pytest.param({"at": 10**40}, id="no moment"),
        pytest.param({"text": 7}, id="no text"),
        pytest.param({"text": "\ud800"}, id="half a character, which no page can show"),
        pytest.param({"text": "#" * 300_000}, id="more than anybody may propose"),
    ],
)
async def test_what_somebody_wrote_into_the_store_by_hand_is_none(room: Room, change: dict[str, Any]) -> None:
    proposal = await room.propose()
    kept = json.loads(await room.store.get(proposal) or "")
    await room.store.put("forged", json.dumps(kept | change))
    await room.store.put("rubbish", "{")
    assert [each.id for each in await room.updates.listing()] == [proposal]


async def test_a_sponsor_is_whoever_the_policy_says_now_not_the_store(room: Room) -> None:
    proposal = await room.propose()
    kept = json.loads(await room.store.get(proposal) or "")
    await room.store.put(proposal, json.dumps(kept | {"sponsor": DEPUTY}))
    assert (await room.updates.show(proposal)).proposal.sponsor == SPONSOR


async def test_what_stands_there_and_is_no_manifest_is_not_compared_with(room: Room) -> None:
    room.manifests.mkdir()
    (room.manifests / f"{AGENT}.jws").write_text("rubbish")
    assert (await room.updates.show(await room.propose())).replaces is None
    write_chain_file(room.manifests / f"{AGENT}.jws", (identities.world().tokens[0],))
    replaced = (await room.updates.show(await room.propose())).replaces
    assert replaced == parse_manifest(identities.world().tokens[0])


@pytest.mark.parametrize(
    ("signer", "doubt"),
    [
        pytest.param(SPONSOR, "", id="its sponsor's word"),
        pytest.param("mallory", "no enrolled key", id="nobody's word, written there"),
        pytest.param(DEPUTY, "no enrolled key", id="somebody else's"),
    ],
)
@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=300)], ids=["while it lasts", "after its end"])
async def test_what_is_compared_with_must_be_somebodys_word(
    room: Room, signer: str, doubt: str, later: timedelta
) -> None:
    """Else a file with everything in it would make any proposal read as if it changed nothing."""
    write_chain_file(room.manifests / f"{AGENT}.jws", (issue_root(identities.draft(), key=key(signer)),))
    room.bundle = replace(room.bundle, people={name: _for_long(each) for name, each in room.bundle.people.items()})
    room.now += later
    update = await room.updates.show(await room.propose())
    assert update.replaces is not None and update.told is not None
    assert doubt in update.doubt and bool(update.doubt) is bool(doubt)


def _for_long(person: Person) -> Person:
    return replace(person, certified_until=NOW + timedelta(days=1_000))


# --- by passkey ------------------------------------------------------------------------------------------------------

STICK = authenticator(SPONSOR)


def desk_room(home: Path) -> Room:
    ada = identities.person(SPONSOR, deputy=DEPUTY, passkeys=[STICK.passkey])
    people = (ada, identities.person(DEPUTY), identities.person(REVIEWER))
    desk = ReviewDesk(keys=(key("desk").public,), origins=(ORIGIN,))
    return Room(home=home, bundle=identities.bundle(people=people, desk=desk))


async def test_a_passkey_signs_what_was_proposed_whichever_s_it_writes(tmp_path: Path) -> None:
    room = desk_room(tmp_path)
    seen: set[bool] = set()
    while seen != {True, False}:  # an authenticator's s is low or high by chance
        proposal = await room.propose()
        wanted = await room.updates.draft(proposal, person=room.person(SPONSOR), kid=key("desk").public.kid)
        assertion = STICK.sign(wanted.challenge)
        seen.add(one_form(STICK.key.public, assertion.signature) == assertion.signature)
        signed = await room.updates.record(proposal, wanted.attested(key("desk"), assertion, room.person(SPONSOR)))
        assert signed.passkey == STICK.id
        told = dict(manifest_told(signed, room.bundle, now=NOW).facts)
        assert told["signed with"] == "a passkey, at the review desk"
        assert read_chain_file(room.manifests / f"{AGENT}.jws") == (signed.token,)


async def test_the_desk_alone_and_a_foreign_passkey_sign_nothing(tmp_path: Path) -> None:
    room = desk_room(tmp_path)
    proposal = await room.propose()
    wanted = await room.updates.draft(proposal, person=room.person(SPONSOR), kid=key("desk").public.kid)
    foreign = authenticator("mallory").sign(wanted.challenge)
    for token in (wanted.signed(key("desk")), wanted.attested(key("desk"), foreign, room.person(SPONSOR))):
        with pytest.raises(Rejected) as refused:
            await room.updates.record(proposal, token)
        assert refused.value.code is Code.MANIFEST_SIGNATURE
    assert not room.manifests.exists() and not list(room.pins.iterdir())


async def test_what_a_passkey_signed_must_be_what_was_proposed(tmp_path: Path) -> None:
    room = desk_room(tmp_path)
    proposal = await room.propose()
    wanted = await room.updates.draft(proposal, person=room.person(SPONSOR), kid=key("desk").public.kid)
    other = replace(wanted, claims=widened(wanted))
    token = other.attested(key("desk"), STICK.sign(other.challenge), room.person(SPONSOR))
    with pytest.raises(Rejected, match="not what was proposed"):
        await room.updates.record(proposal, token)


class Forgetful(MemoryProposals):
    """A store that fails when it is to remember something."""

    failing = False

    async def put(self, proposal_id: str, text: str) -> None:
        if self.failing:
            raise Unavailable(Code.STORE_DOWN, "the store does not answer")
        await super().put(proposal_id, text)


async def test_what_was_signed_counts_though_the_store_fails_afterwards(tmp_path: Path) -> None:
    """It is written and will be obeyed: a sponsor who reads that it does not count would be told an untruth."""
    room = Room(home=tmp_path, store=(store := Forgetful()))
    proposal = await room.propose()
    token = await room.sign(proposal)
    store.failing = True
    signed = await room.updates.record(proposal, token)
    assert read_chain_file(room.manifests / f"{AGENT}.jws") == (signed.token,)
    store.failing = False
    await room.updates.drop(proposal, person=room.person(SPONSOR), why="it is signed")


# --- what became of it -----------------------------------------------------------------------------------------------


async def test_what_became_of_a_proposal_is_remembered_for_a_while(room: Room) -> None:
    signed, dropped, taken = await room.propose(), await room.propose(), await room.propose()
    await room.updates.record(signed, await room.sign(signed))
    await room.updates.drop(dropped, person=room.person(SPONSOR), why="not now")
    await room.updates.drop(taken, person=room.person(DEPUTY))
    for proposal, how, by, why in (
        (signed, How.SIGNED, SPONSOR, ""),
        (dropped, How.DECLINED, SPONSOR, "not now"),
        (taken, How.WITHDRAWN, DEPUTY, ""),
    ):
        ended = await room.updates.ended(proposal)
        assert ended is not None and (ended.how, ended.by, ended.why) == (how, by, why)
        with pytest.raises(Rejected, match=f"there is no proposal {proposal} any more: .* was {how.value} by {by}"):
            await room.updates.draft(proposal, person=room.person(SPONSOR))
    assert await room.updates.listing() == ()
    assert await room.updates.ended("x") is None
    room.now += REMEMBERED
    last = await room.propose()
    assert await room.updates.ended(last) is None
    await room.updates.drop(last, person=room.person(DEPUTY))
    assert list(await room.store.every()) == [last]


async def test_only_so_many_are_remembered(room: Room) -> None:
    old = Ended(how=How.SIGNED, agent=AGENT, sponsor=SPONSOR, author=DEPUTY, by=SPONSOR, at=room.now, why="")
    for number in range(MOST_REMEMBERED + 5):
        await room.store.put(f"old-{number:04}", ended_text(old))
    await room.updates.drop(await room.propose(), person=room.person(DEPUTY))
    assert len(await room.store.every()) == MOST_REMEMBERED


@pytest.mark.parametrize("why", ["two\nlines", "x" * 1_000])
async def test_a_reason_that_cannot_be_shown_turns_nothing_down(room: Room, why: str) -> None:
    proposal = await room.propose()
    with pytest.raises(Rejected) as refused:
        await room.updates.drop(proposal, person=room.person(SPONSOR), why=why)
    assert refused.value.code is Code.RELEASE_INVALID
    assert len(await room.updates.listing()) == 1


@pytest.mark.parametrize("text", ['{"ended": "lost"}', "[", "{}", "null"])
async def test_what_cannot_be_read_as_an_ending_is_none(room: Room, text: str) -> None:
    await room.store.put("x", text)
    assert await room.updates.ended("x") is None
    whole = ended_text(Ended(how=How.SIGNED, agent="a", sponsor="b", author="c", by="d", at=room.now, why=""))
    await room.store.put("y", whole)
    await room.store.put("z", whole.replace("signed", "sold"))
    assert (await room.updates.ended("y") is None, await room.updates.ended("z") is None) == (False, True)


# --- once more -------------------------------------------------------------------------------------------------------


async def test_a_manifest_is_proposed_again_with_all_that_narrows_it(room: Room) -> None:
    constraints = Constraints(
        methods=frozenset({"GET"}),
        params={"id": frozenset({"17", "a b"})},
        query={"page": frozenset({"1"})},
        body={"/payee/id": frozenset({"88", '"88"', "true"}), "note": frozenset({'"a"'})},
    )
    grants = [identities.grant(constraints=constraints)]
    draft = identities.draft(grants=grants, iat=NOW, exp=NOW + timedelta(days=2))
    write_chain_file(room.manifests / f"{AGENT}.jws", (issue_root(draft, key=key(SPONSOR)),))
    room.now += timedelta(days=1)
    proposal = await room.updates.propose_again(AGENT, author=room.person(DEPUTY), why="still needed")
    update = await room.updates.show(proposal.id)
    (line,) = update.differences
    assert "expiry" in line.text and not update.fault
    signed = await room.updates.record(proposal.id, await room.sign(proposal.id))
    assert signed.grants == tuple(grants)
    assert (signed.iat, signed.exp) == (room.now, room.now + timedelta(days=2))


async def test_a_button_pressed_twice_proposes_once(room: Room) -> None:
    draft = identities.draft(iat=NOW, exp=NOW + timedelta(days=2))
    write_chain_file(room.manifests / f"{AGENT}.jws", (issue_root(draft, key=key(SPONSOR)),))
    first = await room.updates.propose_again(AGENT, author=room.person(DEPUTY), why="still needed")
    with pytest.raises(Rejected, match=f"the same is proposed for {AGENT} already"):
        await room.updates.propose_again(AGENT, author=room.person(SPONSOR), why="still needed")
    assert [each.id for each in await room.updates.listing()] == [first.id]
    await room.updates.drop(first.id, person=room.person(DEPUTY))
    await room.updates.propose_again(AGENT, author=room.person(SPONSOR), why="still needed")


async def test_nothing_is_proposed_again_that_is_not_there(room: Room) -> None:
    with pytest.raises(Rejected, match="no manifest here"):
        await room.updates.propose_again(AGENT, author=room.person(DEPUTY), why="x")


async def test_what_a_draft_cannot_say_is_renewed_elsewhere(room: Room) -> None:
    """An empty set of values permits nothing; a draft cannot say that, and must not say less."""
    grants = [identities.grant(constraints=Constraints(params={"id": frozenset()}))]
    draft = identities.draft(grants=grants, iat=NOW, exp=NOW + timedelta(days=2))
    write_chain_file(room.manifests / f"{AGENT}.jws", (issue_root(draft, key=key(SPONSOR)),))
    with pytest.raises(Rejected) as refused:
        await room.updates.propose_again(AGENT, author=room.person(DEPUTY), why="x")
    assert refused.value.code is Code.CONFIG_INVALID
    assert await room.updates.listing() == ()


# --- while something fails -------------------------------------------------------------------------------------------


def away(*_: object) -> None:
    raise Unavailable(Code.STORE_DOWN, "the store does not answer")


async def test_what_was_signed_and_kept_is_told_so_though_the_store_goes_away(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = await room.propose()
    token = await room.sign(proposal)
    with monkeypatch.context() as gone:
        gone.setattr(room.store, "put", away)
        signed = await room.updates.record(proposal, token)
    assert read_chain_file(room.manifests / f"{AGENT}.jws") == (signed.token,)


@pytest.mark.parametrize("what", ["propose", "drop"])
async def test_a_word_about_a_proposal_whose_answer_was_lost_is_not_told_as_not_recorded(
    room: Room, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    proposal, put = await room.propose(), room.store.put

    async def lost(name: str, text: str) -> None:
        await put(name, text)
        away()

    with monkeypatch.context() as cut:
        cut.setattr(room.store, "put", lost)
        with pytest.raises(Unavailable, match="whether this was recorded is not known: look at the proposals"):
            await (room.propose() if what == "propose" else room.updates.drop(proposal, person=room.person(DEPUTY)))
    assert len(await room.updates.listing()) == (2 if what == "propose" else 0)  # it was


async def test_what_became_of_others_long_ago_may_stay_while_the_store_does_not_answer(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = await room.propose()
    with monkeypatch.context() as gone:
        gone.setattr(room.store, "every", away)
        await room.updates.drop(proposal, person=room.person(DEPUTY))
    assert await room.updates.listing() == ()
