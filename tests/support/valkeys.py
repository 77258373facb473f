"""A real Valkey for tests: private, on a unix socket, ended by its process id. Also Sentinels, and a cluster."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from proxy.stores.embedded import find_server


def free_port() -> int:
    """A TCP port of loopback that nobody has at this moment."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


class Valkey:
    """One server process and its files. Starts when entered; everything goes when left."""

    def __init__(self, *, program: str | None = None, flags: tuple[str, ...] = (), **settings: str) -> None:
        self.program = program or str(find_server())
        self.flags = flags
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
        words = [*self.prefix, self.program, *self.flags]
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

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens over TCP, if it does."""
        return "127.0.0.1", int(self.settings["port"])

    def follow(self, primary: "Valkey") -> None:
        """Become a replica of another one, and return when it has everything."""
        with self.client() as client:
            client.replicaof(*primary.address)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])  # then it confirms

    def keeper(self, key: str) -> Self:
        """The server that keeps this key, as a cluster has it."""
        return self

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


def on_tcp(**settings: str) -> Valkey:
    """A server that listens on loopback, too, and lets replicas come at once."""
    return Valkey(port=str(free_port()), bind="127.0.0.1", repl_diskless_sync_delay="0", **settings)


class Sentinel(Valkey):
    """A Sentinel that watches one primary, quick to judge it."""

    def __init__(self, primary: Valkey, *, quorum: int, service: str = "holds") -> None:
        super().__init__()
        port = free_port()
        self.settings = {"port": str(port)}
        host, watched = primary.address
        config = self.directory / "sentinel.conf"
        lines = (
            f"port {port}",
            "bind 127.0.0.1",
            f"unixsocket {self.directory}/s",
            f"dir {self.directory}",
            f"sentinel monitor {service} {host} {watched} {quorum}",
            f"sentinel down-after-milliseconds {service} 500",
            f"sentinel failover-timeout {service} 2000",
        )
        config.write_text("\n".join(lines) + "\n")
        self.flags = (str(config), "--sentinel")
        self.settings = {"port": str(port)}


class Cluster:
    """A cluster of primaries on loopback, with every slot kept by one of them. Starts when entered."""

    def __init__(self, size: int = 3, **settings: str) -> None:
        self.nodes = [self._node(**settings) for _ in range(size)]
        hosts = ",".join(f"127.0.0.1:{node.address[1]}" for node in self.nodes)
        self.url = f"redis+cluster://{hosts}"

    def _node(self, **settings: str) -> Valkey:
        return on_tcp(
            cluster_enabled="yes",
            cluster_port=str(free_port()),
            cluster_node_timeout="1000",
            cluster_require_full_coverage="no",
            **settings,
        )

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        share = 16384 // len(self.nodes)
        for number, node in enumerate(self.nodes):
            last = 16383 if number + 1 == len(self.nodes) else (number + 1) * share - 1
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                self.meet(node)
        wait_until(lambda: all(self.whole(node, len(self.nodes)) for node in self.nodes))
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        for node in self.nodes:
            node.__exit__(kind, fault, at)

    def meet(self, node: Valkey) -> None:
        """Make a node known to the first one, and so to all."""
        first = self.nodes[0]
        if node is not first:
            with node.client() as client:
                bus = int(first.settings["cluster-port"])
                client.execute_command("CLUSTER", "MEET", *first.address, bus)

    def replica(self, of: Valkey) -> Valkey:
        """One more node, a replica of this one; returned when it has everything."""
        node = self._node()
        self.nodes.append(node)
        node.start()
        self.meet(node)
        with of.client() as client:
            primary_id = client.execute_command("CLUSTER", "MYID")
        with node.client() as client:
            wait_until(lambda: primary_id in str(client.execute_command("CLUSTER", "NODES")))
            client.execute_command("CLUSTER", "REPLICATE", primary_id)
            wait_until(lambda: client.info("replication").get("master_link_status") == "up")
            wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        return node

    def whole(self, node: Valkey, size: int) -> bool:
        """Whether this node knows so many, and that every slot is kept."""
        with node.client() as client:
            lines = str(client.execute_command("CLUSTER", "INFO"))
        return "cluster_state:ok" in lines and f"cluster_known_nodes:{size}" in lines

    def keeper(self, key: str) -> Valkey:
        """The node that keeps this key now."""
        slot = key_slot(key.encode())
        with self.nodes[0].client() as client:
            ranges = client.execute_command("CLUSTER", "SLOTS")
        (port,) = [entry[2][1] for entry in ranges if entry[0] <= slot <= entry[1]]
        (node,) = [node for node in self.nodes if node.address[1] == port]
        return node

    def flush(self) -> None:
        for node in self.nodes:
            node.flush()


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Look again and again until it is so."""
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to be so"
        time.sleep(0.02)
