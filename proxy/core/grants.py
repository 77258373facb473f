"""Route grants: a reviewer's signed word that calls like one that was held may pass, so often, so long.

A grant names one root mandate and its line of subjects, one method, one origin, one path or path template, the query
and the body, an end and a count. It stands where a release stands in the order of deciding: it replaces places 6 and 7,
nothing before them, and neither where several people must release nor where the risk is transformative. Redis carries
it and counts it; it is read here on every use.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.control import ControlView, ended_by
from proxy.core.encoding import MAX_EPOCH_S, NONCE, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Call, Decision, Mandate, Means, Proof, Risk, StoredCall
from proxy.core.notes import check_reason
from proxy.core.reviewers import check_certified, eligible
from proxy.core.routes import Route, covers
from proxy.core.standing import SKEW_S
from proxy.core.vouching import DESK_GRANT_COUNT, DESK_GRANT_LASTS, bare, check_no_agent, voucher_of

GRANT_TYP = "intent-grant+jwt"
MAX_COUNT = 1000
LONGEST = timedelta(hours=24)

_ID = re.compile(r"[a-z0-9-]{1,40}")
_TEXTS = frozenset(
    {"iss", "aud", "grant", "hold", "root", "sub", "method", "origin", "path", "query", "body", "media", "reason"}
    | {"proof"}
)
_PROOFS = {proof.label: proof for proof in Proof}
_CLAIMS = _TEXTS | {"nonce", "vary", "count", "iat", "exp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteGrant:
    """A statement about calls like one that was held. `read_grant` makes verified ones."""

    token: str
    id: str
    kid: str  # of the key that vouches for it: a person's own, their passkey's, or the desk's
    by: str  # Person.id
    hold_id: str  # the hold it was given with
    root_id: str
    sub_path: str
    proof: Proof  # the least that its calls come with: that of the held one
    route: Route
    count: int
    reason: str
    issued_at: datetime
    not_after: datetime
    means: Means = Means.KEY  # with what it was signed

    @property
    def agents(self) -> tuple[str, ...]:
        """Every agent of the line it was given to."""
        return tuple(self.sub_path.split("/"))


def state_grant(
    route: Route,
    *,
    grant_id: str,
    filed: StoredCall,
    by: str,
    count: int,
    reason: str,
    deployment: str,
    key: PrivateKey,
    now: datetime,
    not_after: datetime,
    nonce: str,
) -> str:
    """Sign a grant for calls like `filed` with `key`; see `grant_claims`."""
    claims = grant_claims(
        route,
        grant_id=grant_id,
        filed=filed,
        by=by,
        count=count,
        reason=reason,
        deployment=deployment,
        now=now,
        not_after=not_after,
        nonce=nonce,
    )
    return seal(claims, typ=GRANT_TYP, key=key)


def grant_claims(
    route: Route,
    *,
    grant_id: str,
    filed: StoredCall,
    by: str,
    count: int,
    reason: str,
    deployment: str,
    now: datetime,
    not_after: datetime,
    nonce: str,
) -> dict[str, Json]:
    """What is to be signed as a grant for calls like `filed`.

    Not checked here: whether its giver may (`check_grantable`, `may_decide`).

    Raises:
        Rejected(RELEASE_INVALID): it could not be read back: no reason, no count, an end too far.
    """
    decision = filed.decision
    claims: dict[str, Json] = {
        "iss": by,
        "aud": deployment,
        "grant": grant_id,
        "hold": decision.hold_id or "",
        "root": decision.manifest or "",
        "sub": filed.sub_path,
        "proof": filed.proof.label,
        "method": route.method,
        "origin": route.origin,
        "path": route.path,
        "query": route.query,
        "vary": list(route.vary),
        "body": route.body,
        "media": route.media,
        "count": count,
        "reason": reason,
        "nonce": nonce,
        "iat": to_epoch(now),
        "exp": to_epoch(not_after),
    }
    _read(claims)
    return claims


def read_grant(token: str, *, bundle: Bundle, now: datetime) -> RouteGrant:
    """Verify who signed a grant, and that it has begun and not ended.

    Not checked here: whether it lets a call pass (`check_use`), and how often it was used.

    Raises:
        Rejected(RELEASE_INVALID): malformed, for another deployment, not signed with an enrolled key of whom it names
            (see `voucher_of`), signed in the future, or over.
        Rejected(HOLD_NOT_PERMITTED): signed with an agent's key, by somebody no longer certified, or by the desk alone
            for more than it may.
    """
    code = Code.RELEASE_INVALID
    envelope = open_envelope(token, typ=GRANT_TYP, code=code)
    grant = _read(bare(envelope.claims))
    if envelope.claims["aud"] != bundle.deployment:
        raise Rejected(code, f"aud must be {bundle.deployment}", field="aud")
    person = bundle.people.get(grant.by)
    if person is None:
        raise Rejected(code, f"{ascii(grant.by)[:80]} is not an enrolled person", field="iss")
    voucher = voucher_of(envelope, person, bundle=bundle, barred=frozenset())
    if voucher.means is Means.DESK and not fits_the_desk(grant.count, grant.not_after - grant.issued_at):
        widest = f"{DESK_GRANT_COUNT} calls and {DESK_GRANT_LASTS // timedelta(minutes=1)} minutes"
        detail = f"a grant for more than {widest} is signed with a passkey or a key of one's own, not the desk's"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="count")
    check_certified(person, at=now)
    if now + timedelta(seconds=SKEW_S) < grant.issued_at:
        raise Rejected(code, f"signed in the future, at {grant.issued_at.isoformat()}", field="iat")
    if now >= grant.not_after:
        raise Rejected(code, f"the grant ended at {grant.not_after.isoformat()}", field="exp")
    return replace(grant, token=envelope.token, kid=voucher.kid, means=voucher.means)


def fits_the_desk(count: int, lasts: timedelta) -> bool:
    """Whether the review desk's key alone may sign a grant of this size."""
    return count <= DESK_GRANT_COUNT and lasts <= DESK_GRANT_LASTS


