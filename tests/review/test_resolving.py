"""Closing a hold of which nobody knew whether its call arrived."""

from collections.abc import Mapping

import identities
import pytest
from filing import Filer

from proxy.core.clusters import compile_policy
from proxy.core.errors import Code, Rejected
from proxy.core.holds import Event
from proxy.core.model import Hold, HoldState, Person
from proxy.core.resolution import Found, read_resolution
from proxy.review.resolving import Resolving
from proxy.review.service import Result, ReviewService
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault

BUNDLE = identities.bundle()


class Desk:
    def __init__(self) -> None:
        self.holds = MemoryHolds(now=lambda: identities.NOW)
        vault = SecretVault(b"s" * 32)
        tokens = identities.world().tokens
        self.filer = Filer(holds=self.holds, vault=vault, bundle=BUNDLE, tokens=tokens, now=identities.NOW)
        self.resolving = Resolving(
            reviews=ReviewService(
                holds=self.holds,
                vault=vault,
                policy=lambda: compile_policy(BUNDLE),
                clock=lambda: identities.NOW,
                new_nonce=lambda: identities.nonce("r"),
            ),
            holds=self.holds,
            policy=lambda: compile_policy(BUNDLE),
            clock=lambda: identities.NOW,
            new_nonce=lambda: identities.nonce("n"),
        )

    async def hold(self, *events: Event, changed: Mapping[str, object] | None = None) -> Hold:
        hold = await self.filer.file(changed=changed)
        for event in events:
            hold = (await self.holds.apply(hold.id, event, fence=hold.fence)).hold
        return hold


def person(name: str) -> Person:
    return BUNDLE.people[name]


@pytest.mark.parametrize(
    ("found", "state"), [(Found.ARRIVED, HoldState.RELEASED), (Found.NOT_ARRIVED, HoldState.CANCELLED)]
)
async def test_a_person_closes_it_by_a_signed_word_and_nothing_is_sent(found: Found, state: HoldState) -> None:
    desk = Desk()
    hold = await desk.hold(Event.APPROVE, Event.CLAIM, Event.LOST)
    assert hold.state is HoldState.UNCERTAIN
    by, key = identities.SPONSOR, identities.key(identities.SPONSOR)

    done = await desk.resolving.resolve(hold.id, found, person=person(by), key=key, reason="asked the bank")

    assert (done.result, done.hold.state if done.hold else None) == (Result.DONE, state)
    closed = await desk.holds.get(hold.id)
    assert closed is not None
    assert closed.statement is not None
    said = read_resolution(closed.statement, hold=closed, bundle=BUNDLE, barred=frozenset(), now=identities.NOW)
    assert (said.by, said.found) == (by, found)
    again = await desk.resolving.resolve(hold.id, found, person=person(by), key=key, reason="asked again")
    assert again.result is Result.ALREADY_DECIDED
    for event in (Event.APPROVE, Event.CLAIM):
        assert not (await desk.holds.apply(hold.id, event)).applied
    assert (await desk.filer.file()).id != hold.id, "asked for again, it is held anew"


@pytest.mark.parametrize(
    ("by", "signer", "events", "result"),
    [
        pytest.param(
            identities.REVIEWER,
            "",
            (Event.APPROVE, Event.CLAIM, Event.LOST),
            Result.NOT_PERMITTED,
            id="who may not decide it",
        ),
        pytest.param(
            identities.SPONSOR, "", (Event.APPROVE, Event.CLAIM), Result.ALREADY_DECIDED, id="while it is being sent"
        ),
        pytest.param(identities.SPONSOR, "", (), Result.ALREADY_DECIDED, id="while it is held"),
    ],
)
async def test_nothing_else_is_closed_so(by: str, signer: str, events: tuple[Event, ...], result: Result) -> None:
    desk = Desk()
    hold = await desk.hold(*events)
    key = identities.key(signer or by)
    done = await desk.resolving.resolve(hold.id, Found.ARRIVED, person=person(by), key=key, reason="asked the bank")
    assert done.result is result
    assert await desk.holds.get(hold.id) == hold


async def test_a_key_that_is_not_the_persons_signs_nothing() -> None:
    desk = Desk()
    hold = await desk.hold(Event.APPROVE, Event.CLAIM, Event.LOST)
    with pytest.raises(Rejected) as caught:
        await desk.resolving.resolve(
            hold.id,
            Found.ARRIVED,
            person=person(identities.SPONSOR),
            key=identities.key(identities.AGENT),
            reason="asked the bank",
        )
    assert caught.value.code is Code.RELEASE_INVALID
    assert await desk.holds.get(hold.id) == hold


async def test_what_nobody_knows_is_unknown() -> None:
    key = identities.key(identities.SPONSOR)
    done = await Desk().resolving.resolve(
        "nothing", Found.ARRIVED, person=person(identities.SPONSOR), key=key, reason="asked the bank"
    )
    assert done.result is Result.UNKNOWN


async def test_a_hold_that_was_changed_in_the_store_is_not_resolved() -> None:
    desk = Desk()
    hold = await desk.hold(Event.APPROVE, Event.CLAIM, Event.LOST, changed={"who": (identities.REVIEWER,)})
    with pytest.raises(Rejected) as caught:
        await desk.resolving.resolve(
            hold.id,
            Found.NOT_ARRIVED,
            person=person(identities.REVIEWER),
            key=identities.key(identities.REVIEWER),
            reason="asked the bank",
        )
    assert caught.value.code is Code.HOLD_TAMPERED
    assert await desk.holds.get(hold.id) == hold
