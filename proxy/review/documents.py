"""Holds, rulings and reviewers as JSON: the same members on the command line and in the review desk's API."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.control import Statement
from proxy.core.encoding import Json, b64u
from proxy.core.grants import RouteGrant
from proxy.core.hiding import masked_path
from proxy.core.model import Call, Hold, HoldState
from proxy.core.notes import Note
from proxy.core.reviewed import Word, event_of
from proxy.core.routes import ANY_BODY
from proxy.review.groups import Group
from proxy.review.history import Ruling
from proxy.review.opened import HeldCall
from proxy.review.outcomes import Outcome
from proxy.review.oversight import Reviewer
from proxy.review.proposing import Proposal
from proxy.review.times import instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What somebody said of a hold without deciding it, for eyes."""

    by: str
    event: str
    reason: str
    at: datetime
    until: datetime | None = None  # of an extension: how long it waits then


def remarks(held: HeldCall) -> tuple[Remark, ...]:
    """What people signed about a hold, oldest first."""
    return tuple(
        Remark(
            by=one.by,
            event=event_of(one),
            reason=one.reason,
            at=_said_at(one),
            until=one.until if isinstance(one, Note) and one.until > one.at else None,
        )
        for one in held.said
    )


def _said_at(one: Word) -> datetime:
    return one.at if isinstance(one, Note | Statement) else one.issued_at


def lost_words(hold: Hold) -> tuple[str, ...]:
    """What to do about an uncertain hold."""
    return (
        "It was released and left, and no answer came back. It is never sent again by itself.",
        "Look at the other side, or ask whoever runs it: did the call below arrive? Then say so, signed:",
        f"intent-proxy holds resolve {hold.id} --arrived --reason 'how you know'",
        f"intent-proxy holds resolve {hold.id} --not-arrived --reason 'how you know'",
        "Neither sends anything. If it did not arrive, its agent may ask anew, and it is held anew.",
    )


def hold_json(hold: Hold) -> dict[str, Json]:
    """A hold."""
    return {
        "id": hold.id,
        "state": hold.state.value,
        "version": hold.version,
        "agent": hold.agent,
        "sponsor": hold.sponsor,
        "cluster": hold.cluster,
        "task": hold.task,
        "code": hold.code.value,
        "risk": hold.risk.value,
        "proof": hold.proof.label,
        "who": list(hold.who),
        "quorum": hold.quorum,
        "manifest": hold.root_id,
        "call_digest": hold.call_digest,
        "body_bytes": hold.body_bytes,
        "filed_at": instant(hold.filed_at),
        "expires_at": instant(hold.expires_at),
        "decided_by": hold.decided_by,
        "signed_with": None if hold.decided_with is None else hold.decided_with.value,
        "decided_at": None if hold.decided_at is None else instant(hold.decided_at),
        "reason": hold.reason,
    }


def held_json(held: HeldCall, said: tuple[Remark, ...] | None = None) -> dict[str, Json]:
    """A hold and its call, all of the body with it. `said` is what was said where `held` itself has it not."""
    shown = held.shown
    review: dict[str, Json] = {
        "hold": hold_json(held.hold),
        "deciders": list(held.deciders),
        "told": list(held.told),
        "later": [{"since": instant(rung.since), "people": list(rung.people)} for rung in held.later],
        "signers": list(held.signers),
        "to_do": list(lost_words(held.hold)) if held.hold.state is HoldState.UNCERTAIN else [],
        "said": [
            {"by": one.by, "event": one.event, "reason": one.reason, "at": instant(one.at)}
            for one in (remarks(held) if said is None else said)
        ],
    }
    if shown is None:
        return {**review, "call": None}
    call, why = shown.stored.call, shown.explanation
    return {
        **review,
        "consequence": shown.consequence,
        "explanation": {
            "verdict": why.verdict,
            "rule": why.rule,
            "failed": list(why.failed),
            "near": list(why.near),
            "changes": list(why.changes),
            "next_step": why.next_step,
        },
        "purpose": shown.stored.decision.purpose,
        "call": {
            "method": call.method,
            "url": shown.url,
            "headers": [[name, value] for name, value in shown.headers],
            "credential": None if (credential := shown.stored.decision.credential) is None else credential.words,
            "body_bytes": call.body_bytes,
            "body_sha256": sha256_words(call),
            "body_base64": None if shown.body is None else base64.b64encode(shown.body).decode("ascii"),
        },
    }


