"""`intent-proxy agents`: the inventory of agents, and stopping one."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.agent.keyfile import load_key
from proxy.cli.deployment import Deployment, now, open_deployment
from proxy.cli.entries import add_agent
from proxy.cli.possession import prove_possession, read_possession
from proxy.cli.screen import GOOD, WARN, Screen, document
from proxy.cli.signers import As, KeyFile
from proxy.cli.stopping import Reason, say
from proxy.cli.where import AsJson, Config, Dev
from proxy.core.control import EVERYTHING, Act, ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, AgentClass, PublicKey
from proxy.policy.sources import parse, read_sources
from proxy.stores.files import StatementFile

app = typer.Typer(help="The inventory of agents, each with the human who answers for it.")

Name = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")]


@app.command("list")
def list_agents(config: Config = None, as_json: AsJson = False) -> None:
    """List every agent in agents.yaml, signed or not, and whether it may go on.

    An agent is active, quarantined, or stopped, as all are while the kill switch is on.

    Example:
      intent-proxy agents list --json
    """
    deployment = open_deployment(config)
    agents = parse(read_sources(deployment.settings), operators=deployment.settings.operators).agents
    view = known_control(deployment)
    if as_json:
        document([_agent(agent, view) for agent in agents.values()])
        return
    screen = Screen()
    if view.killed:
        screen.note("the kill switch is on: nothing is forwarded for anybody", style=WARN)
    screen.table(
        ("agent", "sponsor", "owner", "class", "state", "keys"),
        (
            (each.id, each.sponsor, each.owner, each.agent_class.value, _state(each, view), _kids(each))
            for each in agents.values()
        ),
        empty="there is no agent",
    )


@app.command()
def add(
    agent: Annotated[str, typer.Argument(metavar="ID", help="A short name: letters, digits, dots and dashes.")],
    sponsor: Annotated[str, typer.Option(help="The person who answers for it.")],
    owner: Annotated[str, typer.Option(help="The team that runs it.")],
    key: Annotated[
        Path | None, typer.Option(help="Its private key, when that is at hand here.", show_default=False)
    ] = None,
    proof: Annotated[
        Path | None, typer.Option(help="What keys prove printed where the key is.", show_default=False)
    ] = None,
    agent_class: Annotated[
        AgentClass, typer.Option("--class", help="Does it help a person at work, or run inside a workflow?")
    ] = AgentClass.AUGMENTING,
    may_delegate_to: Annotated[
        list[str] | None, typer.Option(help="An agent it may hand a task to. May be given again.", show_default=False)
    ] = None,
    config: Config = None,
) -> None:
    """Add an agent to agents.yaml, once it has proved that it holds its key. The rest of the file stays.

    An agent that runs inside a workflow (embedded) must declare its intent with
    every call and sign its writes. Nothing counts before an operator has signed
    the file anew.

    Examples:
      intent-proxy agents add robot --sponsor maria --owner logistics --key keys/robot.pem
      intent-proxy agents add robot --sponsor maria --owner logistics --proof robot.proof
    """
    deployment = open_deployment(config)
    added = Agent(
        id=agent,
        owner=owner,
        sponsor=sponsor,
        agent_class=agent_class,
        must_declare=agent_class is AgentClass.EMBEDDED,
        may_delegate_to=frozenset(may_delegate_to or ()),
        keys=(_proven(deployment, agent, key=key, proof=proof),),
    )
    path = add_agent(deployment, added)
    screen = Screen()
    screen.say(f"{agent} is in {path}, with the key {added.keys[0].kid}", style=GOOD)
    screen.note("next: intent-proxy bundle sign")


@app.command()
def quarantine(
    reason: Reason,
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="The agent's id.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="The kill switch: stop every agent.")] = False,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Stop an agent at once: nothing it asks is forwarded, under any mandate, until it is restored.

    Signed by an operator or by any enrolled person. Within two seconds every node
    ends its streams, uploads, WebSockets, tunnels and waiting calls. Its route
    grants are cancelled for good, and nothing is released for it meanwhile.

    Examples:
      intent-proxy agents quarantine robot --reason 'asks for other suppliers'
      intent-proxy agents quarantine --all --reason 'incident 4711' --as operator
    """
    act = Act.KILL_ON if everything else Act.QUARANTINE
    say(act, _target(agent, everything), config, dev=dev, reason=reason, key=key, name=name, as_json=as_json)


@app.command()
def restore(
    reason: Reason,
    agent: Annotated[str | None, typer.Argument(metavar="AGENT", help="The agent's id.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Turn the kill switch off.")] = False,
    key: KeyFile = None,
    name: As = None,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> None:
    """Let a quarantined agent go on. Only an operator or its sponsor may.

    Example:
      intent-proxy agents restore robot --reason 'mended in release 12'
    """
    act = Act.KILL_OFF if everything else Act.RESTORE
    say(act, _target(agent, everything), config, dev=dev, reason=reason, key=key, name=name, as_json=as_json)


def known_control(deployment: Deployment) -> ControlView:
    """What this node knows to be stopped. Not asked here: the store, where something newer may stand."""
    view = ControlView()
    for said in StatementFile(deployment.settings.state / "control.jsonl").load():
        view = view.absorb(said)
    return view


def _target(agent: str | None, everything: bool) -> str:
    if (agent is None) is not everything:
        raise typer.BadParameter("name one agent, or say --all")
    return agent or EVERYTHING


def _proven(deployment: Deployment, agent: str, *, key: Path | None, proof: Path | None) -> PublicKey:
    """The agent's key, after it signed a challenge here or elsewhere."""
    name, moment = deployment.settings.deployment, now()
    if (key is None) is (proof is None):
        raise typer.BadParameter("give the agent's private key with --key, or what keys prove printed with --proof")
    if key is not None:
        token = prove_possession(load_key(key), agent=agent, deployment=name, now=moment)
    else:
        assert proof is not None
        try:
            token = proof.read_text("ascii")
        except (OSError, ValueError) as fault:
            raise Rejected(Code.STATEMENT_INVALID, f"{proof}: cannot be read: {fault}") from None
    return read_possession(token, agent=agent, deployment=name, now=moment)


def _agent(agent: Agent, view: ControlView) -> Json:
    return {
        "id": agent.id,
        "owner": agent.owner,
        "sponsor": agent.sponsor,
        "class": agent.agent_class.value,
        "must_declare": agent.must_declare,
        "may_delegate_to": sorted(agent.may_delegate_to),
        "state": _state(agent, view),
        "keys": [{"kid": key.kid, "alg": key.alg} for key in agent.keys],
    }


def _state(agent: Agent, view: ControlView) -> str:
    if view.quarantined(agent.id):
        return "quarantined"
    return "stopped" if view.killed else "active"


def _kids(agent: Agent) -> str:
    return " ".join(f"{key.kid[:8]}…" for key in agent.keys)
