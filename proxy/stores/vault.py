"""The deployment's secret, and what is made of it: encrypted holds, keyed hashes, sealed sessions."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from proxy.core.encoding import b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.ports import Vault
from proxy.stores.files import read_private, write_atomically

SECRET_BYTES = 32

_FORMAT = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_DATA_KEY_BYTES = 32
_WRAPPED_BYTES = _NONCE_BYTES + _DATA_KEY_BYTES + _TAG_BYTES


def open_vault(path: Path) -> "SecretVault":
    """The vault of the secret at `path`, which is made, 0600, when it is missing. Workers that race make one.

    Raises:
        Rejected(CONFIG_INVALID): others can read the file, or it is not a secret of ours.
    """
    try:
        secret = read_private(path)
    except FileNotFoundError:
        write_atomically(path, secrets.token_bytes(SECRET_BYTES), replace=False)
        secret = read_private(path)
    if len(secret) != SECRET_BYTES:
        raise Rejected(
            Code.CONFIG_INVALID,
            f"{path} must hold exactly {SECRET_BYTES} bytes, got {len(secret)}: restore it from a copy "
            "(with a new one, calls held now cannot be read)",
            field=path.name,
        )
    return SecretVault(secret)


class SecretVault(Vault):
    """Keys derived from one 32-byte secret by HKDF-SHA-256 (RFC 5869), one for each purpose.

    A sealed hold is: format (1 byte), key id (8), the data key wrapped under the key-encryption key (nonce 12, key 32,
    tag 16), the call under the data key (nonce 12, text, tag 16). Both layers authenticate the format, the key id and
    the hold's id, so that no part fits another hold.
    """

    def __init__(self, secret: bytes) -> None:
        self._key_id = _subkey(secret, "key id", _KEY_ID_BYTES)
        self._kek = AESGCM(_subkey(secret, "hold key-encryption key"))
        self._sessions = AESGCM(_subkey(secret, "sessions"))
        self._hash_key = _subkey(secret, "keyed hashes")

    def __repr__(self) -> str:
        return f"SecretVault({b64u(self._key_id)})"

    def seal(self, hold_id: str, plaintext: bytes) -> bytes:
        head = _FORMAT + self._key_id
        bound = head + hold_id.encode()
        data_key = AESGCM.generate_key(8 * _DATA_KEY_BYTES)
        return head + _encrypt(self._kek, data_key, bound) + _encrypt(AESGCM(data_key), plaintext, bound)

    def unseal(self, hold_id: str, sealed: bytes) -> bytes:
        head = _FORMAT + self._key_id
        bound = head + hold_id.encode()
        wrapped, body = sealed[len(head) :][:_WRAPPED_BYTES], sealed[len(head) + _WRAPPED_BYTES :]
        if sealed[: len(head)] != head or len(body) < _NONCE_BYTES + _TAG_BYTES:
            raise Rejected(Code.HOLD_TAMPERED, "the stored call is cut short or was sealed under another secret")
        try:
            return _decrypt(AESGCM(_decrypt(self._kek, wrapped, bound)), body, bound)
        except InvalidTag:
            raise Rejected(Code.HOLD_TAMPERED, "the stored call was changed, or belongs to another hold") from None

    def keyed_hash(self, value: str) -> str:
        return b64u(hmac.digest(self._hash_key, value.encode("utf-8", "surrogatepass"), hashlib.sha256))

    def seal_session(self, plaintext: bytes) -> str:
        head = _FORMAT + self._key_id
        return b64u(head + _encrypt(self._sessions, plaintext, head))

    def unseal_session(self, token: str) -> bytes:
        sealed = unb64u(token, code=Code.PROOF_SESSION, field="session")
        head = _FORMAT + self._key_id
        if sealed[: len(head)] != head or len(sealed) < len(head) + _NONCE_BYTES + _TAG_BYTES:
            raise Rejected(Code.PROOF_SESSION, "the session token is not one of ours: ask /session for a new one")
        try:
            return _decrypt(self._sessions, sealed[len(head) :], head)
        except InvalidTag:
            raise Rejected(Code.PROOF_SESSION, "the session token was changed") from None


def _subkey(secret: bytes, purpose: str, length: int = 32) -> bytes:
    info = f"intent-proxy 1 {purpose}".encode()
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(secret)


def _encrypt(key: AESGCM, plaintext: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, plaintext, bound)


def _decrypt(key: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
