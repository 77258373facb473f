"""Lines about what reviewers did: they have no journal of their own, so a worker writes it down as the store tells it.

Nothing the store says of a review is written as somebody's word unless their signed statement bears it out.
"""

from dataclasses import replace
from datetime import datetime

from proxy.audit.records import hold_fields
from proxy.core.control import Statement
from proxy.core.encoding import Json
from proxy.core.grants import RouteGrant
from proxy.core.holds import Event
from proxy.core.model import Bundle, Hold, HoldState, Means, StoredCall
from proxy.core.reviewed import LAPSE, Lapsed, event_of, said_at, verified

UNVERIFIED = "unverified"
"""What the journal calls a state that the store reports and no reviewer's statement bears out."""

_REVIEWED = {
    HoldState.APPROVED: Event.APPROVE,
    HoldState.DENIED: Event.DENY,
    HoldState.CANCELLED: Event.CANCEL,
}
"""States that somebody outside the workers brings about, and by which event."""


def is_reviewers(state: HoldState, version: int) -> bool:
    """Whether an event tells of something that somebody outside the workers did: all but the filing itself."""
    return state in _REVIEWED or (state is HoldState.HELD and version > 1)


def review_fields(
    hold: Hold,
    version: int,
    bundle: Bundle,
    *,
    now: datetime,
    filed: StoredCall | None,
    lapsed: Lapsed | None = None,
) -> dict[str, Json]:
    """The line about what brought a hold to `version`: what decided it, or what was said and decided nothing.

    `hold` has the state that it had then; `filed` is the sealed record while it is there; `lapsed` says why its release
    counts no more, where it does not.
    """
    if hold.state is not HoldState.APPROVED and any(said.version == version for said in hold.said):
        said = said_at(version, hold, bundle, barred=(), now=now, filed=filed)
        if said is None:
            nobodys = replace(hold, version=version, decided_by=None, decided_with=None, reason=None)
            return hold_fields(nobodys, UNVERIFIED)
        assert not isinstance(said, Lapsed)  # nobody signs that
        means = Means.KEY if isinstance(said, Statement) else said.means  # stops are said with a key
        about = replace(hold, version=version, statement=said.token, decided_by=said.by, decided_with=means)
        return hold_fields(replace(about, reason=said.reason), event_of(said))
    if hold.state is HoldState.HELD and hold.statement is not None and hold.version != version:
        # What took the release back is not known here: it was decided anew, or ended, before this was read.
        return hold_fields(replace(hold, version=version, statement=None, decided_by=None, reason=None), LAPSE)
    if hold.state is HoldState.HELD and lapsed is not None:
        about = replace(hold, statement=lapsed.token, decided_by=lapsed.by, decided_with=None, reason=lapsed.reason)
        return hold_fields(about, LAPSE)
    hold, event = on_record(hold, bundle, now=now, filed=filed), _REVIEWED.get(hold.state)
    return hold_fields(hold, UNVERIFIED if hold.decided_by is None or event is None else event.value)


def given_fields(
    hold: Hold, version: int, bundle: Bundle, *, now: datetime, filed: StoredCall | None
) -> dict[str, Json] | None:
    """The line about the route grant that was given with the release which brought a hold to `version`; None: none."""
    given = said_at(version, hold, bundle, barred=(), now=now, filed=filed)
    if not isinstance(given, RouteGrant):
        return None
    return hold_fields(replace(hold, version=version), event_of(given), given=given)


def on_record(hold: Hold, bundle: Bundle, *, now: datetime, filed: StoredCall | None = None) -> Hold:
    """The hold with the reviewer and the reason its verified statement names, if it has one."""
    said = verified(hold, bundle, barred=(), now=now, filed=filed)
    if said is None:
        return replace(hold, decided_by=None, decided_with=None, reason=None)
    return replace(hold, decided_by=said.by, decided_with=said.means, reason=said.reason)
