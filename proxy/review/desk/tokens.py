"""Bearer tokens for the desk's API: whom each names, what it may, until when. Kept as hashes, one private file each.

A token is `ipd_`, its id, and 256 random bits; secret scanners find it by its beginning. Whoever may write to the
deployment's state makes and removes them, and the desk need not run then. When one was last used is the time of its
file, so that nobody ever writes a token's file twice.
"""

import enum
import hashlib
import hmac
import json
import os
import re
from base64 import b32encode
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes, token_urlsafe

from proxy.core.encoding import Json, b64u, canonical_json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.stores.files import private_dir, read_private, write_atomically

PREFIX = "ipd_"
USUAL = timedelta(days=90)
LONGEST = timedelta(days=366)
MOST = 200
"""So many tokens at once."""
MOST_WRONG = 30
"""So many wrong ones are looked at in a minute; more are told to wait. One that counts is never told to."""
MAX_NAME_CHARS = 60

_TOKEN = re.compile(r"ipd_([a-z2-7]{16})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[a-z2-7]{16}")
_MINUTE = timedelta(minutes=1)
_NOBODYS = b64u(hashlib.sha256(b"").digest())


class Scope(enum.StrEnum):
    """What a token may."""

    READ = "read"  # holds and what became of them; drafts, and recording what its person signed themselves
    REVEAL = "reveal"  # what may be credentials in a held call
    DECIDE = "decide"  # have the desk's key sign for its person, where that suffices


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, without what would let anybody use it."""

    id: str
    person: str  # Person.id
    scopes: frozenset[Scope]
    name: str
    made: datetime
    until: datetime
    used: datetime | None = None  # to the minute


class TooMany(Exception):
    """So many wrong tokens came that this one is not looked at."""


class Tokens:
    """The tokens of one deployment, in a directory of its state."""

    def __init__(self, directory: Path, *, clock: Callable[[], datetime]) -> None:
        self._directory = directory
        self._clock = clock
        self._wrong: deque[datetime] = deque(maxlen=MOST_WRONG)

    def add(self, person: str, scopes: frozenset[Scope], *, lasting: timedelta = USUAL, name: str = "") -> str:
        """A new token: the only time that it is seen. Not checked here: that there is such a person.

        Raises:
            Rejected(CONFIG_INVALID): no scope, too long, a name that cannot be shown, too many; or the directory is
                not ours alone.
        """
        if not scopes:
            raise _invalid("a token needs a scope: read, reveal or decide")
        if not timedelta(seconds=1) <= lasting <= LONGEST:
            raise _invalid(f"a token lives a second to {LONGEST.days} days")
        if len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise _invalid(f"a token's name has at most {MAX_NAME_CHARS} printable characters")
        private_dir(self._directory.parent)
        private_dir(self._directory)
        if len(self.listing()) >= MOST:
            raise _invalid(f"there are {MOST} tokens already: remove those that nobody uses")
        now, token_id, secret = self._clock(), b32encode(token_bytes(10)).decode("ascii").lower(), token_urlsafe(32)
        about: dict[str, Json] = {
            "hash": _hash(secret),
            "person": person,
            "scopes": sorted(scope.value for scope in scopes),
            "name": name,
            "made": to_epoch(now),
            "until": to_epoch(now + lasting),
        }
        path = self._place(token_id)
        write_atomically(path, canonical_json(about))
        os.utime(path, (0, 0))  # never used
        return f"{PREFIX}{token_id}_{secret}"

    def listing(self) -> tuple[Token, ...]:
        """Every token, also those that have ended, oldest first."""
        with suppress(FileNotFoundError):
            found = (_read(path) for path in self._directory.iterdir() if _ID.fullmatch(path.stem))
            return tuple(sorted((each[0] for each in found if each), key=lambda token: (token.made, token.id)))
        return ()

    def remove(self, token_id: str) -> Token:
        """Take a token away: the next request with it is refused.

        Raises:
            Rejected(CONFIG_INVALID): there is none of that id.
        """
        found = _read(self._place(token_id)) if _ID.fullmatch(token_id) else None
        if found is None:
            raise _invalid(f"there is no token {ascii(token_id)[1:-1][:40]}; desk tokens list prints their ids")
        self._place(token_id).unlink(missing_ok=True)
        return found[0]

    def find(self, text: str) -> Token | None:
        """Whose token this is; None: nobody's, or it has ended. Not checked here: that the person is still enrolled.

        Raises:
            TooMany: wrong ones came all the time.
        """
        match, now = _TOKEN.fullmatch(text), self._clock()
        token_id, secret = match.groups() if match is not None else ("", "")
        found = _read(self._place(token_id)) if token_id else None
        right = hmac.compare_digest(_hash(secret).encode(), (_NOBODYS if found is None else found[1]).encode())
        if found is not None and right and now < found[0].until:
            self._used(found[0], now)
            return found[0]
        while self._wrong and now - self._wrong[0] >= _MINUTE:
            self._wrong.popleft()
        if len(self._wrong) >= MOST_WRONG:
            raise TooMany
        self._wrong.append(now)
        return None

    def _used(self, token: Token, now: datetime) -> None:
        if token.used is None or abs(now - token.used) >= _MINUTE:
            with suppress(OSError):  # removed just now, or nothing can be written: that keeps nobody out
                os.utime(self._place(token.id), (now.timestamp(), now.timestamp()))

    def _place(self, token_id: str) -> Path:
        return self._directory / f"{token_id}.json"


def _read(path: Path) -> tuple[Token, str] | None:
    """A token and its hash; None for what cannot be read, or is none."""
    with suppress(OSError, Rejected, ValueError, OverflowError, RecursionError):
        used = path.lstat().st_mtime
        match json.loads(read_private(path)):
            case {
                "hash": str(hashed),
                "person": str(person),
                "scopes": [*scopes],
                "name": str(name),
                "made": int(made),
                "until": int(until),
            } if hashed.isascii():
                token = Token(
                    id=path.stem,
                    person=person,
                    scopes=frozenset(map(Scope, scopes)),
                    name=name,
                    made=from_epoch(made),
                    until=from_epoch(until),
                    used=datetime.fromtimestamp(used, UTC) if used else None,
                )
                return token, hashed
    return None


def _hash(secret: str) -> str:
    return b64u(hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest())


def _invalid(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail)
