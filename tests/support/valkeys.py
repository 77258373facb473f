"""A real Valkey for tests: private, on a unix socket, ended by its process id."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proxy.stores.embedded import find_server


class Valkey:
    """One server process and its files. Starts when entered; everything goes when left."""

    def __init__(self, **settings: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vk-"))
        self.settings = {
            "port": "0",
            "unixsocket": str(self.directory / "s"),
            "unixsocketperm": "600",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self.prefix: tuple[str, ...] = ()  # of the command that starts it
        self.url = f"unix://{self.directory}/s"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        assert self._process is not None, "this server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it answers."""
        words = [*self.prefix, str(find_server())]
        for name, value in self.settings.items():
            words += [f"--{name}", value]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline_s = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise AssertionError((self.directory / "log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """kill -9: nothing is written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """kill -9, then start on the same files."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """The process stops answering, its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A plain client: what an administrator, or an intruder, could do."""
        path = f"{self.directory}/s"
        with redis.Redis(unix_socket_path=path, decode_responses=True, retry=Retry(NoBackoff(), 0)) as client:
            yield client

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def age_epoch(self, seconds: int = 60) -> None:
        """Let the nonce store look `seconds` old, as on a server that has run for a while."""
        with self.client() as client:
            born_ms = int((time.time() - seconds) * 1000)
            run_id = client.info("server")["run_id"]
            client.hset("{ip:0}:epoch", mapping={"born_ms": born_ms, "run_id": run_id, "durable": "1"})

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
