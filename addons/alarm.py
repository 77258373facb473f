"""One deadline of one connection, however often it moves."""

import time

from mitmproxy.proxy import commands, events, layer


class Alarm:
    """Rings once when the time it was last set to has come.

    mitmproxy cannot take a wakeup back, so a new one is asked for only when the next to come would be too late:
    a busy connection that sets its alarm for every request keeps a handful pending and not thousands.
    """

    def __init__(self) -> None:
        self._due_s: float | None = None
        self._next: commands.RequestWakeup | None = None
        self._next_s = 0.0

    @property
    def is_set(self) -> bool:
        return self._due_s is not None

    def set(self, due_s: float) -> layer.CommandGenerator[None]:
        """Ring at `due_s` of the monotonic clock, and no longer at the time set before."""
        self._due_s = due_s
        if self._next is None or self._next_s > due_s:
            self._next_s = due_s
            self._next = commands.RequestWakeup(max(due_s - time.monotonic(), 0.0))
            yield self._next

    def clear(self) -> None:
        self._due_s = None

    def rings(self, event: events.Wakeup) -> layer.CommandGenerator[bool]:
        """Whether this wakeup is the alarm; one that came too early asks for the next."""
        if event.command is not self._next:
            return False
        self._next = None
        if self._due_s is None:
            return False
        if time.monotonic() >= self._due_s:
            self._due_s = None
            return True
        yield from self.set(self._due_s)
        return False
