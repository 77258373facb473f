"""The supervisor: one process that prepares the house, starts the workers, keeps them running and drains them.

Workers share nothing but the listening address (SO_REUSEPORT) and the stores. A worker that dies takes only its own
connections with it and is replaced; a supervisor that dies takes its workers along, because their standard input ends.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from proxy.core.errors import Code, Rejected
from proxy.edge.door import Door
from proxy.edge.door_tls import door_context
from proxy.edge.parts import load_policy, prepare
from proxy.edge.secrets import secret_faults
from proxy.edge.sockets import check_datagrams, reserve
from proxy.policy.settings import load_settings
from proxy.stores.embedded import EmbeddedStore, keep_up
from proxy.stores.redis import RedisServer

logger = logging.getLogger(__name__)

READY_WITHIN_S = 30.0
DRAIN_S = 10.0
RESTART_AFTER_S = (0.2, 0.5, 1.0)  # growing pauses for a worker that keeps dying; short: service returns within 5 s
HEALTHY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything a worker is told on its command line."""

    config: Path
    host: str
    port: int
    store_url: str
    fast_url: str
    dev: bool
    workers: int
    ephemeral: bool = False
    tls: tuple[str, int] | None = None  # where TLS alone is spoken
    desk: tuple[str, int] | None = None  # where the review desk is: no agent's call goes there
    command: tuple[str, ...] = (sys.executable, "-m", "proxy.edge.worker")

    def arguments(self, slot: int, ready_fd: int, *, patient: bool = False) -> list[str]:
        given = [
            *self.command,
            "--config",
            str(self.config),
            "--slot",
            str(slot),
            "--host",
            self.host,
            "--port",
            str(self.port),
            "--ready-fd",
            str(ready_fd),
        ]
        if self.tls is not None:
            given += ["--tls-host", self.tls[0], "--tls-port", str(self.tls[1])]
        if self.desk is not None:
            given += ["--desk-host", self.desk[0], "--desk-port", str(self.desk[1])]
        flags = {"--dev": self.dev, "--ephemeral": self.ephemeral, "--patient": patient}
        return [*given, *(flag for flag, wanted in flags.items() if wanted)]


@dataclass(slots=True)
class Supervisor:
    """Runs the workers until told to stop."""

    launch: Launch
    on_ready: Callable[[], None]
    doors: tuple[Door, ...]  # one for each address, answered while no worker serves
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: set[int] = field(default_factory=set)

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT. Returns the exit code: 0 after a drain, 1 when the workers never came up."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        first = [asyncio.ensure_future(self._start(slot)) for slot in range(self.launch.workers)]
        started = await asyncio.gather(*first, return_exceptions=True)
        running = [each for each in started if isinstance(each, asyncio.subprocess.Process)]
        if len(running) < self.launch.workers:
            for process in running:
                await _end(process)
            return 1
        self._serving.update(range(self.launch.workers))
        self.on_ready()
        await asyncio.gather(*(self._keep(slot, process) for slot, process in enumerate(running)))
        return 0

    async def _start(self, slot: int, *, patient: bool = False) -> asyncio.subprocess.Process:
        """Start one worker and wait until it says that it serves; a `patient` one waits for what is missing."""
        read_fd, write_fd = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.launch.arguments(slot, write_fd, patient=patient),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(write_fd,),
            )
        finally:
            os.close(write_fd)
        assert process.stdin is not None
        stores = {"store": self.launch.store_url, "fast": self.launch.fast_url}
        process.stdin.write(json.dumps(stores).encode("ascii") + b"\n")
        try:
            said = await asyncio.wait_for(asyncio.to_thread(os.read, read_fd, 1), READY_WITHIN_S)
        except BaseException:  # too late, or we are to stop: it must not come up beside its successor
            process.kill()
            await process.wait()
            raise
        finally:
            os.close(read_fd)
        if said != b"1":
            await _end(process)
            raise Rejected(Code.CONFIG_INVALID, f"worker {slot} did not start")
        return process

    async def _keep(self, slot: int, process: asyncio.subprocess.Process) -> None:
        """Replace a worker whenever it ends by itself; drain it when we are told to stop."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            born_s = loop.time()
            ended = asyncio.ensure_future(process.wait())
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if self._stopping.is_set():
                self._close_doors()
                await _end(process)
                return
            await self._lost(slot)
            failures = 0 if loop.time() - born_s > HEALTHY_AFTER_S else failures + 1
            logger.error("worker %d ended with status %s; starting another", slot, process.returncode)
            replacement = await self._replace(slot, failures)
            self._close_doors()
            if replacement is None:
                return
            self._serving.add(slot)
            process = replacement

    async def _lost(self, slot: int) -> None:
        """Answer for the workers when the last of them is gone."""
        self._serving.discard(slot)
        if self._serving:
            return
        for door in self.doors:
            try:
                await door.open()
            except (Rejected, OSError) as fault:
                logger.error("no worker serves, and nobody can say so: %s", fault)

    def _close_doors(self) -> None:
        for door in self.doors:
            door.close()

    async def _replace(self, slot: int, failures: int) -> asyncio.subprocess.Process | None:
        while True:
            pause_s = RESTART_AFTER_S[min(failures, len(RESTART_AFTER_S)) - 1] if failures else RESTART_AFTER_S[0]
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            except TimeoutError:
                pass
            else:
                return None
            starting = asyncio.ensure_future(self._start(slot, patient=True))
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return None
            try:
                return starting.result()
            except (Rejected, TimeoutError, OSError) as fault:
                failures += 1
                logger.error("worker %d could not be started: %s", slot, fault)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask a worker to drain; end it when it does not."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), DRAIN_S + 2.0)
    except TimeoutError:
        process.kill()
        await process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What is worth saying once the proxy serves."""

    host: str
    port: int
    workers: int
    deployment: str
    ca_file: Path
    signed: bool
    bundle_version: int
    store: str  # "embedded" or the Redis URL without its password
    ephemeral: bool = False  # the store may be one that keeps nothing on disk
    tls: tuple[str, int] | None = None  # where agents reach it over TLS alone


