"""How a person's word about held calls goes from the command line to the review desk, and what is printed of it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.heldcall import hold_json
from proxy.cli.screen import BAD, GOOD, WARN, Screen, document
from proxy.cli.signers import OPERATOR, choose_signer
from proxy.cli.store import Desk, open_desk
from proxy.cli.words import until
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, HoldState, Person
from proxy.review.opened import HeldCall
from proxy.review.outcomes import unknown
from proxy.review.service import Outcome, Result


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


def rule(
    hold_id: str, caller: Caller, say: Callable[[Desk, Signing], Awaitable[Outcome]], *, now_only: bool, as_json: bool
) -> int:
    """Sign one word about one hold and print what became of it. `now_only`: only whoever's turn it is can be meant."""

    async def run(desk: Desk, bundle: Bundle, deployment: Deployment) -> Outcome:
        held = await desk.reviews.show(hold_id)
        able = held.deciders if now_only else sooner_or_later(held)
        return await say(desk, signing(deployment, bundle, caller, able))

    outcome = with_desk(caller, run)
    tell(outcome, as_json=as_json)
    return EXITS[outcome.result]


def outcome_json(outcome: Outcome) -> dict[str, Json]:
    """An outcome as the command line's JSON has it."""
    shown: Json = None if outcome.hold is None else hold_json(outcome.hold)
    return {"result": outcome.result.value, "detail": outcome.detail, "hold": shown}


def tell(outcome: Outcome, *, as_json: bool) -> None:
    """Print what became of a ruling."""
    if as_json:
        document(outcome_json(outcome))
        return
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
