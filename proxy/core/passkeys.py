"""Passkeys: assertions inside a person's signed word, and new credentials, read exactly (WebAuthn Level 3).

An assertion counts here only as what this product asks for, and nothing more liberal: one RP id, one origin, a person
who was present and verified, no extensions. Whoever verifies needs nothing but the bundle; neither a session nor the
desk's word that there was one.

The signature counter is not compared (§6.1.1 leaves that to the relying party). Passkeys that are synchronised between
devices always say 0; nodes share no memory that somebody with write access to Redis could not set back; and an
assertion is good for one statement about one hold anyway, which is what a counter would protect.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.core.encoding import Json, b64u, canonical_json, parse_json, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import ED25519, ES256, from_jwk, verifies_der
from proxy.core.model import Passkey, PublicKey, ReviewDesk

WEBAUTHN = "webauthn"
"""The member of a statement that holds an assertion. Its challenge is made of all the others."""

MIN_ID_BYTES, MAX_ID_BYTES = 16, 1023
_MAX_CLIENT_DATA_BYTES = 2_048
_MAX_SIGNATURE_BYTES = 128
_MEMBERS = frozenset({"credential", "authenticator_data", "client_data", "signature"})

_UP, _UV, _BE, _BS, _AT, _ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
_HEAD_BYTES = 37  # SHA-256 of the RP id, flags, counter
_AAGUID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What an authenticator answered, as a browser hands it over."""

    credential: bytes
    authenticator_data: bytes
    client_data: bytes
    signature: bytes

    def as_claim(self) -> dict[str, Json]:
        """As it stands in a statement, under `WEBAUTHN`."""
        return {
            "credential": b64u(self.credential),
            "authenticator_data": b64u(self.authenticator_data),
            "client_data": b64u(self.client_data),
            "signature": b64u(self.signature),
        }


def challenge_of(claims: Mapping[str, Json], *, typ: str) -> bytes:
    """What a passkey signs for a statement: SHA-256 over the RFC 8785 form of its type and all its claims.

    Among them are hold, call digest, verdict, scope, person, deployment, not-after and nonce; no word of the statement
    can be another without another challenge.

    Raises:
        Rejected(RELEASE_INVALID): the claims have no canonical form.
    """
    bare: dict[str, Json] = {name: value for name, value in claims.items() if name != WEBAUTHN}
    try:
        return hashlib.sha256(canonical_json({"typ": typ, "claims": bare})).digest()
    except ValueError:
        raise Rejected(Code.RELEASE_INVALID, "the statement has no canonical form for a passkey to sign") from None


def read_assertion(value: Json) -> Assertion:
    """The assertion in a statement.

    Raises:
        Rejected(RELEASE_INVALID): other members, no canonical base64url, or too long.
    """
    code = Code.RELEASE_INVALID
    members = value if isinstance(value, Mapping) else {}
    texts = {name: text for name, text in members.items() if isinstance(text, str)}
    if members.keys() != _MEMBERS or texts.keys() != _MEMBERS:
        raise Rejected(code, f"{WEBAUTHN} must have exactly {', '.join(sorted(_MEMBERS))} as strings", field=WEBAUTHN)
    parts = {name: unb64u(text, code=code, field=f"{WEBAUTHN}.{name}") for name, text in texts.items()}
    if len(parts["client_data"]) > _MAX_CLIENT_DATA_BYTES or len(parts["signature"]) > _MAX_SIGNATURE_BYTES:
        raise Rejected(code, f"{WEBAUTHN} is too long", field=WEBAUTHN)
    return Assertion(**parts)


def check_assertion(
    assertion: Assertion, *, challenge: bytes, passkeys: tuple[Passkey, ...], desk: ReviewDesk
) -> Passkey:
    """The one of a person's enrolled `passkeys` that signed this challenge, at this desk (WebAuthn §7.2).

    Not checked here: the counter (see above), and the user handle, which nobody signs.

    Raises:
        Rejected(RELEASE_INVALID): any of it does not hold; `field` says which member.
    """
    # 5. to 6. It is a credential of this person.
    passkey = next((each for each in passkeys if each.id == assertion.credential), None)
    if passkey is None:
        raise _wrong("credential", "one of the person's enrolled passkeys", b64u(assertion.credential))
    # 8. to 14. The browser was asked for this very statement, by a page of this desk.
    origin = _client_data(assertion.client_data, kind="webauthn.get", challenge=challenge, origins=desk.origins)
    # 15. to 19. The authenticator was asked in the name of the desk, and a person was there and verified.
    _authenticator_data(assertion.authenticator_data, rp_id=passkey.rp_id, origin=origin)
    if len(assertion.authenticator_data) != _HEAD_BYTES or assertion.authenticator_data[32] & (_AT | _ED):
        raise _wrong("authenticator_data", f"{_HEAD_BYTES} bytes without extensions", "more")
    # 20. to 21. The passkey signed both.
    signed = assertion.authenticator_data + hashlib.sha256(assertion.client_data).digest()
    if not verifies_der(passkey.key, signed, assertion.signature):
        raise _wrong("signature", "that of the passkey", "another")
    return passkey


