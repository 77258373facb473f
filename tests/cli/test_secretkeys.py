"""`intent-proxy keys secret|rotate|rewrap|retire`, on files, on a real store, and beside nodes that run."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clirun import cli
from identities import basic
from towns import Town, open_town
from valkeys import Valkey

from proxy.cli import secretkeys
from proxy.cli.exits import Exit
from proxy.core.encoding import b64u
from proxy.core.model import Verdict
from proxy.edge.secret import VARIABLE
from proxy.ports import Holds
from proxy.stores.keyring import RingFile, Role, read_keyring
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.rewrap import in_use
from proxy.stores.vault import SecretVault, open_vault

DOCS = Path(__file__).parents[2] / "docs" / "keys.md"
OUTSIDE = "/v1/payments"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(appendfsync="no") as server:
        yield server


@pytest.fixture
def office(home: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment with a store that is there already."""
    valkey.flush()
    monkeypatch.delenv(VARIABLE, raising=False)
    settings = home / "proxy.yaml"
    settings.write_text(settings.read_text() + f"\nredis_url: {valkey.url}\n")
    return home


def roles() -> list[str]:
    return [key["role"] for key in cli("keys", "secret", "--json").ok().json]


# --- the file --------------------------------------------------------------------------------------------------------


def test_keys_are_added_and_retired_in_the_order_of_their_use(office: Path) -> None:
    first = cli("keys", "secret", "--json").ok().json[0]["key"]
    assert roles() == ["seal"]
    assert "0 held calls wrapped anew" in cli("keys", "rotate").ok().out
    assert roles() == ["open", "seal"]
    kept = cli("keys", "retire").ok()
    assert f"key {first} stays: it sealed until" in kept.err and "no key was retired" in kept.err
    assert f"key {first} is gone" in cli("keys", "retire", "--now").ok().out
    assert roles() == ["seal"]
    assert cli("keys", "retire", "--now", "--json").ok().json == {"retired": [], "kept": []}
    assert (office / "state" / "secret.key").stat().st_mode & 0o777 == 0o600


def test_a_key_is_prepared_and_then_rotated_in(office: Path) -> None:
    made = cli("keys", "rotate", "--prepare", "--json").ok().json["prepared"]
    assert roles() == ["seal", "next"]
    assert cli("keys", "retire", "--now", "--json").ok().json["retired"] == []
    assert cli("keys", "rotate", "--json").ok().json["seals"] == made
    assert roles() == ["open", "seal"]
    assert "copy" in cli("keys", "rotate", "--prepare").ok().out


