"""`intent-proxy keys`: private keys on disk, their public halves, and proof that one holds one; the secret's keys."""

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key, new_key
from proxy.cli.possession import prove_possession
from proxy.cli.screen import Screen, document
from proxy.cli.where import AsJson, Config
from proxy.core.encoding import canonical_json
from proxy.core.keys import ED25519, jwk
from proxy.core.model import PublicKey

app = typer.Typer(
    help="Private keys, which never leave the machine they were made on; the secret held calls are encrypted with."
)

_SECRET = "The secret held calls are encrypted with"  # noqa: S105 (a heading)

KeyPath = Annotated[Path, typer.Argument(metavar="PATH", help="The file of the private key (PEM).")]


@app.command()
def new(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to make. It must not exist.")],
    alg: Annotated[str, typer.Option(help="Ed25519, or ES256 for hardware that knows only P-256.")] = ED25519,
    as_json: AsJson = False,
) -> None:
    """Make a private key, readable by you alone, and print its public half.

    Examples:
      intent-proxy keys new keys/robin.pem
      intent-proxy keys new keys/robin.pem > robin.jwk
    """
    _show(path, new_key(path, alg).public, as_json=as_json)


@app.command()
def show(path: KeyPath, as_json: AsJson = False) -> None:
    """Print the public half of a private key as JWK, and its thumbprint on standard error.

    Example:
      intent-proxy keys show keys/robin.pem > robin.jwk
    """
    _show(path, load_key(path).public, as_json=as_json)


@app.command()
def prove(
    path: KeyPath,
    agent: Annotated[str, typer.Option(help="The agent that the key is for.")],
    deployment: Annotated[str, typer.Option(help="The deployment that it is for, as in its proxy.yaml.")],
) -> None:
    """Sign that you hold a key, for agents add --proof on another machine. Good for one day.

    Example:
      intent-proxy keys prove robot.pem --agent robot --deployment accounts-payable > robot.proof
    """
    typer.echo(prove_possession(load_key(path), agent=agent, deployment=deployment, now=datetime.now(UTC)))


# --- the secret that held calls are encrypted with: what does the work needs a store, and is imported only then ------


@app.command(rich_help_panel=_SECRET)
def secret(config: Config = None, as_json: AsJson = False) -> None:
    """List the keys that held calls and session tokens are encrypted with, by id, and how many open holds each opens.

    Example:
      intent-proxy keys secret
    """
    _later().secret(config, as_json=as_json)


@app.command(rich_help_panel=_SECRET)
def rotate(
    config: Config = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only add the key: copy the file to every machine, then rotate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new key, seal with it from now on, and wrap the data key of every open hold anew.

    Running nodes take it up by themselves, before they next seal. Older keys still open what they sealed, until they
    are retired. If this is cut off, keys rewrap goes on where it stopped. The key for hashes stays: equal calls must
    still find their hold.

    Examples:
      intent-proxy keys rotate
      intent-proxy keys rotate --prepare
    """
    _later().rotate(config, prepare=prepare, as_json=as_json)


@app.command(rich_help_panel=_SECRET)
def rewrap(config: Config = None, as_json: AsJson = False) -> None:
    """Wrap the data key of every open hold under the key that seals now: the second half of keys rotate.

    Example:
      intent-proxy keys rewrap
    """
    _later().rewrap(config, as_json=as_json)


@app.command(rich_help_panel=_SECRET)
def retire(
    config: Config = None,
    at_once: Annotated[
        bool, typer.Option("--now", help="Also keys that sealed within the last day: session tokens of theirs end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Drop every key that no longer seals and that nothing needs. What it sealed can never be read again.

    Open holds are wrapped anew first; a key that one of them still needs stays.

    Examples:
      intent-proxy keys retire
      intent-proxy keys retire --now
    """
    _later().retire(config, at_once=at_once, as_json=as_json)


def _later() -> ModuleType:
    return import_module("proxy.cli.secretkeys")


def _show(path: Path, key: PublicKey, *, as_json: bool) -> None:
    if as_json:
        document({"file": str(path), "kid": key.kid, "alg": key.alg, "jwk": jwk(key)})
        return
    typer.echo(canonical_json(jwk(key)).decode("ascii"))
    Screen().note(f"{key.alg} key, thumbprint {key.kid}")
