"""Where the deployment is, and the options that commands share. Light: the overview needs it, too."""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

ENVIRONMENT = "INTENT_PROXY_CONFIG"
FILE = "proxy.yaml"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help=f"The deployment: its {FILE}, or the directory with it. Else ${ENVIRONMENT}, else ./{FILE}.",
        show_default=False,
    ),
]
Dev = Annotated[bool, typer.Option("--dev", help="Take the files as they are, signed or not.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

given: ContextVar[Path | None] = ContextVar("given", default=None)
"""What `intent-proxy --config PATH COMMAND` named. A command's own `--config` comes first."""


def find_config(config: Path | None) -> Path:
    """The path of proxy.yaml. Not checked here: that it exists."""
    named = config or given.get() or Path(os.environ.get(ENVIRONMENT) or FILE)
    return (named / FILE if named.is_dir() else named).absolute()
