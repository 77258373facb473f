"""The life of held calls as a state machine: an agent, reviewers, an intruder and failures in any order, on real parts.

One house with its real store serves all runs; each begins with a mandate of its own. After every step: nothing was
forwarded that no reviewer released, nothing twice, and what had ended has not changed. At the end the journal is whole.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import hypothesis
import identities
import pytest
from clirun import cli
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from origins import Reply
from rawclient import Broken
from towns import Town, open_town

from proxy.core.errors import Rejected
from proxy.core.holds import TERMINAL, Event
from proxy.core.model import HoldState, Verdict
from proxy.stores.redis import PREFIX, RedisServer
from proxy.stores.redis_holds import RedisHolds

OUTSIDE = "/v1/payments"
CALLS = st.integers(min_value=0, max_value=5)
WHICH = st.integers(min_value=0)
STRANGERS = (identities.REVIEWER, identities.AGENT, "mallory")


class Life(RuleBasedStateMachine):
    """What may have been sent, beside what the origin saw."""

    town: Town
    steps = 0
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        Life.runs += 1
        self.house = self.town.house
        self.run = Life.runs
        self.chain: Sequence[str] = self.house.chain()
        self.holds: dict[str, int] = {}  # id -> which call
        self.released: set[str] = set()  # a reviewer said so, and it counted
        self.touched: set[str] = set()  # written to by the intruder: what its state says means nothing
        self.ended: dict[str, HoldState] = {}
        self.mark = self.town.plain.mark()

    def body(self, number: int) -> bytes:
        return b"run=%d&number=%d" % (self.run, number)

    def pick(self, which: int) -> str:
        return sorted(self.holds)[which % len(self.holds)]

    def step(self) -> None:
        Life.steps += 1

    # --- the agent ---------------------------------------------------------------------------------------------------

    @rule(number=CALLS)
    def call(self, number: int) -> None:
        self.step()
        answer = self.ask("POST", self.town.url("plain", OUTSIDE), self.body(number))
        if answer is None or answer[0] != 403:
            return
        hold_id = answer[1].get("task", {}).get("id")
        if isinstance(hold_id, str):
            assert self.holds.setdefault(hold_id, number) == number

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def redeem(self, which: int) -> None:
        self.step()
        self.ask("POST", f"http://intent.internal/holds/{self.pick(which)}/redeem", b"")

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def call_and_hear_nothing(self, which: int) -> None:
        """The origin takes the call and ends the connection without an answer."""
        self.step()
        self.town.plain.on("POST", OUTSIDE, Reply(cut_after=0))
        try:
            self.ask("POST", f"http://intent.internal/holds/{self.pick(which)}/redeem", b"")
        finally:
            self.town.plain.on("POST", OUTSIDE, Reply())

    def ask(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, dict[str, object]]] | None:
        try:
            answer = self.house.call(method, url, chain=self.chain, body=body)
        except (Broken, OSError):
            return None
        try:
            told = json.loads(answer.body)
        except ValueError:
            told = {}
        return answer.status, told if isinstance(told, dict) else {}

    # --- reviewers ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, by=st.sampled_from([identities.SPONSOR, identities.DEPUTY]))
    def release(self, which: int, by: str) -> None:
        self.step()
        hold_id = self.pick(which)
        with suppress(AssertionError, Rejected):  # it was decided before, or cannot be read
            self.house.decide(hold_id, Verdict.ALLOW, by=by)
            self.released.add(hold_id)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def deny(self, which: int) -> None:
        self.step()
        with suppress(AssertionError, Rejected):
            self.house.decide(self.pick(which), Verdict.DENY)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, by=st.sampled_from(STRANGERS))
    def release_by_a_stranger(self, which: int, by: str) -> None:
        self.step()
        with suppress(AssertionError, Rejected):
            self.house.decide(self.pick(which), Verdict.ALLOW, by=by)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        self.step()
        hold_id = self.pick(which)
        with suppress(Rejected):
            self.house.with_store(lambda server: RedisHolds(server).apply(hold_id, Event.CANCEL))

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def run_out_of_time(self, which: int) -> None:
        self.step()
        hold_id = self.pick(which)

        async def work(server: RedisServer) -> None:
            if await server.command("ZSCORE", f"{PREFIX}due", hold_id) is not None:
                await server.command("HSET", f"{PREFIX}hold:{hold_id}", "expires_at", "1")
                await server.command("ZADD", f"{PREFIX}due", 1, hold_id)

        self.house.with_store(work)

    # --- an intruder -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, state=st.sampled_from(sorted(HoldState)))
    def write_a_state(self, which: int, state: HoldState) -> None:
        self.step()
        hold_id = self.pick(which)
        self.touched.add(hold_id)
        self.house.with_store(lambda server: server.command("HSET", f"{PREFIX}hold:{hold_id}", "state", state))

    @precondition(lambda self: self.holds)
    @rule(which=WHICH, other=WHICH)
    def write_anothers_release(self, which: int, other: int) -> None:
        self.step()
        target, source = self.pick(which), self.pick(other)
        if target == source:
            return

        async def work(server: RedisServer) -> None:
            said = await server.command("HGET", f"{PREFIX}hold:{source}", "statement")
            if isinstance(said, bytes):
                await server.command("HSET", f"{PREFIX}hold:{target}", "state", "approved", "statement", said)

        self.touched.add(target)
        self.house.with_store(work)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def put_back_once_sent(self, which: int) -> None:
        """A copy of a hold is kept, its call is sent, and the copy is put back, release and all."""
        self.step()
        hold_id = self.pick(which)
        names = [f"{PREFIX}hold:{hold_id}", f"{PREFIX}sealed:{hold_id}"]

        async def keep(server: RedisServer) -> list[bytes | None]:
            copies = [await server.command("DUMP", name) for name in names]
            return [copy if isinstance(copy, bytes) else None for copy in copies]

        copies = self.house.with_store(keep)
        self.ask("POST", f"http://intent.internal/holds/{hold_id}/redeem", b"")

        async def put(server: RedisServer) -> None:
            for name, copy in zip(names, copies, strict=True):
                if copy is not None:
                    await server.command("RESTORE", name, 0, copy, "REPLACE")

        self.touched.add(hold_id)
        self.house.with_store(put)
        self.ask("POST", f"http://intent.internal/holds/{hold_id}/redeem", b"")

    # --- an operator -------------------------------------------------------------------------------------------------

    @rule(often=st.integers(min_value=0, max_value=30))
    def rotate_the_key(self, often: int) -> None:
        self.step()
        if often == 0:
            cli("keys", "rotate", "-c", self.house.folder).ok()

    # --- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_forwarded_but_what_was_released_and_that_once(self) -> None:
        arrived = Counter(request.body for request in self.town.plain.since(self.mark).requests)
        permitted = Counter(self.body(self.holds[hold_id]) for hold_id in self.released)
        assert arrived <= permitted, f"arrived {arrived}, released {permitted}"

    @invariant()
    def what_has_ended_does_not_change(self) -> None:
        async def work(server: RedisServer) -> dict[str, HoldState]:
            found = {}
            for hold_id in self.holds.keys() - self.touched:
                hold = await RedisHolds(server).get(hold_id)
                if hold is not None:
                    found[hold_id] = hold.state
            return found

        for hold_id, state in self.house.with_store(work).items():
            before = self.ended.get(hold_id)
            assert before in (None, state), f"{hold_id} was {before} and is {state}"
            if state in TERMINAL:
                self.ended[hold_id] = state


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("life"), workers=1) as built:
        Life.town = built
        yield built


def live(*, seed: int, examples: int, steps: int) -> None:
    """Some runs of the machine; the same ones for the same seed."""
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(seed)(Life), settings=how)


def is_whole(home: Path) -> None:
    """The journal, as `audit verify` sees it."""
    ran = cli("audit", "verify", "-c", home)
    assert ran.code == 0, ran.out + ran.err


@pytest.mark.system
def test_a_short_life(town: Town) -> None:
    live(seed=1, examples=6, steps=40)
    is_whole(town.house.folder)


@pytest.mark.long
def test_a_long_life(town: Town) -> None:
    """At least 10,000 steps."""
    began, seed = Life.steps, 100
    while Life.steps - began < 10_000:
        live(seed=seed, examples=20, steps=100)
        seed += 1
    print(f"\n{Life.steps - began} steps in {Life.runs} runs")
    is_whole(town.house.folder)
