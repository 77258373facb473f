"""Marks of one process, held to the same tests as those on Redis."""

from datetime import datetime, timedelta

from proxy.ports import Marks
from proxy.stores.memory import Clock, system_clock


class MemoryMarks(Marks):
    """Marks in memory."""

    def __init__(self, *, now: Clock = system_clock) -> None:
        self._clock = now
        self._owners: dict[str, tuple[str, datetime]] = {}
        self._marks: dict[str, str] = {}

    async def take(self, name: str, owner: str, *, for_s: int) -> str | None:
        has, until = self._owners.get(name, (owner, self._clock()))
        if has != owner and until > self._clock():
            return None
        self._owners[name] = owner, self._clock() + timedelta(seconds=for_s)
        return self._marks.get(name, "")

    async def note(self, name: str, owner: str, mark: str, *, for_s: int) -> bool:
        if self._owners.get(name, ("", None))[0] != owner:
            return False
        self._owners[name] = owner, self._clock() + timedelta(seconds=for_s)
        self._marks[name] = mark
        return True

    async def leave(self, name: str, owner: str) -> None:
        if self._owners.get(name, ("", None))[0] == owner:
            del self._owners[name]
