"""docs/credentials.md, followed line by line; and what `check` and `run` say of secrets that are missing."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from clirun import Ran, cli, free_port, running
from origins import Origin

PAGE = (Path(__file__).parents[2] / "docs" / "credentials.md").read_text("utf-8")
EXAMPLE = PAGE[PAGE.index("## A whole example") : PAGE.index("## Ways of setting it")]
SECRET = "tok_4f9a81c2d7b6"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTENT_PROXY_CONFIG", raising=False)
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", EXAMPLE, flags=re.DOTALL | re.MULTILINE)


def lines() -> list[str]:
    return [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines()]


def do(line: str) -> Ran:
    return cli(*shlex.split(line)[1:]).ok()


def append(file: str, text: str, *, before: str = "") -> None:
    path = Path("mine") / file
    old = path.read_text()
    path.write_text(old.replace(before, text + before, 1) if before else f"{old}\n{text}")


def founded(port: int, listen: int) -> None:
    """As the page has it up to the policy, at these ports."""
    init, put, *_ = lines()
    do(init.replace(":8000", f":{port}"))
    subprocess.run(["sh", "-c", put], check=True)
    settings = Path("mine/proxy.yaml")
    settings.write_text(settings.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{listen}"))
    secrets, credential = blocks("yaml")
    append("proxy.yaml", secrets)
    append("clusters.yaml", credential, before="    operations:\n")


@pytest.mark.system
def test_the_example_works_as_it_is_written(folder: Path) -> None:
    with Origin() as origin, ExitStack() as stack:
        founded(origin.port, free_port())
        variables: dict[str, str] = {}
        renewed = ""
        for line in lines()[2:]:
            line = line.replace(":8000", f":{origin.port}")
            match shlex.split(line)[:2]:
                case ["eval", words]:
                    session = cli(*shlex.split(words.removeprefix("$(").removesuffix(")"))[1:]).ok()
                    for each in session.out.splitlines():
                        name, _, value = shlex.split(each)[1].partition("=")
                        variables[name] = value
                case ["curl", url]:
                    headers = {"Authorization": "Bearer placeholder"}
                    answer = requests.get(url, proxies={"http": variables["HTTP_PROXY"]}, headers=headers, timeout=30)
                    assert answer.status_code == 200
                case [_, "run"]:
                    _, ready = stack.enter_context(running(*shlex.split(line)[1:]))
                    assert " ready on " in ready
                case [_, "explain"]:
                    assert blocks("text")[0].strip() in do(line).out
                case [_, "manifest"]:
                    ran = do(line)
                    renewed = " ".join((ran.out + ran.err).split())
                case _:
                    do(line)
        (request,) = origin.requests
        assert request.header("authorization") == f"Bearer {SECRET}"
        assert "adds the credential: the secret erp-token as a bearer token, also over plain HTTP" in renewed
        assert SECRET not in renewed


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param("rm mine/erp.token", "mine/erp.token cannot be read: No such file or directory", id="it is gone"),
        pytest.param("chmod 644 mine/erp.token", "got mode 0644; run: chmod 640 ", id="others can read it"),
        pytest.param("echo short > mine/erp.token", "must have 8 to 4096 characters, got 5", id="it is too short"),
        pytest.param(
            "sed -i 's/{file: erp.token}/{environment: NO_SUCH_TOKEN}/' mine/proxy.yaml",
            "the variable NO_SUCH_TOKEN is not set; set it where the proxy is started",
            id="the variable is not set",
        ),
        pytest.param(
            "echo Token tok_4f9a81c2d7b6 > mine/erp.token",
            "it has a space in it, so it is no bearer token; set it as a header",
            id="it does not fit",
        ),
        pytest.param(
            "sed -i 's/{file: erp.token}/{command: [no-such-vault]}/' mine/proxy.yaml",
            'there is no program "no-such-vault" to run; name it with its whole path',
            id="there is no such program",
        ),
        pytest.param(
            "sed -i 's/erp-token:/erp-tokn:/' mine/proxy.yaml",
            'there is no secret "erp-token" in proxy.yaml; did you mean "erp-tokn"?',
            id="nobody says where it is",
        ),
    ],
)
def test_check_says_what_is_missing_and_where(folder: Path, spoil: str, told: str) -> None:
    founded(8000, 8080)
    assert cli("check", "-c", "mine").ok().err != ""
    subprocess.run(["sh", "-c", spoil], check=True)
    ran = cli("check", "-c", "mine")
    assert (ran.code, told in ran.out) == (1, True), ran.out + ran.err
    (fault,) = cli("check", "-c", "mine", "--json").json["faults"]
    written = Path("mine/proxy.yaml").read_text().splitlines()
    file, line = ("clusters.yaml", 8) if "no secret" in told else ("proxy.yaml", written.index("secrets:") + 2)
    assert (fault["file"], fault["line"]) == (file, line)
    assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize("inherits", ["", ", inherits: [PATH]"], ids=["not where it is run", "also where it is run"])
def test_a_command_is_looked_for_where_it_will_be(folder: Path, monkeypatch: pytest.MonkeyPatch, inherits: str) -> None:
    program = folder / "our-vault"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    founded(8000, 8080)
    settings = Path("mine/proxy.yaml")
    settings.write_text(settings.read_text().replace("{file: erp.token}", f"{{command: [our-vault]{inherits}}}"))
    assert cli("check", "-c", "mine").code == (0 if inherits else 1)


def test_a_command_is_not_run_by_check(folder: Path) -> None:
    founded(8000, 8080)
    subprocess.run(
        ["sed", "-i", "s/{file: erp.token}/{command: [touch, mine-was-run]}/", "mine/proxy.yaml"], check=True
    )
    cli("check", "-c", "mine").ok()
    assert not Path("mine-was-run").exists()


def test_who_signs_is_told_what_is_missing(folder: Path) -> None:
    founded(8000, free_port())
    assert "secrets.erp-token" not in repr(cli("bundle", "sign", "-c", "mine").ok())
    Path("mine/erp.token").unlink()
    ran = cli("bundle", "sign", "-c", "mine").ok()
    assert re.search(r"proxy\.yaml:\d+: secrets\.erp-token: ", ran.err)
    assert "mine/erp.token cannot be read: No such file or directory; put the secret there" in ran.err


def test_run_does_not_start_on_a_secret_that_nobody_tells_of(folder: Path) -> None:
    founded(8000, free_port())
    subprocess.run(["sed", "-i", "s/erp-token:/erp-tokn:/", "mine/proxy.yaml"], check=True)
    cli("bundle", "sign", "-c", "mine").ok()
    ran = cli("run", "-c", "mine")
    assert ran.code == 1
    assert (
        'clusters.yaml:8: credential of cluster "localhost-8000": there is no secret "erp-token" in proxy.yaml'
        in ran.err
    )
    assert "restart it once the secret stands there" in ran.err


@pytest.mark.system
def test_run_says_what_is_missing_and_serves(folder: Path) -> None:
    founded(8000, free_port())
    Path("mine/erp.token").unlink()
    cli("bundle", "sign", "-c", "mine").ok()
    with running("run", "-c", "mine", errors=subprocess.STDOUT) as (process, first):
        assert re.search(r"proxy\.yaml:\d+: secrets\.erp-token: ", first)
        assert "cannot be read" in first
        assert process.stdout is not None
        assert " ready on " in process.stdout.readline()
