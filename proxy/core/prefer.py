"""What an agent prefers where its call is held (RFC 7240)."""

import re
from dataclasses import dataclass

_WAIT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefer:
    """What the agent asked for in `Prefer` (RFC 7240): how long to wait on the connection, and `respond-async`."""

    wait_s: int | None = None
    respond_async: bool = False

    def waits_s(self, usual_s: int) -> int:
        """How long the connection waits: as the agent says; not where it wants to be told at once; else as usual."""
        if self.wait_s is not None:
            return self.wait_s
        return 0 if self.respond_async else usual_s


def read_prefer(headers: tuple[tuple[bytes, bytes], ...]) -> Prefer:
    """What the agent prefers (RFC 7240 §2): the first `wait` and `respond-async` count, all else is ignored.

    Never raises: a preference that cannot be read is none. The cap on `wait` is the caller's.
    """
    wait_s: int | None = None
    respond_async = False
    for name, value in headers:
        if name.lower() != b"prefer":
            continue
        for part in value.decode("latin-1").split(","):
            word, _, argument = part.partition(";")[0].partition("=")
            word, argument = word.strip().lower(), argument.strip().strip('"')
            if word == "respond-async":
                respond_async = True
            elif word == "wait" and wait_s is None and _WAIT.fullmatch(argument):
                wait_s = int(argument)
    return Prefer(wait_s=wait_s, respond_async=respond_async)
