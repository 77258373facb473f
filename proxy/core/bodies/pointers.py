"""JSON pointers of body rules (RFC 6901), with `*` for every item or member of a level."""

import re
from collections.abc import Mapping

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.folding import other_spelling

EVERY = "*"

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")  # RFC 6901 §4; nothing that is read here has more items
_BROKEN_ESCAPE = re.compile(r"~(?![01])")


def parse_pointer(text: str) -> tuple[str, ...]:
    """The reference tokens of a pointer; "" is the whole document.

    A token `*` means every item or member, so that a member of that name cannot be named.

    Raises:
        Rejected(CONFIG_INVALID): no pointer.
    """
    if not text:
        return ()
    if not text.startswith("/"):
        raise Rejected(Code.CONFIG_INVALID, f'a JSON pointer must start with "/", got {text[:80]!a}', field="pointer")
    return tuple(_token(part) for part in text[1:].split("/"))


def token_text(token: str) -> str:
    """A member's name, or an index, as one reference token of a pointer is written (RFC 6901 §3)."""
    return token.replace("~", "~0").replace("/", "~1")


def find(document: Json, pointer: tuple[str, ...]) -> tuple[Json, ...]:
    """Every value the pointer leads to, in the document's order; nothing where a level is missing.

    Raises:
        Rejected(BODY_MALFORMED): a member the pointer names is missing, and one that some servers would take for it
            is there (`proxy.core.folding`).
    """
    found: tuple[Json, ...] = (document,)
    for token in pointer:
        found = tuple(value for within in found for value in _step(within, token))
    return found


def _step(value: Json, token: str) -> tuple[Json, ...]:
    match value:
        case Mapping():
            if token == EVERY:
                return tuple(value.values())
            if token in value:
                return (value[token],)
            if other_spelling(token, value) is not None:
                detail = f"the body must spell the member {token[:80]!a} so, in the same letters"
                raise Rejected(Code.BODY_MALFORMED, detail, field="body")
            return ()
        case list():
            if token == EVERY:
                return tuple(value)
            return (value[int(token)],) if _INDEX.fullmatch(token) and int(token) < len(value) else ()
        case _:
            return ()


def _token(part: str) -> str:
    if _BROKEN_ESCAPE.search(part):
        detail = f'in a JSON pointer "~" is written ~0 and "/" ~1, got {part[:80]!a}'
        raise Rejected(Code.CONFIG_INVALID, detail, field="pointer")
    return part.replace("~1", "/").replace("~0", "~")
