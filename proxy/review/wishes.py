"""Everything a person may say about a hold, as one value: drafted, recorded, or both where a key is at hand.

The rules are those of the services behind it; here is only which of them is meant.
"""

import enum
from dataclasses import dataclass
from datetime import timedelta

from proxy.core.errors import Code, Rejected
from proxy.core.grants import RouteGrant
from proxy.core.jws import open_one_of
from proxy.core.keys import PrivateKey
from proxy.core.model import Means, Person, Verdict
from proxy.core.notes import NOTE_TYP, NoteAct
from proxy.core.release import RELEASE_TYP
from proxy.core.resolution import RESOLUTION_TYP, Found
from proxy.review.drafts import Draft
from proxy.review.granting import Granter, Width, check_width
from proxy.review.outcomes import Outcome
from proxy.review.resolving import Resolving
from proxy.review.service import ReviewService


class Verb(enum.StrEnum):
    """What is said."""

    RELEASE = "release"
    DENY = "deny"
    COMMENT = "comment"
    ESCALATE = "escalate"
    EXTEND = "extend"
    CANCEL = "cancel"
    LIFT = "lift"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One word about one hold, not signed yet."""

    verb: Verb
    reason: str = ""
    width: Width | None = None  # of RELEASE: calls like it, too
    longer: timedelta = timedelta(0)  # of EXTEND
    found: Found | None = None  # of RESOLVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted:
    """What is to be signed: one statement, and with a width the grant that is given with it."""

    word: Draft
    grant: Draft | None = None

    @property
    def means(self) -> frozenset[Means]:
        """With what each of them may be signed so that it counts."""
        return self.word.means if self.grant is None else self.word.means & self.grant.means


type Said = tuple[Outcome, RouteGrant | None]


class Words:
    """The services in which people's words are drafted and recorded."""

    def __init__(self, *, reviews: ReviewService, granter: Granter, resolving: Resolving) -> None:
        self._reviews = reviews
        self._granter = granter
        self._resolving = resolving

    async def draft(self, hold_id: str, wish: Wish, *, person: Person) -> Drafted | Outcome:
        """What `person` would sign; or why they cannot.

        Raises: as the service that is meant.
        """
        if wish.width is not None:
            check_width(wish.width)
            both = await self._granter.draft(hold_id, person=person, reason=wish.reason, width=wish.width)
            return both if isinstance(both, Outcome) else Drafted(word=both.release, grant=both.grant)
        drafted = await self._draft(hold_id, wish, person)
        return drafted if isinstance(drafted, Outcome) else Drafted(word=drafted)

    async def _draft(self, hold_id: str, wish: Wish, person: Person) -> Draft | Outcome:
        match wish.verb:
            case Verb.RELEASE:
                return await self._reviews.draft(hold_id, Verdict.ALLOW, person=person, reason=wish.reason)
            case Verb.DENY:
                return await self._reviews.draft(hold_id, Verdict.DENY, person=person, reason=wish.reason)
            case Verb.RESOLVE:
                if wish.found is None:
                    raise Rejected(Code.RELEASE_INVALID, "say whether it arrived or did not", field="found")
                return await self._resolving.draft(hold_id, wish.found, person=person, reason=wish.reason)
            case _:
                act = NoteAct(wish.verb.value)
                return await self._reviews.draft_note(
                    act, hold_id, person=person, reason=wish.reason, longer=wish.longer
                )

    async def record(self, hold_id: str, statement: str, *, grant: str | None = None) -> Said:
        """Record what was signed, whoever signed it and where.

        Raises: as the service that is meant.
        """
        envelope = open_one_of(statement, typs=(RELEASE_TYP, NOTE_TYP, RESOLUTION_TYP), code=Code.RELEASE_INVALID)
        if grant is not None:
            return await self._granter.record(hold_id, statement, grant)
        if envelope.typ == RESOLUTION_TYP:
            return await self._resolving.record(hold_id, statement), None
        return await self._reviews.record(hold_id, statement), None

    async def say(self, hold_id: str, wish: Wish, *, person: Person, key: PrivateKey) -> Said:
        """Sign it with `key`, and record it."""
        drafted = await self.draft(hold_id, wish, person=person)
        if isinstance(drafted, Outcome):
            return drafted, None
        grant = None if drafted.grant is None else drafted.grant.signed(key)
        return await self.record(hold_id, drafted.word.signed(key), grant=grant)
