"""A review desk whose key and people's passkeys operators have enrolled, and what a browser signs with there."""

from base64 import b64encode
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from authenticators import authenticator
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from identities import key
from reviewrooms import Room

from proxy.core.model import Bundle, Passkey, ReviewDesk
from proxy.review.desk.signing import with_desk_key

if TYPE_CHECKING:  # the desk itself is tested without a browser, too
    from playwright.sync_api import CDPSession, Page


def enrolled(bundle: Bundle, *, origin: str, without: Collection[str] = ()) -> Bundle:
    """The bundle with the desk's key and page, and everybody's passkey but of those `without`."""
    people = {
        name: person if name in without else replace(person, passkeys=(authenticator(name).passkey,))
        for name, person in bundle.people.items()
    }
    return replace(bundle, people=people, desk=ReviewDesk(keys=(key("desk").public,), origins=(origin,)))


@dataclass(kw_only=True)
class PasskeyRoom(Room):
    """A desk with its own key alone: what that is not enough for is signed by passkey."""

    without: Collection[str] = ()

    def __post_init__(self) -> None:
        self.bundle = enrolled(self.bundle, origin=self.origins[0], without=self.without)
        super().__post_init__()
        self.become(with_desk_key(key("desk")))

    def enrol(self, person: str, passkey: Passkey) -> None:
        """As operators do: it counts from now on."""
        people = {**self.bundle.people, person: replace(self.bundle.people[person], passkeys=(passkey,))}
        self.bundle = replace(self.bundle, people=people)


@dataclass(frozen=True, kw_only=True)
class Stick:
    """A virtual authenticator at one page of Chromium, by CDP."""

    cdp: "CDPSession"
    id: str

    def verifies(self, does: bool) -> None:
        """Whether its owner is recognised: by PIN, or by their finger."""
        self.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": does})


def plug_in(page: "Page", owner: str | None = None) -> Stick:
    """A security key at this page; with the passkey of `authenticator(owner)`, else with none yet."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "usb",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    found = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
    if owner is not None:
        own = authenticator(owner)
        private = own.key.handle.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        credential = {
            "credentialId": b64encode(own.id).decode(),
            "isResidentCredential": False,
            "rpId": own.rp_id,
            "privateKey": b64encode(private).decode(),
            "signCount": 0,
        }
        cdp.send("WebAuthn.addCredential", {"authenticatorId": found, "credential": credential})
    return Stick(cdp=cdp, id=found)
