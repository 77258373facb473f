"""Releases that a stop came after are taken back once, wherever that is noticed, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from filing import Filer
from identities import AGENT, DEPLOYMENT, NOW, SPONSOR, key

from proxy.core.clusters import compile_policy
from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Hold, HoldState, StoredCall
from proxy.core.stored import stored_from_bytes
from proxy.recalls import Recalls
from proxy.review.service import ReviewService
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault

BUNDLE = identities.bundle()


class Place:
    """A worker's recalls, and a reviewer."""

    def __init__(self) -> None:
        self.now, self.seen = NOW, ControlView()
        self.away: Exception | None = None
        self.opened = 0
        self.policy = compile_policy(BUNDLE)
        self.holds, self.vault = MemoryHolds(now=lambda: self.now), SecretVault(b"s" * 32)
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=BUNDLE, tokens=identities.world().tokens, now=NOW)
        self.recalls = Recalls(
            holds=self.holds, policy=lambda: self.policy, view=self.view, stored=self.stored, clock=lambda: self.now
        )

    def view(self) -> ControlView:
        if self.away is not None:
            raise self.away
        return self.seen

    async def stored(self, hold: Hold) -> StoredCall:
        self.opened += 1
        sealed = await self.holds.sealed(hold.id)
        if sealed is None:
            raise Rejected(Code.HOLD_SPENT, "it is over")
        return stored_from_bytes(self.vault.unseal(hold.id, sealed))

    def say(self, act: Act, after_s: float, target: str = AGENT) -> None:
        moment = NOW + timedelta(seconds=after_s)
        token = state(act, target, by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=moment)
        self.seen = self.seen.absorb(read_statement(token, BUNDLE))

    async def approved(self, url: str) -> Hold:
        hold = await self.filer.file(url)
        reviews = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=lambda: compile_policy(BUNDLE),
            clock=lambda: self.now,
            new_nonce=lambda: identities.nonce("review"),
        )
        outcome = await reviews.release(hold.id, person=BUNDLE.people[SPONSOR], key=key(SPONSOR))
        assert outcome.hold is not None
        return outcome.hold


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_release_from_before_a_stop_is_taken_back_once(place: Place) -> None:
    hold = await place.approved("https://erp.example/v1/a")
    assert await place.recalls.checked(hold) is hold
    place.say(Act.QUARANTINE, 5)
    place.say(Act.RESTORE, 10)
    back = await place.recalls.checked(hold)
    assert (back.state, back.version, back.said[-1].statement) == (
        HoldState.HELD,
        hold.version + 1,
        place.seen.words[AGENT][0].token,
    )
    again = await place.recalls.checked(hold)
    assert again == back, "by whoever still has it as it was"
    place.now = NOW + timedelta(seconds=60)
    assert (await place.approved("https://erp.example/v1/b")).state is HoldState.APPROVED


async def test_a_release_from_after_a_stop_stays(place: Place) -> None:
    place.say(Act.QUARANTINE, -10)
    place.say(Act.RESTORE, -5)
    hold = await place.approved("https://erp.example/v1/a")
    assert await place.recalls.checked(hold) is hold


async def test_every_release_of_the_agent_is_taken_back_when_it_is_stopped(place: Place) -> None:
    holds = [await place.approved(f"https://erp.example/v1/{n}") for n in range(3)]
    waiting = await place.filer.file("https://erp.example/v1/waits")
    place.say(Act.QUARANTINE, 5, target="another")
    await place.recalls.sweep()
    states: Callable[[], list[HoldState]] = lambda: [place.holds._records[hold.id].hold.state for hold in holds]  # noqa: E731
    assert states() == [HoldState.APPROVED] * 3
    place.say(Act.QUARANTINE, 5)
    place.away = Unavailable(Code.VIEW_STALE, "away")
    await place.recalls.sweep()
    assert states() == [HoldState.APPROVED] * 3, "it is done when it can be"
    place.away = None
    await place.recalls.sweep()
    assert states() == [HoldState.HELD] * 3
    kept = await place.holds.get(waiting.id)
    assert kept == waiting, "what waits goes on waiting"
    opened = place.opened
    await place.recalls.sweep()
    assert place.opened == opened, "it looks again when there is news"


async def test_what_ended_meanwhile_or_was_claimed_is_left_as_it_is(place: Place) -> None:
    claimed, gone = await place.approved("https://erp.example/v1/a"), await place.approved("https://erp.example/v1/b")
    place.say(Act.QUARANTINE, 5)
    assert (await place.holds.apply(claimed.id, Event.CLAIM, worker="w/1")).applied
    assert (await place.recalls.checked(claimed)).state is HoldState.RELEASING, "its worker says what became of it"
    place.now = gone.expires_at
    assert await place.recalls.checked(gone) is gone, "whoever wants to send it is told that it is over"
    unknown = replace(gone, id="nobody")
    assert await place.recalls.checked(unknown) is unknown
