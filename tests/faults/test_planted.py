"""Whatever raises, nothing gets through: an exception in every function that a call enters, one after the other.

The functions are listed by tracing one call that passes; `pytest -s` prints them. In each of them in turn an exception
is planted in the running worker (`planting`). Then the agent sends that call, which its mandate covers, and one that
it does not cover: the origin must see neither, and the agent must have a refusal or the end of its connection within
two seconds. Then the function is cured, and the twin passes.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest
from plant_calls import (
    Case,
    Ready,
    attempt,
    by_session,
    by_tunnel,
    connecting,
    opening_session,
    outside,
    redeemed,
    released,
    signed_call,
)
from plant_house import PlantedTown, planted_town
from planting import ENTERED, LEFT
from rawclient import Broken

CURED_S = 5.0
"""The promise: service returns by itself within this."""
ENOUGH = 12
VIEW_S = 2.5
"""A little longer than a worker's view of what is revoked may be old."""

LAST = "addons.observe:Observe.client_disconnected"
"""The last function of a call to be entered, once the agent has closed its connection."""
CLAIM = "proxy.claims:Claims.claim"
"""From here on a hold is spent, or must be given back."""

AFTERWARDS = {
    "addons.admit:Admit.tls_clienthello": "it judges redirected connections, which get no TLS without its word",
    "addons.dial:Dial.server_connected": "the connection to the judged address stands, the decision is on disk",
    "addons.dial:Dial.tls_start_server": "the connection stands, but without TLS no byte of the call follows",
    "addons.dial:Dial.server_disconnected": "the origin's connection ends",
    "addons.dial:Dial.tls_established_server": "the connection to the judged address stands, certificate and all",
    "addons.http1_client:": "the connection to the origin is made, written to and read",
    "addons.heads:not_passed_on": "the origin has answered",
    "addons.upstream:": "the connection to the origin is made, written to and read",
    "addons.credentials:with_credential": "the connection to the judged address stands",
    "addons.credentials:without_credential": "the origin has answered",
    "addons.renewal:": "the origin has answered",
    "proxy.injecting:Injecting.answered": "the origin has answered",
    "addons.http_layer:GatedHttpLayer.register_connection": "the connection to the judged address stands",
    "addons.exchange:Exchanges.note_sent": "the connection to the judged address stands",
    "addons.observe:Observe.responseheaders": "the origin has answered",
    "addons.observe:Observe._forwarded": "the origin has answered",
    "addons.exchange:Exchange.under_way": "the origin has answered",
    "addons.observe:_counting": "the origin has answered",
    "addons.observe:_counting.<locals>.count": "the origin's body is on its way back",
    "addons.observe:Observe._settle": "the origin has answered; the hold is told",
    "addons.observe:Observe._noted": "the origin has answered; what is written is kept track of",
    "addons.observe:Observe._tell": "the origin has answered; the hold is told",
    "proxy.claims:Claims.settle": "the origin has answered; the hold is told",
    "proxy.holding:Holding._on_record": "the origin has answered; the hold is told",
    "proxy.audit.reviews:on_record": "the origin has answered; the hold is told",
    "proxy.audit.records:hold_fields": "the origin has answered; the hold is told",
    "addons.http1:StrictHttp1Server.send": "the answer is written to the agent",
    "addons.http1:StrictHttp1Server._close_softly": "the agent's connection ends",
    "addons.observe:Observe.response": "the agent has the answer",
    "addons.uploads:UploadStream.send_response": "the origin has answered",
    "addons.gated:GatedStream.flow_done": "the agent has the answer",
    "addons.gated:GatedStream._begun_conversation": "the agent has the answer",
    "addons.observe:Observe._write": "the outcome is recorded, after the answer",
    "addons.observe:Observe._record": "the outcome is recorded, after the answer",
    "proxy.recording:Recorder.outcome": "the outcome is recorded, after the answer",
    "proxy.audit.journal:FileJournal.note": "the outcome is recorded, after the answer",
    "proxy.audit.journal:_heard": "the outcome is recorded, after the answer",
    "proxy.stores.redis_replays:_Queue.ended": "the nonce is spent, and who waited for it was told",
    "proxy.audit.records:outcome_fields": "the outcome is recorded, after the answer",
    "addons.observe:Observe._end": "the exchange is forgotten",
    "addons.dial:Dials.revoke": "the exchange is forgotten",
    "addons.exchange:Exchange.let_go": "the exchange is forgotten",
    "addons.intake:Intake.let_go": "the exchange is forgotten",
    "proxy.stores.room:Room.give": "the exchange is forgotten",
    "addons.exchange:Exchanges.drop": "the exchange is forgotten",
    "addons.valve:Valves.forget": "the agent has left",
    "addons.translate:Tunnels.forget": "the agent has left",
    "addons.exchange:Exchanges.forget_client": "the agent has left",
    "addons.observe:Observe.client_disconnected": "the agent has left",
    "addons.admit:Admit.client_disconnected": "the agent has left",
    "addons.dial:Dial.client_disconnected": "the agent has left",
    "addons.exchange:Exchanges.of_client": "the agent has left",
}
"""Functions that are first entered once an allowed call is on its way to the address it was judged for, its decision
on disk: that call may arrive, itself, once, and nothing else may. A call that is not allowed never gets so far. A name
that ends in ":" stands for all of its module."""

