"""docs/websocket_agent.py with the real `websockets` library: it is copied, given this machine's ports, and run."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import foreign
import identities
import pytest
from certs import Authority
from houses import ROOT, House, house
from towns import ROOMY
from wsends import Listener

from proxy.agent.keyfile import save_key
from proxy.agent.session import open_session
from proxy.agent.signer import Signer
from proxy.core.control import Act

pytestmark = pytest.mark.system

PROGRAM = ROOT / "docs" / "websocket_agent.py"
CLUSTERS = """\
version: 1
clusters:
  - id: news
    description: Hear the news
    risk: routine
    hosts: [localhost]
    schemes: [https]
    ports: [{port}]
    addresses: [127.0.0.0/8]
    operations:
      - name: hear-news
        methods: [GET]
        path: /v1/live/{{topic}}
        websocket: true
"""


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener() as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[House]:
    folder, authority = tmp_path_factory.mktemp("websockets"), Authority()
    listener.use(authority.server("localhost"))
    extra = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}"
    names = {"localhost": ["127.0.0.1"]}
    with house(folder, clusters=CLUSTERS.format(port=listener.port), extra=extra, names=names) as running:
        yield running


def run(folder: Path, home: House, listener: Listener, how: str, *, path: str = "news") -> "subprocess.Popen[str]":
    """The manual's program, as somebody would run it."""
    manifest, key = folder / "invoice-bot.jws", folder / "invoice-bot.pem"
    manifest.write_text(home.root())
    if not key.exists():
        save_key(key, identities.key(identities.AGENT))
    proxy = "http://{}:{}".format(*home.address)
    text = PROGRAM.read_text()
    for old, new in (
        ("http://127.0.0.1:8080", proxy),
        ("localhost:8443/v1/live/news", f"localhost:{listener.port}/v1/live/{path}"),
        ("mine/manifests/invoice-bot.jws", str(manifest)),
        ("mine/keys/invoice-bot.pem", str(key)),
        ("mine/state/ca/ca.pem", str(home.ca)),
    ):
        assert old in text
        text = text.replace(old, new)
    program = folder / "websocket_agent.py"
    program.write_text(text)
    variables = open_session(proxy, Signer(manifest, key)).environment if how == "session" else {}
    environment = {**foreign.plain_environment(), **variables, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [foreign.clients_python(), program, how],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("how", ["signed", "session"])
def test_the_program_of_the_manual_opens_one(tmp_path: Path, home: House, listener: Listener, how: str) -> None:
    with ExitStack() as ends, run(tmp_path, home, listener, how) as process:
        origin = listener.accept(ends)
        assert origin.hear() == ("text", "good morning")
        origin.say("the invoice is paid")
        assert origin.hear() == ("close", 1000, "")
        origin.close(1000)
        assert process.communicate(timeout=20)[0] == "heard    the invoice is paid\n"
        assert process.returncode == 0


def test_the_program_of_the_manual_says_why_it_was_held(tmp_path: Path, home: House, listener: Listener) -> None:
    with run(tmp_path, home, listener, "signed", path="news/of/others") as process:
        assert process.communicate(timeout=20)[0].startswith("held     ")
    assert listener.nothing


def test_the_library_sees_an_end_when_the_agent_is_quarantined(tmp_path: Path, home: House, listener: Listener) -> None:
    with ExitStack() as ends, run(tmp_path, home, listener, "signed") as process:
        origin = listener.accept(ends)
        assert origin.hear() == ("text", "good morning")
        home.stop_by(Act.QUARANTINE, identities.AGENT)
        assert origin.hear() == ("gone",)
        assert "ConnectionClosedError" in process.communicate(timeout=20)[0]
    assert process.returncode != 0
