"""`intent-proxy manifest`: what a sponsor signs for an agent, and everything that becomes of it."""

import typer

from proxy.cli import manifest_proposals, manifest_register, manifest_sign, manifest_use

app = typer.Typer(help="What a sponsor signs for an agent: who may do what, for which purpose, until when.")

for _command in (
    manifest_sign.draft,
    manifest_sign.sign,
    manifest_sign.renew,
    manifest_proposals.propose,
    manifest_proposals.proposals,
    manifest_proposals.accept,
    manifest_proposals.decline,
    manifest_use.delegate,
    manifest_use.show,
    manifest_use.verify,
    manifest_use.revoke,
    manifest_register.register,
    manifest_register.registered,
    manifest_register.unregister,
):
    app.command()(_command)
