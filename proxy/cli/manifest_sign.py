"""`intent-proxy manifest draft | sign | renew`: what the sponsor does."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.deployment import Deployment, open_deployment, this_second
from proxy.cli.exits import Exit
from proxy.cli.manifest_options import Agent, Certificate, Clusters, Granted, Lifetime, Out, Purpose, Yes
from proxy.cli.manifest_words import manifest_json
from proxy.cli.publickeys import certificate_thumbprint
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.signers import As, KeyFile
from proxy.cli.signing import Signing, agreed, doubt_here, prepare, present_root, preview, sign_and_keep
from proxy.cli.where import AsJson, Config, Dev
from proxy.cli.words import until
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Constraints, Grant, Manifest
from proxy.policy.chains import read_links
from proxy.policy.drafts import ManifestDraft, draft_again, draft_for, draft_text, locations_of, read_draft
from proxy.policy.enrolled import agent_in
from proxy.policy.files import write_whole

USUAL_LIFE = timedelta(days=30)


def draft(
    agent: Annotated[str, typer.Option(help="The agent it is for.")],
    purpose: Annotated[str, typer.Option(help="What the agent is for, in one sentence.")],
    cluster: Clusters = None,
    lifetime: Lifetime = None,
    out: Out = None,
    config: Config = None,
    dev: Dev = False,
) -> None:
    """Write a draft to edit: everything in the clusters named, for the sponsor to strike out what is not needed.

    Example:
      intent-proxy manifest draft --agent invoice-bot --cluster supplier-invoices --purpose 'Match invoices.'
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    drafted = _drafted(bundle, agent, cluster, purpose, lifetime)
    path = out or deployment.manifests / f"{agent}.draft.yaml"
    sign_command = f"intent-proxy manifest sign {path}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, draft_text(drafted, bundle, sign=sign_command).encode("utf-8"))
    screen = Screen()
    screen.say(f"{path} grants everything in {', '.join(grant.cluster for grant in drafted.grants)}", style=GOOD)
    screen.note(f"next: strike out what {agent} does not need, then: {sign_command}")


def sign(
    draft_file: Annotated[
        Path | None, typer.Argument(metavar="DRAFT", help="The draft to sign.", show_default=False)
    ] = None,
    agent: Agent = None,
    cluster: Clusters = None,
    purpose: Purpose = None,
    lifetime: Lifetime = None,
    certificate: Certificate = None,
    out: Out = None,
    key: KeyFile = None,
    name: As = None,
    yes: Yes = False,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Sign a manifest as the agent's sponsor, after showing what it permits and what it changes.

    Take a draft, or name agent, cluster and purpose to grant whole clusters. It
    is written to manifests/AGENT.jws, and the cluster texts it approves are kept.

    Examples:
      intent-proxy manifest sign manifests/invoice-bot.draft.yaml
      intent-proxy manifest sign --agent invoice-bot --cluster supplier-invoices --purpose 'Match invoices.'
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    if draft_file is not None:
        if agent or cluster or purpose:
            raise typer.BadParameter("a draft says agent, cluster and purpose itself: leave them out")
        drafted = read_draft(draft_file, bundle)
    elif agent is None or purpose is None:
        raise typer.BadParameter("name a draft, or --agent, --cluster and --purpose")
    else:
        drafted = _drafted(bundle, agent, cluster, purpose, lifetime)
    if certificate is not None:
        drafted = replace(drafted, certificate=certificate_thumbprint(certificate))
    wish = Signing(deployment=deployment, bundle=bundle, draft=drafted, key=key, name=name, now=this_second())
    path = out or deployment.manifest_file(drafted.agent)
    return _sign(wish, path, replaced=present_root(path), yes=yes, as_json=as_json)


def renew(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The manifest to renew.", show_default=False)
    ] = None,
    agent: Agent = None,
    granted: Granted = None,
    lifetime: Lifetime = None,
    certificate: Certificate = None,
    key: KeyFile = None,
    name: As = None,
    yes: Yes = False,
    config: Config = None,
    dev: Dev = False,
    as_json: AsJson = False,
) -> int:
    """Sign the same grants again, with the clusters as they are now, after showing how those changed.

    Operations that a cluster has gained are granted where you say so (--grant).
    Those that it has lost are dropped.

    Examples:
      intent-proxy manifest renew --agent invoice-bot
      intent-proxy manifest renew --agent invoice-bot --grant supplier-invoices/list-invoices
    """
    deployment = open_deployment(config)
    bundle = deployment.bundle(dev=dev)
    path = _named(deployment, file, agent)
    old = read_links(path)[0]
    agent_in(bundle, old.sub)
    length = lifetime or min(old.exp - old.iat, deployment.settings.lifetimes.root_max)
    again = draft_again(old, bundle, lifetime_s=int(length.total_seconds()))
    drafted = replace(
        again,
        certificate=old.certificate if certificate is None else certificate_thumbprint(certificate),
        grants=_with_more({grant.cluster: grant for grant in again.grants}, granted or [], bundle),
    )
    wish = Signing(deployment=deployment, bundle=bundle, draft=drafted, key=key, name=name, now=this_second())
    if yes and (doubt := doubt_here(deployment, bundle, old)):  # its grants would be signed, and nobody has signed them
        detail = f"{path} does not count: {doubt}. Leave out --yes and read what it says, or sign a draft"
        raise Rejected(Code.MANIFEST_SIGNATURE, detail)
    return _sign(wish, path, replaced=old, yes=yes, as_json=as_json)


