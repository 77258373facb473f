"""Standing: whether a mandate that was once verified still holds. Re-checked on every request, also inside tunnels."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise

from proxy.core.control import ControlView
from proxy.core.delegation import check_subject
from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Bundle, Mandate, Manifest, Person, PublicKey

SKEW_S = 5
"""By how much a signer's clock may be ahead of ours."""


def check_standing(
    mandate: Mandate,
    bundle: Bundle,
    view: ControlView,
    *,
    now: datetime,
    grace_s: int,
    skew_s: int = SKEW_S,
    filed: bool = False,
    enrolled: Callable[[], Person] | None = None,
) -> Person:
    """The person who answers for the mandate at `now`, if it still stands under today's bundle and control view.

    Not checked here: signatures and narrowing, which cannot change once verified, and lifetimes' lengths; and of a
    call that was `filed` before, whether the leaf below the root still lives: that was judged then. `enrolled` stands
    for `check_enrolment` of this mandate under this bundle, neither of which changes, where it was asked before.

    Raises:
        Rejected(KILL_SWITCH): everything is stopped.
        Rejected(QUARANTINED): an agent in the chain is.
        Rejected(MANIFEST_REVOKED): a link of the chain is, by name, by key or as the root.
        Rejected(MANIFEST_WINDOW): a link has expired.
        Rejected: as `check_enrolment` and `answerable`.
    """
    if view.killed:
        raise Rejected(Code.KILL_SWITCH, "the kill switch is on: nothing is forwarded until an operator turns it off")
    for link in mandate.chain:
        if view.quarantined(link.sub):
            raise Rejected(Code.QUARANTINED, f"agent {link.sub} is quarantined", field="sub")
        if view.revokes(link):
            raise Rejected(Code.MANIFEST_REVOKED, f"manifest {link.jti} of {link.iss} is revoked", field="jti")
        if not (filed and link is mandate.leaf and link is not mandate.root):
            check_window(link, now=now, skew_s=skew_s)
    sponsor = check_enrolment(mandate.chain, bundle) if enrolled is None else enrolled()
    return answerable(sponsor, bundle.people, issued_at=mandate.root.iat, now=now, grace_s=grace_s)


def check_window(link: Manifest, *, now: datetime, skew_s: int) -> None:
    """Reject a link outside its lifetime (RFC 7519 §4.1.4 to §4.1.6). The skew helps at the start, never at the end.

    Raises:
        Rejected(MANIFEST_WINDOW): issued in the future, not valid yet, or expired.
    """
    starts_at = link.iat if link.nbf < link.iat else link.nbf
    if now < starts_at and now + timedelta(seconds=skew_s) < starts_at:
        name = f"manifest {link.jti} (depth {link.del_depth})"
        raise Rejected(Code.MANIFEST_WINDOW, f"{name} is not valid before {starts_at.isoformat()}", field="nbf")
    if now >= link.exp:
        name = f"manifest {link.jti} (depth {link.del_depth})"
        raise Rejected(Code.MANIFEST_WINDOW, f"{name} expired at {link.exp.isoformat()}", field="exp")


def check_enrolment(chain: tuple[Manifest, ...], bundle: Bundle) -> Person:
    """The sponsor of a chain, if everyone and every key it names is enrolled in this bundle.

    Where a link brings in an agent (the root, and any child with another `sub`), its `cnf` must be one of that
    agent's keys, so that nobody acts in the name of an agent whose key they do not hold.

    Raises:
        Rejected(MANIFEST_AUDIENCE): for another deployment.
        Rejected(SPONSOR_UNKNOWN): the sponsor is not enrolled.
        Rejected(MANIFEST_SIGNATURE): as `signing_key`.
        Rejected(AGENT_UNKNOWN): a subject is not in the inventory.
        Rejected(MANIFEST_SUBJECT): the root's agent has another sponsor, or a `cnf` is not its agent's key.
        Rejected(DELEGATION_WIDENED): a delegation to another agent is not, or no longer, permitted.
    """
    root = chain[0]
    if root.aud != bundle.deployment:
        raise Rejected(Code.MANIFEST_AUDIENCE, f"aud must be {bundle.deployment}, got {root.aud}", field="aud")
    sponsor = bundle.people.get(root.iss)
    if sponsor is None:
        raise Rejected(Code.SPONSOR_UNKNOWN, f"{root.iss} is not an enrolled person", field="iss")
    signing_key(root, sponsor, bundle)
    _check_key(root, _agent(root, bundle))
    if bundle.agents[root.sub].sponsor != sponsor.id:
        detail = f"{sponsor.id} does not sponsor {root.sub}: only its sponsor may sign for an agent"
        raise Rejected(Code.MANIFEST_SUBJECT, detail, field="sub")
    for parent, child in pairwise(chain):
        agent = _agent(child, bundle)
        check_subject(parent, child, bundle.agents)
        if child.sub != parent.sub:
            _check_key(child, agent)
    return sponsor


