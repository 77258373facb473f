"""What a stored hold says of its review, as far as a reviewer's signed statement bears it out (DESIGN: recording).

Who decided, and why, stands in the shared store in clear: whoever writes there could put words into a reviewer's
mouth that an agent reads and the journal keeps. Only what a verified statement says is passed on.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Hold, HoldState, StoredCall, Verdict
from proxy.core.release import Release, read_release

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
        return replace(hold, decided_by=said.by, reason=said.reason)
    return unsaid(hold)


def unsaid(hold: Hold) -> Hold:
    """The hold without whatever a reviewer is supposed to have said.

    Raises:
        Rejected(HOLD_TAMPERED): it is marked denied.
    """
    if hold.state is HoldState.DENIED:
        detail = "the hold is marked denied, but no reviewer's signed statement says so"
        raise Rejected(Code.HOLD_TAMPERED, detail, field="statement")
    return replace(hold, decided_by=None, decided_at=None, reason=None)


def verified(
    hold: Hold, bundle: Bundle, *, barred: Collection[str], now: datetime, filed: StoredCall | None = None
) -> Release | None:
    """The statement that brought the hold where it is, or None when there is none that verifies.

    Who may decide is taken from the sealed record `filed` where it is still there. Whether the reviewer was certified
    is judged at the time of the decision: a denial does not end with the reviewer's certificate.
    """
    if hold.statement is None or hold.state not in _MEANT:
        return None
    kids = frozenset(barred)
    if filed is not None:
        if filed.call_digest != hold.call_digest:
            return None
        hold = replace(hold, who=filed.decision.review.who, sponsor=filed.decision.sponsor or hold.sponsor)
        kids |= frozenset(filed.chain_kids)
    decided_at = min(now, hold.decided_at or now)
    try:
        said = read_release(hold.statement or "", hold=hold, bundle=bundle, barred=kids, now=decided_at)
    except Rejected:
        return None
    return said if said.verdict is _MEANT[hold.state] else None
