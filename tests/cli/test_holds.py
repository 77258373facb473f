"""`holds`, and what stops agents and mandates, on a real Valkey."""

import json
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import identities
import pytest
from clirun import cli, running
from filing import Filer
from offices import OUTSIDE, Office
from valkeys import Valkey

from proxy.agent.keyfile import load_key
from proxy.cli import where
from proxy.cli.exits import Exit
from proxy.core.holds import Event
from proxy.core.model import HoldState, Verdict
from proxy.core.release import read_release, state_release
from proxy.policy.bundle import load_bundle
from proxy.policy.settings import load_settings
from proxy.stores.embedded import EmbeddedStore
from proxy.stores.redis_holds import RedisHolds

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202ea\u200bb"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(appendfsync="no") as server:
        yield server


@pytest.fixture
def office(home: Path, valkey: Valkey) -> Office:
    valkey.flush()
    settings = home / "proxy.yaml"
    settings.write_text(settings.read_text() + f"\nredis_url: {valkey.url}\n")
    return Office(home=home, valkey=valkey)


# --- list and show ---------------------------------------------------------------------------------------------------


def test_what_waits_is_listed_with_what_it_asks_for(office: Office) -> None:
    assert cli("holds", "list").ok().err == "nothing is held\n"
    assert cli("holds", "list", "--json").ok().json == []
    first, second = office.file(), office.file(f"{OUTSIDE}/2")
    listed = cli("holds", "list", "--json").ok().json
    assert {(hold["id"], hold["asks"], hold["state"]) for hold in listed} == {
        (first.id, f"GET {OUTSIDE}", "held"),
        (second.id, f"GET {OUTSIDE}/2", "held"),
    }
    assert f"GET {OUTSIDE}/2" in cli("holds", "list").ok().out
    assert cli("holds", "list", "--agent", "other", "--json").ok().json == []
    assert len(cli("holds", "list", "--sponsor", "ada", "--limit", "1", "--json").ok().json) == 1


def test_those_that_are_over_are_listed_on_request(office: Office) -> None:
    hold = office.file()
    cli("holds", "deny", hold.id, "--as", "ada", "--reason", "no").ok()
    assert cli("holds", "list", "--json").ok().json == []
    (listed,) = cli("holds", "list", "--all", "--json").ok().json
    assert (listed["state"], listed["decided_by"], listed["reason"]) == ("denied", "ada", "no")
    ran = cli("holds", "show", hold.id).ok()
    assert "denied by ada" in ran.out and "was deleted" in ran.err
    assert cli("holds", "show", hold.id, "--json").ok().json["call"] is None


def test_a_hold_is_shown_whole_with_its_secrets_masked(office: Office, tmp_path: Path) -> None:
    body = b'{"amount": 1}\nline two'
    hold = office.file(f"{OUTSIDE}?token=t0p&page=2", method="POST", body=body)
    ran = cli("holds", "show", hold.id, "--save-body", tmp_path / "body").ok()
    for line in (
        f"Hold {hold.id}",
        "may release  ada",
        "later also   ben from ",
        "robot wants to POST /v1/salaries on erp.example; ",
        "It changes things; a release cannot be taken back.",
        "Held: POST https://erp.example/v1/salaries with a query (mandate.not_covered)",
        "declares  task T-1",
        "X-Note: plain",
        '  | {"amount": 1}',
        "  | line two",
    ):
        assert line in ran.out, line
    assert "s3cret" not in ran.out and "t0p" not in ran.out and "token=keyed:" in ran.out
    assert (tmp_path / "body").read_bytes() == body
    assert stat.S_IMODE((tmp_path / "body").stat().st_mode) == 0o600
    shown = cli("holds", "show", hold.id, "--json").ok().json
    assert (shown["call"]["method"], shown["call"]["body_bytes"], shown["deciders"]) == ("POST", 22, ["ada"])
    assert shown["consequence"] in ran.out
    assert "s3cret" not in json.dumps(shown)


