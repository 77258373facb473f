"""`intent-proxy run`: the proxy itself, in the foreground."""

import asyncio
import contextlib
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, open_deployment
from proxy.cli.deskchild import DeskChild
from proxy.cli.deskplace import announce_desk, desk_origins, desk_sockets
from proxy.cli.screen import GOOD, WARN, Screen
from proxy.cli.where import Config, find_config
from proxy.core.errors import Rejected
from proxy.edge.run import Ready, run_proxy
from proxy.policy.values import LISTEN, Listen


def _listen(text: str) -> Listen:
    try:
        address = LISTEN.read(text, Path())
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None
    assert isinstance(address, Listen)
    return address


def run(
    config: Config = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes. Else as in proxy.yaml.", show_default=False)
    ] = None,
    listen: Annotated[
        Listen | None,
        typer.Option(
            parser=_listen, metavar="HOST:PORT", help="Where to listen. Else as in proxy.yaml.", show_default=False
        ),
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Run with a policy nobody signed. The journal says so.")] = False,
    no_desk: Annotated[bool, typer.Option("--no-desk", help="Without the review desk.")] = False,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Accept a redis_url that keeps nothing on disk: a restart loses holds.")
    ] = False,
) -> int:
    """Run the proxy until Ctrl-C or SIGTERM.

    Prints one line when it serves, and one that says where the review desk is; on a
    terminal also a link that signs one person in there, once (desk --link makes
    another). When it is told to stop, open connections are served to their end, up
    to ten seconds. Without redis_url in proxy.yaml a private Valkey is started
    beside it, and stopped with it.

    Examples:
      intent-proxy run
      intent-proxy run --workers 4 --listen 127.0.0.1:3128
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    where = (listen.host, listen.port) if listen is not None else None
    deployment = open_deployment(config)
    with contextlib.ExitStack() as held:
        desk = None if no_desk or not deployment.settings.desk.start else _desk(deployment, dev=dev, held=held)
        return asyncio.run(
            run_proxy(
                find_config(config),
                workers=workers,
                listen=where,
                dev=dev,
                ephemeral=ephemeral,
                on_ready=_announce,
                desk=None if desk is None else desk.address,
                beside=None if desk is None else lambda _: desk.keep(),
            )
        )


def _desk(deployment: Deployment, *, dev: bool, held: contextlib.ExitStack) -> DeskChild | None:
    """The desk beside the proxy; None where its address cannot be had: the proxy runs without it, and says so."""
    settings = deployment.settings
    try:
        sockets = desk_sockets(settings)
        for each in sockets:
            held.enter_context(contextlib.closing(each))
        port = int(sockets[0].getsockname()[1])
        desk_origins(settings, port)
    except Rejected as fault:
        Screen().note(f"without the review desk: {fault.detail}", style=WARN)
        return None
    return DeskChild(
        config=settings.file,
        sockets=sockets,
        dev=dev,
        on_ready=lambda: announce_desk(deployment, deployment.bundle(dev=dev), port=port, name=None),
    )


def _announce(ready: Ready) -> None:
    screen = Screen()
    address = Listen(host=ready.host, port=ready.port)
    workers = "1 worker" if ready.workers == 1 else f"{ready.workers} workers"
    policy = f"policy version {ready.bundle_version}, signed" if ready.signed else "UNSIGNED policy (--dev)"
    store = f"store {ready.store}{', whose restart may lose every hold (--ephemeral)' if ready.ephemeral else ''}"
    tls = f" and https://{Listen(host=ready.tls[0], port=ready.tls[1])}" if ready.tls is not None else ""
    parts = (f"ready on {address}{tls}", ready.deployment, workers, policy, store, f"CA {ready.ca_file}")
    screen.say("intent-proxy " + " · ".join(parts), style=GOOD if ready.signed and not ready.ephemeral else WARN)
    sys.stdout.flush()
