"""Deciding: one call, one mandate, one policy, one moment; one decision (DESIGN: deciding)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from proxy.core.addresses import OwnSurfaces, check_addresses, is_metadata_name
from proxy.core.bodies.coding import USUAL_CAPS, BodyCaps
from proxy.core.bodies.reading import Reading
from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.coverage import Coverage, Reach, cover, nearest
from proxy.core.credential import Credential
from proxy.core.dialling import credential_for, dialable
from proxy.core.errors import Code, Rejected
from proxy.core.matching import Destination, destination_of
from proxy.core.model import (
    Call,
    Decision,
    Evidence,
    Intent,
    IPNetwork,
    Mandate,
    Mismatch,
    Nearest,
    RuleRef,
    Verdict,
)
from proxy.core.readings import doubt
from proxy.core.shown import shown
from proxy.core.standing import check_standing
from proxy.core.terms import NO_TERMS, Terms, terms_of
from proxy.core.verify import check_declares


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything a decision depends on. The same question always has the same answer."""

    decision_id: str
    now: datetime
    policy: Policy
    view: ControlView
    own: OwnSurfaces
    grace_s: int  # how long a lapsed sponsor's deputy answers
    intent: Intent
    call: Call | None  # None: it could not be read, and `ambiguous` says why
    ambiguous: Rejected | None = None
    mandate: Mandate | None = None
    evidence: Evidence | None = None
    caps: BodyCaps = USUAL_CAPS  # how much of a body is read, where a rule constrains it
    filed: bool = False  # a held call, asked about again: the leaf's expiry was judged when it was filed
    refusal: Rejected | None = None  # evidence that failed, or (PROOF_MISSING) none: there is no mandate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """What one place in the order found: a denial, unless it says otherwise."""

    code: Code
    message: str
    verdict: Verdict = Verdict.DENY
    rule: RuleRef | None = None
    failed: tuple[Mismatch, ...] = ()
    nearest: tuple[Nearest, ...] = ()


_ALLOWED = _Finding(code=Code.ALLOWED, message="allowed", verdict=Verdict.ALLOW)
_NOTHING = Coverage(reach=Reach.NONE, chosen=None, found=())

_WHATEVER_THE_BODY = frozenset((Code.KILL_SWITCH, Code.INTENT_NOT_GRANTED, Code.GUARD_SELF, Code.POLICY_DENIED))
"""Denials that no body changes. Not the guard of addresses: which networks count depends on the clusters that cover."""


def decide(question: Question) -> Decision:
    """Judge one call. Nothing a call, a mandate or a policy can be makes it raise.

    `latency_us`, `hold_id` and what becomes of a hold are the caller's. Not checked here: that the mandate was verified
    under this very bundle, that its nonce is fresh, and where a name resolves (`check_addresses`, with the decision's
    `addresses`, once policy has passed).
    """
    call, mandate = question.call, question.mandate
    if call is None or question.ambiguous is not None:
        return _decision(question, _no_authority(question) or _ambiguous(question), _NOTHING, NO_TERMS, ())
    there, reading = destination_of(call), Reading(call, question.caps)
    coverage, terms = _NOTHING, NO_TERMS
    networks: tuple[IPNetwork, ...] | None = ()
    credential: Credential | None = None
    unclear: Rejected | None = None
    if mandate is not None:
        declared = question.intent.cluster
        coverage = cover(question.policy, mandate, reading, there, declared=declared)
        terms = terms_of(question.policy, mandate, coverage, call, declared=declared)
        networks = dialable(question.policy, mandate, coverage, there)
        try:
            credential = credential_for(question.policy, mandate, coverage, there, declared=declared)
        except Rejected as fault:
            unclear = fault
    finding = (
        # 1. kill switch, quarantined agent, bad proof, revoked or lapsed mandate or sponsor: deny
        _no_authority(question)
        or _weak_proof(question, terms)
        # 2. an ambiguous or uninspectable call: deny (one that could not be read at all was refused above)
        or _unreadable(coverage)
        or _doubtful(question, reading, there, coverage)
        # 3. special-purpose addresses, metadata services, the proxy's own surfaces: deny, never holdable
        or _guarded(question, there, networks)
        # 4. an explicit deny rule, which needs no mandate: deny
        or _denied(question, call, there)
        # 5. hold caps: counted by the store in the one step that files a hold (`Holds.file`), so nothing is asked here
        # no release says which of several credentials it would be sent with: deny
        or (None if unclear is None else _refused(unclear))
        # 6. no granted cluster covers it: hold if a human may approve it, else deny
        or _outside(question, reading, there, coverage, terms)
        # 7. a covering cluster requires review or changed since approval: hold
        or _reviewed(coverage, terms)
        # 8. allow
        or _ALLOWED
    )
    return _decision(question, finding, coverage, terms, networks or (), credential)


