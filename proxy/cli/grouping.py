"""`holds group`: alike held calls shown together and decided together, each of them signed for itself."""

import enum
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment
from proxy.cli.exits import Exit
from proxy.cli.heldcall import asked_for
from proxy.cli.ruling import Caller, signing, sooner_or_later, with_desk
from proxy.cli.screen import BAD, GOOD, LABEL, WARN, Screen, document
from proxy.cli.signers import As, KeyFile
from proxy.cli.store import Desk
from proxy.cli.where import AsJson, Config, Dev
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, HoldState
from proxy.core.notes import check_reason
from proxy.review.documents import group_json, outcome_json
from proxy.review.groups import Group, grouped
from proxy.review.service import Outcome, Result
from proxy.review.together import each_of

MOST_IN_GROUPS = 1000


class Word(enum.StrEnum):
    """What is said of a group."""

    RELEASE = "release"
    DENY = "deny"


def group(
    which: Annotated[
        str | None,
        typer.Argument(metavar="GROUP", help="A group's id; without one they are listed.", show_default=False),
    ] = None,
    word: Annotated[Word | None, typer.Argument(help="What to say of each of its holds.", show_default=False)] = None,
    reason: Annotated[str, typer.Option(help="Why; signed with each.", show_default=False)] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after the preview.")] = False,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """List groups of alike held calls, and decide a group together.

    Alike are holds of the same agent, method, route and code. Before a group is
    decided it is shown, with how many it is; your key then signs every one of
    their digests. Those that were filed since the preview are not among them.

    Exit codes: 0 all decided, 1 some were not (each is named), 5 no such group,
    8 all signed, and others must release some of them, too.

    Examples:
      intent-proxy holds group
      intent-proxy holds group GROUP deny --as maria --reason 'not your task'
    """
    caller = Caller(config=config, dev=dev, key=key, name=name)
    groups = with_desk(caller, lambda desk, _, __: _groups(desk))
    if which is None:
        _list_groups(groups, as_json=as_json)
        return Exit.OK
    found = next((each for each in groups if each.id == which), None)
    if found is None:
        raise Rejected(Code.HOLD_UNKNOWN, f"there is no group {ascii(which)[1:-1][:40]}; holds group lists them")
    if word is None:
        raise typer.BadParameter("say what to do with the group: release or deny")
    check_reason(reason, needed=f"to {word.value} more than one call")
    if not as_json:
        _preview(found, word)
    if not yes and not Screen().ask(f"{word.value} these {len(found.holds)}?"):
        raise Rejected(
            Code.HOLD_NOT_PERMITTED, f"nothing was signed: say --yes to {word.value} {len(found.holds)} holds"
        )
    outcomes = _decide(found, word, reason, caller)
    results = [outcome.result for outcome in outcomes.values()]
    done, signed = results.count(Result.DONE), results.count(Result.SIGNED)
    if as_json:
        document({"group": found.id, "holds": {hold: outcome_json(outcome) for hold, outcome in outcomes.items()}})
    else:
        screen = Screen()
        for hold, outcome in outcomes.items():
            if outcome.result is not Result.DONE:
                screen.note(f"{hold}: {outcome.detail}", style=WARN if outcome.result is Result.SIGNED else BAD)
        screen.say(f"{word.value}: {done} of {len(outcomes)}", style=GOOD if done == len(outcomes) else WARN)
    if done + signed < len(outcomes):
        return Exit.REFUSED
    return Exit.SIGNED if signed else Exit.OK


async def _groups(desk: Desk) -> tuple[Group, ...]:
    held = []
    for hold in await desk.reviews.listing(states=frozenset({HoldState.HELD}), limit=MOST_IN_GROUPS):
        try:
            held.append(await desk.reviews.show(hold.id))
        except Rejected:  # gone, or tampered with: holds list says so
            continue
    return grouped(held)


def _decide(found: Group, word: Word, reason: str, caller: Caller) -> dict[str, Outcome]:
    async def run(desk: Desk, bundle: Bundle, deployment: Deployment) -> dict[str, Outcome]:
        able = sooner_or_later(found.holds[0]) if word is Word.DENY else found.holds[0].deciders
        who = signing(deployment, bundle, caller, able)
        say = desk.reviews.deny if word is Word.DENY else desk.reviews.release
        ids = [held.hold.id for held in found.holds]
        return await each_of(ids, lambda hold_id: say(hold_id, person=who.person, key=who.key, reason=reason))

    return with_desk(caller, run)


def _list_groups(groups: tuple[Group, ...], *, as_json: bool) -> None:
    if as_json:
        document([group_json(each) for each in groups])
        return
    Screen().table(
        ("group", "holds", "agent", "asks for", "because"),
        ((each.id, str(len(each.holds)), each.agent, f"{each.method} {each.route}", each.code) for each in groups),
        empty="nothing is held",
    )


def _preview(found: Group, word: Word) -> None:
    screen = Screen()
    screen.say(f"{word.value}: {len(found.holds)} held calls of {found.agent}, {found.code}", style=LABEL)
    screen.say(f"Of these {len(found.holds)}: {found.differs}.", style=WARN)
    for held in found.holds:
        screen.say(f"  {held.hold.id}  {asked_for(held)}")
