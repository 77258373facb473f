"""`intent-proxy keys`: private keys on disk, their public halves, and proof that one holds one."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key, new_key
from proxy.cli.possession import prove_possession
from proxy.cli.screen import Screen, document
from proxy.cli.where import AsJson
from proxy.core.encoding import canonical_json
from proxy.core.keys import ED25519, jwk
from proxy.core.model import PublicKey

app = typer.Typer(
    help="Private keys: they never leave the machine they were made on; their public halves are enrolled elsewhere."
)

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


def _show(path: Path, key: PublicKey, *, as_json: bool) -> None:
    if as_json:
        document({"file": str(path), "kid": key.kid, "alg": key.alg, "jwk": jwk(key)})
        return
    typer.echo(canonical_json(jwk(key)).decode("ascii"))
    Screen().note(f"{key.alg} key, thumbprint {key.kid}")
