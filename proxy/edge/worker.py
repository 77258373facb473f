"""One worker: an embedded mitmproxy, the gate before it, and the loops that keep its view of the world fresh."""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

# Before mitmproxy is imported: it would write every TLS secret there.
os.environ.pop("SSLKEYLOGFILE", None)
os.environ.pop("MITMPROXY_SSLKEYLOGFILE", None)
# Before the first look-up: a dead name server must not keep the few threads that ask it for long.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")

from proxy.audit.lines import Kind
from proxy.audit.records import policy_fields
from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import Bundle
from proxy.edge.deliver import Deliverer
from proxy.edge.dns import DnsStub
from proxy.edge.interfaces import Places
from proxy.edge.listen import END_WITHIN_S, Listener
from proxy.edge.master import EdgeMaster
from proxy.edge.parts import Parts, assemble, now
from proxy.edge.secrets import secret_faults
from proxy.edge.sockets import shared_datagrams, shared_socket
from proxy.edge.transparent import Redirections

logger = logging.getLogger(__name__)

DRAIN_S = 7.0  # with what follows it stays within the ten seconds that are promised
LOOK_AGAIN_S = 0.5
REFUSE_S = 0.5
"""How long a worker whose journal died may take to tell those who wait that nothing was sent."""
SWEEP_EVERY_S = 1.0
SWEEP_AT_MOST_EVERY_S = 0.2
"""However often calls are released: one that cannot be sent is, each time its agent asks for it."""
GARBAGE_THRESHOLDS = 20_000, 20, 20
"""A call leaves few cycles. At Python's own thresholds a worker looks for them many times a second."""
MUST_END = 70  # EX_SOFTWARE: the journal died, or a loop that keeps our view fresh; the supervisor starts anew


