"""The intent manifest: a signed sentence about who may do what, for which purpose, until when (DESIGN: the wire).

Reading is strict: exactly the known claims, each of one type and spelling. What cannot be read cannot be obeyed, so
anything else is `manifest.malformed`, and an unknown constraint closes rather than opens.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.claims import MAX_NAME_CHARS, list_of, matching, members_of, set_of, text_of, time_of, unfit
from proxy.core.constraints import constraint_claims, constraints_of
from proxy.core.delegation import check_scope, is_location
from proxy.core.encoding import SHA256_B64U, Json, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import PrivateKey, from_jwk, jwk
from proxy.core.model import Grant, Manifest, PublicKey
from proxy.core.passkeys import WEBAUTHN, read_assertion

MANIFEST_TYP = "intent-manifest+jwt"
X5T = "x5t#S256"
DETAIL_TYPE = "intent_cluster"
MAX_DEPTH = 3
MAX_PURPOSE_CHARS = 500

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""People, agents, clusters and operations are called so."""

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")

_REGISTERED = frozenset({"iss", "sub", "aud", "jti", "iat", "nbf", "exp", "cnf"})  # RFC 7519 §4.1, RFC 7800 §3
_OURS = frozenset({"purpose", "sponsor", "del_depth", "del_max_depth", "authorization_details"})
_OPTIONAL = frozenset({"may_delegate_to", "par_hash", WEBAUTHN})
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
    certificate: str | None = None  # x5t#S256 of the client certificate it is bound to besides


def parse_manifest(token: str) -> Manifest:
    """Read one link of a chain (RFC 7515 §7.1, RFC 7519 §4, RFC 7800 §3.2, RFC 9396 §2).

    Not checked here: the signature, the time of day, and everything that needs the inventory or the parent.

    Raises:
        Rejected(MANIFEST_MALFORMED): it is not exactly a manifest; `field` names the claim.
    """
    envelope = open_envelope(token, typ=MANIFEST_TYP, code=Code.MANIFEST_MALFORMED)
    claims = members_of(envelope.claims, "the payload", _REGISTERED | _OURS, optional=_OPTIONAL)
    sponsor = members_of(claims["sponsor"], "sponsor", frozenset({"id", "name"}))
    cnf = members_of(claims["cnf"], "cnf", frozenset({"jwk"}), optional=frozenset({X5T}))
    delegates = claims.get("may_delegate_to", [])
    manifest = Manifest(
        token=token,
        id=envelope.id,
        alg=envelope.alg,
        kid=matching(envelope.kid, "kid", SHA256_B64U, "a JWK thumbprint"),
        signing_input=envelope.signing_input,
        signature=envelope.signature,
        iss=matching(claims["iss"], "iss", _VISIBLE, "a person's id or a JWK thumbprint"),
        sub=matching(claims["sub"], "sub", NAME, "an agent's id"),
        aud=matching(claims["aud"], "aud", _VISIBLE, "one deployment's name"),
        jti=matching(claims["jti"], "jti", _VISIBLE, "1 to 128 visible ASCII characters"),
        iat=time_of(claims["iat"], "iat"),
        nbf=time_of(claims["nbf"], "nbf"),
        exp=time_of(claims["exp"], "exp"),
        cnf=from_jwk(cnf["jwk"], code=Code.MANIFEST_MALFORMED, field="cnf.jwk"),
        purpose=text_of(claims["purpose"], "purpose", MAX_PURPOSE_CHARS),
        sponsor_id=matching(sponsor["id"], "sponsor.id", NAME, "a person's id"),
        sponsor_name=text_of(sponsor["name"], "sponsor.name", MAX_NAME_CHARS),
        del_depth=_depth(claims["del_depth"], "del_depth"),
        del_max_depth=_depth(claims["del_max_depth"], "del_max_depth"),
        may_delegate_to=set_of(delegates, "may_delegate_to", NAME, "agents' ids"),
        par_hash=matching(claims["par_hash"], "par_hash", SHA256_B64U, "a hash") if "par_hash" in claims else None,
        grants=_grants(claims["authorization_details"]),
        certificate=matching(cnf[X5T], f"cnf.{X5T}", SHA256_B64U, "a base64url SHA-256") if X5T in cnf else None,
        passkey=_credential(claims[WEBAUTHN]) if WEBAUTHN in claims else None,
    )
    _check_sense(manifest)
    return manifest


def issue_root(draft: Draft, *, key: PrivateKey) -> str:
    """Sign a root manifest with one of the sponsor's keys.

    Not checked here: that the key is enrolled for the sponsor, and everything else that needs the inventory.

    Raises:
        Rejected(MANIFEST_MALFORMED): the draft could not be read back; nothing was issued.
    """
    return _sealed(root_claims(draft), key).token


