"""What a page asked a browser for and is still to be answered: kept for one session, for minutes, and used up once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe

LIVES = timedelta(minutes=5)
MOST_EACH = 8
"""So many of one session wait at once: as many pages as somebody may have open. Beyond them the oldest is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept[T]:
    session: str
    until: datetime
    what: T


class Once[T]:
    """Things of one kind by the word that the page bears. A restart of the desk forgets them: then one asks again."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept[T]] = {}  # oldest first, for all live equally long

    def keep(self, session: str, what: T) -> str:
        """The word with which this session, and no other, takes it back."""
        now = self._clock()
        self._kept = {word: each for word, each in self._kept.items() if now < each.until}
        own = [word for word, each in self._kept.items() if each.session == session]
        for word in own[: max(0, len(own) + 1 - MOST_EACH)]:
            del self._kept[word]
        word = token_urlsafe(32)
        self._kept[word] = _Kept(session=session, until=now + LIVES, what=what)
        return word

    def take(self, session: str, word: str) -> T | None:
        """What was kept under the word, and is so no longer. None: nothing, or another session's, or too long ago."""
        kept = self._kept.get(word)
        if kept is None or kept.session != session:
            return None
        del self._kept[word]
        return kept.what if self._clock() < kept.until else None
