"""Signing a manifest: what is shown and checked before the sponsor's key is used, and what is kept after."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import typer

from proxy.agent.keyfile import fresh_key
from proxy.cli.deployment import Deployment
from proxy.cli.manifest_words import show_differences, show_manifest, texts_of
from proxy.cli.screen import Screen
from proxy.cli.signers import choose_signer
from proxy.core.differences import manifest_difference
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.manifest import Draft, issue_root, parse_manifest
from proxy.core.model import Agent, Bundle, Manifest, PublicKey
from proxy.core.verify import verify_chain
from proxy.policy.chains import lasting, read_links, write_chain_file
from proxy.policy.drafts import ManifestDraft
from proxy.policy.enrolled import agent_in, person_in
from proxy.policy.pins import write_pins


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """One wish to sign: what, in which deployment, with whose key."""

    deployment: Deployment
    bundle: Bundle
    draft: ManifestDraft
    key: Path | None
    name: str | None
    now: datetime  # whole seconds, as a manifest has them


def sponsor_key(wish: Signing) -> PrivateKey:
    """The sponsor's private key: nobody else's signs for an agent.

    Raises:
        Rejected(CONFIG_INVALID): it is not at hand, or another's was named.
    """
    sponsor = agent_in(wish.bundle, wish.draft.agent).sponsor
    chosen = choose_signer(
        wish.deployment, wish.bundle, key=wish.key, name=wish.name or sponsor, able=lambda who: who == sponsor
    )
    if chosen.name != sponsor:
        detail = f"only {sponsor}, who sponsors {wish.draft.agent}, may sign for it, not {chosen.name}"
        raise Rejected(Code.CONFIG_INVALID, detail)
    return chosen.key


def prepare(wish: Signing) -> Draft:
    """The manifest to sign, with today's dates.

    Raises:
        Rejected: the proxy would refuse it: the sponsor's certification, the lifetime, the agent's key.
    """
    draft, settings = wish.draft, wish.deployment.settings
    agent = agent_in(wish.bundle, draft.agent)
    sponsor = person_in(wish.bundle, agent.sponsor)
    longest = settings.lifetimes.root_max
    if timedelta(seconds=draft.lifetime_s) > longest:
        detail = f"the manifest may live {longest.total_seconds():.0f} s here (lifetimes.root_max), not longer"
        raise Rejected(Code.MANIFEST_LIFETIME, detail, field="lifetime")
    if wish.now >= sponsor.certified_until:
        detail = f"{sponsor.id} was certified until {sponsor.certified_until.isoformat()} and cannot sign after that"
        raise Rejected(Code.SPONSOR_LAPSED, detail)
    return Draft(
        sub=agent.id,
        aud=wish.bundle.deployment,
        jti=secrets.token_urlsafe(12),
        sponsor_id=sponsor.id,
        sponsor_name=sponsor.name,
        purpose=draft.purpose,
        cnf=_acting_key(agent, draft.kid),
        grants=draft.grants,
        iat=wish.now,
        nbf=wish.now,
        exp=wish.now + timedelta(seconds=draft.lifetime_s),
        del_max_depth=draft.depth,
        may_delegate_to=draft.may_delegate_to,
        certificate=draft.certificate,
    )


def preview(wish: Signing, prepared: Draft, *, replaced: Manifest | None, over: str) -> None:
    """Show what would be signed, and how it differs from what it replaces. A throw-away key stands in meanwhile."""
    screen = Screen()
    shown = parse_manifest(issue_root(prepared, key=fresh_key()))
    show_manifest(screen, shown, wish.bundle, now=wish.now, signed=False)
    if replaced is not None:
        texts = texts_of(wish.bundle)
        show_differences(screen, manifest_difference(replaced, shown, texts, texts), over=over)
    screen.say()


def agreed(question: str, *, yes: bool) -> bool:
    """Whether to sign: `--yes`, or a person at a terminal who says so.

    Raises:
        typer.BadParameter: nobody can be asked.
    """
    screen = Screen()
    if yes:
        return True
    if not screen.can_ask():
        raise typer.BadParameter("there is no terminal to ask on: add --yes to sign without being asked")
    return screen.ask(question)


def sign_and_keep(wish: Signing, prepared: Draft, *, out: Path) -> Manifest:
    """Sign, verify as the proxy will, keep the cluster texts that were approved, and write the manifest.

    Raises:
        Rejected: the proxy would refuse it, or it cannot be written; nothing was.
    """
    token = issue_root(prepared, key=sponsor_key(wish))
    lifetimes = lasting(wish.deployment.settings.authority)
    mandate = verify_chain((token,), wish.bundle, lifetimes=lifetimes, now=wish.now)
    granted = {grant.cluster: wish.bundle.clusters[grant.cluster] for grant in mandate.root.grants}
    write_pins(wish.deployment.settings.pinned, granted)
    write_chain_file(out, (token,))
    return mandate.root


def present_root(path: Path) -> Manifest | None:
    """The root manifest that stands at `path` and would be replaced; None when there is none to compare with."""
    try:
        return read_links(path)[0]
    except Rejected:
        return None


def _acting_key(agent: Agent, kid: str | None) -> PublicKey:
    keys = [key for key in agent.keys if kid in (None, key.kid)]
    if len(keys) == 1:
        return keys[0]
    known = ", ".join(key.kid for key in agent.keys) or "none"
    detail = f"agent {agent.id} has the keys {known}; say with `key:` in the draft which one may act"
    raise Rejected(Code.CONFIG_INVALID, detail, field="key")
