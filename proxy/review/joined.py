"""What the journal of this machine says about held calls that ended, and what the store says, together. Pure.

The journal knows the call, the answer upstream and what is long past; the store knows what was decided and sent through
other machines, for a day.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from proxy.core.holds import TERMINAL
from proxy.core.model import Hold, HoldState
from proxy.review.history import Ending, Ruling, Said, Sent

ENDED = TERMINAL | {HoldState.APPROVED, HoldState.RELEASING, HoldState.UNCERTAIN}
"""States after a decision, or after the time for one."""

_LET = {
    HoldState.APPROVED: Sent.WAITING,
    HoldState.RELEASING: Sent.WAITING,
    HoldState.RELEASED: Sent.SENT,
    HoldState.UNCERTAIN: Sent.UNCERTAIN,
}
_FOUND_OUT = (Sent.ARRIVED, Sent.NOT_ARRIVED)


def joined(told: Iterable[Ruling], holds: Iterable[Hold], *, now: datetime) -> tuple[Ruling, ...]:
    """Every hold that ended, by its end, oldest first. `holds` are the store's, with who is known to have signed."""
    found = {ruling.hold_id: ruling for ruling in told}
    for hold in holds:
        if hold.state not in ENDED:
            continue
        known, kept = found.get(hold.id), _kept(hold, now)
        found[hold.id] = kept if known is None else _newer(known, kept)
    return tuple(sorted(found.values(), key=lambda ruling: (ruling.ended_at, ruling.hold_id)))


def _newer(told: Ruling, kept: Ruling) -> Ruling:
    """What the journal tells; whether the call was sent as the store has it, for another machine may have sent it."""
    if told.ending is Ending.LAPSED:  # it was decided anew, or ended, since
        return replace(kept, asked=told.asked)
    seen = replace(told, who=told.who or kept.who, filed_at=told.filed_at or kept.filed_at)
    if told.ending is not Ending.RELEASED or told.sent in _FOUND_OUT or kept.sent in (None, Sent.WAITING):
        return seen
    return replace(seen, sent=kept.sent)


def _kept(hold: Hold, now: datetime) -> Ruling:
    released = hold.state in _LET or (hold.state is HoldState.EXPIRED and hold.decided_by is not None)
    ending = Ending.RELEASED if released else Ending(hold.state.value)
    ended_at = hold.decided_at or min(hold.expires_at, now)
    said = () if hold.decided_by is None else (Said(by=hold.decided_by, released=released, at=ended_at),)
    return Ruling(
        hold_id=hold.id,
        ending=ending,
        ended_at=ended_at,
        filed_at=hold.filed_at,
        agent=hold.agent,
        sponsor=hold.sponsor,
        code=hold.code.value,
        risk=hold.risk.value,
        cluster=hold.cluster,
        task=hold.task,
        who=hold.who,
        asked=None,
        said=() if ending is Ending.CANCELLED else said,
        reason=hold.reason,
        grant=None,
        lifted_by=None,
        sent=_sent(hold, now) if released else None,
        status=None,
        error=None,
    )


def _sent(hold: Hold, now: datetime) -> Sent:
    if hold.state is HoldState.EXPIRED or (hold.state is HoldState.APPROVED and now >= hold.expires_at):
        return Sent.NOT_SENT
    return _LET[hold.state]