def sha256_words(call: Call) -> str:
    """The digest of a call's body."""
    return "unknown" if call.body_sha256 is None else b64u(call.body_sha256)


def outcome_json(outcome: Outcome) -> dict[str, Json]:
    """What became of a word about a hold."""
    shown: Json = None if outcome.hold is None else hold_json(outcome.hold)
    return {"result": outcome.result.value, "detail": outcome.detail, "hold": shown}


def group_json(found: Group) -> dict[str, Json]:
    """A group of alike holds."""
    return {
        "id": found.id,
        "agent": found.agent,
        "method": found.method,
        "route": found.route,
        "code": found.code,
        "differ": found.differs,
        "holds": [held.hold.id for held in found.holds],
    }


def grant_json(grant: RouteGrant, *, used: int) -> dict[str, Json]:
    """A route grant."""
    route = grant.route
    return {
        "id": grant.id,
        "by": grant.by,
        "reason": grant.reason,
        "hold": grant.hold_id,
        "manifest": grant.root_id,
        "method": route.method,
        "origin": route.origin,
        "path": masked_path(route.path),
        "vary": list(route.vary),
        "any_body": route.body == ANY_BODY,
        "used": used,
        "count": grant.count,
        "until": instant(grant.not_after),
    }


def proposal_json(hold: Hold, proposed: Proposal) -> dict[str, Json]:
    """The change of policy that a hold suggests."""
    return {
        "hold": hold.id,
        "kind": proposed.kind,
        "cluster": proposed.cluster,
        "where": proposed.where,
        "yaml": "\n".join(proposed.lines),
        "then": list(proposed.then),
    }


def ruling_json(ruling: Ruling) -> dict[str, Json]:
    """How a hold ended."""
    return {
        "hold": ruling.hold_id,
        "ending": ruling.ending.value,
        "ended_at": instant(ruling.ended_at),
        "filed_at": None if ruling.filed_at is None else instant(ruling.filed_at),
        "took_s": _seconds(ruling.took),
        "agent": ruling.agent,
        "sponsor": ruling.sponsor,
        "code": ruling.code,
        "risk": ruling.risk,
        "cluster": ruling.cluster,
        "task": ruling.task,
        "asked": ruling.asked,
        "by": list(ruling.by),
        "reason": ruling.reason,
        "grant": ruling.grant,
        "lifted_by": ruling.lifted_by,
        "sent": None if ruling.sent is None else ruling.sent.value,
        "status": ruling.status,
        "error": ruling.error,
    }


def reviewer_json(reviewer: Reviewer) -> dict[str, Json]:
    """How somebody decides. Shares are from 0 to 1."""
    pace, person = reviewer.pace, reviewer.person
    return {
        "id": reviewer.id,
        "name": None if person is None else person.name,
        "enrolled": person is not None,
        "certified_until": None if person is None else instant(person.certified_until),
        "rulings": pace.rulings,
        "released": pace.released,
        "denied": pace.denied,
        "release_share": _rounded(pace.release_share),
        "median_s": _seconds(pace.median),
        "hasty": pace.hasty,
        "hasty_share": _rounded(pace.hasty_share),
        "last": None if pace.last is None else instant(pace.last),
    }


def _seconds(length: timedelta | None) -> Json:
    return None if length is None else round(length.total_seconds(), 3)


def _rounded(share: float | None) -> Json:
    return None if share is None else round(share, 4)
