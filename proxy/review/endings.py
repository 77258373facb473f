"""What became of a proposed manifest: kept under its id for a while, so that whoever comes too late hears the truth.

It is what the store says, for people to read. Nothing is decided by it: what was signed is in the manifest.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from proxy.core.encoding import from_epoch, to_epoch
from proxy.core.errors import Rejected
from proxy.core.notes import check_reason
from proxy.review.times import instant

REMEMBERED = timedelta(days=7)
MOST_REMEMBERED = 500


class How(StrEnum):
    """How a proposal ended."""

    SIGNED = "signed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A proposal that waits no more. The people are `Person.id`s."""

    how: How
    agent: str
    sponsor: str
    author: str
    by: str
    at: datetime
    why: str  # "" where nobody said

    @property
    def words(self) -> str:
        """What became of it, in a sentence."""
        why = f": {self.why}" if self.why else ""
        return f"the manifest proposed for {self.agent} was {self.how.value} by {self.by} at {instant(self.at)}{why}"


def ended_text(ended: Ended) -> str:
    """As it is kept."""
    return json.dumps(
        {
            "ended": ended.how.value,
            "agent": ended.agent,
            "sponsor": ended.sponsor,
            "author": ended.author,
            "by": ended.by,
            "at": to_epoch(ended.at),
            "why": ended.why,
        }
    )


def read_ended(text: str) -> Ended | None:
    """As it was kept; None: it is something else."""
    with suppress(ValueError, OverflowError, Rejected):
        match json.loads(text):
            case {
                "ended": str(how),
                "agent": str(agent),
                "sponsor": str(sponsor),
                "author": str(author),
                "by": str(by),
                "at": int(at),
                "why": str(why),
            }:
                check_reason(why)
                since = from_epoch(at)
                return Ended(how=How(how), agent=agent, sponsor=sponsor, author=author, by=by, at=since, why=why)
    return None
