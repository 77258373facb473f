"""The verbs of `intent-proxy holds` that decide a held call, or say something of it: each is signed."""

import enum
from datetime import timedelta
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, now
from proxy.cli.grants import grant_json, grant_words
from proxy.cli.ruling import EXITS, Caller, HoldId, Signing, outcome_json, rule, signing, tell, with_desk
from proxy.cli.screen import LABEL, Screen, document
from proxy.cli.signers import As, KeyFile
from proxy.cli.store import Desk
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import read_span
from proxy.core.grants import RouteGrant
from proxy.core.model import Bundle
from proxy.core.notes import NoteAct
from proxy.core.resolution import Found
from proxy.review.granting import Width, check_width
from proxy.review.service import Outcome

Why = Annotated[str, typer.Option("--reason", help="Why; it is signed and goes to the journal.")]


class Scope(enum.StrEnum):
    """How far a release reaches."""

    CALL = "call"
    ROUTE = "route"


def release(
    hold: HoldId,
    reason: Annotated[str, typer.Option(help="Why; it is signed and goes to the journal.", show_default=False)] = "",
    scope: Annotated[Scope, typer.Option(help="This call once, or also others of its route.")] = Scope.CALL,
    lasting: Annotated[
        timedelta | None,
        typer.Option("--for", parser=read_span, metavar="15m", help="Route: how long.", show_default=False),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Route: how many calls.", show_default=False)] = None,
    path: Annotated[
        str | None, typer.Option(help="Route: a path template, such as /v1/items/{id}.", show_default=False)
    ] = None,
    vary: Annotated[
        list[str] | None, typer.Option(help="Route: a query parameter that may have any value.", show_default=False)
    ] = None,
    any_body: Annotated[bool, typer.Option("--any-body", help="Route: any body of the same type.")] = False,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Let a held call pass once, exactly as it was shown. Your key signs its digest.

    With --scope route, also calls like it: of the same mandate, with the same
    method, origin, path, query and body, save where you widen it; for so long
    (--for), so often (--count). That needs a reason, can be revoked (grants
    revoke), and is never possible for calls that may change things.

    Exit codes: 0 released, 3 already decided, 4 not permitted, 5 no such
    hold, 6 expired, 8 signed, and others must release it, too.

    Examples:
      intent-proxy holds release HOLD --as maria
      intent-proxy holds release HOLD --key /media/stick/maria.pem --reason 'month-end'
      intent-proxy holds release HOLD --scope route --for 15m --path '/v1/items/{id}' --reason 'stock-taking'
    """
    caller = Caller(config=config, dev=dev, key=key, name=name)
    width = Width(path=path, vary=tuple(vary or ()), any_body=any_body, count=count, lasting=lasting)
    if scope is Scope.ROUTE:
        return _release_route(hold, caller, reason, width, as_json=as_json)
    if width != Width():
        raise typer.BadParameter("--for, --count, --path, --vary and --any-body belong to --scope route")

    async def say(desk: Desk, who: Signing) -> Outcome:
        return await desk.reviews.release(hold, person=who.person, key=who.key, reason=reason)

    return rule(hold, caller, say, now_only=True, as_json=as_json)


def _release_route(hold: str, caller: Caller, reason: str, width: Width, *, as_json: bool) -> int:
    check_width(width)

    async def run(desk: Desk, bundle: Bundle, deployment: Deployment) -> tuple[Outcome, RouteGrant | None]:
        held = await desk.reviews.show(hold)
        who = signing(deployment, bundle, caller, held.deciders)
        return await desk.granter.release(hold, person=who.person, key=who.key, reason=reason, width=width)

    outcome, grant = with_desk(caller, run)
    if as_json:
        document({**outcome_json(outcome), "grant": None if grant is None else grant_json(grant, used=0)})
    else:
        tell(outcome, as_json=False)
        if grant is not None:
            screen = Screen()
            screen.say(f"Grant {grant.id}", style=LABEL)
            screen.facts(grant_words(grant, used=0, now=now()), indent=2)
    return EXITS[outcome.result]


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

    One denial ends it, however many people must release it, and it waits for
    nobody's turn. `holds lift` takes it back.

    Exit codes as for release.

    Example:
      intent-proxy holds deny HOLD --as maria --reason 'salaries are not your task'
    """

    async def say(desk: Desk, who: Signing) -> Outcome:
        return await desk.reviews.deny(hold, person=who.person, key=who.key, reason=reason)

    caller = Caller(config=config, dev=dev, key=key, name=name)
    return rule(hold, caller, say, now_only=False, as_json=as_json)


def comment(
    hold: HoldId,
    reason: Annotated[str, typer.Option("--text", help="What to note; one line.")],
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Note something on a held call for whoever decides it: signed, shown, and kept in the journal.

    Example:
      intent-proxy holds comment HOLD --as jonas --text 'asked the supplier, waiting for an answer'
    """
    return _note(NoteAct.COMMENT, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


def escalate(
    hold: HoldId,
    reason: Why,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Let everybody decide a held call now who otherwise could only later: the deputies.

    Whoever may release it now can. By themselves deputies come after a third and
    after two thirds of its time.

    Example:
      intent-proxy holds escalate HOLD --as maria --reason 'on the train until noon'
    """
    return _note(NoteAct.ESCALATE, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


def extend(
    hold: HoldId,
    reason: Why,
    by: Annotated[timedelta, typer.Option("--by", parser=read_span, metavar="2h", help="How much longer it waits.")],
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Let a held call wait longer before it expires; at most holds.max_ttl after it was filed.

    Example:
      intent-proxy holds extend HOLD --by 2h --as maria --reason 'the auditor answers at four'
    """
    caller = Caller(config=config, dev=dev, key=key, name=name)
    return _note(NoteAct.EXTEND, hold, reason, caller, as_json=as_json, longer=by)


def cancel(
    hold: HoldId,
    reason: Why,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """End a held call without a ruling: it is not sent, and the agent may ask for the same call again.

    Example:
      intent-proxy holds cancel HOLD --as maria --reason 'the task was withdrawn'
    """
    return _note(NoteAct.CANCEL, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


def lift(
    hold: HoldId,
    reason: Why,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Take a denial back: asked again, the same call is held anew. Nothing is sent by that.

    Example:
      intent-proxy holds lift HOLD --as maria --reason 'it was the right supplier after all'
    """
    return _note(NoteAct.LIFT, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


def resolve(
    hold: HoldId,
    arrived: Annotated[
        bool, typer.Option("--arrived/--not-arrived", help="What you found out about it.", show_default=False)
    ],
    reason: Annotated[str, typer.Option(help="How you found out; it is signed and goes to the journal.")],
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Say what became of an uncertain call: one that left, and of which nobody knows whether it arrived.

    Ask whoever runs the server first, or look there yourself. Nothing is sent
    by this, now or later: with --arrived the hold is done; with --not-arrived
    it ends, and when its agent asks for the call again, that is a new hold.

    Whoever may release the call may say this.

    Exit codes: 0 recorded, 3 not uncertain (any more), 4 not permitted,
    5 no such hold.

    Examples:
      intent-proxy holds resolve HOLD --arrived --reason 'the bank has it'
      intent-proxy holds resolve HOLD --not-arrived --reason 'not in their log'
    """
    found = Found.ARRIVED if arrived else Found.NOT_ARRIVED

    async def say(desk: Desk, who: Signing) -> Outcome:
        return await desk.resolving.resolve(hold, found, person=who.person, key=who.key, reason=reason)

    return rule(hold, Caller(config=config, dev=dev, key=key, name=name), say, now_only=True, as_json=as_json)


def _note(
    act: NoteAct, hold: str, reason: str, caller: Caller, *, as_json: bool, longer: timedelta = timedelta(0)
) -> int:
    async def say(desk: Desk, who: Signing) -> Outcome:
        return await desk.reviews.note(act, hold, person=who.person, key=who.key, reason=reason, longer=longer)

    now_only = act not in (NoteAct.COMMENT, NoteAct.LIFT)
    return rule(hold, caller, say, now_only=now_only, as_json=as_json)
