"""`intent-proxy manifest delegate | show | verify | revoke`: what becomes of a signed manifest."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.agents import known_control
from proxy.cli.delegating import delegate_chain
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.manifest_options import Clusters, File, Lifetime, Out, Purpose
from proxy.cli.manifest_words import manifest_json, show_manifest
from proxy.cli.publickeys import read_public_key
from proxy.cli.screen import BAD, GOOD, WARN, Screen, document
from proxy.cli.signers import OPERATOR, As, KeyFile, choose_signer
from proxy.cli.store import publish
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import until
from proxy.core.control import Act
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.model import Bundle, Mandate
from proxy.core.standing import check_standing
from proxy.core.verify import verify_chain
from proxy.policy.chains import lasting, read_chain_file, read_links, write_chain_file


def delegate(
    file: File,
    key: Annotated[Path, typer.Option(help="The private key that the last manifest in FILE names.")],
    to: Annotated[Path, typer.Option(help="The public key that may act: what keys show prints, in a file.")],
    sub: Annotated[
        str | None, typer.Option("--agent", help="Another agent it is for. Else the same.", show_default=False)
    ] = None,
    cluster: Clusters = None,
    action: Annotated[
        list[str] | None, typer.Option(help="Only this operation. May be given again.", show_default=False)
    ] = None,
    lifetime: Lifetime = None,
    purpose: Purpose = None,
    out: Out = None,
) -> None:
    """Hand a manifest on: sign a narrower, shorter one with the key it names, and print the whole chain.

    Lives an hour unless told otherwise. Nothing can be added, only left out.

    Example:
      intent-proxy manifest delegate invoices.jws --key robot.pem --to helper.jwk --lifetime 10m
    """
    chain = delegate_chain(
        read_chain_file(file),
        key=key,
        to=read_public_key(to),
        sub=sub,
        clusters=cluster,
        actions=action,
        lifetime=lifetime or timedelta(hours=1),
        purpose=purpose,
        now=now(),
    )
    if out is not None:
        write_chain_file(out, chain)
    else:
        typer.echo("\n".join(chain))


def show(file: File, config: Config = None, dev: Dev = False, as_json: AsJson = False) -> None:
    """Print everything a manifest says, in plain words. Nothing is verified: see manifest verify.

    Example:
      intent-proxy manifest show manifests/invoice-bot.jws
    """
    links = read_links(file)
    if as_json:
        document([manifest_json(link) for link in links])
        return
    bundle, screen = open_deployment(config).bundle(dev=dev), Screen()
    for place, link in enumerate(links):
        if place:
            screen.say()
        show_manifest(screen, link, bundle, now=now())


def verify(file: File, config: Config = None, dev: Dev = False, as_json: AsJson = False) -> int:
    """Check a manifest, or a chain, as the proxy would now: signatures, people, dates, revocations.

    Example:
      intent-proxy manifest verify manifests/invoice-bot.jws
    """
    deployment = open_deployment(config)
    bundle, moment = deployment.bundle(dev=dev), now()
    lifetimes = lasting(deployment.settings.authority)
    try:
        mandate = verify_chain(read_chain_file(file), bundle, lifetimes=lifetimes, now=moment)
        check_standing(mandate, bundle, known_control(deployment), now=moment, grace_s=lifetimes.grace_s)
    except Rejected as fault:
        if as_json:
            document({"valid": False, "code": fault.code.value, "message": fault.detail})
        else:
            Screen().say(f"refused ({fault.code.value}): {fault.detail}", style=BAD)
        return Exit.REFUSED
    _show_verified(deployment, bundle, mandate, as_json=as_json)
    return Exit.OK


def revoke(
    reason: Annotated[str, typer.Option(help="Why; it is signed and goes to the journal.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Revoke the last manifest in it.", show_default=False)
    ] = None,
    kid: Annotated[
        str | None, typer.Option("--acting-key", help="Revoke a key, by its thumbprint.", show_default=False)
    ] = None,
    root: Annotated[str | None, typer.Option(help="Revoke a root manifest, by its id.", show_default=False)] = None,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
) -> None:
    """Revoke a manifest and everything handed on from it, for good, on every node within two seconds.

    Any enrolled person or operator may.

    Examples:
      intent-proxy manifest revoke manifests/invoice-bot.jws --reason 'the task is done'
      intent-proxy manifest revoke --acting-key THUMBPRINT --reason 'the key was copied'
    """
    if [file, kid, root].count(None) != 2:
        raise typer.BadParameter("name one: a FILE, --acting-key or --root")
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    sponsor = OPERATOR
    if file is not None:
        last = read_links(file)[-1]
        act, target, sponsor = Act.REVOKE_MANIFEST, f"{last.iss} {last.jti}", last.sponsor_id
    elif kid is not None:
        act, target = Act.REVOKE_KEY, kid
    else:
        act, target = Act.REVOKE_ROOT, str(root)
    signer = choose_signer(deployment, bundle, key=key, name=name, able=lambda who: who == sponsor)
    asyncio.run(publish(deployment, bundle, act, target, reason=reason, signer=signer))
    Screen().say(f"revoked by {signer.name}: {target}", style=GOOD)


def _show_verified(deployment: Deployment, bundle: Bundle, mandate: Mandate, *, as_json: bool) -> None:
    leaf, shortest = mandate.leaf, deployment.settings.lifetimes.leaf_max
    acts = leaf.exp - leaf.iat <= shortest
    changed = sorted(
        grant.cluster
        for grant in leaf.grants
        if grant.cluster not in bundle.clusters or bundle.clusters[grant.cluster].digest != grant.digest
    )
    if as_json:
        answer: dict[str, Json] = {
            "valid": True,
            "agent": leaf.sub,
            "sponsor": mandate.sponsor.id,
            "answerable": mandate.answerable.id,
            "root": mandate.root_id,
            "not_after": mandate.not_after.isoformat(),
            "acts": acts,
            "changed_clusters": changed,
        }
        document(answer)
        return
    screen = Screen()
    screen.say(f"valid for {leaf.sub}, until {until(mandate.not_after, now())}", style=GOOD)
    screen.facts(
        [
            ("answers for it", mandate.answerable.id),
            ("links", str(len(mandate.chain))),
            ("use", "its key may act" if acts else "its key hands it on to short-lived credentials, which act"),
        ],
        indent=2,
    )
    for name in changed:
        screen.say(f"  cluster {name} changed since it was approved: see manifest renew", style=WARN)
