"""`desk webhooks`, and docs/notify.md: every command and file it shows, against a real receiver with real TLS."""

import asyncio
import json
import re
import shlex
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import identities
import pytest
from certs import Authority
from clirun import cli
from filing import Filer
from hearing import verify
from origins import Origin, Reply
from valkeys import Valkey

from proxy.agent.keyfile import load_key
from proxy.cli.deployment import new_id
from proxy.cli.exits import Exit
from proxy.core.clusters import compile_policy
from proxy.edge.notifying import open_notifier
from proxy.policy.bundle import load_bundle
from proxy.policy.settings import load_settings
from proxy.policy.webhooks import About
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.vault import open_vault

PAGE = Path(__file__).parents[2] / "docs" / "notify.md"


@pytest.fixture
def receiver(home: Path) -> Iterator[Origin]:
    """A receiver that the deployment `home` trusts, where `desk.webhooks` is to be said."""
    authority = Authority()
    authority.write(home, "receiver-ca")
    with Origin(tls=authority.server("localhost")) as origin:
        origin.on("POST", "*", Reply(status=204))
        yield origin


def name(home: Path, receiver: Origin, *, more: str = "", url: str = "") -> None:
    """Write a receiver `ops` into proxy.yaml."""
    settings = home / "proxy.yaml"
    lines = settings.read_text().split("\ndesk:")[0].rstrip("\n").split("\nupstream_cas:")[0]
    where = url or f"https://localhost:{receiver.port}/hook"
    settings.write_text(
        f"{lines}\nupstream_cas: [receiver-ca.pem]\ndesk:\n  webhooks:\n"
        f"    - {{name: ops, url: '{where}', secret: {{file: ops.secret}}, addresses: [127.0.0.0/8]{more}}}\n"
    )


def secret(home: Path) -> str:
    if not (home / "ops.secret").exists():
        cli("desk", "webhooks", "secret", "-o", home / "ops.secret").ok()
    return (home / "ops.secret").read_text().strip()


def test_a_sample_is_sent_signed_and_what_came_back_is_said(home: Path, receiver: Origin) -> None:
    key = secret(home)
    name(home, receiver)
    assert cli("desk", "webhooks", "test", "ops").ok().out == "ops answered 204: taken\n"
    (request,) = receiver.requests
    assert verify(request, key)["type"] == "sample"
    assert cli("desk", "webhooks", "test", "ops", "--json").ok().json == {
        "receiver": "ops",
        "taken": True,
        "status": 204,
        "said": "",
    }


def test_a_refusal_is_said_with_what_it_said_made_harmless(home: Path, receiver: Origin) -> None:
    secret(home)
    name(home, receiver)
    receiver.on("POST", "*", Reply(status=401, body=b"who are you?\x1b[2J"))
    ran = cli("desk", "webhooks", "test", "ops")
    assert ran.code == Exit.REFUSED
    assert ran.out == "ops answered 401: not taken\n  who are you?\\x1b[2J\n"
    receiver.on("POST", "*", Reply(status=302, headers=(("Location", "/x"),)))
    assert "redirects are not followed" in cli("desk", "webhooks", "test", "ops").out
    assert len(receiver.requests) == 2


def test_a_receiver_that_may_not_or_cannot_be_reached_is_named(home: Path, receiver: Origin) -> None:
    secret(home)
    name(home, receiver, url="https://[::1]:1/x")
    ran = cli("desk", "webhooks", "test", "ops")
    assert ran.code == Exit.REFUSED and "must be public, or in a network that addresses names" in ran.err
    name(home, receiver, url="https://127.0.0.1:1/x")
    ran = cli("desk", "webhooks", "test", "ops")
    assert ran.code == Exit.UNAVAILABLE and "127.0.0.1:1 cannot be connected to" in ran.err
    (home / "ops.secret").chmod(0o644)
    name(home, receiver)
    assert cli("desk", "webhooks", "test", "ops").code != Exit.OK
    assert receiver.raw_bytes == b""
    (home / "ops.secret").chmod(0o600)
    cli("desk", "webhooks", "test", "ops").ok()


def test_an_unknown_receiver_is_refused_with_the_nearest(home: Path, receiver: Origin) -> None:
    assert "name one under desk.webhooks" in cli("desk", "webhooks", "test", "ops").err
    secret(home)
    name(home, receiver)
    assert 'did you mean "ops"?' in cli("desk", "webhooks", "test", "opps").err


