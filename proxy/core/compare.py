"""The verbs of a change: what is possible now that was not before, and what no longer is.

Sentences begin with "adds" or "loosens" (more is possible), "removes" or "tightens" (less is), or "changes" (both, or
nobody can tell).
"""

from collections.abc import Iterable, Iterator

from proxy.core.shown import shown, some_of


def sets(what: str, old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    """Things that are permitted one by one."""
    before, after = set(old), set(new)
    for verb, names in (("adds", after - before), ("removes", before - after)):
        for name in sorted(names):
            yield f"{verb} {what} {shown(name)}"


def values(what: str, old: frozenset[str] | None, new: frozenset[str] | None) -> Iterator[str]:
    """Permitted values, where None permits all."""
    if old == new:
        return
    if new is None or (old is not None and new > old):
        verb = "loosens"
    elif old is None or new < old:
        verb = "tightens"
    else:
        verb = "changes"
    yield f"{verb} {what} from {_listed(old)} to {_listed(new)}"


def ceiling(what: str, old: int | None, new: int | None) -> Iterator[str]:
    """The most that is permitted, where None permits any amount."""
    if old != new:
        verb = "loosens" if new is None or (old is not None and new > old) else "tightens"
        yield f"{verb} {what} from {_bound(old)} to {_bound(new)}"


def floor(what: str, old: int | None, new: int | None) -> Iterator[str]:
    """The least that is permitted, where None permits any amount."""
    if old != new:
        verb = "loosens" if new is None or (old is not None and new < old) else "tightens"
        yield f"{verb} {what} from {_bound(old)} to {_bound(new)}"


def required(what: str, old: bool, new: bool) -> Iterator[str]:
    """Whether something must be there."""
    if old != new:
        yield f"tightens {what} to required" if new else f"loosens {what} to optional"


def repeated(what: str, old: bool, new: bool) -> Iterator[str]:
    """Whether something may come more than once."""
    if old != new:
        yield f"loosens {what} to any number of times" if new else f"tightens {what} to once"


def _listed(texts: frozenset[str] | None) -> str:
    if texts is None:
        return "any value"
    return some_of(texts) or "no value"


def _bound(bound: int | None) -> str:
    return "no limit" if bound is None else str(bound)
