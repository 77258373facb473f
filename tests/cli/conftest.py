"""One deployment made by `init`, copied for every test that wants it."""

import shutil
from pathlib import Path

import pytest
from clirun import cli

from proxy.cli import where


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deployment with an agent `robot`, its sponsor `ada`, her deputy `ben`, two clusters and a signed manifest."""
    directory = tmp_path_factory.mktemp("founded") / "mine"
    words = ["--agent", "robot", "--sponsor", "ada=Ada Example", "--reviewer", "ben=Ben Example"]
    permits = ["GET https://erp.example/v1/invoices/{id}?page=*", "POST https://erp.example/v1/payments"]
    allow = [word for permit in permits for word in ("--allow", permit)]
    cli("init", directory, *words, *allow, "--purpose", "Match invoices.", "--yes").ok()
    return directory


@pytest.fixture
def home(founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to change, found by every command without being named."""
    copy = tmp_path / "mine"
    shutil.copytree(founded, copy)
    monkeypatch.setenv(where.ENVIRONMENT, str(copy))
    monkeypatch.delenv("INTENT_PROXY_AS", raising=False)
    return copy
