"""The intent manifest: a signed sentence about who may do what, for which purpose, until when (DESIGN: the wire).

Reading is strict: exactly the known claims, each of one type and spelling. What cannot be read cannot be obeyed, so
anything else is `manifest.malformed`, and an unknown constraint closes rather than opens.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.delegation import check_scope, is_location
from proxy.core.encoding import MAX_EPOCH_S, SHA256_B64U, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import PrivateKey, from_jwk, jwk
from proxy.core.model import Constraints, Grant, Manifest, PublicKey

MANIFEST_TYP = "intent-manifest+jwt"
DETAIL_TYPE = "intent_cluster"
MAX_DEPTH = 3
MAX_PURPOSE_CHARS = 500
MAX_NAME_CHARS = 128
MAX_VALUE_CHARS = 1024

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""People, agents, clusters and operations are called so."""

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")

_REGISTERED = frozenset({"iss", "sub", "aud", "jti", "iat", "nbf", "exp", "cnf"})  # RFC 7519 §4.1, RFC 7800 §3
_OURS = frozenset({"purpose", "sponsor", "del_depth", "del_max_depth", "authorization_details"})
_OPTIONAL = frozenset({"may_delegate_to", "par_hash"})
_DETAIL = frozenset({"type", "identifier", "digest", "actions", "locations", "constraints"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A root manifest before the sponsor signs it. Times are cut to whole seconds."""

    sub: str  # Agent.id
    aud: str  # the deployment
    jti: str
    sponsor_id: str  # becomes iss
    sponsor_name: str
    purpose: str
    cnf: PublicKey  # a key enrolled for the agent
    grants: tuple[Grant, ...]
    iat: datetime
    nbf: datetime
    exp: datetime
    del_max_depth: int = 1
    may_delegate_to: frozenset[str] = frozenset()


def parse_manifest(token: str) -> Manifest:
    """Read one link of a chain (RFC 7515 §7.1, RFC 7519 §4, RFC 7800 §3.2, RFC 9396 §2).

    Not checked here: the signature, the time of day, and everything that needs the inventory or the parent.

    Raises:
        Rejected(MANIFEST_MALFORMED): it is not exactly a manifest; `field` names the claim.
    """
    envelope = open_envelope(token, typ=MANIFEST_TYP, code=Code.MANIFEST_MALFORMED)
    claims = _members(envelope.claims, "the payload", _REGISTERED | _OURS, optional=_OPTIONAL)
    sponsor = _members(claims["sponsor"], "sponsor", frozenset({"id", "name"}))
    cnf = _members(claims["cnf"], "cnf", frozenset({"jwk"}))
    delegates = claims.get("may_delegate_to", [])
    manifest = Manifest(
        token=token,
        id=envelope.id,
        alg=envelope.alg,
        kid=_matching(envelope.kid, "kid", SHA256_B64U, "a JWK thumbprint"),
        signing_input=envelope.signing_input,
        signature=envelope.signature,
        iss=_matching(claims["iss"], "iss", _VISIBLE, "a person's id or a JWK thumbprint"),
        sub=_matching(claims["sub"], "sub", NAME, "an agent's id"),
        aud=_matching(claims["aud"], "aud", _VISIBLE, "one deployment's name"),
        jti=_matching(claims["jti"], "jti", _VISIBLE, "1 to 128 visible ASCII characters"),
        iat=_time(claims["iat"], "iat"),
        nbf=_time(claims["nbf"], "nbf"),
        exp=_time(claims["exp"], "exp"),
        cnf=from_jwk(cnf["jwk"], code=Code.MANIFEST_MALFORMED, field="cnf.jwk"),
        purpose=_text(claims["purpose"], "purpose", MAX_PURPOSE_CHARS),
        sponsor_id=_matching(sponsor["id"], "sponsor.id", NAME, "a person's id"),
        sponsor_name=_text(sponsor["name"], "sponsor.name", MAX_NAME_CHARS),
        del_depth=_depth(claims["del_depth"], "del_depth"),
        del_max_depth=_depth(claims["del_max_depth"], "del_max_depth"),
        may_delegate_to=_set(delegates, "may_delegate_to", NAME, "agents' ids"),
        par_hash=_matching(claims["par_hash"], "par_hash", SHA256_B64U, "a hash") if "par_hash" in claims else None,
        grants=_grants(claims["authorization_details"]),
    )
    _check_sense(manifest)
    return manifest


def issue_root(draft: Draft, *, key: PrivateKey) -> str:
    """Sign a root manifest with one of the sponsor's keys.

    Not checked here: that the key is enrolled for the sponsor, and everything else that needs the inventory.

    Raises:
        Rejected(MANIFEST_MALFORMED): the draft could not be read back; nothing was issued.
    """
    claims: dict[str, Json] = {
        "iss": draft.sponsor_id,
        "sub": draft.sub,
        "aud": draft.aud,
        "jti": draft.jti,
        "iat": to_epoch(draft.iat),
        "nbf": to_epoch(draft.nbf),
        "exp": to_epoch(draft.exp),
        "cnf": {"jwk": jwk(draft.cnf)},
        "purpose": draft.purpose,
        "sponsor": {"id": draft.sponsor_id, "name": draft.sponsor_name},
        "del_depth": 0,
        "del_max_depth": draft.del_max_depth,
        "authorization_details": [detail_claims(grant) for grant in draft.grants],
    }
    if draft.may_delegate_to:
        claims["may_delegate_to"] = sorted(draft.may_delegate_to)
    return _sealed(claims, key).token


def issue_child(
    parent: Manifest,
    *,
    key: PrivateKey,
    cnf: PublicKey,
    jti: str,
    now: datetime,
    lifetime_s: int,
    grants: tuple[Grant, ...] | None = None,
    sub: str | None = None,
    purpose: str | None = None,
    del_max_depth: int | None = None,
    may_delegate_to: frozenset[str] | None = None,
) -> str:
    """Delegate: sign a child of `parent` with its `cnf` key. What is not given is inherited; the expiry is capped.

    Not checked here: whether the inventory lets `sub` be named.

    Raises:
        Rejected(MANIFEST_MALFORMED): the child could not be read back, or the parent has expired.
        Rejected(DELEGATION_*): the child would not be accepted under its parent; nothing was issued.
    """
    delegates = parent.may_delegate_to if may_delegate_to is None else may_delegate_to
    claims: dict[str, Json] = {
        "iss": key.public.kid,
        "sub": parent.sub if sub is None else sub,
        "aud": parent.aud,
        "jti": jti,
        "iat": to_epoch(now),
        "nbf": max(to_epoch(now), to_epoch(parent.nbf)),
        "exp": min(to_epoch(now + timedelta(seconds=lifetime_s)), to_epoch(parent.exp)),
        "cnf": {"jwk": jwk(cnf)},
        "purpose": parent.purpose if purpose is None else purpose,
        "sponsor": {"id": parent.sponsor_id, "name": parent.sponsor_name},
        "del_depth": parent.del_depth + 1,
        "del_max_depth": parent.del_max_depth if del_max_depth is None else del_max_depth,
        "authorization_details": [detail_claims(grant) for grant in (parent.grants if grants is None else grants)],
        "par_hash": parent.id,
    }
    if delegates:
        claims["may_delegate_to"] = sorted(delegates)
    child = _sealed(claims, key)
    check_scope(parent, child)
    return child.token


def detail_claims(grant: Grant) -> dict[str, Json]:
    """One grant as an `authorization_details` entry (RFC 9396 §2), sets sorted."""
    narrowed = grant.constraints
    constraints: dict[str, Json] = {}
    if narrowed.methods is not None:
        constraints["methods"] = sorted(narrowed.methods)
    if narrowed.params:
        constraints["params"] = {name: sorted(values) for name, values in narrowed.params.items()}
    if narrowed.query:
        constraints["query"] = {name: sorted(values) for name, values in narrowed.query.items()}
    return {
        "type": DETAIL_TYPE,
        "identifier": grant.cluster,
        "digest": grant.digest,
        "actions": sorted(grant.actions),
        "locations": sorted(grant.locations),
        "constraints": constraints,
    }


def _sealed(claims: Mapping[str, Json], key: PrivateKey) -> Manifest:
    try:
        token = seal(claims, typ=MANIFEST_TYP, key=key)
    except ValueError as fault:
        raise Rejected(Code.MANIFEST_MALFORMED, f"the manifest cannot be written as JSON: {fault}") from None
    return parse_manifest(token)


def _check_sense(manifest: Manifest) -> None:
    """Claims that must agree with each other, whatever the time and the inventory."""
    if manifest.exp <= manifest.iat or manifest.nbf > manifest.exp:
        raise _fault("exp", "after iat and not before nbf", manifest.exp.isoformat())
    if manifest.del_depth > manifest.del_max_depth:
        raise _fault("del_depth", f"at most del_max_depth, {manifest.del_max_depth}", manifest.del_depth)
    if manifest.del_depth == 0:
        if manifest.par_hash is not None:
            raise _fault("par_hash", "absent from a root manifest (del_depth 0)", manifest.par_hash)
        if manifest.iss != manifest.sponsor_id:
            raise _fault("iss", f"the sponsor's id {manifest.sponsor_id}", manifest.iss)
    else:
        if manifest.par_hash is None:
            raise _fault("par_hash", "the parent's hash when del_depth is not 0", None)
        if manifest.iss != manifest.kid:
            raise _fault("iss", f"the signing key {manifest.kid} when del_depth is not 0", manifest.iss)


def _grants(value: Json) -> tuple[Grant, ...]:
    grants: dict[str, Grant] = {}
    for position, item in enumerate(_list(value, "authorization_details")):
        field = f"authorization_details[{position}]"
        detail = _members(item, field, _DETAIL)
        if detail["type"] != DETAIL_TYPE:
            raise _fault(f"{field}.type", f'"{DETAIL_TYPE}"', detail["type"])
        grant = Grant(
            cluster=_matching(detail["identifier"], f"{field}.identifier", NAME, "a cluster's id"),
            digest=_matching(detail["digest"], f"{field}.digest", SHA256_B64U, "a base64url SHA-256"),
            actions=_set(detail["actions"], f"{field}.actions", NAME, "operation names"),
            locations=_set(detail["locations"], f"{field}.locations", _VISIBLE, "locations"),
            constraints=_constraints(detail["constraints"], f"{field}.constraints"),
        )
        for location in sorted(grant.locations):
            if not is_location(location):
                raise _fault(f"{field}.locations", "canonical scheme://host[:port] or scheme://*.host[:port]", location)
        if grant.cluster in grants:
            raise _fault(f"{field}.identifier", "granted once", grant.cluster)
        grants[grant.cluster] = grant
    return tuple(grants.values())


def _constraints(value: Json, field: str) -> Constraints:
    kinds = _members(value, field, frozenset(), optional=frozenset({"methods", "params", "query"}))
    methods = kinds.get("methods")
    return Constraints(
        methods=_set(methods, f"{field}.methods", _METHOD, "methods") if "methods" in kinds else None,
        params=_values(kinds.get("params", {}), f"{field}.params"),
        query=_values(kinds.get("query", {}), f"{field}.query"),
    )


def _values(value: Json, field: str) -> dict[str, frozenset[str]]:
    if not isinstance(value, Mapping):
        raise _fault(field, "an object of lists", value)
    permitted: dict[str, frozenset[str]] = {}
    for name, listed in value.items():
        _text(name, field, MAX_NAME_CHARS)
        texts = [_text(item, f"{field}.{name}", MAX_VALUE_CHARS, least=0) for item in _list(listed, f"{field}.{name}")]
        permitted[name] = _unique(texts, f"{field}.{name}")
    return permitted


def _members(
    value: Json, field: str, required: frozenset[str], *, optional: frozenset[str] = frozenset()
) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise _fault(field, "an object", value)
    missing, unknown = required - set(value), set(value) - required - optional
    if missing or unknown:
        expected = f"an object with {', '.join(sorted(required))}" if required else "an object of known members"
        raise _fault(field, expected, f"missing {sorted(missing)}, unknown {sorted(unknown)}")
    return value


def _list(value: Json, field: str) -> list[Json]:
    if not isinstance(value, list):
        raise _fault(field, "a list", value)
    return value


def _set(value: Json, field: str, pattern: re.Pattern[str], expected: str) -> frozenset[str]:
    return _unique([_matching(item, field, pattern, expected) for item in _list(value, field)], field)


def _unique(texts: list[str], field: str) -> frozenset[str]:
    unique = frozenset(texts)
    if len(unique) != len(texts):
        raise _fault(field, "without repeats", len(texts))
    return unique


def _matching(value: Json, field: str, pattern: re.Pattern[str], expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _fault(field, expected, value)
    return value


def _text(value: Json, field: str, max_chars: int, *, least: int = 1) -> str:
    """Text for people: printable, so that no control, bidi or line-breaking character hides in what is approved."""
    if not isinstance(value, str) or not least <= len(value) <= max_chars or not value.isprintable():
        raise _fault(field, f"{least} to {max_chars} printable characters", value)
    return value


def _time(value: Json, field: str) -> datetime:
    if type(value) is not int or not 0 <= value <= MAX_EPOCH_S:
        raise _fault(field, "whole seconds since 1970", value)
    return from_epoch(value)


def _depth(value: Json, field: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_DEPTH:
        raise _fault(field, f"an integer from 0 to {MAX_DEPTH}", value)
    return value


def _fault(field: str, expected: str, got: Json) -> Rejected:
    """`got` is cut short and escaped: it came from outside and goes to a log and a terminal."""
    shown = ascii(got)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return Rejected(Code.MANIFEST_MALFORMED, f"{field} must be {expected}, got {shown}", field=field)
