"""The fault matrix: one row for each part that may fail, for both ways into the proxy.

While it fails no byte of a call that is not permitted leaves, and every call is answered within two seconds: by a coded
503, or, where the row says "served", as before by what was last good. Within five seconds of the cure a permitted call
passes again, and nobody restarted anything. docs/redis.md shows the same table.
"""

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from certs import Authority
from faketimes import moved, worker
from houses import CLUSTERS, WAYS, house
from origins import Origin
from plant_calls import ANSWER_S, COVERED, OUTSIDE, Got, attempt, from_scratch
from plant_house import running
from redis_page import table
from relays import Relay
from towns import ROOMY, Town
from valkeys import Valkey, free_port

BACK_S = 5.0
"""The promise: service returns within this of the cure."""
EPOCH_S = 6.0
"""What comes on top where nonces may be forgotten: proofs made before that, and for five seconds, are refused."""
SETTLED_S = 2.5
"""After this long nothing is known any more from before the fault: the view of revocations is two seconds old."""


@dataclass(kw_only=True)
class FragileTown(Town):
    """A town whose store can be made to fail in every way."""

    valkey: Valkey
    relay: Relay


type Fault = Callable[[FragileTown], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FragileTown]:
    folder = tmp_path_factory.mktemp("matrix")
    authority = Authority()
    tls_origin = Origin(tls=authority.server("erp.example"))
    with Valkey() as valkey, Relay(valkey.directory / "s") as relay, Origin() as plain, tls_origin as tls:
        text = CLUSTERS.format(http=plain.port, https=tls.port)
        store = f"redis_url: redis://127.0.0.1:{relay.port}\n"
        settings = f"upstream_cas: [{authority.write(folder)}]\n{store}{ROOMY}"
        with house(folder / "house", clusters=text, extra=settings, workers=1) as running:
            yield FragileTown(house=running, plain=plain, tls=tls, authority=authority, valkey=valkey, relay=relay)


# --- the rows --------------------------------------------------------------------------------------------------------


@contextmanager
def store_killed(town: FragileTown) -> Iterator[None]:
    town.valkey.kill()
    try:
        yield
    finally:
        town.valkey.start()


@contextmanager
def store_frozen(town: FragileTown) -> Iterator[None]:
    town.valkey.freeze()
    try:
        yield
    finally:
        town.valkey.thaw()


@contextmanager
def store_slow(town: FragileTown) -> Iterator[None]:
    town.relay.delay_s = 2.0
    try:
        yield
    finally:
        town.relay.delay_s = 0.0


@contextmanager
def store_full(town: FragileTown) -> Iterator[None]:
    with town.valkey.client() as client:
        client.config_set("maxmemory", "1")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


@contextmanager
def store_read_only(town: FragileTown) -> Iterator[None]:
    with town.valkey.client() as client:
        client.replicaof("127.0.0.1", free_port())
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def store_cut_short(town: FragileTown) -> Iterator[None]:
    """Killed in the middle of a write: the last command in its AOF is not whole."""
    town.valkey.kill()
    log = max(town.valkey.directory.glob("appendonlydir/*.incr.aof"))
    os.truncate(log, log.stat().st_size - 3)
    try:
        yield
    finally:
        town.valkey.start()


@contextmanager
def store_password_changed(town: FragileTown) -> Iterator[None]:
    with town.valkey.client() as client:
        client.execute_command("ACL SETUSER default resetpass >another")
        client.execute_command("CLIENT KILL TYPE normal SKIPME yes")
        try:
            yield
        finally:
            client.execute_command("ACL SETUSER default nopass")


@contextmanager
def journal_disk_full(town: FragileTown) -> Iterator[None]:
    """No file grows any more, of the supervisor and of every worker it starts."""
    before = len(town.house.output)
    with no_more_bytes(town):
        yield
        wait_for_successor(town, before)


@contextmanager
def no_more_bytes(town: FragileTown) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for pid in (supervisor(town), *workers(town)):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        for pid in (supervisor(town), *workers(town)):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def policy(change: Callable[[Path], None]) -> Fault:
    """The policy file is spoilt, and nothing else happens: it was read at start."""

    @contextmanager
    def spoilt(town: FragileTown) -> Iterator[None]:
        with kept(town.house.folder / "clusters.yaml") as path:
            change(path)
            yield

    return spoilt


