"""Reading back a normal form: exactly the members this program writes, each of exactly one type.

Each of these returns the value it is given, or raises `Rejected(CONFIG_INVALID)`; `field` is what a message calls it.
"""

from collections.abc import Mapping

from proxy.core.encoding import MAX_EXACT_INT, Json
from proxy.core.errors import Code, Rejected


def check_once(names: list[str], what: str) -> None:
    """Refuse a name that stands twice."""
    if len(set(names)) != len(names):
        raise not_normal(f"each {what} may appear only once")


def as_members(
    value: Json, names: frozenset[str] | set[str], what: str, *, may: frozenset[str] = frozenset()
) -> Mapping[str, Json]:
    """An object with all of `names` and, besides, nothing but what it `may` have."""
    if not isinstance(value, Mapping) or not names <= set(value) <= names | may:
        raise not_normal(f"{what} must have exactly the members {', '.join(sorted(names))}")
    return value


def as_list(value: Json, field: str) -> list[Json]:
    """A list, of whatever."""
    if not isinstance(value, list):
        raise not_normal(f"{field} must be a list")
    return value


def as_texts(value: Json, field: str, *, empty: bool = False) -> tuple[str, ...]:
    """A list of texts, in its order; with `empty`, texts that may be empty."""
    return tuple(as_text(item, field, empty=empty) for item in as_list(value, field))


def as_text(value: Json, field: str, *, empty: bool = False) -> str:
    """A text, which may be empty only with `empty`."""
    if not isinstance(value, str) or not (value or empty):
        raise not_normal(f"{field} must be a non-empty string" if not empty else f"{field} must be strings")
    return value


def as_flag(value: Json, field: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise not_normal(f"{field} must be true or false")
    return value


def as_whole(value: Json, field: str, *, least: int = 0, most: int = MAX_EXACT_INT) -> int:
    """A whole number within bounds, both included."""
    if type(value) is not int or not least <= value <= most:
        raise not_normal(f"{field} must be a whole number from {least} to {most}")
    return value


def not_normal(detail: str) -> Rejected:
    """The fault of a normal form that is not one."""
    return Rejected(Code.CONFIG_INVALID, detail)
