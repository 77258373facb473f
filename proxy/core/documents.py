"""What an agent may read about itself: its holds and its own mandate, in plain words (DESIGN: intent.internal)."""

from collections.abc import Mapping
from datetime import UTC, datetime

from proxy.core.bodies.words import body_words
from proxy.core.encoding import Json
from proxy.core.model import Bundle, Cluster, Grant, Hold, HoldState, Mandate, Operation
from proxy.core.names import INTERNAL_HOST
from proxy.core.shown import any_of

POLL_S = 5
"""How long an agent should wait before it asks again about a hold."""

WAITING = frozenset({HoldState.HELD, HoldState.APPROVED, HoldState.RELEASING})
_REDEEMABLE = frozenset({HoldState.HELD, HoldState.APPROVED})

_NEXT: Mapping[HoldState, str] = {
    HoldState.HELD: "Wait: a person has been asked. Go on with other work and ask again later.",
    HoldState.APPROVED: "Send the same call again, or POST to redeem_endpoint; it passes once.",
    HoldState.RELEASING: "Wait: the call is being sent right now. Do not send it again.",
    HoldState.RELEASED: "Done: the call was sent once. Sending it again asks a person anew.",
    HoldState.UNCERTAIN: (
        "Stop: the call may have reached the server. Do not send it again, in no other way either; tell your user. A "
        "person has to find out whether it arrived: ask here later what they found."
    ),
    HoldState.DENIED: "Stop: a person refused this call. Do not try it in another way; tell your user.",
    HoldState.EXPIRED: "Nobody decided in time and nothing was sent. Send the call again if it is still needed.",
    HoldState.CANCELLED: "A person ended the hold; the call was not carried out. Send it again if it is still needed.",
}


_DELIVERED: Mapping[HoldState, str] = {
    HoldState.HELD: "Wait: a person has been asked. Once released, the proxy sends the call itself: do nothing.",
    HoldState.APPROVED: "Wait: the call is released, and the proxy is about to send it itself; do not send it again.",
    HoldState.RELEASED: "Done: the call was sent once. Its response is kept at response_endpoint for a while.",
}

_NOT_ARRIVED = (
    "A person found out that the call did not arrive. Send it again if it is still needed: a person is asked anew."
)

_SEND_AGAIN = "Send the same call again; it passes once. Its body was too large to be kept for redeeming."


_HELD = "Nothing was sent: a person has been asked. Ask {status} for the decision; once released, {then}."
_RELEASED = "Nothing was sent yet. To have it sent, once, {then}."
_SENDING = "Do not send it again. Ask {status} what became of it."
_WILL_DELIVER = (
    "Nothing was sent: a person has been asked. Do not send it again: once released, the proxy sends it itself. "
    "Ask {status} for the decision, and then {status}/response for the response."
)
_BROKEN = "It may have arrived. Do not send it again: {status} says what is known of it."


def redeemable(hold: Hold) -> bool:
    """Whether the stored call may be redeemed, now or once it is approved."""
    return hold.stored and hold.state in _REDEEMABLE


def hold_url(hold_id: str) -> str:
    """Where the agent asks about a hold; `/redeem` below it sends the approved call."""
    return f"http://{INTERNAL_HOST}/holds/{hold_id}"


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def retry_after_s(hold: Hold, *, now: datetime) -> int | None:
    """Seconds until asking about the hold again makes sense, at most its time left; None when nothing will change."""
    if hold.state not in WAITING:
        return None
    return max(1, min(POLL_S, int((hold.expires_at - now).total_seconds())))


def hold_document(hold: Hold, *, now: datetime) -> dict[str, Json]:
    """A hold as its own agent may see it. Who decided, and what the rules are, is not in it.

    Not checked here: that the asker has the hold's root mandate.
    """
    return {
        "id": hold.id,
        "status": hold.state.value,
        "code": hold.code.value,
        "cluster": hold.cluster,
        "task": hold.task,
        "filed_at": instant(hold.filed_at),
        "expires_at": instant(hold.expires_at),
        "decided_at": None if hold.decided_at is None else instant(hold.decided_at),
        "reason": hold.reason,
        "status_endpoint": hold_url(hold.id),
        "redeem_endpoint": f"{hold_url(hold.id)}/redeem" if redeemable(hold) else None,
        **({"response_endpoint": f"{hold_url(hold.id)}/response"} if hold.delivers else {}),
        "next": _next(hold),
        "retry_after_s": retry_after_s(hold, now=now),
    }


