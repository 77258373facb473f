"""`intent-proxy init`: a deployment of one's own, ready to run."""

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.allow import read_permit
from proxy.cli.deployment import Deployment, now, this_second
from proxy.cli.founding import Plan, Somebody, building, check_empty, found
from proxy.cli.screen import GOOD, LABEL, NOTE, WARN, Screen, document
from proxy.cli.signing import Signing, agreed, prepare, preview, sign_and_keep
from proxy.cli.typed import PROGRAM, as_called
from proxy.cli.where import AsJson
from proxy.core.encoding import Json
from proxy.core.model import AgentClass
from proxy.edge.ca import load_authority
from proxy.policy.document import is_identifier
from proxy.policy.drafts import draft_for
from proxy.policy.example import AGENT, REVIEWER, SPONSOR
from proxy.policy.permits import Permit, cluster_entries

CERTIFIED = timedelta(days=365)
FIRST_LIFE = timedelta(days=30)

_SPONSOR = f"{SPONSOR}=Maria Brandt"
_REVIEWER = f"{REVIEWER}=Jonas Weber"


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to make.")],
    allow: Annotated[
        list[Permit] | None,
        typer.Option(
            parser=read_permit,
            metavar="'METHOD URL'",
            help="A call to allow, such as 'GET https://api.example.com/v1/items/{id}'. May be given again.",
            show_default=False,
        ),
    ] = None,
    purpose: Annotated[
        str | None, typer.Option(help="With --allow: what the agent is for, in one sentence.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --allow: sign the manifest without asking.")] = False,
    deployment: Annotated[
        str | None, typer.Option(help="The deployment's name. Else the directory's.", show_default=False)
    ] = None,
    agent: Annotated[str, typer.Option(help="The agent's id.")] = AGENT,
    sponsor: Annotated[str, typer.Option(metavar="ID=NAME", help="Who answers for the agent.")] = _SPONSOR,
    reviewer: Annotated[str, typer.Option(metavar="ID=NAME", help="The sponsor's deputy.")] = _REVIEWER,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where agents connect to.")] = "127.0.0.1:8080",
    upstream_ca: Annotated[
        list[Path] | None,
        typer.Option(help="A CA of your own servers to trust, a PEM file. May be given again.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a deployment: configuration, CA, keys for everybody, and the operator's signature.

    With --allow the agent's first manifest is made too: shown in plain words, and
    signed with the sponsor's new key once you agree. Without it clusters.yaml has
    an example to edit.

    All keys are made here, to begin with. Before anything real, move the
    operator's and the people's to those they belong to.

    Examples:
      intent-proxy init mine
      intent-proxy init mine --allow 'GET https://api.example.com/v1/items/{id}?page=*' --agent robot
      intent-proxy init mine --allow 'GET,HEAD https://localhost:8443/data/{set}' --upstream-ca ca.pem --yes
    """
    check_empty(directory)
    permits = tuple(allow or ())
    if permits and not yes and (as_json or not Screen().can_ask()):
        raise typer.BadParameter("--allow signs a manifest, and there is no terminal to ask on: add --yes")
    plan = Plan(
        deployment=deployment or _named_for(directory),
        listen=listen,
        agent=_identifier(agent),
        agent_class=AgentClass.AUGMENTING if permits else AgentClass.EMBEDDED,
        owner="unassigned" if permits else "accounts payable",
        sponsor=_somebody(sponsor, "Sponsor"),
        reviewer=_somebody(reviewer, "Reviewer"),
        certified_until=(now() + CERTIFIED).date(),
        clusters=cluster_entries(permits),
        upstream_cas=tuple(upstream_ca or ()),
    )
    with building(directory) as aside:
        made = found(aside, plan, now=now())
        signed = bool(permits) and _first_manifest(made, plan, purpose, yes=yes, quiet=as_json)
    _tell(directory, plan, permits, signed=signed, as_json=as_json)


def _first_manifest(made: Deployment, plan: Plan, purpose: str | None, *, yes: bool, quiet: bool) -> bool:
    """Show the first manifest, and sign it if that is what is wanted."""
    bundle = made.bundle()
    drafted = draft_for(
        bundle.agents[plan.agent],
        bundle.clusters.values(),
        purpose=purpose or f"First steps of {plan.agent}.",
        lifetime_s=int(FIRST_LIFE.total_seconds()),
    )
    wish = Signing(deployment=made, bundle=bundle, draft=drafted, key=None, name=None, now=this_second())
    prepared = prepare(wish)
    if not quiet:
        preview(wish, prepared, replaced=None, doubt="", over="")
    if not agreed(f"Sign this as {plan.sponsor.id}, with the key just made?", yes=yes):
        return False
    sign_and_keep(wish, prepared, out=made.manifest_file(plan.agent))
    return True


def _tell(directory: Path, plan: Plan, permits: Sequence[Permit], *, signed: bool, as_json: bool) -> None:
    authority = load_authority(directory / "state" / "ca", deployment=plan.deployment, now=now())
    commands = _next(directory, plan, permits if signed else ())
    if as_json:
        answer: dict[str, Json] = {
            "directory": str(directory.absolute()),
            "deployment": plan.deployment,
            "agent": plan.agent,
            "sponsor": plan.sponsor.id,
            "reviewer": plan.reviewer.id,
            "clusters": list(plan.clusters),
            "manifest": str(directory / "manifests" / f"{plan.agent}.jws") if signed else None,
            "ca_sha256": authority.fingerprint(),
            "next": [f"{PROGRAM} {command}" for command, _ in commands],
        }
        document(answer)
        return
    screen = Screen()
    screen.say(f"{directory} is ready: deployment {plan.deployment}, signed by its operator", style=GOOD)
    screen.facts(
        [
            ("agent", f"{plan.agent}, sponsor {plan.sponsor.id}, deputy {plan.reviewer.id}"),
            ("mandate", f"manifests/{plan.agent}.jws" if signed else "none yet"),
            ("keys", "all in keys/: move the operator's and the people's to their owners before anything real"),
            ("CA", f"SHA-256 {authority.fingerprint()}"),
        ],
        indent=2,
    )
    screen.say()
    if not permits:
        screen.say(f"Edit {directory / 'clusters.yaml'}, then:", style=LABEL)
    else:
        screen.say("Next:", style=LABEL)
    for command, remark in commands:
        screen.say(f"  # {remark}", style=NOTE)
        screen.say(f"  {shlex.join(as_called())} {command}")
    if permits and not signed:
        screen.note("no mandate yet: nothing the agent asks is allowed", style=WARN)


def _next(directory: Path, plan: Plan, mandated: Sequence[Permit]) -> list[tuple[str, str]]:
    """What to type after the program's name, and where or as whom."""
    where = f"-c {shlex.quote(str(directory))}"
    run = (f"run {where}", "in a terminal of its own")
    if mandated:
        url = shlex.quote(mandated[0].example_url)
        return [
            run,
            (f"exec {where} --agent {plan.agent} -- curl {url}", "in the agent's: any program in place of curl"),
            (f"holds watch {where}", "in yours"),
        ]
    clusters = " ".join(f"--cluster {name}" for name in plan.clusters or ("supplier-invoices",))
    purpose = "Match supplier invoices with orders." if not plan.clusters else f"First steps of {plan.agent}."
    sign = f"manifest sign {where} --agent {plan.agent} {clusters} --purpose {shlex.quote(purpose)}"
    return [
        (f"bundle sign {where}", "as the operator, after every edit"),
        (sign, "as the sponsor"),
        run,
    ]


def _named_for(directory: Path) -> str:
    """The directory's name, in the characters of an id."""
    return re.sub(r"[^a-z0-9._-]+", "-", directory.absolute().name.lower()).strip("-._")[:64] or "home"


def _somebody(text: str, role: str) -> Somebody:
    name, _, shown = text.partition("=")
    return Somebody(id=_identifier(name), name=shown or name.capitalize(), role=role)


def _identifier(text: str) -> str:
    if not is_identifier(text):
        wanted = "at most 64 lower-case letters, digits, dots, dashes and underscores"
        raise typer.BadParameter(f"expected {wanted}, got {text!r}")
    return text
