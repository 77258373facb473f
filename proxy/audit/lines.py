"""One line of the journal: how it is written, read and hashed. Pure.

A line is `{"seq":n,"prev":"…",` followed by its *content*: the canonical JSON of everything else. Two digests follow:

- the *hash*, SHA-256 of the whole line without its newline, which the next line repeats as `prev`;
- the *mark*, the first 9 bytes of the SHA-256 of the content alone. Renumbering or re-chaining a line leaves its
  mark as it was, so that a verifier who knows the marks can tell which line was changed, removed, inserted or moved
  even when every hash was made anew.
"""

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.core.encoding import Json, b64u, parse_json
from proxy.core.errors import Code, Rejected

MAX_LINE_BYTES = 32_768
MARK_CHARS = 12
RESERVED = frozenset({"seq", "prev", "at", "kind"})

_MARK_BYTES = 9
_PREFIX = re.compile(rb'\{"seq":([1-9][0-9]{0,14}),"prev":"([A-Za-z0-9_-]{43}|)",')
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_NODE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE = re.compile(r"(?P<slot>[a-z0-9][a-z0-9._-]{0,80})-(?P<boot>\d{8}T\d{12}Z[0-9a-f]{8})\.jsonl")
_ENCODER = json.JSONEncoder(
    sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False, check_circular=False
)


class Kind(enum.StrEnum):
    """What a line tells of."""

    START = "start"  # a worker opened its chain; always and only line 1
    DECISION = "decision"  # a call was judged
    HOLD = "hold"  # something happened to a held call
    OUTCOME = "outcome"  # what became of a call that was let through
    SESSION = "session"  # a session token was handed out
    CONTROL = "control"  # a revocation, quarantine or kill switch came into force here
    GRANT = "grant"  # a route grant let one call pass
    POLICY = "policy"  # another bundle came into force here
    DNS = "dns"  # a name got an address in transparent mode, or a place was refused one
    REVIEW = (
        "review"  # at the desk somebody signed in, read a call or signed a manifest; or a token of its API was used
    )
    STOP = "stop"  # the worker closed its chain in good order; always the last line


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A composed line, not on disk yet. `data` has no newline."""

    data: bytes
    seq: int
    hash: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A well-formed line as read. That it stands where it belongs is for `verify` to say."""

    seq: int
    prev: str
    at: datetime
    kind: str
    fields: Mapping[str, Json]  # without seq, prev, at and kind
    hash: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFile:
    """The name of one chain's file. `boot` sorts by time within a slot."""

    slot: str  # node name, "-", worker number
    boot: str  # UTC time of opening in microseconds, and eight random hex digits

    @property
    def name(self) -> str:
        return f"{self.slot}-{self.boot}.jsonl"

    @property
    def opened_at(self) -> datetime:
        """When the chain was opened.

        Raises:
            ValueError: the digits are no date; no writer makes such a name.
        """
        return datetime.strptime(self.boot[:22], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)


def slot_of(node: str, worker: int) -> str:
    """The slot of one worker of one node: the name under which its chains follow each other.

    Raises:
        Rejected(CONFIG_INVALID): a node name that could not be part of a file's name.
    """
    if not _NODE.fullmatch(node) or not 0 <= worker < 10_000:
        raise Rejected(
            Code.CONFIG_INVALID,
            f"a journal's node name must match {_NODE.pattern} and its worker number be under 10000, "
            f"got {node!r} and {worker}",
            field="node",
        )
    return f"{node}-{worker}"


def boot_name(at: datetime, random: bytes) -> str:
    """The `boot` of a chain opened at `at`; `random` is four bytes."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%S%f}Z{random.hex()}"


def file_named(name: str) -> JournalFile | None:
    """The parts of a journal file's name, or None when it is not one."""
    found = _FILE.fullmatch(name)
    if found is None:
        return None
    file = JournalFile(slot=found["slot"], boot=found["boot"])
    try:
        file.opened_at  # noqa: B018 - a name whose digits are no date is not one of ours
    except ValueError:
        return None
    return file


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds and `Z`; one spelling for one moment."""
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z"


def read_stamp(text: Json) -> datetime:
    """The moment `stamp` wrote.

    Raises:
        Rejected(JOURNAL_INVALID): another spelling, or no such day.
    """
    if isinstance(text, str) and _STAMP.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise Rejected(Code.JOURNAL_INVALID, "at must be a UTC time like 2026-01-31T09:00:00.000000Z", field="at")


def compose(kind: Kind, fields: Mapping[str, Json], *, seq: int, prev: str, at: datetime) -> Written:
    """Write one line. `prev` is the hash of the line before, "" for the first.

    Raises:
        ValueError: a field with a reserved name, a value that is not JSON, or a line over `MAX_LINE_BYTES`.
    """
    if not RESERVED.isdisjoint(fields):
        raise ValueError(f"a journal field may not be named {sorted(RESERVED & set(fields))}")
    content = _ENCODER.encode({**fields, "at": stamp(at), "kind": kind.value})
    data = f'{{"seq":{seq},"prev":"{prev}",{content[1:]}'.encode("ascii")
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"a journal line must be at most {MAX_LINE_BYTES} bytes, got {len(data)} ({kind.value})")
    return Written(data=data, seq=seq, hash=b64u(hashlib.sha256(data).digest()), mark=_mark(content.encode("ascii")))


def read_line(data: bytes) -> Line:
    """Read one line without its newline.

    Not checked here: that `seq` and `prev` fit the line before, and that the kind is known.

    Raises:
        Rejected(JOURNAL_INVALID): not one of our lines; the message names the first fault.
    """
    code = Code.JOURNAL_INVALID
    prefix = _PREFIX.match(data)
    if prefix is None or not data.isascii() or len(data) > MAX_LINE_BYTES:
        raise Rejected(code, f'a line must start {{"seq":n,"prev":"…", in ASCII and at most {MAX_LINE_BYTES} bytes')
    content = b"{" + data[prefix.end() :]
    members = parse_json(content, code=code, what="a journal line")
    if not isinstance(members, Mapping) or "seq" in members or "prev" in members:
        raise Rejected(code, "a line must be one object with one seq and one prev")
    kind = members.get("kind")
    if not isinstance(kind, str):
        raise Rejected(code, "kind must be a string", field="kind")
    return Line(
        seq=int(prefix[1]),
        prev=prefix[2].decode("ascii"),
        at=read_stamp(members.get("at")),
        kind=kind,
        fields={name: value for name, value in members.items() if name not in RESERVED},
        hash=b64u(hashlib.sha256(data).digest()),
        mark=_mark(content),
    )


def text_of(members: Mapping[str, Json], name: str) -> str:
    """A string member.

    Raises:
        Rejected(JOURNAL_INVALID): absent or something else.
    """
    value = members.get(name)
    if not isinstance(value, str):
        raise Rejected(Code.JOURNAL_INVALID, f"{name} must be a string", field=name)
    return value


def whole_of(members: Mapping[str, Json], name: str) -> int:
    """A member that is an integer, zero or more.

    Raises:
        Rejected(JOURNAL_INVALID): absent or something else.
    """
    value = members.get(name)
    if type(value) is not int or value < 0:
        raise Rejected(Code.JOURNAL_INVALID, f"{name} must be a whole number", field=name)
    return value


def _mark(content: bytes) -> str:
    return b64u(hashlib.sha256(content).digest()[:_MARK_BYTES])