def with_new_worker(fault: Fault) -> Fault:
    """The same, and the worker dies, so that another must start from what there is."""

    @contextmanager
    def spoilt(town: FragileTown) -> Iterator[None]:
        before = len(town.house.output)
        with fault(town):
            for pid in workers(town):
                os.kill(pid, signal.SIGKILL)
            wait_for_another_answer(town)
            yield
            wait_for_successor(town, before)

    return spoilt


@contextmanager
def key_unreadable(town: FragileTown) -> Iterator[None]:
    with kept(town.house.settings.state / "secret.key") as path:
        path.unlink()
        path.mkdir()  # root may read whatever it likes, but not this
        try:
            yield
        finally:
            path.rmdir()


@contextmanager
def names_away(town: FragileTown) -> Iterator[None]:
    with names(town, "away"):
        yield


@contextmanager
def names_silent(town: FragileTown) -> Iterator[None]:
    with names(town, "silent"):
        yield


@contextmanager
def names(town: FragileTown, said: str) -> Iterator[None]:
    town.house.resolve({"erp.example": said})
    try:
        yield
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})


# --- their tools -----------------------------------------------------------------------------------------------------


@contextmanager
def kept(path: Path) -> Iterator[Path]:
    """A file whose content is put back at the end, with its mode."""
    data, mode = path.read_bytes(), path.stat().st_mode
    try:
        yield path
    finally:
        draft = path.with_name(f"{path.name}.back")
        draft.write_bytes(data)
        draft.chmod(mode & 0o777)
        draft.replace(path)


def supervisor(town: Town) -> int:
    assert town.house.process is not None
    return town.house.process.pid


def workers(town: Town) -> tuple[int, ...]:
    """The worker processes that run now."""
    pid = supervisor(town)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return tuple(int(child) for child in children)


def wait_for_another_answer(town: Town) -> None:
    """Until somebody else answers at the address: the worker that was killed does not any more."""
    deadline_s = time.monotonic() + ANSWER_S
    while time.monotonic() < deadline_s:
        got = attempt(from_scratch(town, "plain").fire)
        if got.status == 503:
            return
        time.sleep(0.05)
    raise AssertionError("nobody says that no worker serves")


def wait_for_successor(town: Town, before: int) -> None:
    """Until the worker that replaces another has come so far that only what fails is missing: starting takes seconds
    of its own, which the promise is not about."""
    deadline_s = time.monotonic() + 40
    while not any("cannot serve yet" in line for line in town.house.output[before:]):
        assert time.monotonic() < deadline_s, "".join(town.house.output[before:])
        time.sleep(0.05)


