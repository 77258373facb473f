"""How a person's word about held calls goes from the command line to the review desk, and what is printed of it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.atdesk import at_desk
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.deskwords import say_at_desk
from proxy.cli.exits import Exit
from proxy.cli.grantwords import grant_words
from proxy.cli.screen import BAD, GOOD, LABEL, WARN, Screen, document
from proxy.cli.signers import OPERATOR, choose_signer
from proxy.cli.store import Desk, open_desk
from proxy.cli.words import until
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, HoldState, Person
from proxy.review.documents import grant_json, outcome_json
from proxy.review.opened import HeldCall
from proxy.review.outcomes import unknown
from proxy.review.service import Outcome, Result
from proxy.review.wishes import Said, Wish


def _hold_id(text: str) -> str:
    if not text.isascii():  # no hold's, and not every store takes it
        raise unknown(text)
    return text


HoldId = Annotated[str, typer.Argument(metavar="HOLD", parser=_hold_id, help="The hold's id, as holds list prints it.")]

EXITS = {
    Result.DONE: Exit.OK,
    Result.SIGNED: Exit.SIGNED,
    Result.ALREADY_DECIDED: Exit.DECIDED,
    Result.NOT_PERMITTED: Exit.NOT_PERMITTED,
    Result.UNKNOWN: Exit.UNKNOWN,
    Result.EXPIRED: Exit.EXPIRED,
    Result.FAILED: Exit.REFUSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Where a command works, and whose key it was told to sign with."""

    config: Path | None
    dev: bool
    key: Path | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """A person and the key they sign with."""

    person: Person
    key: PrivateKey


def with_desk[T](caller: Caller, use: Callable[[Desk, Bundle, Deployment], Awaitable[T]]) -> T:
    """Run one piece of work at the deployment's desk."""

    async def run() -> T:
        deployment = open_deployment(caller.config)
        bundle = deployment.bundle(dev=caller.dev)
        async with open_desk(deployment, bundle) as desk:
            return await use(desk, bundle, deployment)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:  # SIGTERM while watching
        raise KeyboardInterrupt from None


def signing(deployment: Deployment, bundle: Bundle, caller: Caller, able: Collection[str]) -> Signing:
    """Who signs: as the command was told, else the only one of `able` whose key is at hand.

    Raises:
        Rejected: as `choose_signer`; or an operator's key was named.
    """
    signer = choose_signer(deployment, bundle, key=caller.key, name=caller.name, able=lambda who: who in able)
    if signer.name == OPERATOR:
        detail = f"an operator decides no holds; {' or '.join(able) or 'nobody'} may"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail)
    return Signing(person=bundle.people[signer.name], key=signer.key)


def sooner_or_later(held: HeldCall) -> tuple[str, ...]:
    """Everybody who may decide a hold at some time."""
    later = (name for rung in held.later for name in rung.people)
    return tuple(dict.fromkeys((*held.deciders, *later)))


def rule(hold_id: str, caller: Caller, wish: Wish, *, now_only: bool, as_json: bool) -> int:
    """Sign one word about one hold and print what became of it. `now_only`: only whoever's turn it is can be meant."""
    there = at_desk()

    async def run(desk: Desk, bundle: Bundle, deployment: Deployment) -> Said:
        held = await desk.reviews.show(hold_id)
        able = held.deciders if now_only else sooner_or_later(held)
        who = signing(deployment, bundle, caller, able)
        return await desk.words.say(hold_id, wish, person=who.person, key=who.key)

    if there is None:
        outcome, grant = with_desk(caller, run)
    else:
        outcome, grant = say_at_desk(there, hold_id, wish, key=caller.key, name=caller.name, as_json=as_json)
    if as_json:
        given = {} if wish.width is None else {"grant": None if grant is None else grant_json(grant, used=0)}
        document({**outcome_json(outcome), **given})
    else:
        tell(outcome)
        if grant is not None:
            screen = Screen()
            screen.say(f"Grant {grant.id}", style=LABEL)
            screen.facts(grant_words(grant, used=0, now=now()), indent=2)
    return EXITS[outcome.result]


def tell(outcome: Outcome) -> None:
    """Print what became of a ruling."""
    screen = Screen()
    if outcome.result not in (Result.DONE, Result.SIGNED):
        screen.note(f"intent-proxy: {outcome.detail}", style=BAD)
        return
    screen.say(outcome.detail, style=GOOD if outcome.result is Result.DONE else WARN)
    if outcome.call is not None and outcome.hold is not None:
        screen.say(f"  {outcome.call.consequence}")
        if outcome.hold.state is HoldState.APPROVED:
            screen.say(f"  It passes once, until {until(outcome.hold.expires_at, now())}.")
        elif outcome.hold.state is HoldState.HELD:
            screen.say(f"  It waits until {until(outcome.hold.expires_at, now())}.")
