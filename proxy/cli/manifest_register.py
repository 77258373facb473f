"""`intent-proxy manifest register | registered | unregister`: mandates of agents that show a client certificate."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.manifest_options import File
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.store import open_store
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import instant, until
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import parse_manifest
from proxy.core.model import Manifest
from proxy.core.verify import verify_chain
from proxy.policy.chains import lasting, read_chain_file
from proxy.ports import Mandates
from proxy.registry import check_registrable, forget, names_of, of_agent
from proxy.stores.redis_control import RedisMandates


def register(
    file: File,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take away what the agent has registered now; what is open under it ends."),
    ] = False,
    config: Config = None,
    dev: Dev = False,
) -> None:
    """Register the mandate of an agent that proves itself with a client certificate, and signs nothing.

    An agent has exactly one: with none, or with several, its certificate proves
    nothing. The manifest must be bound to the certificate (manifest sign
    --certificate), or the agent must have its SPIFFE id under bindings in
    agents.yaml. Every node obeys at once.

    Example:
      intent-proxy manifest register manifests/invoice-bot.jws
    """
    deployment = open_deployment(config)
    bundle, moment = deployment.bundle(dev=dev), now()
    mandate = verify_chain(read_chain_file(file), bundle, lifetimes=lasting(deployment.settings.authority), now=moment)
    check_registrable(mandate)
    asyncio.run(_register(deployment, mandate.root, replace=replace))
    Screen().say(f"registered for {mandate.root.sub}: {file}, until {until(mandate.root.exp, moment)}", style=GOOD)


def registered(config: Config = None, dev: Dev = False, as_json: AsJson = False) -> None:
    """List the registered mandates of every agent.

    Example:
      intent-proxy manifest registered --json
    """
    deployment = open_deployment(config)
    agents = sorted(deployment.bundle(dev=dev).agents)
    found = asyncio.run(_all(deployment, agents))
    if as_json:
        document(
            [
                {
                    "agent": each.sub,
                    "id": each.id,
                    "purpose": each.purpose,
                    "certificate": each.certificate,
                    "expires_at": instant(each.exp),
                }
                for each in found
            ]
        )
        return
    moment = now()
    Screen().table(
        ("agent", "ends", "certificate", "id"),
        ((each.sub, until(each.exp, moment), each.certificate or "by its SPIFFE id", each.id) for each in found),
        empty="no mandate is registered",
    )


def unregister(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")],
    manifest_id: Annotated[
        str | None, typer.Option("--id", help="Only the manifest of this id.", show_default=False)
    ] = None,
    config: Config = None,
) -> None:
    """Take away an agent's registered mandate: its certificate then proves nothing.

    What the certificate and its sessions have open ends within two seconds.
    To end a mandate for good, whatever it is proved with, use manifest revoke.

    Example:
      intent-proxy manifest unregister invoice-bot
    """
    deployment = open_deployment(config)
    gone = asyncio.run(_unregister(deployment, agent, manifest_id))
    if not gone:
        raise Rejected(Code.CONFIG_INVALID, f"no such mandate is registered for agent {agent}: see manifest registered")
    Screen().say(f"unregistered for {agent}: {', '.join(each.id for each in gone)}", style=GOOD)


async def _register(deployment: Deployment, manifest: Manifest, *, replace: bool) -> None:
    """One that has ended makes room by itself; another does so if the caller says it may."""
    async with open_store(deployment) as server:
        mandates, moment = RedisMandates(server), now()
        others = [each for each in await _of(mandates, manifest.sub) if each.id != manifest.id]
        living = [each for each in others if each.exp > moment]
        if living and not replace:
            detail = f"{manifest.sub} has {living[0].id} registered, and an agent has one: --replace takes it away"
            raise Rejected(Code.CONFIG_INVALID, detail)
        for each in others:
            await forget(mandates, each)
        for name in names_of(manifest):
            await mandates.register(name, manifest.id, manifest.token)


async def _unregister(deployment: Deployment, agent: str, manifest_id: str | None) -> list[Manifest]:
    async with open_store(deployment) as server:
        mandates = RedisMandates(server)
        gone = [each for each in await _of(mandates, agent) if manifest_id in (None, each.id)]
        for each in gone:
            await forget(mandates, each)
        return gone


async def _all(deployment: Deployment, agents: Iterable[str]) -> list[Manifest]:
    async with open_store(deployment) as server:
        mandates = RedisMandates(server)
        return [each for agent in agents for each in await _of(mandates, agent)]


async def _of(mandates: Mandates, agent: str) -> list[Manifest]:
    return [parse_manifest(token) for token in await mandates.registered(of_agent(agent))]