def _next(hold: Hold) -> str:
    if hold.delivers and hold.state in _DELIVERED:
        return _DELIVERED[hold.state]
    if hold.state is HoldState.CANCELLED and hold.fence > 0:  # only what was uncertain ends so after a claim
        return _NOT_ARRIVED
    return _NEXT[hold.state] if hold.stored or hold.state is not HoldState.APPROVED else _SEND_AGAIN


def held_words(hold: Hold) -> str:
    """What the agent of a call that was held just now is to do."""
    status = hold_url(hold.id)
    if hold.state is HoldState.RELEASING:
        return _SENDING.format(status=status)
    if hold.delivers:
        return _WILL_DELIVER.format(status=status)
    then = f"POST {status}/redeem" if redeemable(hold) else "send the same call again, freshly signed"
    return (_RELEASED if hold.state is HoldState.APPROVED else _HELD).format(status=status, then=then)


def broken_words(hold: Hold) -> str:
    """What the agent of a released call is to do whose connection broke after it had left."""
    return _BROKEN.format(status=hold_url(hold.id))


def mandate_document(mandate: Mandate, bundle: Bundle, *, now: datetime) -> dict[str, Json]:
    """What the mandate permits, for the agent that holds it: only what was granted, in words and as data."""
    left_s = max(0, int((mandate.not_after - now).total_seconds()))
    leaf = mandate.leaf
    return {
        "agent": mandate.agent.id,
        "sponsor": {"id": mandate.sponsor.id, "name": mandate.sponsor.name},
        "purpose": mandate.purpose,
        "manifest": mandate.root_id,
        "valid_until": instant(mandate.not_after),
        "valid_for_s": left_s,
        "may_delegate": leaf.del_depth < leaf.del_max_depth,
        "summary": (
            f"You are {mandate.agent.id}. {mandate.sponsor.name} answers for you. Your task: {mandate.purpose} "
            f"Everything that is not listed under grants is outside your mandate: it is held for a person, or denied."
        ),
        "grants": [_grant(grant, bundle) for grant in leaf.grants],
    }


def _grant(grant: Grant, bundle: Bundle) -> Json:
    current = bundle.clusters.get(grant.cluster)
    seen = current if current is not None and current.digest == grant.digest else bundle.pins.get(grant.digest)
    operations = () if seen is None else tuple(each for each in seen.operations if each.name in grant.actions)
    return {
        "cluster": grant.cluster,
        "description": "" if seen is None else seen.description,
        "locations": sorted(grant.locations),
        "standing": _standing(grant, current, seen),
        "you_may": [_sentence(operation, grant) for operation in operations],
    }


def _standing(grant: Grant, current: Cluster | None, seen: Cluster | None) -> str:
    if current is None:
        return "This cluster no longer exists: its calls are outside your mandate until your sponsor signs again."
    if seen is None:
        return "What your sponsor approved can no longer be shown: every call of this cluster is held for a person."
    if current.digest != grant.digest:
        return "This cluster changed after your sponsor approved it: calls that only the new version covers are held."
    proof = f"Calls need {current.proof.label} proof or stronger"
    return f"{proof}, and each is held for a person." if current.review.always else f"{proof}."


def _sentence(operation: Operation, grant: Grant) -> str:
    """One permitted operation in words: methods, path, what its parameters and its query may be."""
    narrowed = grant.constraints
    methods = operation.methods if narrowed.methods is None else operation.methods & narrowed.methods
    parts = [f"{operation.name}: {' or '.join(sorted(methods)) or 'no method'} {operation.template}"]
    parts += [f"{{{name}}} is {_one_of(values)}" for name, values in sorted(narrowed.params.items())]
    if operation.any_query:
        parts.append("any query parameters")
    elif not operation.query:
        parts.append("no query parameters")
    for rule in operation.query:
        value = "any value" if rule.values is None else _one_of(rule.values)
        parts.append(f"query parameter {rule.name} ({'required' if rule.required else 'optional'}) is {value}")
    if body := body_words(operation.body):
        parts.append(body)
    parts += [
        f"your mandate limits query parameter {name} to {_one_of(values)}"
        for name, values in sorted(narrowed.query.items())
    ]
    parts += [
        f"your mandate limits {place} in the body to {any_of(texts) or 'nothing'}"
        for place, texts in sorted(narrowed.body.items())
    ]
    return "; ".join(parts)


def _one_of(values: frozenset[str]) -> str:
    return " or ".join(f'"{value}"' for value in sorted(values)) or "nothing"
