"""The first line of a chain: what the node signs about itself, its rules, and the chain before. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from proxy.audit.lines import JournalFile, Kind, Line, Written, compose, text_of, whole_of
from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey, sign, verifies
from proxy.core.model import Bundle, PublicKey

FORMAT = 1

_DOMAIN = b"intent-journal-start\n"  # what the node key signs here can be no other statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """Where the chain before this one, of the same slot, ended on disk when this one was opened."""

    file: str
    seq: int  # 0: it held no whole line
    head: str  # the hash of that line; "" when seq is 0
    torn_bytes: int  # what a crash left after the last whole line


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the first line of a chain says, signed by the node."""

    node: str
    slot: str
    boot: str
    kid: str
    bundle_sha256: str
    bundle_version: int
    bundle_signed: bool  # False: the worker ran with --dev
    previous: Previous | None


def compose_start(
    bundle: Bundle, file: JournalFile, node: str, previous: Previous | None, *, at: datetime, key: PrivateKey
) -> Written:
    """Write the signed first line of a chain. The signature covers the line as it would be without `sig`."""
    fields: dict[str, Json] = {
        "format": FORMAT,
        "node": node,
        "slot": file.slot,
        "boot": file.boot,
        "kid": key.public.kid,
        "bundle": {"sha256": bundle.sha256, "version": bundle.version, "signed": bundle.signed},
        "previous": _as_json(previous),
    }
    unsigned = compose(Kind.START, fields, seq=1, prev="", at=at)
    return compose(Kind.START, {**fields, "sig": b64u(sign(key, _DOMAIN + unsigned.data))}, seq=1, prev="", at=at)


def read_start(line: Line, keys: Mapping[str, PublicKey]) -> Start:
    """Read and verify the first line of a chain; `keys` are the nodes' keys by thumbprint.

    Not checked here: that the file bears the name the line says, and that `previous` is true.

    Raises:
        Rejected(JOURNAL_INVALID): not a start line, by an unknown key, or not as that key signed it. `field` is "kid"
            for an unknown key and "sig" for a signature that does not fit.
    """
    code, fields = Code.JOURNAL_INVALID, line.fields
    if line.kind != Kind.START or line.seq != 1 or line.prev or fields.get("format") != FORMAT:
        raise Rejected(code, f"line 1 must be a start line of format {FORMAT}", field="kind")
    kid, sig = text_of(fields, "kid"), text_of(fields, "sig")
    key = keys.get(kid)
    if key is None:
        raise Rejected(code, f"the start line is signed by {kid[:43]!r}, which is not a known node key", field="kid")
    rest = {name: value for name, value in fields.items() if name != "sig"}
    try:
        unsigned = compose(Kind.START, rest, seq=1, prev="", at=line.at).data
        spelling = compose(Kind.START, fields, seq=1, prev="", at=line.at).hash
    except (ValueError, RecursionError):  # infinite or bottomless: no writer made it
        unsigned, spelling = b"", ""
    genuine = verifies(key, _DOMAIN + unsigned, unb64u(sig, code=code, field="sig"))
    if not genuine or spelling != line.hash:
        raise Rejected(code, f"the start line is not as node key {kid} signed it", field="sig")
    bundle = fields.get("bundle")
    bundle = bundle if isinstance(bundle, Mapping) else {}
    return Start(
        node=text_of(fields, "node"),
        slot=text_of(fields, "slot"),
        boot=text_of(fields, "boot"),
        kid=kid,
        bundle_sha256=text_of(bundle, "sha256"),
        bundle_version=whole_of(bundle, "version"),
        bundle_signed=bundle.get("signed") is True,
        previous=_previous(fields.get("previous")),
    )


def _as_json(previous: Previous | None) -> Json:
    if previous is None:
        return None
    return {"file": previous.file, "seq": previous.seq, "head": previous.head, "torn_bytes": previous.torn_bytes}


def _previous(value: Json) -> Previous | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise Rejected(Code.JOURNAL_INVALID, "previous must be an object or null", field="previous")
    return Previous(
        file=text_of(value, "file"),
        seq=whole_of(value, "seq"),
        head=text_of(value, "head"),
        torn_bytes=whole_of(value, "torn_bytes"),
    )
