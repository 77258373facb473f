"""Lengths of time as people read them."""

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(length_s: int, *, parts: int = len(_UNITS)) -> str:
    """A length of whole seconds, in its largest units: `3 d 4 h`, `12 min`, `0 s`. Exact, unless `parts` are fewer."""
    left_s, found = max(0, length_s), []
    for unit, seconds in _UNITS:
        count, left_s = divmod(left_s, seconds)
        if count:
            found.append(f"{count} {unit}")
    return " ".join(found[:parts]) or "0 s"
