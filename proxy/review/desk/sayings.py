"""What a person may say of a hold at the desk: how each is drafted, and how it is recorded once it is signed.

Whoever drafts does not sign yet, and whoever records does not decide: the services do, as for the command line.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from proxy.core.errors import Code, Rejected
from proxy.core.model import Verdict
from proxy.core.notes import NoteAct
from proxy.core.resolution import Found
from proxy.review.desk.visits import Visit
from proxy.review.drafts import Draft
from proxy.review.granting import GrantDraft, Width, check_width
from proxy.review.service import Outcome, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """Something that is to be signed, and who takes it then."""

    draft: Draft
    record: Callable[[str], Awaitable[Outcome]]

    def light(self) -> "Drafted":
        """The same without the call, which may be large: for what is kept until a browser answers."""
        return replace(self, draft=replace(self.draft, call=None))


type Say = Callable[[], Awaitable[Drafted | Outcome]]
"""Drafts something, or says why it cannot be said. Raises as the service does."""


def ruling(visit: Visit, hold_id: str, verdict: Verdict, reason: str) -> Say:
    """Release (ALLOW) or deny (DENY) the call."""
    reviews, person = visit.parts.reviews, visit.person

    async def say() -> Drafted | Outcome:
        return _drafted(visit, hold_id, await reviews.draft(hold_id, verdict, person=person, reason=reason))

    return say


def noting(visit: Visit, hold_id: str, act: NoteAct, reason: str, longer: timedelta | None) -> Say:
    """Comment, escalate, extend, cancel, lift."""
    reviews, person = visit.parts.reviews, visit.person

    async def say() -> Drafted | Outcome:
        more = {} if longer is None else {"longer": longer}
        return _drafted(visit, hold_id, await reviews.draft_note(act, hold_id, person=person, reason=reason, **more))

    return say


def finding(visit: Visit, hold_id: str, found: Found | None, reason: str) -> Say:
    """Say whether an uncertain call arrived."""
    resolving, person = visit.parts.resolving, visit.person

    async def record(statement: str) -> Outcome:
        return await resolving.record(hold_id, statement)

    async def say() -> Drafted | Outcome:
        if found is None:
            raise Rejected(Code.RELEASE_INVALID, "say whether it arrived or did not", field="found")
        draft = await resolving.draft(hold_id, found, person=person, reason=reason)
        return draft if isinstance(draft, Outcome) else Drafted(draft=draft, record=record)

    return say


def granting(visit: Visit, hold_id: str, reason: str, width: Width) -> Say:
    """Let the call pass, and others like it. Only what the desk may release is granted, so the person signs the grant
    alone, and the desk the release of this call that goes with it.
    """
    parts, person = visit.parts, visit.person

    async def say() -> Drafted | Outcome:
        check_width(width)
        drafted = await parts.granter.draft(hold_id, person=person, reason=reason, width=width)
        return drafted if isinstance(drafted, Outcome) else _granted(visit, hold_id, drafted)

    return say


def _granted(visit: Visit, hold_id: str, drafted: GrantDraft) -> Drafted | Outcome:
    granter, call = visit.parts.granter, drafted.release.call
    assert call is not None
    key = visit.parts.signing.key(visit.person, call.meant(drafted.release.hold))
    if key is None:
        detail = f"hold {hold_id} is decided with a key of your own"
        return Outcome(result=Result.NOT_PERMITTED, detail=detail, hold=drafted.release.hold)
    release = drafted.release.signed(key)

    async def record(statement: str) -> Outcome:
        return (await granter.record(hold_id, release, statement))[0]

    return Drafted(draft=drafted.grant, record=record)


def _drafted(visit: Visit, hold_id: str, draft: Draft | Outcome) -> Drafted | Outcome:
    reviews = visit.parts.reviews

    async def record(statement: str) -> Outcome:
        return await reviews.record(hold_id, statement)

    return draft if isinstance(draft, Outcome) else Drafted(draft=draft, record=record)