def after_release(decision: Decision, *, hold_id: str) -> Decision:
    """The decision on a call that a verified release lets pass once: it replaces places 6 and 7, nothing before them.

    `decision` must be today's on the very bytes that will be sent. Not checked here: the release.
    """
    match decision.verdict:
        case Verdict.HOLD | Verdict.ALLOW:
            message = "released by a reviewer"
            return replace(decision, verdict=Verdict.ALLOW, code=Code.ALLOWED, message=message, hold_id=hold_id)
        case Verdict.DENY:
            return decision
        case _:
            assert_never(decision.verdict)


def is_final(decision: Decision) -> bool:
    """Whether a decision on a call whose body is still to come stands whatever that body is: a denial that rests on
    the head alone. With the body the call might be denied for another reason, but never held or allowed.
    """
    return decision.verdict is Verdict.DENY and decision.code in _WHATEVER_THE_BODY


# --- 1. authority ----------------------------------------------------------------------------------------------------


def _no_authority(question: Question) -> _Finding | None:
    """Why nobody may ask anything here now. Evidence that is absent is not bad: places 3 and 4 need no mandate."""
    mandate, refusal, declared = question.mandate, question.refusal, question.intent.cluster
    if mandate is None:
        if question.view.killed:
            return _deny(Code.KILL_SWITCH, "the kill switch is on: nothing is forwarded until an operator turns it off")
        return None if refusal is None or refusal.code is Code.PROOF_MISSING else _refused(refusal)
    warrant = question.policy.warrant(mandate)
    try:
        check_standing(
            mandate,
            question.policy.bundle,
            question.view,
            now=question.now,
            grace_s=question.grace_s,
            filed=question.filed,
            enrolled=warrant.enrolled,
        )
        check_declares(mandate, question.intent)
    except Rejected as fault:
        return _refused(fault)
    if refusal is not None or question.evidence is None:
        return _refused(refusal or Rejected(Code.PROOF_MISSING, "the call carries no proof of its mandate"))
    if declared is not None and declared not in warrant.declarable:
        return _deny(Code.INTENT_NOT_GRANTED, f"the declared cluster {shown(declared)} is not granted by the mandate")
    return None


def _weak_proof(question: Question, terms: Terms) -> _Finding | None:
    evidence = question.evidence
    if evidence is None or evidence.proof >= terms.proof:
        return None
    failed = (Mismatch(field="proof", expected=f"{terms.proof.label} or stronger", got=evidence.proof.label),)
    message = f"the call needs {terms.proof.label} proof and came with {evidence.proof.label} proof"
    return _Finding(code=Code.PROOF_WEAK, message=message, failed=failed)


# --- 2. to 4. whatever the mandate -----------------------------------------------------------------------------------


def _ambiguous(question: Question) -> _Finding:
    if question.ambiguous is None:
        return _deny(Code.UNDECIDED, "the call was not read")
    return _refused(question.ambiguous)


def _unreadable(coverage: Coverage) -> _Finding | None:
    """A body without one reading, on an operation that covers the rest. One that is not here to be read is place 6."""
    unread = coverage.unread
    if unread is None or unread.fault.code is Code.BODY_NOT_INSPECTED:
        return None
    return replace(_refused(unread.fault), rule=unread.operation.at)


def _doubtful(question: Question, reading: Reading, there: Destination, coverage: Coverage) -> _Finding | None:
    """What has one reading only where a rule gives it one, and no rule that covers the call does."""
    fault = doubt(reading.call) if coverage.reach is Reach.NONE else None
    if fault is None:
        return None
    mandate, declared = question.mandate, question.intent.cluster
    near = () if mandate is None else nearest(question.policy, mandate, reading, there, declared=declared)
    return replace(_refused(fault), nearest=near)


def _guarded(question: Question, there: Destination, networks: tuple[IPNetwork, ...] | None) -> _Finding | None:
    """What may never be reached. A public IP literal is only ambiguous (place 2), which is as final."""
    if question.own.named(there.host):
        return _deny(Code.GUARD_SELF, "the destination is the proxy itself")
    if is_metadata_name(there.host):
        return _deny(Code.GUARD_ADDRESS, "a metadata service is never reached through the proxy")
    if networks is None:
        detail = "the mandate's clusters place this destination in networks that have no address in common"
        return _deny(Code.GUARD_ADDRESS, detail)
    if there.literal is None:
        return None
    try:
        check_addresses((there.literal,), networks, port=there.port, own=question.own)
    except Rejected as fault:
        return _refused(fault)
    if not networks:
        return _deny(Code.URL_AMBIGUOUS, "an IP address for a host needs an address rule: use the host's name")
    return None


