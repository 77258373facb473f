"""No secret is anywhere but on the wire to its origin: one search, in all that is kept, shown, logged or told."""

import json
import os
import re
import resource
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import identities
import pytest
import rawclient
from clirun import cli, spawn
from houses import House
from keepers import CANARY, PLACEHOLDER, VALUES, Keeper, fresh, open_keeper, spellings
from nodes import wait_for, wait_for_state
from origin_replies import Reply

from proxy.agent.keyfile import save_key
from proxy.core.manifest import parse_manifest
from proxy.core.model import HoldState, Verdict
from proxy.edge.secret import secret_vault
from proxy.stores.redis_holds import RedisHolds

NEEDLES = tuple({spelt for value in VALUES.values() for spelt in (*spellings(value), CANARY.encode())})
PROGRAM = f"""
import os, sys, urllib.request as asked
print(dict(os.environ))
with asked.urlopen(asked.Request(sys.argv[1], headers={{"X-Api-Key": "{PLACEHOLDER}"}})) as answer:
    print(answer.status, answer.headers, answer.read())
"""
"""What an agent does that looks for it."""

FORMS = ("header", "query", "basic", "printed")


def found(name: str, data: bytes) -> list[str]:
    """Where the secret is, in any spelling."""
    return [f"{name}: …{data[max(0, data.find(each) - 60) :][:100]!r}" for each in NEEDLES if each in data]


def path() -> str:
    return f"/v1/invoices/{secrets.token_hex(6)}"


