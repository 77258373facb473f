"""With whose key a person's word at the desk is signed: the one place that says so.

What a person says at the desk about a routine hold that one person decides is signed with the desk's own key, which the
operators enrolled, and names that person. About any other hold that key is not enough: a passkey of theirs signs,
inside what the desk's key seals, or a key of theirs does, elsewhere; so that a desk in an attacker's hands releases
nothing of weight (THREATS F07). Whether a signed word counts is for the core to say, here as everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from proxy.core.grants import LONGEST, MAX_COUNT
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold, Means, Person, Risk
from proxy.core.names import ip_literal
from proxy.core.vouching import DESK_GRANT_COUNT, DESK_GRANT_LASTS, sufficient
from proxy.review.ceremonies import usable

MOST_GRANTED = DESK_GRANT_COUNT
MOST_GRANTED_MINUTES = DESK_GRANT_LASTS // timedelta(minutes=1)
"""The widest grant that the desk's key signs; with a passkey it may be as wide as any."""
MOST_BY_PASSKEY, MOST_BY_PASSKEY_MINUTES = MAX_COUNT, LONGEST // timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """How the desk signs. `key_of` is asked for the key with which this person's word about this hold is signed; `desk`
    is the key that seals what their passkey signed.
    """

    key_of: Callable[[Person, Hold], PrivateKey | None]
    desk: PrivateKey | None = None  # None: no passkey counts here

    def key(self, person: Person, hold: Hold) -> PrivateKey | None:
        """The key, or None: this person signs with one of their own, elsewhere."""
        return self.key_of(person, hold) if desk_may_sign(hold) else None


def desk_may_sign(hold: Hold) -> bool:
    """Whether the desk's key is enough for a word about this hold."""
    return Means.DESK in sufficient(hold)


def with_desk_key(key: PrivateKey) -> Signing:
    """Everything the desk may sign, with its own key."""
    return Signing(key_of=lambda person, hold: key, desk=key)


def why_no_passkeys(signing: Signing, bundle: Bundle, origin: str) -> str:
    """Why no passkey counts at this page, whoever's it is, in a sentence; "" where they do."""
    host = urlsplit(origin).hostname or ""
    if ip_literal(host) is not None:
        names = " or ".join(each for each in bundle.desk.origins if ip_literal(urlsplit(each).hostname or "") is None)
        there = f": open the desk as {names}" if names else ""
        return f"Browsers have no passkeys at an address such as {host}{there}."
    if origin not in bundle.desk.origins:
        return f"No passkey counts at {origin}: operators have not listed it in people.yaml (desk.origins)."
    if signing.desk is None or signing.desk.public not in bundle.desk.keys:
        return "No passkey counts here: operators have not enrolled this desk's key in people.yaml (desk.keys)."
    return ""


def why_no_passkey(signing: Signing, person: Person, bundle: Bundle, origin: str) -> str:
    """Why this person cannot sign with a passkey at this page, in a sentence; "" where they can."""
    unable = why_no_passkeys(signing, bundle, origin)
    if unable or usable(person, origin):
        return unable
    return "You have no passkey that counts here. Make one, and have an operator enrol it."


def why_own_key(hold: Hold) -> str:
    """Why the desk does not sign for a person, in a sentence; "" where it does."""
    if hold.quorum > 1:
        return f"{hold.quorum} different people must release this call, each with a passkey or a key of their own."
    if hold.risk is not Risk.ROUTINE:
        return "This call may change things: whoever decides it signs with a passkey or a key of their own."
    return ""
