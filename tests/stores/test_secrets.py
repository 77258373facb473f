"""The secrets that clusters name: read as they are now, or not at all."""

import asyncio
import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores import secrets
from proxy.stores.secrets import SecretCommand, SecretFile, SecretSources, SecretVariable

ONE, TWO = "first-secret", "second-secret"


def write(path: Path, value: str, mode: int = 0o600) -> Path:
    draft = path.with_suffix(".new")
    draft.write_text(f"{value}\n")
    draft.chmod(mode)
    draft.replace(path)
    return path


def refused(current: Callable[[], str]) -> str:
    with pytest.raises(Rejected) as why:
        current()
    assert why.value.code is Code.CONFIG_INVALID
    assert not [value for value in (ONE, TWO) if value in why.value.detail]
    return why.value.detail


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_counts_as_it_is_now(tmp_path: Path) -> None:
    source = SecretFile(write(tmp_path / "erp", ONE))
    assert (source.current(), source.current()) == (ONE, ONE)
    write(tmp_path / "erp", TWO)
    assert source.current() == TWO
    (tmp_path / "erp").unlink()
    assert "cannot be read: No such file or directory; put the secret there" in refused(source.current)
    write(tmp_path / "erp", ONE)
    assert source.current() == ONE


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        pytest.param(0o600, None, id="closed"),
        pytest.param(0o440, None, id="its group may read it"),
        pytest.param(0o644, "run: chmod 640 ", id="others may read it"),
        pytest.param(0o660, "run: chmod 640 ", id="its group may write it"),
    ],
)
def test_who_else_may_have_a_file(tmp_path: Path, mode: int, why: str | None) -> None:
    source = SecretFile(write(tmp_path / "erp", ONE, mode))
    if why is None:
        assert source.current() == ONE
    else:
        assert why in refused(source.current)


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        pytest.param(0o755, None, id="ours alone"),
        pytest.param(0o1777, None, id="everybody's, and nobody may replace what is another's"),
        pytest.param(0o777, "chmod o-w it", id="everybody's"),
    ],
)
def test_who_may_put_another_file_in_its_place(tmp_path: Path, mode: int, why: str | None) -> None:
    """Be it a link to another secret of ours, which would go to the wrong origin."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    source = SecretFile(write(folder / "erp", ONE))
    folder.chmod(mode)
    if why is None:
        assert source.current() == ONE
    else:
        assert f"everybody may write to {folder}: {why}" in refused(source.current)


def test_a_file_that_is_opened_to_others_counts_no_more(tmp_path: Path) -> None:
    source = SecretFile(write(tmp_path / "erp", ONE))
    assert source.current() == ONE
    (tmp_path / "erp").chmod(0o604)
    assert "got mode 0604" in refused(source.current)
    assert "got mode 0604" in refused(source.current), "nor the second time"
    (tmp_path / "erp").chmod(0o600)
    assert source.current() == ONE


@pytest.mark.parametrize("value", ["", "short", "two\nlines-of-it", "x" * 5000], ids=["none", "short", "lines", "long"])
def test_a_file_that_holds_no_secret(tmp_path: Path, value: str) -> None:
    assert "the secret in" in refused(SecretFile(write(tmp_path / "erp", value)).current)


def test_a_directory_or_a_pipe_is_no_secret(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "must be a file" in refused(SecretFile(tmp_path / "pipe").current)
    assert "must be a file" in refused(SecretFile(tmp_path).current)


# --- variables -------------------------------------------------------------------------------------------------------


def test_a_variable() -> None:
    assert SecretVariable("ERP", {"ERP": ONE}).current() == ONE
    assert "ERP is not set; set it where the proxy is started" in refused(SecretVariable("ERP", {}).current)
    assert "printable ASCII" in refused(SecretVariable("ERP", {"ERP": "passwörd-1"}).current)


# --- commands --------------------------------------------------------------------------------------------------------


def printing(code: str, **given: object) -> SecretCommand:
    options = {"every_s": 3600.0, "environment": {}} | given
    return SecretCommand((sys.executable, "-c", code), **options)  # type: ignore[arg-type]


async def followed(source: SecretCommand, until: Callable[[], bool]) -> None:
    """Run it until that holds."""
    following = asyncio.ensure_future(source.follow())
    try:
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def runs(pid: int) -> bool:
    """Whether there is such a process that is not dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def has(source: SecretCommand) -> bool:
    try:
        return bool(source.current())
    except Rejected as fault:
        return "for the first time" not in fault.detail