RETURNING = {
    "addons.http_layer:GatedHttpLayer.get_connection": "the connection to the judged address is under way",
    "addons.gated:GatedStream.make_server_connection": "the connection to the judged address stands",
    "addons.uploads:UploadStream._taken_in": "the judged call is on its way",
    "proxy.audit.journal:FileJournal._write": "the lines are with the thread that writes them",
    "proxy.audit.journal:FileJournal._written": "the lines are on disk, and who waited for them was told",
}
"""Functions that have done all they are for when they return."""


pytestmark = [pytest.mark.system, pytest.mark.alone]  # of all tests these take longest


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedTown]:
    with planted_town(tmp_path_factory.mktemp("planted")) as town:
        yield town


def is_afterwards(name: str) -> bool:
    return name in AFTERWARDS or name[: name.index(":") + 1] in AFTERWARDS


def faults(
    town: PlantedTown, case: Case, way: str, names: Iterable[str], *, moment: str = ENTERED, raises: str = "Planted"
) -> str:
    """What went wrong, one a line; empty when nothing did. After the first few it is pointless to go on."""
    found = (f"{name}: {fault}" for name in names for fault in plant(town, case, way, name, moment, raises))
    return "\n".join(islice(found, ENOUGH))


def plant(town: PlantedTown, case: Case, way: str, name: str, moment: str, raises: str) -> Iterator[str]:
    """Plant one exception, send what must not pass, cure it, send the twin; yields what went wrong."""
    after = case is not outside and (is_afterwards(name) or (moment is LEFT and name in RETURNING))
    call = case(town, way)
    other = outside(town, way)
    before = call.origin.mark()
    town.garden.plant(name, moment, raises=raises)
    got, refused = attempt(call.fire), attempt(other.fire)
    if town.garden.cure(once_hit=after) == 0:
        yield "was not entered"
    yield from got.faults(may_pass=after)
    yield from refused.faults(may_pass=False)
    seen = call.origin.since(before)
    if not after and not seen.nothing:
        yield f"the origin saw {seen.accepted} connections and {seen.raw_bytes!r}"
    passed = [call.body for _ in range(2) if call.again is not None and attempt(call.again).status == 200]
    passed = passed or [twin(town, signed_call if case is outside else case, way)]
    arrived = [request.body for request in call.origin.since(before).requests]
    if None in passed:
        yield f"the twin did not pass within {CURED_S} s"
    if arrived not in (passed, [call.body, *passed] if after else passed) and case is not opening_session:
        yield f"the origin saw {arrived}, of which {passed} passed after the cure"


def twin(town: PlantedTown, case: Case, way: str) -> bytes | None:
    """The body of a call of this kind that passes, as it must within `CURED_S`."""
    deadline_s = time.monotonic() + CURED_S
    while time.monotonic() < deadline_s:
        try:
            call = case(town, way)
        except (AssertionError, Broken, OSError, KeyError):  # while a worker is replaced it cannot even be made ready
            continue
        if attempt(call.fire).status == 200:
            return call.body
    return None


