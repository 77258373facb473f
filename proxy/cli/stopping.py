"""Saying that an agent, or everything, is to stop or may go on: signed by whoever says it, and given to every node."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, open_deployment
from proxy.cli.screen import GOOD, WARN, Screen, document
from proxy.cli.signers import OPERATOR, choose_signer
from proxy.cli.store import publish
from proxy.core.control import EVERYTHING, RESUMING, Act, ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.model import Bundle
from proxy.policy.bundle import people_at_hand
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
    as_json: bool,
) -> None:
    """Sign a statement about an agent or `EVERYTHING`, and publish it.

    Raises:
        Rejected, Unavailable: as `publish`; there is no such agent, or nobody who may sign.
    """
    deployment = open_deployment(config)
    bundle = _bundle(deployment, act, dev=dev)
    named = target != EVERYTHING and (bundle.agents or act in RESUMING)
    sponsor = agent_in(bundle, target).sponsor if named else None
    signer = choose_signer(deployment, bundle, key=key, name=name, able=lambda who: who in (OPERATOR, sponsor))
    done = asyncio.run(publish(deployment, bundle, act, target, reason=reason, signer=signer))
    still = _still_stopped(done.view, bundle)
    if as_json:
        told: dict[str, Json] = {"act": act.value, "target": target, "by": signer.name, "reason": reason}
        document({"statement": done.said.id, **told, "stopped": list(still)})
        return
    shown = "every agent" if target == EVERYTHING else target
    screen = Screen()
    screen.say(f"{shown} {_WORDS.get(act, 'may go on')}, by {signer.name}", style=GOOD)
    if act in RESUMING and EVERYTHING in still:
        screen.note("the kill switch is still on: nothing is forwarded for anybody", style=WARN)
    elif act is Act.KILL_OFF and still:
        screen.note(f"still quarantined: {', '.join(still)}", style=WARN)


def _bundle(deployment: Deployment, act: Act, *, dev: bool) -> Bundle:
    """The policy in force; for a stop, whatever can be read of it: it waits for nobody to mend a file."""
    try:
        return deployment.bundle(dev=dev)
    except Rejected as fault:
        if act in RESUMING:
            raise
        first = fault.detail.splitlines()[0]
        Screen().note(
            f"the policy here is not as an operator signed it ({first}); the stop is sent all the same", style=WARN
        )
        return people_at_hand(deployment.settings)


def _still_stopped(view: ControlView, bundle: Bundle) -> tuple[str, ...]:
    """What is stopped now: "*" for everything, and agents."""
    return tuple(name for name in (EVERYTHING, *sorted(bundle.agents)) if view.stop_of(name) is not None)
