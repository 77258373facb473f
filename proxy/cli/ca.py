"""`intent-proxy ca`: the certificate that agents must trust."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import now, open_deployment
from proxy.cli.screen import Screen, document
from proxy.cli.where import AsJson, Config
from proxy.cli.words import instant
from proxy.core.errors import Code, Rejected
from proxy.edge.ca import load_authority
from proxy.policy.files import write_whole

app = typer.Typer(help="The proxy's certificate authority: it signs what agents see inside tunnels.")


@app.command()
def export(
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it there instead of printing it.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the CA certificate (PEM), and its SHA-256 fingerprint on standard error.

    Agents must trust it. Bring it to them by a way nobody else can change, or compare the fingerprint there.

    Examples:
      intent-proxy ca export > ca.pem
      intent-proxy ca export --out /usr/local/share/ca-certificates/intent-proxy.crt
    """
    settings = open_deployment(config).settings
    directory = settings.state / "ca"
    if not directory.is_dir():
        raise Rejected(Code.CONFIG_INVALID, f"{directory} is not there yet: it is made by init, or by the first run")
    authority = load_authority(directory, deployment=settings.deployment, now=now())
    pem, fingerprint = authority.pem(), authority.fingerprint()
    ends_at = authority.certificate.not_valid_after_utc
    if out is not None:
        write_whole(out, pem)
    if as_json:
        document({"sha256": fingerprint, "not_after": instant(ends_at), "pem": pem.decode("ascii")})
        return
    if out is None:
        typer.echo(pem.decode("ascii"), nl=False)
    Screen().note(f"SHA-256 {fingerprint}, valid until {instant(ends_at)}")
