"""The spellings in which an origin may repeat a secret, and where they stand in what it sends.

Whoever repeats it escapes it for where it stands, each encoder in its own way: `&` is `%26`, `&amp;`, `&#38;` or
`\\u0026`. So each character is looked for in all its spellings, not the whole in a few.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from html.entities import html5
from types import MappingProxyType

_ANCHOR_CHARS = 4
"""A word is sought by its letters and digits first, which nobody escapes, where it has so many together."""

_HEAD_CHARS = 3

KEPT_CHARS = 16
"""So many characters of a secret, or half of a shorter one, never pass."""

_NAMED: dict[str, set[str]] = {}
for _name, _char in html5.items():
    if _name.endswith(";") and len(_char) == 1:
        _NAMED.setdefault(_char, set()).add(_name.lower())


class Echoes:
    """The words that must not be repeated, and their spellings; letters of either case are the same."""

    def __init__(self, words: tuple[str, ...], *, public: Mapping[str, int] = MappingProxyType({})) -> None:
        """`words` are printable ASCII; where two begin at one place, the first of them is found. `public`: with how
        many characters that are no secret a word begins.
        """
        self._words = tuple(tuple(_spellings(char) for char in word) for word in words)
        self._passing = tuple(_passing_chars(len(word), public.get(word, 0)) for word in words)
        self._pattern = re.compile(b"|".join(_pattern(word) for word in words))
        self._heads = re.compile(b"(?=%b)" % b"|".join(_pattern(word[:_HEAD_CHARS]) for word in words))
        self._anchors = tuple(_anchor(word) for word in words)
        self._most = max(_bytes(word) for word in self._words)
        self._most_head = max(_bytes(word[:_HEAD_CHARS]) for word in self._words)

    def found(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where words stand in the text, from the front."""
        lowered = text.lower()
        if any(anchor in lowered for anchor in self._anchors):
            for match in self._pattern.finditer(lowered):
                yield match.span()

    def replaced(self, text: bytes, by: bytes) -> bytes:
        """The text with this in place of each word."""
        parts, end = [], 0
        for begins, ends in self.found(text):
            parts += [text[end:begins], by]
            end = ends
        return b"".join([*parts, text[end:]])

    def begun(self, text: bytes) -> tuple[int, int]:
        """Where a word may have begun that the text does not end, and where one of which so much stands there that it
        must wait for the rest; the text's length if there is none.
        """
        first = max(0, len(text) - self._most + 1)
        tail = text[first:].lower()
        begun = len(text)
        for at in self._places(tail):
            for word, passing in zip(self._words, self._passing, strict=True):
                chars = _begun_chars(word, tail, at)
                begun = min(begun, first + at) if chars >= 0 else begun
                if chars >= passing:
                    return begun, first + at
        return begun, len(text)

    def _places(self, tail: bytes) -> Iterator[int]:
        """Where a word may begin: where its first characters stand, and at the end, where they may not be whole."""
        for match in self._heads.finditer(tail):
            yield match.start()
        yield from range(max(0, len(tail) - self._most_head + 1), len(tail))


@lru_cache(maxsize=64)
def echoes_of(value: str, *, user: str) -> Echoes:
    """The spellings of a secret: as it is, in base64 (alone, behind `user` and a colon, or within more), and in hex."""
    data = value.encode("ascii")
    pair, alone = (base64.b64encode(each).rstrip(b"=") for each in (f"{user}:{value}".encode("ascii"), data))
    coded = [each.decode("ascii") for each in (pair, alone, *(_within(data, before) for before in range(3)))]
    public = dict.fromkeys((coded[0], _for_urls(coded[0])), 8 * (len(user) + 1) // 6)
    return Echoes(tuple(dict.fromkeys((value, *coded, *map(_for_urls, coded), data.hex()))), public=public)


def _for_urls(coded: str) -> str:
    return coded.replace("+", "-").replace("/", "_")


def _within(data: bytes, before: int) -> bytes:
    """What base64 makes of these bytes alone, wherever they stand in something longer, behind `before` bytes of it."""
    text = base64.b64encode(b"\0" * before + data)
    return text[-(-8 * before // 6) : 8 * (before + len(data)) // 6]


@cache
def _spellings(char: str) -> tuple[bytes, ...]:
    """How one character may be written, in lower case, the longest first."""
    if char.isalnum():
        return (char.lower().encode("ascii"),)
    code = f"{ord(char):02x}"
    ways = {char, f"%{code}", f"%25{code}", f"\\x{code}", f"\\u00{code}", f"\\\\u00{code}"}
    ways |= {f"{slashes}{char}" for slashes in ("\\", "\\\\", "\\\\\\")}
    ways |= {f"&{name}" for name in _NAMED.get(char, ())}
    ways |= {f"&#{number};" for number in (ord(char), f"{ord(char):03d}", f"x{code}", f"x00{code}")}
    if char == " ":
        ways |= {"+", "%2b"}
    return tuple(sorted((way.encode("ascii") for way in ways), key=lambda way: (-len(way), way)))


def _bytes(word: tuple[tuple[bytes, ...], ...]) -> int:
    """No spelling of the word has more."""
    return sum(len(spellings[0]) for spellings in word)


def _pattern(word: str) -> bytes:
    """The word with each character in any spelling, or as it is.

    Many backslashes could be shared out in many ways among the characters of a word, and an origin could make us try
    them all. So each backslash takes what it can and never gives it back.
    """
    parts = []
    for char in word:
        ways = b"|".join(re.escape(way) for way in _spellings(char))
        parts.append(ways if char.isalnum() else (b"(?>%b)" if char == "\\" else b"(?:%b)") % ways)
    return b"%b|%b" % (b"".join(parts), re.escape(word.lower().encode("ascii")))


def _anchor(word: str) -> bytes:
    """What of a word stands in each of its spellings; nothing where that is too little to look for."""
    longest = max(re.findall("[a-z0-9]*", word.lower()), key=len)
    return longest.encode("ascii") if len(longest) >= _ANCHOR_CHARS else b""


def _passing_chars(chars: int, public: int) -> int:
    """How much of a word may pass before it is known whether it is one: what of it is no secret, and of the rest half,
    or all but `KEPT_CHARS`, which is more.

    What waits comes late, and what does not come to an end is masked: both can be seen. An agent that may guess from
    the first characters on finds the next one by trying each, at any origin that repeats what it is sent. So whoever
    does not know so much of the secret already must not see a difference.
    """
    secret = chars - public
    return public + max(secret // 2, secret - KEPT_CHARS)


def _begun_chars(word: tuple[tuple[bytes, ...], ...], text: bytes, at: int) -> int:
    """How many characters of the word stand from there to the end of the text; -1 if something else stands there."""
    begun, places = -1, {at}
    for chars, spellings in enumerate(word):
        reached = set()
        for place in places:
            left = text[place : place + len(spellings[0])]
            for spelling in spellings:
                if left.startswith(spelling):
                    reached.add(place + len(spelling))
                elif spelling.startswith(left):
                    begun = chars
        if not reached:
            break
        places = reached
    return begun
