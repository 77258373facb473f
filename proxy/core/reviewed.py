"""What a stored hold says of its review, as far as a reviewer's signed statement bears it out (DESIGN: recording).

Who decided, and why, stands in the shared store in clear: whoever writes there could put words into a reviewer's
mouth that an agent reads and the journal keeps. Only what a verified statement says is passed on.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.control import EVERYTHING, Statement, read_statement
from proxy.core.credential import Credential
from proxy.core.errors import Code, Rejected
from proxy.core.grants import RouteGrant, read_grant
from proxy.core.holds import Event
from proxy.core.model import Bundle, Decision, Hold, HoldState, Risk, StoredCall, Verdict
from proxy.core.notes import Note, read_note
from proxy.core.release import Release, read_approval, read_release
from proxy.core.reviewers import check_permitted, eligible
from proxy.core.vouching import check_no_agent

LAPSE = "lapse"
"""What the journal and the desk call a release that was recorded and counts no more, though nobody was stopped."""

_MEANT = {
    HoldState.APPROVED: Verdict.ALLOW,
    HoldState.RELEASING: Verdict.ALLOW,
    HoldState.RELEASED: Verdict.ALLOW,
    HoldState.UNCERTAIN: Verdict.ALLOW,
    HoldState.DENIED: Verdict.DENY,
}


def told(hold: Hold, bundle: Bundle, *, barred: Collection[str], now: datetime) -> Hold:
    """The hold as an agent may be told of it: without a reviewer's name and words that no reviewer signed.

    `barred` as for `read_release`. Not checked here: that the call may be sent; the statement stays as it is.

    Raises:
        Rejected(HOLD_TAMPERED): it is marked denied, and no reviewer's statement says so.
    """
    said = verified(hold, bundle, barred=barred, now=now)
    if said is not None:
        return replace(hold, decided_by=said.by, decided_with=said.means, reason=said.reason)
    return unsaid(hold)


def unsaid(hold: Hold) -> Hold:
    """The hold without whatever a reviewer is supposed to have said.

    Raises:
        Rejected(HOLD_TAMPERED): it is marked denied.
    """
    if hold.state is HoldState.DENIED:
        detail = "the hold is marked denied, but no reviewer's signed statement says so"
        raise Rejected(Code.HOLD_TAMPERED, detail, field="statement")
    return replace(hold, decided_by=None, decided_with=None, decided_at=None, reason=None)


def verified(
    hold: Hold, bundle: Bundle, *, barred: Collection[str], now: datetime, filed: StoredCall | None = None
) -> Release | None:
    """The statement that brought the hold where it is, or None when there is none that verifies.

    Who may decide is taken from the sealed record `filed` where it is still there. Whether the reviewer was certified
    is judged at the time of the decision: a denial does not end with the reviewer's certificate.
    """
    statement, meant = hold.statement, _MEANT.get(hold.state)
    if statement is None or meant is None:
        return None
    kids = frozenset(barred)
    if filed is not None:
        if filed.call_digest != hold.call_digest:
            return None
        hold = as_sealed(hold, filed)
        kids |= frozenset(filed.chain_kids)
    decided_at = min(now, hold.decided_at or now)
    try:
        if meant is Verdict.ALLOW:
            return read_approval(hold, bundle=bundle, barred=kids, now=decided_at)[0]
        said = read_release(statement, hold=hold, bundle=bundle, barred=kids, now=decided_at)
    except Rejected:
        return None
    return said if said.verdict is meant else None


def as_sealed(hold: Hold, filed: StoredCall) -> Hold:
    """The hold with all that says who may decide it, and how many must, taken from the sealed record.

    The times are those it was filed with, so that whose turn it is does not depend on what the store says.
    """
    decision, review = filed.decision, filed.decision.review
    return replace(
        hold,
        who=review.who,
        quorum=review.quorum,
        sponsor=decision.sponsor or hold.sponsor,
        risk=decision.risk,
        node=filed.node,
        filed_at=decision.at,
        expires_at=decision.at + timedelta(seconds=review.ttl_s),
        first_end=None,
    )


def as_judged(hold: Hold, today: Decision) -> Hold:
    """The hold as strict as today's decision on its call asks for.

    Whoever holds the secret that calls are sealed with, as the review desk does, could write a laxer record. That the
    call changes things, or that two must release it, is then still known from the rules.
    """
    risk = today.risk if hold.risk is Risk.ROUTINE else hold.risk
    return replace(hold, quorum=max(hold.quorum, today.review.quorum), risk=risk)


def check_judged(by: str, today: Decision, *, sponsor: str, bundle: Bundle) -> None:
    """Reject a release `by` somebody whom today's rules do not let decide the call, whatever its record says.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    if by not in eligible(today.review.who, sponsor, bundle):
        raise Rejected(Code.HOLD_NOT_PERMITTED, f"by today's rules {by} may not release the call", field="iss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapsed:
    """A release that was recorded, and that counts no more (`core.lapsing`)."""

    token: str
    by: str  # Person.id of whoever released it last
    reason: str  # why it counts no more
    issued_at: datetime


type Word = Release | Note | RouteGrant | Statement | Lapsed
"""What people sign about a hold besides what decides it."""


def said_at(
    version: int, hold: Hold, bundle: Bundle, *, barred: Collection[str], now: datetime, filed: StoredCall | None = None
) -> Word | None:
    """What was said about a hold when it came to this version, apart from the decision; None when nothing verifies."""
    kids = frozenset(barred) | frozenset(() if filed is None else filed.chain_kids)
    agents = (hold.agent,) if filed is None else filed.agents
    hold = hold if filed is None else as_sealed(hold, filed)
    for said in hold.said:
        if said.version != version:
            continue
        for read in (read_note, read_release, _read_given):
            try:
                return read(said.statement, hold=hold, bundle=bundle, barred=kids, now=now)
            except Rejected:
                pass
        return _read_stop(said.statement, bundle, agents)
    return None


def _read_stop(token: str, bundle: Bundle, agents: tuple[str, ...]) -> Statement | None:
    """The stop for which a release was taken back."""
    try:
        stop = read_statement(token, bundle)
    except Rejected:
        return None
    return stop if stop.stops and stop.target in (EVERYTHING, *agents) else None


def _read_given(token: str, *, hold: Hold, bundle: Bundle, barred: frozenset[str], now: datetime) -> RouteGrant:
    """A route grant that was given together with the release of this hold, however long ago it ended."""
    grant = read_grant(token, bundle=bundle, now=min(now, hold.decided_at or now))
    if (grant.hold_id, grant.root_id) != (hold.id, hold.root_id):
        raise Rejected(Code.RELEASE_INVALID, f"grant {grant.id} was given with another hold", field="hold")
    check_no_agent(grant.kid, bundle, barred)
    check_permitted(bundle.people[grant.by], hold, bundle, at=grant.issued_at)
    return grant


def event_of(said: Word) -> str:
    """What the journal calls it: a note's act, `grant`, `sign` for one release of a quorum, `recall` for a stop
    after which none counts, or `lapse` for a release that counts no more by itself.
    """
    if isinstance(said, Lapsed):
        return LAPSE
    if isinstance(said, Note):
        return said.act.value
    if isinstance(said, Statement):
        return Event.RECALL.value
    return "grant" if isinstance(said, RouteGrant) else "sign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How a state of a hold answers the call that found it."""

    verdict: Verdict
    code: Code | None  # None: why it was held says more
    message: str


def _deny(code: Code, message: str) -> Telling:
    return Telling(verdict=Verdict.DENY, code=code, message=message)


TELLING = {
    HoldState.HELD: Telling(verdict=Verdict.HOLD, code=None, message="the call is held for review"),
    HoldState.APPROVED: Telling(verdict=Verdict.HOLD, code=None, message="the call is released; send it again"),
    HoldState.RELEASING: Telling(verdict=Verdict.HOLD, code=Code.HOLD_RELEASING, message="the call is being sent"),
    HoldState.RELEASED: _deny(Code.HOLD_SPENT, "the released call was sent already"),
    HoldState.UNCERTAIN: _deny(Code.HOLD_UNCERTAIN, "nobody knows whether the call arrived"),
    HoldState.DENIED: _deny(Code.HOLD_DENIED, "a reviewer refused the call"),
    HoldState.EXPIRED: _deny(Code.HOLD_EXPIRED, "nobody decided in time"),
    HoldState.CANCELLED: _deny(Code.HOLD_CANCELLED, "a person ended the hold"),
}


def ended(hold: Hold) -> Rejected:
    """What a hold that is over says to whoever wants its call."""
    return Rejected(TELLING[hold.state].code or Code.HOLD_UNKNOWN, _message(hold))


def _message(hold: Hold) -> str:
    message = TELLING[hold.state].message
    return f"{message}: {hold.reason}" if hold.reason else message


def as_held(decision: Decision, hold: Hold) -> Decision:
    """The decision about a call that has a hold: what the hold's state means for the agent."""
    tell = TELLING[hold.state]
    return replace(
        decision,
        verdict=tell.verdict,
        code=decision.code if tell.code is None else tell.code,
        message=_message(hold),
        hold_id=hold.id,
    )


def sent_away(decision: Decision) -> Decision:
    """What a waiting call is told by a worker that ends: its hold stays, and is found again at any other."""
    message = "the hold stays: send the same call again, and it is found"
    return replace(decision, verdict=Verdict.DENY, code=Code.DRAINING, message=message)


def elsewhere(decision: Decision) -> Decision:
    """What a released call is told at a node that may not send it."""
    return replace(decision, message="the call is released for the node it was filed at: send it again there")


def check_shown(filed: Decision, credential: Credential | None) -> None:
    """Reject to send a released call with another credential than its reviewer saw.

    Raises:
        Rejected(RELEASE_INVALID)
    """
    if filed.credential != credential:
        detail = "the credential it would be sent with is not the one that its reviewer saw"
        raise Rejected(Code.RELEASE_INVALID, detail, field="credential")
