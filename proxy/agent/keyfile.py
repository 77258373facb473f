"""Private keys on disk: PKCS#8 PEM, readable by their owner alone (RFC 5958, RFC 7468 §10).

A key that others can read is not used: the refusal names the command that mends it.
"""

import contextlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from proxy.core.errors import Code, Rejected
from proxy.core.keys import ED25519, ES256, PrivateKey, private_key

_MAX_BYTES = 16_384
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def fresh_key(alg: str = ED25519) -> PrivateKey:
    """A new private key, in memory only.

    Raises:
        Rejected(CONFIG_INVALID): `alg` is neither Ed25519 nor ES256.
    """
    if alg == ED25519:
        return private_key(ed25519.Ed25519PrivateKey.generate())
    if alg == ES256:
        return private_key(ec.generate_private_key(ec.SECP256R1()))
    raise Rejected(Code.CONFIG_INVALID, f"a key's algorithm must be {ED25519} or {ES256}, got {alg!r}", field="alg")


def new_key(path: Path, alg: str = ED25519) -> PrivateKey:
    """Make a private key and save it at `path`, which must not exist.

    Raises:
        Rejected(CONFIG_INVALID): as `fresh_key` and `save_key`.
    """
    key = fresh_key(alg)
    save_key(path, key)
    return key


def save_key(path: Path, key: PrivateKey) -> None:
    """Write a private key for its owner alone (0600). Never replaces a file, leaves no half-written one.

    Raises:
        Rejected(CONFIG_INVALID): the file exists, or cannot be written.
    """
    pem = key.handle.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise _fault(path, "already exists, and a key is never replaced: choose another name or move it away") from None
    except OSError as fault:
        raise _fault(path, f"cannot be written: {fault.strerror}") from None
    try:
        with os.fdopen(file, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as fault:
        with contextlib.suppress(OSError):
            path.unlink()
        raise _fault(path, f"cannot be written: {fault.strerror}") from None


def load_key(path: Path) -> PrivateKey:
    """Read a private key.

    The permissions are those of the file that was opened, not of the name. Not checked here: the directory's owner.

    Raises:
        Rejected(CONFIG_INVALID): missing, unreadable, open to group or others, not an unencrypted PKCS#8 PEM, or
            neither Ed25519 nor P-256.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _fault(path, "must be a regular file")
            if status.st_mode & _OTHERS:
                mode = stat.S_IMODE(status.st_mode)
                raise _fault(path, f"must be readable by its owner alone, its mode is {mode:04o}: chmod 600 '{path}'")
            pem = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise _fault(
            path, f"does not exist: name the one you have, or make one with intent-proxy keys new '{path}'"
        ) from None
    except OSError as fault:
        raise _fault(path, f"cannot be read: {fault.strerror}") from None
    try:
        handle = load_pem_private_key(pem[:_MAX_BYTES], password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _fault(path, "must hold one unencrypted private key, PKCS#8 in PEM") from None
    if not isinstance(handle, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _fault(path, "must hold an Ed25519 or P-256 key")
    return private_key(handle)


def _fault(path: Path, what: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, f"the key file {path} {what}", field=str(path))
