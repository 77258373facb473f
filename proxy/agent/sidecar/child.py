"""A program run as if it had been started without us: its signals, its terminal and its exit code are its own.

It stays in our process group, so that the terminal's Ctrl-C and Ctrl-Z reach it by themselves and a pipeline stays one
job. What another process sends to us is passed on; what the terminal sent it has already.
"""

import asyncio
import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from proxy.core.errors import Code, Rejected

NOT_EXECUTABLE, NOT_FOUND, BY_SIGNAL = 126, 127, 128
"""Exit codes as shells give them (POSIX.1-2024, XCU 2.8.2)."""

_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_WAKE = signal.SIGURG  # ignored by default, and nobody here uses it


class NotRun(Exception):
    """The program could not be started; `exit_code` is what a shell would have given."""

    def __init__(self, exit_code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = exit_code
        self.why = why


async def run(command: Sequence[str], environment: Mapping[str, str], *, user: str | None = None) -> int:
    """Run a program to its end, and return its exit code: 128 + n if signal n ended it.

    `user` is whom it runs as, which only root can ask for.

    Raises:
        NotRun: there is no such program, or it cannot be run.
        Rejected(CONFIG_INVALID): there is no such user, or we may not become them.
    """
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int) -> None:
        if process is not None:
            process.send_signal(number)  # does nothing once it has ended

    with _signals(pass_on) as watched:
        process = _start(command, environment, user, watched)
        code = await asyncio.to_thread(process.wait)
    return code if code >= 0 else BY_SIGNAL - code


def _start(
    command: Sequence[str], environment: Mapping[str, str], user: str | None, blocked: frozenset[signal.Signals]
) -> "subprocess.Popen[bytes]":
    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)

    entry = _entry(user) if user is not None else None
    home = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name} if entry is not None else {}
    try:
        return subprocess.Popen(  # noqa: S603 (running what the caller names is what this is for)
            list(command),
            env={**environment, **home},
            preexec_fn=unblock,  # noqa: PLW1509 (it only changes the mask that we set ourselves)
            user=entry.pw_uid if entry else None,
            group=entry.pw_gid if entry else None,
            extra_groups=os.getgrouplist(entry.pw_name, entry.pw_gid) if entry else None,
        )
    except FileNotFoundError:
        raise NotRun(NOT_FOUND, "no such program") from None
    except PermissionError as fault:
        if user is not None and os.geteuid() != 0:
            raise Rejected(Code.CONFIG_INVALID, f"only root can run a program as {user}", field="user") from None
        raise NotRun(NOT_EXECUTABLE, fault.strerror or "not permitted") from None
    except OSError as fault:
        raise NotRun(NOT_EXECUTABLE, fault.strerror or str(fault)) from None


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Rejected(Code.CONFIG_INVALID, f"there is no user {user!r} on this machine", field="user") from None


@contextmanager
def _signals(pass_on: Callable[[int], None]) -> Iterator[frozenset[signal.Signals]]:
    """Pass on what other processes send to us. Signals that were ignored when we started stay so, as under nohup."""
    watched = frozenset(each for each in _PASSED_ON if signal.getsignal(each) is not signal.SIG_IGN)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*watched, _WAKE})
    loop = asyncio.get_running_loop()
    ending = threading.Event()

    def watch() -> None:
        while True:
            number, passes = _next({*watched, _WAKE})
            if ending.is_set():
                return
            if passes and number in watched:
                loop.call_soon_threadsafe(pass_on, number)

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield frozenset({*watched, _WAKE})
    finally:
        ending.set()
        signal.pthread_kill(watcher.ident or 0, _WAKE)
        watcher.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _next(signals: set[signal.Signals]) -> tuple[int, bool]:
    """The next signal, and whether a process sent it to us alone: a terminal's reach its whole process group."""
    if hasattr(signal, "sigwaitinfo"):
        received = signal.sigwaitinfo(signals)
        return received.si_signo, received.si_code <= 0
    number = signal.sigwait(signals)  # macOS does not say who sent it
    return number, not (number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground())


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
