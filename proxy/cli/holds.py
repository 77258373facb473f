"""`intent-proxy holds`: the calls that wait for a person, and the person's word about them."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.heldcall import asked_for, held_json, hold_json, show_held
from proxy.cli.screen import BAD, GOOD, WARN, Screen, document, json_line
from proxy.cli.signers import OPERATOR, As, KeyFile, choose_signer
from proxy.cli.store import open_reviews
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import until
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold, HoldState, Person
from proxy.policy.files import write_whole
from proxy.review.service import Outcome, Result, ReviewService

app = typer.Typer(help="Calls outside a mandate, or under review, that wait for a person.")

HoldId = Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id, as holds list prints it.")]

_EXITS = {
    Result.DONE: Exit.OK,
    Result.ALREADY_DECIDED: Exit.DECIDED,
    Result.NOT_PERMITTED: Exit.NOT_PERMITTED,
    Result.UNKNOWN: Exit.UNKNOWN,
    Result.EXPIRED: Exit.EXPIRED,
}


@app.command("list")
def list_holds(
    config: Config = None,
    agent: Annotated[str | None, typer.Option(help="Only this agent's.", show_default=False)] = None,
    sponsor: Annotated[str | None, typer.Option(help="Only this sponsor's.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over, for a day.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 100,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """List the calls that wait for a person, newest first.

    Examples:
      intent-proxy holds list
      intent-proxy holds list --agent invoice-bot --json
    """

    async def run(service: ReviewService) -> list[tuple[Hold, str]]:
        states = frozenset(HoldState) if every else None
        holds = await service.listing(states=states, agent=agent, sponsor=sponsor, limit=limit)
        return [(hold, await _asked(service, hold)) for hold in holds]

    found = _with_reviews(config, dev, lambda service, _: run(service))
    if as_json:
        document([hold_json(hold) | {"asks": asks} for hold, asks in found])
        return
    moment = now()
    Screen().table(
        ("hold", "state", "agent", "asks for", "because", "expires"),
        (
            (hold.id, hold.state.value, hold.agent, asks, hold.code.value, until(hold.expires_at, moment))
            for hold, asks in found
        ),
        empty="nothing is held",
    )


@app.command()
def show(
    hold: HoldId,
    config: Config = None,
    save_body: Annotated[
        Path | None, typer.Option(help="Also write the body, byte for byte, to this file.", show_default=False)
    ] = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Show a held call: what a release would let happen, why it was held, and exactly what would be sent.

    Credentials are shown as keyed hashes: equal ones look equal.

    Example:
      intent-proxy holds show HOLD --save-body body.bin
    """
    held = _with_reviews(config, dev, lambda service, _: service.show(hold))
    if save_body is not None and held.shown is not None:
        if held.shown.body is None:
            detail = f"the body of hold {hold} was too large to keep: compare the agent's file with its SHA-256"
            raise Rejected(Code.BODY_NOT_INSPECTED, detail)
        write_whole(save_body, held.shown.body, mode=0o600)
    if as_json:
        document(held_json(held))
    else:
        show_held(Screen(), held, now=now())


