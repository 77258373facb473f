"""Authenticators in software, and the browser around them: everything that is signed, and everything that may be wrong.

stick = authenticator("ada")
assertion = stick.sign(challenge)               # as a person used it at the desk's page
assertion = stick.sign(challenge, flags=UP)     # without PIN or biometrics
"""

import hashlib
import json
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from identities import key

from proxy.core.encoding import b64u
from proxy.core.keys import ED25519, ES256, PrivateKey
from proxy.core.model import Passkey
from proxy.core.passkeys import Assertion

ORIGIN, RP_ID = "http://localhost:8090", "localhost"
UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80


@dataclass(frozen=True, kw_only=True)
class Authenticator:
    """One credential, and what it and the browser say of themselves."""

    key: PrivateKey
    id: bytes
    name: str = "stick"
    rp_id: str = RP_ID
    origin: str = ORIGIN
    kind: str = "webauthn.get"
    flags: int = UP | UV
    count: int = 0
    extensions: bytes = b""
    members: dict[str, object] = field(default_factory=dict)  # of the client data, besides the usual

    @property
    def passkey(self) -> Passkey:
        return Passkey(id=self.id, key=self.key.public, rp_id=self.rp_id, name=self.name)

    def sign(self, challenge: bytes, **changes: object) -> Assertion:
        """What navigator.credentials.get gives, with something about it `changes`d."""
        one = replace(self, **changes)  # type: ignore[arg-type]
        client_data, head = one.client_data(challenge), one.head + one.extensions
        message = head + hashlib.sha256(client_data).digest()
        return Assertion(
            credential=one.id, authenticator_data=head, client_data=client_data, signature=sign_der(one.key, message)
        )

    def make(self, challenge: bytes, **changes: object) -> tuple[bytes, bytes]:
        """Client data and authenticator data of navigator.credentials.create, attestation `none`."""
        one = replace(self, **({"kind": "webauthn.create", "flags": self.flags | AT} | changes))  # type: ignore[arg-type]
        attested = b"\0" * 16 + len(one.id).to_bytes(2) + one.id + cose(one.key)
        return one.client_data(challenge), one.head + attested + one.extensions

    def client_data(self, challenge: bytes) -> bytes:
        told = {"type": self.kind, "challenge": b64u(challenge), "origin": self.origin, "crossOrigin": False}
        return json.dumps({**told, **self.members}).encode()

    @property
    def head(self) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([self.flags]) + self.count.to_bytes(4)


def authenticator(owner: str, *, alg: str = ES256) -> Authenticator:
    """The authenticator of that person; the same one every time."""
    own = key(f"{owner} passkey", alg)
    return Authenticator(key=own, id=hashlib.sha256(own.public.raw).digest())


def sign_der(key: PrivateKey, message: bytes) -> bytes:
    """As authenticators sign: ES256 in DER."""
    if isinstance(key.handle, ed25519.Ed25519PrivateKey):
        return key.handle.sign(message)
    return key.handle.sign(message, ec.ECDSA(hashes.SHA256()))


def cose(key: PrivateKey) -> bytes:
    """The public key as CTAP2 writes it (RFC 9053 §7)."""
    if key.public.alg == ED25519:
        return bytes.fromhex("a4010103272006215820") + key.public.raw
    x, y = key.public.raw[1:33], key.public.raw[33:]
    return bytes.fromhex("a5010203262001215820") + x + bytes.fromhex("225820") + y
