"""Notes: what a person signs about a hold besides a decision (DESIGN: holding).

Each is a JWS of its own type, about one hold and one call digest. Redis carries them; whoever acts on one, or tells
of it, reads it here first.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.encoding import MAX_EPOCH_S, NONCE, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold, Means
from proxy.core.reviewers import check_permitted, check_turn
from proxy.core.standing import SKEW_S
from proxy.core.vouching import bare, check_suffices, voucher_of

NOTE_TYP = "intent-note+jwt"
MAX_REASON_CHARS = 500

_CLAIMS = frozenset({"iss", "aud", "hold", "digest", "act", "reason", "nonce", "iat", "until"})


class NoteAct(enum.StrEnum):
    """What a note does."""

    COMMENT = "comment"  # nothing: it is there to be read
    ESCALATE = "escalate"  # everybody who may decide later may decide now
    EXTEND = "extend"  # the hold waits until another moment
    CANCEL = "cancel"  # the hold ends; the same call may be asked again
    LIFT = "lift"  # a denial no longer answers the same call; asked again, it is held anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A verified note. Only `read_note` makes one."""

    token: str
    by: str  # Person.id
    act: NoteAct
    reason: str
    at: datetime
    until: datetime  # of EXTEND: the new end; else as `at`
    means: Means = Means.KEY  # with what it was signed


def state_note(
    act: NoteAct,
    *,
    hold: Hold,
    by: str,
    reason: str,
    deployment: str,
    key: PrivateKey,
    now: datetime,
    nonce: str,
    until: datetime | None = None,
) -> str:
    """Sign a note about `hold` with `key`; see `note_claims`."""
    claims = note_claims(act, hold=hold, by=by, reason=reason, deployment=deployment, now=now, nonce=nonce, until=until)
    return seal(claims, typ=NOTE_TYP, key=key)


def note_claims(
    act: NoteAct,
    *,
    hold: Hold,
    by: str,
    reason: str,
    deployment: str,
    now: datetime,
    nonce: str,
    until: datetime | None = None,
) -> dict[str, Json]:
    """What is to be signed as a note about `hold`. `until` belongs to EXTEND alone.

    Raises:
        Rejected(RELEASE_INVALID): it could not be read back: no reason, or an end that is none.
    """
    claims: dict[str, Json] = {
        "iss": by,
        "aud": deployment,
        "hold": hold.id,
        "digest": hold.call_digest,
        "act": act.value,
        "reason": reason,
        "nonce": nonce,
        "iat": to_epoch(now),
        "until": to_epoch(until or now),
    }
    _read(claims, token="")
    return claims


def read_note(token: str, *, hold: Hold, bundle: Bundle, barred: frozenset[str], now: datetime) -> Note:
    """Verify a note about `hold`; `barred` as for `read_release`.

    Whoever may decide the hold sooner or later may comment on it and lift its denial; whoever may decide it at the
    time of signing, without an escalation, may escalate, extend and cancel it. Both are judged at that time: a note
    does not end with its writer's certificate. Not checked here: whether the hold's state permits it.

    Raises:
        Rejected(RELEASE_INVALID): malformed, about another deployment, hold or call, signed with no enrolled key of
            whom it names (see `voucher_of`), in the future, or before the hold was filed.
        Rejected(HOLD_NOT_PERMITTED): signed with an agent's key, by somebody who may not, or by the desk alone where
            that does not suffice.
    """
    code = Code.RELEASE_INVALID
    envelope = open_envelope(token, typ=NOTE_TYP, code=code)
    note = _read(bare(envelope.claims), token=envelope.token)
    for field, expected in (("aud", bundle.deployment), ("hold", hold.id), ("digest", hold.call_digest)):
        if envelope.claims[field] != expected:
            raise Rejected(code, f"the note's {field} must be {expected}", field=field)
    person = bundle.people.get(note.by)
    if person is None:
        raise Rejected(code, f"{ascii(note.by)[:80]} is not an enrolled person", field="iss")
    means = voucher_of(envelope, person, bundle=bundle, barred=barred).means
    check_suffices(means, hold)
    if now + timedelta(seconds=SKEW_S) < note.at:
        raise Rejected(code, f"signed in the future, at {note.at.isoformat()}", field="iat")
    if note.at + timedelta(seconds=SKEW_S) < hold.filed_at:  # or the lapsed would date theirs back
        detail = f"a note cannot be older than its hold, filed at {hold.filed_at.isoformat()}: set the signer's clock"
        raise Rejected(code, detail, field="iat")
    check_permitted(person, hold, bundle, at=note.at)
    if note.act in (NoteAct.ESCALATE, NoteAct.EXTEND, NoteAct.CANCEL):
        check_turn(person, hold, bundle, at=note.at)
    return replace(note, means=means)


def escalated_at(hold: Hold, bundle: Bundle, *, barred: frozenset[str], now: datetime) -> datetime | None:
    """Since when everybody on the ladder may decide, because somebody who may said so; None: nobody has."""
    found: list[datetime] = []
    for said in hold.said:
        try:
            note = read_note(said.statement, hold=hold, bundle=bundle, barred=barred, now=now)
        except Rejected:
            continue
        if note.act is NoteAct.ESCALATE:
            found.append(note.at)
    return min(found, default=None)


def check_reason(reason: str, *, needed: str = "") -> None:
    """Reject a reason that cannot be shown on one line, and where one is `needed`, saying for what, none.

    Raises:
        Rejected(RELEASE_INVALID)
    """
    if needed and not any(char.isalnum() for char in reason):  # white space and what shows as nothing say nothing
        raise Rejected(Code.RELEASE_INVALID, f"{needed} needs a reason", field="reason")
    if len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        detail = f"reason must be at most {MAX_REASON_CHARS} printable characters on one line"
        raise Rejected(Code.RELEASE_INVALID, detail, field="reason")


def _read(claims: Mapping[str, Json], *, token: str) -> Note:
    code = Code.RELEASE_INVALID
    match claims:
        case {
            "iss": str(by),
            "aud": str(),
            "hold": str(),
            "digest": str(),
            "act": str(act),
            "reason": str(reason),
            "nonce": str(nonce),
            "iat": int(iat),
            "until": int(until),
        } if claims.keys() == _CLAIMS and act in NoteAct and not isinstance(iat, bool) and not isinstance(until, bool):
            pass
        case _:
            raise Rejected(code, f"a note must have exactly the claims {', '.join(sorted(_CLAIMS))}")
    if not 0 <= iat <= until <= MAX_EPOCH_S or (act == NoteAct.EXTEND) is not (until > iat):
        raise Rejected(code, "until must be after iat to extend a hold, and equal to it otherwise", field="until")
    if not NONCE.fullmatch(nonce):
        raise Rejected(code, "nonce must be 128 to 512 bits in base64url", field="nonce")
    check_reason(reason, needed=f"to {act} a hold" if act != NoteAct.COMMENT else "a comment")
    return Note(
        token=token,
        by=by,
        act=NoteAct(act),
        reason=reason,
        at=from_epoch(iat),
        until=from_epoch(until),
    )
