"""`intent-proxy bundle`: the operator's signature over what people wrote."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.where import AsJson, Config
from proxy.cli.words import instant
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.policy.bundle import Signed, read_floor, sign_bundle, verify_bundle

app = typer.Typer(help="The operator's signature over clusters, agents and people. The proxy runs with nothing else.")


@app.command()
def sign(
    config: Config = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="The operator's private key. Else the one in keys/.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the files and sign them as they are, one version up.

    A proxy that runs takes the new version up within a second, unless it is wrong.

    Examples:
      intent-proxy bundle sign
      intent-proxy bundle sign --key /media/stick/operator.pem
    """
    deployment = open_deployment(config)
    signed = sign_bundle(deployment.settings, _operator_key(deployment, key), now=now())
    _show(signed, "signed", as_json=as_json)
    if not as_json:
        Screen().note("a proxy that runs takes it up within a second")


@app.command()
def verify(config: Config = None, as_json: AsJson = False) -> None:
    """Check the signature, the version and every file, as the proxy does when it starts.

    Example:
      intent-proxy bundle verify && echo whole
    """
    settings = open_deployment(config).settings
    _show(verify_bundle(settings, floor=read_floor(settings.state)), "verified", as_json=as_json)


def _show(signed: Signed, done: str, *, as_json: bool) -> None:
    if as_json:
        answer: Json = {
            "version": signed.version,
            "signed_at": instant(signed.at),
            "kid": signed.kid,
            "sha256": signed.sha256,
            "files": dict(signed.files),
        }
        document(answer)
        return
    screen = Screen()
    screen.say(f"{done} version {signed.version}: {', '.join(sorted(signed.files))}", style=GOOD)
    screen.facts([("signed at", instant(signed.at)), ("key", signed.kid), ("sha256", signed.sha256)], indent=2)


def _operator_key(deployment: Deployment, path: Path | None) -> PrivateKey:
    if path is not None:
        return load_key(path)
    operators = {key.kid for key in deployment.settings.operators}
    for candidate in sorted(deployment.keys.glob("*.pem")):
        try:
            key = load_key(candidate)
        except Rejected:
            continue
        if key.public.kid in operators:
            return key
    raise Rejected(Code.CONFIG_INVALID, f"{deployment.keys} has no key of an operator; name it with --key PATH")
