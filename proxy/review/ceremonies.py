"""What a page of the desk asks a browser for, and how what it answers is read (WebAuthn Level 3, §5.1.8 to §5.1.10).

Both are JSON as browsers have it: `PublicKeyCredential.parseRequestOptionsFromJSON` and `toJSON`, bytes in base64url.
Nothing is decided here. An assertion goes into a statement, and counts there or does not; a new passkey counts once an
operator has signed it.
"""

import hashlib
from collections.abc import Mapping
from urllib.parse import urlsplit

from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.model import Passkey, Person
from proxy.core.passkeys import Assertion, is_within, read_registration
from proxy.review.drafts import Draft
from proxy.review.tosign import ToSign

TIME_MS = 120_000
"""How long a person may take to find their passkey."""

_EDDSA, _ES256 = -8, -7


def usable(person: Person, origin: str) -> tuple[Passkey, ...]:
    """The passkeys a person can be asked for at this origin, all of one RP id; none: they have none for it."""
    there = [passkey for passkey in person.passkeys if is_within(origin, passkey.rp_id)]
    return tuple(passkey for passkey in there if passkey.rp_id == there[0].rp_id)


def to_sign(draft: Draft | ToSign, person: Person, *, origin: str) -> dict[str, Json]:
    """What to ask `navigator.credentials.get` for, so that one of their passkeys signs this draft.

    Raises:
        Rejected(HOLD_NOT_PERMITTED): they have none that could.
    """
    passkeys = usable(person, origin)
    if not passkeys:
        detail = f"{person.id} has no passkey for {origin}; make one, and have an operator enrol it"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="passkeys")
    return {
        "challenge": b64u(draft.challenge),
        "rpId": passkeys[0].rp_id,
        "allowCredentials": _credentials(passkeys),
        "userVerification": "required",
        "timeout": TIME_MS,
    }


def signed(answer: Json) -> Assertion:
    """The assertion in what `navigator.credentials.get` gave. Not checked here: anything it says.

    Raises:
        Rejected(RELEASE_INVALID): it is no such answer.
    """
    return Assertion(
        credential=_bytes(answer, "rawId"),
        authenticator_data=_bytes(_response(answer), "authenticatorData"),
        client_data=_bytes(_response(answer), "clientDataJSON"),
        signature=_bytes(_response(answer), "signature"),
    )


def to_make(person: Person, *, deployment: str, origin: str, challenge: bytes) -> dict[str, Json]:
    """What to ask `navigator.credentials.create` for. `challenge` is random and used once."""
    user = hashlib.sha256(f"{deployment}\n{person.id}".encode()).digest()
    return {
        "rp": {"id": urlsplit(origin).hostname or "", "name": f"Review desk of {deployment}"},
        "user": {"id": b64u(user), "name": person.id, "displayName": person.name},
        "challenge": b64u(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": alg} for alg in (_EDDSA, _ES256)],
        "excludeCredentials": _credentials(person.passkeys),
        "authenticatorSelection": {"residentKey": "discouraged", "userVerification": "required"},
        "attestation": "none",
        "timeout": TIME_MS,
    }


def made(answer: Json, *, origin: str, challenge: bytes, name: str) -> Passkey:
    """The new passkey in what `navigator.credentials.create` gave, for an operator to enrol.

    Raises:
        Rejected(RELEASE_INVALID): it is no such answer, or as `read_registration`.
    """
    response = _response(answer)
    return read_registration(
        _bytes(response, "clientDataJSON"),
        _bytes(response, "authenticatorData"),
        challenge=challenge,
        rp_id=urlsplit(origin).hostname or "",
        origin=origin,
        name=name,
    )


def _credentials(passkeys: tuple[Passkey, ...]) -> list[Json]:
    return [{"type": "public-key", "id": b64u(passkey.id)} for passkey in passkeys]


def _response(answer: Json) -> Json:
    return answer.get("response") if isinstance(answer, Mapping) else None


def _bytes(part: Json, name: str) -> bytes:
    text = part.get(name) if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        raise Rejected(Code.RELEASE_INVALID, f"the browser's answer has no {name}", field=name)
    return unb64u(text, code=Code.RELEASE_INVALID, field=name)
