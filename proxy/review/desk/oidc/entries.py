"""Sign-ins that have begun: each bound to the browser that began it, and good for one answer within ten minutes.

Of a sign-in the desk keeps nothing. Its browser keeps a random word in a cookie; state, nonce and PKCE verifier follow
from that word and a secret of this process. So nobody can fill the desk's memory with beginnings, an answer counts in
no browser but the one that has the word, and whoever reads the word there learns no verifier.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_bytes, token_urlsafe

from proxy.core.encoding import b64u, to_epoch, unb64u
from proxy.core.errors import Code, Rejected

LIVES = timedelta(minutes=10)
MOST_SPENT = 10_000
"""So many sign-ins are remembered as used. Beyond them the oldest is forgotten; its code is still used up."""

_WORD = re.compile(r"([0-9]{1,12})\.[A-Za-z0-9_-]{43}\.([A-Za-z0-9_-]{0,300})")
_PLACE = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*){1,8}")
_NOT_AFTER = frozenset({"api", "enter", "events", "leave", "static"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sign-in."""

    word: str  # in the cookie
    state: str
    nonce: str
    verifier: str
    to: str  # the page that was asked for


def place(path: str) -> str:
    """Where somebody goes after signing in: a page of the desk, or its first one."""
    fits = len(path) <= 200 and _PLACE.fullmatch(path) and path.split("/")[1] not in _NOT_AFTER
    return path if fits else "/"


class Entries:
    """The sign-ins of one desk."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._secret = token_bytes(32)
        self._spent: dict[str, None] = {}

    def begin(self, to: str) -> Entry:
        """A new sign-in, of somebody who asked for the page `to`."""
        word = f"{to_epoch(self._clock())}.{token_urlsafe(32)}.{b64u(place(to).encode('ascii'))}"
        return self._entry(word, place(to))

    def find(self, word: str) -> Entry | None:
        """The sign-in of a cookie. None: it is none, or its time is up."""
        parts = _WORD.fullmatch(word)
        if parts is None:
            return None
        began_s, now_s = int(parts[1]), to_epoch(self._clock())
        try:
            to = unb64u(parts[2], code=Code.CONFIG_INVALID, field="to").decode("ascii")
        except (Rejected, UnicodeDecodeError):
            return None
        if not began_s <= now_s < began_s + LIVES.total_seconds():
            return None
        return self._entry(word, place(to))

    def spend(self, entry: Entry) -> bool:
        """Use a sign-in up. False: it was."""
        if entry.state in self._spent:
            return False
        while len(self._spent) >= MOST_SPENT:
            del self._spent[next(iter(self._spent))]
        self._spent[entry.state] = None
        return True

    def _entry(self, word: str, to: str) -> Entry:
        def derived(what: str) -> str:
            return b64u(hmac.digest(self._secret, f"{what} {word}".encode("ascii"), "sha256"))

        return Entry(word=word, state=derived("state"), nonce=derived("nonce"), verifier=derived("verifier"), to=to)