def read_registration(
    client_data: bytes, authenticator_data: bytes, *, challenge: bytes, rp_id: str, origin: str, name: str = ""
) -> Passkey:
    """A credential that was just made at the desk's page, attestation `none` (WebAuthn §7.1, §6.5.1).

    Without attestation nothing is signed yet: an operator who enrols it says whose it is. The public key is one of the
    two forms that CTAP2 allows for the two algorithms, byte for byte, so nothing of CBOR needs to be understood.

    Raises:
        Rejected(RELEASE_INVALID): another challenge, page or RP id, nobody verified, or another kind of key.
    """
    _client_data(client_data, kind="webauthn.create", challenge=challenge, origins=(origin,))
    _authenticator_data(authenticator_data, rp_id=rp_id, origin=origin)
    flags, data = authenticator_data[32:33], authenticator_data[_HEAD_BYTES + _AAGUID_BYTES :]
    size = int.from_bytes(data[:2])
    credential, rest = data[2 : 2 + size], data[2 + size :]
    if not flags[0] & _AT or len(credential) != size or not MIN_ID_BYTES <= size <= MAX_ID_BYTES:
        raise _wrong("authenticator_data", f"a credential id of {MIN_ID_BYTES} to {MAX_ID_BYTES} bytes", "another")
    key, length = _cose_key(rest)
    if len(rest) > length and not flags[0] & _ED:
        raise _wrong("authenticator_data", "an end after the public key", "more")
    return Passkey(id=credential, key=key, rp_id=rp_id, name=name)


def is_within(origin: str, rp_id: str) -> bool:
    """Whether a page of this origin may use credentials of that RP id: the host's own, or a domain above it."""
    host = urlsplit(origin).hostname or ""
    return host == rp_id or host.endswith(f".{rp_id}")


def _client_data(data: bytes, *, kind: str, challenge: bytes, origins: tuple[str, ...]) -> str:
    """The origin in a browser's account of what it was asked (§5.8.1). Members it may have besides are passed over."""
    told = parse_json(data, code=Code.RELEASE_INVALID, what="the client data", depth=8, members=64)
    if not isinstance(told, Mapping):
        raise _wrong("client_data", "a JSON object", "another value")
    if told.get("type") != kind:
        raise _wrong("type", kind, told.get("type"))
    if told.get("challenge") != b64u(challenge):
        raise _wrong("challenge", "that of this very statement", told.get("challenge"))
    origin = told.get("origin")
    if not isinstance(origin, str) or origin not in origins:  # an agent may read this: it is not told where the desk is
        raise _wrong("origin", "one of the desk's origins", origin)
    if told.get("crossOrigin", False) is not False or "topOrigin" in told:
        raise _wrong("crossOrigin", "a page that stands by itself", "one inside another site's")
    return origin


def _authenticator_data(data: bytes, *, rp_id: str, origin: str) -> None:
    if len(data) < _HEAD_BYTES:
        raise _wrong("authenticator_data", f"at least {_HEAD_BYTES} bytes", len(data))
    if not is_within(origin, rp_id):
        raise _wrong("rp_id", "the domain of the origin, or above it", rp_id)
    if data[:32] != hashlib.sha256(rp_id.encode("utf-8")).digest():
        raise _wrong("rp_id", "the one the passkey was made for", "another")
    flags = data[32]
    if not flags & _UP:
        raise _wrong("flags", "a person who was present (UP)", f"{flags:#04x}")
    if not flags & _UV:
        raise _wrong("flags", "a person who was verified by PIN or biometrics (UV)", f"{flags:#04x}")
    if flags & _BS and not flags & _BE:
        raise _wrong("flags", "no backup of what cannot be backed up", f"{flags:#04x}")


_COSE = (  # the canonical CBOR of a COSE_Key, with its coordinates left out (RFC 9053 §7; CTAP2 §6)
    (ES256, bytes.fromhex("a5010203262001215820"), bytes.fromhex("225820")),
    (ED25519, bytes.fromhex("a4010103272006215820"), b""),
)


def _cose_key(data: bytes) -> tuple[PublicKey, int]:
    """The public key that `data` begins with, and how long it is there."""
    for alg, head, between in _COSE:
        x, middle = data[len(head) : len(head) + 32], data[len(head) + 32 :]
        if not data.startswith(head) or len(x) != 32 or not middle.startswith(between):
            continue
        length = len(head) + 32
        written: dict[str, Json] = {"kty": "OKP", "crv": "Ed25519", "x": b64u(x)}
        if alg == ES256:
            y = middle[len(between) : len(between) + 32]
            written = {"kty": "EC", "crv": "P-256", "x": b64u(x), "y": b64u(y)}
            length += len(between) + 32
        return from_jwk(written, code=Code.RELEASE_INVALID, field="key"), length
    raise _wrong("key", "one for ES256 or EdDSA (Ed25519), which the page asks for", "another")


def _wrong(field: str, expected: str, got: Json) -> Rejected:
    told = got if isinstance(got, str) else str(got)
    return Rejected(Code.RELEASE_INVALID, f"passkey: {field} must be {expected}, got {ascii(told)[:80]}", field=field)
