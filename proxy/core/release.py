"""Releases: a reviewer's signed word about one held call, and who may give it (DESIGN: holding, releasing).

Rules about who may release live here and nowhere else: the command line and the review desk ask `may_decide` before
they sign, and the proxy asks `read_release`, which asks it again, before one byte leaves.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.encoding import MAX_EPOCH_S, NONCE, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold, Means, Person, Risk, Verdict
from proxy.core.notes import check_reason, escalated_at
from proxy.core.reviewers import check_permitted, check_turn
from proxy.core.standing import SKEW_S
from proxy.core.vouching import bare, check_suffices, voucher_of

RELEASE_TYP = "intent-release+jwt"

_TEXTS = frozenset({"iss", "aud", "hold", "digest", "verdict", "scope", "reason", "nonce"})
_TIMES = frozenset({"iat", "exp"})
_MAY = frozenset({"node"})
_ONCE = "once"
_VERBS = {"release": Verdict.ALLOW, "deny": Verdict.DENY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A reviewer's statement about one hold, good for its call once. `read_release` makes verified ones."""

    token: str
    id: str
    by: str  # Person.id
    aud: str
    hold_id: str
    call_digest: str
    verdict: Verdict  # ALLOW for the verb `release`, DENY for `deny`
    reason: str
    issued_at: datetime
    not_after: datetime
    nonce: str
    node: str = ""  # the one that may act, of a transformative hold
    means: Means = Means.KEY  # with what it was signed


def state_release(
    *,
    hold: Hold,
    verdict: Verdict,
    by: str,
    reason: str,
    deployment: str,
    key: PrivateKey,
    now: datetime,
    not_after: datetime,
    nonce: str,
) -> str:
    """Sign a release (ALLOW) or a denial (DENY) with `key`; see `release_claims`."""
    claims = release_claims(
        hold=hold,
        verdict=verdict,
        by=by,
        reason=reason,
        deployment=deployment,
        now=now,
        not_after=not_after,
        nonce=nonce,
    )
    return seal(claims, typ=RELEASE_TYP, key=key)


def release_claims(
    *,
    hold: Hold,
    verdict: Verdict,
    by: str,
    reason: str,
    deployment: str,
    now: datetime,
    not_after: datetime,
    nonce: str,
) -> dict[str, Json]:
    """What is to be signed as a release (ALLOW) or a denial (DENY) of exactly the call of `hold`.

    `by` is the Person.id of whoever decides, `nonce` 128 bits in base64url. Whoever signs has read the call and
    computed its digest anew. Not checked here: `may_decide`.

    Raises:
        Rejected(RELEASE_INVALID): it could not be read back (no reason for a denial, HOLD for a verdict, impossible
            times); nothing was signed that would be refused later for its form.
    """
    verbs = [verb for verb, meant in _VERBS.items() if meant is verdict]
    check_reason(reason, needed=_needs_reason(verdict))
    claims: dict[str, Json] = {
        "iss": by,
        "aud": deployment,
        "hold": hold.id,
        "digest": hold.call_digest,
        "verdict": verbs[0] if verbs else verdict.value,
        "scope": _ONCE,
        "reason": reason,
        "iat": to_epoch(now),
        "exp": to_epoch(not_after),
        "nonce": nonce,
    }
    if bound_to(hold):
        claims["node"] = bound_to(hold)
    _read(claims)
    return claims


