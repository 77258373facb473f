"""Links that sign somebody in once: for whoever may open this deployment's state on this machine.

A link is a random word. Its hash is the name of a file in the state directory that says whom it is for and until when;
so whoever may write there, and nobody else, can make one, and the desk need not run then. It is spent by removing that
file, which one process can do once.
"""

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe

from proxy.core.encoding import Json, canonical_json, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores.files import private_dir, read_private, write_atomically

LIVES = timedelta(minutes=10)

_WORD = re.compile(r"[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Whom a link signs in."""

    person: str  # Person.id
    until: datetime


class Links:
    """The one-time links of one deployment, in a directory of its state."""

    def __init__(self, directory: Path, *, clock: Callable[[], datetime]) -> None:
        self._directory = directory
        self._clock = clock

    def make(self, person: str) -> str:
        """A new link's word. Those that have ended are removed.

        Raises:
            Rejected(CONFIG_INVALID): the directory is not ours alone.
        """
        private_dir(self._directory.parent)
        private_dir(self._directory)
        self._sweep()
        word = token_urlsafe(32)
        about: dict[str, Json] = {"person": person, "until": to_epoch(self._clock() + LIVES)}
        write_atomically(self._place(word), canonical_json(about))
        return word

    def look(self, word: str) -> Link | None:
        """Whom a link would sign in; nothing changes by looking, so that what only follows links does not spend it."""
        if not _WORD.fullmatch(word):
            return None
        link = _read(self._place(word))
        return None if link is None or self._clock() >= link.until else link

    def spend(self, word: str) -> Link | None:
        """Use a link up. None: it is none, has ended, or was used.

        Raises:
            Unavailable: it cannot be used up, so it signs nobody in.
        """
        link = self.look(word)
        if link is None:
            return None
        try:
            self._place(word).unlink()
        except FileNotFoundError:  # somebody else was faster
            return None
        except OSError as fault:  # what cannot be taken away would sign in again and again
            detail = f"the link cannot be used up ({fault.strerror}): an operator must let the desk write to its state"
            raise Unavailable(Code.JOURNAL_DOWN, detail) from None
        return link

    def _place(self, word: str) -> Path:
        return self._directory / hashlib.sha256(word.encode("ascii")).hexdigest()

    def _sweep(self) -> None:
        now = self._clock()
        for path in self._directory.iterdir():
            link = _read(path)
            if _NAME.fullmatch(path.name) and (link is None or now >= link.until):
                with suppress(FileNotFoundError):
                    path.unlink()


def _read(path: Path) -> Link | None:
    with suppress(FileNotFoundError, Rejected, ValueError, OverflowError):
        match json.loads(read_private(path)):
            case {"person": str(person), "until": int(until)}:
                return Link(person=person, until=datetime.fromtimestamp(until, UTC))
    return None
