"""docs/containers.md: every command it shows, in its order, by podman where it says docker."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from containers import IMAGE, command, image, podman
from houses import ROOT
from nodes import wait_for
from valkeys import free_port

pytestmark = pytest.mark.system

PAGE = ROOT / "docs" / "containers.md"


def shown() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def test_the_page_is_right() -> None:
    image()
    port = {"DESK_PORT": str(free_port())}

    def do(words: list[str], *, check: bool = True) -> str:
        if words[:2] == ["docker", "compose"]:
            program = [str(Path(sys.executable).with_name("podman-compose")), *words[2:]]
            if "reviewer" in words:
                program[program.index("run") : program.index("run")] = ["--profile", "review"]
                program.insert(program.index("--rm"), "-T")
            return command(*program, environment=port, check=check).stdout
        return command("podman", *words[1:], check=check).stdout

    def held() -> str | None:
        found = re.search(r"hold ([a-z0-9]+)$", podman("logs", "compose_agent_1"), re.M)
        return found and found[1]

    for line in shown():
        if " build " in line:
            continue  # done, with how this machine's registries are trusted
        words = shlex.split(line.replace("config/compose", f"{ROOT}/config/compose"))
        words = [IMAGE if word == "intent-proxy" and words[1] == "run" else word for word in words]
        if words[-2:] == ["logs", "agent"]:
            wait_for(held, "a held call", within_s=90)
        words = [held() or "" if word == "HOLD" else word for word in words]
        if words[1] == "exec":
            wait_for(lambda words=words: command("podman", *words[1:], check=False).returncode == 0, line, within_s=60)  # type: ignore[misc]
        do(words)
    podman("volume", "rm", "-f", "mine")


def test_the_page_names_what_is_there() -> None:
    for path in re.findall(r"config/compose/[\w.]+", PAGE.read_text()):
        assert (ROOT / path).exists(), path
