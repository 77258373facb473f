"""An ID token: whose word it is, for whom, about whom (OpenID Connect Core §3.1.3.7).

joserfc verifies the signature and Authlib the claims; what they leave to their caller is here. Which key counts is
chosen here and by exact kind, so that no header of the token chooses how it is verified (RFC 8725 §3.1).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from authlib.oidc.core import CodeIDToken
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact

from proxy.core.encoding import Json, parse_json, to_epoch, unb64u
from proxy.core.errors import Code, Rejected

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""How a token may be signed: never with a secret, and never not at all."""

LEEWAY = timedelta(seconds=60)
"""So far the provider's clock may be off."""

OLDEST = timedelta(minutes=10)
"""A token that was made longer ago than a sign-in may take belongs to another one."""

MOST_KEYS = 100
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
_MOST_TOKEN = 65_536
_UNREADABLE = (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError)
_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "P-256", "EdDSA": "Ed25519"}


class Untrue(Exception):
    """A token that does not count. The text says why, for the log, and holds nothing of the token."""


class KeyUnknown(Untrue):
    """Nothing here verifies it: the provider may have other keys by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Who somebody is to the provider."""

    issuer: str
    sub: str
    email: str  # "" when it said none
    email_verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token must say to be the answer to what was asked."""

    issuer: str
    client_id: str
    nonce: str
    now: datetime
    access_token: str
    max_age: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicJwk:
    """A key of the provider that may verify tokens."""

    kid: str | None
    kind: str  # "RSA", "P-256" or "Ed25519"
    alg: str | None  # the only one it is for, where the provider says so
    key: Key


def read_keys(data: bytes) -> tuple[PublicJwk, ...]:
    """The keys of a JWKS (RFC 7517 §5) that may verify tokens; others are passed over.

    Raises:
        Rejected(UPSTREAM_BROKEN): it is none.
    """
    told = parse_json(data, code=Code.UPSTREAM_BROKEN, what="the provider's key set", depth=8, members=10_000)
    keys = told.get("keys") if isinstance(told, Mapping) else None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise Rejected(Code.UPSTREAM_BROKEN, f"the provider's key set must be a list of at most {MOST_KEYS} keys")
    return tuple(_usable(keys))


def _usable(keys: Iterable[Json]) -> Iterable[PublicJwk]:
    for each in keys:
        if not isinstance(each, Mapping) or "d" in each or "k" in each or each.get("use", "sig") != "sig":
            continue
        kid, alg = each.get("kid"), each.get("alg")
        try:
            key = JWKRegistry.import_key({name: text for name, text in each.items() if isinstance(text, str)})
            kind = _kind(key)
        except _UNREADABLE:
            continue
        if kind is not None:
            named = kid if isinstance(kid, str) else None
            yield PublicJwk(kid=named, kind=kind, alg=alg if isinstance(alg, str) else None, key=key)


def _kind(key: Key) -> str | None:
    match key:
        case RSAKey():
            return "RSA" if _LEAST_RSA_BITS <= key.public_key.key_size <= _MOST_RSA_BITS else None
        case ECKey():
            return key.curve_name if key.curve_name == "P-256" else None
        case OKPKey():
            return key.curve_name if key.curve_name == "Ed25519" else None
        case _:
            return None


def read_id_token(token: str, keys: Iterable[PublicJwk], expected: Expected) -> Told:
    """Whom a token names, once everything about it holds.

    Raises:
        KeyUnknown: no key here verifies it.
        Untrue: anything else.
    """
    # 1. one compact JWS, signed as we allow, with nothing in its header that we would have to obey
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii() or len(token) > _MOST_TOKEN:
        raise Untrue("it is no signed token in three parts")
    header = _json(parts[0], "its header")
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise Untrue(f"its alg must be one of {', '.join(ALGORITHMS)}")
    if "crit" in header or "b64" in header:
        raise Untrue("its header asks for an extension")
    if kid is not None and not isinstance(kid, str):
        raise Untrue("its kid must be text")

    # 2. by a key of the provider that is of the kind which its alg takes
    fitting = [each for each in keys if each.kind == _KINDS[alg] and each.alg in (None, alg)]
    named = [each for each in fitting if each.kid == kid] if kid is not None else fitting
    if len(named) != 1:
        raise KeyUnknown(f"the provider's key set has {len(named) or 'no'} keys for its kid and alg; one is needed")
    registry = JWSRegistry(algorithms=[alg], strict_check_header=False)
    registry.max_header_length, registry.max_payload_length = 8_192, _MOST_TOKEN
    try:
        deserialize_compact(token, named[0].key, registry=registry)
    except _UNREADABLE:
        raise KeyUnknown("its signature is not the provider's") from None

    # 3. from this provider, for this desk, about this sign-in, now
    claims = _json(parts[1], "its payload")
    _check(claims, header, expected)
    email = claims.get("email")
    return Told(
        issuer=expected.issuer,
        sub=str(claims["sub"]),
        email=email if isinstance(email, str) else "",
        email_verified=claims.get("email_verified") is True,
    )


def _check(claims: Mapping[str, Json], header: Mapping[str, Json], expected: Expected) -> None:
    options = {
        "iss": {"essential": True, "value": expected.issuer},
        "aud": {"essential": True, "value": expected.client_id},
        "sub": {"essential": True},
        "nonce": {"essential": True, "value": expected.nonce},
    }
    max_age_s = None if expected.max_age is None else int(expected.max_age.total_seconds())
    params = {
        "nonce": expected.nonce,
        "client_id": expected.client_id,
        "access_token": expected.access_token,
        "max_age": max_age_s,
    }
    now_s, leeway_s = to_epoch(expected.now), int(LEEWAY.total_seconds())
    try:
        CodeIDToken(dict(claims), dict(header), options, params).validate(now=now_s, leeway=leeway_s)
    except JoseError as fault:
        raise Untrue(f"its claims do not hold: {fault.error}: {_claim(fault)}") from None
    except _UNREADABLE:
        raise Untrue("its claims are not of the kinds they must be") from None
    aud = claims["aud"]
    if isinstance(aud, list) and len(aud) > 1 and claims.get("azp") != expected.client_id:
        raise Untrue("it is for several, and azp does not name this desk")
    if len(str(claims["sub"])) > 255:
        raise Untrue("its sub is longer than a sub may be")
    if _number(claims, "iat") < now_s - leeway_s - OLDEST.total_seconds():
        raise Untrue("it was made before this sign-in began")
    if max_age_s is not None and _number(claims, "auth_time") < now_s - leeway_s - max_age_s:
        raise Untrue("the provider asked for a proof longer ago than max_age")


def _number(claims: Mapping[str, Json], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Untrue(f"{name} must be a number")
    return value


def _claim(fault: JoseError) -> str:
    """Which claim it was: a name that we look for, never one that the token brought."""
    known = ("iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "auth_time", "amr")
    return next((name for name in known if f"'{name}'" in str(fault) or getattr(fault, "claim", "") == name), "a claim")


def _json(part: str, what: str) -> Mapping[str, Json]:
    try:
        data = unb64u(part, code=Code.UPSTREAM_BROKEN, field=what)
        value = parse_json(data, code=Code.UPSTREAM_BROKEN, what=what, depth=8, members=1_000, one_reading=True)
    except Rejected:
        raise Untrue(f"{what} is no JSON in base64url") from None
    if not isinstance(value, Mapping):
        raise Untrue(f"{what} is no JSON object")
    return value