def read_release(token: str, *, hold: Hold, bundle: Bundle, barred: frozenset[str], now: datetime) -> Release:
    """Verify a statement about `hold`.

    `barred` are the thumbprints of every `cnf` key in the chain the call came with: with those, and with any key of
    an agent in the inventory, nobody votes, not even a person whose enrolled key it happens to be. Only a release is
    held to its not-after: a denial does not become less of one with age. Not checked here: that the release was not
    used before (the hold's state), and that `hold` is what was filed (its sealed copy).

    Raises:
        Rejected(RELEASE_INVALID): malformed, about another deployment, hold or call, not signed with an enrolled key
            of whom it names (see `voucher_of`), signed in the future, or past its not-after.
        Rejected(HOLD_NOT_PERMITTED): signed with an agent's key, by the desk alone where that does not suffice, or as
            `may_decide`.
    """
    code = Code.RELEASE_INVALID
    envelope = open_envelope(token, typ=RELEASE_TYP, code=code)
    release = replace(_read(bare(envelope.claims)), token=envelope.token, id=envelope.id)
    # 1. About this call, here.
    for field, expected, got in (
        ("aud", bundle.deployment, release.aud),
        ("hold", hold.id, release.hold_id),
        ("digest", hold.call_digest, release.call_digest),
        ("node", bound_to(hold) or release.node, release.node),
    ):
        if expected != got:
            raise Rejected(code, f"{field} must be {expected}, got {ascii(got)[:80]}", field=field)
    # 2. Signed by an enrolled person, with what suffices, and not as an agent.
    person = bundle.people.get(release.by)
    if person is None:
        raise Rejected(code, f"{ascii(release.by)[:80]} is not an enrolled person", field="iss")
    means = voucher_of(envelope, person, bundle=bundle, barred=barred).means
    check_suffices(means, hold)
    # 3. By someone who may now, and whose turn it was at the time.
    check_permitted(person, hold, bundle, at=now)
    if release.verdict is Verdict.ALLOW:
        signed_at = min(now, release.issued_at) + timedelta(seconds=SKEW_S)
        _check_turn(person, hold, bundle, barred=barred, at=signed_at, now=now)
    # 4. In time.
    if now + timedelta(seconds=SKEW_S) < release.issued_at:
        raise Rejected(code, f"signed in the future, at {release.issued_at.isoformat()}", field="iat")
    if release.verdict is Verdict.ALLOW and now >= release.not_after:
        raise Rejected(code, f"the release ended at {release.not_after.isoformat()}", field="exp")
    return replace(release, means=means)


def bound_to(hold: Hold) -> str:
    """The node that alone may act on a release of this hold; "" for any. What changes the world is sent from where it
    was asked for: that node remembers what it sent, whatever the store is made to say to another.
    """
    return hold.node if hold.risk is Risk.TRANSFORMATIVE else ""


def acts_at(node: str, releases: Iterable[Release], hold: Hold) -> bool:
    """Whether this node may act on verified releases of `hold`: one that names a node counts there alone, and what
    changes the world is sent only where each names it. Whoever seals records could leave the node out of one.
    """
    others = frozenset() if hold.risk is Risk.TRANSFORMATIVE else frozenset({""})
    return all(release.node in others | {node} for release in releases)


def _always(_: Release) -> bool:
    return True


def read_approval(
    hold: Hold,
    *,
    bundle: Bundle,
    barred: frozenset[str],
    now: datetime,
    counts: Callable[[Release], bool] = _always,
) -> tuple[Release, ...]:
    """The verified releases that let the call of `hold` pass, one of each person, the deciding one first.

    With a quorum each must hold by itself at `now`, as `read_release` says: one that has ended since is missing, and
    so is one that no longer `counts`, because a stop came after it.

    Raises:
        Rejected(HOLD_TAMPERED): there is no deciding statement, or it is a denial.
        Rejected(RELEASE_INVALID, HOLD_NOT_PERMITTED): the deciding one does not hold, or there are fewer than the
            quorum.
    """
    if hold.statement is None:
        raise Rejected(Code.HOLD_TAMPERED, "the hold has no reviewer's signed statement", field="statement")
    deciding = read_release(hold.statement, hold=hold, bundle=bundle, barred=barred, now=now)
    if deciding.verdict is not Verdict.ALLOW:
        raise Rejected(Code.HOLD_TAMPERED, "the hold is marked approved but its signed statement is a denial")
    releases = {deciding.by: deciding} if counts(deciding) else {}
    for other in read_releases(hold, bundle=bundle, barred=barred, now=now, counts=counts):
        releases.setdefault(other.by, other)
    if len(releases) < hold.quorum:
        who = f": {', '.join(releases)}" if releases else ""
        detail = f"{hold.quorum} different people must release the call, {len(releases)} did{who}"
        raise Rejected(Code.RELEASE_INVALID, detail, field="statement")
    return tuple(releases.values())