def traced(town: PlantedTown, case: Case, way: str) -> dict[str, bool]:
    """The functions that one call enters, in order, and whether each is a coroutine."""
    assert attempt(case(town, way).fire).status in (200, 403)  # what is done once only is done now
    call: Ready = case(town, way)
    town.garden.trace(call.port)
    assert attempt(call.fire).status == (403 if case is outside else 200)
    found = town.garden.traced(until=LAST)
    print(f"\n{case.__name__}, {way}: {len(found)} functions")
    for name in found:
        print(f"  {name}{'  (afterwards)' if is_afterwards(name) else ''}")
    return found


def test_nothing_gets_through_when_a_function_on_its_way_raises(planted: PlantedTown) -> None:
    names = traced(planted, signed_call, "plain")
    assert len(names) >= 60
    assert faults(planted, signed_call, "plain", names) == ""


def test_nothing_gets_through_a_tunnel_when_a_function_on_its_way_raises(planted: PlantedTown) -> None:
    common, names = traced(planted, signed_call, "plain"), traced(planted, signed_call, "tls")
    wayless = {name for name in common if name.startswith(("proxy.core.", "proxy.stores.", "proxy.audit."))}
    assert len(names.keys() - wayless) >= 60
    assert faults(planted, signed_call, "tls", [name for name in names if name not in wayless]) == ""


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_nothing_gets_through_when_a_coroutine_is_cancelled_by_nobody(planted: PlantedTown, way: str) -> None:
    names = [name for name, coroutine in traced(planted, signed_call, way).items() if coroutine]
    assert faults(planted, signed_call, way, names, raises="CancelledError") == ""


def test_nothing_gets_through_when_a_function_raises_on_its_way_out(planted: PlantedTown) -> None:
    outer = (
        "addons.",
        "proxy.gate:",
        "proxy.recording:",
        "proxy.identify:",
        "proxy.holding:",
        "proxy.claims:",
        "proxy.internal:",
        "proxy.audit.journal:",
    )
    names = [name for name in traced(planted, signed_call, "plain") if name.startswith(outer)]
    assert faults(planted, signed_call, "plain", names, moment=LEFT) == ""


@pytest.mark.parametrize(
    ("case", "way", "first", "last"),
    [
        pytest.param(connecting, "tls", None, "proxy.identify:Identifier.identify_connect", id="CONNECT"),
        pytest.param(by_tunnel, "tls", LAST, None, id="a tunnel with proof"),
        pytest.param(by_session, "plain", LAST, None, id="a session"),
        pytest.param(opening_session, "plain", LAST, None, id="opening a session"),
        pytest.param(outside, "plain", LAST, None, id="a call outside the mandate"),
        pytest.param(released, "plain", CLAIM, None, id="a released call"),
        pytest.param(redeemed, "plain", LAST, None, id="a redeemed call"),
    ],
)
def test_nothing_gets_through_when_a_function_of_another_path_raises(
    planted: PlantedTown, case: Case, way: str, first: str | None, last: str | None
) -> None:
    """The functions that the calls before do not enter, and all that are first entered between two of them."""
    before = (signed_call,) if case is outside else (signed_call, outside)
    common = {name for earlier in before for name in traced(planted, earlier, way)}
    names = list(traced(planted, case, way))
    between = names[names.index(first) if first else 0 : names.index(last) if last else None]
    assert faults(planted, case, way, [name for name in names if name not in common or name in between]) == ""


def test_a_worker_that_is_told_to_exit_in_the_middle_of_a_decision_sends_nothing_and_is_replaced(
    planted: PlantedTown,
) -> None:
    assert faults(planted, signed_call, "plain", ["proxy.gate:Gate.judge"], raises="SystemExit") == ""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("proxy.stores.redis_control:RedisControl._next", id="following control statements"),
        pytest.param("proxy.stores.redis_holds:RedisHolds.sweep", id="expiring holds"),
        pytest.param("proxy.stores.redis:RedisServer.entries_after", id="following any stream"),
    ],
)
def test_service_returns_by_itself_after_a_loop_of_the_worker_has_failed(planted: PlantedTown, name: str) -> None:
    """These run for ever beside the calls: one that ended unnoticed would leave the worker blind, or refusing."""
    planted.garden.plant(name, everywhere=True)
    hits = planted.garden.cure(once_hit=True)
    assert hits is None or hits > 0
    fresh_until_s = time.monotonic() + VIEW_S
    while time.monotonic() < fresh_until_s:
        assert twin(planted, signed_call, "plain") is not None