class Told:
    """Everything that agents and people were told."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.texts: list[tuple[str, bytes]] = []

    def ask(self, method: str, url: str, chain: Sequence[str], *, intent: str = "", **given: object) -> bytes:
        answer = self.keeper.house.call(method, url, chain=chain, intent=intent, **given)  # type: ignore[arg-type]
        self.texts.append((f"the answer to {method} {url}", answer.raw))
        return answer.body

    def command(self, *words: str) -> None:
        ran = cli(*words, "-c", str(self.keeper.house.settings.file))
        self.texts.append((f"intent-proxy {' '.join(words)}", (ran.out + ran.err).encode()))
        assert ran.out + ran.err, words


def held(told: Told, chain: Sequence[str], method: str, url: str, intent: str) -> str:
    own = [("Authorization", f"Bearer {PLACEHOLDER}")]
    body = told.ask(method, url, chain, intent=f'cluster="{intent}"', headers=own)
    return str(json.loads(body)["task"]["id"])


def opened(house: House, hold_id: str) -> bytes:
    """A hold's record, decrypted, with the store's own word about it."""
    vault = secret_vault(house.settings, make=False)
    sealed = house.with_store(lambda server: RedisHolds(server).sealed(hold_id))
    assert sealed is not None
    return vault.unseal(hold_id, sealed) + repr(house.hold(hold_id)).encode()


def kept_files(house: House) -> Iterator[tuple[str, bytes]]:
    """Every file of the deployment but those in which the secrets are."""
    for file in sorted(house.folder.rglob("*")):
        if file.is_file() and "secrets" not in file.relative_to(house.folder).parts[:-1]:
            yield str(file), file.read_bytes()


def workers_of(supervisor: int) -> list[int]:
    listed = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in listed if b"proxy.edge.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def crash(house: House) -> None:
    """End a worker as a fault in native code would, and wait until another serves in its place."""
    assert house.process is not None
    worker, *others = workers_of(house.process.pid)
    (core,) = re.findall(r"^Max core file size +(\S+ +\S+)", Path(f"/proc/{worker}/limits").read_text(), re.MULTILINE)
    assert core.split() == ["0", "0"], "its memory must not be left on a disk"
    os.kill(worker, signal.SIGSEGV)
    wait_for(lambda: any("ended with status" in line for line in house.output), "the crash is told")
    wait_for(lambda: len(set(workers_of(house.process.pid)) - {worker, *others}) == 1, "another comes")
    wait_for(lambda: house.call("GET", "http://intent.internal/health").status == 200, "somebody serves")


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        with open_keeper(tmp_path_factory.mktemp("shaken"), workers=2) as running:
            yield running
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)


@pytest.mark.system
def test_one_search_finds_no_secret(shaken: Keeper) -> None:
    house, told, chain = shaken.house, Told(shaken), shaken.house.chain()
    # Calls that pass, each echoed whole by its origin: in its head, its body, and a redirect.
    for way in ("plain", "tls"):
        told.ask("GET", shaken.url(path(), way=way), chain)
    for host in FORMS:
        shaken.plain.on(
            "GET", f"/{host}", lambda request: Reply(body=request.raw, headers=(("X", _line(request.raw)),))
        )
        told.ask("GET", shaken.url(f"/{host}?key={PLACEHOLDER}", host=host), chain)
        shaken.plain.on(
            "GET", f"/to/{host}", lambda request: Reply(status=302, headers=(("Location", request.target),))
        )
        told.ask("GET", shaken.url(f"/to/{host}", host=host), chain)
    # One after each rotation, at either worker.
    for value in (fresh("rotated"), VALUES["api-key"]):
        shaken.put("api-key", value)
        for target in (f"/{secrets.token_hex(4)}" for _ in range(12)):
            told.ask("GET", shaken.url(target, host="header"), chain)
            (request,) = [each for each in shaken.plain.requests if each.target == target]
            assert request.header("x-api-key") == value
    # Calls that do not.
    for host in ("lost", "both"):
        told.ask("GET", shaken.url(path(), host=host), chain)
    shaken.plain.on("GET", "/cut", Reply(body=VALUES["api-key"].encode() * 9, cut_after=150))
    with suppress(rawclient.Broken):
        told.ask("GET", shaken.url("/cut", host="header"), chain)
    shaken.plain.on(
        "GET", "/broken", Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + VALUES["api-key"].encode() + b"\x00\r\n\r\n")
    )
    told.ask("GET", shaken.url("/broken", host="header"), chain)
    # Held ones: decrypted while they wait, released by their agent, or delivered with the response kept.
    hold = held(told, chain, "DELETE", shaken.url(path()), "supplier-invoices")
    records = [("a held call", opened(house, hold))]
    assert PLACEHOLDER.encode() in records[0][1], "the placeholder at most, and that is there"
    for words in (("show", hold), ("show", hold, "--json"), ("list",), ("list", "--json")):
        told.command("holds", *words)
    house.decide(hold, Verdict.ALLOW)
    told.ask("POST", f"http://intent.internal/holds/{hold}/redeem", chain, body=b"")
    hold = held(told, chain, "POST", shaken.url(f"/v1/payments/{secrets.token_hex(6)}"), "payments")
    house.decide(hold, Verdict.ALLOW)
    wait_for_state(house, hold, HoldState.RELEASED)
    told.ask("GET", f"http://intent.internal/holds/{hold}/response", chain)
    vault = secret_vault(house.settings, make=False)
    kept = house.with_store(lambda server: RedisHolds(server).kept_response(hold))
    assert kept is not None
    records.append(("a kept response", vault.unseal(f"{hold}/response", kept)))
    for page in ("mandate", "holds", "health"):
        told.ask("GET", f"http://intent.internal/{page}", chain)
    # What an agent asks to be shown, and what people are.
    root = house.folder / "agent.jws"
    root.write_text(chain[0])
    agent = parse_manifest(chain[0]).sub
    for words in (
        ("explain", "GET", shaken.url(path()), "--agent", agent, "--manifest", str(root), "--proof", "session"),
        ("audit", "show"),
        ("audit", "show", "--json"),
        ("check",),
        ("check", "--json"),
    ):
        told.command(*words)
    # The environment of an agent's program, and all that it is answered.
    save_key(house.folder / "agent.pem", identities.key(identities.AGENT))
    here = f"http://127.0.0.1:{house.address[1]}"
    options = ("--proxy", here, "--manifest", root, "--key", house.folder / "agent.pem", "--ca", house.ca)
    ran = spawn("exec", *options, "--", sys.executable, "-c", PROGRAM, shaken.url("/header", host="header"))
    assert "HTTPS_PROXY" in ran.out
    assert "200 " in ran.out, ran.out + ran.err
    told.texts.append(("an agent's program", (ran.out + ran.err).encode()))
    # A worker that crashes with secrets in its memory.
    crash(house)
    told.ask("GET", shaken.url(path()), house.chain())

    seen = shaken.plain.raw_bytes + shaken.tls.raw_bytes
    assert {
        name for name, value in VALUES.items() if found(name, seen) and any(x in seen for x in spellings(value))
    } == (set(VALUES)), "the origins got every one of them: the search can find them"
    everywhere = [
        *told.texts,
        *records,
        ("the log, with the crashed worker's", "".join(house.output).encode()),
        *kept_files(house),
    ]
    assert len(everywhere) > 40
    assert [line for name, data in everywhere for line in found(name, data)] == []


def _line(raw: bytes) -> str:
    """What came, on one line."""
    return raw.decode("latin-1").replace("\r\n", " ").strip()
