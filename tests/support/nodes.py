"""Several nodes of one deployment: each a house of its own, with its own disk and key, on one real Valkey.

    with nodes(folder, 3, clusters=..., extra=...) as (valkey, houses): ...

They share what a deployment shares: its people, rules and secret. `wait_for` looks until something is so.
"""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from houses import House, build
from valkeys import Valkey
from workers import workers

from proxy.core.model import HoldState
from proxy.policy.bundle import Signed
from proxy.stores.files import private_dir
from proxy.stores.vault import SECRET_BYTES

WAIT_S = 20.0


@contextmanager
def nodes(
    folder: Path, count: int, *, clusters: str, extra: str = "", workers: int = 1
) -> Iterator[tuple[Valkey, tuple[House, ...]]]:
    """So many nodes, running."""
    with ExitStack() as ends, Valkey() as valkey:
        valkey.age_epoch()
        secret = secrets.token_bytes(SECRET_BYTES)
        built = []
        for number in range(count):
            where = f"redis_url: {valkey.url}\n"
            one = build(folder / f"node-{number}", clusters=clusters, extra=where + extra)
            kept = private_dir(one.settings.state) / "secret.key"
            kept.touch(mode=0o600)
            kept.write_bytes(secret)
            built.append(one)
        with ThreadPoolExecutor(count) as pool:
            ends.callback(lambda: together(_stop, built))
            list(pool.map(lambda one: one.start(workers=workers), built))
        yield valkey, tuple(built)


def together[T](do: Callable[[T], object], each: Sequence[T]) -> None:
    """Do it to all of them at once."""
    with ThreadPoolExecutor(len(each)) as pool:
        list(pool.map(do, each))


def _stop(house: House) -> None:
    if house.process is not None and house.process.poll() is None:
        house.stop()


def kill_workers(house: House) -> None:
    """kill -9 for every worker of a node; its supervisor starts others."""
    for pid in workers(house):
        os.kill(pid, signal.SIGKILL)


def kill_node(house: House) -> None:
    """kill -9 for a node: its supervisor, and with it its workers."""
    assert house.process is not None
    pids = workers(house)
    house.process.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    house.process.wait(10)


def wait_for[T](look: Callable[[], T | None], what: str, within_s: float = WAIT_S) -> T:
    """What `look` returns once it returns something true."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)


def wait_for_version(house: House, bundle: Signed) -> None:
    """Until every worker of a node says that this policy is in force: each takes it up by itself, within a second."""
    said = f"version {bundle.version} is in force"
    wait_for(lambda: sum(said in line for line in house.output) >= len(workers(house)), said)


def wait_for_state(house: House, hold_id: str, *states: HoldState, within_s: float = WAIT_S) -> HoldState:
    """The state of a hold, once it is one of these."""
    return wait_for(
        lambda: state if (state := house.hold(hold_id).state) in states else None,
        f"hold {hold_id} is {' or '.join(states)}",
        within_s,
    )
