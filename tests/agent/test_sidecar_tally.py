"""What a sidecar counts, and says at the end: the truth, as far as answers have it, and never without bound."""

import json

import pytest

from proxy.agent.answers import Held
from proxy.agent.sidecar import summary
from proxy.agent.sidecar.tally import MOST_HOLDS, MOST_KINDS, OTHERS, Tally
from proxy.core.encoding import Json

PROBLEM = [("Content-Type", "application/problem+json")]


def problem(code: str, *, hold: str | None = None, kind: str = "http://intent.internal/problems/") -> bytes:
    members: dict[str, Json] = {"type": kind + code, "code": code, "detail": "why"}
    if hold is not None:
        members["task"] = {"id": hold, "status": "held"}
    return json.dumps(members).encode()


def test_an_apis_own_problem_is_a_call_that_was_allowed() -> None:
    tally = Tally()
    tally.note(402, PROBLEM, problem("insufficient_funds", kind="https://api.example/errors/"))
    tally.note(403, PROBLEM, problem("policy.denied"))
    assert (tally.allowed, dict(tally.denied)) == (1, {"policy.denied": 1})


def test_the_proxys_own_pages_are_no_calls() -> None:
    tally = Tally()
    tally.note(200, [("Content-Type", "application/json")], b"{}", page=True)
    assert tally.is_empty
    tally.note(403, PROBLEM, problem("kill_switch"), page=True)
    assert tally.denied.total() == 1


def test_what_an_origin_invents_takes_no_room() -> None:
    tally = Tally()
    for number in range(MOST_HOLDS + 5):
        tally.note(403, PROBLEM, problem(f"code-{number}-{'x' * 200}"))
        tally.note(403, PROBLEM, problem("mandate.not_covered", hold=f"hold-{number}"))
    tally.note(403, PROBLEM, problem("mandate.not_covered", hold="hold-1"))  # known: it is the same hold
    assert len(tally.denied) == MOST_KINDS + 1
    assert max(map(len, tally.denied)) <= 100
    assert tally.denied.total() == MOST_HOLDS + 5
    assert tally.denied[OTHERS] == MOST_HOLDS + 5 - MOST_KINDS
    assert (len(tally.held), tally.more_held) == (MOST_HOLDS, 5)
    assert next(summary.lines(tally, tally.held)).startswith(f"0 allowed, {MOST_HOLDS + 5} held, ")


@pytest.mark.parametrize(
    ("tally", "said"),
    [
        pytest.param(Tally(allowed=2), ["2 allowed, 0 held, 0 denied"], id="all went well"),
        pytest.param(
            Tally(under_way=1),
            ["0 allowed, 0 held, 0 denied", "1 call ended before the answer: see the proxy's journal"],
            id="the program was stopped in the middle",
        ),
        pytest.param(Tally(), [], id="nothing was called"),
    ],
)
def test_the_summary(tally: Tally, said: list[str]) -> None:
    holds: dict[str, Held] = {}
    assert list(summary.lines(tally, holds)) == said
