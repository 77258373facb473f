"""The review desk beside a running proxy: a process of its own, on an address that is reserved before, kept running."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from proxy.core.errors import Rejected, Unavailable

logger = logging.getLogger(__name__)

RESTART_AFTER_S = (0.5, 1.0, 5.0)  # growing pauses for a desk that keeps ending
HEALTHY_AFTER_S = 30.0
STOPS_WITHIN_S = 6.0
PROGRAM = (sys.executable, "-m", "proxy.cli.main", "desk")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskChild:
    """Starts the desk on `sockets`, and again whenever it ends. Without it the proxy goes on as before."""

    config: Path
    sockets: Sequence[socket]
    dev: bool
    on_ready: Callable[[], None]  # the first time it serves

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def keep(self) -> None:
        """Run until cancelled; the desk ends with us, and so it does when we are killed: its standard input ends."""
        loop, failures, told = asyncio.get_running_loop(), 0, False
        while True:
            born_s, status = loop.time(), "none: it could not be started"
            try:
                process = await self._start()
            except OSError as fault:  # no memory, no process, no program just now
                logger.error("the review desk cannot be started: %s", fault)
            else:
                try:
                    assert process.stdout is not None
                    served = bool(await process.stdout.readline())
                    if served and not told:
                        told = True
                        self._tell()
                    await process.stdout.read()  # until it ends
                    status = str(await process.wait())
                finally:
                    await _end(process)
            failures = 0 if loop.time() - born_s > HEALTHY_AFTER_S else failures + 1
            pause_s = RESTART_AFTER_S[min(failures, len(RESTART_AFTER_S)) - 1]
            logger.error("the review desk ended with status %s; starting another in %g s", status, pause_s)
            await asyncio.sleep(pause_s)

    def _tell(self) -> None:
        """It serves, also where that cannot be told: the files of its policy may be half written just now."""
        try:
            self.on_ready()
        except (Rejected, Unavailable, OSError) as fault:
            logger.error("the review desk serves, but where, and a link, cannot be told: %s", fault)

    async def _start(self) -> asyncio.subprocess.Process:
        descriptors = [each.fileno() for each in self.sockets]
        flags = [word for number in descriptors for word in ("--fd", str(number))]
        return await asyncio.create_subprocess_exec(
            *PROGRAM,
            "--config",
            str(self.config),
            *flags,
            *(["--dev"] if self.dev else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let it finish what was asked of it; end it when it does not."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOPS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