def test_a_credential_in_path_or_body_is_hidden_and_no_body_says_so_in_its_place(office: Office) -> None:
    bot = "bot123456:AAHs3cret"
    false = "  … and 5 more characters in the line above"
    body = b'{"password": "s3cret", "note": "(hidden, 6 characters)"}'
    hold = office.file(f"https://erp.example/{bot}/sendMessage", method="POST", body=body)
    other = office.file(method="POST", body=f"{'x' * 2_100}\n{false}".encode(), task="T-2")
    said = cli("holds", "show", hold.id).ok().out + cli("holds", "list").ok().out
    assert "s3cret" not in said and "(hidden, 19 characters)/sendMessage" in said.replace("\n", "")
    assert '  |   "password": (hidden, 6 characters),\n  |   "note": "(hidden, 6 characters)"' in said
    lines = cli("holds", "show", other.id).ok().out.splitlines()
    assert [line for line in lines if line.startswith("  … and")] == [
        "  … and 100 more characters in the line above; --save-body FILE writes all"
    ]
    assert f"  | {false}" in lines


def test_nothing_of_a_hostile_call_reaches_the_terminal_raw(office: Office) -> None:
    hold = office.file(method="POST", body=f"[red]{HOSTILE}[/red]\n{HOSTILE}".encode(), task="[bold]T")
    for words in (("show", hold.id), ("show", hold.id, "--json"), ("list",), ("list", "--json")):
        ran = cli("holds", *words).ok()
        text = (ran.out + ran.err).replace("\n", "")
        assert text.isprintable(), words
    shown = cli("holds", "show", hold.id).ok().out
    assert "  | [red]\\x1b]0;owned\\x07\\x1b[2J\\u202ea\\u200bb[/red]" in shown
    assert "task [bold]T" in shown


def test_a_body_that_is_no_text_or_very_long_is_cut(office: Office) -> None:
    binary = office.file(f"{OUTSIDE}/1", method="POST", body=b"\xff\xfe")
    assert "not text; --save-body FILE" in cli("holds", "show", binary.id).ok().out
    long = office.file(f"{OUTSIDE}/2", method="POST", body=b"x" * 3000 + b"\n" * 300)
    shown = cli("holds", "show", long.id).ok().out
    assert "… and 1000 more characters" in shown and "more lines; --save-body FILE writes all" in shown


def test_a_hold_changed_in_the_store_is_named_and_never_released(office: Office) -> None:
    hold, twin = office.file(f"{OUTSIDE}/1"), office.file(f"{OUTSIDE}/2")
    with office.valkey.client() as client:
        client.hset(f"{{ip:0}}:hold:{hold.id}", "who", '["ada", "eve"]')
    for words in (("show", hold.id), ("release", hold.id, "--as", "ada")):
        ran = cli("holds", *words)
        assert (ran.code, "not as it was filed" in ran.err) == (Exit.REFUSED, True)
    listed = {each["id"]: each["asks"] for each in cli("holds", "list", "--json").ok().json}
    assert listed[hold.id].startswith("hold.tampered") and listed[twin.id] == f"GET {OUTSIDE}/2"
    assert office.hold(hold.id).state is HoldState.HELD
    cli("holds", "release", twin.id, "--as", "ada").ok()


# --- release and deny ------------------------------------------------------------------------------------------------


def test_a_release_is_signed_and_said_in_words(office: Office) -> None:
    hold = office.file()
    ran = cli("holds", "release", hold.id, "--as", "ada", "--reason", "month-end").ok()
    assert ran.out.startswith("released by ada\n  robot wants to GET /v1/salaries on erp.example; ")
    assert "It passes once, until " in ran.out
    now = office.hold(hold.id)
    assert (now.state, now.decided_by, now.reason) == (HoldState.APPROVED, "ada", "month-end")
    bundle = load_bundle(load_settings(office.home / "proxy.yaml"), dev=False, floor=0)
    assert now.statement is not None
    said = read_release(now.statement, hold=now, bundle=bundle, barred=frozenset(), now=datetime.now(UTC))
    assert said.by == "ada"