def prints(source: SecretCommand) -> bool:
    try:
        return source.current() == ONE
    except Rejected:
        return False


async def test_what_a_command_prints() -> None:
    source = printing(f"print('{ONE}')")
    assert "has not ended yet for the first time" in refused(source.current)
    await followed(source, lambda: has(source))
    assert source.current() == ONE


async def test_a_command_gets_a_clean_environment_and_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_TOKEN", TWO)
    code = "import os, sys; print('names:' + ','.join(sorted(os.environ)) + ':' + repr(sys.stdin.read()) + os.getcwd())"
    source = printing(code, environment={"VAULT_ADDR": "x"})
    await followed(source, lambda: has(source))
    assert source.current() in ("names:LC_ALL,PATH,VAULT_ADDR:''/", "names:LC_ALL,LC_CTYPE,PATH,VAULT_ADDR:''/")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        pytest.param(f"print('{ONE}'); raise SystemExit(3)", "ended with status 3", id="it fails"),
        pytest.param("print('short')", "printed what is no secret: it must have 8", id="it prints no secret"),
        pytest.param("print('x' * 9999999)", "printed more than a secret may have", id="it prints too much"),
        pytest.param(f"import sys; sys.stderr.write('{TWO}'); exit(1)", "ended with status 1", id="it tells a secret"),
    ],
)
async def test_a_command_that_fails(code: str, why: str, caplog: pytest.LogCaptureFixture) -> None:
    source = printing(code)
    await followed(source, lambda: has(source))
    assert why in refused(source.current)
    assert ONE not in caplog.text
    assert TWO not in caplog.text


async def test_a_command_that_is_not_there() -> None:
    source = SecretCommand(("/nowhere/vault",), every_s=60.0, environment={})
    await followed(source, lambda: has(source))
    assert "the command /nowhere/vault cannot be run: No such file or directory" in refused(source.current)


@pytest.mark.parametrize(
    ("where", "name"), [(os, "pipe"), (secrets, "_read_all")], ids=["to run it", "to read what it prints"]
)
async def test_a_command_for_which_there_are_no_descriptors(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str
) -> None:
    """It would end the worker, and with it every connection that it has."""

    def none_left(*_: object) -> object:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    source = printing(f"print('{ONE}')", every_s=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, none_left)
        await followed(source, lambda: has(source))
    assert "cannot be run: Too many open files" in refused(source.current)
    await followed(source, lambda: prints(source))


async def test_a_command_that_does_not_end_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "COMMAND_DEADLINE_S", 0.6)
    pid = tmp_path / "pid"
    source = SecretCommand(("sh", "-c", f"sleep 600 & echo $! > {pid}; wait"), every_s=60.0, environment={})
    await followed(source, lambda: has(source))
    assert "did not end within 1 s" in refused(source.current)
    async with asyncio.timeout(5):
        while runs(int(pid.read_text())):
            await asyncio.sleep(0.01)


async def test_its_last_output_counts_for_two_intervals_and_a_refusal_runs_it_sooner(tmp_path: Path) -> None:
    value, now_s = write(tmp_path / "value", ONE), [1000.0]
    source = printing(f"print(open({str(value)!r}).read(), end='')", every_s=600.0, timer=lambda: now_s[0])
    following = asyncio.ensure_future(source.follow())
    try:
        async with asyncio.timeout(20):
            while not has(source):
                await asyncio.sleep(0.01)
            write(value, TWO)
            source.refused()  # too soon after it was run
            await asyncio.sleep(0)
            assert source.current() == ONE
            now_s[0] += 1199.0
            assert source.current() == ONE
            source.refused()
            while source.current() != TWO:
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    now_s[0] += 1200.0
    refused(source.current)


# --- all of them -----------------------------------------------------------------------------------------------------


def test_callers_learn_no_more_than_that_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    path = tmp_path / "erp"
    named = SecretSources({"erp": SecretFile(path)})
    for name in ("erp", "erp", "other"):
        with pytest.raises(Unavailable) as down:
            named.current(name)
        assert down.value.code is Code.CREDENTIAL_DOWN
        assert str(path) not in down.value.detail
    write(path, ONE)
    assert named.current("erp") == ONE
    named.refused("erp")
    named.refused("other")
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "secret erp",
        "secret other",
        "secret erp can be read again",
    ]
    assert ONE not in caplog.text
