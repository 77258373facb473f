"""What became of the calls that went through a sidecar, as far as its answers say (DESIGN: answers).

An origin can imitate an answer of the proxy's, and then counts here as what it imitates. The journal is the truth.
"""

from collections import Counter
from dataclasses import dataclass, field

from proxy.agent.answers import Denied, Held, read_answer

MAX_ANSWER_BYTES = 65_536
_FAILURES = ("sidecar.", "service.", "upstream.")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of calls by what they were answered."""

    allowed: int = 0
    held: dict[str, Held] = field(default_factory=dict)  # by the hold's id; a call that is sent again finds its hold
    denied: Counter[str] = field(default_factory=Counter)  # by code
    failed: Counter[str] = field(default_factory=Counter)  # by code: nobody could decide, or the destination failed
    tunnels: int = 0  # what passed inside is the proxy's to say
    distrusted: Counter[str] = field(default_factory=Counter)  # hosts whose connection a program broke off in TLS

    def note(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """One answer; `body` may be cut off at `MAX_ANSWER_BYTES`, and is not needed where `reads` says so."""
        match read_answer(status, headers, body):
            case None:
                self.allowed += 1
            case Held() as held:
                self.held[held.id] = held
            case Denied(code=code):
                (self.failed if code.startswith(_FAILURES) else self.denied)[code] += 1

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.allowed or self.held or self.denied or self.failed or self.tunnels or self.distrusted)


def reads(status: int, media_type: bytes) -> bool:
    """Whether the body is needed to tell what kind of answer it is."""
    return status == 202 or (status >= 400 and media_type.startswith(b"application/problem+json"))
