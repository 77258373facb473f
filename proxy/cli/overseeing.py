"""`holds history` and `reviewers`: what was decided, and how people decide; read from the journal of this machine."""

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from proxy.cli.atdesk import at_desk, or_at_desk
from proxy.cli.audit import Since
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.desklooking import history_at_desk, reviewers_at_desk
from proxy.cli.screen import WARN, Screen, document
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import instant, read_moment, span, until
from proxy.core.clusters import compile_policy
from proxy.core.model import Bundle
from proxy.policy.chains import kept_manifests
from proxy.review.documents import reviewer_json, ruling_json
from proxy.review.history import HASTY, Asked, Ending, Ruling
from proxy.review.oversight import Oversight

Reviewing = Annotated[
    str | None, typer.Option("--reviewer", metavar="PERSON", help="Only what this person ruled.", show_default=False)
]
Before = Annotated[
    datetime | None,
    typer.Option(
        "--until", parser=read_moment, metavar="WHEN", help="Before then; written as --since.", show_default=False
    ),
]
OfAgent = Annotated[str | None, typer.Option("--agent", help="Only this agent's.", show_default=False)]
OfSponsor = Annotated[str | None, typer.Option("--sponsor", help="Only this sponsor's.", show_default=False)]


def history(
    reviewer: Reviewing = None,
    agent: OfAgent = None,
    sponsor: OfSponsor = None,
    since: Since = None,
    before: Before = None,
    last: Annotated[int, typer.Option(min=1, max=100_000, help="Only the newest so many.")] = 100,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """What became of held calls: how each ended, by whom, how fast, and what upstream answered. Newest last.

    It is read from the journal of this machine, so it needs no store and has
    what is no longer listed. Names are those whose signature says so.

    Examples:
      intent-proxy holds history --since 7d
      intent-proxy holds history --reviewer maria --json
    """
    asked, there = Asked(reviewer=reviewer, agent=agent, sponsor=sponsor, since=since, until=before), at_desk()
    if there is None:
        deployment = open_deployment(config)
        found = asyncio.run(_oversight(deployment, deployment.bundle(dev=dev)).history(asked))
        whole, rulings = found.whole, found.rulings[-last:]
    else:
        whole, rulings = history_at_desk(there, asked, last=last)
    if as_json:
        document({"whole": whole, "rulings": [ruling_json(each) for each in rulings]})
        return
    screen = Screen()
    screen.table(
        ("ended", "hold", "agent", "asked for", "how", "by", "after", "upstream"),
        (
            (
                instant(each.ended_at),
                each.hold_id,
                each.agent or "",
                each.asked or "",
                _how(each),
                " ".join(each.by),
                "" if each.took is None else span(each.took),
                _upstream(each),
            )
            for each in rulings
        ),
        empty="no held call has ended",
    )
    _note_part(screen, whole=whole)


@or_at_desk
def reviewers(
    reviewer: Reviewing = None,
    agent: OfAgent = None,
    sponsor: OfSponsor = None,
    since: Since = None,
    before: Before = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """How people decide: how many, what share they release, how fast, and what share in less than five seconds.

    The five seconds are counted from the filing, or from the same person's ruling
    before, whichever was later: nobody reads a call in less.

    Examples:
      intent-proxy reviewers --since 30d
      intent-proxy reviewers --json
    """
    asked, there = Asked(reviewer=reviewer, agent=agent, sponsor=sponsor, since=since, until=before), at_desk()
    if there is None:
        deployment = open_deployment(config)
        found = asyncio.run(_oversight(deployment, deployment.bundle(dev=dev)).reviewers(asked))
    else:
        found = reviewers_at_desk(there, asked)
    if as_json:
        document([reviewer_json(each) for each in found])
        return
    moment = now()
    Screen().table(
        ("person", "rulings", "released", "denied", "median", f"under {span(HASTY)}", "last", "certified until"),
        (
            (
                each.id,
                str(each.pace.rulings),
                _share(each.pace.released, each.pace.release_share),
                str(each.pace.denied),
                "" if each.pace.median is None else span(each.pace.median),
                _share(each.pace.hasty, each.pace.hasty_share),
                "" if each.pace.last is None else instant(each.pace.last),
                "not enrolled" if each.person is None else until(each.person.certified_until, moment),
            )
            for each in found
        ),
        empty="nobody is enrolled, or has ruled on what concerns you",
    )


def _oversight(deployment: Deployment, bundle: Bundle) -> Oversight:
    policy = compile_policy(bundle)
    return Oversight(
        journal=deployment.settings.state / "journal",
        policy=lambda: policy,
        manifests=lambda: tuple(kept.root for kept in kept_manifests(deployment.manifests)),
    )


def _how(ruling: Ruling) -> str:
    lifted = f", lifted by {ruling.lifted_by}" if ruling.lifted_by else ""
    wider = ", with a route grant" if ruling.grant else ""
    unsigned = " (nobody signed that)" if ruling.ending is Ending.UNVERIFIED else ""
    return f"{ruling.ending.value}{wider}{lifted}{unsigned}"


def _upstream(ruling: Ruling) -> str:
    answered = ruling.error if ruling.status is None else str(ruling.status)
    sent = None if ruling.sent is None else ruling.sent.value
    return " ".join(part for part in (sent, answered) if part)


def _note_part(screen: Screen, *, whole: bool) -> None:
    if not whole:
        screen.note("the journal is larger than what was read: older rulings are missing", style=WARN)


def _share(number: int, share: float | None) -> str:
    return str(number) if share is None else f"{number} ({share:.0%})"
