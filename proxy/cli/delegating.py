"""Handing a manifest on from the command line."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from proxy.agent.keyfile import load_key
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import issue_child, parse_manifest
from proxy.core.model import Grant, Manifest, PublicKey
from proxy.policy.faults import instead, shown


def delegate_chain(
    chain: tuple[str, ...],
    *,
    key: Path,
    to: PublicKey,
    sub: str | None,
    clusters: Sequence[str] | None,
    actions: Sequence[str] | None,
    lifetime: timedelta,
    purpose: str | None,
    now: datetime,
) -> tuple[str, ...]:
    """The chain with a child more, signed with `key`, for the key `to`. Clusters and actions only leave out.

    Raises:
        Rejected(CONFIG_INVALID): a cluster or action that the parent does not grant.
        Rejected(PROOF_KEY): another key than the parent names.
        Rejected: as `issue_child`.
    """
    parent, private = parse_manifest(chain[-1]), load_key(key)
    if private.public.kid != parent.cnf.kid:
        detail = f"{key} is the key {private.public.kid}; the manifest names {parent.cnf.kid}"
        raise Rejected(Code.PROOF_KEY, detail, field="cnf")
    child = issue_child(
        parent,
        key=private,
        cnf=to,
        jti=secrets.token_urlsafe(12),
        now=now,
        lifetime_s=int(lifetime.total_seconds()),
        grants=_narrowed(parent, clusters, actions),
        sub=sub,
        purpose=purpose,
    )
    return (*chain, child)


def _narrowed(parent: Manifest, clusters: Sequence[str] | None, actions: Sequence[str] | None) -> tuple[Grant, ...]:
    granted = {grant.cluster: grant for grant in parent.grants}
    for name in clusters or ():
        if name not in granted:
            raise _not_granted("cluster", name, granted)
    kept = [granted[name] for name in clusters] if clusters else list(granted.values())
    if not actions:
        return tuple(kept)
    known = {action for grant in kept for action in grant.actions}
    for action in actions:
        if action not in known:
            raise _not_granted("operation", action, known)
    fewer = (replace(grant, actions=grant.actions & set(actions)) for grant in kept)
    return tuple(grant for grant in fewer if grant.actions)


def _not_granted(kind: str, name: str, known: Sequence[str] | set[str] | dict[str, Grant]) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, f"the manifest grants no {kind} {shown(name)}{instead(name, known)}")
