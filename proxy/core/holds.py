"""The life of a held call, as data: which event may take a hold from which state to which (DESIGN: holding).

`held → approved → releasing → released | uncertain`, `held → denied | expired | cancelled`, `approved → expired`.
What was approved before a stop (kill switch, quarantine), or by a release that counts no more, goes back,
`approved → held`: people have to release it again.
Timeout is never approval. Terminal states never change. The stores carry these transitions out atomically; they
have no rule of their own.
"""

import enum

from proxy.core.model import HoldState


class Event(enum.StrEnum):
    """What can happen to a hold."""

    SAY = "say"  # somebody signed what decides nothing yet: one release of a quorum, or a note
    APPROVE = "approve"  # a verified release was recorded, the last that was needed
    RECALL = "recall"  # the release no longer counts: the call waits for people again
    DENY = "deny"  # a verified denial was recorded
    CANCEL = "cancel"  # the agent, or whoever ends its mandate, withdrew the call
    EXPIRE = "expire"  # the deadline passed
    CLAIM = "claim"  # one node is about to send; durable before the first byte may leave
    SENT = "sent"  # the response's head arrived
    UNSENT = "unsent"  # provably nothing left: back to approved
    LIFT = "lift"  # a denial, which stays one, no longer answers equal calls
    LOST = "lost"  # nobody knows what upstream saw; never re-sent by itself
    ARRIVED = "arrived"  # a person found out that a lost call had arrived
    CLOSED = "closed"  # a person found out that it had not: its agent may ask anew, under another hold


TRANSITIONS: dict[Event, tuple[frozenset[HoldState], HoldState]] = {
    Event.SAY: (frozenset({HoldState.HELD}), HoldState.HELD),
    Event.APPROVE: (frozenset({HoldState.HELD}), HoldState.APPROVED),
    Event.RECALL: (frozenset({HoldState.APPROVED}), HoldState.HELD),
    Event.DENY: (frozenset({HoldState.HELD}), HoldState.DENIED),
    Event.LIFT: (frozenset({HoldState.DENIED}), HoldState.DENIED),
    Event.CANCEL: (frozenset({HoldState.HELD}), HoldState.CANCELLED),
    Event.EXPIRE: (frozenset({HoldState.HELD, HoldState.APPROVED}), HoldState.EXPIRED),
    Event.CLAIM: (frozenset({HoldState.APPROVED}), HoldState.RELEASING),
    Event.SENT: (frozenset({HoldState.RELEASING}), HoldState.RELEASED),
    Event.UNSENT: (frozenset({HoldState.RELEASING}), HoldState.APPROVED),
    Event.LOST: (frozenset({HoldState.RELEASING}), HoldState.UNCERTAIN),
    Event.ARRIVED: (frozenset({HoldState.UNCERTAIN}), HoldState.RELEASED),
    Event.CLOSED: (frozenset({HoldState.UNCERTAIN}), HoldState.CANCELLED),
}

OPEN = frozenset({HoldState.HELD, HoldState.APPROVED, HoldState.RELEASING, HoldState.UNCERTAIN})
"""States a hold can still leave, or that still wait for a human."""

TERMINAL = frozenset(HoldState) - OPEN
"""States that never change; the stored call is deleted on entering one."""

FENCED = frozenset({Event.SENT, Event.UNSENT, Event.LOST})
"""Events that only the claim's owner may report."""

MAX_SAID = 40
"""How many statements a hold keeps besides the one that decides it."""

EXCLUSIVE_S = 3
"""How long after a release only the worker at which the agent waits may claim the call, if it lives."""

BEAT_S = 6
"""A worker that was not heard of for so long is dead. Each is heard of every second."""

LONGEST_SEND_S = 4_200
"""From claim to the response's head; a send that takes longer is given up. Connections end before that."""

RETRY_DELIVERY_S = (1, 30)
"""How long after the first attempt that sent nothing a call is delivered again, doubled each time; and at most."""

DENIAL_STICKS_S = 86_400
"""How long a denial answers equal calls, unless the mandate ends before."""


def after(state: HoldState, event: Event) -> HoldState | None:
    """The state that follows, or None when `event` may not happen in `state`."""
    sources, target = TRANSITIONS[event]
    return target if state in sources else None
