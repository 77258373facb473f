"""One journal file against what was signed about it: which line is the first that is not as it was written. Pure.

Two things are known of a line. Its *mark* stands in a checkpoint, so a changed, removed, inserted or moved line is
named even when every hash after it was made anew. Its *hash* goes into the line after it and at last into a signed
head, so a line without a mark of its own is still bound: a change is noticed, and placed between two heads.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.audit.checkpoints import SEAL_GRACE_S
from proxy.audit.findings import Finding, What
from proxy.audit.scan import Scan
from proxy.audit.starts import Previous

_MOST = 100  # differences per file; whoever changed more lines needs no longer list


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Everything signed about one file: by checkpoints, and by the first line of the chain that followed it."""

    marks: Mapping[int, str]  # seq -> mark
    heads: Mapping[int, str]  # seq -> hash of that line
    end: Previous | None  # how the successor found the file

    @property
    def bound(self) -> int:
        """The last line a signed head vouches for."""
        return max(self.heads, default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The file says something else than the marks: at `line` of the file, where `seq` was sealed."""

    what: What
    line: int
    seq: int
    last_line: int = 0


def judge(file: str, seen: Scan, signed: Signed) -> list[Finding]:
    """Every fault of one file, the first line first. Not checked here: the signature of its first line."""
    end = signed.end
    if end is not None and end.seq <= seen.lines and seen.bytes_after(end.seq) <= end.torn_bytes:
        seen.cut_after(end.seq)
    found = [_finding(file, difference) for difference in differences(signed.marks, seen.marks)]
    broken = _broken_chain(file, seen, signed.marks)
    if broken is not None and found and found[0].line <= broken.line <= found[0].last_line:
        found[0] = broken  # the marks know only the stretch, the chain knows the place in it
    elif broken is not None and (not found or broken.line < found[0].line):
        found.insert(0, broken)
    wrong_head = _wrong_head(file, seen, signed, before=found[0].line if found else seen.lines + 1)
    if wrong_head is not None:
        found.insert(0, wrong_head)
    if not found:
        found.extend(_wrong_end(file, seen, signed))
    if not found:
        found.extend(_unsealed(file, seen, signed))
    return found


def differences(written: Mapping[int, str], stands: Sequence[str]) -> Iterator[Difference]:
    """Where the marks in a file (`stands`, line 1 first) differ from those that were sealed (`written`, by seq).

    Walks both at once and finds its feet again after each difference, up to `_MOST` of them. Where marks are missing
    between two sealed stretches, a difference can only be placed in that gap: `line` to `last_line`.
    """
    seq, line, gap, count = 1, 1, 0, 0
    last = max(written, default=0)
    sealed_as: dict[str, int] = {}
    while seq <= last and count < _MOST:
        want = written.get(seq)
        if want is None:
            gap = gap or line
        elif line > len(stands) and not (gap and _find(stands, want, gap)):
            yield Difference(what=What.CUT, line=len(stands) + 1, seq=seq)
            return
        elif line <= len(stands) and stands[line - 1] == want:
            gap = 0
        else:
            count += 1
            sealed_as = sealed_as or {mark: at for at, mark in written.items()}
            begin, upto = (gap, line) if gap else (line, 0)
            got_seq = sealed_as.get(stands[line - 1], 0) if line <= len(stands) else 0
            found_at = _find(stands, want, begin)
            if found_at and (found_at < line or got_seq <= seq):
                what = What.REMOVED if found_at < line else What.INSERTED
                yield Difference(what=what, line=begin, seq=seq, last_line=upto)
                line = found_at
            elif found_at:
                yield Difference(what=What.REORDERED, line=begin, seq=seq, last_line=upto)
                return
            elif got_seq > seq:
                yield Difference(what=What.REMOVED, line=begin, seq=seq, last_line=upto)
                seq = got_seq
            else:
                yield Difference(what=What.CHANGED, line=begin, seq=seq, last_line=upto)
            gap = 0
        seq, line = seq + 1, line + 1


def _find(stands: Sequence[str], mark: str, begin: int) -> int:
    """The first line from `begin` on that bears `mark`, or 0."""
    try:
        return stands.index(mark, begin - 1) + 1
    except ValueError:
        return 0


def _finding(file: str, difference: Difference) -> Finding:
    seq = difference.seq
    says = {
        What.CHANGED: f"this is not the line that was sealed as number {seq}",
        What.REMOVED: f"the line that was sealed as number {seq} is gone",
        What.INSERTED: f"a line that was never sealed stands where number {seq} was",
        What.REORDERED: f"the line that was sealed as number {seq} stands further down",
        What.CUT: f"the file ends here, but lines from number {seq} on were sealed",
    }
    return Finding(
        file=file,
        line=difference.line,
        seq=seq,
        what=difference.what,
        detail=says[difference.what],
        last_line=difference.last_line,
    )


def _broken_chain(file: str, seen: Scan, marks: Mapping[int, str]) -> Finding | None:
    """The first line whose number or `prev` does not follow from the lines before it."""
    misnumbered = next((line for line, seq in enumerate(seen.seqs, 1) if seq != line), 0)
    unlinked = seen.broken_links[0] if seen.broken_links else 0
    if not misnumbered and not unlinked:
        return None
    next_broken = len(seen.broken_links) > 1 and seen.broken_links[1] == unlinked + 1
    if misnumbered and (not unlinked or misnumbered <= unlinked):
        what, detail = _misnumbered(seen, misnumbered, marks)
        before = misnumbered - 1
        rivals = before > 0 and seen.seqs[before] == before and seen.hashes[before] != seen.hashes[before - 1]
        if rivals and before not in marks and misnumbered < seen.lines and not next_broken:
            misnumbered = before  # of two lines with one number the chain goes on from the genuine one, the second
        return Finding(file=file, line=misnumbered, seq=misnumbered, what=what, detail=detail)
    line, last_line = unlinked, 0
    if unlinked - 1 not in marks and not next_broken:  # the line before may be the changed one
        line, last_line = unlinked - 1, unlinked if unlinked == seen.lines else 0
    detail = (
        "its hash is not the one the next line was chained to"
        if line < unlinked
        else "prev is not the hash of the line before"
    )
    return Finding(file=file, line=line, seq=line, what=What.CHANGED, detail=detail, last_line=last_line)


def _misnumbered(seen: Scan, line: int, marks: Mapping[int, str]) -> tuple[What, str]:
    got = seen.seqs[line - 1]
    if got == 0:
        return What.CHANGED, "this is not a journal line"
    follows = seen.seqs[line] if line < seen.lines else 0
    later = seen.seqs[line:]
    if line in marks or follows == line + 1:
        return What.CHANGED, f"seq must be {line}, got {got}"
    if got < line or (follows == line and got in later):
        return What.INSERTED, f"line number {got} stands where number {line} should"
    if line in later:
        return What.REORDERED, f"line number {got} stands where number {line} should, which comes further down"
    return What.REMOVED, f"line number {line} is gone; number {got} follows"


def _wrong_head(file: str, seen: Scan, signed: Signed, *, before: int) -> Finding | None:
    """The first signed head that the chain on disk does not lead to, though its own links fit.

    Heads from line `before` on are left alone: a fault was found there that explains them.
    """
    good = 0
    for seq in sorted(seq for seq in signed.heads if 1 <= seq < before):
        if seen.hashes[seq - 1] != signed.heads[seq]:
            loose = [line for line in range(good + 1, seq + 1) if line not in signed.marks] or [good + 1, seq]
            detail = f"the chain does not lead to the hash signed for line {seq}: its hashes were made anew"
            return Finding(
                file=file,
                line=loose[0],
                seq=loose[0],
                what=What.CHANGED,
                detail=detail,
                last_line=loose[-1] if loose[-1] > loose[0] else 0,
            )
        good = seq
    return None


def _wrong_end(file: str, seen: Scan, signed: Signed) -> Iterator[Finding]:
    """Lines cut from, or added to, a chain whose end is known."""
    end = signed.end
    if end is not None and end.seq > seen.lines:
        detail = f"the file ends here, but the next chain found {end.seq} lines in it"
        yield Finding(file=file, line=seen.lines + 1, seq=seen.lines + 1, what=What.CUT, detail=detail)
    elif end is not None and seen.bytes_after(end.seq) > end.torn_bytes:
        detail = f"the next chain found this file ending with line {end.seq}"
        yield Finding(file=file, line=end.seq + 1, seq=end.seq + 1, what=What.INSERTED, detail=detail)
    elif seen.stop_line and seen.stop_line < seen.lines:
        line = seen.stop_line + 1
        yield Finding(file=file, line=line, seq=line, what=What.INSERTED, detail="a line after the chain was closed")


def _unsealed(file: str, seen: Scan, signed: Signed) -> Iterator[Finding]:
    """Lines that should have been sealed by now."""
    if not signed.heads and signed.end is None:
        detail = "no checkpoint of this file is known, and no later chain names it: nothing vouches for its lines"
        yield Finding(file=file, line=1, seq=1, what=What.UNSEALED, detail=detail, last_line=seen.lines)
        return
    first = signed.bound + 1
    begin, last = seen.at(first), seen.at(seen.lines)
    if begin is not None and last is not None and (last - begin).total_seconds() > SEAL_GRACE_S:
        detail = (
            f"{seen.lines - signed.bound} lines over {(last - begin).total_seconds():.0f} s have no checkpoint, "
            "though one was due every second: checkpoints are missing, and nothing vouches for these lines"
        )
        yield Finding(file=file, line=first, seq=first, what=What.UNSEALED, detail=detail, last_line=seen.lines)