def test_it_is_shown_with_what_a_release_was_signed(office: Office) -> None:
    hold, now = office.file(), datetime.now(UTC)
    path = office.home / "state" / "desk.key"
    at_terminal = cli("holds", "release", hold.id, "--key", path)
    assert (at_terminal.code, "signs at the desk alone" in at_terminal.err) == (Exit.REFUSED, True)
    statement = state_release(
        hold=hold,
        verdict=Verdict.ALLOW,
        by="ada",
        reason="month-end",
        deployment="mine",
        key=load_key(path),
        now=now,
        not_after=now + timedelta(minutes=5),
        nonce=identities.nonce("desk"),
    )
    office.use(lambda _, holds: holds.apply(hold.id, Event.APPROVE, statement=statement, by="ada", reason="month-end"))
    assert "approved by ada, as the desk's key alone says" in cli("holds", "show", hold.id).ok().out
    shown = cli("holds", "show", hold.id, "--json").ok().json["hold"]
    assert (shown["decided_by"], shown["signed_with"]) == ("ada", "desk")


@pytest.mark.parametrize("verb", ["release", "deny"])
def test_a_hold_decided_before_is_exit_3_and_says_by_whom(office: Office, verb: str) -> None:
    hold = office.file()
    cli("holds", "release", hold.id, "--as", "ada").ok()
    ran = cli("holds", verb, hold.id, "--as", "ben", "--reason", "x")
    assert (ran.code, "decided by ada at " in ran.err) == (Exit.DECIDED, True)
    ran = cli("holds", verb, hold.id, "--as", "ada", "--reason", "x", "--json")
    assert (ran.code, ran.json["result"], ran.json["hold"]["decided_by"]) == (Exit.DECIDED, "already decided", "ada")


def test_who_may_not_is_exit_4(office: Office, tmp_path: Path) -> None:
    cli("keys", "new", office.home / "keys" / "eve.pem").ok()
    add = ("people", "add", "eve", "--name", "Eve", "--role", "R", "--key", office.home / "keys" / "eve.pem")
    cli(*add).ok()
    cli("bundle", "sign").ok()
    hold = office.file()
    for name, said in (("eve", "eve may not decide"), ("operator", "an operator decides no holds; ada may")):
        ran = cli("holds", "release", hold.id, "--as", name)
        assert (ran.code, said in ran.err) == (Exit.NOT_PERMITTED, True)
    ran = cli("holds", "release", hold.id, "--key", office.home / "keys" / "robot.pem")
    assert (ran.code, "enrolled for nobody here" in ran.err) == (Exit.REFUSED, True)
    assert office.hold(hold.id).state is HoldState.HELD
    cli("holds", "release", hold.id, "--as", "ada").ok()


def test_an_unknown_hold_is_exit_5_and_an_expired_one_exit_6(office: Office) -> None:
    assert cli("holds", "release", "nothing", "--as", "ada").code == Exit.UNKNOWN
    assert cli("holds", "show", "nothing").code == Exit.UNKNOWN
    assert cli("holds", "show", "n\udce4chste").code == Exit.UNKNOWN, "bytes that are no text"
    hold = office.file()
    with office.valkey.client() as client:
        client.hset(f"{{ip:0}}:hold:{hold.id}", "expires_at", "1")
    ran = cli("holds", "release", hold.id, "--as", "ada")
    assert (ran.code, "expired at" in ran.err) == (Exit.EXPIRED, True)


