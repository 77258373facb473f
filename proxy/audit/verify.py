"""Verify a journal: every chain against its signatures, its checkpoints and the chains around it.

1. Read the checkpoints. One by an unknown key, or changed, is itself a finding and counts for nothing.
2. Read every file's first line and verify it as its node's statement.
3. Put the chains of each slot in order; every one must name the one before it.
4. Compare each file with what was signed about it (`chain.judge`).
5. Whatever a checkpoint or a later chain names must be there.

What no sink and no later chain vouches for cannot be proven, and is counted, not passed over.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.audit.chain import Signed, judge
from proxy.audit.checkpoints import Checkpoint, read_checkpoint
from proxy.audit.findings import FileReport, Finding, Report, What
from proxy.audit.lines import JournalFile, file_named, read_line
from proxy.audit.reading import journal_files, raw_lines
from proxy.audit.scan import scan
from proxy.audit.starts import Previous, Start, read_start
from proxy.core.errors import Rejected
from proxy.core.model import PublicKey

CHECKPOINTS = "checkpoints"  # the `file` of findings about a checkpoint; `line` is its place among those given


@dataclass(slots=True, kw_only=True)
class _Evidence:
    """What is known before the files are read whole."""

    keys: Mapping[str, PublicKey]
    findings: list[Finding] = field(default_factory=list)
    sealed: dict[str, list[Checkpoint]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[str, Start] = field(default_factory=dict)  # genuine first lines only
    unreadable: int = 0
    checkpoints: int = 0

    def found(self, file: str, line: int, what: What, detail: str) -> None:
        self.findings.append(Finding(file=file, line=line, seq=line, what=what, detail=detail))


def verify_journal(directory: Path, *, checkpoints: Iterable[str], node_keys: Iterable[PublicKey]) -> Report:
    """Verify every journal file in `directory`.

    `checkpoints` are the tokens of every sink at hand, in any order, repeats allowed. `node_keys` are the public keys
    of every node that ever wrote here. A journal in use may be verified: lines not sealed yet are counted as such.
    Not checked here: what the lines say.

    Raises:
        Unavailable(JOURNAL_DOWN): the directory or a file in it cannot be read.
    """
    known = _Evidence(keys={key.kid: key for key in node_keys})
    files = journal_files(directory)
    _read_starts(directory, files, known)
    _read_checkpoints(checkpoints, known)
    _check_order(files, known)
    reports = [_check_file(directory, file, known) for file in files]
    _check_missing(directory, files, known)
    return Report(
        findings=tuple(sorted(known.findings, key=lambda finding: (finding.file, finding.line))),
        files=tuple(reports),
        checkpoints=known.checkpoints,
        unreadable_checkpoints=known.unreadable,
    )


def _read_starts(directory: Path, files: tuple[JournalFile, ...], known: _Evidence) -> None:
    for file in files:
        raw = next(raw_lines(directory / file.name), None)
        if raw is None or raw.torn:
            continue  # nothing durable was ever written, or it was cut away: `chain.judge` says which
        try:
            start = read_start(read_line(raw.data), known.keys)
        except Rejected as fault:
            what = {"sig": What.BAD_SIGNATURE, "kid": What.FOREIGN}.get(fault.field, What.CHANGED)
            known.found(file.name, 1, what, fault.detail)
            continue
        if (start.slot, start.boot) != (file.slot, file.boot):
            detail = f"the first line is that of {start.slot}-{start.boot}.jsonl"
            known.found(file.name, 1, What.FOREIGN, detail)
            continue
        known.starts[file.name] = start


def _read_checkpoints(tokens: Iterable[str], known: _Evidence) -> None:
    nodes = {(start.slot, start.kid, start.node) for start in known.starts.values()}
    slots = {slot for slot, _, _ in nodes}
    seen: set[bytes] = set()
    for place, token in enumerate(tokens, 1):
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            checkpoint = read_checkpoint(token, known.keys)
        except Rejected as fault:
            if fault.field == "kid":
                known.found(CHECKPOINTS, place, What.FOREIGN, fault.detail)
            elif fault.field in ("signature", "claims", "lines"):
                known.found(CHECKPOINTS, place, What.BAD_SIGNATURE, fault.detail)
            else:
                known.unreadable += 1
            continue
        file = file_named(checkpoint.file)
        signer = (checkpoint.slot, checkpoint.kid, checkpoint.node)
        if file is None or file.slot != checkpoint.slot or (checkpoint.slot in slots and signer not in nodes):
            detail = f"node {checkpoint.node!r} signed for {checkpoint.file!r}, which is not a chain of its own"
            known.found(CHECKPOINTS, place, What.FOREIGN, detail)
            continue
        known.checkpoints += 1
        known.sealed[checkpoint.file].append(checkpoint)


def _check_order(files: tuple[JournalFile, ...], known: _Evidence) -> None:
    """Every chain names the one before it in its slot: the latest that is on disk, sealed, or named by another."""
    names = {file.name for file in files if file.name in known.starts or file.name in _followed(known)}
    names |= set(known.sealed) | set(_followed(known))
    slots: dict[str, list[JournalFile]] = defaultdict(list)
    for file in filter(None, map(file_named, names)):
        slots[file.slot].append(file)
    for chains in slots.values():
        before: JournalFile | None = None
        for file in sorted(chains, key=lambda chain: chain.boot):
            start = known.starts.get(file.name)
            says = start.previous.file if start is not None and start.previous is not None else None
            expected = before.name if before is not None else None
            if start is not None and says != expected:
                detail = f"the chain before this one is {expected}, but its first line names {says}"
                known.found(file.name, 1, What.GAP, detail)
            before = file


def _followed(known: _Evidence) -> dict[str, str]:
    """Files named by a genuine later first line, and by which."""
    return {start.previous.file: name for name, start in known.starts.items() if start.previous is not None}


def _check_file(directory: Path, file: JournalFile, known: _Evidence) -> FileReport:
    follower = known.starts.get(_followed(known).get(file.name, ""))
    end = follower.previous if follower is not None else None
    signed = _signed(file.name, end, known)
    seen = scan(raw_lines(directory / file.name))
    refused = any(finding.file == file.name and finding.line == 1 for finding in known.findings)
    for finding in judge(file.name, seen, signed):
        if not (refused and finding.line == 1):  # said already, and more precisely
            known.findings.append(finding)
    return FileReport(
        file=file.name,
        lines=seen.lines,
        located_lines=sum(1 for seq in signed.marks if seq <= seen.lines),
        bound_lines=min(signed.bound, seen.lines),
        torn_bytes=seen.torn_bytes,
        first_at=seen.at(1),
        last_at=seen.at(seen.lines),
        stopped=seen.stop_line > 0,
    )


def _signed(file: str, end: Previous | None, known: _Evidence) -> Signed:
    """All that was signed about a file. Where two statements disagree the earlier counts, and that is a finding."""
    marks: dict[int, str] = {}
    heads: dict[int, str] = {}
    for checkpoint in sorted(known.sealed.get(file, ()), key=lambda sealed: (sealed.at, sealed.first)):
        dispute = next((seq for seq, mark in checkpoint.marks() if marks.setdefault(seq, mark) != mark), 0)
        if heads.setdefault(checkpoint.seq, checkpoint.head) != checkpoint.head:
            dispute = dispute or checkpoint.seq
        if dispute:
            detail = f"the checkpoint of {checkpoint.at:%Y-%m-%d %H:%M:%S} and an earlier one disagree on this line"
            known.found(file, dispute, What.CONTRADICTION, detail)
    if end is not None and end.seq and heads.setdefault(end.seq, end.head) != end.head:
        known.found(file, end.seq, What.CONTRADICTION, "a checkpoint and the next chain disagree on this line")
    return Signed(marks=marks, heads=heads, end=end)


def _check_missing(directory: Path, files: tuple[JournalFile, ...], known: _Evidence) -> None:
    present = {file.name for file in files}
    for name, by in sorted(_followed(known).items()):
        if name not in present:
            known.found(name, 0, What.MISSING_FILE, f"{by} names it as the chain before it")
    for name, sealed in sorted(known.sealed.items()):
        if name not in present and name not in _followed(known):
            lines = max(checkpoint.seq for checkpoint in sealed)
            known.found(name, 0, What.MISSING_FILE, f"checkpoints sealed {lines} lines of it")
    for entry in sorted(directory.iterdir()):
        if entry.name.endswith(".jsonl") and entry.name not in present:
            known.found(entry.name, 0, What.FOREIGN, "its name is not that of a journal file")
