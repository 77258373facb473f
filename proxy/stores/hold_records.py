"""Holds as Redis keeps them: written as the scripts expect, and read back strictly, for anybody may have been there."""

import json
import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import MAX_SAID
from proxy.core.model import Hold, HoldState, Proof, Risk, Said
from proxy.ports import HoldNews, Missed
from proxy.stores.redis import Entry, Reply

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"[0-9]{1,15}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REQUIRED = frozenset(
    {"id", "state", "version", "fence", "call_digest", "root_id", "agent", "sponsor", "cluster", "task"}
    | {"code", "risk", "proof", "who", "filed_at", "expires_at", "body_bytes"}
)
_OPTIONAL = frozenset(
    {"statement", "decided_by", "decided_at", "reason", "sticky_until", "not_stored", "quorum", "said", "first_end"}
    | {"node", "waits_at", "delivers", "claimed_at", "claimed_by"}
)


def fields_of(draft: Hold) -> dict[str, Json]:
    """A fresh draft as the script stores it; what the store's clock sets is left out."""
    return {
        "id": draft.id,
        "state": HoldState.HELD,
        "call_digest": draft.call_digest,
        "root_id": draft.root_id,
        "agent": draft.agent,
        "sponsor": draft.sponsor,
        "cluster": draft.cluster,
        "task": draft.task,
        "code": draft.code,
        "risk": draft.risk,
        "proof": draft.proof.label,
        "who": json.dumps(draft.who),
        "body_bytes": str(draft.body_bytes),
        **({} if draft.stored else {"not_stored": "body"}),
        **({} if draft.quorum == 1 else {"quorum": str(draft.quorum)}),
        **({"node": draft.node} if draft.node else {}),
        **({"waits_at": draft.waits_at} if draft.waits_at else {}),
        **({"delivers": "1"} if draft.delivers else {}),
    }


def read_hold(flat: Sequence[Reply]) -> Hold:
    """A hold from its hash as the server sent it: names and values in turn.

    Raises:
        Rejected(HOLD_TAMPERED): anything our scripts would not have written.
    """
    try:
        texts = [_utf8(part) for part in flat]
        fields = dict(zip(texts[::2], texts[1::2], strict=True))
        if not fields.keys() >= _REQUIRED or not fields.keys() <= _REQUIRED | _OPTIONAL:
            raise ValueError("members are missing or foreign")
        who = parse_json(fields["who"].encode(), code=Code.HOLD_TAMPERED, what="who")
        if not isinstance(who, list) or not all(isinstance(one, str) for one in who):
            raise ValueError("who is not a list of names")
        decided_at, first_end = fields.get("decided_at"), fields.get("first_end")
        return Hold(
            id=fields["id"],
            state=HoldState(fields["state"]),
            version=_number(fields["version"]),
            fence=_number(fields["fence"]),
            call_digest=fields["call_digest"],
            root_id=fields["root_id"],
            agent=fields["agent"],
            sponsor=fields["sponsor"],
            cluster=fields["cluster"],
            task=fields["task"],
            code=Code(fields["code"]),
            risk=Risk(fields["risk"]),
            proof=Proof[fields["proof"].upper()],
            who=tuple(str(one) for one in who),
            filed_at=_moment(fields["filed_at"]),
            expires_at=_moment(fields["expires_at"]),
            first_end=None if first_end is None else _moment(first_end),
            quorum=_number(fields.get("quorum", "1")),
            statement=fields.get("statement"),
            said=_said(fields.get("said")),
            decided_by=fields.get("decided_by"),
            decided_at=None if decided_at is None else _moment(decided_at),
            reason=fields.get("reason"),
            body_bytes=_number(fields["body_bytes"]),
            stored="not_stored" not in fields,
            node=fields.get("node", ""),
            waits_at=fields.get("waits_at", ""),
            delivers="delivers" in fields,
            claimed_by=fields.get("claimed_by", ""),
        )
    except (ValueError, KeyError, OverflowError) as fault:
        raise Rejected(Code.HOLD_TAMPERED, f"a stored hold was changed by someone else: {fault}") from None


def _said(text: str | None) -> tuple[Said, ...]:
    """One statement a line, each after the version it gave the hold."""
    lines = [] if text is None else [line.partition(" ") for line in text.split("\n")]
    if len(lines) > MAX_SAID:
        raise ValueError("more was said than is kept")
    return tuple(Said(version=_number(version), statement=statement) for version, _, statement in lines)


def read_found(reply: Reply) -> Hold | None:
    """The hold that was looked for, if there is one.

    Raises:
        Rejected(HOLD_TAMPERED): it is not as our scripts would have written it.
        Unavailable(STORE_DOWN): that is no answer.
    """
    match reply:
        case [b"found", [*flat], *_]:
            return read_hold(flat)
        case [b"none"]:
            return None
        case other:
            raise unexpected(other)


def read_all(reply: Reply) -> tuple[Hold, ...]:
    """Every hold that can be read. One that cannot is left out: it can never be released, and must not hide others."""
    if not isinstance(reply, list):
        raise unexpected(reply)
    holds: list[Hold] = []
    for flat in reply:
        with suppress(Rejected):
            holds.append(read_hold(flat if isinstance(flat, list) else ()))
    return tuple(holds)


def unexpected(reply: Reply) -> Rejected | Unavailable:
    """The fault of an answer that is not the one asked for."""
    if reply == [b"tampered"]:
        return Rejected(Code.HOLD_TAMPERED, "a stored hold was changed by someone else")
    return Unavailable(Code.STORE_DOWN, "the store answered a script with something else than its result")


def read_news(entry: Entry, cursor: str) -> HoldNews:
    """What an event of the stream says.

    Raises:
        Missed: it cannot be read, so that something was missed.
    """
    try:
        return HoldNews(
            cursor=cursor,
            hold_id=entry.fields["id"],
            state=HoldState(entry.fields["state"]),
            version=_number(entry.fields["version"]),
        )
    except (ValueError, KeyError):  # whatever it was to say is lost
        raise Missed(Code.STORE_DOWN, f"the event {entry.id} was changed by someone else") from None


def _utf8(part: Reply) -> str:
    if not isinstance(part, bytes):
        raise ValueError("a member is not text")
    return part.decode("utf-8")


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is not decimal")
    return int(text)


def _moment(text: str) -> datetime:
    return _EPOCH + timedelta(milliseconds=_number(text))


def millis(moment: datetime) -> str:
    """A moment as the scripts write it: milliseconds since 1970, in decimal."""
    return str(max(0, (moment - _EPOCH) // timedelta(milliseconds=1)))
