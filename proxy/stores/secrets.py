"""The secrets that clusters name: in a file, in a variable, or printed by a command. None of them is ever logged."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Protocol

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.injection import MOST_CHARS, read_secret
from proxy.stores.closedfiles import mark_of, read_closed

logger = logging.getLogger(__name__)

COMMAND_DEADLINE_S = 10.0
"""A command that has not ended by then is killed, with all that it started."""

RETRY_S = (1.0, 5.0, 30.0)
"""How long after a failure the command is run again: after the first, after the second, and from then on."""

EARLY_S = 30.0
"""An origin that does not take a secret makes its command run again, but not more often than this."""

COMMAND_PATH = "/usr/local/bin:/usr/bin:/bin"

_MOST_BYTES = MOST_CHARS + 2


class Source(Protocol):
    """Where one secret comes from."""

    def current(self) -> str:
        """The value now. Raises Rejected(CONFIG_INVALID): why there is none, for the log and the command line."""

    def refused(self) -> None:
        """An origin did not take it."""

    async def follow(self) -> None:
        """Keep it fresh, for the life of the worker."""


class SecretFile(Source):
    """A secret in a file, read again whenever it is another one. While it cannot be read there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._value = ""

    def current(self) -> str:
        try:
            if not self._value or mark_of(self._path.stat()) != self._seen:
                about, data = read_closed(self._path, limit_bytes=_MOST_BYTES, mounted=True)
                self._value = ""
                self._value, self._seen = _read(data, f"the secret in {self._path}"), mark_of(about)
        except OSError as fault:
            self._value = ""
            detail = f"{self._path} cannot be read: {fault.strerror or type(fault).__name__}; put the secret there"
            raise Rejected(Code.CONFIG_INVALID, detail) from None
        except Rejected:
            self._value = ""
            raise
        return self._value

    def refused(self) -> None:
        """A newer one is found without being told."""

    async def follow(self) -> None:
        """It is looked at whenever it is asked for."""


class SecretVariable(Source):
    """A secret in the environment, which stays as it is until a restart."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._value = environment.get(name)

    def current(self) -> str:
        if self._value is None:
            detail = f"the variable {self._name} is not set; set it where the proxy is started"
            raise Rejected(Code.CONFIG_INVALID, detail)
        return _read(self._value.encode("utf-8", "surrogateescape"), f"the secret in ${self._name}")

    def refused(self) -> None:
        """There is no other."""

    async def follow(self) -> None:
        """It does not change."""


class SecretCommand(Source):
    """A secret that a command prints, run again and again. What it last printed counts for two intervals."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        every_s: float,
        environment: Mapping[str, str],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`environment` is all the command gets besides PATH."""
        self._command = tuple(command)
        self._every_s = every_s
        self._environment = {"PATH": COMMAND_PATH, "LC_ALL": "C", **environment}
        self._timer = timer
        self._value = ""
        self._good_until_s = 0.0
        self._ran_at_s = 0.0
        self._why = "has not ended yet for the first time"
        self._sooner = asyncio.Event()

    def current(self) -> str:
        if not self._value or self._timer() >= self._good_until_s:
            self._value = ""
            raise Rejected(Code.CONFIG_INVALID, f"the command {self._command[0]} {self._why}")
        return self._value

    def refused(self) -> None:
        if self._timer() >= self._ran_at_s + EARLY_S:
            self._sooner.set()

    async def follow(self) -> None:
        failures = 0
        while True:
            self._sooner.clear()
            self._ran_at_s = self._timer()
            try:
                self._value = await self._run()
            except Rejected as fault:
                failures, self._why = failures + 1, fault.detail
                wait_s = min(RETRY_S[min(failures, len(RETRY_S)) - 1], self._every_s)
                logger.error("the command %s %s; it is run again in %.0f s", self._command[0], fault.detail, wait_s)
            else:
                failures, wait_s = 0, self._every_s
                self._good_until_s = self._timer() + 2 * self._every_s
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sooner.wait(), wait_s)

    async def _run(self) -> str:
        """What the command prints. Raises Rejected(CONFIG_INVALID): it failed, in words that quote nothing of it."""
        try:
            reading, writing = os.pipe()
        except OSError as fault:
            raise _not_run(fault) from None
        with os.fdopen(reading, "rb", buffering=0) as printed:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=writing,
                    stderr=asyncio.subprocess.DEVNULL,  # it may print what it must not
                    env=self._environment,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as fault:
                raise _not_run(fault) from None
            finally:
                os.close(writing)
            try:
                async with asyncio.timeout(COMMAND_DEADLINE_S):
                    data, status = await _read_all(printed), await process.wait()
            except BaseException as fault:
                with suppress(ProcessLookupError):  # it, and whatever it started
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                if isinstance(fault, TimeoutError):
                    detail = f"did not end within {COMMAND_DEADLINE_S:.0f} s"
                    raise Rejected(Code.CONFIG_INVALID, detail) from None
                if isinstance(fault, OSError):
                    raise _not_run(fault) from None
                raise
        if status != 0:
            raise Rejected(Code.CONFIG_INVALID, f"ended with status {status}")
        return _read(data, "printed what is no secret: it")


def _not_run(fault: OSError) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, f"cannot be run: {fault.strerror or type(fault).__name__}")


async def _read_all(pipe: FileIO) -> bytes:
    """All that is printed. Raises Rejected(CONFIG_INVALID): more than any secret."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    try:
        printed = bytearray()
        while more := await reader.read(_MOST_BYTES):
            printed += more
            if len(printed) > _MOST_BYTES:
                detail = f"printed more than a secret may have, {MOST_CHARS} characters"
                raise Rejected(Code.CONFIG_INVALID, detail)
        return bytes(printed)
    finally:
        transport.close()


def _read(data: bytes, what: str) -> str:
    try:
        return read_secret(data)
    except ValueError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{what} {fault}") from None


class SecretSources:
    """The secrets of one worker, by name: `proxy.ports.Secrets`."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._told: dict[str, str] = {}

    def current(self, name: str) -> str:
        source = self._sources.get(name)
        try:
            if source is None:
                detail = (
                    "proxy.yaml had none of that name when this proxy started; add it under secrets, and start again"
                )
                raise Rejected(Code.CONFIG_INVALID, detail)
            value = source.current()
        except Rejected as fault:
            if self._told.get(name) != fault.detail:
                logger.error("secret %s: %s", name, fault.detail)
            self._told[name] = fault.detail
            raise Unavailable(Code.CREDENTIAL_DOWN, "the proxy cannot read the credential for this call") from None
        if self._told.pop(name, None) is not None:
            logger.warning("secret %s can be read again", name)
        return value

    def refused(self, name: str) -> None:
        source = self._sources.get(name)
        if source is not None:
            source.refused()

    async def follow(self) -> None:
        """Keep them fresh, for the life of the worker."""
        await asyncio.gather(*(source.follow() for source in self._sources.values()))
        await asyncio.Event().wait()
