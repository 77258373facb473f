"""Names that some readers take for the same name although they are spelt differently."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

_DOTLESS_I = {0x130: "i", 0x131: "i"}  # Java's equalsIgnoreCase takes both for "i"; the Unicode folding does not
_JOINT = re.compile(r"(?<=[^_-])[_-](?=[^_-])")
_PAST_BRACKETS = re.compile(r"[\[\]]*([^\[\]]+)\]*(.*)", re.DOTALL)
_NO_LETTER = re.compile(r"[^a-z0-9]")
_MANY_MARKS = re.compile(rb"[^\0]{31,}")  # of combining classes; no writing needs more (UAX #15 §13)


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
    plain = unicodedata.normalize("NFC", _ordered(text)).translate(_DOTLESS_I)
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", plain).casefold())


def _ordered(text: str) -> str:
    """The same text to `unicodedata.normalize`, which puts a run of n combining marks in order in n² steps."""
    classes = bytes(map(unicodedata.combining, text))
    ordered: list[str] = []
    end = 0
    for run in _MANY_MARKS.finditer(classes):
        marks = text[run.start() : run.end()]
        apart = {ord(mark): unicodedata.normalize("NFD", mark) for mark in set(marks)}
        # A stable order, as it must be: marks of one class stay as they are.
        ordered += (text[end : run.start()], *sorted(marks.translate(apart), key=unicodedata.combining))
        end = run.end()
    return "".join(ordered) + text[end:] if ordered else text


def are_apart(names: Collection[str]) -> bool:
    """Whether no reader takes one of these names, each given once, for another."""
    together = "".join(names)
    fold = str.lower if together.isascii() and "\0" not in together else folded  # the same, and faster
    return len(set(map(fold, names))) == len(names)


def unjoined(name: str) -> str:
    """`folded`, also without what joins words within a name.

    Protobuf's JSON, and with it gRPC gateways and Google's APIs, takes `payee_id` for `payeeId`; so do servers that
    turn all names into one style. For comparing a name with those of rules: in one document, both are ordinary.
    """
    return _JOINT.sub("", folded(name))


class Spellings:
    """The names in the objects of one document by what readers take them for: each object is gone through once.

    However many rules ask, that is: an agent may put many into its own manifests. The document must outlive this.
    """

    def __init__(self) -> None:
        self._found: dict[int, dict[str, list[str]]] = {}

    def of(self, members: Mapping[str, object]) -> Mapping[str, Sequence[str]]:
        """The names of an object's members, by their form without joints (`unjoined`)."""
        names = self._found.get(id(members))
        if names is None:
            names = self._found[id(members)] = {}
            for name in members:
                names.setdefault(unjoined(name), []).append(name)
        return names


def other_spelling(name: str, names: Iterable[str]) -> str | None:
    """The first of `names` that some readers take for `name`, and that is not it."""
    sought = folded(name)
    return next((other for other in names if other != name and folded(other) == sought), None)


def folded_parameter(name: str) -> str:
    """One spelling for all that some reader of forms and queries takes for the same parameter, its brackets kept.

    Besides `folded` (ASP.NET ignores case): PHP drops spaces before a name, and makes an underscore of a dot, of a
    space, and of a bracket that is never closed.
    """
    text = folded(name.lstrip(" "))
    base, bracket, inner = text.partition("[")
    if "]" not in inner:
        return re.sub(r"[. \[]", "_", text)
    return re.sub(r"[. ]", "_", base) + bracket + inner


@lru_cache(maxsize=1024)  # of names that almost always are the same few
def folded_field(name: str) -> str:
    """One spelling for all that some server takes for the same header: case goes, and what is neither letter nor digit
    becomes "_" in CGI (RFC 3875 §4.1.18), be it "-" alone or, in lighttpd, any character that a name may have.
    """
    return _NO_LETTER.sub("-", name.lower())


def parameter_readings(name: str) -> frozenset[str]:
    """A parameter's name as different servers fold it: with its first brackets, and as those that look past them.

    Rack 2 (Rails up to 7.0) skips brackets before a name and right after it, and qs (Express) one pair around it: to
    both of them `[a]=1` is `a=1`, to Rack also `]a=1` and `a]=1`.
    """
    found = _PAST_BRACKETS.match(name)
    if found is None or "]" not in name:
        return frozenset({folded_parameter(name)})
    rest = found[2]
    bare = found[1] + (rest if rest.startswith("[") or not rest else f"[{rest}]")
    return frozenset({folded_parameter(name), folded_parameter(bare)})


def same_parameter(name: str, other: str) -> bool:
    """Whether some server takes one for the other, or one for a list or mapping that holds the other.

    `a[]` and `a[b]` extend or overwrite `a` (PHP, Rails, Express); `a[b]` and `a[c]` are two parameters.
    """
    return name == other or readings_meet(parameter_readings(name), parameter_readings(other))


def readings_meet(ones: Collection[str], others: Collection[str]) -> bool:
    """`same_parameter` of two names whose readings are known already."""
    return any(one == two or one.startswith(f"{two}[") or two.startswith(f"{one}[") for one in ones for two in others)


class Bases(dict[str, frozenset[str]]):
    """The parameters that a name may belong to, up to their brackets, worked out once for each name of a call.

    Two names of which `same_parameter` is true have one in common.
    """

    def __missing__(self, name: str) -> frozenset[str]:
        self[name] = bases = frozenset(reading.partition("[")[0] for reading in parameter_readings(name))
        return bases