def read_releases(
    hold: Hold,
    *,
    bundle: Bundle,
    barred: frozenset[str],
    now: datetime,
    counts: Callable[[Release], bool] = _always,
) -> tuple[Release, ...]:
    """The releases among what was said about a hold that hold at `now`, and `counts`; the rest is passed over."""
    found: list[Release] = []
    for said in hold.said:
        try:
            release = read_release(said.statement, hold=hold, bundle=bundle, barred=barred, now=now)
        except Rejected:
            continue
        if release.verdict is Verdict.ALLOW and counts(release):
            found.append(release)
    return tuple(found)


def may_decide(
    person: Person,
    hold: Hold,
    bundle: Bundle,
    now: datetime,
    *,
    verdict: Verdict = Verdict.ALLOW,
    barred: frozenset[str] = frozenset(),
) -> None:
    """Reject a person who may not rule so on this hold now. A denial waits for nobody's turn: it can be lifted.

    Not checked here: the hold's state, and whose key signs.

    Raises:
        Rejected(HOLD_NOT_PERMITTED): not enrolled, not named, no longer certified, or it is not their turn yet.
    """
    check_permitted(person, hold, bundle, at=now)
    if verdict is Verdict.ALLOW:
        _check_turn(person, hold, bundle, barred=barred, at=now, now=now)


def _check_turn(
    person: Person, hold: Hold, bundle: Bundle, *, barred: frozenset[str], at: datetime, now: datetime
) -> None:
    escalated = escalated_at(hold, bundle, barred=barred, now=now)
    if escalated is None or at < escalated:
        check_turn(person, hold, bundle, at=at)


def _read(claims: Mapping[str, Json]) -> Release:
    code = Code.RELEASE_INVALID
    texts = {name: value for name, value in claims.items() if name in _TEXTS and isinstance(value, str)}
    times = {name: value for name, value in claims.items() if name in _TIMES and type(value) is int}
    node = claims.get("node", "")
    known = texts.keys() == _TEXTS and times.keys() == _TIMES and isinstance(node, str)
    if not known or not claims.keys() <= _TEXTS | _TIMES | _MAY:
        detail = f"must have exactly {', '.join(sorted(_TEXTS))} as strings and exp, iat as integers"
        raise Rejected(code, f"a release {detail}")
    verdict = _VERBS.get(texts["verdict"])
    if verdict is None or texts["scope"] != _ONCE:
        raise Rejected(code, 'verdict must be "release" or "deny", scope "once"', field="verdict")
    if not 0 <= times["iat"] < times["exp"] <= MAX_EPOCH_S:
        raise Rejected(code, "exp must be after iat, both in seconds since 1970", field="exp")
    if not NONCE.fullmatch(texts["nonce"]):
        raise Rejected(code, "nonce must be 128 to 512 bits in base64url", field="nonce")
    check_reason(texts["reason"], needed=_needs_reason(verdict))
    return Release(
        token="",
        id="",
        by=texts["iss"],
        aud=texts["aud"],
        hold_id=texts["hold"],
        call_digest=texts["digest"],
        verdict=verdict,
        reason=texts["reason"],
        issued_at=from_epoch(times["iat"]),
        not_after=from_epoch(times["exp"]),
        nonce=texts["nonce"],
        node=str(node),
    )


def _needs_reason(verdict: Verdict) -> str:
    return "a denial, which the agent reads," if verdict is Verdict.DENY else ""
