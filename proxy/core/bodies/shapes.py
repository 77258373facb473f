"""Taking a JSON body apart: what was expected at a place and what kind of thing stands there, never its value."""

from collections.abc import Iterator, Mapping, Sequence, Set

from proxy.core.bodies.pointers import token_text
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.shown import is_plain_name

MAX_BATCH = 50


def malformed(where: str, detail: str) -> Rejected:
    """The fault of a body that cannot be read one way only. `where` is a JSON pointer (RFC 6901)."""
    return Rejected(Code.BODY_MALFORMED, f"{where or 'the body'}: {detail}", field=where)


def an_object(value: Json, where: str) -> Mapping[str, Json]:
    """`value`, which must be an object.

    Raises:
        Rejected(BODY_MALFORMED): it is something else.
    """
    if not isinstance(value, Mapping):
        raise malformed(where, f"expected an object, got {kind_of(value)}")
    return value


def a_list(value: Json, where: str) -> Sequence[Json]:
    """`value`, which must be a list.

    Raises:
        Rejected(BODY_MALFORMED): it is something else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise malformed(where, f"expected a list, got {kind_of(value)}")
    return value


def a_text(value: Json, where: str) -> str:
    """`value`, which must be a string with something in it.

    Raises:
        Rejected(BODY_MALFORMED): it is something else, or empty.
    """
    if not isinstance(value, str) or not value:
        raise malformed(where, f"expected a string with something in it, got {kind_of(value)}")
    return value


def one_or_batch(document: Json) -> Iterator[tuple[Mapping[str, Json], str]]:
    """The object that a document is, or each object of the list that it is, with its JSON pointer.

    Raises:
        Rejected(BODY_MALFORMED): it is something else, holds something else, or is empty or longer than `MAX_BATCH`.
    """
    if isinstance(document, Mapping):
        yield document, ""
        return
    batch = a_list(document, "")
    if not 0 < len(batch) <= MAX_BATCH:
        raise malformed("", f"expected one object, or a batch of 1 to {MAX_BATCH}, got a batch of {len(batch)}")
    for place, each in enumerate(batch):
        yield an_object(each, f"/{place}"), f"/{place}"


def only(value: Mapping[str, Json], known: Set[str], where: str, *, mend: str = "remove it") -> None:
    """Refuse an object with a member that is not `known`: what it asks for cannot be told.

    Raises:
        Rejected(BODY_MALFORMED): the first such member, and `mend`.
    """
    unknown = next((name for name in value if name not in known), None)
    if unknown is not None:
        place = f"{where}/{unknown if is_plain_name(unknown) else '*'}"  # the fault is kept, and a name may be a secret
        raise malformed(place, f"this member is not one that can be read here; {mend}")


def kind_of(value: Json) -> str:
    """What `value` is, in words that show nothing of it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string" if value else "an empty string"
        case Mapping():
            return "an object"
        case _:
            return "a list"


def escaped(name: str) -> str:
    """A member's name as one reference token of a JSON pointer, cut to a length fit for a message."""
    return token_text(name[:80])
