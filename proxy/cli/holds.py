"""`intent-proxy holds`: the calls that wait for a person, and the person's word about them."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli import deciding
from proxy.cli.atdesk import at_desk, or_at_desk
from proxy.cli.deployment import now
from proxy.cli.desklooking import list_at_desk, show_at_desk
from proxy.cli.exits import Exit
from proxy.cli.grouping import group
from proxy.cli.heldcall import asked_for, ends, held_json, hold_json, show_held, state_words
from proxy.cli.overseeing import history
from proxy.cli.proposing import propose
from proxy.cli.ruling import Caller, HoldId, with_desk
from proxy.cli.screen import BAD, WARN, Screen, document, json_line
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import read_span, span
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Hold, HoldState
from proxy.policy.files import write_whole
from proxy.review.service import ReviewService

app = typer.Typer(help="Calls outside a mandate, or under review, that wait for a person.")

LONGEST_WAIT = timedelta(hours=1)

_LOST = frozenset({HoldState.UNCERTAIN})

_ENDS = {
    HoldState.APPROVED: Exit.OK,
    HoldState.RELEASING: Exit.OK,
    HoldState.RELEASED: Exit.OK,
    HoldState.EXPIRED: Exit.EXPIRED,
    HoldState.UNCERTAIN: Exit.CANNOT_TELL,
}
"""What `wait` exits with; any other end is a refusal."""


@app.command("list")
@or_at_desk
def list_holds(
    config: Config = None,
    agent: Annotated[str | None, typer.Option(help="Only this agent's.", show_default=False)] = None,
    sponsor: Annotated[str | None, typer.Option(help="Only this sponsor's.", show_default=False)] = None,
    state: Annotated[
        list[HoldState] | None, typer.Option(help="Only those in this state; may be repeated.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over, for a day.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 100,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """List the calls that wait for a person, newest first; uncertain ones before all others.

    A call is uncertain when it left and nobody knows whether it arrived. It waits
    until somebody finds out, and says so with holds resolve.

    Examples:
      intent-proxy holds list
      intent-proxy holds list --agent invoice-bot --json
      intent-proxy holds list --state uncertain
    """
    if state and every:
        raise typer.BadParameter("--state and --all exclude each other")

    async def run(service: ReviewService) -> list[tuple[Hold, str]]:
        states = frozenset(state) if state else frozenset(HoldState) if every else None
        holds = await service.listing(states=states, agent=agent, sponsor=sponsor, limit=limit)
        if states is None:
            lost = await service.listing(states=_LOST, agent=agent, sponsor=sponsor, limit=limit)
            holds = (*lost, *(hold for hold in holds if hold.state is not HoldState.UNCERTAIN))[:limit]
        return [(hold, await _asked(service, hold)) for hold in holds]

    there = at_desk()
    if there is not None:
        states = frozenset(state) if state else frozenset(HoldState) if every else None
        found = list_at_desk(there, states=states, agent=agent, sponsor=sponsor, limit=limit)
    else:
        found = with_desk(Caller(config=config, dev=dev), lambda desk, *_: run(desk.reviews))
    if as_json:
        document([hold_json(hold) | {"asks": asks} for hold, asks in found])
        return
    moment, screen = now(), Screen()
    screen.table(
        ("hold", "state", "agent", "asks for", "because", "expires"),
        ((hold.id, hold.state.value, hold.agent, asks, hold.code.value, ends(hold, moment)) for hold, asks in found),
        empty="nothing is held",
    )
    lost = sum(hold.state is HoldState.UNCERTAIN for hold, _ in found)
    if lost:
        what = "1 call is uncertain" if lost == 1 else f"{lost} calls are uncertain"
        screen.note(f"{what}: nobody knows what arrived; holds show HOLD says what to do", style=BAD)


@app.command()
@or_at_desk
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
    there, said, laid_out = at_desk(), None, tuple[str, ...]()
    if there is not None:
        told = show_at_desk(there, hold, reveal=save_body is not None)
        held, said, laid_out = told.held, told.said, told.laid_out
    else:
        held = with_desk(Caller(config=config, dev=dev), lambda desk, *_: desk.reviews.show(hold))
    if save_body is not None:
        if held.shown is None:
            raise Rejected(
                Code.HOLD_NOT_STORED, f"hold {hold} is over, and its call was deleted: there is no body to save"
            )
        if held.shown.body is None:
            detail = f"the body of hold {hold} was too large to keep: compare the agent's file with its SHA-256"
            raise Rejected(Code.BODY_NOT_INSPECTED, detail)
        write_whole(save_body, held.shown.body, mode=0o600)
    if as_json:
        document(held_json(held, said))
    else:
        show_held(Screen(), held, now=now(), said=said, laid_out=laid_out)


app.command()(or_at_desk(deciding.release, says=True))
app.command()(or_at_desk(deciding.deny, says=True))
app.command()(group)
for verb in (deciding.escalate, deciding.comment, deciding.extend, deciding.cancel, deciding.lift, deciding.resolve):
    app.command()(or_at_desk(verb, says=True))
app.command()(propose)
app.command()(or_at_desk(history))


@app.command()
def wait(
    hold: HoldId,
    timeout: Annotated[
        timedelta | None,
        typer.Option(parser=read_span, metavar="15m", help="Wait at most so long; else an hour.", show_default=False),
    ] = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Wait until a held call is decided, and say how.

    Exit codes: 0 released, 1 denied or cancelled, 2 released and sent, and nobody
    knows whether it arrived, 5 no such hold, 6 expired, 7 not decided in that time.

    Example:
      intent-proxy holds wait HOLD --timeout 30m
    """

    longest = timeout or LONGEST_WAIT

    async def run(service: ReviewService) -> Hold:
        try:
            async with asyncio.timeout(longest.total_seconds()):
                return await service.decided(hold)
        except TimeoutError:
            detail = f"nobody decided hold {hold} within {span(longest)}: it still waits"
            raise Unavailable(Code.HOLD_PENDING, detail) from None

    found = with_desk(Caller(config=config, dev=dev), lambda desk, *_: run(desk.reviews))
    if as_json:
        document(hold_json(found))
    else:
        Screen().say(f"{found.id} is {state_words(found)}{f': {found.reason}' if found.reason else ''}")
    return _ENDS.get(found.state, Exit.REFUSED)


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
                style = {HoldState.HELD: WARN, HoldState.UNCERTAIN: BAD}.get(hold.state, "")
                screen.say(f"{hold.id}  {state_words(hold)}  {hold.agent}: {asks}", style=style)

    with_desk(Caller(config=config, dev=dev), lambda desk, *_: run(desk.reviews))


async def _asked(service: ReviewService, hold: Hold) -> str:
    """Method and URL of a hold's call, or why they cannot be said."""
    try:
        return asked_for(await service.show(hold.id))
    except Rejected as fault:
        return f"{fault.code.value}: {fault.detail}"
