"""What became of the calls that went through a sidecar, as far as its answers say (DESIGN: answers).

An origin can imitate an answer of the proxy's, and then counts here as what it imitates. The journal is the truth.
"""

from collections import Counter
from dataclasses import dataclass, field

from proxy.agent.answers import Denied, Held, read_answer

MAX_ANSWER_BYTES = 65_536
MOST_KINDS, MOST_HOLDS = 100, 1000
"""More codes and hosts are counted as `OTHERS`, and more holds without their names: origins can invent them."""
OTHERS = "others"
_LONGEST = 100
_FAILURES = ("sidecar.", "service.", "upstream.")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of calls by what they were answered."""

    allowed: int = 0
    under_way: int = 0  # sent, and not answered yet; at the end, those that the program did not wait for
    held: dict[str, Held] = field(default_factory=dict)  # by the hold's id; a call that is sent again finds its hold
    more_held: int = 0  # answers that named yet another hold
    denied: Counter[str] = field(default_factory=Counter)  # by code
    failed: Counter[str] = field(default_factory=Counter)  # by code: nobody could decide, or the destination failed
    tunnels: int = 0  # what passed inside is the proxy's to say
    distrusted: Counter[str] = field(default_factory=Counter)  # hosts whose connection a program broke off in TLS

    def note(self, status: int, headers: list[tuple[str, str]], body: bytes, *, page: bool = False) -> None:
        """One answer; `body` may be cut off at `MAX_ANSWER_BYTES`, and is not needed where `reads` says so.

        `page`: it was asked of the proxy itself, which allows nothing by showing one of its own.
        """
        match read_answer(status, headers, body):
            case None:
                self.allowed += not page
            case Held() as held if held.id in self.held or len(self.held) < MOST_HOLDS:
                self.held[held.id] = held
            case Held():
                self.more_held += 1
            case Denied(code=code):
                _count(self.failed if code.startswith(_FAILURES) else self.denied, code)

    def fail(self, code: str) -> None:
        """A call that the sidecar could not bring to the proxy, or bring back."""
        _count(self.failed, code)

    def distrust(self, host: str) -> None:
        """A connection to `host` that a program broke off in TLS."""
        _count(self.distrusted, host)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        counted = self.allowed or self.under_way or self.held or self.tunnels
        return not (counted or self.denied or self.failed or self.distrusted)


def _count(counts: Counter[str], what: str) -> None:
    what = what[:_LONGEST]
    counts[what if what in counts or len(counts) < MOST_KINDS else OTHERS] += 1


def reads(status: int, media_type: bytes) -> bool:
    """Whether the body is needed to tell what kind of answer it is."""
    return status == 202 or (status >= 400 and media_type.startswith(b"application/problem+json"))
