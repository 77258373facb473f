"""`intent-proxy desk`: what belongs to the review desk."""

import typer

from proxy.cli import webhooks

app = typer.Typer(help="The review desk.")
app.add_typer(webhooks.app, name="webhooks", no_args_is_help=True)
