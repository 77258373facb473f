"""What a stop does to releases: what was given before it or during it ends, and nothing that was given after."""

from dataclasses import replace
from datetime import datetime, timedelta

import identities
import pytest
from identities import AGENT, DEPLOYMENT, DEPUTY, NOW, SPONSOR, key, nonce
from questions import call, question

from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.decide import decide
from proxy.core.errors import Code, Rejected
from proxy.core.model import Hold, HoldState, Proof, Review, Said, StoredCall, Verdict
from proxy.core.recall import check_counts, check_not_recalled, recalled_by
from proxy.core.release import read_release, state_release

BUNDLE = identities.bundle()
STOP_S, GO_S = 10, 20


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def view(*words: tuple[Act, str, float]) -> ControlView:
    seen = ControlView()
    for act, target, after_s in words:
        token = state(
            act, target, by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=at(after_s)
        )
        seen = seen.absorb(read_statement(token, BUNDLE))
    return seen


STOPPED = view((Act.QUARANTINE, AGENT, STOP_S), (Act.RESTORE, AGENT, GO_S))
FILED = StoredCall(
    call=call(),
    decision=replace(decide(question()), sponsor=SPONSOR, review=Review(who=("sponsor", "deputy"), ttl_s=3600), at=NOW),
    proof=Proof.REQUEST,
    call_digest=identities.hold().call_digest,
    sub_path=f"parent-bot/{AGENT}",
)
TWO = replace(FILED, decision=replace(FILED.decision, review=replace(FILED.decision.review, quorum=2)))


def released(after_s: float, *, by: str = SPONSOR, hold: Hold | None = None) -> str:
    return state_release(
        hold=hold or identities.hold(),
        verdict=Verdict.ALLOW,
        by=by,
        reason="seen",
        deployment=DEPLOYMENT,
        key=key(by),
        now=at(after_s),
        not_after=at(3600),
        nonce=nonce("n"),
    )


def approved(after_s: float, *, recorded_after_s: float | None = None) -> Hold:
    recorded = at(after_s if recorded_after_s is None else recorded_after_s)
    return replace(
        identities.hold(state=HoldState.APPROVED), statement=released(after_s), decided_by=SPONSOR, decided_at=recorded
    )


@pytest.mark.parametrize(
    ("hold", "stops", "recalled"),
    [
        pytest.param(approved(5), ControlView(), False, id="nothing was ever stopped"),
        pytest.param(approved(5), STOPPED, True, id="released before the stop"),
        pytest.param(approved(15), STOPPED, True, id="released during the stop"),
        pytest.param(approved(21), STOPPED, False, id="released after its end"),
        pytest.param(approved(21, recorded_after_s=5), STOPPED, True, id="recorded before, by a clock that runs ahead"),
        pytest.param(approved(5), view((Act.QUARANTINE, AGENT, STOP_S)), True, id="while it is stopped"),
        pytest.param(approved(5), view((Act.QUARANTINE, "parent-bot", 10)), True, id="an agent above it was stopped"),
        pytest.param(approved(5), view((Act.KILL_ON, "*", 10), (Act.KILL_OFF, "*", 11)), True, id="everything was"),
        pytest.param(approved(5), view((Act.QUARANTINE, "another", 10)), False, id="another agent was"),
        pytest.param(replace(approved(5), statement="x"), STOPPED, False, id="no release, of which others speak"),
    ],
)
def test_a_release_ends_with_a_stop_of_its_agents(hold: Hold, stops: ControlView, recalled: bool) -> None:
    stop = recalled_by(hold, FILED, BUNDLE, stops, now=at(30))
    assert (stop is not None) is recalled
    if not recalled:
        check_not_recalled(hold, FILED, BUNDLE, stops, now=at(30))
        return
    with pytest.raises(Rejected, match="a person has to release the call again") as refused:
        check_not_recalled(hold, FILED, BUNDLE, stops, now=at(30))
    assert refused.value.code is Code.RELEASE_INVALID


def quorum(first_s: float, second_s: float, *more: float) -> Hold:
    """Released by two; the deputy's first word among those said before, and perhaps later ones."""
    hold = replace(identities.hold(state=HoldState.APPROVED), quorum=2, statement=released(second_s))
    said = tuple(Said(version=n + 2, statement=released(s, by=DEPUTY)) for n, s in enumerate((first_s, *more)))
    return replace(hold, said=said, decided_at=at(second_s))


@pytest.mark.parametrize(
    ("hold", "recalled"),
    [
        pytest.param(quorum(21, 22), False, id="both released it after"),
        pytest.param(quorum(5, 22), True, id="one of two released it before"),
        pytest.param(quorum(5, 23, 22), False, id="who released it before has done so again"),
        pytest.param(quorum(5, 6), True, id="both released it before"),
    ],
)
def test_of_a_quorum_each_release_counts_by_itself(hold: Hold, recalled: bool) -> None:
    early = replace(TWO, decision=replace(TWO.decision, review=replace(TWO.decision.review, who=(SPONSOR, DEPUTY))))
    hold = replace(hold, who=(SPONSOR, DEPUTY))
    assert (recalled_by(hold, early, BUNDLE, STOPPED, now=at(30)) is not None) is recalled
    assert recalled_by(hold, early, BUNDLE, ControlView(), now=at(30)) is None


def test_a_release_that_would_not_count_is_not_recorded() -> None:
    for after_s, counts in ((15, False), (21, True)):
        hold = identities.hold()
        said = read_release(released(after_s), hold=hold, bundle=BUNDLE, barred=frozenset(), now=at(30))
        if counts:
            check_counts(said, STOPPED, FILED.agents)
            continue
        with pytest.raises(Rejected, match="from before the end of a stop") as refused:
            check_counts(said, STOPPED, FILED.agents)
        assert refused.value.code is Code.RELEASE_INVALID
