"""`holds propose`: instead of "always", the change of policy that somebody would have to sign, as YAML."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment
from proxy.cli.ruling import Caller, HoldId, with_desk
from proxy.cli.screen import Screen, document
from proxy.cli.store import Desk
from proxy.cli.where import AsJson, Config, Dev
from proxy.core.model import Bundle
from proxy.policy.files import write_whole
from proxy.review.documents import proposal_json
from proxy.review.opened import HeldCall
from proxy.review.proposing import Proposal, heading
from proxy.review.proposing import proposal_for as proposal_for


def propose(
    hold: HoldId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file.", show_default=False)
    ] = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Write down the change of policy under which calls like a held one would pass. Nothing is changed or signed.

    There is no "always": what shall always pass is written into clusters.yaml,
    signed by an operator, and granted by the sponsor in a new manifest. Parts of
    the path that look like ids become parameters; read it before you use it.

    Example:
      intent-proxy holds propose HOLD -o proposal.yaml
    """

    async def run(desk: Desk, bundle: Bundle, _: Deployment) -> tuple[HeldCall, Proposal]:
        held = await desk.reviews.show(hold)
        return held, proposal_for(held, bundle)

    held, proposed = with_desk(Caller(config=config, dev=dev), run)
    text = "\n".join([*(f"# {line}" for line in heading(held.hold, proposed)), *proposed.lines]) + "\n"
    if output is not None:
        write_whole(output, text.encode("utf-8"), mode=0o644)
    if as_json:
        document(proposal_json(held.hold, proposed))
    elif output is None:
        Screen().paragraph(text.rstrip("\n"))
    else:
        Screen().say(f"{proposed.where}: {output}")
