"""`intent-proxy doctor`: the agent's own doctor, with its own command line (`proxy.agent.doctor`)."""

import typer

from proxy.agent.doctor.program import main


def doctor(context: typer.Context) -> int:
    """Find what is wrong where an agent runs, and how to mend it."""
    return main(context.args, program="intent-proxy doctor")
