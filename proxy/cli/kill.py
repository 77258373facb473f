"""`intent-proxy kill`: stop everything at once, and let it go on."""

import typer

from proxy.cli.signers import As, KeyFile
from proxy.cli.stopping import Reason, say
from proxy.cli.where import AsJson, Config, Dev
from proxy.core.control import EVERYTHING, Act

app = typer.Typer(help="The kill switch: nothing is forwarded for anybody while it is on, as agents list says.")


@app.command()
def on(
    reason: Reason,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Stop every agent at once, until kill off. Anyone enrolled may; it is signed and journaled.

    Within two seconds every node refuses all calls and ends what is under way:
    streams, uploads, WebSockets, tunnels and waiting calls. Route grants are
    cancelled for good, and nothing is released meanwhile.

    Examples:
      intent-proxy kill on --reason 'incident 4711'
      intent-proxy kill on --reason 'incident 4711' --as jonas --json
    """
    say(Act.KILL_ON, EVERYTHING, config, dev=dev, reason=reason, key=key, name=name, as_json=as_json)


@app.command()
def off(
    reason: Reason,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Let every agent go on that is not quarantined. Only an operator may.

    Example:
      intent-proxy kill off --reason 'incident 4711 is over' --as operator
    """
    say(Act.KILL_OFF, EVERYTHING, config, dev=dev, reason=reason, key=key, name=name, as_json=as_json)