def code(got: Got) -> str:
    """The code that an answer bears, in its body or, for a refused CONNECT, in its reason phrase."""
    head, _, body = got.raw.partition(b"\r\n\r\n")
    if body.startswith(b"{"):
        return str(json.loads(body)["code"])
    return head.partition(b"\r\n")[0].decode("latin-1").split(" ")[2]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What fails, and what a permitted call gets meanwhile: a code, or "served"."""

    name: str
    fault: Fault
    meanwhile: tuple[str, ...]
    forgets: bool = False  # the store begins a new epoch of nonces
    held: bool = False  # a call that is not permitted is held meanwhile, as ever: it needs nothing of what fails

    @property
    def served(self) -> bool:
        return self.meanwhile == ("served",)


ROWS = (
    Row(name="the store is down", fault=store_killed, meanwhile=("service.store", "service.stale")),
    Row(name="the store is frozen (SIGSTOP)", fault=store_frozen, meanwhile=("service.store", "service.stale")),
    Row(name="the store answers after 2 s", fault=store_slow, meanwhile=("service.store", "service.stale")),
    Row(name="the store has reached maxmemory", fault=store_full, meanwhile=("service.store",)),
    Row(
        name="the store is read-only (READONLY)",
        fault=store_read_only,
        meanwhile=("service.store", "service.stale"),
        forgets=True,
    ),
    Row(
        name="the store's AOF is cut short",
        fault=store_cut_short,
        meanwhile=("service.store", "service.stale"),
        forgets=True,
    ),
    Row(
        name="the store's password was changed",
        fault=store_password_changed,
        meanwhile=("service.store", "service.stale"),
    ),
    Row(name="the journal's disk is full", fault=journal_disk_full, meanwhile=("service.journal", "service.undecided")),
    Row(
        name="a policy file is broken", fault=policy(lambda path: path.write_text("clusters: [")), meanwhile=("served",)
    ),
    Row(name="a policy file is empty", fault=policy(lambda path: path.write_text("")), meanwhile=("served",)),
    Row(name="a policy file is removed", fault=policy(lambda path: path.unlink()), meanwhile=("served",)),
    Row(
        name="a policy file is broken, and the worker dies",
        fault=with_new_worker(policy(lambda path: path.write_text("clusters: ["))),
        meanwhile=("service.undecided",),
    ),
    Row(
        name="a key file is unreadable, and the worker dies",
        fault=with_new_worker(key_unreadable),
        meanwhile=("service.undecided",),
    ),
    Row(name="names do not resolve", fault=names_away, meanwhile=("service.resolver",), held=True),
    Row(name="the name server is silent", fault=names_silent, meanwhile=("service.resolver",), held=True),
)


@pytest.mark.system
@pytest.mark.alone
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_nothing_forbidden_leaves_the_agent_is_told_and_service_returns(town: FragileTown, row: Row) -> None:
    assert returns(town, BACK_S + EPOCH_S), "it serves before"
    before = {way: town.origin(way).mark() for way in WAYS}
    with row.fault(town):
        for pause_s in (0.0, 0.0 if row.served else SETTLED_S):
            time.sleep(pause_s)
            for path, got in calls_of_every_kind(town):
                assert got.took_s < ANSWER_S, got
                if row.served or (row.held and path == OUTSIDE):
                    assert got.status == (200 if path == COVERED else 403), got
                else:
                    assert (got.status, code(got) in row.meanwhile) == (503, True), got
    for way in WAYS:
        seen = town.origin(way).since(before[way])
        assert row.served or seen.nothing, seen
        assert {request.target for request in seen.requests} <= {COVERED}
    within_s = BACK_S + EPOCH_S if row.forgets else BACK_S
    assert returns(town, within_s), "".join(town.house.output)[-3000:]


def calls_of_every_kind(town: Town) -> list[tuple[str, Got]]:
    """A permitted and a forbidden call by each way, at the same time."""
    kinds = [(way, path) for way in WAYS for path in (COVERED, OUTSIDE)]
    with ThreadPoolExecutor(len(kinds)) as agents:
        got = [agents.submit(answered, town, way, path) for way, path in kinds]
        return [(path, each.result()) for (_, path), each in zip(kinds, got, strict=True)]


def answered(town: Town, way: str, path: str) -> Got:
    """What an agent is told within two seconds. In the moment a worker dies its connections end without an answer."""
    began_s, call = time.monotonic(), from_scratch(town, way, path)
    while (got := attempt(call.fire)).status is None and time.monotonic() - began_s < ANSWER_S:
        time.sleep(0.02)
    return replace(got, took_s=time.monotonic() - began_s)


def returns(town: Town, within_s: float = BACK_S) -> bool:
    """Whether permitted calls pass by every way within so many seconds from now."""
    deadline_s, waiting = time.monotonic() + within_s, list(WAYS)
    while waiting and time.monotonic() < deadline_s:
        waiting = [way for way in waiting if attempt(from_scratch(town, way).fire).status != 200]
    return not waiting


CLOCK = Row(name="the clock is a year ahead, or behind", fault=names_away, meanwhile=("service.clock",))


@pytest.mark.system
@pytest.mark.alone
def test_a_clock_that_is_a_year_wrong_is_a_503_and_service_returns(tmp_path: Path) -> None:
    file = tmp_path / "offset"
    with running(tmp_path, worker=worker(file)) as town:
        for by in ("+1y", "-1y"):
            assert returns(town), "".join(town.house.output)[-3000:]
            before = {way: town.origin(way).mark() for way in WAYS}
            with moved(file, by):
                for pause_s in (0.0, SETTLED_S):
                    time.sleep(pause_s)
                    for _, got in calls_of_every_kind(town):
                        assert got.took_s < ANSWER_S, got
                        assert (got.status, code(got) in CLOCK.meanwhile) == (503, True), got
            assert all(town.origin(way).since(before[way]).nothing for way in WAYS)
        assert returns(town), "".join(town.house.output)[-3000:]


def test_the_page_shows_these_rows() -> None:
    assert [(row.name, ", ".join(row.meanwhile)) for row in (*ROWS, CLOCK)] == [
        (name, meanwhile.replace("`", "")) for name, meanwhile, _ in table("what fails")
    ]