def root_claims(draft: Draft) -> dict[str, Json]:
    """What the sponsor is to sign, as a compact JWS of type `MANIFEST_TYP`, for a root manifest."""
    claims: dict[str, Json] = {
        "iss": draft.sponsor_id,
        "sub": draft.sub,
        "aud": draft.aud,
        "jti": draft.jti,
        "iat": to_epoch(draft.iat),
        "nbf": to_epoch(draft.nbf),
        "exp": to_epoch(draft.exp),
        "cnf": _confirmation(draft.cnf, draft.certificate),
        "purpose": draft.purpose,
        "sponsor": {"id": draft.sponsor_id, "name": draft.sponsor_name},
        "del_depth": 0,
        "del_max_depth": draft.del_max_depth,
        "authorization_details": [detail_claims(grant) for grant in draft.grants],
    }
    if draft.may_delegate_to:
        claims["may_delegate_to"] = sorted(draft.may_delegate_to)
    return claims


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
    certificate: str | None = None,
) -> str:
    """Delegate: sign a child of `parent` with its `cnf` key. What is not given is inherited; the expiry is capped.

    A client certificate that `parent` is bound to is inherited only by the same subject: another's is its own.

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
        "cnf": _confirmation(cnf, certificate or (parent.certificate if sub in (None, parent.sub) else None)),
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
    return {
        "type": DETAIL_TYPE,
        "identifier": grant.cluster,
        "digest": grant.digest,
        "actions": sorted(grant.actions),
        "locations": sorted(grant.locations),
        "constraints": constraint_claims(grant.constraints),
    }


def _confirmation(key: PublicKey, certificate: str | None) -> dict[str, Json]:
    """The `cnf` claim (RFC 7800 §3.2, RFC 8705 §3.1)."""
    return {"jwk": jwk(key)} if certificate is None else {"jwk": jwk(key), X5T: certificate}


def _sealed(claims: Mapping[str, Json], key: PrivateKey) -> Manifest:
    try:
        token = seal(claims, typ=MANIFEST_TYP, key=key)
    except ValueError as fault:
        raise Rejected(Code.MANIFEST_MALFORMED, f"the manifest cannot be written as JSON: {fault}") from None
    return parse_manifest(token)


def _check_sense(manifest: Manifest) -> None:
    """Claims that must agree with each other, whatever the time and the inventory."""
    if manifest.exp <= manifest.iat or manifest.nbf > manifest.exp:
        raise unfit("exp", "after iat and not before nbf", manifest.exp.isoformat())
    if manifest.del_depth > manifest.del_max_depth:
        raise unfit("del_depth", f"at most del_max_depth, {manifest.del_max_depth}", manifest.del_depth)
    if manifest.del_depth == 0:
        if manifest.par_hash is not None:
            raise unfit("par_hash", "absent from a root manifest (del_depth 0)", manifest.par_hash)
        if manifest.iss != manifest.sponsor_id:
            raise unfit("iss", f"the sponsor's id {manifest.sponsor_id}", manifest.iss)
    else:
        if manifest.par_hash is None:
            raise unfit("par_hash", "the parent's hash when del_depth is not 0", None)
        if manifest.passkey is not None:
            raise unfit(WEBAUTHN, "absent when del_depth is not 0: a key delegates, not a person", "an assertion")
        if manifest.iss != manifest.kid:
            raise unfit("iss", f"the signing key {manifest.kid} when del_depth is not 0", manifest.iss)


def _credential(value: Json) -> bytes:
    """The credential whose assertion a root carries. Whether it signed the root is for `sponsoring` to say."""
    try:
        return read_assertion(value).credential
    except Rejected as fault:
        raise Rejected(Code.MANIFEST_MALFORMED, fault.detail, field=fault.field) from None


def _grants(value: Json) -> tuple[Grant, ...]:
    grants: dict[str, Grant] = {}
    for position, item in enumerate(list_of(value, "authorization_details")):
        field = f"authorization_details[{position}]"
        detail = members_of(item, field, _DETAIL)
        if detail["type"] != DETAIL_TYPE:
            raise unfit(f"{field}.type", f'"{DETAIL_TYPE}"', detail["type"])
        grant = Grant(
            cluster=matching(detail["identifier"], f"{field}.identifier", NAME, "a cluster's id"),
            digest=matching(detail["digest"], f"{field}.digest", SHA256_B64U, "a base64url SHA-256"),
            actions=set_of(detail["actions"], f"{field}.actions", NAME, "operation names"),
            locations=set_of(detail["locations"], f"{field}.locations", _VISIBLE, "locations"),
            constraints=constraints_of(detail["constraints"], f"{field}.constraints"),
        )
        for location in sorted(grant.locations):
            if not is_location(location):
                raise unfit(f"{field}.locations", "canonical scheme://host[:port] or scheme://*.host[:port]", location)
        if grant.cluster in grants:
            raise unfit(f"{field}.identifier", "granted once", grant.cluster)
        grants[grant.cluster] = grant
    return tuple(grants.values())


def _depth(value: Json, field: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_DEPTH:
        raise unfit(field, f"an integer from 0 to {MAX_DEPTH}", value)
    return value
