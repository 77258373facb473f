"""A manifest from its draft to its file: with today's dates, as it would be read, verified, and kept."""

from datetime import datetime, timedelta
from pathlib import Path

from proxy.agent.keyfile import fresh_key
from proxy.core.differences import manifest_difference
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import Draft, issue_root, parse_manifest
from proxy.core.model import Agent, Bundle, Manifest, PublicKey
from proxy.core.verify import Lifetimes, verify_chain
from proxy.policy.chains import lasting, write_chain_file
from proxy.policy.drafts import ManifestDraft
from proxy.policy.enrolled import agent_in, person_in
from proxy.policy.pins import write_pins
from proxy.review.manifestwords import Line, difference_lines, texts_of


def to_sign(draft: ManifestDraft, bundle: Bundle, *, lifetimes: Lifetimes, now: datetime, jti: str) -> Draft:
    """The manifest to sign, with today's dates.

    Raises:
        Rejected: the proxy would refuse it: the sponsor's certification, the lifetime, the agent's key.
    """
    agent = agent_in(bundle, draft.agent)
    sponsor = person_in(bundle, agent.sponsor)
    if draft.lifetime_s > lifetimes.root_max_s:
        detail = f"the manifest may live {lifetimes.root_max_s} s here (lifetimes.root_max), not longer"
        raise Rejected(Code.MANIFEST_LIFETIME, detail, field="lifetime")
    if now >= sponsor.certified_until:
        detail = f"{sponsor.id} was certified until {sponsor.certified_until.isoformat()} and cannot sign after that"
        raise Rejected(Code.SPONSOR_LAPSED, detail)
    now = now.replace(microsecond=0)
    return Draft(
        sub=agent.id,
        aud=bundle.deployment,
        jti=jti,
        sponsor_id=sponsor.id,
        sponsor_name=sponsor.name,
        purpose=draft.purpose,
        cnf=_acting_key(agent, draft.kid),
        grants=draft.grants,
        iat=now,
        nbf=now,
        exp=now + timedelta(seconds=draft.lifetime_s),
        del_max_depth=draft.depth,
        may_delegate_to=draft.may_delegate_to,
        certificate=draft.certificate,
    )


def as_if_signed(prepared: Draft) -> Manifest:
    """What would be signed, as it would be read. A throw-away key stands in meanwhile."""
    return parse_manifest(issue_root(prepared, key=fresh_key()))


def differences(replaced: Manifest, shown: Manifest, bundle: Bundle) -> tuple[Line, ...]:
    """What signing `shown` in place of `replaced` changes."""
    texts = texts_of(bundle)
    return difference_lines(manifest_difference(replaced, shown, texts, texts))


def doubt_about(replaced: Manifest, bundle: Bundle, *, lifetimes: Lifetimes) -> str:
    """Why a manifest that others are compared with is nobody's word under today's policy; "" where it is, or was until
    it ended. Whoever can write its file could else have any change read as none. Not asked here: whether it is revoked.
    """
    try:
        verify_chain((replaced.token,), bundle, lifetimes=lasting(lifetimes), now=max(replaced.iat, replaced.nbf))
    except Rejected as fault:
        return fault.detail
    return ""


def verified(token: str, bundle: Bundle, *, lifetimes: Lifetimes, now: datetime) -> Manifest:
    """A signed root manifest, as the proxy will verify it.

    Raises:
        Rejected: the proxy would refuse it.
    """
    return verify_chain((token,), bundle, lifetimes=lasting(lifetimes), now=now).root


def keep(token: str, bundle: Bundle, *, lifetimes: Lifetimes, pins: Path, out: Path, now: datetime) -> Manifest:
    """Verify a signed root manifest as the proxy will, keep the cluster texts it approves, and write it to `out`.

    Raises:
        Rejected: the proxy would refuse it, or it cannot be written; nothing was.
    """
    root = verified(token, bundle, lifetimes=lifetimes, now=now)
    write_pins(pins, {grant.cluster: bundle.clusters[grant.cluster] for grant in root.grants})
    write_chain_file(out, (token,))
    return root


def _acting_key(agent: Agent, kid: str | None) -> PublicKey:
    keys = [key for key in agent.keys if kid in (None, key.kid)]
    if len(keys) == 1:
        return keys[0]
    known = ", ".join(key.kid for key in agent.keys) or "none"
    detail = f"agent {agent.id} has the keys {known}; say with `key:` in the draft which one may act"
    raise Rejected(Code.CONFIG_INVALID, detail, field="key")
