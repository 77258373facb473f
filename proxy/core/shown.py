"""Text from outside, made fit for a reviewer's eyes."""

import re
from collections.abc import Collection, Iterable

_SHOWN_CHARS = 120
_SHOWN_ITEMS = 5
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-\[\]]{1,32}")


def is_plain_name(text: str) -> bool:
    """Whether a name from outside is plainly one. Any other may be a bare secret, and is not told where it is kept."""
    return _PLAIN_NAME.fullmatch(text) is not None


def shown(text: str) -> str:
    """`text` fit for a reviewer's eyes: short, printable ASCII, everything else escaped; no text is two quotes."""
    if not text:
        return '""'
    plain = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return plain if len(plain) <= _SHOWN_CHARS else f"{plain[: _SHOWN_CHARS - 3]}..."


def some_of(texts: Collection[str]) -> str:
    """The first few of `texts`, in order, and how many more there are; "" for none."""
    first = [shown(text) for text in sorted(texts)[:_SHOWN_ITEMS]]
    more = len(texts) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def any_of(texts: Iterable[str], *, ordered: bool = False) -> str:
    """`a, b or c`, all of them; "" for none. Sorted, unless they are `ordered` already."""
    names = [shown(text) for text in (texts if ordered else sorted(texts))]
    return " or ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
