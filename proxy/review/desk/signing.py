"""With whose key a person's word at the desk is signed: the one place that says so.

What a person says at the desk about a routine hold that one person decides is signed with the desk's own key, which the
operators enrolled, and names that person. About any other hold the desk signs nothing: each reviewer's own key does, so
that a desk in an attacker's hands releases nothing of weight (THREATS F07). Whether a signed word counts is for the
core to say, here as everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, Means, Person, Risk
from proxy.core.vouching import DESK_GRANT_COUNT, DESK_GRANT_LASTS, sufficient

MOST_GRANTED = DESK_GRANT_COUNT
MOST_GRANTED_MINUTES = DESK_GRANT_LASTS // timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How the desk signs. `key_of` is asked for the key with which this person's word about this hold is signed."""

    key_of: Callable[[Person, Hold], PrivateKey | None]

    def key(self, person: Person, hold: Hold) -> PrivateKey | None:
        """The key, or None: this person signs with one of their own, elsewhere."""
        return self.key_of(person, hold) if desk_may_sign(hold) else None


def desk_may_sign(hold: Hold) -> bool:
    """Whether the desk's key is enough for a word about this hold."""
    return Means.DESK in sufficient(hold)


def with_desk_key(key: PrivateKey) -> Signing:
    """Everything the desk may sign, with its own key."""
    return Signing(key_of=lambda person, hold: key)


def why_own_key(hold: Hold) -> str:
    """Why the desk does not sign for a person, in a sentence; "" where it does."""
    if hold.quorum > 1:
        return f"{hold.quorum} different people must release this call, each with a key of their own."
    if hold.risk is not Risk.ROUTINE:
        return "This call may change things: whoever decides it signs with a key of their own."
    return ""
