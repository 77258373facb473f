"""How much of something may be taken at once: so much in all, and so much by one owner."""

from collections import Counter

from proxy.core.errors import Code, Rejected, Unavailable


class Room:
    """Counts bytes that owners hold. What cannot be had is refused at once; nobody waits for room."""

    def __init__(self, what: str, *, total: int, each: int) -> None:
        self._what = what
        self._total = total
        self._each = each
        self._taken: Counter[str] = Counter()

    def take(self, owner: str, size: int) -> None:
        """Count `size` more bytes for `owner`.

        Raises:
            Rejected(BODY_BUDGET): the owner would have more than one may.
            Unavailable(SPOOL): all together would have more than there is.
        """
        if self._taken[owner] + size > self._each:
            detail = f"the bodies of one mandate may take {self._each} bytes {self._what} at once, and do so already"
            raise Rejected(Code.BODY_BUDGET, detail, field="body")
        if self._taken.total() + size > self._total:
            detail = f"the bodies under way may take {self._total} bytes {self._what} at once, and do so already"
            raise Unavailable(Code.SPOOL, detail)
        self._taken[owner] += size

    def give(self, owner: str, size: int) -> None:
        """Take back what was counted."""
        self._taken[owner] -= size
        if not self._taken[owner]:
            del self._taken[owner]

    @property
    def taken(self) -> int:
        return self._taken.total()
