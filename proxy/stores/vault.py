"""The deployment's secret, and what is made of it: encrypted holds, keyed hashes, sealed sessions."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.core.encoding import b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.ports import Vault
from proxy.stores.files import write_atomically
from proxy.stores.keyring import KEY_ID_BYTES, SECRET_BYTES, FixedRing, RingFile, Rings, single, subkey

_WHOLE, _WRAPPED = b"\x01", b"\x02"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_DATA_KEY_BYTES = 32
_PREFIX_BYTES = 1 + KEY_ID_BYTES

HEAD_BYTES = _PREFIX_BYTES + _NONCE_BYTES + _DATA_KEY_BYTES + _TAG_BYTES
"""What of a sealed call names its key and holds its data key."""


def open_vault(path: Path, *, mounted: bool = False, make: bool = True) -> "SecretVault":
    """The vault of the secret at `path`, which is made, 0600, when it is missing. Workers that race make one.

    With `mounted` or without `make` it must be there: nodes that each made their own could not read each other's calls.

    Raises:
        Rejected(CONFIG_INVALID): others can read the file, or it is not a secret of ours, or is missing.
    """
    try:
        return SecretVault(RingFile(path, mounted=mounted))
    except FileNotFoundError:
        if mounted or not make:
            detail = f"{path} is not here: copy the secret of a node of this deployment to it"
            raise Rejected(Code.CONFIG_INVALID, detail, field="secret") from None
    write_atomically(path, secrets.token_bytes(SECRET_BYTES), replace=False)
    return SecretVault(RingFile(path))


class SecretVault(Vault):
    """Keys derived from each key of a keyring by HKDF-SHA-256 (RFC 5869), one for each purpose.

    A sealed hold is: format (1 byte), key id (8), the data key wrapped under the key-encryption key (nonce 12, key 32,
    tag 16), the call under the data key (nonce 12, text, tag 16). The wrapping authenticates format, key id and the
    hold's id; the call, format and the hold's id: no part fits another hold, and a data key can be wrapped anew
    without touching the call. In format 1, which is still read, the call authenticates the key id as well.
    """

    def __init__(self, secret: bytes | Rings) -> None:
        self.rings: Rings = FixedRing(single(secret)) if isinstance(secret, bytes) else secret
        self._hash_key = self.rings.current().hash_key
        self._derived: dict[tuple[bytes, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"SecretVault({self.rings.current().sealing.name})"

    # --- holds -------------------------------------------------------------------------------------------------------

    def seal(self, hold_id: str, plaintext: bytes) -> bytes:
        data_key = AESGCM.generate_key(8 * _DATA_KEY_BYTES)
        body = _encrypt(AESGCM(data_key), plaintext, _WRAPPED + hold_id.encode())
        return self._wrap(hold_id, data_key) + body

    def unseal(self, hold_id: str, sealed: bytes) -> bytes:
        data_key, body = self._data_key(hold_id, sealed), sealed[HEAD_BYTES:]
        bound = (sealed[:_PREFIX_BYTES] if sealed[:1] == _WHOLE else _WRAPPED) + hold_id.encode()
        if len(body) < _NONCE_BYTES + _TAG_BYTES:
            raise Rejected(Code.HOLD_TAMPERED, "the stored call is cut short")
        try:
            return _decrypt(AESGCM(data_key), body, bound)
        except InvalidTag:
            raise _tampered() from None

    def sealed_by(self, sealed: bytes) -> bytes:
        """The id of the key that a sealed call, or its head, claims to be sealed with. Nothing is checked."""
        return sealed[1:_PREFIX_BYTES]

    def is_current(self, head: bytes) -> bool:
        """Whether a sealed call names the key that seals now, in the form that is written now."""
        return head[:_PREFIX_BYTES] == _WRAPPED + self.rings.current().sealing.id

    def is_whole(self, head: bytes) -> bool:
        """Whether a sealed call must be sealed anew in whole, because its form binds the call to the key."""
        return head[:1] == _WHOLE

    def rewrap(self, hold_id: str, sealed: bytes) -> bytes:
        """The head, or the whole where `is_whole`, of the same call under the key that seals now.

        Raises:
            Rejected(HOLD_TAMPERED): it was changed, swapped, or sealed under a key we do not hold.
        """
        if self.is_whole(sealed):
            return self.seal(hold_id, self.unseal(hold_id, sealed))
        return self._wrap(hold_id, self._data_key(hold_id, sealed))

    def _wrap(self, hold_id: str, data_key: bytes) -> bytes:
        key = self.rings.current().sealing
        prefix = _WRAPPED + key.id
        return prefix + _encrypt(self._aead(key.secret, "hold key-encryption key"), data_key, prefix + hold_id.encode())

    def _data_key(self, hold_id: str, sealed: bytes) -> bytes:
        prefix, wrapped = sealed[:_PREFIX_BYTES], sealed[_PREFIX_BYTES:HEAD_BYTES]
        if len(sealed) < HEAD_BYTES or prefix[:1] not in (_WHOLE, _WRAPPED):
            raise Rejected(Code.HOLD_TAMPERED, "the stored call is cut short or in a form that is not ours")
        key = self.rings.current().key(prefix[1:])
        if key is None:
            detail = f"the stored call names key {prefix[1:].hex()}, which this deployment's secret does not have"
            raise Rejected(Code.HOLD_TAMPERED, detail)
        try:
            return _decrypt(self._aead(key.secret, "hold key-encryption key"), wrapped, prefix + hold_id.encode())
        except InvalidTag:
            raise _tampered() from None

    # --- keyed hashes and sessions -----------------------------------------------------------------------------------

    def keyed_hash(self, value: str) -> str:
        return b64u(hmac.digest(self._hash_key, value.encode("utf-8", "surrogatepass"), hashlib.sha256))

    def seal_session(self, plaintext: bytes) -> str:
        key = self.rings.current().sealing
        prefix = _WHOLE + key.id
        return b64u(prefix + _encrypt(self._aead(key.secret, "sessions"), plaintext, prefix))

    def unseal_session(self, token: str) -> bytes:
        sealed = unb64u(token, code=Code.PROOF_SESSION, field="session")
        prefix, text = sealed[:_PREFIX_BYTES], sealed[_PREFIX_BYTES:]
        key = self.rings.current().key(prefix[1:]) if prefix[:1] == _WHOLE else None
        if key is None or len(text) < _NONCE_BYTES + _TAG_BYTES:
            raise Rejected(Code.PROOF_SESSION, "the session token is not one of ours: ask /session for a new one")
        try:
            return _decrypt(self._aead(key.secret, "sessions"), text, prefix)
        except InvalidTag:
            raise Rejected(Code.PROOF_SESSION, "the session token was changed") from None

    def _aead(self, secret: bytes, purpose: str) -> AESGCM:
        if (secret, purpose) not in self._derived:
            self._derived[secret, purpose] = AESGCM(subkey(secret, purpose))
        return self._derived[secret, purpose]


def _tampered() -> Rejected:
    return Rejected(Code.HOLD_TAMPERED, "the stored call was changed, or belongs to another hold")


def _encrypt(key: AESGCM, plaintext: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plaintext, bound)


def _decrypt(key: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
