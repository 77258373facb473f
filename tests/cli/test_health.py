"""`intent-proxy health`: who refuses what must be refused is healthy, and nobody else."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clirun import cli, free_port, running
from origins import Origin, Reply


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running deployment with its desk."""
    made = tmp_path_factory.mktemp("health") / "mine"
    cli("init", made).ok()
    settings = made / "proxy.yaml"
    text = settings.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{free_port()}")
    settings.write_text(f"{text}\ndesk: {{listen: 127.0.0.1:{free_port()}}}\n")
    with ExitStack() as stack:
        _, line = stack.enter_context(running("run", "-c", str(made)))
        assert " ready on " in line
        stack.enter_context(running("desk", "-c", str(made)))
        yield made


def test_a_proxy_that_refuses_is_healthy(home: Path) -> None:
    assert cli("health", "-c", home).ok().out.endswith("refuses what it must (proof.missing)\n")
    told = cli("health", "-c", home, "--json").ok().json
    assert told["healthy"] is True
    assert cli("health", "--proxy", f"http://{told['address']}").ok()


def test_a_desk_that_serves_its_door_is_healthy(home: Path) -> None:
    assert "serves the review desk" in cli("health", "-c", home, "--desk").ok().out


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=200, body=b"welcome"),
        Reply(status=502, body=b"no such host"),
        Reply(
            status=403, headers=[("Content-Type", "application/problem+json")], body=b'{"code": "mandate.not_covered"}'
        ),
    ],
)
def test_whoever_answers_anything_else_is_not(reply: Reply) -> None:
    """Also who forwarded the call and says what came of it."""
    with Origin() as origin:
        origin.on("GET", "*", reply)
        ran = cli("health", "--proxy", f"http://127.0.0.1:{origin.port}", "--json")
    assert ran.code == 1
    assert "must refuse a call without proof" in json.loads(ran.err)["error"]["message"]


def test_who_does_not_answer_is_not(home: Path) -> None:
    for words in (("--proxy", f"http://127.0.0.1:{free_port()}"), ("--proxy", "http://[::1]:9")):
        assert cli("health", *words).code == 7
    with Origin(on_accept="silent") as origin:
        ran = cli("health", "--proxy", f"http://127.0.0.1:{origin.port}", "--timeout", "0.2")
    assert (ran.code, "nobody answers at" in ran.err) == (7, True)


def test_a_desk_that_does_not_run_is_not(tmp_path: Path) -> None:
    cli("init", tmp_path / "mine").ok()
    settings = tmp_path / "mine" / "proxy.yaml"
    settings.write_text(f"{settings.read_text()}\ndesk: {{listen: 127.0.0.1:{free_port()}}}\n")
    assert cli("health", "-c", tmp_path / "mine", "--desk").code == 7
