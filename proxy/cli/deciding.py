"""The verbs of `intent-proxy holds` that decide a held call, or say something of it: each is signed."""

import enum
from datetime import timedelta
from typing import Annotated

import typer

from proxy.cli.ruling import Caller, HoldId, rule
from proxy.cli.signers import As, KeyFile
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import read_span
from proxy.core.resolution import Found
from proxy.review.granting import Width, check_width
from proxy.review.wishes import Verb, Wish

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
        check_width(width)
        wish = Wish(verb=Verb.RELEASE, reason=reason, width=width)
        return rule(hold, caller, wish, now_only=True, as_json=as_json)
    if width != Width():
        raise typer.BadParameter("--for, --count, --path, --vary and --any-body belong to --scope route")

    return rule(hold, caller, Wish(verb=Verb.RELEASE, reason=reason), now_only=True, as_json=as_json)


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

    caller = Caller(config=config, dev=dev, key=key, name=name)
    return rule(hold, caller, Wish(verb=Verb.DENY, reason=reason), now_only=False, as_json=as_json)


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
    return _note(Verb.COMMENT, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


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
    return _note(Verb.ESCALATE, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


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
    return _note(Verb.EXTEND, hold, reason, caller, as_json=as_json, longer=by)


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
    return _note(Verb.CANCEL, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


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
    return _note(Verb.LIFT, hold, reason, Caller(config=config, dev=dev, key=key, name=name), as_json=as_json)


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

    wish = Wish(verb=Verb.RESOLVE, reason=reason, found=found)
    return rule(hold, Caller(config=config, dev=dev, key=key, name=name), wish, now_only=True, as_json=as_json)


def _note(
    verb: Verb, hold: str, reason: str, caller: Caller, *, as_json: bool, longer: timedelta = timedelta(0)
) -> int:
    wish = Wish(verb=verb, reason=reason, longer=longer)
    return rule(hold, caller, wish, now_only=verb not in (Verb.COMMENT, Verb.LIFT), as_json=as_json)
