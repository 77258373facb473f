"""What is to be signed as a person's word about a hold: made here, signed wherever the key is, recorded here.

A draft decides nothing and is kept nowhere. Whoever signs it looks at the call first, and computes its digest again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.encoding import Json
from proxy.core.jws import seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, Means
from proxy.core.passkeys import WEBAUTHN, Assertion, challenge_of
from proxy.review.opened import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The claims of one statement, and with what it may be signed so that it counts."""

    hold: Hold
    call: Shown | None  # what it is about; None once the call was deleted
    typ: str
    claims: Mapping[str, Json]
    means: frozenset[Means]

    @property
    def challenge(self) -> bytes:
        """What a passkey is asked to sign."""
        return challenge_of(self.claims, typ=self.typ)

    def signed(self, key: PrivateKey) -> str:
        """The statement, signed with the person's own key; or with the desk's, where that suffices."""
        return seal(self.claims, typ=self.typ, key=key)

    def attested(self, key: PrivateKey, assertion: Assertion) -> str:
        """The statement with what the person's passkey made of `challenge`, signed with the desk's key."""
        return seal({**self.claims, WEBAUTHN: assertion.as_claim()}, typ=self.typ, key=key)
