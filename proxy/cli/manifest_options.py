"""The options that commands about manifests share."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.words import read_span

Agent = Annotated[str | None, typer.Option(help="The agent it is for.", show_default=False)]
Clusters = Annotated[
    list[str] | None,
    typer.Option("--cluster", help="A task cluster to grant. May be given again.", show_default=False),
]
Purpose = Annotated[str | None, typer.Option(help="What the agent is for, in one sentence.", show_default=False)]
Lifetime = Annotated[
    timedelta | None,
    typer.Option(parser=read_span, metavar="SPAN", help="How long it lives: 30m, 8h, 30d.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.", show_default=False)]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A manifest, or a chain of them.")]
Certificate = Annotated[
    Path | None,
    typer.Option(
        help="Bind it to this client certificate (PEM): it counts only where that is shown, too.", show_default=False
    ),
]
Granted = Annotated[
    list[str] | None,
    typer.Option(
        "--grant",
        metavar="CLUSTER/OPERATION",
        help="Also grant this operation. May be given again.",
        show_default=False,
    ),
]
