"""Proposed manifests at the desk: read by whom they concern, signed by the sponsor's passkey, told as it is."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx
import identities
import pytest
from authenticators import ORIGIN, UP, Authenticator, authenticator
from identities import AGENT, CLUSTER, DEPUTY, NOW, REVIEWER, SPONSOR, key
from passkeyrooms import PasskeyRoom
from reviewrooms import Browser, Room, hidden, text_of
from touches import answer, challenge, form_of

from proxy.core.control import EVERYTHING, Act, ControlView, Statement
from proxy.core.encoding import to_epoch
from proxy.core.errors import Code, Unavailable
from proxy.core.jws import open_envelope
from proxy.core.manifest import MANIFEST_TYP, issue_root
from proxy.core.model import Constraints, Manifest
from proxy.core.passkeys import challenge_of
from proxy.core.standing import check_standing
from proxy.core.verify import Lifetimes, verify_chain
from proxy.core.vouching import bare
from proxy.policy.chains import read_chain_file, write_chain_file
from proxy.review.desk.once import LIVES


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return room_of(tmp_path)


def room_of(tmp_path: Path, **about: object) -> Room:
    world = identities.world()
    room = PasskeyRoom(directory=tmp_path, bundle=world.bundle, tokens=world.tokens, origins=(ORIGIN,), **about)  # type: ignore[arg-type]
    room.pins.mkdir()
    return room


def text(room: Room, change: Callable[[str], str] = lambda text: text) -> str:
    return change(room.draft())


async def proposed(room: Room, by: str = DEPUTY, why: str = "month-end", **more: Callable[[str], str]) -> str:
    return (await room.parts.updates.propose(text(room, **more), author=room.person(by), why=why)).id


async def asked(browser: Browser, proposal: str) -> httpx.Response:
    page = await browser.get(f"/proposals/{proposal}")
    return await browser.post(f"/proposals/{proposal}/sign", {"form_token": hidden(page.text)["form_token"]})


async def touched(
    browser: Browser, proposal: str, page: httpx.Response, stick: Authenticator, **changes: object
) -> httpx.Response:
    signed = answer(stick.sign(challenge(page), **changes))
    return await browser.post(f"/proposals/{proposal}/signed", {**form_of(page), "answer": signed})


def kept(room: Room) -> Manifest:
    """The manifest the agent finds, as a node verifies it."""
    tokens = read_chain_file(room.directory / "manifests" / f"{AGENT}.jws")
    return verify_chain(tokens, room.bundle, lifetimes=Lifetimes(), now=room.time()).root


def none_kept(room: Room) -> bool:
    return not (room.directory / "manifests").exists()


# --- reading ---------------------------------------------------------------------------------------------------------


async def test_a_proposal_is_listed_with_what_it_changes_for_whom_it_concerns(room: Room) -> None:
    proposal = await proposed(room)
    for name, own in ((SPONSOR, True), (DEPUTY, False)):
        async with room.browser(name) as browser:
            listed = await browser.get("/proposals")
            told = text_of(listed.text)
            assert f"The first manifest of {AGENT}." in told and "month-end" in told and "waits since" in told
            assert ("yours to sign" in told) is own
            assert f"/proposals/{proposal}" in listed.text
    async with room.browser(REVIEWER) as cleo:
        assert "Nothing that concerns you" in text_of((await cleo.get("/proposals")).text)
        assert (await cleo.get(f"/proposals/{proposal}")).status_code == 404
        page = await cleo.get("/proposals")
        for verb in ("sign", "signed", "decline"):
            sent = {"form_token": hidden(page.text)["form_token"], "answer": "{}", "reason": "x"}
            assert (await cleo.post(f"/proposals/{proposal}/{verb}", sent)).status_code == 404
    assert len(await room.parts.updates.listing()) == 1


async def test_it_is_read_in_plain_words_and_what_widens_stands_out(room: Room) -> None:
    narrow = await proposed(room, change=lambda written: _without(written, "post-invoice"))
    async with room.browser() as ada:
        await touched(ada, narrow, await asked(ada, narrow), authenticator(SPONSOR))
        proposal = await proposed(room)
        page = await ada.get(f"/proposals/{proposal}")
        assert "post-invoice" in text_of((await ada.get("/proposals")).text)
    assert "The agent may: all of these operations." in text_of(page.text)
    assert re.search('<strong class="bad-text">[^<]*post-invoice', page.text)
    assert f"manifest accept {proposal} --as {SPONSOR}" in text_of(page.text)


def _without(written: str, word: str) -> str:
    return "".join(row for row in written.splitlines(keepends=True) if word not in row)


async def test_what_is_signed_is_shown_to_the_letter(room: Room) -> None:
    """Every claim that the passkey signs, and no id: it has none before it is signed."""
    proposal = await proposed(room)
    async with room.browser() as ada:
        page = await asked(ada, proposal)
        shown = json.loads(unescape(re.search(r'aria-label="Manifest">(.*?)</pre>', page.text, re.S)[1]))  # type: ignore[index]
        assert challenge(page) == challenge_of(shown["claims"], typ=shown["typ"])
        assert (await touched(ada, proposal, page, authenticator(SPONSOR))).status_code == 200
    root = kept(room)
    claims = open_envelope(root.token, typ=MANIFEST_TYP, code=Code.MANIFEST_MALFORMED).claims
    assert {**bare(claims), "kid": root.kid} == shown["claims"]


async def test_what_was_stopped_is_told_before_anybody_signs(room: Room) -> None:
    old = present(room, iat=NOW, exp=NOW + timedelta(days=3))
    proposal = await proposed(room)
    revoked = ControlView(revoked_manifests=frozenset({(old.iss, old.jti)}))
    async with room.browser() as ada:
        for view, told in (
            (ControlView(), ""),
            (revoked, f"The manifest that {AGENT} has was revoked: with this one it may act again."),
            (ControlView(revoked_roots=frozenset({old.id})), "was revoked: with this one it may act again."),
            (ControlView(revoked_keys=frozenset({old.cnf.kid})), "nothing ever passes under this manifest."),
        ):
            room.view = view
            for page in (await ada.get("/proposals"), await asked(ada, proposal)):
                assert told in text_of(page.text)
                assert ("revoked" in text_of(page.text)) is bool(told)
            listed = text_of((await ada.get("/proposals")).text)
            assert ("What ends soon" in listed) is not bool(told), "nobody is asked to renew what was revoked"


async def test_what_a_removed_passkey_signed_is_told_not_to_count(room: Room) -> None:
    first = await proposed(room)
    async with room.browser() as ada:
        await touched(ada, first, await asked(ada, first), authenticator(SPONSOR))
        second = await proposed(room)
        assert "does not count" not in text_of((await ada.get("/proposals")).text)
        room.enrol(SPONSOR, authenticator("another stick").passkey)
        for page in (await ada.get("/proposals"), await asked(ada, second)):
            told = f"The manifest that {AGENT} has does not count ({SPONSOR} has no such passkey enrolled)"
            assert told in text_of(page.text)
        room.manifests = room.parts.manifests()
        for place in ("/agents", f"/agents/{AGENT}"):
            agents = text_of((await ada.get(place)).text)
            assert f"counts no more: {SPONSOR} has no such passkey enrolled." in agents and "ends in" not in agents
        room.enrol(SPONSOR, authenticator(SPONSOR).passkey)
        agents = text_of((await ada.get("/agents")).text)
        assert "counts no more" not in agents and "mandate ends in" in agents


async def test_an_agent_that_is_stopped_is_told_of(room: Room) -> None:
    proposal = await proposed(room)
    stop = Statement(
        token="", id="s", by=DEPUTY, act=Act.QUARANTINE, target=AGENT, reason="odd", serial=to_epoch(NOW) * 1000, at=NOW
    )
    async with room.browser() as ada:
        for absorbed, what in ((stop, AGENT), (replace(stop, act=Act.KILL_ON, target=EVERYTHING), "Everything")):
            assert "is stopped" not in text_of((await ada.get(f"/proposals/{proposal}")).text)
            room.view = ControlView().absorb(absorbed)
            assert f"{what} is stopped: nothing passes" in text_of((await ada.get(f"/proposals/{proposal}")).text)
            room.view = ControlView()


async def test_of_several_changes_the_list_names_one_that_widens_before_the_longer_life(room: Room) -> None:
    present(room, iat=NOW, exp=NOW + timedelta(minutes=30))
    await proposed(room)
    async with room.browser() as ada:
        listed = text_of((await ada.get("/proposals")).text)
    assert "Loosens the constraint on methods" in listed.replace(f"Cluster {CLUSTER}: l", "L")


async def test_whoever_may_not_sign_reads_only(room: Room) -> None:
    proposal = await proposed(room, by=REVIEWER)
    async with room.browser(DEPUTY) as ben:
        page = await ben.get(f"/proposals/{proposal}")
        assert page.text.count("<form") == 1, "to sign out"
        told = text_of(page.text)
        assert "Only Ada Example" in told and "manifest accept" not in told
        refused = await ben.post(f"/proposals/{proposal}/sign", {"form_token": hidden(page.text)["form_token"]})
        declined = await ben.post(
            f"/proposals/{proposal}/decline", {"form_token": hidden(page.text)["form_token"], "reason": "no"}
        )
    assert (refused.status_code, declined.status_code) == (403, 403)
    assert len(await room.parts.updates.listing()) == 1


async def test_one_that_fits_the_policy_no_more_says_so_and_cannot_be_signed(room: Room) -> None:
    proposal = await proposed(room)
    room.bundle = replace(room.bundle, clusters={})
    async with room.browser() as ada:
        page = await ada.get(f"/proposals/{proposal}")
        assert "It cannot be signed as it is" in text_of(page.text) and "show exactly what" not in page.text
        assert "does not fit the policy any more" in text_of((await ada.get("/proposals")).text)
        refused = await ada.post(f"/proposals/{proposal}/sign", {"form_token": hidden(page.text)["form_token"]})
        assert refused.status_code == 422


# --- signing ---------------------------------------------------------------------------------------------------------


async def test_the_sponsor_signs_with_a_passkey_and_the_manifest_is_theirs(room: Room) -> None:
    proposal = await proposed(room)
    async with room.browser() as ada:
        page = await asked(ada, proposal)
        told = text_of(page.text)
        assert page.status_code == 200 and "Exactly what is signed" in told and "Match invoices." in told
        assert none_kept(room), "nothing is signed by asking"
        done = await touched(ada, proposal, page, authenticator(SPONSOR))
        assert done.status_code == 200 and f"The manifest of {AGENT} is signed." in text_of(done.text)
    root = kept(room)
    assert (root.sponsor_id, root.passkey, root.kid) == (SPONSOR, authenticator(SPONSOR).id, key("desk").public.kid)
    assert root.id in done.text and root.token in done.text and root.jti in page.text
    (line,) = room.journal.of("sign")
    assert (line["by"], line["manifest"], line["agent"]) == (SPONSOR, root.id, AGENT)
    assert await room.parts.updates.listing() == ()
    assert len(list(room.pins.iterdir())) == 1


async def test_what_cannot_be_written_down_is_not_signed(room: Room) -> None:
    proposal = await proposed(room)
    async with room.browser() as ada:
        page = await asked(ada, proposal)
        room.journal.fault = Unavailable(Code.JOURNAL_DOWN, "the disk is full")
        refused = await touched(ada, proposal, page, authenticator(SPONSOR))
        assert refused.status_code == 503 and none_kept(room)
        room.journal.fault = None
        refused = await touched(ada, proposal, await asked(ada, proposal), authenticator(DEPUTY))
        assert refused.status_code == 422 and room.journal.of("sign") == [], "nothing is written that did not count"
        assert (await touched(ada, proposal, await asked(ada, proposal), authenticator(SPONSOR))).status_code == 200


async def test_it_ends_with_the_passkey(room: Room) -> None:
    proposal = await proposed(room)
    async with room.browser() as ada:
        await touched(ada, proposal, await asked(ada, proposal), authenticator(SPONSOR))
    tokens = read_chain_file(room.directory / "manifests" / f"{AGENT}.jws")
    mandate = verify_chain(tokens, room.bundle, lifetimes=Lifetimes(), now=NOW)
    people = {**room.bundle.people, SPONSOR: replace(room.bundle.people[SPONSOR], passkeys=())}
    with pytest.raises(Exception, match="no such passkey"):
        check_standing(mandate, replace(room.bundle, people=people), ControlView(), now=NOW, grace_s=0)


@pytest.mark.parametrize(
    ("stick", "changes"),
    [
        pytest.param(authenticator(DEPUTY), {}, id="another person's passkey"),
        pytest.param(authenticator(SPONSOR), {"flags": UP}, id="nobody verified"),
        pytest.param(authenticator(SPONSOR), {"origin": "https://evil.example"}, id="another page"),
    ],
)
async def test_an_answer_that_does_not_count_signs_nothing(
    room: Room, stick: Authenticator, changes: dict[str, object]
) -> None:
    proposal = await proposed(room)
    async with room.browser() as ada:
        refused = await touched(ada, proposal, await asked(ada, proposal), stick, **changes)
        assert refused.status_code == 422 and "Nothing was recorded" in text_of(refused.text)
        assert none_kept(room)
        assert (await touched(ada, proposal, await asked(ada, proposal), authenticator(SPONSOR))).status_code == 200


async def test_an_answer_counts_once_in_its_session_and_in_time(room: Room) -> None:
    first, second = await proposed(room), await proposed(room, why="again")
    async with room.browser() as ada, room.browser() as elsewhere:
        page = await asked(ada, first)
        other = await touched(elsewhere, first, await asked(elsewhere, first), authenticator(SPONSOR), kind="x")
        assert other.status_code == 422
        crossed = await ada.post(
            f"/proposals/{second}/signed",
            {**form_of(page), "answer": answer(authenticator(SPONSOR).sign(challenge(page)))},
        )
        assert crossed.status_code == 409, "asked for another proposal"
        late = await asked(ada, first)
        room.now += LIVES
        assert (await touched(ada, first, late, authenticator(SPONSOR))).status_code == 409
        assert none_kept(room)
        assert (await touched(ada, first, await asked(ada, first), authenticator(SPONSOR))).status_code == 200
        silent = await asked(ada, second)
        assert (await ada.post(f"/proposals/{second}/signed", form_of(silent))).status_code == 422
        assert (await ada.post(f"/proposals/{second}/sign", {"form_token": "x"})).status_code == 403


async def test_where_no_passkey_counts_the_command_is_shown(tmp_path: Path) -> None:
    room = room_of(tmp_path, without=(SPONSOR,))
    proposal = await proposed(room)
    async with room.browser() as ada:
        page = await ada.get(f"/proposals/{proposal}")
        assert "You have no passkey that counts here" in text_of(page.text)
        assert f"intent-proxy manifest accept {proposal} --as {SPONSOR}" in page.text
        refused = await asked(ada, proposal)
        assert refused.status_code == 422 and "data-passkey" not in refused.text


# --- what became of it -----------------------------------------------------------------------------------------------


async def test_whoever_comes_too_late_hears_what_became_of_it(room: Room) -> None:
    proposal = await proposed(room)
    async with room.browser() as ada, room.browser() as again, room.browser(DEPUTY) as ben:
        late = await asked(again, proposal)
        await touched(ada, proposal, await asked(ada, proposal), authenticator(SPONSOR))
        for answer_ in (
            await touched(again, proposal, late, authenticator(SPONSOR)),
            await ben.get(f"/proposals/{proposal}"),
        ):
            assert answer_.status_code == 409
            assert f"was signed by {SPONSOR}" in text_of(answer_.text)
    async with room.browser(REVIEWER) as cleo:
        assert (await cleo.get(f"/proposals/{proposal}")).status_code == 404
        assert (await cleo.get("/proposals/%E2%80%AE")).status_code == 404


@pytest.mark.parametrize(
    ("person", "how", "reason"),
    [
        pytest.param(SPONSOR, "declined", "not needed", id="by the sponsor"),
        pytest.param(DEPUTY, "withdrawn", "", id="by the author"),
    ],
)
async def test_it_is_turned_down_with_a_reason(room: Room, person: str, how: str, reason: str) -> None:
    proposal = await proposed(room)
    async with room.browser(person) as browser:
        page = await browser.get(f"/proposals/{proposal}")
        sent = {"form_token": hidden(page.text)["form_token"]}
        if reason:
            mute = await browser.post(f"/proposals/{proposal}/decline", sent)
            assert mute.status_code == 422 and "needs a reason" in text_of(mute.text)
        done = await browser.post(f"/proposals/{proposal}/decline", {**sent, "reason": reason})
        assert done.status_code == 200 and how in text_of(done.text)
        after = await browser.get(f"/proposals/{proposal}")
        assert after.status_code == 409 and f"was {how} by {person}" in text_of(after.text) and reason in after.text
        twice = await browser.post(f"/proposals/{proposal}/decline", {**sent, "reason": "x"})
        assert twice.status_code == 409
    assert none_kept(room) and await room.parts.updates.listing() == ()


# --- what ends soon --------------------------------------------------------------------------------------------------


def present(room: Room, **about: object) -> Manifest:
    """The agent's manifest, signed by its sponsor."""
    grants = [identities.grant(constraints=Constraints(methods=frozenset({"GET"}), params={"id": frozenset({"17"})}))]
    draft = identities.draft(grants=grants, **about)  # type: ignore[arg-type]
    write_chain_file(room.directory / "manifests" / f"{AGENT}.jws", (issue_root(draft, key=key(SPONSOR)),))
    return kept_root(room)


