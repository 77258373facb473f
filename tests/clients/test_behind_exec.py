"""Everyday programs, unmodified, behind `intent-proxy exec`: what their mandate covers they do, and of what is held
their user learns in the program's own words, and in the summary at the end.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import foreign
import pytest
from certs import Authority
from client_packages import serve_npm, serve_wheels
from client_town import COVERED, DENIED, OUTSIDE, ClientTown, Told, answered, client_town, seen_by
from houses import ROOT
from origins import Reply, Request

pytestmark = pytest.mark.system

PROGRAMS = Path(__file__).parent / "programs"
MORE = """\
  - id: packages
    description: Install the packages that were agreed on
    risk: routine
    hosts: [pypi.example]
    schemes: [https]
    ports: [{tls}]
    addresses: [127.0.0.0/8]
    operations:
      - name: look-up
        methods: [GET, HEAD]
        path: /simple/agreed/
      - name: download
        methods: [GET, HEAD]
        path: /files/{{file}}
      - name: npm
        methods: [GET, HEAD]
        path: /npm/agreed
      - name: npm-tarball
        methods: [GET, HEAD]
        path: /npm/agreed/-/{{file}}
      - name: clone
        methods: [GET]
        path: /git/agreed.git/{{path:rest}}
        query: any
      - name: smart-look
        methods: [GET]
        path: /smart/{{repository}}/info/refs
        query: any
      - name: smart-clone
        methods: [POST]
        path: /smart/agreed.git/git-upload-pack
  - id: shared-files
    description: Exchange files with the supplier
    risk: routine
    hosts: [dav.example]
    schemes: [https]
    ports: [{dav}]
    addresses: [127.0.0.0/8]
    operations:
      - name: shared
        methods: [GET, HEAD, PUT, PROPFIND, MKCOL]
        path: /shared/{{path:rest}}
  - id: news
    description: Listen to the news
    risk: routine
    hosts: [ws.example]
    schemes: [https]
    ports: [{ws}]
    addresses: [127.0.0.0/8]
    operations:
      - name: listen
        methods: [GET]
        path: /news/{{topic}}
        websocket: true
  - id: ledger
    description: Read the ledger
    risk: routine
    hosts: [grpc.example]
    schemes: [https]
    ports: [{grpc}]
    addresses: [127.0.0.0/8]
    http2: true
    operations:
      - name: read
        methods: [POST]
        path: /acme.Ledger/Read
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The deployment, and the ports of the origins that are programs."""

    town: ClientTown
    ports: dict[str, int]

    def run(self, *command: str | Path, signing: bool = True, given: dict[str, str] | None = None) -> Told:
        """Run a program behind `exec`, with nothing in its environment but what `exec` puts there."""
        town = self.town
        files = ["--manifest", town.manifest, "--key", town.key, "--proxy", town.proxy_url, "--task", "T-9"]
        options = [*files, *([] if signing else ["--no-sign-requests"])]
        exec_ = [sys.executable, "-m", "proxy.cli.main", "exec", *options, "--", *command]
        return town.run(exec_, given={"PYTHONPATH": str(ROOT), **(given or {})}, session=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, authority = tmp_path_factory.mktemp("exec"), Authority()
    ports = {name: foreign.free_port() for name in ("dav", "ws", "grpc")}
    files = folder / "files"
    for name in ("shared", "private"):
        (files / name / "in").mkdir(parents=True)
        (files / name / "in" / "letter.txt").write_text(f"from {name}\n")
    with ExitStack() as stack:
        for name, command in servers(folder, authority, ports).items():
            if command is not None:
                stack.enter_context(foreign.running(command, ports=[ports[name]], log=folder / f"{name}.log"))
        town = stack.enter_context(client_town(folder / "town", more=MORE, ports=ports, authority=authority))
        serve_wheels(town.tls, "agreed", "other")
        serve_npm(town.tls, "pypi.example", "agreed", "other")
        serve_git(town, folder / "repositories", "agreed", "other")
        serve_smart_git(town, folder / "repositories")
        yield Place(town=town, ports=ports)


def servers(folder: Path, authority: Authority, ports: dict[str, int]) -> dict[str, list[str | Path] | None]:
    """The commands of the origins that are programs; None where the program is missing."""
    found: dict[str, list[str | Path] | None] = {}
    pems = {}
    for name in ports:
        leaf = authority.server(f"{name}.example")
        pems[name] = [folder / f"{name}.pem", folder / f"{name}.key"]
        pems[name][0].write_bytes(leaf.chain)
        pems[name][1].write_bytes(leaf.key)
    python = [foreign.clients_python()]
    found["ws"] = [*python, PROGRAMS / "websocket_server.py", str(ports["ws"]), *pems["ws"], folder / "ws.jsonl"]
    seen = [folder / "grpc.jsonl", folder / "go"]
    found["grpc"] = [*python, PROGRAMS / "grpc_server.py", str(ports["grpc"]), *pems["grpc"], *seen]
    try:
        rclone = foreign.program("rclone")
    except pytest.skip.Exception:
        found["dav"] = None
        return found
    how = ["--config", folder / "rclone.conf", "--addr", f"127.0.0.1:{ports['dav']}"]
    pem = ["--cert", pems["dav"][0], "--key", pems["dav"][1]]
    found["dav"] = [rclone, "serve", "webdav", folder / "files", *how, *pem]
    return found


def serve_git(town: ClientTown, folder: Path, *names: str) -> None:
    """Be a git server of the plain kind, which needs nothing but files."""
    git = foreign.program("git")
    who = ["-c", "user.name=Test", "-c", "user.email=test@example", "-c", "init.defaultBranch=main"]
    for name in names:
        work, bare = folder / name, folder / f"{name}.git"
        for command in (
            [git, *who, "init", "-q", work],
            [git, *who, "-C", work, "commit", "-q", "--allow-empty", "-m", "first"],
            [git, *who, "clone", "-q", "--bare", work, bare],
            [git, "-C", bare, "update-server-info"],
        ):
            subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=30)

        def file(request: Request, bare: Path = bare, prefix: str = f"/git/{name}.git/") -> Reply:
            path = bare / request.path.removeprefix(prefix)
            return Reply(body=path.read_bytes()) if path.is_file() else Reply(status=404)

        town.tls.on("GET", f"/git/{name}.git/*", file)


def serve_smart_git(town: ClientTown, folder: Path) -> None:
    """Be a git server of the usual kind, below /smart/: git's own program answers (git-http-backend)."""
    git = foreign.program("git")

    def backend(request: Request) -> Reply:
        path, _, query = request.target.removeprefix("/smart").partition("?")
        about = {
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.header("git-protocol") or "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.header("content-type") or "",
            "HTTP_CONTENT_ENCODING": request.header("content-encoding") or "",
        }
        done = subprocess.run(
            [git, "-c", "http.receivepack=true", "http-backend"],
            env=foreign.plain_environment() | about,
            input=request.body,
            capture_output=True,
            timeout=30,
            check=True,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return Reply(headers=(("Content-Type", fields["Content-Type"]),), body=body)

    town.tls.on("*", "/smart/*", backend)


def summary(told: Told) -> list[str]:
    """What `exec` said at the end."""
    return [line.removeprefix("intent-proxy: ") for line in told.err.splitlines() if line.startswith("intent-proxy: ")]


# --- clients that make a call after another ---------------------------------------------------------------------------

CLIENTS = ("curl", "wget", "urllib", "requests", "httpx", "aiohttp", "fetch", "undici")


def commands(client: str, urls: Sequence[str]) -> tuple[list[list[str | Path]], dict[str, str]]:
    """What to run, and what of its own it finds in its environment."""
    if client == "curl":
        return [[foreign.program("curl"), "-sS", "--fail-with-body", url] for url in urls], {}
    if client == "wget":
        wget = [foreign.program("wget"), "-O", "-", "--content-on-error", "--tries=1"]
        return [[*wget, url] for url in urls], {}
    if client in ("fetch", "undici"):
        given = {"MODULES": str(foreign.node_modules()), "NODE_NO_WARNINGS": "1"}
        return [[foreign.program("node"), PROGRAMS / "node_clients.mjs", client, *urls]], given
    return [[foreign.clients_python(), PROGRAMS / "python_clients.py", client, *urls]], {}


@pytest.mark.parametrize("signing", [True, False], ids=["each call signed", "each tunnel signed"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_passes_where_its_mandate_covers_it_and_is_told_where_not(
    place: Place, client: str, signing: bool
) -> None:
    town = place.town
    before, known, lines = (town.plain.mark(), town.tls.mark()), town.holds(), len(town.house.journal("decision"))
    outside = f"{OUTSIDE}/{client}-{signing}"
    to_run, given = commands(client, [town.url("tls", path) for path in (COVERED, outside, DENIED)])
    ran = [place.run(*command, signing=signing, given=given) for command in to_run]
    each = ran if len(ran) > 1 else [answered(line) for line in ran[0].out.splitlines()]
    passed, held, denied = each

    assert passed.exit_code == 0 and json.loads(passed.out)["target"] == COVERED, ran
    filed = town.wait_for_a_hold(known)
    assert held.exit_code != 0
    assert all(word in held.all for word in ("mandate.not_covered", filed.id, "a person has been asked")), held
    assert denied.exit_code != 0 and "policy.denied" in denied.all, denied
    assert [request.target for request in seen_by(town, before).requests] == [COVERED]
    proof = "request" if signing else "tunnel"
    assert {line["proof"] for line in town.house.journal("decision")[lines:]} == {proof}
    said = [line for told in ran for line in summary(told)]
    assert any(filed.id in line and f"http://intent.internal/holds/{filed.id}" in line for line in said), said
    if signing:
        assert sum(int(line.split()[0]) for line in said if " allowed, " in line) == 1


# --- programs with a protocol of their own ----------------------------------------------------------------------------

type Command = Callable[[Place, str, Path], list[str | Path]]


def git(place: Place, name: str, into: Path) -> list[str | Path]:
    return [
        foreign.program("git"),
        "clone",
        place.town.url("tls", f"/git/{name}.git", host="pypi.example"),
        into / name,
    ]


def smart_git(place: Place, name: str, into: Path) -> list[str | Path]:
    url = place.town.url("tls", f"/smart/{name}.git", host="pypi.example")
    return [foreign.program("git"), "clone", url, into / name]


def push(place: Place, name: str, into: Path) -> list[str | Path]:
    """Into `agreed`, which may be read only; as `agreed` it is read for comparison."""
    url = place.town.url("tls", "/smart/agreed.git", host="pypi.example")
    if name == "agreed":
        return smart_git(place, name, into)
    who = "git -c user.name=Test -c user.email=test@example -c init.defaultBranch=main"
    made = f"{who} init -q '{into}' && {who} -C '{into}' commit -q --allow-empty -m second"
    return ["sh", "-c", f"{made} && git -C '{into}' push {url} HEAD:refs/heads/second"]


def pip(place: Place, name: str, into: Path) -> list[str | Path]:
    index = place.town.url("tls", "/simple/", host="pypi.example")
    options = ["--no-cache-dir", "--disable-pip-version-check", "--no-deps", "--target", into]
    return [foreign.clients_python(), "-m", "pip", "install", *options, "--index-url", index, name]


def uv(place: Place, name: str, into: Path) -> list[str | Path]:
    index = place.town.url("tls", "/simple/", host="pypi.example")
    options = ["--no-config", "--no-cache", "--python", sys.executable, "--target", into]
    return [foreign.program("uv"), "pip", "install", *options, "--index-url", index, name]


def npm(place: Place, name: str, into: Path) -> list[str | Path]:
    registry = place.town.url("tls", "/npm/", host="pypi.example")
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=0", "--cache", into / "cache"]
    return [foreign.program("npm"), "install", "--prefix", into, *options, "--registry", registry, name]


def rclone(place: Place, name: str, into: Path) -> list[str | Path]:
    share = {"agreed": "/shared", "other": "/private"}[name]
    url = f"https://dav.example:{place.ports['dav']}{share}"
    options = ["--config", into / "rclone.conf", "--retries=1", "--low-level-retries=1"]
    remote = [":webdav:in", "--webdav-url", url, "--webdav-vendor", "other"]
    return [foreign.program("rclone"), "copy", *remote, into, *options]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """How to have one program fetch something, what it leaves behind, and what it shows of a held call."""

    command: Command
    leaves: str
    shows: tuple[str, ...]  # "ID" stands for the hold's
    looks: bool = False  # it asks what there is, which is covered, before it does what is not

    def __str__(self) -> str:
        return self.command.__name__


WHY = ("http://intent.internal/holds/ID", "a person has been asked")
TOOLS = (
    Tool(command=git, leaves="agreed/.git/HEAD", shows=("remote: mandate.not_covered", *WHY)),
    Tool(command=smart_git, leaves="agreed/.git/HEAD", shows=("remote error: mandate.not_covered", *WHY), looks=True),
    Tool(command=push, leaves="agreed/.git/HEAD", shows=("remote: mandate.not_covered", *WHY), looks=True),
    Tool(command=pip, leaves="agreed.py", shows=("WARNING: Skipping page", "mandate.not_covered", *WHY)),
    Tool(command=uv, leaves="agreed.py", shows=("Server message: ", "mandate.not_covered", *WHY)),
    Tool(command=npm, leaves="node_modules/agreed/index.js", shows=("mandate.not_covered ID",)),
    Tool(command=rclone, leaves="letter.txt", shows=("mandate.not_covered", *WHY)),
)


@pytest.mark.parametrize("tool", TOOLS, ids=str)
def test_a_program_fetches_what_was_agreed_and_is_told_of_what_was_not(
    place: Place, tool: Tool, tmp_path: Path
) -> None:
    town = place.town
    done = place.run(*tool.command(place, "agreed", tmp_path))
    assert done.exit_code == 0, done
    assert (tmp_path / tool.leaves).exists(), (done, list(tmp_path.iterdir()))

    before, known = (town.plain.mark(), town.tls.mark()), town.holds()
    told = place.run(*tool.command(place, "other", tmp_path / "elsewhere"))
    filed = town.wait_for_a_hold(known)
    assert told.exit_code != 0, told
    assert all(word.replace("ID", filed.id) in told.all for word in tool.shows), told
    assert any(line.startswith(f"held {filed.id}: ") for line in summary(told)), told
    seen = seen_by(town, before)
    assert {request.method for request in seen.requests} == {"GET"} if tool.looks else seen.nothing, seen


# --- conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signing", [True, False], ids=["each call signed", "each tunnel signed"])
@pytest.mark.parametrize("client", ["websockets", "aiohttp"])
def test_a_websocket_is_opened_where_covered_and_refused_in_words_where_not(
    place: Place, client: str, signing: bool
) -> None:
    def talk(path: str) -> dict[str, object]:
        url = f"wss://ws.example:{place.ports['ws']}{path}"
        told = place.run(foreign.clients_python(), PROGRAMS / "websocket_client.py", client, url, signing=signing)
        assert told.exit_code == 0, told
        return told.document

    assert talk("/news/invoices") == {"whole": True}
    known = place.town.holds()
    told = talk(f"/private/{client}-{signing}")
    filed = place.town.wait_for_a_hold(known)
    assert told["status"] == 403
    assert f"http://intent.internal/holds/{filed.id}" in str(told["words"]), told


@pytest.mark.parametrize("signing", [True, False], ids=["each call signed", "each tunnel signed"])
def test_grpc_passes_in_a_signed_tunnel(place: Place, signing: bool) -> None:
    """It speaks HTTP/2 alone, which the sidecar does not take apart."""
    known, lines = place.town.holds(), len(place.town.house.journal("decision"))
    target = f"grpc.example:{place.ports['grpc']}"
    method = f"Payroll{'Signed' if signing else ''}"
    command = [foreign.clients_python(), PROGRAMS / "grpc_client.py", target, "Read", method]
    told = place.run(*command, signing=signing)
    answer, passed, held = told.out.splitlines()
    assert answer.startswith("read ask") and json.loads(passed)["code"] == "OK", told
    filed = place.town.wait_for_a_hold(known)
    assert filed.id in json.loads(held)["details"]
    assert {line["proof"] for line in place.town.house.journal("decision")[lines:]} == {"tunnel"}
    assert any(line.startswith(f"held {filed.id}: ") for line in summary(told)), told
