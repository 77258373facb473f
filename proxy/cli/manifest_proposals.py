"""`intent-proxy manifest propose | proposals | accept | decline`: an author writes a manifest, its sponsor signs it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import fresh_key
from proxy.cli.deployment import Deployment, new_id, now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.manifest_options import Yes
from proxy.cli.manifest_words import manifest_json, show_differences, show_manifest
from proxy.cli.screen import GOOD, WARN, Screen, document
from proxy.cli.signers import OPERATOR, As, KeyFile, choose_signer
from proxy.cli.signing import agreed, doubt_here, present_root, show_doubt
from proxy.cli.store import open_store
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import instant, until
from proxy.core.clusters import compile_policy
from proxy.core.differences import manifest_difference
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.core.manifest import parse_manifest
from proxy.core.model import Bundle, Manifest, Person
from proxy.policy.drafts import draft_bytes
from proxy.review.manifestwords import texts_of
from proxy.review.updates import Proposal, Updates
from proxy.stores.redis_proposals import RedisProposals

ProposalId = Annotated[str, typer.Argument(metavar="PROPOSAL", help="Its id, as manifest proposals prints it.")]


def propose(
    draft_file: Annotated[Path, typer.Argument(metavar="DRAFT", help="The draft, as manifest draft writes it.")],
    why: Annotated[str, typer.Option(help="Why; the sponsor reads it.")],
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Propose a manifest to its sponsor: a draft, and why. Nothing is signed, and nothing is permitted by it.

    It waits thirty days. The sponsor reads what it changes, and signs it with
    manifest accept; receivers of webhooks are told.

    Example:
      intent-proxy manifest propose manifests/invoice-bot.draft.yaml --why 'month-end needs the list' --as jonas
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    author = _person(deployment, bundle, key, name)
    text = draft_bytes(draft_file).decode("utf-8", "surrogateescape")
    proposal = _run(deployment, bundle, lambda updates: updates.propose(text, author=author, why=why))
    if as_json:
        document(_json(proposal))
        return
    screen = Screen()
    screen.say(f"proposed for {proposal.agent}: {proposal.id}", style=GOOD)
    screen.note(f"next: {proposal.sponsor} runs: intent-proxy manifest accept {proposal.id}")


def proposals(
    sponsor: Annotated[str | None, typer.Option(help="Only what this person may sign.", show_default=False)] = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """List the manifests that wait for a sponsor's signature, oldest first.

    Example:
      intent-proxy manifest proposals --sponsor maria --json
    """
    deployment = open_deployment(config)
    found = _run(deployment, deployment.bundle(dev=dev), lambda updates: updates.listing(sponsor=sponsor))
    if as_json:
        document([_json(each) for each in found])
        return
    Screen().table(
        ("proposal", "agent", "for", "by", "at", "why"),
        ((each.id, each.agent, each.sponsor, each.author, instant(each.at), each.why) for each in found),
        empty="nothing is proposed",
    )


def accept(
    proposal_id: ProposalId,
    key: KeyFile = None,
    name: As = None,
    yes: Yes = False,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Sign a proposed manifest as the agent's sponsor, after showing what it permits and what it changes.

    It is written where manifest sign writes it, and the cluster texts it approves
    are kept.

    Example:
      intent-proxy manifest accept PROPOSAL --as maria
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)

    async def run(updates: Updates) -> Manifest | None:
        proposal = (await updates.show(proposal_id)).proposal
        signer = choose_signer(
            deployment, bundle, key=key, name=name or proposal.sponsor, able=lambda who: who == proposal.sponsor
        )
        wanted = await updates.draft(proposal_id, person=_enrolled(bundle, signer.name))
        shown = parse_manifest(seal(wanted.claims, typ=wanted.typ, key=fresh_key()))
        if not as_json:
            _preview(deployment, bundle, proposal, shown)
        if not agreed(f"Sign this as {proposal.sponsor}?", yes=yes):
            return None
        return await updates.record(proposal_id, seal(wanted.claims, typ=wanted.typ, key=signer.key))

    signed = _run(deployment, bundle, run)
    if signed is None:
        Screen().note("not signed")
        return Exit.REFUSED
    path = deployment.manifest_file(signed.sub)
    if as_json:
        document({"file": str(path), "manifest": manifest_json(signed)})
    else:
        Screen().say(f"signed by {signed.sponsor_id}: {path}, until {until(signed.exp, now())}", style=GOOD)
    return Exit.OK


def decline(
    proposal_id: ProposalId,
    why: Annotated[str, typer.Option(help="Why; the author reads it. A sponsor says it always.")] = "",
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
) -> None:
    """Turn a proposed manifest down, or take it back: its sponsor or its author may.

    Example:
      intent-proxy manifest decline PROPOSAL --why 'the list is not needed' --as maria
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    person = _person(deployment, bundle, key, name)
    dropped = _run(deployment, bundle, lambda updates: updates.drop(proposal_id, person=person, why=why))
    Screen().say(f"dropped: {dropped.id}, for {dropped.agent}", style=GOOD)


def _run[T](deployment: Deployment, bundle: Bundle, use: Callable[[Updates], Awaitable[T]]) -> T:
    policy, settings = compile_policy(bundle), deployment.settings

    async def run() -> T:
        async with open_store(deployment) as server:
            updates = Updates(
                proposals=RedisProposals(server),
                policy=lambda: policy,
                lifetimes=settings.authority,
                manifests=deployment.manifests,
                pins=settings.pinned,
                clock=now,
                new_id=new_id,
            )
            return await use(updates)

    return asyncio.run(run())


def _person(deployment: Deployment, bundle: Bundle, key: Path | None, name: str | None) -> Person:
    return _enrolled(bundle, choose_signer(deployment, bundle, key=key, name=name, able=lambda _: True).name)


def _enrolled(bundle: Bundle, name: str) -> Person:
    if name == OPERATOR:
        raise Rejected(Code.HOLD_NOT_PERMITTED, "an operator neither proposes nor signs manifests: say who, with --as")
    return bundle.people[name]


def _preview(deployment: Deployment, bundle: Bundle, proposal: Proposal, shown: Manifest) -> None:
    screen, path = Screen(), deployment.manifest_file(proposal.agent)
    screen.say(f"{proposal.author} proposes: {proposal.why}", style=WARN)
    screen.say()
    show_manifest(screen, shown, bundle, now=now(), signed=False)
    replaced = present_root(path)
    if replaced is not None:
        texts = texts_of(bundle)
        show_differences(screen, manifest_difference(replaced, shown, texts, texts), over=str(path))
    show_doubt(screen, doubt_here(deployment, bundle, replaced), agent=proposal.agent, over=str(path))
    screen.say()


def _json(proposal: Proposal) -> dict[str, Json]:
    return {
        "id": proposal.id,
        "agent": proposal.agent,
        "sponsor": proposal.sponsor,
        "author": proposal.author,
        "why": proposal.why,
        "at": instant(proposal.at),
        "draft": proposal.text,
    }
