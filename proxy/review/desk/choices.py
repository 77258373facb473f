"""What a person is offered to say about a hold, and why not where they are not. Pure.

It follows the core's rules so that a page offers nothing that would be refused; it refuses nothing itself. What is said
in the end is judged where it is recorded.
"""

from dataclasses import dataclass
from datetime import datetime

from proxy.core.errors import Rejected
from proxy.core.lapsing import check_not_denied
from proxy.core.model import Bundle, HoldState, Person, Verdict
from proxy.core.release import may_decide
from proxy.review.desk.signing import (
    MOST_BY_PASSKEY,
    MOST_BY_PASSKEY_MINUTES,
    MOST_GRANTED,
    MOST_GRANTED_MINUTES,
    Signing,
    why_own_key,
)
from proxy.review.opened import HeldCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What one person may say about one hold now. A text says why not; "" that they may."""

    open: bool  # it waits for a decision
    own_key: str  # why this person signs with a passkey or a key of their own; "": the desk signs for them
    no_passkey: str  # why their passkey does not sign here
    not_release: str
    not_deny: str
    route: bool  # a release may reach further than this call
    escalate: bool  # there is somebody who could decide later
    lift: bool
    resolve: bool
    released: int  # how many of the quorum have released it

    @property
    def says(self) -> bool:
        """Whether this person may say anything at all."""
        return not self.not_deny

    @property
    def here(self) -> bool:
        """Whether what they say can be signed at the desk."""
        return not self.own_key or not self.no_passkey

    @property
    def by_desk(self) -> str:
        """What the desk signs for, of releases wider than one call."""
        return f"{MOST_GRANTED} calls or {MOST_GRANTED_MINUTES} minutes"

    @property
    def most_calls(self) -> int:
        """How many calls they may let pass at once."""
        return MOST_GRANTED if self.no_passkey else MOST_BY_PASSKEY

    @property
    def most_minutes(self) -> int:
        return MOST_GRANTED_MINUTES if self.no_passkey else MOST_BY_PASSKEY_MINUTES


def choices(
    held: HeldCall,
    person: Person,
    bundle: Bundle,
    signing: Signing,
    *,
    now: datetime,
    no_passkey: str = "Passkeys are for pages.",
) -> Choices:
    """What `person` may say about a hold at `now`. `no_passkey` as `signing.why_no_passkey` says it of a page."""
    hold, shown = held.hold, held.shown
    meant = hold if shown is None else shown.meant(hold)
    barred = frozenset[str]() if shown is None else shown.barred
    waits = hold.state is HoldState.HELD and now < hold.expires_at and shown is not None

    def why_not(verdict: Verdict, *, sends: bool = True) -> str:
        try:
            may_decide(person, meant, bundle, now, verdict=verdict, barred=barred)
            if sends and verdict is Verdict.ALLOW and shown is not None:
                check_not_denied(shown.today)
                shown.check_judged(person, hold, bundle)
        except Rejected as fault:
            return fault.detail
        return ""

    not_release = why_not(Verdict.ALLOW)
    if person.id in held.signers and hold.state is HoldState.HELD:
        not_release = "you have released it already: somebody else must, too"
    return Choices(
        open=waits,
        own_key="" if signing.key(person, meant) is not None else why_own_key(meant) or "The desk has no key.",
        no_passkey=no_passkey,
        not_release=not_release,
        not_deny=why_not(Verdict.DENY),
        route=waits and _grantable(held),
        escalate=bool(held.later),
        lift=hold.state is HoldState.DENIED and not why_not(Verdict.DENY),
        resolve=hold.state is HoldState.UNCERTAIN and not why_not(Verdict.ALLOW, sends=False),
        released=len(held.signers),
    )


def _grantable(held: HeldCall) -> bool:
    assert held.shown is not None
    try:
        held.shown.check_grantable()
    except Rejected:
        return False
    return True
