"""A manifest that is about to be signed: its claims, and the two ways in which its sponsor may sign them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy.agent.keyfile import fresh_key
from proxy.core.encoding import Json
from proxy.core.jws import seal
from proxy.core.keys import PrivateKey, one_form
from proxy.core.manifest import parse_manifest
from proxy.core.model import Manifest, Person
from proxy.core.passkeys import WEBAUTHN, Assertion
from proxy.core.sponsoring import sponsored_challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSign:
    """What the sponsor is to sign, as a compact JWS of type `typ` in the strict profile."""

    typ: str
    claims: Mapping[str, Json]
    kid: str = ""  # of the desk's key that seals what a passkey signs; "" where no passkey is asked

    @property
    def hashed(self) -> dict[str, Json]:
        """Every claim, and the desk's key: what the challenge is made of, with the type."""
        return {**self.claims, "kid": self.kid}

    @property
    def challenge(self) -> bytes:
        """What a passkey is asked to sign."""
        return sponsored_challenge(self.claims, typ=self.typ, kid=self.kid)

    def signed(self, key: PrivateKey) -> str:
        """The manifest, signed with the sponsor's own key."""
        return seal(self.claims, typ=self.typ, key=key)

    def attested(self, key: PrivateKey, assertion: Assertion, sponsor: Person) -> str:
        """The manifest with what a passkey of the sponsor made of `challenge`, signed with the desk's key.

        Authenticators write an ES256 signature with either s. A manifest takes one of them (`core.sponsoring`).
        """
        own = next((each for each in sponsor.passkeys if each.id == assertion.credential), None)
        if own is not None:
            assertion = replace(assertion, signature=one_form(own.key, assertion.signature))
        return seal({**self.claims, WEBAUTHN: assertion.as_claim()}, typ=self.typ, key=key)

    def shown(self) -> Manifest:
        """As it would be read. A throw-away key stands in until it is signed."""
        return parse_manifest(self.signed(fresh_key()))
