"""Public and private keys: JWK in, thumbprints out, one strict verification (RFC 8037, RFC 7518 §3.4, RFC 7638)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.core.encoding import Json, b64u, canonical_json, sha256_b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.model import PublicKey

ED25519 = "Ed25519"
ES256 = "ES256"

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CURVE = {ED25519: ("OKP", "Ed25519"), ES256: ("EC", "P-256")}

type PrivateHandle = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateKey:
    """A private key and its public half. Its `repr` shows the thumbprint only."""

    public: PublicKey
    handle: PrivateHandle

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.alg} {self.public.kid})"


def private_key(handle: PrivateHandle) -> PrivateKey:
    """Wrap a loaded or fresh private key.

    Raises:
        Rejected(CONFIG_INVALID): an elliptic curve other than P-256.
    """
    if isinstance(handle, ed25519.Ed25519PrivateKey):
        raw = handle.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PrivateKey(public=_public(ED25519, raw), handle=handle)
    if not isinstance(handle.curve, ec.SECP256R1):
        raise Rejected(Code.CONFIG_INVALID, f"a key must be Ed25519 or P-256, got curve {handle.curve.name}")
    raw = handle.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return PrivateKey(public=_public(ES256, raw), handle=handle)


def sign(key: PrivateKey, message: bytes) -> bytes:
    """The 64-byte signature of `message`: Ed25519, or ES256 as r‖s with low s."""
    if isinstance(key.handle, ed25519.Ed25519PrivateKey):
        return key.handle.sign(message)
    r, s = decode_dss_signature(key.handle.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + min(s, _P256_ORDER - s).to_bytes(32)


def verifies(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s over `message`. ES256 accepts only r‖s with low s, so one message has one form."""
    if len(signature) != 64:
        return False
    try:
        if key.alg == ED25519:
            _ed25519(key.raw).verify(signature, message)
            return True
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        if not (0 < r < _P256_ORDER and 0 < s <= _P256_ORDER // 2):
            return False
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw)
        point.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=4096)
def _ed25519(raw: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


def verifies_der(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """As `verifies`, of a signature as authenticators write it: ES256 in DER, with either s (WebAuthn §6.5.5)."""
    if key.alg == ED25519:
        return verifies(key, message, signature)
    try:
        r, s = decode_dss_signature(signature)
        low = r.to_bytes(32) + min(s, _P256_ORDER - s).to_bytes(32)
    except (ValueError, OverflowError):
        return False
    return verifies(key, message, low)


def one_form(key: PublicKey, signature: bytes) -> bytes:
    """The one form of an authenticator's signature by this key: ES256 in DER has low s, Ed25519 has one form anyway.

    Not checked here: that it is one. What is none stays as it is, for `verifies_der` to refuse.
    """
    if key.alg == ED25519:
        return signature
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        return signature
    return encode_dss_signature(r, min(s, _P256_ORDER - s)) if 0 < s < _P256_ORDER else signature


def jwk(key: PublicKey) -> dict[str, Json]:
    """The public JWK, required members only."""
    if key.alg == ED25519:
        return {"kty": "OKP", "crv": "Ed25519", "x": b64u(key.raw)}
    return {"kty": "EC", "crv": "P-256", "x": b64u(key.raw[1:33]), "y": b64u(key.raw[33:])}


def from_jwk(value: Json, *, code: Code, field: str) -> PublicKey:
    """A public key from a JWK with exactly the required members.

    Raises:
        Rejected(code): another type or curve, missing, additional or ill-formed members, or a point off the curve.
    """
    members = value if isinstance(value, Mapping) else {}
    texts = {name: text for name, text in members.items() if isinstance(text, str)}
    kind = (texts.get("kty"), texts.get("crv"))
    wanted = {"kty", "crv", "x"} if kind == _CURVE[ED25519] else {"kty", "crv", "x", "y"}
    if kind not in _CURVE.values() or set(members) != wanted or len(texts) != len(members):
        raise Rejected(code, f"{field} must be a public JWK, OKP/Ed25519 or EC/P-256, and nothing more", field=field)
    x = unb64u(texts["x"], code=code, field=f"{field}.x")
    y = unb64u(texts["y"], code=code, field=f"{field}.y") if "y" in texts else b""
    if len(x) != 32 or len(y) != (32 if "y" in wanted else 0):
        raise Rejected(code, f"{field} coordinates must be 32 bytes", field=field)
    try:
        if not y:
            ed25519.Ed25519PublicKey.from_public_bytes(x)
            return _public(ED25519, x)
        point = b"\x04" + x + y
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise Rejected(code, f"{field} is not a point on its curve", field=field) from None
    return _public(ES256, point)


def _public(alg: str, raw: bytes) -> PublicKey:
    key = PublicKey(kid="", alg=alg, raw=raw)
    return PublicKey(kid=sha256_b64u(canonical_json(jwk(key))), alg=alg, raw=raw)