async def serve(arguments: argparse.Namespace, stores: dict[str, str]) -> int:
    """Run one worker until it is told to stop or must not go on.

    `stores` are the URLs "store" and "fast"; "" for none.

    Raises:
        Rejected: something that was configured cannot be used.
        Unavailable: the store is not there.
    """
    parts = await _assembled(arguments, stores)
    master = EdgeMaster(
        gate=parts.gate,
        internal=parts.internal,
        bodies=parts.bodies,
        deliveries=parts.deliveries,
        authority=parts.authority,
        upstream_roots=parts.upstream_roots,
        footings=parts.footings,
        client_tls=parts.client_tls,
    )
    deliverer = Deliverer(master, parts.deliveries)
    tls_sock = shared_socket(*_tls_address(arguments)) if arguments.tls_host else None
    transparent = parts.settings.transparent
    places = Places(lambda: parts.policy().bundle, transparent.generation)
    stub = DnsStub(
        parts.book,
        places,
        note=partial(parts.journal.note, Kind.DNS),
        quota=transparent.dns.quota,
        absent=transparent.dns.absent,
    )
    asked_at = [
        (shared_datagrams(each.host, each.port), shared_socket(each.host, each.port)) for each in transparent.dns.listen
    ]
    listener = Listener(
        master,
        shared_socket(arguments.host, arguments.port),
        tls_sock,
        redirected=tuple(shared_socket(each.host, each.port) for each in transparent.listen),
        redirections=Redirections(parts.book, places),
        gate=parts.gate,
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loops = (*_chores(parts, stop), _sweep(parts, deliverer), listener.reap(), master.live.watch())
    chores = [asyncio.ensure_future(each) for each in loops]
    running = asyncio.ensure_future(master.run())
    await _until(parts.proofs_count_from)
    await listener.start()
    await stub.start(asked_at)
    gc.collect()
    gc.freeze()  # what is here stays: nobody need look at it again
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    os.write(arguments.ready_fd, b"1")
    os.close(arguments.ready_fd)
    stopped = asyncio.ensure_future(stop.wait())
    ends: set[asyncio.Future[Any]] = {running, stopped, parts.died, *chores}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    parts.gate.holding.waits.leaving.set()
    status = 0 if stop.is_set() else MUST_END
    if parts.died.done():
        await asyncio.sleep(REFUSE_S)  # whoever asks is refused; then the supervisor says so
    listener.stop_accepting()
    await stub.stop()
    if status == 0:
        await _drain(listener, deliverer)
    await asyncio.gather(listener.end_all(), _settled(deliverer))
    await master.observe.written()
    master.shutdown()
    await asyncio.gather(running, return_exceptions=True)
    for chore in chores:
        chore.cancel()
    for fault in await asyncio.gather(*chores, return_exceptions=True):
        if isinstance(fault, Exception):
            logger.error("a loop of this worker ended: %r", fault)
    if not parts.died.done():  # else nothing can be sealed here, the next worker does, and nobody should wait for that
        await parts.close()
    return status


async def _assembled(arguments: argparse.Namespace, stores: dict[str, str]) -> Parts:
    """Everything a worker needs. One that replaces another waits, for what is missing may come back at any moment."""
    told = ""
    while True:
        try:
            return await assemble(
                arguments.config,
                slot=arguments.slot,
                listen=(arguments.host, arguments.port),
                listen_tls=_tls_address(arguments) if arguments.tls_host else None,
                desk=(arguments.desk_host, arguments.desk_port) if arguments.desk_host else None,
                store_url=stores["store"],
                fast_url=stores["fast"],
                dev=arguments.dev,
                ephemeral=arguments.ephemeral,
            )
        except (Rejected, Unavailable) as fault:
            if not arguments.patient:
                raise
            if fault.detail != told:
                logger.error("cannot serve yet: %s", fault.detail)
            told = fault.detail
            await asyncio.sleep(LOOK_AGAIN_S)


def _tls_address(arguments: argparse.Namespace) -> tuple[str, int]:
    return arguments.tls_host, arguments.tls_port


def _chores(parts: Parts, stop: asyncio.Event) -> tuple[Coroutine[Any, Any, None], ...]:
    return (
        parts.control.follow(),
        parts.policy.follow(lambda bundle: _take_up(parts, bundle)),
        parts.clock.follow(),
        parts.secrets.follow(),
        parts.gate.holding.news.follow(record=parts.slot == 0),
        _end_with_supervisor(stop),
    )


async def _take_up(parts: Parts, bundle: Bundle) -> None:
    """Write down what is about to come into force; one worker says what it lacks. Raises Unavailable: not written."""
    await parts.journal.append("policy", policy_fields(bundle))
    for line in secret_faults(parts.settings, bundle) if parts.slot == 0 else ():
        logger.error("%s", line)


async def _until(moment: datetime) -> None:
    """A nonce store that has just begun cannot tell a replay from a first use: wait, rather than refuse everybody.

    One second more, because proofs say their time in whole seconds, rounded down.
    """
    await asyncio.sleep(max(0.0, (moment - now()).total_seconds() + 1.0))


async def _sweep(parts: Parts, deliverer: Deliverer) -> None:
    """Look over the holds every second, and whenever one is released; deliver what is due."""
    holding = parts.gate.holding
    while True:
        began_s = time.monotonic()
        holding.stirred.clear()
        try:
            deliverer.send(await holding.sweep())
            await parts.followed.write()
        except Unavailable as fault:
            logger.warning("holds could not be swept: %s", fault)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(holding.stirred.wait(), SWEEP_EVERY_S)
        await asyncio.sleep(max(0.0, began_s + SWEEP_AT_MOST_EVERY_S - time.monotonic()))


async def _end_with_supervisor(stop: asyncio.Event) -> None:
    """Standard input is a pipe that only the supervisor holds: its end is the supervisor's end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    stop.set()


async def _settled(deliverer: Deliverer) -> None:
    """Deliveries are ended like every connection, and say what became of them before the store and the journal go."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_WITHIN_S):
            await deliverer.drain()


async def _drain(listener: Listener, deliverer: Deliverer) -> None:
    """Let calls under way end by themselves, within the promise made to whoever stops us."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await asyncio.gather(listener.drain(), deliverer.drain())


def main(argv: list[str] | None = None) -> int:
    """The worker's own command line; people use `intent-proxy run`."""
    parser = argparse.ArgumentParser(prog="python -m proxy.edge.worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls-host", default="")
    parser.add_argument("--tls-port", type=int, default=0)
    parser.add_argument("--desk-host", default="")
    parser.add_argument("--desk-port", type=int, default=0)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("--ephemeral", action="store_true")
    parser.add_argument("--patient", action="store_true")
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.WARNING,
        format=f"%(asctime)s worker {arguments.slot} %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        # By the pipe from the supervisor, not on the command line: they may hold a password.
        return asyncio.run(serve(arguments, json.loads(sys.stdin.readline())))
    except (Rejected, Unavailable) as fault:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"intent-proxy: {fault.detail}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
