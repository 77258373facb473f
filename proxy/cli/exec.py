"""`intent-proxy exec`: a program that need not know of any of this, with a sidecar for as long as it runs."""

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.sidecar import summary
from proxy.agent.sidecar.asking import holds_now
from proxy.agent.sidecar.child import NotRun, run
from proxy.agent.sidecar.environment import inherited, lay_out
from proxy.cli import beside
from proxy.cli.beside import Beside
from proxy.cli.visible import ascii_json, visible
from proxy.cli.where import Config


def command(
    program: Annotated[
        list[str], typer.Argument(metavar="-- PROGRAM [ARGUMENT]...", help="What to run.", show_default=False)
    ],
    agent: beside.Agent = None,
    manifest: beside.Manifest = None,
    key: beside.Key = None,
    proxy: beside.Proxy = None,
    ca: beside.Ca = None,
    cluster: beside.Cluster = None,
    task: beside.Task = None,
    sign_requests: Annotated[
        bool,
        typer.Option(
            help="Sign each call inside TLS, too, with a CA made for this program alone. Else tunnels are signed, not "
            "calls: that is weaker proof."
        ),
    ] = True,
    no_proxy: Annotated[
        str, typer.Option("--no-proxy", metavar="HOSTS", help="Hosts that are called around the proxy; NO_PROXY.")
    ] = "",
    user: Annotated[
        str | None,
        typer.Option(help="Run the program as this user, who need not read the key. Needs root.", show_default=False),
    ] = None,
    max_body: beside.MaxBody = 256,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing at the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was called as JSON at the end.")] = False,
    config: Config = None,
) -> int:
    """Run a program whose calls go through the proxy, signed, and say at its end what became of them.

    A sidecar serves it on loopback for as long as it runs. The program, and
    what it starts, find it by variables such as HTTPS_PROXY and SSL_CERT_FILE;
    nothing else changes. Exits as the program does: 128 + n if signal n ended
    it, 127 if there is none, 126 if it cannot be run. What was allowed, held
    and denied goes to standard error.

    Examples:
      intent-proxy exec --agent invoice-bot -- python agent.py
      intent-proxy exec --agent invoice-bot --task T-4711 --json -- curl URL
      intent-proxy exec --manifest bot.jws --key bot.pem --proxy http://127.0.0.1:8080 -- curl URL
    """
    place = beside.find(config, agent=agent, manifest=manifest, key=key, proxy=proxy, ca=ca)
    with tempfile.TemporaryDirectory(prefix="intent-proxy-") as private:  # the CA's key is needed no longer than this
        authority = beside.own_authority(Path(private)) if sign_requests else None

    # In an event loop of its own, whose threads end with it: one that was there before the program starts would be sent
    # the signals that are to be passed on.
    ready = asyncio.run(
        beside.prepare(
            place,
            cluster=cluster,
            task=task,
            authority=authority,
            secret=secrets.token_urlsafe(16),
            max_body_mib=max_body,
        )
    )
    started = beside.now()

    async def work() -> int:
        with tempfile.TemporaryDirectory(prefix="intent-proxy-") as folder:
            async with ready.sidecar.serving("127.0.0.1", 0):
                added = lay_out(Path(folder), ready.certificates, proxy_url=ready.sidecar.url, no_proxy=no_proxy)
                return await run(program, {**inherited(os.environ, secrets=place.secrets), **added}, user=user)

    try:
        code = asyncio.run(work())
    except NotRun as fault:
        sys.stderr.write(f"intent-proxy: {visible(program[0])}: {visible(fault.why)}\n")
        return fault.exit_code
    if not quiet:
        with contextlib.suppress(KeyboardInterrupt):  # who does not wait for it still gets the program's exit code
            _tell(ready, asyncio.run(_holds(ready, started)), as_json=as_json)
    return code


async def _holds(ready: Beside, started: datetime) -> "summary.Holds":
    """Those the program was told of; where it cannot have been told of all, also those that were filed meanwhile."""
    tally = ready.sidecar.tally
    since = started if tally.tunnels or tally.under_way else None
    return await holds_now(ready.route, ready.signer, tally.held, since=since)


def _tell(ready: Beside, holds: "summary.Holds", *, as_json: bool) -> None:
    tally = ready.sidecar.tally
    if as_json:
        sys.stderr.write(ascii_json(summary.document(tally, holds), indent=None) + "\n")
        return
    for line in summary.lines(tally, holds):
        sys.stderr.write(f"intent-proxy: {visible(line)}\n")
