"""Resolutions: a person's signed word about a call of which nobody knew whether it arrived (DESIGN: holding).

Such a hold is never sent again. A person who found out, by asking whoever runs the origin, closes it: the call arrived,
and is done; or it did not, and its agent may ask anew, which is another hold and another decision.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.encoding import MAX_EPOCH_S, NONCE, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.holds import Event
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold, Means
from proxy.core.notes import check_reason
from proxy.core.release import may_decide
from proxy.core.standing import SKEW_S
from proxy.core.vouching import bare, check_suffices, voucher_of

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
    means: Means = Means.KEY  # with what it was signed


def state_resolution(
    *, hold: Hold, found: Found, by: str, reason: str, deployment: str, key: PrivateKey, now: datetime, nonce: str
) -> str:
    """Sign what was found out about a call with `key`; see `resolution_claims`."""
    claims = resolution_claims(
        hold=hold, found=found, by=by, reason=reason, deployment=deployment, now=now, nonce=nonce
    )
    return seal(claims, typ=RESOLUTION_TYP, key=key)


def resolution_claims(
    *, hold: Hold, found: Found, by: str, reason: str, deployment: str, now: datetime, nonce: str
) -> dict[str, Json]:
    """What is to be signed about exactly the call of `hold`. How it was found out is the reason, and needed.

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
    _read(claims)
    return claims


def read_resolution(token: str, *, hold: Hold, bundle: Bundle, barred: frozenset[str], now: datetime) -> Resolution:
    """Verify a statement about `hold`, as `read_release` does: from whom may decide it, and never an agent's key.

    Raises:
        Rejected(RELEASE_INVALID): malformed, about another deployment, hold or call, or not from an enrolled person.
        Rejected(HOLD_NOT_PERMITTED): signed with an agent's key, by the desk alone where that does not suffice, or as
            `may_decide`.
    """
    code = Code.RELEASE_INVALID
    envelope = open_envelope(token, typ=RESOLUTION_TYP, code=code)
    texts, resolution = _read(bare(envelope.claims))
    for field, expected in (("aud", bundle.deployment), ("hold", hold.id), ("digest", hold.call_digest)):
        if texts[field] != expected:
            raise Rejected(code, f"{field} must be {expected}, got {ascii(texts[field])[:80]}", field=field)
    person = bundle.people.get(resolution.by)
    if person is None:
        raise Rejected(code, f"{ascii(resolution.by)[:80]} is not an enrolled person", field="iss")
    means = voucher_of(envelope, person, bundle=bundle, barred=barred).means
    check_suffices(means, hold)
    may_decide(person, hold, bundle, now, barred=barred)
    if now + timedelta(seconds=SKEW_S) < resolution.issued_at:
        raise Rejected(code, f"signed in the future, at {resolution.issued_at.isoformat()}", field="iat")
    return replace(resolution, means=means)


def _read(claims: Mapping[str, Json]) -> tuple[dict[str, str], Resolution]:
    code = Code.RELEASE_INVALID
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
