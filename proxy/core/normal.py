"""Reading back a normal form: exactly the members this program writes, each of exactly one type."""

from collections.abc import Mapping

from proxy.core.encoding import MAX_EXACT_INT, Json
from proxy.core.errors import Code, Rejected


def check_once(names: list[str], what: str) -> None:
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
    if not isinstance(value, list):
        raise not_normal(f"{field} must be a list")
    return value


def as_texts(value: Json, field: str, *, empty: bool = False) -> tuple[str, ...]:
    return tuple(as_text(item, field, empty=empty) for item in as_list(value, field))


def as_text(value: Json, field: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise not_normal(f"{field} must be a non-empty string" if not empty else f"{field} must be strings")
    return value


def as_flag(value: Json, field: str) -> bool:
    if not isinstance(value, bool):
        raise not_normal(f"{field} must be true or false")
    return value


def as_whole(value: Json, field: str, *, least: int = 0, most: int = MAX_EXACT_INT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise not_normal(f"{field} must be a whole number from {least} to {most}")
    return value


def not_normal(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail)