def test_the_one_key_that_fits_is_used_and_several_must_be_told_apart(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, second, third = office.file(f"{OUTSIDE}/1"), office.file(f"{OUTSIDE}/2"), office.file(f"{OUTSIDE}/3")
    ran = cli("holds", "deny", hold.id, "--reason", "no")
    assert (ran.code, "ada or ben could sign (ada.pem, ben.pem); say which with --as PERSON" in ran.err) == (1, True)
    ran = cli("holds", "release", hold.id, "--as", "ada", "--key", office.home / "keys" / "ben.pem")
    assert (ran.code, "is that of ben, not of ada" in ran.err) == (1, True)
    monkeypatch.setenv("INTENT_PROXY_AS", "ben")
    assert cli("holds", "deny", hold.id, "--reason", "no").ok().out.startswith("denied by ben")
    monkeypatch.delenv("INTENT_PROXY_AS")
    cli("holds", "release", second.id, "--key", office.home / "keys" / "ada.pem").ok()
    assert cli("holds", "release", third.id).ok().out.startswith("released by ada"), "it is nobody else's turn"


def test_a_denial_needs_a_reason_that_can_be_read(office: Office) -> None:
    hold = office.file()
    assert cli("holds", "deny", hold.id, "--as", "ada").code == Exit.CANNOT_TELL
    for reason, said in ((" ", "needs a reason"), ("a\nb", "on one line")):
        ran = cli("holds", "deny", hold.id, "--as", "ada", "--reason", reason)
        assert (ran.code, said in ran.err) == (Exit.REFUSED, True)
    assert office.hold(hold.id).state is HoldState.HELD
    cli("holds", "deny", hold.id, "--as", "ada", "--reason", "not your task").ok()
    assert office.hold(hold.id).reason == "not your task"


def test_without_the_deployments_secret_nothing_is_opened_or_made(office: Office) -> None:
    (office.home / "state" / "secret.key").unlink()
    ran = cli("holds", "list")
    assert (ran.code, "run this on the proxy's machine" in ran.err) == (Exit.REFUSED, True)
    assert not (office.home / "state" / "secret.key").exists()


def test_a_store_that_is_away_is_exit_7(office: Office) -> None:
    settings = office.home / "proxy.yaml"
    settings.write_text(settings.read_text().replace(office.valkey.url, "unix:///nowhere/at/all"))
    ran = cli("holds", "list", "--json")
    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.UNAVAILABLE, "service.store")


# --- watch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_watching_shows_what_waits_then_what_happens_and_ends_quietly(office: Office, end: signal.Signals) -> None:
    first = office.file()
    with running("holds", "watch", "--json", errors=subprocess.STDOUT) as (process, line):
        assert process.stdout is not None
        assert (json.loads(line)["id"], json.loads(line)["asks"]) == (first.id, f"GET {OUTSIDE}")
        second = office.file(f"{OUTSIDE}/2")
        assert json.loads(process.stdout.readline())["id"] == second.id
        cli("holds", "release", first.id, "--as", "ada").ok()
        said = json.loads(process.stdout.readline())
        assert (said["id"], said["state"], said["decided_by"]) == (first.id, "approved", "ada")
        process.send_signal(end)
        rest, _ = process.communicate(timeout=20)
        assert process.returncode == Exit.INTERRUPTED
        assert "Traceback" not in rest


# --- the embedded store ----------------------------------------------------------------------------------------------


def test_an_embedded_store_that_nobody_uses_is_started_and_stopped_again(home: Path) -> None:
    assert cli("holds", "list", "--json").ok().json == []
    lock = home / "state" / "valkey" / "lock"
    assert lock.exists()
    store = EmbeddedStore(home / "state")
    assert not store.alive()
    store.start()
    try:
        assert cli("holds", "list", "--json").ok().json == []
        assert store.alive()
    finally:
        store.stop()


# --- quarantine, restore, revoke -------------------------------------------------------------------------------------


def test_an_agent_is_quarantined_and_restored_by_who_may(office: Office) -> None:
    said = cli("agents", "quarantine", "robot", "--reason", "odd", "--as", "ben", "--json").ok().json
    assert (said["act"], said["target"], said["by"], said["reason"]) == ("quarantine", "robot", "ben", "odd")
    assert office.control().quarantined("robot")
    assert [agent["state"] for agent in cli("agents", "list", "--json").ok().json] == ["quarantined"]
    assert cli("explain", "GET", "https://erp.example/v1/invoices/1", "--agent", "robot").code == Exit.WOULD_DENY
    ran = cli("agents", "restore", "robot", "--reason", "fine", "--as", "ben")
    assert (ran.code, "only an operator or the agent's sponsor may" in ran.err) == (Exit.REFUSED, True)
    assert office.control().quarantined("robot")
    cli("agents", "restore", "robot", "--reason", "fine", "--as", "ada").ok()
    assert not office.control().quarantined("robot")
    assert cli("explain", "GET", "https://erp.example/v1/invoices/1", "--agent", "robot").code == Exit.OK


