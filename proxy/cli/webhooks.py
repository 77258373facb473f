"""`intent-proxy desk webhooks`: who is told of held calls, and whether they can be."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, new_id, now, open_deployment
from proxy.cli.exits import Exit
from proxy.cli.screen import BAD, GOOD, Screen, document
from proxy.cli.where import AsJson, Config
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.edge.notifying import own_places, postman, sample, webhook_secrets
from proxy.policy.faults import instead, shown
from proxy.policy.files import write_whole
from proxy.policy.webhooks import Webhook
from proxy.review.notify.posting import Reply
from proxy.review.notify.receivers import Sender
from proxy.review.notify.secret import new_signing_secret

app = typer.Typer(help="Who is told of held calls: signed webhooks, as desk.webhooks in proxy.yaml names them.")


@app.command("list")
def list_webhooks(config: Config = None, as_json: AsJson = False) -> None:
    """List who is told, and of what.

    Example:
      intent-proxy desk webhooks list --json
    """
    webhooks = open_deployment(config).settings.desk.webhooks
    if as_json:
        document([_json(each) for each in webhooks])
        return
    Screen().table(
        ("receiver", "at", "format", "signed", "events"),
        (
            (each.name, _where(each), each.format.value, "no" if each.secret is None else "yes", _events(each))
            for each in webhooks
        ),
        empty="proxy.yaml names no receiver (desk.webhooks)",
    )


@app.command()
def test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The receiver's name in proxy.yaml.")],
    config: Config = None,
    as_json: AsJson = False,
) -> int:
    """Send a sample to a receiver, and say what came back.

    It is sent once, exactly as every message is: signed, to an address that is
    looked at first, without following redirects. Exit codes: 0 taken, 1 refused
    or not allowed, 7 not reached.

    Example:
      intent-proxy desk webhooks test ops
    """
    deployment = open_deployment(config)
    webhook = _named(deployment, name)
    reply = asyncio.run(_send(deployment, webhook))
    if as_json:
        document({"receiver": name, "taken": reply.taken, "status": reply.status, "said": reply.said})
        return Exit.OK if reply.taken else Exit.REFUSED
    screen = Screen()
    screen.say(f"{name} answered {reply.status}{_about(reply)}", style=GOOD if reply.taken else BAD)
    if reply.said:
        screen.paragraph(reply.said, indent=2)
    return Exit.OK if reply.taken else Exit.REFUSED


@app.command()
def secret(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write it to this file, for nobody else to read.", show_default=False),
    ] = None,
) -> None:
    """Make a secret to sign messages with: 32 random bytes. The receiver needs it, too.

    Example:
      intent-proxy desk webhooks secret -o mine/ops.secret
    """
    made = new_signing_secret(os.urandom(32))
    if out is None:
        Screen().say(made)
        return
    if out.exists():
        raise Rejected(Code.CONFIG_INVALID, f"{out} is there already; name another file, or move it away")
    write_whole(out, f"{made}\n".encode("ascii"), mode=0o600)
    Screen().say(f"{out} has a new secret; give the same to the receiver", style=GOOD)


async def _send(deployment: Deployment, webhook: Webhook) -> Reply:
    settings = deployment.settings
    sender = Sender(
        webhook,
        postman=postman(settings, await own_places(settings)),
        secrets=webhook_secrets((webhook,)),
        clock=now,
    )
    return await sender.send(sample(settings.deployment, number=new_id(), now=now()))


def _named(deployment: Deployment, name: str) -> Webhook:
    webhooks = {each.name: each for each in deployment.settings.desk.webhooks}
    if name not in webhooks:
        mend = instead(name, webhooks) if webhooks else "; name one under desk.webhooks"
        raise Rejected(Code.CONFIG_INVALID, f"proxy.yaml has no receiver {shown(name)}{mend}")
    return webhooks[name]


def _about(reply: Reply) -> str:
    if reply.taken:
        return ": taken"
    return ": not taken; redirects are not followed" if 300 <= reply.status < 400 else ": not taken"


def _where(webhook: Webhook) -> str:
    """Never the path: with some, whoever knows it may post."""
    if webhook.target is None:
        return "(secret)"
    return f"{webhook.target.scheme}://{webhook.target.authority}"


def _events(webhook: Webhook) -> str:
    return " ".join(sorted(webhook.events)) or "all"


def _json(webhook: Webhook) -> Json:
    return {
        "name": webhook.name,
        "at": None if webhook.target is None else _where(webhook),
        "format": webhook.format.value,
        "signed": webhook.secret is not None,
        "events": sorted(webhook.events),
        "addresses": [str(network) for network in webhook.addresses],
    }