@app.command()
def release(
    hold: HoldId,
    reason: Annotated[str, typer.Option(help="Why; it is signed and goes to the journal.", show_default=False)] = "",
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Let a held call pass once, exactly as it was shown. Your key signs its digest.

    Exit codes: 0 released, 3 already decided, 4 not permitted, 5 no such
    hold, 6 expired.

    Examples:
      intent-proxy holds release HOLD --as maria
      intent-proxy holds release HOLD --key /media/stick/maria.pem --reason 'month-end'
    """

    async def rule(service: ReviewService, person: Person, key: PrivateKey) -> Outcome:
        return await service.release(hold, person=person, key=key, reason=reason)

    return _rule(hold, rule, config, dev=dev, key=key, name=name, as_json=as_json)


@app.command()
def deny(
    hold: HoldId,
    reason: Annotated[str, typer.Option(help="Why. The agent reads it.")],
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Refuse a held call. The agent learns the reason, and the same call stays refused for a day.

    Exit codes as for release.

    Example:
      intent-proxy holds deny HOLD --as maria --reason 'salaries are not your task'
    """

    async def rule(service: ReviewService, person: Person, key: PrivateKey) -> Outcome:
        return await service.deny(hold, person=person, key=key, reason=reason)

    return _rule(hold, rule, config, dev=dev, key=key, name=name, as_json=as_json)


@app.command()
def watch(config: Config = None, dev: Dev = False, as_json: AsJson = False) -> None:
    """Show what waits, then everything that happens to held calls, until Ctrl-C.

    With --json one object a line.

    Example:
      intent-proxy holds watch
    """

    async def run(service: ReviewService) -> None:
        watching = asyncio.current_task()
        assert watching is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, watching.cancel)
        screen, told = Screen(), set[tuple[str, int]]()
        if not as_json:
            screen.note("watching; Ctrl-C ends it")
        async for hold in service.watch():
            if (hold.id, hold.version) in told:
                continue
            told.add((hold.id, hold.version))
            asks = await _asked(service, hold)
            if as_json:
                json_line(hold_json(hold) | {"asks": asks})
            else:
                by = f" by {hold.decided_by}" if hold.decided_by else ""
                style = WARN if hold.state is HoldState.HELD else ""
                screen.say(f"{hold.id}  {hold.state.value}{by}  {hold.agent}: {asks}", style=style)

    _with_reviews(config, dev, lambda service, _: run(service))


def _with_reviews[T](config: Path | None, dev: bool, use: Callable[[ReviewService, Bundle], Awaitable[T]]) -> T:
    async def run() -> T:
        deployment = open_deployment(config)
        bundle = deployment.bundle(dev=dev)
        async with open_reviews(deployment, bundle) as service:
            return await use(service, bundle)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:  # SIGTERM while watching
        raise KeyboardInterrupt from None


def _rule(
    hold_id: str,
    rule: Callable[[ReviewService, Person, PrivateKey], Awaitable[Outcome]],
    config: Path | None,
    *,
    dev: bool,
    key: Path | None,
    name: str | None,
    as_json: bool,
) -> int:
    deployment = open_deployment(config)

    async def run(service: ReviewService, bundle: Bundle) -> Outcome:
        held = await service.show(hold_id)
        signer = choose_signer(deployment, bundle, key=key, name=name, able=lambda who: who in held.deciders)
        if signer.name == OPERATOR:
            detail = f"an operator decides no holds; {' or '.join(held.deciders) or 'nobody'} may"
            raise Rejected(Code.HOLD_NOT_PERMITTED, detail)
        return await rule(service, bundle.people[signer.name], signer.key)

    outcome = _with_reviews(config, dev, run)
    _tell(outcome, as_json=as_json)
    return _EXITS[outcome.result]


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        shown: Json = None if outcome.hold is None else hold_json(outcome.hold)
        document({"result": outcome.result.value, "detail": outcome.detail, "hold": shown})
        return
    screen = Screen()
    if outcome.result is not Result.DONE:
        screen.note(f"intent-proxy: {outcome.detail}", style=BAD)
        return
    screen.say(outcome.detail, style=GOOD)
    if outcome.call is not None and outcome.hold is not None:
        screen.say(f"  {outcome.call.consequence}")
        if outcome.hold.state is HoldState.APPROVED:
            screen.say(f"  It passes once, until {until(outcome.hold.expires_at, now())}.")


async def _asked(service: ReviewService, hold: Hold) -> str:
    """Method and URL of a hold's call, or why they cannot be said."""
    try:
        return asked_for(await service.show(hold.id))
    except Rejected as fault:
        return f"{fault.code.value}: {fault.detail}"
