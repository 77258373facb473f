"""The deployment's secret as several keys: one seals, older ones still open, and one for keyed hashes never changes.

A keyring is text, one key a line, after a line that names the form:

    intent-proxy-keyring 1
    hash KEY
    open KEY UNTIL      it sealed until then, and still opens what it sealed
    seal KEY SINCE      exactly one
    next KEY SINCE      it only opens, until it is rotated in: give it to every machine first

KEY is 32 bytes in base64url, a time is seconds since 1970. A secret of just 32 bytes, as older versions made it, is a
keyring of one key, from which the key for hashes is derived.

Equal calls find their hold, and a denial sticks, because a credential in them has the same keyed hash every time.
So that key stays when the others go: what it protects is guessing at credentials from digests, not any call.
"""

import enum
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from proxy.core.encoding import b64u, from_epoch, to_epoch, unb64u
from proxy.core.errors import Code, Rejected
from proxy.stores.closedfiles import mark_of, read_closed
from proxy.stores.files import write_atomically

logger = logging.getLogger(__name__)

SECRET_BYTES = 32
KEY_ID_BYTES = 8
MAX_RING_BYTES = 64 * 1024

_FORM = "intent-proxy-keyring 1"
_HASH = "hash"


class Role(enum.StrEnum):
    """What a key is for, as its line begins."""

    OPEN = "open"
    SEAL = "seal"
    NEXT = "next"


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """One key. `at`: since when it seals (SEAL), when it ceased to (OPEN), when it was made (NEXT)."""

    secret: bytes = field(repr=False)
    role: Role
    at: datetime
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", subkey(self.secret, "key id", KEY_ID_BYTES))

    @property
    def name(self) -> str:
        """The id as people and programs read it."""
        return self.id.hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of one deployment."""

    hash_key: bytes = field(repr=False)
    keys: tuple[RingKey, ...]

    @property
    def sealing(self) -> RingKey:
        return next(key for key in self.keys if key.role is Role.SEAL)

    def key(self, key_id: bytes) -> RingKey | None:
        return next((key for key in self.keys if key.id == key_id), None)

    def prepared(self, secret: bytes, *, now: datetime) -> "Keyring":
        """With one more key, which opens and does not seal yet."""
        return replace(self, keys=(*self.keys, RingKey(secret=secret, role=Role.NEXT, at=now)))

    def rotated(self, secret: bytes, *, now: datetime) -> "Keyring":
        """With the newest prepared key sealing from now on, or else with `secret` as a new one."""
        waiting = [key for key in self.keys if key.role is Role.NEXT]
        ring = self if waiting else self.prepared(secret, now=now)
        chosen = (waiting or [ring.keys[-1]])[-1]

        def moved(key: RingKey) -> RingKey:
            if key is chosen:
                return replace(key, role=Role.SEAL, at=now)
            return replace(key, role=Role.OPEN, at=now) if key.role is Role.SEAL else key

        return replace(ring, keys=tuple(moved(key) for key in ring.keys))

    def without(self, key_ids: Sequence[bytes]) -> "Keyring":
        """Without these keys; the one that seals stays."""
        kept = tuple(key for key in self.keys if key.role is Role.SEAL or key.id not in key_ids)
        return replace(self, keys=kept)

    def to_bytes(self) -> bytes:
        lines = [_FORM, f"{_HASH} {b64u(self.hash_key)}"]
        lines += [f"{key.role} {b64u(key.secret)} {to_epoch(key.at)}" for key in self.keys]
        return ("\n".join(lines) + "\n").encode("ascii")


def subkey(secret: bytes, purpose: str, length: int = 32) -> bytes:
    """A key for one purpose, by HKDF-SHA-256 (RFC 5869)."""
    info = f"intent-proxy 1 {purpose}".encode()
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(secret)


def single(secret: bytes) -> Keyring:
    """The keyring that a bare secret is."""
    key = RingKey(secret=secret, role=Role.SEAL, at=from_epoch(0))
    return Keyring(hash_key=subkey(secret, "keyed hashes"), keys=(key,))


def read_keyring(data: bytes, *, where: str) -> Keyring:
    """The keyring in these bytes.

    Raises:
        Rejected(CONFIG_INVALID): neither 32 bytes nor a keyring; nothing of it is repeated in the detail.
    """
    keyed = data.startswith(_FORM.encode())  # also where it was cut to the length of a bare secret
    if len(data) == SECRET_BYTES and not keyed:
        return single(data)
    if len(data) > MAX_RING_BYTES or not keyed:
        raise _wrong(where, f"must hold exactly {SECRET_BYTES} bytes or a keyring, got {len(data)} other bytes")
    try:
        lines = [line.split(" ") for line in data.decode("ascii").splitlines()[1:]]
        hashed = [_secret(rest) for word, *rest in lines if word == _HASH]
        keys = tuple(_key(word, rest) for word, *rest in lines if word != _HASH)
    except (ValueError, OverflowError):
        raise _wrong(where, "has a line that is no key of a keyring") from None
    if len(hashed) != 1 or [key.role for key in keys].count(Role.SEAL) != 1:
        raise _wrong(where, "must have exactly one key that seals and one for hashes")
    if len({key.id for key in keys}) != len(keys):
        raise _wrong(where, "has a key twice")
    return Keyring(hash_key=hashed[0], keys=keys)


def read_keyring_text(text: str, *, where: str) -> Keyring:
    """The keyring in a variable: 32 bytes in base64url, or the lines of a keyring, ended by newlines or semicolons.

    Raises:
        Rejected(CONFIG_INVALID): as `read_keyring`.
    """
    plain = text.strip().replace(";", "\n")
    if plain.startswith(_FORM):
        return read_keyring(plain.encode("utf-8"), where=where)
    try:
        return single(_secret([plain]))
    except ValueError:
        detail = f"must be {SECRET_BYTES} bytes in base64url or a keyring, got {len(plain)} other characters"
        raise _wrong(where, detail) from None


def _key(word: str, rest: Sequence[str]) -> RingKey:
    *secret, at = rest
    return RingKey(secret=_secret(secret), role=Role(word), at=from_epoch(int(at)))


def _secret(rest: Sequence[str]) -> bytes:
    [text] = rest
    try:
        secret = unb64u(text, code=Code.CONFIG_INVALID, field="key")
    except Rejected as fault:
        raise ValueError from fault
    if len(secret) != SECRET_BYTES:
        raise ValueError
    return secret


def _wrong(where: str, what: str) -> Rejected:
    detail = f"{where} {what}: restore it from a copy (with a new one, calls held now cannot be read)"
    return Rejected(Code.CONFIG_INVALID, detail, field="secret")


# --- where it comes from ---------------------------------------------------------------------------------------------


class Rings(Protocol):
    """Where a vault gets its keys from."""

    def current(self) -> Keyring:
        """The keys now. Whoever rotates them need not restart anybody."""


class FixedRing(Rings):
    """Keys that stay as they are until a restart: an environment cannot change."""

    def __init__(self, ring: Keyring) -> None:
        self._ring = ring

    def current(self) -> Keyring:
        return self._ring


class RingFile(Rings):
    """Keys in a file, read again whenever it is another one. While it cannot be read, the last good keys count."""

    def __init__(self, path: Path, *, mounted: bool = False) -> None:
        """Read the file. `mounted`: somebody else provides it; a link, root's file and its group's reading will do.

        Raises:
            Rejected(CONFIG_INVALID): it is no keyring, or others can read it.
            FileNotFoundError: there is none.
        """
        self.path = path
        self._mounted = mounted
        self._seen, self._ring = self._read()
        self._refused: tuple[int, ...] | None = None

    def current(self) -> Keyring:
        try:
            now = mark_of(self.path.stat() if self._mounted else self.path.lstat())
        except OSError as fault:
            return self._kept((), f"{self.path} cannot be read: {fault.strerror}")
        if now in (self._seen, self._refused):
            return self._ring
        try:
            seen, ring = self._read()
        except (Rejected, OSError) as fault:
            return self._kept(now, fault.detail if isinstance(fault, Rejected) else f"{self.path}: {fault.strerror}")
        if ring.hash_key != self._ring.hash_key:
            return self._kept(now, f"{self.path} has another key for hashes: held calls would no longer be found")
        self._seen, self._ring, self._refused = seen, ring, None
        return ring

    def _kept(self, mark: tuple[int, ...], why: str) -> Keyring:
        if self._refused != mark:
            logger.error("the secret's last good keys stay in use: %s", why)
        self._refused = mark
        return self._ring

    def _read(self) -> tuple[tuple[int, ...], Keyring]:
        about, data = read_closed(self.path, limit_bytes=MAX_RING_BYTES, mounted=self._mounted)
        return mark_of(about), read_keyring(data, where=str(self.path))

    @contextmanager
    def changing(self) -> Iterator[Keyring]:
        """The keys as they are now, while nobody else may `write`."""
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            self._seen, self._ring = self._read()
            yield self._ring
        finally:
            os.close(directory)

    def write(self, ring: Keyring) -> None:
        """Put another keyring in place of this one, on disk, in one step. Within `changing` only.

        Raises:
            Rejected(CONFIG_INVALID): the file is a link, or cannot be written here.
        """
        why = "it is a link" if self.path.is_symlink() else ""
        try:
            if not why:
                write_atomically(self.path, ring.to_bytes())
        except OSError as fault:
            why = fault.strerror or type(fault).__name__
        if why:
            detail = f"{self.path} cannot be changed here ({why}): change it where it comes from, then run keys rewrap"
            raise Rejected(Code.CONFIG_INVALID, detail, field="secret")