def check_use(
    grant: RouteGrant, *, call: Call, decision: Decision, mandate: Mandate, bundle: Bundle, view: ControlView
) -> None:
    """Reject a use of a verified grant: another call, another mandate, a revoked grant, or one its signer may not give.

    `decision` is today's on this call: who may release it now must be whom the grant is signed by.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    code = Code.HOLD_NOT_PERMITTED
    check_grantable(decision)
    if grant.id in view.revoked_grants:
        raise Rejected(code, f"grant {grant.id} was revoked", field="grant")
    stopped = view.stopped_since(grant.agents, grant.issued_at)
    if stopped is not None:
        raise Rejected(code, f"grant {grant.id} ended when {ended_by(stopped)}", field="grant")
    if (grant.root_id, grant.sub_path) != (mandate.root_id, mandate.sub_path):
        raise Rejected(code, f"grant {grant.id} is of another mandate", field="root")
    if decision.proof is None or decision.proof < grant.proof:
        detail = f"grant {grant.id} was given for a call with {grant.proof.label} proof, and lets none with less pass"
        raise Rejected(code, detail, field="proof")
    if grant.by not in eligible(decision.review.who, mandate.sponsor.id, bundle):
        raise Rejected(code, f"{grant.by} may not release this call, so grant {grant.id} does not", field="iss")
    check_no_agent(grant.kid, bundle, frozenset(link.cnf.kid for link in mandate.chain))
    if not covers(grant.route, call):
        raise Rejected(code, f"grant {grant.id} is of other calls", field="path")


def check_grantable(decision: Decision) -> None:
    """Reject to let pass, beyond one call, what is judged like this.

    Raises:
        Rejected(HOLD_NOT_PERMITTED): it may change things, or several people must release it.
    """
    code = Code.HOLD_NOT_PERMITTED
    if decision.risk is not Risk.ROUTINE:
        raise Rejected(code, "a call that may change things is released by itself, never by route", field="risk")
    if decision.review.quorum > 1:
        detail = f"{decision.review.quorum} people must release such a call, each time: it is never granted by route"
        raise Rejected(code, detail, field="quorum")


def _read(claims: Mapping[str, Json]) -> RouteGrant:
    code = Code.RELEASE_INVALID
    texts = {name: value for name, value in claims.items() if name in _TEXTS and isinstance(value, str)}
    vary, nonce = claims.get("vary"), claims.get("nonce")
    count, iat, exp = (_whole(claims.get(name)) for name in ("count", "iat", "exp"))
    if claims.keys() != _CLAIMS or texts.keys() != _TEXTS or not isinstance(vary, list) or not isinstance(nonce, str):
        raise Rejected(code, f"a grant must have exactly the claims {', '.join(sorted(_CLAIMS))}, each of its type")
    names = tuple(name for name in vary if isinstance(name, str))
    if len(names) != len(vary) or not NONCE.fullmatch(nonce) or not _ID.fullmatch(texts["grant"]):
        detail = "vary must be names, nonce 128 to 512 bits in base64url, grant a short id"
        raise Rejected(code, detail, field="grant")
    if not 1 <= count <= MAX_COUNT:
        raise Rejected(code, f"count must be from 1 to {MAX_COUNT}", field="count")
    if not 0 <= iat < exp <= MAX_EPOCH_S or exp - iat > LONGEST.total_seconds():
        raise Rejected(code, f"exp must be after iat, by at most {LONGEST // timedelta(hours=1)} hours", field="exp")
    if texts["proof"] not in _PROOFS:
        raise Rejected(code, f"proof must be one of {', '.join(_PROOFS)}", field="proof")
    check_reason(texts["reason"], needed="a scope wider than one call")
    return RouteGrant(
        token="",
        id=texts["grant"],
        kid="",
        by=texts["iss"],
        hold_id=texts["hold"],
        root_id=texts["root"],
        sub_path=texts["sub"],
        proof=_PROOFS[texts["proof"]],
        route=Route(
            method=texts["method"],
            origin=texts["origin"],
            path=texts["path"],
            query=texts["query"],
            vary=names,
            body=texts["body"],
            media=texts["media"],
        ),
        count=count,
        reason=texts["reason"],
        issued_at=from_epoch(iat),
        not_after=from_epoch(exp),
    )


def _whole(value: Json) -> int:
    return value if type(value) is int else -1
