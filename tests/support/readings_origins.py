"""The real servers of the differential test, running, and what each of them parsed.

with running_servers(folder, authority) as servers: ...
readings = servers["nginx"].readings()           # once it has been stopped: in the order in which it wrote them
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import foreign
from certs import Authority

HOST = "diff.example"
PROGRAMS = Path(__file__).parents[1] / "differential" / "origins"

PYTHON = {
    "uvicorn": "asgi_origin.py",
    "gunicorn": "wsgi_origin.py",
    "aiohttp": "aiohttp_origin.py",
    "tornado": "tornado_origin.py",
}
NAMES = ("nginx", "node", *PYTHON)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One request as a server parsed it. `path` is decoded, its bytes as Latin-1; `target` and `headers` are not."""

    case: str
    method: str
    target: str
    path: str
    pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, tuple[str, ...]]
    body_sha256: str
    body_bytes: int


@dataclass(frozen=True, kw_only=True)
class Server:
    name: str
    ports: Mapping[str, int]  # by way in: "plain" and "tls"
    log: Path

    def readings(self) -> list[Reading]:
        if not self.log.exists():
            return []
        if self.name == "nginx":  # it writes bytes over 0x7f as they are
            return [
                _from_nginx(json.loads(line)) for line in self.log.read_bytes().decode("latin-1").split("\n") if line
            ]
        return [_reading(json.loads(line)) for line in self.log.read_bytes().decode("utf-8").split("\n") if line]


@contextmanager
def running_servers(folder: Path, authority: Authority) -> Iterator[Mapping[str, Server]]:
    """All of them, each on a plain and a TLS port of its own; skips where one is missing."""
    leaf = authority.server(HOST)
    cert, key = folder / "leaf.pem", folder / "leaf.key"
    cert.write_bytes(leaf.chain)
    key.write_bytes(leaf.key)
    with ExitStack() as stack:
        servers = {}
        for name in NAMES:
            ports = {"plain": foreign.free_port(), "tls": foreign.free_port()}
            server = Server(name=name, ports=ports, log=folder / f"{name}.log")
            command = _command(server, folder, cert, key)
            stack.enter_context(foreign.running(command, ports=list(ports.values()), log=folder / f"{name}.output"))
            servers[name] = server
        yield servers


def _command(server: Server, folder: Path, cert: Path, key: Path) -> Sequence[str | Path]:
    given = {"plain": server.ports["plain"], "tls": server.ports["tls"], "cert": cert, "key": key, "log": server.log}
    if server.name == "nginx":
        written = folder / "nginx.conf"
        written.write_text((PROGRAMS / "nginx.conf").read_text("ascii").format(folder=folder, **given))
        return [foreign.program("nginx"), "-e", folder / "nginx.error.log", "-p", folder, "-c", written]
    options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    if server.name == "node":
        return [foreign.program("node"), PROGRAMS / "node_origin.mjs", *options]
    return [foreign.clients_python(), PROGRAMS / PYTHON[server.name], *options]


def _reading(line: Mapping[str, object]) -> Reading:
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in line["headers"]:
        headers[name] = (*headers.get(name, ()), value)
    (case,) = headers.get("x-case", ("",))
    return Reading(
        case=case,
        method=line["method"],
        target=line["target"],
        path=line["path"],
        pairs=tuple((name, value) for name, value in line["pairs"]),
        headers=headers,
        body_sha256=line["body_sha256"],
        body_bytes=line["body_bytes"],
    )


def _from_nginx(line: Mapping[str, str]) -> Reading:
    body = line["body"].encode("latin-1")
    named = ("host", "content_type", "content_length", "transfer_encoding", "x_case")
    return Reading(
        case=line["x_case"],
        method=line["method"],
        target=line["target"],
        path=line["path"],
        pairs=tuple(parse_qsl(line["args"], keep_blank_values=True)),
        headers={name.replace("_", "-"): (line[name],) for name in named if line[name]},
        body_sha256=hashlib.sha256(body).hexdigest(),
        body_bytes=len(body),
    )
