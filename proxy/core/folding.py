"""Names that some readers take for the same name although they are spelt differently."""

import unicodedata
from collections.abc import Iterable

_DOTLESS_I = {0x130: "i", 0x131: "i"}  # Java's equalsIgnoreCase takes both for "i"; the Unicode folding does not


def folded(name: str) -> str:
    """One spelling for all that some reader of member and field names takes for `name`.

    Case goes: Go's encoding/json compares by simple folding, where U+017F is an s and U+212A a k; .NET and Java by
    upper and lower case. So does canonical equivalence (Unicode D145: texts are compared so in Swift), and whatever
    follows a NUL, where a C string ends. Compatibility forms stay apart: no reader is known to join them, and "x²"
    beside "x2" is an ordinary document.
    """
    text = name.partition("\0")[0]
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFC", text).translate(_DOTLESS_I)
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", plain).casefold())


def other_spelling(name: str, names: Iterable[str]) -> str | None:
    """The first of `names` that some readers take for `name`, and that is not it."""
    sought = folded(name)
    return next((other for other in names if other != name and folded(other) == sought), None)