async def run_proxy(
    config: Path,
    *,
    workers: int | None,
    listen: tuple[str, int] | None,
    dev: bool,
    on_ready: Callable[[Ready], None],
    ephemeral: bool = False,
    desk: tuple[str, int] | None = None,
    beside: Callable[[Ready], Awaitable[None]] | None = None,
) -> int:
    """Run the proxy of one deployment until SIGTERM or SIGINT; returns the exit code.

    The configuration is read and the address reserved before any worker starts, so that what is wrong is said once.
    `desk` is where the review desk is, if not where the settings say. `beside` runs from when the proxy serves until it
    is told to stop.

    Raises:
        Rejected: something configured cannot be used, or the address is taken.
        Unavailable: the store does not come up.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # who crashes, here or in a worker, leaves no memory on a disk
    settings = load_settings(config)
    policy = load_policy(settings, dev=dev)
    prepare(settings)
    for line in secret_faults(settings, policy.bundle):
        logger.error("%s", line)
    host, wanted = listen or (settings.listen.host, settings.listen.port)
    with contextlib.ExitStack() as held:
        port = held.enter_context(contextlib.closing(reserve(host, wanted))).getsockname()[1]
        tls = None if settings.tls.listen is None else (settings.tls.listen.host, settings.tls.listen.port)
        if tls is not None:
            tls = tls[0], held.enter_context(contextlib.closing(reserve(*tls))).getsockname()[1]
        for each in (*settings.transparent.listen, *settings.transparent.dns.listen):
            held.enter_context(contextlib.closing(reserve(each.host, each.port)))
        for each in settings.transparent.dns.listen:
            check_datagrams(each.host, each.port)
        held.enter_context(_alone(settings.state))
        embedded = EmbeddedStore(settings.state) if settings.redis_url is None else None
        url = embedded.start() if embedded is not None else str(settings.redis_url)
        launch = Launch(
            config=settings.file.absolute(),
            host=host,
            port=port,
            store_url=url,
            fast_url=settings.redis_fast_url or "",
            dev=dev,
            workers=workers or settings.workers,
            ephemeral=ephemeral,
            tls=tls,
            desk=desk or (settings.desk.listen.host, settings.desk.listen.port),
        )
        ready = Ready(
            host=host,
            port=launch.port,
            workers=launch.workers,
            deployment=settings.deployment,
            ca_file=settings.state / "ca" / "ca.pem",
            signed=policy.bundle.signed,
            bundle_version=policy.bundle.version,
            store="embedded" if embedded is not None else repr(RedisServer(url)),
            ephemeral=ephemeral and embedded is None,
            tls=tls,
        )
        tasks: list[asyncio.Future[None]] = []

        def serves() -> None:
            on_ready(ready)
            if beside is not None:
                tasks.append(asyncio.ensure_future(beside(ready)))

        ended = asyncio.Event()
        keeping = asyncio.ensure_future(keep_up(embedded, ended)) if embedded is not None else None
        try:
            doors = [Door(host, port)]
            if tls is not None:
                doors.append(Door(*tls, partial(door_context, settings, tls[0])))
            return await Supervisor(launch=launch, on_ready=serves, doors=tuple(doors)).run()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            ended.set()
            if keeping is not None:
                await keeping  # a start under way must not outlive the stop
            if embedded is not None:
                embedded.stop()


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Nobody else runs a proxy on this state directory: whose private store would it be, and who would stop it?

    Raises:
        Rejected(CONFIG_INVALID): somebody does.
    """
    lock = os.open(state / "run.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with contextlib.closing(os.fdopen(lock)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            detail = f"state: another intent-proxy runs on {state}: stop it, or give this one a state of its own"
            raise Rejected(Code.CONFIG_INVALID, detail, field="state") from None
        yield
