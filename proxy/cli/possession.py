"""Proof of possession: a statement, signed with a key, that it is to be an agent's key in one deployment."""

from datetime import datetime, timedelta

from proxy.core.encoding import Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import check_signature, open_envelope, seal
from proxy.core.keys import PrivateKey, from_jwk, jwk
from proxy.core.model import PublicKey

POSSESSION_TYP = "intent-possession+jwt"
LIFE = timedelta(days=1)
SKEW = timedelta(minutes=5)

_CLAIMS = frozenset({"sub", "aud", "iat", "cnf"})


def prove_possession(key: PrivateKey, *, agent: str, deployment: str, now: datetime) -> str:
    """A compact JWS in which `key` says that it is `agent`'s (RFC 7800 names the key in `cnf`)."""
    claims: dict[str, Json] = {
        "sub": agent,
        "aud": deployment,
        "iat": to_epoch(now),
        "cnf": {"jwk": jwk(key.public)},
    }
    return seal(claims, typ=POSSESSION_TYP, key=key)


def read_possession(token: str, *, agent: str, deployment: str, now: datetime) -> PublicKey:
    """The key that proved itself.

    Raises:
        Rejected(STATEMENT_INVALID): malformed, for another agent or deployment, older than a day, or not signed with
            the very key it names.
    """
    code = Code.STATEMENT_INVALID
    envelope = open_envelope(token.strip(), typ=POSSESSION_TYP, code=code)
    claims = envelope.claims
    if set(claims) != _CLAIMS:
        raise Rejected(code, f"a proof must have exactly the claims {', '.join(sorted(_CLAIMS))}")
    for name, expected in (("sub", agent), ("aud", deployment)):
        if claims[name] != expected:
            raise Rejected(code, f"the proof's {name} must be {expected}, got {ascii(claims[name])[:80]}", field=name)
    iat, cnf = claims["iat"], claims["cnf"]
    if type(iat) is not int or not 0 <= iat < 2**36 or not now - LIFE < from_epoch(iat) <= now + SKEW:
        raise Rejected(code, "the proof must have been made within the last day: run keys prove again", field="iat")
    if not isinstance(cnf, dict) or set(cnf) != {"jwk"}:
        raise Rejected(code, "the proof must name one key as cnf.jwk", field="cnf")
    key = from_jwk(cnf["jwk"], code=code, field="cnf.jwk")
    check_signature(envelope, key, code=code)
    return key