def test_the_kill_switch_stops_everybody(office: Office) -> None:
    cli("agents", "quarantine", "--all", "--reason", "incident", "--as", "ada").ok()
    assert office.control().killed
    assert "kill switch is on" in cli("agents", "list").ok().err
    assert [agent["state"] for agent in cli("agents", "list", "--json").ok().json] == ["stopped"]
    assert cli("agents", "restore", "--all", "--reason", "over", "--as", "ada").code == Exit.REFUSED
    cli("agents", "restore", "--all", "--reason", "over", "--as", "operator").ok()
    assert not office.control().killed


@pytest.mark.parametrize("off_s", [-3600, -3, 3, 3600], ids=["an hour slow", "slow", "fast", "an hour fast"])
def test_a_stop_counts_at_once_whatever_this_machines_clock_says(
    office: Office, off_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After somebody else let it go on a moment ago: a slow clock's word would be overruled, a fast one's ignored."""
    for words in (("agents", "restore", "robot"), ("kill", "off")):
        cli(*words, "--reason", "fine", "--as", "operator").ok()
    monkeypatch.setattr("proxy.cli.store.now", lambda: datetime.now(UTC) + timedelta(seconds=off_s))
    cli("agents", "quarantine", "robot", "--reason", "odd", "--as", "ben").ok()
    cli("kill", "on", "--reason", "odd", "--as", "ben").ok()
    assert (office.control().quarantined("robot"), office.control().killed) == (True, True)
    cli("agents", "restore", "robot", "--reason", "fine", "--as", "ada").ok()
    cli("kill", "off", "--reason", "fine", "--as", "operator").ok()
    assert (office.control().quarantined("robot"), office.control().killed) == (False, False)


@pytest.mark.parametrize(
    ("file", "edit", "by"),
    [
        pytest.param("clusters.yaml", "\n# not signed yet\n", "ben", id="rules that nobody has signed yet"),
        pytest.param("clusters.yaml", "\n  - id: [", "operator", id="rules that cannot be read"),
        pytest.param("people.yaml", "\n  - id: [", "operator", id="people who cannot be read"),
    ],
)
def test_a_stop_does_not_wait_for_anybody_to_mend_a_file(office: Office, file: str, edit: str, by: str) -> None:
    rules = office.home / file
    before = rules.read_text()
    rules.write_text(before + edit)
    for words in (("agents", "quarantine", "robot"), ("kill", "on")):
        assert "not as an operator signed it" in cli(*words, "--reason", "odd", "--as", by).ok().err
    for words in (("agents", "restore", "robot"), ("kill", "off")):
        assert cli(*words, "--reason", "fine", "--as", "operator").code == Exit.REFUSED, "what lets go on does wait"
    rules.write_text(before)
    assert (office.control().quarantined("robot"), office.control().killed) == (True, True)


def test_nobody_is_told_that_an_agent_may_go_on_that_may_not(office: Office) -> None:
    cli("agents", "quarantine", "robot", "--reason", "odd", "--as", "operator").ok()
    ran = cli("agents", "restore", "robot", "--reason", "fine", "--as", "ada")
    assert (ran.code, "operator stopped it: only an operator lets it go on" in ran.err) == (Exit.REFUSED, True)
    assert office.control().quarantined("robot")
    assert cli("kill", "on", "--reason", "odd", "--as", "ben", "--json").ok().json["stopped"] == ["*", "robot"]
    ran = cli("agents", "restore", "robot", "--reason", "fine", "--as", "operator").ok()
    assert "the kill switch is still on" in ran.err
    cli("agents", "quarantine", "robot", "--reason", "odd", "--as", "ben").ok()
    assert "still quarantined: robot" in cli("kill", "off", "--reason", "over", "--as", "operator").ok().err
    ran = cli("agents", "restore", "robot", "--reason", "fine", "--as", "ada").ok()
    assert (ran.err, "robot may go on, by ada" in ran.out) == ("", True)


def test_a_release_from_before_a_stop_is_shown_as_taken_back(office: Office) -> None:
    hold = office.file()
    cli("holds", "release", hold.id, "--as", "ada").ok()
    cli("agents", "quarantine", "robot", "--reason", "odd", "--as", "ben").ok()

    stop = office.control_token()

    async def recall(_: Filer, holds: RedisHolds) -> None:
        assert (await holds.apply(hold.id, Event.RECALL, said=stop)).applied

    office.use(recall)
    shown = cli("holds", "show", hold.id).ok().out
    assert "ben, recall: odd" in shown
    assert "state        held\n" in shown, "without when it was released"
    ran = cli("holds", "release", hold.id, "--as", "ada")
    assert (ran.code, "is quarantined" in ran.err) == (Exit.NOT_PERMITTED, True)


@pytest.mark.parametrize("words", [(), ("robot", "--all")], ids=["nobody", "both"])
def test_one_agent_or_all_must_be_named(office: Office, words: tuple[str, ...]) -> None:
    assert cli("agents", "quarantine", *words, "--reason", "x", "--as", "ada").code == Exit.CANNOT_TELL
    ran = cli("agents", "quarantine", "robto", "--reason", "x", "--as", "ada")
    assert (ran.code, 'did you mean "robot"?' in ran.err) == (Exit.REFUSED, True)


@pytest.mark.parametrize("by", ["file", "key", "root"])
def test_a_manifest_is_revoked_by_file_by_key_or_by_root(office: Office, by: str) -> None:
    manifest = office.home / "manifests" / "robot.jws"
    (shown,) = cli("manifest", "show", manifest, "--json").ok().json
    target = {"file": (manifest,), "key": ("--acting-key", shown["acting_key"]), "root": ("--root", shown["id"])}[by]
    cli("manifest", "verify", manifest).ok()
    cli("manifest", "revoke", *target, "--reason", "done", "--as", "ada").ok()
    view = office.control()
    found = {
        "file": ("ada", shown["jti"]) in view.revoked_manifests,
        "key": shown["acting_key"] in view.revoked_keys,
        "root": shown["id"] in view.revoked_roots,
    }
    assert found == {name: name == by for name in found}
    ran = cli("manifest", "verify", manifest)
    assert (ran.code, "refused (manifest.revoked)" in ran.out) == (Exit.REFUSED, True)


def test_what_to_revoke_must_be_one_thing(office: Office) -> None:
    assert cli("manifest", "revoke", "--reason", "x").code == Exit.CANNOT_TELL
    assert cli("manifest", "revoke", "--root", "a", "--acting-key", "b", "--reason", "x").code == Exit.CANNOT_TELL


def test_a_withdrawn_call_cannot_be_decided(office: Office) -> None:
    hold = office.file()
    office.use(lambda _, holds: holds.apply(hold.id, Event.CANCEL))
    ran = cli("holds", "release", hold.id, "--as", "ada")
    assert (ran.code, "is cancelled" in ran.err) == (Exit.DECIDED, True)


def test_the_deployment_may_be_named_by_its_file(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(where.ENVIRONMENT)
    hold = office.file()
    (listed,) = cli("holds", "list", "-c", office.home / "proxy.yaml", "--json").ok().json
    assert listed["id"] == hold.id
    shutil.rmtree(office.home / "keys")
    ran = cli("--config", office.home, "holds", "release", hold.id)
    assert (ran.code, "has no key of somebody who may do this" in ran.err) == (Exit.REFUSED, True)