def _denied(question: Question, call: Call, there: Destination) -> _Finding | None:
    rule = question.policy.denials.find(call, there)
    if rule is None:
        return None
    return _deny(Code.POLICY_DENIED, "an explicit rule denies this call to everyone", rule=rule)


# --- 6. and 7. what a human may release ------------------------------------------------------------------------------


def _outside(
    question: Question, reading: Reading, there: Destination, coverage: Coverage, terms: Terms
) -> _Finding | None:
    mandate, declared = question.mandate, question.intent.cluster
    if mandate is None:
        return _refused(question.refusal or Rejected(Code.PROOF_MISSING, "the call carries no proof of a mandate"))
    if coverage.chosen is not None:
        return None
    near = nearest(question.policy, mandate, reading, there, declared=declared)
    if coverage.unread is not None:  # not here to be read; one without a reading was refused above
        finding = _refused(coverage.unread.fault)
        return _for_a_person(terms, replace(finding, rule=coverage.unread.operation.at, nearest=near))
    finding = _Finding(
        code=Code.NOT_COVERED,
        message=_outside_message(mandate, declared, coverage),
        failed=near[0].failed if near else (),
        nearest=near,
    )
    return _for_a_person(terms, finding) if mandate.leaf.grants else finding


def _outside_message(mandate: Mandate, declared: str | None, coverage: Coverage) -> str:
    if not mandate.leaf.grants:
        return "the mandate grants nothing"
    if declared is None:
        return "the mandate does not cover this call"
    granted = {grant.cluster for grant in mandate.leaf.grants}
    others = sorted({each.grant.cluster for each in coverage.found if each.reach is Reach.COVERED} & granted)
    hint = f"; granted cluster {others[0]} does: if that is what the call serves, declare it" if others else ""
    return f"the declared cluster {declared} does not cover this call{hint}"


def _reviewed(coverage: Coverage, terms: Terms) -> _Finding | None:
    chosen = coverage.chosen
    if chosen is not None and coverage.reach is Reach.CHANGED:
        failed = (Mismatch(field="digest", expected=chosen.grant.digest, got=chosen.cluster.digest),)
        message = f"cluster {chosen.grant.cluster} changed since the sponsor approved it"
        return _for_a_person(terms, _Finding(code=Code.CLUSTER_CHANGED, message=message, failed=failed))
    if terms.required_by is not None:
        message = f"every call of cluster {terms.required_by.id} is reviewed by a person"
        return _for_a_person(terms, _Finding(code=Code.CLUSTER_REVIEW, message=message, rule=terms.required_by.at))
    return None


def _for_a_person(terms: Terms, finding: _Finding) -> _Finding:
    """A hold, if there is anyone who may decide it; else the denial it would end in."""
    if terms.review.who:
        return replace(finding, verdict=Verdict.HOLD)
    return replace(finding, message=f"{finding.message}, and nobody may release it")


# --- the outcome -----------------------------------------------------------------------------------------------------


def _deny(code: Code, message: str, *, rule: RuleRef | None = None) -> _Finding:
    return _Finding(code=code, message=message, rule=rule)


def _refused(fault: Rejected) -> _Finding:
    failed = (Mismatch(field=fault.field, expected=fault.detail, got=""),) if fault.field else ()
    return _Finding(code=fault.code, message=fault.detail, failed=failed)


def _decision(
    question: Question,
    finding: _Finding,
    coverage: Coverage,
    terms: Terms,
    networks: tuple[IPNetwork, ...],
    credential: Credential | None = None,
) -> Decision:
    mandate, evidence, chosen = question.mandate, question.evidence, coverage.chosen
    return Decision(
        decision_id=question.decision_id,
        verdict=finding.verdict,
        code=finding.code,
        message=finding.message,
        at=question.now,
        agent=None if mandate is None else mandate.agent.id,
        sponsor=None if mandate is None else mandate.sponsor.id,
        purpose=None if mandate is None else mandate.purpose,
        manifest=None if mandate is None else mandate.root_id,
        cluster=question.intent.cluster if chosen is None else chosen.grant.cluster,
        operation=None if chosen is None else chosen.operation.name,
        intent=question.intent,
        rule=chosen.operation.at if finding.rule is None and chosen is not None else finding.rule,
        failed=finding.failed,
        nearest=finding.nearest,
        proof=None if evidence is None else evidence.proof,
        review=terms.review,
        risk=terms.risk,
        addresses=networks,
        bundle_sha256=question.policy.bundle.sha256,
        unexamined=coverage.unexamined and finding.verdict is Verdict.ALLOW,
        credential=None if finding.verdict is Verdict.DENY else credential,
    )