def test_they_are_listed_without_what_may_be_secret(home: Path, receiver: Origin) -> None:
    assert cli("desk", "webhooks", "list").ok().err == "proxy.yaml names no receiver (desk.webhooks)\n"
    name(home, receiver, more=", events: [hold.filed]", url="https://hooks.example/s3cret-path")
    ran = cli("desk", "webhooks", "list").ok()
    assert "https://hooks.example " in ran.out and "hold.filed" in ran.out and "s3cret" not in ran.out
    (listed,) = cli("desk", "webhooks", "list", "--json").ok().json
    assert (listed["at"], listed["signed"], listed["events"]) == ("https://hooks.example", True, ["hold.filed"])


def test_a_new_secret_is_nobody_elses_to_read_and_replaces_none(home: Path) -> None:
    first = secret(home)
    assert stat.S_IMODE((home / "ops.secret").stat().st_mode) == 0o600
    assert cli("desk", "webhooks", "secret", "-o", home / "ops.secret").code == Exit.REFUSED
    assert secret(home) == first
    assert cli("desk", "webhooks", "secret").ok().out.startswith("whsec_")


async def test_a_deployments_receivers_are_told_by_what_its_desk_runs(home: Path, receiver: Origin) -> None:
    key = secret(home)
    with Valkey(appendfsync="no") as valkey:
        name(home, receiver)
        settings = load_settings(home / "proxy.yaml")
        bundle = load_bundle(settings, dev=False, floor=0)
        policy = compile_policy(bundle)
        server, vault = RedisServer(valkey.url), open_vault(settings.state / "secret.key")
        root, now = (home / "manifests" / "robot.jws").read_text().strip(), datetime.now(UTC)
        leaf = identities.child(root, signer=load_key(home / "keys" / "robot.pem"), now=now)
        filer = Filer(holds=RedisHolds(server), vault=vault, bundle=bundle, tokens=(root, leaf), now=now)
        notifier = await open_notifier(
            settings,
            server=server,
            vault=vault,
            policy=lambda: policy,
            clock=lambda: datetime.now(UTC),
            new_id=new_id,
            desk="https://desk.example",
            desk_listens=("127.0.0.1", 8090),
        )
        running = asyncio.ensure_future(notifier.run())
        with valkey.client() as client:
            while not client.hget("{ip:0}:mark:webhook:ops", "mark"):
                await asyncio.sleep(0)
        hold = await filer.file("https://erp.example/v1/salaries", cluster=None)
        await asyncio.to_thread(receiver.wait_for, lambda seen: len(seen.requests) == 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.close()
    message = verify(receiver.requests[0], key)
    assert message["data"]["link"] == f"https://desk.example/holds/{hold.id}"


# --- the page --------------------------------------------------------------------------------------------------------


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_the_page_is_right(home: Path, receiver: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    first, chat = blocks("yaml")
    commands = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]
    cli(*shlex.split(commands[0])[1:]).ok()
    there = f"https://localhost:{receiver.port}/intent\n      addresses: [127.0.0.0/8]"
    settings = home / "proxy.yaml"
    base = settings.read_text().rstrip("\n").split("\nupstream_cas:")[0] + "\nupstream_cas: [receiver-ca.pem]\n"
    settings.write_text(base + first.replace("https://hooks.example/intent", there))
    for command in commands[1:]:
        cli(*shlex.split(command)[1:]).ok()
    assert [request.path for request in receiver.requests] == ["/intent"]
    (home / "slack.url").write_text(f"https://localhost:{receiver.port}/services/T/B/x\n")
    (home / "slack.url").chmod(0o600)
    settings.write_text(base + chat.replace("format: slack", "format: slack\n      addresses: [127.0.0.0/8]"))
    cli("desk", "webhooks", "test", "-c", "mine", "approvals").ok()
    assert receiver.requests[-1].path == "/services/T/B/x"
    assert json.loads(receiver.requests[-1].body)["text"].startswith("This is a sample")


def test_the_page_names_every_event_and_every_key() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert set(rows) >= {about.value for about in About}
    assert {"name", "url", "url_from", "secret", "format", "events", "addresses", "over_http"} <= set(rows)
