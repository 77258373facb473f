"""Compact JWS, one strict profile for every signed statement (RFC 7515 §7.1, RFC 8725 §3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.core.encoding import SHA256_B64U, Json, b64u, canonical_json, parse_json, sha256_b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import ED25519, ES256, PrivateKey, sign, verifies
from proxy.core.model import PublicKey

MAX_TOKEN_BYTES = 16_384


class Signed(Protocol):
    """Whatever bears a JWS signature: an envelope, or what was read out of one."""

    @property
    def alg(self) -> str: ...
    @property
    def kid(self) -> str: ...
    @property
    def signing_input(self) -> bytes: ...
    @property
    def signature(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A well-formed JWS whose signature has not been checked yet."""

    token: str
    typ: str
    alg: str
    kid: str
    claims: Mapping[str, Json]
    signing_input: bytes
    signature: bytes

    @property
    def id(self) -> str:
        """Base64url SHA-256 of the signing input."""
        return sha256_b64u(self.signing_input)


def open_envelope(token: str, *, typ: str, code: Code) -> Envelope:
    """Read a compact JWS whose header is exactly `typ`, `alg` and `kid`; see `open_one_of`."""
    return open_one_of(token, typs=(typ,), code=code)


def open_one_of(token: str, *, typs: tuple[str, ...], code: Code) -> Envelope:
    """Read a compact JWS of one of these types, whose header is exactly `typ`, `alg` and `kid`.

    Not checked here: the signature, and that `alg` is the key's.

    Raises:
        Rejected(code): another shape, size, header, type, or a payload that is not one strict JSON object.
    """
    parts = token.split(".")
    if len(token) > MAX_TOKEN_BYTES or len(parts) != 3:
        got = f"{len(parts)} with {len(token)}"
        raise Rejected(
            code, f"expected a compact JWS of three parts and at most {MAX_TOKEN_BYTES} characters, got {got}"
        )
    header = parse_json(unb64u(parts[0], code=code, field="header"), code=code, what="the JWS header")
    claims = parse_json(unb64u(parts[1], code=code, field="payload"), code=code, what="the JWS payload")
    if not isinstance(header, Mapping) or set(header) != {"typ", "alg", "kid"}:
        raise Rejected(code, "the JWS header must have exactly typ, alg and kid", field="header")
    typ, alg, kid = header["typ"], header["alg"], header["kid"]
    if not isinstance(typ, str) or typ not in typs:
        raise Rejected(code, f"the JWS must be of type {' or '.join(typs)}, got {ascii(typ)[:80]}", field="typ")
    if alg not in (ED25519, ES256):  # closed list: neither "none" nor a shared secret is ever looked at (RFC 8725 §3.1)
        raise Rejected(code, f"alg must be {ED25519} or {ES256}, got {ascii(alg)[:40]}", field="alg")
    if not isinstance(kid, str) or not SHA256_B64U.fullmatch(kid):
        raise Rejected(code, "kid must be a JWK thumbprint (RFC 7638)", field="kid")
    if not isinstance(claims, Mapping):
        raise Rejected(code, "the JWS payload must be a JSON object", field="payload")
    return Envelope(
        token=token,
        typ=typ,
        alg=str(alg),
        kid=kid,
        claims=claims,
        signing_input=f"{parts[0]}.{parts[1]}".encode("ascii"),
        signature=unb64u(parts[2], code=code, field="signature"),
    )


def check_signature(envelope: Signed, key: PublicKey, *, code: Code) -> None:
    """Accept the envelope only as `key`'s: same `kid`, the key's own algorithm, a valid signature.

    Raises:
        Rejected(code): any of them fails.
    """
    if envelope.kid != key.kid or envelope.alg != key.alg:
        raise Rejected(code, f"signed with {envelope.alg} key {envelope.kid}, expected {key.alg} key {key.kid}")
    if not verifies(key, envelope.signing_input, envelope.signature):
        raise Rejected(code, f"the signature is not that of key {key.kid}", field="signature")


def seal(claims: Mapping[str, Json], *, typ: str, key: PrivateKey) -> str:
    """Sign `claims` as a compact JWS in the same strict profile."""
    signing_input = signing_input_of(claims, typ=typ, alg=key.public.alg, kid=key.public.kid)
    return f"{signing_input.decode('ascii')}.{b64u(sign(key, signing_input))}"


def signing_input_of(claims: Mapping[str, Json], *, typ: str, alg: str, kid: str) -> bytes:
    """What `seal` signs: header and payload in their RFC 8785 form. Whoever reads takes other spellings, too.

    Raises:
        ValueError: the claims have no canonical form.
    """
    header = canonical_json({"typ": typ, "alg": alg, "kid": kid})
    return f"{b64u(header)}.{b64u(canonical_json(claims))}".encode("ascii")