def _sign(wish: Signing, path: Path, *, replaced: Manifest | None, yes: bool, as_json: bool) -> int:
    prepared = prepare(wish)
    if not as_json:
        doubt = doubt_here(wish.deployment, wish.bundle, replaced)
        preview(wish, prepared, replaced=replaced, doubt=doubt, over=str(path))
    if not agreed(f"Sign this as {prepared.sponsor_id}?", yes=yes):
        Screen().note("not signed")
        return Exit.REFUSED
    signed = sign_and_keep(wish, prepared, out=path)
    if as_json:
        document({"file": str(path), "manifest": manifest_json(signed)})
    else:
        Screen().say(f"signed by {signed.sponsor_id}: {path}, until {until(signed.exp, wish.now)}", style=GOOD)
    return Exit.OK


def _drafted(
    bundle: Bundle, agent: str, clusters: list[str] | None, purpose: str, lifetime: timedelta | None
) -> ManifestDraft:
    names = clusters or (list(bundle.clusters) if len(bundle.clusters) == 1 else [])
    unknown = [name for name in names if name not in bundle.clusters]
    if unknown or not names:
        problem = f"there is no cluster {unknown[0]!r}" if unknown else "name a cluster with --cluster"
        raise typer.BadParameter(f"{problem}; there are {', '.join(sorted(bundle.clusters)) or 'none'}")
    return draft_for(
        agent_in(bundle, agent),
        [bundle.clusters[name] for name in dict.fromkeys(names)],
        purpose=purpose,
        lifetime_s=int((lifetime or USUAL_LIFE).total_seconds()),
    )


def _with_more(grants: dict[str, Grant], more: list[str], bundle: Bundle) -> tuple[Grant, ...]:
    """The grants with each of these operations, `CLUSTER/OPERATION`: within what its cluster's grant says already, or
    wherever the cluster reaches, if it was not granted."""
    for words in more:
        name, _, action = words.partition("/")
        cluster = bundle.clusters.get(name)
        known = () if cluster is None else [operation.name for operation in cluster.operations]
        if cluster is None or action not in known:
            there = f"cluster {name} has {', '.join(known)}" if known else f"there is no cluster {name!r}"
            raise typer.BadParameter(f"--grant {words!r} is not CLUSTER/OPERATION: {there}")
        reach = frozenset(locations_of(cluster))
        nothing = Grant(
            cluster=name, digest=cluster.digest, actions=frozenset(), locations=reach, constraints=Constraints()
        )
        grant = grants.get(name, nothing)
        grants[name] = replace(grant, actions=grant.actions | {action})
    return tuple(grants.values())


def _named(deployment: Deployment, file: Path | None, agent: str | None) -> Path:
    if (file is None) is (agent is None):
        raise typer.BadParameter("name a manifest, or an agent with --agent")
    return file or deployment.manifest_file(str(agent))
