"""Releases that were recorded and count no more: a rule denies the call now or asks for more, or a reviewer lapsed.

Whoever sends the call refuses them. So that it does not wait for its end released and unsent, it is held again.
"""

from datetime import datetime

from proxy.core.encoding import MAX_EPOCH_S, from_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_envelope
from proxy.core.model import Bundle, Decision, Hold, HoldState, StoredCall
from proxy.core.release import RELEASE_TYP, Release, read_approval
from proxy.core.reviewed import Lapsed, as_judged, as_sealed, check_judged


def check_not_denied(today: Decision | None) -> None:
    """Reject to release what a rule now denies to everyone; it can still be denied or withdrawn.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    if today is not None and today.code is Code.POLICY_DENIED:
        detail = "today's rules deny the call to everyone: no release would let it pass, and it can only be denied"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="verdict")


def lapsed(hold: Hold, filed: StoredCall, today: Decision | None, bundle: Bundle, *, now: datetime) -> Lapsed | None:
    """Why the release of `hold`, approved or taken back since, counts no more; None: it counts, or it never did.

    It counted once if it verifies at the moment it was signed, under the record's own terms. What does not (no
    statement, another's key, one that is no longer enrolled, too few of a quorum) cannot be told from a mark that
    somebody made by hand: that is an operator's, and no reason here.

    `today` is what today's rules say of the call; None: its mandate cannot be verified any more, and only the release
    itself is asked. Not checked here: what is stopped (`core.recall`).
    """
    if hold.statement is None or hold.state not in (HoldState.HELD, HoldState.APPROVED):
        return None
    sealed, barred = as_sealed(hold, filed), frozenset(filed.chain_kids)
    given = _given(sealed, bundle, barred, now)
    if given is None:
        return None
    try:
        check_not_denied(today)
        meant = sealed if today is None else as_judged(sealed, today)
        for release in read_approval(meant, bundle=bundle, barred=barred, now=now):
            if today is not None:
                check_judged(release.by, today, sponsor=sealed.sponsor, bundle=bundle)
    except Rejected as fault:
        return Lapsed(token=given.token, by=given.by, reason=fault.detail, issued_at=given.issued_at)
    return None


def _given(sealed: Hold, bundle: Bundle, barred: frozenset[str], now: datetime) -> Release | None:
    """The release that decided the hold, as it counted when it was signed; None: it never did."""
    assert sealed.statement is not None
    try:
        signed = open_envelope(sealed.statement, typ=RELEASE_TYP, code=Code.RELEASE_INVALID).claims.get("iat")
        if type(signed) is not int or not 0 <= signed <= MAX_EPOCH_S:
            return None
        return read_approval(sealed, bundle=bundle, barred=barred, now=min(now, from_epoch(signed)))[0]
    except Rejected:
        return None
