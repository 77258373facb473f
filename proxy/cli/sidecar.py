"""`intent-proxy sidecar`: signs what an agent beside it sends, so that the agent never has the key."""

import asyncio
import os
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.proxyurl import host_and_port
from proxy.agent.sidecar import summary
from proxy.agent.sidecar.asking import holds_now
from proxy.cli import beside
from proxy.cli.beside import Beside
from proxy.cli.screen import GOOD, Screen
from proxy.cli.where import Config
from proxy.core.errors import Code, Rejected

_SECRET = re.compile(r"[A-Za-z0-9_-]{16,128}")


def command(
    agent: beside.Agent = None,
    manifest: beside.Manifest = None,
    key: beside.Key = None,
    proxy: beside.Proxy = None,
    ca: beside.Ca = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen: a loopback address. Port 0 is any free one.")
    ] = "127.0.0.1:3128",
    cluster: beside.Cluster = None,
    task: beside.Task = None,
    sign_requests: Annotated[
        bool,
        typer.Option(
            "--sign-requests", help="Sign each call inside TLS, too. The agent must trust the CA in --ca-dir."
        ),
    ] = False,
    ca_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where the sidecar's own CA is kept, or made. Else the directory sidecar-ca beside the key.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write here what the agent must trust, for its user to read.", show_default=False
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Serve only who gives this file's word as the password of the proxy's URL.",
            show_default=False,
        ),
    ] = None,
    max_body: beside.MaxBody = 256,
    config: Config = None,
) -> None:
    """Sign what an agent beside it sends, and bring it to the proxy, until Ctrl-C or SIGTERM.

    The agent needs HTTP_PROXY and HTTPS_PROXY only, and never sees the key: let
    it run as another user. Whoever reaches the sidecar acts as the agent, so
    share no network namespace with others, or use --secret-file. Calls over
    plain HTTP are signed one by one. Inside TLS, without --sign-requests, only
    each tunnel is.

    Examples:
      intent-proxy sidecar --agent invoice-bot
      intent-proxy sidecar --manifest bot.jws --key bot.pem --proxy https://proxy:8080 --ca ca.pem --sign-requests
    """
    place = beside.find(config, agent=agent, manifest=manifest, key=key, proxy=proxy, ca=ca)
    folder = ca_dir or place.key.parent / "sidecar-ca"
    authority = beside.own_authority(folder) if sign_requests else None
    host, port = _address(listen)
    secret = _secret(secret_file) if secret_file is not None else None

    async def work() -> None:
        ready = await beside.prepare(
            place, cluster=cluster, task=task, authority=authority, secret=secret, max_body_mib=max_body
        )
        if trust is not None:
            _publish(trust, ready.certificates)
        async with ready.sidecar.serving(host, port):
            proof = "signs every call" if sign_requests else "signs plain calls and tunnels"
            ca_file = f" · CA {folder / 'ca.pem'}" if sign_requests else ""
            whom = "every program on this machine" if secret is None else "who knows the password"
            where = host_and_port(*ready.sidecar.address)
            line = f"sidecar ready on {where} · serves {whom} · proxy {ready.route} · {proof}{ca_file}"
            Screen().say(f"intent-proxy {line}", style=GOOD)
            sys.stdout.flush()
            await _told_to_end()
        await _tell(ready)

    asyncio.run(work())


async def _told_to_end() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


async def _tell(ready: Beside) -> None:
    tally = ready.sidecar.tally
    for line in summary.lines(tally, await holds_now(ready.route, ready.signer, tally.held, since=None)):
        Screen().note(line)


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise typer.BadParameter(f"--listen must be an address and a port such as 127.0.0.1:3128, got {text!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _publish(path: Path, certificates: bytes) -> None:
    """For the agent to read. Where it may write, too, a link of its making could lead to any file of ours."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(certificates)


def _secret(path: Path) -> str:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        mode, text = 0, ""
    if mode & stat.S_IRWXO:
        detail = f"whoever can read {path} acts as the agent, and its mode is {mode:04o}: chmod o= '{path}'"
        raise Rejected(Code.CONFIG_INVALID, detail, field="secret_file")
    if not _SECRET.fullmatch(text):
        detail = f"{path} must hold one word of 16 to 128 letters, digits, - and _, as from `openssl rand -hex 16`"
        raise Rejected(Code.CONFIG_INVALID, detail, field="secret_file")
    return text