def test_a_key_that_ceased_to_seal_after_the_holds_were_counted_stays(
    office: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("keys", "rotate").ok()
    counted = secretkeys.in_use

    async def count(holds: Holds, vault: SecretVault) -> Mapping[bytes, int]:
        found = await counted(holds, vault)
        file = RingFile(office / "state" / "secret.key")  # a call is held, and then somebody rotates
        with file.changing() as ring:
            file.write(ring.rotated(bytes(32), now=datetime.now(UTC)))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(secretkeys, "in_use", count)
        assert len(cli("keys", "retire", "--now", "--json").ok().json["retired"]) == 1
    assert roles() == ["open", "seal"]


def test_a_secret_in_the_environment_is_used_and_changed_there(office: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = office / "state" / "secret.key"
    monkeypatch.setenv(VARIABLE, b64u(path.read_bytes()))
    path.unlink()
    assert roles() == ["seal"]
    ran = cli("keys", "rotate")
    assert (ran.code, "change it there" in ran.err) == (Exit.REFUSED, True)
    assert "wrapped anew" in cli("keys", "rewrap").ok().out
    monkeypatch.setenv(VARIABLE, "not a secret")
    assert cli("keys", "secret").code == Exit.REFUSED


def test_a_named_secret_must_be_there_and_is_changed_in_place(office: Path) -> None:
    settings, named = office / "proxy.yaml", office / "elsewhere.key"
    settings.write_text(settings.read_text() + "\nsecret_file: elsewhere.key\n")
    assert cli("keys", "secret").code == Exit.REFUSED
    assert not named.exists()
    (office / "state" / "secret.key").rename(named)
    cli("keys", "rotate").ok()
    assert [key.role for key in read_keyring(named.read_bytes(), where="").keys] == [Role.OPEN, Role.SEAL]
    link = office / "link.key"
    link.symlink_to(named)
    settings.write_text(settings.read_text().replace("elsewhere.key", "link.key"))
    ran = cli("keys", "rotate")
    assert (ran.code, "where it comes from" in ran.err) == (Exit.REFUSED, True)
    assert len(cli("keys", "secret", "--json").ok().json) == 2


def test_every_command_of_its_page_runs(office: Path) -> None:
    lines = re.findall(r"^\$ (intent-proxy .*?)(?:  +#.*)?$", DOCS.read_text(), re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        cli(*shlex.split(line)[1:]).ok()


# --- beside nodes that run -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("rotated")) as built:
        yield built


def hold(town: Town, chain: tuple[str, ...], number: int) -> str:
    answer = town.house.call("POST", town.url("plain", OUTSIDE), chain=chain, body=b"number=%d" % number)
    assert answer.status == 403, answer
    return str(json.loads(answer.body)["task"]["id"])


def redeem(town: Town, chain: tuple[str, ...], hold_id: str) -> int:
    return town.house.call("POST", f"http://intent.internal/holds/{hold_id}/redeem", chain=chain).status


def test_running_nodes_go_on_with_the_new_key_and_lose_nothing(town: Town) -> None:
    house, chain = town.house, town.house.chain()
    before = [hold(town, chain, number) for number in range(3)]
    opened = json.loads(house.call("POST", "http://intent.internal/session").body)
    house.decide(before[0], Verdict.ALLOW)

    rotated = cli("keys", "rotate", "-c", house.folder, "--json").ok().json

    assert (rotated["rewrapped"], rotated["unreadable"]) == (3, [])
    secret = house.settings.state / "secret.key"
    vault = open_vault(secret)
    after = [hold(town, chain, 1), hold(town, chain, 7)]  # an equal call finds its hold: hashes did not change
    assert after[0] == before[1] and after[1] not in before
    assert house.with_store(lambda server: in_use(RedisHolds(server), vault)) == {vault.rings.current().sealing.id: 4}
    proof = [("Proxy-Authorization", basic(opened["manifest"], opened["token"]))]
    assert house.send("GET", town.url("plain", "/v1/invoices/1"), proof).status == 200

    cli("keys", "retire", "-c", house.folder, "--now").ok()

    mark = town.plain.mark()
    house.decide(after[1], Verdict.ALLOW)
    assert [redeem(town, chain, hold_id) for hold_id in (before[0], after[1])] == [200, 200]
    assert [request.body for request in town.plain.since(mark).requests] == [b"number=0", b"number=7"]
    assert house.send("GET", town.url("plain", "/v1/invoices/1"), proof).status in (403, 407)


def test_a_key_that_an_open_hold_needs_stays_when_its_rewrapping_is_undone(town: Town) -> None:
    """Somebody who writes to the store puts an older sealing back: it is wrapped anew before its key may go."""
    house, chain = town.house, town.house.chain()
    hold_id = hold(town, chain, 9)
    old = house.with_store(lambda server: RedisHolds(server).sealed(hold_id))
    assert old is not None
    cli("keys", "rotate", "-c", house.folder).ok()
    house.with_store(lambda server: server.command("SET", f"{{ip:0}}:sealed:{hold_id}", old))
    cli("keys", "retire", "-c", house.folder, "--now").ok()
    house.decide(hold_id, Verdict.ALLOW)
    assert redeem(town, chain, hold_id) == 200