def kept_root(room: Room) -> Manifest:
    (root,) = room.parts.manifests()
    return root


async def test_what_ends_soon_is_shown_and_proposed_again_with_every_constraint(room: Room) -> None:
    old = present(room, iat=NOW, exp=NOW + timedelta(days=3))
    async with room.browser() as ada, room.browser(REVIEWER) as cleo:
        page = await ada.get("/proposals")
        assert "It ends in 3" in text_of(page.text)
        again = {"form_token": hidden(page.text)["form_token"], "agent": AGENT}
        assert (await ada.post("/proposals", again)).status_code == 422, "no reason"
        made = await ada.post("/proposals", {**again, "reason": "still needed"})
        assert made.status_code == 201 and "Nothing: it permits the same" in text_of(made.text)
        assert "A new one is proposed already." in text_of((await ada.get("/proposals")).text)
        (proposal,) = await room.parts.updates.listing()
        room.later(minutes=20)
        await touched(ada, proposal.id, await asked(ada, proposal.id), authenticator(SPONSOR))
        foreign = await cleo.get("/proposals")
        assert "ends in" not in text_of(foreign.text)
        refused = await cleo.post(
            "/proposals", {**again, "reason": "x", "form_token": hidden(foreign.text)["form_token"]}
        )
        assert refused.status_code == 404
    new = kept_root(room)
    assert (new.grants, new.exp - new.iat, new.passkey is not None) == (old.grants, old.exp - old.iat, True)
    assert new.exp > old.exp


@pytest.mark.parametrize(
    ("days", "told"),
    [
        pytest.param(30, None, id="far off"),
        pytest.param(1, "It ends in", id="tomorrow"),
    ],
)
async def test_only_what_ends_in_a_week_is_spoken_of(room: Room, days: int, told: str | None) -> None:
    present(room, iat=NOW, exp=NOW + timedelta(days=days))
    async with room.browser() as ada:
        page = text_of((await ada.get("/proposals")).text)
        assert ("What ends soon" in page) is (told is not None)
        room.later(days=days)
        async with room.browser() as later:
            assert "It has ended" in text_of((await later.get("/proposals")).text)


async def test_nothing_of_a_proposal_is_markup(room: Room) -> None:
    proposal = await proposed(room, why="<img src=x onerror=alert(1)>")
    async with room.browser() as ada:
        for page in (await ada.get("/proposals"), await ada.get(f"/proposals/{proposal}"), await asked(ada, proposal)):
            assert "<img" not in page.text
            assert "&lt;img src=x" in page.text
