"""What verification found, as data. The command line prints it; tests assert on it."""

import enum
from dataclasses import dataclass
from datetime import datetime


class What(enum.StrEnum):
    """What is wrong."""

    CHANGED = "changed"  # the line is not the one that was written there
    REMOVED = "removed"  # the line that was written there is gone
    INSERTED = "inserted"  # a line stands there that was never written there
    REORDERED = "reordered"  # the line was written, at another place
    CUT = "cut"  # lines are gone from the end
    MISSING_FILE = "missing file"  # a whole chain is gone
    BAD_SIGNATURE = "bad signature"  # a start line or checkpoint is not as its key signed it
    FOREIGN = "foreign"  # a file, start line or checkpoint that is not of this journal
    GAP = "gap between chains"  # a chain does not follow the one before it
    CONTRADICTION = "contradiction"  # two signed checkpoints disagree: the node's key signed for both
    UNSEALED = "unsealed"  # nothing signed vouches for these lines, though it should


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault, and the first line it shows at."""

    file: str
    line: int  # counted from 1 as an editor counts; 0: the file as a whole
    seq: int  # the sequence number of the line as written; 0: none
    what: What
    detail: str
    last_line: int = 0  # when the fault can only be placed between `line` and this one; 0: it is `line`

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}{f'-{self.last_line}' if self.last_line else ''}: {self.what.value}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """How much of one chain's file is vouched for, and by what. Counts are of whole lines on disk."""

    file: str
    lines: int
    located_lines: int  # sealed one by one: a change would be named
    bound_lines: int  # up to the last signed head: a change would be noticed; includes the located ones
    torn_bytes: int  # after the last whole line
    first_at: datetime | None
    last_at: datetime | None
    stopped: bool  # the chain was closed in good order

    @property
    def unsealed_lines(self) -> int:
        """Lines after the last signed head: of these nothing can be proven yet."""
        return self.lines - self.bound_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of verifying a journal."""

    findings: tuple[Finding, ...]  # by file and line
    files: tuple[FileReport, ...]
    checkpoints: int  # verified ones
    unreadable_checkpoints: int  # no checkpoint at all, such as a torn line in the sink; what they sealed is unsealed

    @property
    def ok(self) -> bool:
        """No fault found: every line is bound by a signature, save a tail of seconds that `files` counts."""
        return not self.findings