def signing_key(root: Manifest, sponsor: Person, bundle: Bundle) -> PublicKey:
    """The key that signed a root, if it still may: one of its sponsor's, or the desk's beside a passkey of theirs.

    Not checked here: any signature. The desk's key counts only under a root whose passkey signed it
    (`sponsoring.check_sponsored`).

    Raises:
        Rejected(MANIFEST_SIGNATURE): that key, or that passkey, is not enrolled, or no longer.
    """
    code = Code.MANIFEST_SIGNATURE
    if root.passkey is None:
        return enrolled_key(sponsor, root.kid, code=code)
    if all(passkey.id != root.passkey for passkey in sponsor.passkeys):
        raise Rejected(code, f"{sponsor.id} has no such passkey enrolled", field="credential")
    for key in bundle.desk.keys:
        if key.kid == root.kid:
            return key
    raise Rejected(code, f"the review desk has no enrolled key {root.kid}", field="kid")


def enrolled_key(person: Person, kid: str, *, code: Code) -> PublicKey:
    """The person's enrolled key of that thumbprint.

    Raises:
        Rejected(code): there is no such key.
    """
    for key in person.keys:
        if key.kid == kid:
            return key
    raise Rejected(code, f"{person.id} has no enrolled key {kid}", field="kid")


def answerable(
    sponsor: Person, people: Mapping[str, Person], *, issued_at: datetime, now: datetime, grace_s: int
) -> Person:
    """Who answers for a mandate of `sponsor` signed at `issued_at`: the sponsor, or the deputy during the grace.

    A sponsor whose competence has lapsed cannot sign; what was signed before runs on under a competent deputy.

    Raises:
        Rejected(SPONSOR_LAPSED): signed after the lapse, or no competent deputy, or the grace is over.
    """
    lapsed_at = sponsor.certified_until
    if issued_at >= lapsed_at:
        raise Rejected(
            Code.SPONSOR_LAPSED, f"{sponsor.id} signed after {lapsed_at.isoformat()}, when certification ended"
        )
    if now < lapsed_at:
        return sponsor
    deputy = people.get(sponsor.deputy) if sponsor.deputy is not None else None
    if deputy is None or now >= deputy.certified_until:
        raise Rejected(
            Code.SPONSOR_LAPSED, f"{sponsor.id} lapsed at {lapsed_at.isoformat()} and has no certified deputy"
        )
    ends_at = lapsed_at + timedelta(seconds=grace_s)
    if now >= ends_at:
        detail = f"{sponsor.id} lapsed at {lapsed_at.isoformat()} and the deputy's grace ended at {ends_at.isoformat()}"
        raise Rejected(Code.SPONSOR_LAPSED, f"{detail}: sign a new manifest")
    return deputy


def _agent(link: Manifest, bundle: Bundle) -> Agent:
    agent = bundle.agents.get(link.sub)
    if agent is None:
        raise Rejected(Code.AGENT_UNKNOWN, f"agent {link.sub} is not in the inventory", field="sub")
    return agent


def _check_key(link: Manifest, agent: Agent) -> None:
    if all(key.kid != link.cnf.kid for key in agent.keys):
        detail = f"cnf key {link.cnf.kid} is not enrolled for agent {agent.id}: add it to the inventory first"
        raise Rejected(Code.MANIFEST_SUBJECT, detail, field="cnf")
