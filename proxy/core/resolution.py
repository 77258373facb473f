"""Resolutions: a person's signed word about a call of which nobody knew whether it arrived (DESIGN: holding).

Such a hold is never sent again. A person who found out, by asking whoever runs the origin, closes it: the call arrived,
and is done; or it did not, and its agent may ask anew, which is another hold and another decision.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.encoding import MAX_EPOCH_S, NONCE, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.holds import Event
from proxy.core.jws import Envelope, check_signature, open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold
from proxy.core.notes import check_reason
from proxy.core.release import may_decide
from proxy.core.standing import SKEW_S, enrolled_key

RESOLUTION_TYP = "intent-resolution+jwt"

_TEXTS = frozenset({"iss", "aud", "hold", "digest", "found", "reason", "nonce"})


class Found(enum.StrEnum):
    """What a person found out about an uncertain call."""

    ARRIVED = "arrived"
    NOT_ARRIVED = "not-arrived"

    @property
    def event(self) -> Event:
        return Event.ARRIVED if self is Found.ARRIVED else Event.CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A verified resolution."""

    by: str  # Person.id
    found: Found
    reason: str
    issued_at: datetime


def state_resolution(
    *, hold: Hold, found: Found, by: str, reason: str, deployment: str, key: PrivateKey, now: datetime, nonce: str
) -> str:
    """Sign what was found out about exactly the call of `hold`. How it was found out is the reason, and needed.

    Raises:
        Rejected(RELEASE_INVALID): it could not be read back, as without a reason.
    """
    claims: dict[str, Json] = {
        "iss": by,
        "aud": deployment,
        "hold": hold.id,
        "digest": hold.call_digest,
        "found": found.value,
        "reason": reason,
        "iat": to_epoch(now),
        "nonce": nonce,
    }
    token = seal(claims, typ=RESOLUTION_TYP, key=key)
    _read(open_envelope(token, typ=RESOLUTION_TYP, code=Code.RELEASE_INVALID))
    return token


def read_resolution(token: str, *, hold: Hold, bundle: Bundle, barred: frozenset[str], now: datetime) -> Resolution:
    """Verify a statement about `hold`, as `read_release` does: from whom may decide it, and never an agent's key.

    Raises:
        Rejected(RELEASE_INVALID): malformed, about another deployment, hold or call, or not from an enrolled person.
        Rejected(HOLD_NOT_PERMITTED): signed with an agent's key, or as `may_decide`.
    """
    code = Code.RELEASE_INVALID
    envelope = open_envelope(token, typ=RESOLUTION_TYP, code=code)
    texts, resolution = _read(envelope)
    for field, expected in (("aud", bundle.deployment), ("hold", hold.id), ("digest", hold.call_digest)):
        if texts[field] != expected:
            raise Rejected(code, f"{field} must be {expected}, got {ascii(texts[field])[:80]}", field=field)
    person = bundle.people.get(resolution.by)
    if person is None:
        raise Rejected(code, f"{ascii(resolution.by)[:80]} is not an enrolled person", field="iss")
    check_signature(envelope, enrolled_key(person, envelope.kid, code=code), code=code)
    if envelope.kid in barred or any(key.kid == envelope.kid for agent in bundle.agents.values() for key in agent.keys):
        detail = f"key {envelope.kid} of {person.id} is also an agent's: nobody closes their own call"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="kid")
    may_decide(person, hold, bundle, now)
    if now + timedelta(seconds=SKEW_S) < resolution.issued_at:
        raise Rejected(code, f"signed in the future, at {resolution.issued_at.isoformat()}", field="iat")
    return resolution


def _read(envelope: Envelope) -> tuple[dict[str, str], Resolution]:
    code, claims = Code.RELEASE_INVALID, envelope.claims
    texts = {name: value for name, value in claims.items() if name in _TEXTS and isinstance(value, str)}
    issued = claims.get("iat")
    if texts.keys() != _TEXTS or claims.keys() != _TEXTS | {"iat"} or type(issued) is not int:
        raise Rejected(
            code, f"a resolution must have exactly {', '.join(sorted(_TEXTS))} as strings and iat as integer"
        )
    if not 0 <= issued <= MAX_EPOCH_S or not NONCE.fullmatch(texts["nonce"]):
        raise Rejected(code, "iat must be seconds since 1970, nonce 128 to 512 bits in base64url", field="nonce")
    if texts["found"] not in {found.value for found in Found}:
        raise Rejected(code, 'found must be "arrived" or "not-arrived"', field="found")
    reason = texts["reason"]
    check_reason(reason, needed="a resolution")
    found = Found(texts["found"])
    return texts, Resolution(by=texts["iss"], found=found, reason=reason, issued_at=from_epoch(issued))
