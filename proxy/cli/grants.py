"""`intent-proxy grants`: what reviewers let pass beyond one call, and taking it back."""

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from proxy.cli.agents import known_control
from proxy.cli.deployment import now, open_deployment
from proxy.cli.grantwords import passes
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.signers import OPERATOR, As, KeyFile, choose_signer
from proxy.cli.store import open_desk, publish
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import until
from proxy.core.control import Act, ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.review.documents import grant_json
from proxy.review.granting import Listed

app = typer.Typer(help="Route grants: calls like one that was held, let pass for so long or so often.")


@app.command("list")
def list_grants(config: Config = None, dev: Dev = False, as_json: AsJson = False) -> None:
    """List the grants that have not ended, who gave them, and how often each was used.

    holds release --scope route gives one. It is revoked, or cancelled because its
    agent or everything was stopped since, once this node knows of it.

    Examples:
      intent-proxy grants list
      intent-proxy grants list --json
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)

    async def run() -> tuple[Listed, ...]:
        async with open_desk(deployment, bundle) as desk:
            return await desk.granter.listing()

    found, view = asyncio.run(run()), known_control(deployment)
    if as_json:
        document([_listed_json(each, view) for each in found])
        return
    moment = now()
    Screen().table(
        ("grant", "state", "by", "lets pass", "used", "until", "reason"),
        (_row(each, view, moment) for each in found),
        empty="nothing is granted",
    )


@app.command()
def revoke(
    grant: Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id, as grants list prints it.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed and goes to the journal.")],
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
) -> None:
    """Revoke a grant for good: nothing passes under it any more. Anyone enrolled may; every node obeys within 2 s.

    Example:
      intent-proxy grants revoke GRANT --as jonas --reason 'stock-taking is over'
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)

    async def run() -> Listed | None:
        async with open_desk(deployment, bundle) as desk:
            return next((each for each in await desk.granter.listing() if each.id == grant), None)

    found = asyncio.run(run())
    if found is None:
        raise Rejected(Code.HOLD_UNKNOWN, f"there is no grant {ascii(grant)[1:-1][:80]}; grants list prints them")
    giver = None if found.grant is None else found.grant.by
    signer = choose_signer(deployment, bundle, key=key, name=name, able=lambda who: who in (OPERATOR, giver))
    asyncio.run(publish(deployment, bundle, Act.REVOKE_GRANT, grant, reason=reason, signer=signer))
    Screen().say(f"grant {grant} is revoked, by {signer.name}", style=GOOD)


def _state(each: Listed, view: ControlView) -> str:
    if each.id in view.revoked_grants:
        return "revoked"
    if each.grant is None or each.grant.id != each.id:
        return "does not verify"
    if view.stopped_since(each.grant.agents, each.grant.issued_at) is not None:
        return "cancelled"
    return "used up" if each.used >= each.grant.count else "in force"


def _listed_json(each: Listed, view: ControlView) -> Json:
    about = {"id": each.id} if each.grant is None else grant_json(each.grant, used=each.used)
    return {**about, "state": _state(each, view)}


def _row(each: Listed, view: ControlView, moment: datetime) -> tuple[str, ...]:
    state = _state(each, view)
    if each.grant is None:
        return each.id, state, "", "", "", "", ""
    grant = each.grant
    used = f"{each.used} of {grant.count}"
    return each.id, state, grant.by, passes(grant), used, until(grant.not_after, moment), grant.reason
