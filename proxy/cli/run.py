"""`intent-proxy run`: the proxy itself, in the foreground."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.screen import GOOD, WARN, Screen
from proxy.cli.where import Config, find_config
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
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Accept a redis_url that keeps nothing on disk: a restart loses holds.")
    ] = False,
) -> int:
    """Run the proxy until Ctrl-C or SIGTERM.

    Prints one line when it serves. Told to stop, it serves open connections to
    their end, up to ten seconds. Without redis_url in proxy.yaml a private
    Valkey is started beside it, and stopped with it.

    Examples:
      intent-proxy run
      intent-proxy run --workers 4 --listen 127.0.0.1:3128
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    where = (listen.host, listen.port) if listen is not None else None
    return asyncio.run(
        run_proxy(find_config(config), workers=workers, listen=where, dev=dev, ephemeral=ephemeral, on_ready=_announce)
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
