"""Somebody who can write to Redis as they like: nothing is sent that nobody released, and the journal names it.

Every field of a hold in every state is changed in every way that might help, alone and together with its state.
Records are swapped, old ones put back, denials deleted, releases replayed on either of two nodes and on restarted ones.
What is left to such a person is on the page of promises.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import identities
import pytest
from intruder import OUTSIDE, TAMPERING, Call, Nodes, named, two_nodes
from survivors import kill, revive

from proxy.core.holds import Event
from proxy.core.model import HoldState, Verdict
from proxy.core.release import state_release
from proxy.core.stored import stored_from_bytes, stored_to_bytes
from proxy.stores.redis import PREFIX
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.vault import open_vault

pytestmark = pytest.mark.system  # two nodes, and a call for every value of every field

FIELDS = (
    *(
        "id",
        "state",
        "version",
        "fence",
        "call_digest",
        "root_id",
        "agent",
        "sponsor",
        "cluster",
        "task",
        "code",
        "risk",
    ),
    *("proof", "who", "filed_at", "expires_at", "body_bytes", "statement", "decided_by", "decided_at", "reason"),
    *("sticky_until", "not_stored", "of_our_own"),
)
STATES = ("held", "approved", "releasing", "released", "uncertain", "denied", "expired", "cancelled")
GREAT = "999999999999999"
LIKE_ANOTHERS = ("expires_at zero", "root_id ")
"""What makes a hold look like one that expired, or like another mandate's: nothing is wrong with it, nor of use."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("intruder")) as built:
        yield built


def approve(nodes: Nodes, call: Call) -> None:
    nodes.house.decide(call.id, Verdict.ALLOW)


def deny(nodes: Nodes, call: Call) -> None:
    nodes.house.decide(call.id, Verdict.DENY)


def send(nodes: Nodes, call: Call) -> None:
    approve(nodes, call)
    assert nodes.redeem(call).status == 200


def lose(nodes: Nodes, call: Call) -> None:
    """A call of which nobody knows whether it arrived."""
    approve(nodes, call)

    async def work(server):
        holds = RedisHolds(server)
        claimed = await holds.apply(call.id, Event.CLAIM)
        return await holds.apply(call.id, Event.LOST, fence=claimed.hold.fence)

    assert nodes.house.with_store(work).applied

    heard_of(nodes, call)


def heard_of(nodes: Nodes, call: Call) -> None:
    """Both nodes know that the call was claimed."""
    for house in (nodes.house, nodes.other):
        file = house.settings.state / "consumed.jsonl"
        wait_until(lambda file=file: file.exists() and call.id in file.read_text())


def nothing(nodes: Nodes, call: Call) -> None:
    pass


# --- every field -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One change of one hold."""

    name: str
    call: Call
    writes: Mapping[str, str | None]


