"""Signing a manifest: what is shown and checked before the sponsor's key is used, and what is kept after."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

from proxy.cli.agents import known_control
from proxy.cli.deployment import Deployment
from proxy.cli.manifest_words import show_differences, show_manifest, texts_of
from proxy.cli.screen import WARN, Screen
from proxy.cli.signers import choose_signer
from proxy.core.differences import manifest_difference
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.manifest import Draft, issue_root
from proxy.core.model import Bundle, Manifest
from proxy.policy.chains import read_links
from proxy.policy.drafts import ManifestDraft
from proxy.policy.enrolled import agent_in
from proxy.review.preparing import as_if_signed, doubt_about, keep, to_sign


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
    lifetimes, jti = wish.deployment.settings.authority, secrets.token_urlsafe(12)
    return to_sign(wish.draft, wish.bundle, lifetimes=lifetimes, now=wish.now, jti=jti)


def doubt_here(deployment: Deployment, bundle: Bundle, replaced: Manifest | None) -> str:
    """Why the manifest that would be replaced does not count, as far as this machine knows; "" where it does."""
    if replaced is None:
        return ""
    revoked = "it is revoked" if known_control(deployment).revokes(replaced) else ""
    return revoked or doubt_about(replaced, bundle, lifetimes=deployment.settings.authority)


def show_doubt(screen: Screen, doubt: str, *, agent: str, over: str) -> None:
    """Say that what was compared with is nobody's word; nothing, where it is somebody's."""
    if doubt:
        screen.say(f"{over} does not count: {doubt}. With this one {agent} may act again: read it all.", style=WARN)


def preview(wish: Signing, prepared: Draft, *, replaced: Manifest | None, doubt: str, over: str) -> None:
    """Show what would be signed, and how it differs from what it replaces. A throw-away key stands in meanwhile."""
    screen = Screen()
    shown = as_if_signed(prepared)
    show_manifest(screen, shown, wish.bundle, now=wish.now, signed=False)
    if replaced is not None:
        texts = texts_of(wish.bundle)
        show_differences(screen, manifest_difference(replaced, shown, texts, texts), over=over)
    show_doubt(screen, doubt, agent=shown.sub, over=over)
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
    settings = wish.deployment.settings
    token = issue_root(prepared, key=sponsor_key(wish))
    return keep(token, wish.bundle, lifetimes=settings.authority, pins=settings.pinned, out=out, now=wish.now)


def present_root(path: Path) -> Manifest | None:
    """The root manifest that stands at `path` and would be replaced; None when there is none to compare with."""
    try:
        return read_links(path)[0]
    except Rejected:
        return None
