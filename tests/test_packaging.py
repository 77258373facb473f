"""What is installed, and where: the base distribution beside an application's own pins, and locks with hashes."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from pathlib import Path
from urllib.parse import urlsplit

import identities
import pytest
from origins import Origin
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from proofs import Verifier

from proxy.agent.keyfile import save_key

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
APPLICATION = ("h11==0.14.0", "flask==2.3.3")  # both older than what the server side needs


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files a commit would have, and nothing that was built or left lying about."""
    folder = tmp_path_factory.mktemp("sources")
    listed = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, sources)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_every_file_of_the_packages_and_no_other(sources: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for top in ("proxy", "addons") for path in (sources / top).rglob("*") if path.is_file())
    assert packed == {str(path.relative_to(sources)) for path in files if "__pycache__" not in path.parts}


def test_the_base_distribution_needs_two_libraries(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(archive.read(name).decode())
        (entries,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "intent-proxy = proxy.cli.start:main" in archive.read(entries).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    base = [Requirement(text) for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert {requirement.name for requirement in base} == {"cryptography", "http-sf"}


PROGRAM = """
import http.client, json, sys
from pathlib import Path
import flask, h11
from proxy.agent import answers, keyfile, session, signer
url, host, port, folder = sys.argv[1:]
application = flask.Flask("application")

@application.post("/run")
def run():
    body = flask.request.get_data()
    made = signer.Signer(Path(folder) / "invoices.jws", Path(folder) / "agent.pem", task="T-1")
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("POST", url, body, dict([*headers, *made.headers_for("POST", url, headers, body)]))
    answer = connection.getresponse()
    held = answers.read_answer(answer.status, answer.headers, answer.read())
    return {"status": answer.status, "held": held is not None}

said = application.test_client().post("/run", data=b'{"total": 12}').get_json()
try:
    from proxy.agent import IntentAuth
except ImportError as fault:
    said["without_a_client"] = str(fault)
said["server_side"] = sorted({"mitmproxy", "redis", "yaml", "idna", "pydantic"} & set(sys.modules))
print(json.dumps(said))
"""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as running:
        yield running


def test_an_agent_signs_beside_its_own_pins(wheel: Path, origin: Origin, tmp_path: Path) -> None:
    """An empty environment, an application's own h11 and flask, then the base wheel: nothing of theirs may move."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    install = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*install, *APPLICATION)
    before = set(run(python, "-m", "pip", "freeze").split())
    run(*install, wheel)
    after = set(run(python, "-m", "pip", "freeze", "--exclude", "intent-proxy").split())
    assert before <= after
    new = {canonicalize_name(text.partition("==")[0]) for text in after - before}
    assert new == {"cryptography", "cffi", "pycparser", "http-sf", "typing-extensions"}
    run(python, "-m", "pip", "check")

    assert "ways around" in run(tmp_path / "env/bin/intent-proxy", "doctor", "--help")

    verifier = Verifier(lambda: datetime.now(UTC))
    origin.on("POST", "*", verifier)
    save_key(tmp_path / "agent.pem", identities.key(identities.AGENT))
    (tmp_path / "invoices.jws").write_text(identities.root(identities.draft(now=datetime.now(UTC))))
    (tmp_path / "program.py").write_text(PROGRAM)
    url = origin.url("/v1/invoices")
    where = urlsplit(url)
    said = json.loads(run(python, "-I", tmp_path / "program.py", url, where.hostname or "", str(where.port), tmp_path))
    assert said == {
        "status": 200,
        "held": False,
        "without_a_client": "IntentAuth needs httpx, httpx2 or requests: install one, or use proxy.agent.signer",
        "server_side": [],
    }
    assert (len(verifier.evidence), verifier.refused) == (1, [])


# --- locks ------------------------------------------------------------------------------------------------------------

_PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+?))? \\$", re.MULTILINE)


def pins(name: str) -> set[tuple[str, str, str]]:
    return {
        (found["name"], found["version"], found["marker"] or "") for found in _PIN.finditer((ROOT / name).read_text())
    }


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_a_hash_and_names_no_place(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    starts = [at for at, line in enumerate(lines) if line and line[0] not in " #"]
    assert len(starts) == len(pins(name)) > 20
    assert [lines[at] for at in starts if "--hash=sha256:" not in lines[at + 1]] == []
    assert [line for line in lines if "://" in line or "file:" in line or "index" in line.lower()] == []


def test_the_locks_agree() -> None:
    assert pins("requirements.lock") <= pins("requirements-dev.lock")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        pytest.param(
            "requirements.lock",
            [*PROJECT["project"]["dependencies"], *EXTRAS["server"], *EXTRAS["desk"]],
            id="what the server needs",
        ),
        pytest.param("requirements-dev.lock", PROJECT["dependency-groups"]["dev"], id="what its developers need"),
    ],
)
def test_what_is_declared_is_what_is_pinned(name: str, wanted: list[str]) -> None:
    """A dependency that was changed without `make lock` fails here."""
    pinned = {(package, Version(version)) for package, version, _ in pins(name)}
    for requirement in map(Requirement, wanted):
        if requirement.name == "intent-proxy":  # an extra that has all of another
            continue
        versions = [version for package, version in pinned if package == canonicalize_name(requirement.name)]
        assert any(requirement.specifier.contains(version) for version in versions), f"{requirement}: run make lock"


# --- make -------------------------------------------------------------------------------------------------------------


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is missing: apt-get install make")
    for name in ("Makefile", "requirements-dev.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_make_alone_lists_the_targets(tmp_path: Path) -> None:
    done = make(tmp_path)
    assert done.returncode == 0
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert {"demo", "test", "test-system", "test-long", "bench", "lint", "check", "clean"} <= listed
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("program", "line"),
    [
        pytest.param("exit 1", "needs Python 3.12 or newer; found", id="a Python that is too old"),
        pytest.param(
            'case "$*" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv", id="a Python without venv"
        ),
    ],
)
def test_make_says_in_one_line_what_is_missing(program: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "python").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "python").chmod(0o755)
    done = make(tmp_path, f"PYTHON={tmp_path / 'python'}", "test")
    said = [text for text in done.stderr.splitlines() if not text.startswith("make")]
    assert done.returncode != 0
    assert len(said) == 1
    assert line in said[0]
    assert not (tmp_path / ".venv").exists()
