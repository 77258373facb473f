"""Saying that an agent, or everything, is to stop or may go on: signed by whoever says it, and given to every node."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import open_deployment
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.signers import OPERATOR, choose_signer
from proxy.cli.store import publish
from proxy.core.control import EVERYTHING, Act
from proxy.policy.enrolled import agent_in

Reason = Annotated[str, typer.Option(help="Why; it is signed and goes to the journal.")]

_WORDS = {Act.QUARANTINE: "is quarantined", Act.KILL_ON: "is stopped"}


def say(
    act: Act,
    target: str,
    config: Path | None,
    *,
    dev: bool,
    reason: str,
    key: Path | None,
    name: str | None,
    as_json: bool = False,
) -> None:
    """Sign a statement about an agent or `EVERYTHING`, and publish it.

    Raises:
        Rejected, Unavailable: as `publish`; there is no such agent, or nobody who may sign.
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    sponsor = None if target == EVERYTHING else agent_in(bundle, target).sponsor
    signer = choose_signer(deployment, bundle, key=key, name=name, able=lambda who: who in (OPERATOR, sponsor))
    said = asyncio.run(publish(deployment, bundle, act, target, reason=reason, signer=signer))
    if as_json:
        document({"statement": said, "act": act.value, "target": target, "by": signer.name, "reason": reason})
        return
    shown = "every agent" if target == EVERYTHING else target
    Screen().say(f"{shown} {_WORDS.get(act, 'may go on')}, by {signer.name}", style=GOOD)
