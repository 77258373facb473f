"""docs/containers.md: what it shows of the image alone, by podman where it says docker (the rest: test_compose.py)."""

import re
import shlex

import pytest
from containers import IMAGE, command, image, podman
from houses import ROOT
from nodes import wait_for

pytestmark = pytest.mark.system

PAGE = (ROOT / "docs" / "containers.md").read_text()


def test_the_page_is_right() -> None:
    image()
    podman("volume", "rm", "-f", "mine", check=False)
    lines = re.findall(r"^\$ docker (?!compose )(.*)$", PAGE, re.MULTILINE)
    assert lines[0] == "build -t intent-proxy ."  # that was done, with how this machine's registries are trusted
    try:
        for line in lines[1:]:
            words = shlex.split(line)
            if words[0] == "run":
                words[words.index("intent-proxy")] = IMAGE
            if words[0] == "exec":
                command_line = ("podman", *words)
                wait_for(lambda: command(*command_line, check=False).returncode == 0, line, within_s=60)  # noqa: B023
            else:
                podman(*words)
    finally:
        podman("rm", "-f", "proxy", check=False)
        podman("volume", "rm", "-f", "mine", check=False)


def test_the_page_names_what_is_there() -> None:
    for path in re.findall(r"config/compose/[\w.]+", PAGE):
        assert (ROOT / path).exists(), path
