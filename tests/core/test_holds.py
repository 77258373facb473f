"""The life of a hold: every event in every state, written out."""

import pytest

from proxy.core.holds import FENCED, OPEN, TERMINAL, TRANSITIONS, Event, after
from proxy.core.model import HoldState

H = HoldState

LEGAL = {
    (H.HELD, Event.APPROVE): H.APPROVED,
    (H.HELD, Event.SAY): H.HELD,
    (H.HELD, Event.DENY): H.DENIED,
    (H.HELD, Event.CANCEL): H.CANCELLED,
    (H.HELD, Event.EXPIRE): H.EXPIRED,
    (H.APPROVED, Event.EXPIRE): H.EXPIRED,
    (H.APPROVED, Event.RECALL): H.HELD,
    (H.APPROVED, Event.CLAIM): H.RELEASING,
    (H.RELEASING, Event.SENT): H.RELEASED,
    (H.RELEASING, Event.UNSENT): H.APPROVED,
    (H.RELEASING, Event.LOST): H.UNCERTAIN,
    (H.DENIED, Event.LIFT): H.DENIED,
    (H.UNCERTAIN, Event.ARRIVED): H.RELEASED,
    (H.UNCERTAIN, Event.CLOSED): H.CANCELLED,
}


@pytest.mark.parametrize("state", list(HoldState))
@pytest.mark.parametrize("event", list(Event))
def test_an_event_leads_where_the_design_says_or_nowhere(state: HoldState, event: Event) -> None:
    assert after(state, event) is LEGAL.get((state, event))


def test_terminal_states_never_change() -> None:
    assert frozenset({H.RELEASED, H.DENIED, H.EXPIRED, H.CANCELLED}) == TERMINAL
    assert all(after(state, event) in (None, state) for state in TERMINAL for event in Event)
    assert frozenset(HoldState) == OPEN | TERMINAL


def test_only_a_release_in_flight_can_become_released_or_uncertain() -> None:
    """But for a person's word that a call of which nobody knew had arrived; nothing leads back to where it is sent."""
    assert {target for sources, target in TRANSITIONS.values() if H.UNCERTAIN in sources} == {H.RELEASED, H.CANCELLED}
    for event, (sources, target) in TRANSITIONS.items():
        if target in (H.RELEASED, H.UNCERTAIN) and event is not Event.ARRIVED:
            assert sources == frozenset({H.RELEASING})
            assert event in FENCED


def test_time_alone_never_approves() -> None:
    assert TRANSITIONS[Event.EXPIRE][1] is H.EXPIRED
    assert [event for event, (_, target) in TRANSITIONS.items() if target is H.RELEASING] == [Event.CLAIM]