def values(name: str, mine: Mapping[str, str], others: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """What one field is changed to, each once."""
    found: dict[str | None, str] = {}
    for what, value in (
        ("deleted", None),
        ("emptied", ""),
        ("another hold's", others.get(name)),
        ("nonsense", "\x1b[2J\u202e"),
        ("a great number", GREAT),
        ("zero", "0"),
        *((state, state) for state in STATES if name == "state"),
        *((f"only {who}", f'["{who}"]') for who in ("cleo", identities.AGENT) if name == "who"),
        *((f"as {who}", who) for who in ("cleo", identities.AGENT) if name in ("sponsor", "decided_by", "agent")),
    ):
        if value != mine.get(name):
            found.setdefault(value, what)
    yield from ((what, value) for value, what in found.items())


def trials(nodes: Nodes, bring: Callable[[Nodes, Call], None], *, with_state: bool) -> Iterator[Trial]:
    """A fresh hold, brought to where it begins, for every value of every field."""
    other = nodes.file()
    approve(nodes, other)
    theirs = nodes.read(other.id)
    sample = nodes.file()
    bring(nodes, sample)
    mine = nodes.read(sample.id)
    for name in FIELDS:
        for what, value in values(name, mine, theirs):
            if with_state and name == "state":
                continue
            call = nodes.file()
            bring(nodes, call)
            writes = {"state": "approved", name: value} if with_state else {name: value}
            yield Trial(name=f"{name} {what}", call=call, writes=writes)


@pytest.mark.parametrize(
    ("bring", "with_state"),
    [
        pytest.param(nothing, False, id="of a hold that waits"),
        pytest.param(nothing, True, id="of a hold that waits, and its state says approved"),
        pytest.param(deny, True, id="of a denied hold, and its state says approved"),
        pytest.param(send, True, id="of a sent hold, and its state says approved"),
        pytest.param(lose, True, id="of an uncertain hold, and its state says approved"),
    ],
)
def test_no_value_of_any_field_lets_a_call_pass(
    nodes: Nodes, bring: Callable[[Nodes, Call], None], with_state: bool
) -> None:
    tried = list(trials(nodes, bring, with_state=with_state))
    assert len(tried) > 90
    nodes.write_many({trial.call.id: trial.writes for trial in tried})
    mark = nodes.origin.mark()
    answers = {trial.name: (nodes.redeem(trial.call), nodes.repeat(trial.call, nodes.other)) for trial in tried}
    seen = nodes.origin.since(mark)
    assert (seen.accepted, seen.raw_bytes) == (0, b"")
    assert [name for name, given in answers.items() if min(answer.status for answer in given) < 400] == []
    if with_state:
        journals = nodes.journals()
        unnamed = [trial.name for trial in tried if not named(journals, trial.call, answers[trial.name])]
        assert [name for name in unnamed if not name.startswith(LIKE_ANOTHERS)] == []


def test_a_released_call_passes_once_and_as_it_was_approved_whatever_is_changed(nodes: Nodes) -> None:
    tried = list(trials(nodes, approve, with_state=False))
    nodes.write_many({trial.call.id: trial.writes for trial in tried})
    mark, faults = nodes.origin.mark(), []
    for trial in tried:
        before = nodes.origin.mark()
        nodes.ask_everywhere(trial.call)
        got = [(request.method, request.path, request.body) for request in nodes.origin.since(before).requests]
        if got not in ([], [("POST", OUTSIDE, trial.call.body)]):
            faults.append(f"{trial.name}: {got}")
    assert faults == []
    assert nodes.origin.since(mark).requests, "not one passed: the trial tries nothing"


# --- records ---------------------------------------------------------------------------------------------------------


def asked_in_vain(nodes: Nodes, call: Call) -> frozenset[str]:
    """Everything an agent can try, of which the origin sees nothing; by what words the journals name the hold."""
    mark = nodes.origin.mark()
    answers = nodes.ask_everywhere(call)
    seen = nodes.origin.since(mark)
    assert (seen.accepted, seen.raw_bytes) == (0, b""), answers
    assert all(answer.status >= 400 for answer in answers), answers
    return named(nodes.journals(), call, answers)


def swap(nodes: Nodes, what: str, one: Call, two: Call) -> None:
    names = [f"{PREFIX}{what}:{call.id}" for call in (one, two)]
    nodes.command("RENAME", names[0], f"{PREFIX}aside")
    nodes.command("RENAME", names[1], names[0])
    nodes.command("RENAME", f"{PREFIX}aside", names[1])


def index(nodes: Nodes, call: Call) -> str:
    hold = nodes.hold(call)
    return f"{PREFIX}call:{hold.root_id}:{hold.call_digest}"


@pytest.mark.parametrize("what", ["hold", "sealed"])
def test_records_that_are_swapped_are_of_no_use(nodes: Nodes, what: str) -> None:
    released, waiting = nodes.file(), nodes.file()
    approve(nodes, released)
    swap(nodes, what, released, waiting)
    if what == "hold":
        nodes.write(waiting.id, id=waiting.id)
    else:
        nodes.write(waiting.id, state="approved", statement=nodes.read(released.id)["statement"])
    assert asked_in_vain(nodes, waiting) & TAMPERING


def test_the_index_leads_to_no_other_hold(nodes: Nodes) -> None:
    released, waiting = nodes.file(), nodes.file()
    approve(nodes, released)
    nodes.command("SET", index(nodes, waiting), released.id)
    mark = nodes.origin.mark()
    assert nodes.repeat(waiting).status >= 400
    assert nodes.origin.since(mark).nothing
    assert nodes.redeem(released).status == 200


def test_a_release_is_of_no_use_to_another_hold_of_the_same_call(nodes: Nodes) -> None:
    """Sent once, held anew, and the old release written into the new hold."""
    first = nodes.file()
    approve(nodes, first)
    old = nodes.read(first.id)["statement"]
    assert nodes.redeem(first).status == 200
    again = nodes.file(like=first)
    assert again.id != first.id
    nodes.write(again.id, state="approved", statement=old, decided_by=identities.SPONSOR)
    assert asked_in_vain(nodes, again) & TAMPERING


def test_a_record_without_a_node_lets_no_other_node_send_what_a_release_names_one_for(nodes: Nodes) -> None:
    """Who has the secret, too, seals records as they like, as somebody who took the review desk over (THREATS F07)."""
    call, before = nodes.file(), nodes.origin.mark()
    approve(nodes, call)
    vault, name = open_vault(nodes.house.settings.state / "secret.key"), f"{PREFIX}sealed:{call.id}"
    sealed = nodes.command("GET", name)
    assert isinstance(sealed, bytes)
    filed = stored_from_bytes(vault.unseal(call.id, sealed))
    assert filed.node and nodes.read(call.id)["node"] == filed.node
    nodes.command("SET", name, vault.seal(call.id, stored_to_bytes(replace(filed, node=""))), "KEEPTTL")
    nodes.write(call.id, node=None)
    for answer in (nodes.redeem(call, nodes.other), nodes.repeat(call, nodes.other)):
        assert (answer.status, "released for the node it was filed at" in answer.body.decode()) == (403, True), answer
    assert nodes.origin.since(before).nothing
    assert nodes.redeem(call).status == 200
    assert len(nodes.origin.since(before).requests) == 1


def test_a_denial_that_is_deleted_lets_nothing_pass(nodes: Nodes) -> None:
    call = nodes.file()
    deny(nodes, call)
    nodes.command("DEL", index(nodes, call), f"{PREFIX}hold:{call.id}", f"{PREFIX}sealed:{call.id}")
    mark = nodes.origin.mark()
    again = nodes.file(like=call)  # it is held anew: a reviewer sees it again
    assert again.id != call.id
    assert nodes.redeem(call).status == 404
    assert nodes.origin.since(mark).nothing


def test_a_denial_turned_into_a_release_is_named(nodes: Nodes) -> None:
    call = nodes.file()
    copies = nodes.keep(call)
    deny(nodes, call)
    statement = nodes.read(call.id)["statement"]
    nodes.put_back(copies, but=("events",))  # with these nobody would hear of anything for a moment
    nodes.write(call.id, state="approved", statement=statement)
    assert asked_in_vain(nodes, call) & TAMPERING


@pytest.mark.parametrize(
    ("by", "signer"),
    [
        pytest.param("mallory", "mallory", id="an unknown person"),
        pytest.param(identities.SPONSOR, "mallory", id="an unknown person in the sponsor's name"),
        pytest.param(identities.REVIEWER, identities.REVIEWER, id="an enrolled person who may not decide it"),
        pytest.param(identities.SPONSOR, identities.AGENT, id="the agent, in the sponsor's name"),
        pytest.param(identities.AGENT, identities.AGENT, id="the agent itself"),
    ],
)
def test_a_planted_release_is_refused_whoever_signed_it(nodes: Nodes, by: str, signer: str) -> None:
    call, now = nodes.file(), datetime.now(UTC)
    statement = state_release(
        hold=nodes.hold(call),
        verdict=Verdict.ALLOW,
        by=by,
        reason="",
        deployment=nodes.house.settings.deployment,
        key=identities.key(signer),
        now=now,
        not_after=now + timedelta(minutes=10),
        nonce=identities.nonce(call.id),
    )
    nodes.write(call.id, state="approved", statement=statement, decided_by=by)
    assert asked_in_vain(nodes, call) & TAMPERING


def test_events_that_nobody_brought_about_are_recorded_as_nobodys(nodes: Nodes) -> None:
    call = nodes.file()
    nodes.write(call.id, state="approved")
    last = nodes.command("XREVRANGE", f"{PREFIX}events", "+", "-", "COUNT", 1)
    assert isinstance(last, list)
    entry = ("prev", last[0][0], "id", call.id, "state", "approved", "version", "2")
    nodes.command("XADD", f"{PREFIX}events", "*", *entry)
    assert asked_in_vain(nodes, call) & TAMPERING
    wait_until(lambda: "unverified" in named(nodes.journals(), call, ()))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


# --- sent, and put back ----------------------------------------------------------------------------------------------


def test_a_sent_hold_that_is_put_back_with_its_release_is_not_sent_again_by_any_node(nodes: Nodes) -> None:
    """Everything in Redis as it was before the call was sent, its events included, on the node that sent it and on the
    other, before and after they are started anew."""
    call = nodes.file()
    approve(nodes, call)
    copies = nodes.keep(call)
    assert nodes.redeem(call).status == 200
    heard_of(nodes, call)
    for restart in (False, True):
        if restart:
            for house in (nodes.house, nodes.other):
                kill(house)
                revive(house)
        nodes.put_back(copies)
        assert nodes.hold(call).state is HoldState.APPROVED
        assert asked_in_vain(nodes, call)


def test_a_node_that_is_started_anew_remembers_what_it_sent(tmp_path: Path) -> None:
    with two_nodes(tmp_path) as nodes:
        call = nodes.file(at=nodes.other)
        approve(nodes, call)
        copies = nodes.keep(call)
        assert nodes.redeem(call, nodes.other).status == 200
        kill(nodes.other)
        nodes.put_back(copies)
        revive(nodes.other)
        assert asked_in_vain(nodes, call)
