"""`intent-proxy session`: proof for programs that know only HTTPS_PROXY."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key
from proxy.agent.session import Session, open_session
from proxy.agent.signer import Signer
from proxy.agent.variables import trusting
from proxy.cli.deployment import Deployment, open_deployment
from proxy.cli.screen import Screen, document
from proxy.cli.where import AsJson, Config
from proxy.cli.words import instant
from proxy.core.encoding import Json

app = typer.Typer(help="Proof for programs that know only HTTPS_PROXY, such as curl, git and package managers.")


@app.command()
def new(
    agent: Annotated[
        str | None,
        typer.Option(help="The agent: its manifest and key are looked for in the deployment.", show_default=False),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="The manifest, or a chain of them. Else --agent's.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The key that the last manifest names. Else --agent's.", show_default=False)
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The proxy, http(s)://HOST:PORT. Else the deployment's own.", show_default=False
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="The proxy's CA, for https:// proxies and for the variables. Else the deployment's.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Open a session and print the variables to export in the agent's shell. It is good for an hour.

    Its credentials stand in the proxy's URL and work only from this address.
    They prove less than a signature: transformative calls refuse them.

    Examples:
      eval "$(intent-proxy session new --agent invoice-bot)"
      intent-proxy session new --manifest robot.jws --key robot.pem --proxy http://127.0.0.1:8080
    """
    deployment = None if manifest and key and proxy else open_deployment(config)
    if not (manifest and key):
        its_manifest, its_key = _of(agent, deployment, "key" if manifest else "manifest")
        manifest, key = manifest or its_manifest, key or its_key
    proxy_key = None
    if deployment is not None:
        settings = deployment.settings
        proxy = proxy or f"http://{settings.listen}"
        ca = ca or settings.state / "ca" / "ca.pem"
        node_key = settings.state / "node.key"
        proxy_key = load_key(node_key).public if os.access(node_key, os.R_OK) else None
    signer = Signer(manifest, load_key(key))
    session = open_session(str(proxy), signer, proxy_key=proxy_key, ca_file=str(ca) if ca else None)
    _show(session, ca, as_json=as_json)


def _of(agent: str | None, deployment: Deployment | None, what: str) -> tuple[Path, Path]:
    if agent is None or deployment is None:
        raise typer.BadParameter(f"name the agent with --agent, or the {what} with --{what}")
    return deployment.papers_of(agent)


def _show(session: Session, ca: Path | None, *, as_json: bool) -> None:
    variables = dict(session.environment)
    if ca is not None and ca.exists():
        variables |= trusting(ca.absolute())
    if as_json:
        exported: Json = dict(variables)
        document({"proxy_url": session.proxy_url, "expires_at": instant(session.expires_at), "environment": exported})
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    Screen().note(f"the session ends at {instant(session.expires_at)}; it works from this machine only")
