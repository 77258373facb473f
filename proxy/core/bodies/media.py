"""Media types: what a `Content-Type` says, in one reading (RFC 9110 §8.3.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.errors import Code, Rejected

WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""A `token` (RFC 9110 §5.6.2): a type, the name of a parameter or of a field."""

# Of a quoted string: no escapes, and nothing that a careless reader takes for the end of the parameter or the field.
_QUOTED = r'"[\t !#-+\--:<-\[\]-~]*"'
_TYPE = re.compile(f"({WORD}/{WORD})")
_PARAMETER = re.compile(rf"[ \t]*;[ \t]*({WORD})=(?:({WORD})|({_QUOTED}))")
_END = re.compile(r"[ \t]*(?:;[ \t]*)?")

_UTF8 = frozenset({"utf-8", "utf8"})
_KINDS = ("urlencoded", "multipart", "json")
_ASCII = "us-ascii"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaType:
    """A media type: `type` in lower case, `parameters` by lower-case name with their values as they came."""

    type: str
    parameters: Mapping[str, str]


def media_type(headers: tuple[tuple[str, str], ...]) -> MediaType | None:
    """The media type of a call's body; None without `Content-Type`.

    Raises:
        Rejected(BODY_MALFORMED): several lines, or a value that `parse_media_type` refuses.
    """
    values = [value for name, value in headers if name.lower() == "content-type"]
    if len(values) > 1:
        raise _bad("must stand on exactly one line")
    return parse_media_type(values[0]) if values else None


def parse_media_type(text: str) -> MediaType:
    """One media type with its parameters (RFC 9110 §8.3.1, §5.6.6), narrower than the grammar where readers differ.

    One `;` may end it, as some clients write. Not checked here: that a parameter means anything for this type.

    Raises:
        Rejected(BODY_MALFORMED): ill-formed, a parameter twice or in pieces (RFC 2231), an empty parameter, or a
            quoted value with a backslash, a comma or a semicolon.
    """
    found = _TYPE.match(text)
    if found is None:
        raise _bad('must be a media type such as "application/json"')
    parameters: dict[str, str] = {}
    at = found.end()
    while (parameter := _PARAMETER.match(text, at)) is not None:
        name, token, quoted = parameter[1].lower(), parameter[2], parameter[3]
        if name in parameters:
            raise _bad(f"has the parameter {name[:40]} twice")
        if "*" in name:
            raise _bad("must not have parameters in pieces or with a character set of their own (RFC 2231)")
        parameters[name] = token if quoted is None else quoted[1:-1]
        at = parameter.end()
    if not _END.fullmatch(text, at):
        raise _bad('parameters must read "; name=value", where a quoted value has no backslash, comma or semicolon')
    return MediaType(type=found[1].lower(), parameters=parameters)


def check_charset(media: MediaType | None, data: bytes) -> None:
    """Accept text whose `charset` is UTF-8 or not given, or is US-ASCII and true.

    Not checked here: that `data` is well-formed UTF-8; that is for whoever reads the text.

    Raises:
        Rejected(BODY_MALFORMED): any other character set: those who read it so would read another text.
    """
    charset = "utf-8" if media is None else media.parameters.get("charset", "utf-8").lower()
    if charset not in _UTF8 and not (charset == _ASCII and data.isascii()):
        raise _bad(f"charset must be utf-8, got {charset[:40]!a}: send the text in UTF-8")


def check_plain(media: MediaType, *, kind: str) -> None:
    """Accept a media type that nobody takes for one of another kind; `kind` is the word for its own.

    Careless readers look for a word: formidable for "urlencoded" anywhere in the field, others for "json" or how it
    begins ("application/x-www-form-urlencoded+json" is a form to Undertow and Vert.x).

    Raises:
        Rejected(BODY_MALFORMED): the word for another kind stands in it.
    """
    words = " ".join((media.type, *media.parameters, *media.parameters.values())).lower()
    if any(word in words for word in _KINDS if word != kind):
        raise _bad(f"must not name another kind of body beside {kind}")


def _bad(rule: str) -> Rejected:
    return Rejected(Code.BODY_MALFORMED, f"content-type {rule}", field="content-type")
