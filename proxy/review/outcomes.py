"""What became of somebody's word about a hold, in a sentence for people."""

import enum
from dataclasses import dataclass

from proxy.core.control import EVERYTHING
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Hold, HoldState, Verdict
from proxy.review.opened import Shown


class Result(enum.StrEnum):
    """What became of a wish to rule."""

    DONE = "done"
    SIGNED = "signed"  # one release of a quorum: more are needed
    ALREADY_DECIDED = "already decided"
    NOT_PERMITTED = "not permitted"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    FAILED = "failed"  # one of a group, for a fault that ends a single ruling


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A ruling's outcome, and the hold as it is now. `call` is what was ruled on, when it was."""

    result: Result
    detail: str  # one sentence for people
    hold: Hold | None = None
    call: Shown | None = None


def done(verdict: Verdict, by: str, signers: set[str], hold: Hold, shown: Shown) -> Outcome:
    """What to say of a ruling that was recorded."""
    if verdict is Verdict.DENY:
        return Outcome(result=Result.DONE, detail=f"denied by {by}", hold=hold, call=shown)
    if hold.state is HoldState.HELD:
        detail = f"released by {by}, {len(signers)} of {hold.quorum}: {hold.quorum - len(signers)} more must"
        return Outcome(result=Result.SIGNED, detail=detail, hold=hold, call=shown)
    others = sorted(signers - {by})
    names = f"{', '.join(others)} and {by}" if others else by
    return Outcome(result=Result.DONE, detail=f"released by {names}", hold=hold, call=shown)


def late(hold: Hold) -> Outcome:
    """A hold that is no longer held was decided, or its time ran out."""
    if hold.state is HoldState.EXPIRED:
        return expired(hold)
    if hold.state is HoldState.UNCERTAIN:
        detail = f"hold {hold.id} is uncertain: nobody knows whether its call arrived; `holds resolve` closes it"
    elif hold.decided_by is None and hold.state in (HoldState.APPROVED, HoldState.DENIED):
        detail = f"hold {hold.id} is marked {hold.state.value}, and no reviewer's signature says so: tell an operator"
    elif hold.decided_by is None:
        detail = f"hold {hold.id} is {hold.state.value}; nobody's word changes that"
    else:
        when = "" if hold.decided_at is None else f" at {hold.decided_at:%Y-%m-%dT%H:%M:%SZ}"
        detail = f"hold {hold.id} is {hold.state.value}: decided by {hold.decided_by}{when}"
    return Outcome(result=Result.ALREADY_DECIDED, detail=detail, hold=hold)


def expired(hold: Hold) -> Outcome:
    """A hold whose time ran out."""
    detail = f"hold {hold.id} expired at {hold.expires_at:%Y-%m-%dT%H:%M:%SZ}; the agent may ask again"
    return Outcome(result=Result.EXPIRED, detail=detail, hold=hold)


def not_while(stopped: str, hold: Hold) -> Outcome:
    """A release for an agent that is stopped, or while everything is; `stopped` as `ControlView.stops` says it."""
    if stopped == EVERYTHING:
        detail = "everything is stopped: nothing is released until an operator says `kill off`"
    else:
        detail = f"agent {stopped} is quarantined: nothing is released for it until `agents restore {stopped}`"
    return Outcome(result=Result.NOT_PERMITTED, detail=detail, hold=hold)


def again(by: str, hold: Hold) -> Outcome:
    """A second release by one person, of a quorum."""
    detail = f"{by} has released hold {hold.id} already: {hold.quorum} different people must"
    return Outcome(result=Result.NOT_PERMITTED, detail=detail, hold=hold)


def unknown(hold_id: str) -> Rejected:
    """The fault of an id that no hold has."""
    return Rejected(Code.HOLD_UNKNOWN, f"there is no hold {ascii(hold_id)[1:-1][:80]}")


def unsure(fault: Unavailable, hold_id: str) -> Unavailable:
    """The fault of a step that was asked for, and whose answer never came: it may have been taken."""
    detail = f"{fault.detail}; whether this was recorded is not known: look at hold {hold_id} before you say it again"
    return Unavailable(fault.code, detail, retry_after_s=fault.retry_after_s)


def no_denial(hold: Hold) -> Outcome:
    """A hold that was not denied, and that somebody wants to lift."""
    detail = f"hold {hold.id} is {hold.state.value}: only a denial is lifted"
    return Outcome(result=Result.NOT_PERMITTED, detail=detail, hold=hold)


def too_busy(hold_id: str) -> Rejected:
    """The fault of a step that others were always faster than."""
    return Rejected(Code.HOLD_PENDING, f"others act on hold {hold_id} all the time: look at it, and try again")
