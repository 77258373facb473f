"""Who is signed in at the desk: tokens that only their browser has, and of which the desk keeps hashes.

A session begins with a new token whenever somebody signs in, ends after half an hour without them, after eight hours at
most, and when they sign out. It outlives a restart of the desk, in a file of the state directory that has no token in
it: whoever reads that file cannot sign in with it.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe

from proxy.core.encoding import Json, b64u, canonical_json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores.files import read_private, write_atomically

logger = logging.getLogger(__name__)

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=8)
MOST = 1_000
"""So many sessions at once; beyond them the one that was used longest ago ends."""

_NOTED_EVERY = timedelta(minutes=1)
_STEP = timedelta(minutes=1)
"""So far a clock may be set back before who came "later" than now signs in again: else they would stay for longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody at the desk."""

    id: str  # the hash of its token
    person: str  # Person.id
    began: datetime
    used: datetime
    form_token: str  # what their forms bear

    def ends(self) -> datetime:
        return min(self.used + IDLE, self.began + LONGEST)


class Sessions:
    """The sessions of one desk."""

    def __init__(self, *, clock: Callable[[], datetime], file: Path | None = None) -> None:
        self._clock = clock
        self._file = file
        self._known: dict[str, Session] = {}
        self._noted = clock()
        if file is not None:
            self._known = {session.id: session for session in _read(file)}

    def begin(self, person: str, *, instead_of: str | None = None) -> str:
        """A new session of `person`, and its token; the one the browser had before, `instead_of`, ends."""
        if instead_of is not None:
            self._known.pop(_hash(instead_of), None)
        self._forget()
        while len(self._known) >= MOST:
            del self._known[min(self._known.values(), key=lambda session: session.used).id]
        token, now = token_urlsafe(32), self._clock()
        self._known[_hash(token)] = Session(
            id=_hash(token), person=person, began=now, used=now, form_token=_form_token(token)
        )
        self._note()
        return token

    def find(self, token: str | None, *, uses: bool = True) -> Session | None:
        """The session of a token. `uses`: its owner does something, which keeps it from ending; a stream does not."""
        session = None if token is None else self._known.get(_hash(token))
        now = self._clock()
        if session is None or token is None or not session.began - _STEP <= now < session.ends():
            return None
        session = replace(session, form_token=_form_token(token))
        if uses:
            session = self._known[session.id] = replace(session, used=now)
            if now - self._noted >= _NOTED_EVERY:
                self._note()
        return session

    def end(self, token: str | None) -> None:
        """Sign out.

        Raises:
            Unavailable: they are signed out until the desk is restarted, and that could not be written down.
        """
        if token is not None and self._known.pop(_hash(token), None) is not None:
            self._note(ended=True)

    def end_all_of(self, person: str) -> None:
        """Sign somebody out everywhere. Raises: as `end`."""
        self._known = {each.id: each for each in self._known.values() if each.person != person}
        self._note(ended=True)

    def _forget(self) -> None:
        now = self._clock()
        self._known = {each.id: each for each in self._known.values() if now < each.ends()}

    def _note(self, *, ended: bool = False) -> None:
        """Write down who is signed in. Where that fails, a restart signs people out; never somebody in who left."""
        self._noted = self._clock()
        if self._file is None:
            return
        rows: list[Json] = [
            {"id": each.id, "person": each.person, "began": to_epoch(each.began), "used": to_epoch(each.used)}
            for each in self._known.values()
        ]
        try:
            write_atomically(self._file, canonical_json(rows))
        except OSError as fault:
            logger.warning("who is signed in cannot be written to %s: %s", self._file, fault.strerror)
            if ended:
                self._drop_file()

    def _drop_file(self) -> None:
        """A full disk still lets files go: then nobody is signed in after a restart."""
        assert self._file is not None
        try:
            self._file.unlink(missing_ok=True)
        except OSError as fault:
            detail = (
                f"you are signed out, but that cannot be written to {self._file.name} ({fault.strerror}): if the desk "
                "is restarted within the session's time, whoever has this browser's cookie is signed in again"
            )
            raise Unavailable(Code.JOURNAL_DOWN, detail) from None


def _read(file: Path) -> tuple[Session, ...]:
    """The sessions in a file; one that cannot be read has none, and everybody signs in again."""
    found: list[Session] = []
    with suppress(OSError, Rejected, ValueError, OverflowError, RecursionError):
        rows = json.loads(read_private(file))
        for row in rows if isinstance(rows, list) else ():
            match row:
                case {"id": str(hashed), "person": str(person), "began": int(began), "used": int(used)}:
                    times = {"began": from_epoch(began), "used": from_epoch(used)}
                    found.append(Session(id=hashed, person=person, form_token="", **times))
    return tuple(found)


def _hash(token: str) -> str:
    return b64u(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest())


def _form_token(token: str) -> str:
    """What the forms of a session bear: it follows from the token, and does not tell it."""
    return b64u(hmac.digest(token.encode("utf-8", "surrogateescape"), b"intent-proxy desk form", "sha256"))
