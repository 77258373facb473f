"""Signed checkpoints: where a chain stood at a moment, and the mark of every line since the one before. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.audit.lines import MARK_CHARS, read_stamp, stamp, text_of, whole_of
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.jws import check_signature, open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import PublicKey

CHECKPOINT_TYP = "intent-checkpoint+jwt"
MAX_MARKS = 800  # keeps the token within jws.MAX_TOKEN_BYTES
SEAL_EVERY_S = 1
SEAL_GRACE_S = 10
"""A writer refuses calls once its lines have waited this long for a checkpoint; a longer unsealed stretch on disk
means that checkpoints are gone."""

_CLAIMS = frozenset({"node", "slot", "file", "from", "seq", "head", "lines", "at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A verified checkpoint: lines `first` to `seq` of `file` had these marks, and the last of them this hash."""

    kid: str
    node: str
    slot: str
    file: str
    first: int
    seq: int
    head: str
    lines: str  # the marks, one after another
    at: datetime

    def marks(self) -> Iterator[tuple[int, str]]:
        """Every sealed line's number and mark."""
        for offset in range(self.seq - self.first + 1):
            yield self.first + offset, self.lines[offset * MARK_CHARS : (offset + 1) * MARK_CHARS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """What a checkpoint needs to know of a line that is on disk."""

    seq: int
    hash: str
    mark: str


def seal_checkpoints(
    lines: Sequence[Durable], *, node: str, slot: str, file: str, at: datetime, key: PrivateKey
) -> tuple[str, ...]:
    """Sign consecutive `lines` of `file`: one checkpoint for every `MAX_MARKS` of them, none for none."""
    tokens: list[str] = []
    for begin in range(0, len(lines), MAX_MARKS):
        part = lines[begin : begin + MAX_MARKS]
        claims: dict[str, Json] = {
            "node": node,
            "slot": slot,
            "file": file,
            "from": part[0].seq,
            "seq": part[-1].seq,
            "head": part[-1].hash,
            "lines": "".join(line.mark for line in part),
            "at": stamp(at),
        }
        tokens.append(seal(claims, typ=CHECKPOINT_TYP, key=key))
    return tuple(tokens)


def read_checkpoint(token: str, keys: Mapping[str, PublicKey]) -> Checkpoint:
    """Read and verify a checkpoint; `keys` are the nodes' keys by thumbprint.

    Not checked here: that the key is the one the file's own first line was signed with.

    Raises:
        Rejected(JOURNAL_INVALID): malformed, by an unknown key (`field` "kid"), or with a signature that does not fit
            (`field` "signature").
    """
    code = Code.JOURNAL_INVALID
    envelope = open_envelope(token, typ=CHECKPOINT_TYP, code=code)
    key = keys.get(envelope.kid)
    if key is None:
        raise Rejected(code, f"signed by {envelope.kid[:43]!r}, which is not a known node key", field="kid")
    try:
        check_signature(envelope, key, code=code)
    except Rejected as fault:
        raise Rejected(code, fault.detail, field="signature") from None
    claims = envelope.claims
    if set(claims) != _CLAIMS:
        raise Rejected(code, f"a checkpoint must have exactly the claims {sorted(_CLAIMS)}", field="claims")
    first, seq, lines = whole_of(claims, "from"), whole_of(claims, "seq"), text_of(claims, "lines")
    if not 1 <= first <= seq or len(lines) != (seq - first + 1) * MARK_CHARS:
        raise Rejected(code, "lines must hold one mark for every line from `from` to `seq`", field="lines")
    return Checkpoint(
        kid=key.kid,
        node=text_of(claims, "node"),
        slot=text_of(claims, "slot"),
        file=text_of(claims, "file"),
        first=first,
        seq=seq,
        head=text_of(claims, "head"),
        lines=lines,
        at=read_stamp(claims["at"]),
    )
