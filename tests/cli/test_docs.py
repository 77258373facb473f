"""docs/cli.md: every command it shows is run, in its order, on a real proxy with a real origin behind it."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import requests
from authenticators import authenticator
from certs import Authority
from clientcerts import ClientAuthority
from clirun import Ran, cli, free_port, running
from origins import Origin

from proxy.agent.doctor.place import VARIABLES
from proxy.agent.sidecar.environment import variables
from proxy.agent.sidecar.refusals import Reason
from proxy.agent.variables import TRUST
from proxy.cli.exits import Exit
from proxy.cli.main import COMMANDS
from proxy.policy.passkeys import passkey_line

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "cli.md"


@dataclass(kw_only=True)
class Reader:
    """Somebody who follows the manual in a directory of their own."""

    origin: Origin
    listen: int
    desk: int = field(default_factory=free_port)
    stack: ExitStack
    environment: dict[str, str] = field(default_factory=dict)

    def do(self, line: str) -> None:
        """One line as it stands in the manual, with this machine's ports and ids put in."""
        command, _, remark = line.partition("    # ")
        command = command.replace("localhost:8443", f"localhost:{self.origin.port}")
        command = command.replace("localhost-8443", f"localhost-{self.origin.port}")
        command = command.replace("localhost:8090", f"localhost:{self.desk}")
        command = command.replace("127.0.0.1:8080", f"127.0.0.1:{self.listen}").replace(":3128", ":0")
        if " -- curl" in command and shutil.which("curl") is None:
            command = command.partition("curl")[0] + "true"
        if " HOLD" in command:
            command = command.replace("HOLD", self._open_hold())
        if " GRANT" in command:
            command = command.replace("GRANT", cli("grants", "list", "-c", "mine", "--json").ok().json[0]["id"])
        if " PROPOSAL" in command:
            listed = cli("manifest", "proposals", "-c", "mine", "--json").ok().json
            command = command.replace("PROPOSAL", listed[0]["id"])
        if " TOKEN" in command:
            listed = cli("desk", "tokens", "list", "-c", "mine", "--json").ok().json
            command = command.replace("TOKEN", listed[0]["id"])
        if "THUMBPRINT" in command:
            command = command.replace("THUMBPRINT", json.loads(cli("keys", "show", "robot.pem", "--json").out)["kid"])
        words = shlex.split(command)
        if words[0] == "curl":
            self._curl(words[1], 403 if "403" in remark else 200)
        elif words[0] == "eval":
            self._export(cli(*shlex.split(words[1].removeprefix("$(").removesuffix(")"))[1:]).ok())
        else:
            self._run(words, int(remark.removeprefix("exit ")) if remark.startswith("exit ") else 0)

    def _run(self, words: list[str], code: int) -> None:
        assert words[0] == "intent-proxy"
        desk_alone = words[1] == "desk" and "--link" not in words and all(word.startswith("-") for word in words[2:3])
        if words[1] in ("run", "sidecar") or desk_alone:  # a bare word after `desk` is a subcommand
            _, line = self.stack.enter_context(running(*words[1:]))
            assert " ready on " in line, line
            return
        if words[1:3] == ["holds", "watch"]:
            with running(*words[1:], "--json") as (process, line):
                assert json.loads(line)["state"] == "held"
            assert process.returncode == Exit.INTERRUPTED
            return
        words, target = (words[:-2], words[-1]) if words[-2] == ">" else (words, None)
        ran = cli(*words[1:])
        assert ran.code == code, f"{shlex.join(words)}: exit {ran.code}\n{ran.out}\n{ran.err}"
        if target is not None:
            Path(target).write_text(ran.out)
        if words[1] == "init":
            settings = Path(words[2]) / "proxy.yaml"
            desk = f"\ndesk:\n  listen: 127.0.0.1:{self.desk}\n"
            settings.write_text(settings.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{self.listen}") + desk)

    def _curl(self, url: str, status: int) -> None:
        mark = self.origin.mark()
        proxies = {"http": self.environment["HTTP_PROXY"], "https": self.environment["HTTPS_PROXY"]}
        answer = requests.get(url, proxies=proxies, verify=self.environment["REQUESTS_CA_BUNDLE"], timeout=30)
        assert answer.status_code == status, f"{url}: {answer.status_code} {answer.text}"
        assert self.origin.since(mark).nothing is (status == 403)

    def _export(self, ran: Ran) -> None:
        for line in ran.out.splitlines():
            name, _, value = shlex.split(line)[1].partition("=")
            self.environment[name] = value

    def _open_hold(self) -> str:
        listed = cli("holds", "list", "-c", "mine", "--json").ok().json
        return str(listed[0]["id"]) if listed else "NO-SUCH-HOLD"


def shown(page: Path = DOCS) -> list[str]:
    """Every line after a prompt."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    for name in ("INTENT_PROXY_CONFIG", "NO_PROXY", *VARIABLES, *TRUST):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    authority = Authority()
    authority.write(tmp_path)
    ClientAuthority().issue().write(tmp_path, "client")
    (tmp_path / "robin.passkey").write_text(passkey_line(replace(authenticator("robin").passkey, name="blue stick")))
    with Origin(tls=authority.server("localhost")) as origin, ExitStack() as stack:
        yield Reader(origin=origin, listen=free_port(), stack=stack)


def test_the_manual_is_right(reader: Reader) -> None:
    for line in shown():
        reader.do(line)


def test_the_manual_shows_every_command() -> None:
    words = {tuple(shlex.split(line)[1:3]) for line in shown() if line.startswith("intent-proxy")}
    named = {pair[0] for pair in words} | {"session", "demo"}
    assert named == set(COMMANDS)
    for exit_code in Exit:
        assert re.search(rf"^\|[^|]*\b{int(exit_code)}\b", DOCS.read_text(), flags=re.MULTILINE), exit_code


SIDECAR = DOCS.with_name("sidecar.md")
AGENT = """\
import urllib.request
print(urllib.request.urlopen("https://localhost:8443/v1/invoices/17").status)
"""


def test_the_page_on_sidecars_is_right(reader: Reader) -> None:
    """As its commands stand there, but for where the files and the proxy are."""
    reader.do(
        "intent-proxy init mine --allow 'GET https://localhost:8443/v1/invoices/{id}' --upstream-ca origin-ca.pem --yes"
    )
    reader.do("intent-proxy run -c mine")
    Path("agent.py").write_text(AGENT.replace("8443", str(reader.origin.port)))
    for name, there in (("bot.jws", "manifests/invoice-bot.jws"), ("bot.pem", "keys/invoice-bot.pem")):
        Path(name).symlink_to(Path("mine", there))
    Path("ca.pem").symlink_to(Path("mine", "state", "ca", "ca.pem"))
    lines = shown(SIDECAR)
    assert len(lines) == 3
    for line in lines:
        line = line.replace("https://proxy.example:8080", "http://127.0.0.1:8080")
        line = f"{line} --listen 127.0.0.1:3128" if " sidecar " in line else line
        before = reader.origin.mark()
        reader.do(line.replace("-- python agent.py", f"-- {sys.executable} agent.py"))
        assert len(reader.origin.since(before).requests) == line.count("agent.py")


def test_the_page_on_sidecars_names_every_variable_and_every_code() -> None:
    page = SIDECAR.read_text()
    named = set(re.findall(r"`([A-Z_]{5,})`", page))
    given = {name for name in variables(proxy_url="", trust=Path()) if name.isupper()}
    assert given | {"SYSTEM_WGETRC"} <= named
    assert set(re.findall(r"^\| `(sidecar\.\w+)`", page, re.MULTILINE)) == {code.value for code in Reason}


DESK = DOCS.with_name("desk.md")


def test_the_page_on_the_desk_is_right(reader: Reader) -> None:
    reader.do("intent-proxy init mine --allow 'GET https://localhost:8443/v1/invoices/{id}' --yes")
    blocks = re.findall(r"^```sh\n(.*?)^```", DESK.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("intent-proxy")]
    assert len(lines) == 2
    for line in lines:
        reader.do(line)


def test_the_page_on_the_desk_names_every_key_that_works() -> None:
    script = (ROOT / "proxy" / "review" / "desk" / "static" / "desk.js").read_text()
    page, help_page = DESK.read_text(), (ROOT / "proxy/review/desk/templates/help.html").read_text()
    (keys,) = re.findall(r'const SHORTCUTS = "([^"]+)"', script)
    assert [key for key in keys if f"`{key}`" not in page or f"<kbd>{key}</kbd>" not in help_page] == []


API = DOCS.with_name("api.md")


def test_the_page_on_the_api_is_right(reader: Reader) -> None:
    reader.do("intent-proxy init mine --allow 'GET https://localhost:8443/v1/invoices/{id}' --yes")
    lines = shown(API)
    assert len(lines) == 8
    for line in lines:
        reader.do(line)
