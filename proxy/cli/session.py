"""`intent-proxy session`: proof for programs that know only HTTPS_PROXY."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key
from proxy.agent.session import Session, Shows, open_session
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
            metavar="URL",
            help="The proxy, http(s)://HOST:PORT. Else the deployment's own.",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="The proxy's CA, for https:// proxies and for the variables. Else the deployment's.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="A client certificate to show, PEM. Alone it opens a session, too.", show_default=False),
    ] = None,
    certificate_key: Annotated[
        Path | None, typer.Option(help="The certificate's key, PEM.", show_default=False)
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Open a session and print the variables to export in the agent's shell. It is good for an hour.

    Its credentials stand in the proxy's URL and work only from this address.
    They prove less than a signature: transformative calls refuse them.
    With --certificate and no manifest, the mandate is the one that is
    registered for it (manifest register).

    Examples:
      eval "$(intent-proxy session new --agent invoice-bot)"
      intent-proxy session new --manifest robot.jws --key robot.pem --proxy http://127.0.0.1:8080
      intent-proxy session new --certificate client.pem --certificate-key client.key --proxy https://127.0.0.1:8443
    """
    shows = _shows(certificate, certificate_key)
    signs = shows is None or bool(agent or manifest or key)
    deployment = None if proxy and ((manifest and key) or not signs) else open_deployment(config)
    signer = _signer(agent, manifest, key, deployment) if signs else None
    proxy_key = None
    if deployment is not None:
        settings = deployment.settings
        proxy = proxy or (f"http://{settings.listen}" if shows is None else _over_tls(deployment))
        ca = ca or settings.state / "ca" / "ca.pem"
        node_key = settings.state / "node.key"
        proxy_key = load_key(node_key).public if os.access(node_key, os.R_OK) else None
    session = open_session(str(proxy), signer, shows=shows, proxy_key=proxy_key, ca_file=str(ca) if ca else None)
    _show(session, ca, as_json=as_json)


def _shows(certificate: Path | None, key: Path | None) -> Shows | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise typer.BadParameter("name both --certificate and --certificate-key, or neither")
    return Shows(certificate=str(certificate), key=str(key))


def _signer(agent: str | None, manifest: Path | None, key: Path | None, deployment: Deployment | None) -> Signer:
    if not (manifest and key):
        its_manifest, its_key = _of(agent, deployment, "key" if manifest else "manifest")
        manifest, key = manifest or its_manifest, key or its_key
    return Signer(manifest, load_key(key))


def _over_tls(deployment: Deployment) -> str:
    listen = deployment.settings.tls.listen
    if listen is None:
        raise typer.BadParameter(
            "a certificate is shown in TLS: set tls.listen in proxy.yaml, or name --proxy https://…"
        )
    return f"https://{listen}"


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
