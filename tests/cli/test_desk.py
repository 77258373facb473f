"""`intent-proxy desk`: who gets a link, where the desk may be, and that a real one serves."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from clirun import cli, free_port, on_terminal, running

from proxy.audit.show import Row, Wanted, show_journal
from proxy.cli.deployment import open_deployment
from proxy.cli.deskplace import desk_origins, desk_sockets
from proxy.core.errors import Rejected
from proxy.edge.run import Launch


def settings(home: Path, text: str) -> None:
    (home / "proxy.yaml").write_text((home / "proxy.yaml").read_text() + f"\ndesk: {{{text}}}\n")


@pytest.fixture
def port(home: Path) -> int:
    found = free_port()
    settings(home, f'listen: "127.0.0.1:{found}"')
    return found


# --- links -----------------------------------------------------------------------------------------------------------


def test_a_link_is_for_whom_it_names_else_for_whoever_answers_for_an_agent(home: Path, port: int) -> None:
    said = cli("desk", "--link", "--json").ok().json
    assert (said["person"], said["minutes"]) == ("ada", 10)
    assert re.fullmatch(rf"http://localhost:{port}/enter\?link=[A-Za-z0-9_-]{{43}}", said["url"])
    assert cli("desk", "--link", "--as", "ben", "--json").ok().json["person"] == "ben"
    assert len(list((home / "state" / "desk" / "links").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "text", "why"),
    [
        pytest.param(["--as", "bem"], "start: true", 'did you mean "ben"', id="nobody of that name"),
        pytest.param([], "links: false", "desk.links is false", id="links are switched off"),
        pytest.param([], 'listen: "127.0.0.1:0"', "another each time", id="nobody knows the port"),
        pytest.param([], 'url: "https://10.0.0.999"', "four decimal numbers", id="a URL that leads nowhere"),
        pytest.param([], 'listen: "192.0.2.1:8090"', "desk.url", id="other machines would send cookies in clear"),
    ],
)
def test_no_link_is_made(home: Path, words: list[str], text: str, why: str) -> None:
    settings(home, text)
    ran = cli("desk", "--link", *words)
    assert ran.code == 1 and why in ran.err
    assert not (home / "state" / "desk" / "links").exists()


def test_a_link_is_never_made_where_others_may_look_in(home: Path, port: int) -> None:
    cli("desk", "--link").ok()
    (home / "state" / "desk" / "links").chmod(0o755)
    ran = cli("desk", "--link")
    assert ran.code == 1 and "chmod 0700" in ran.err


# --- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        pytest.param('listen: "127.0.0.1:8091"', ("http://localhost:8091", "http://127.0.0.1:8091"), id="usual"),
        pytest.param('listen: "[::1]:8091"', ("http://localhost:8091", "http://[::1]:8091"), id="IPv6"),
        pytest.param('url: "https://desk.example"', ("https://desk.example",), id="TLS before it"),
        pytest.param(
            'listen: "0.0.0.0:8091", url: "https://desk.example"', ("https://desk.example",), id="another machine"
        ),
        pytest.param(
            'listen: "0.0.0.0:8091", url: "http://localhost:9000"', ("http://localhost:9000",), id="a published port"
        ),
    ],
)
def test_it_answers_under_its_own_names(home: Path, text: str, origins: tuple[str, ...]) -> None:
    settings(home, text)
    assert desk_origins(open_deployment(home).settings, 8091) == origins


def test_it_holds_both_addresses_of_localhost_so_that_nobody_else_can(home: Path) -> None:
    settings(home, 'listen: "127.0.0.1:0"')
    found = desk_sockets(open_deployment(home).settings)
    try:
        assert [each.getsockname()[0] for each in found] in (["127.0.0.1", "::1"], ["127.0.0.1"])
        assert len({each.getsockname()[1] for each in found}) == 1
    finally:
        for each in found:
            each.close()


def test_it_does_not_share_its_port(home: Path) -> None:
    settings(home, 'listen: "127.0.0.1:0"')
    found = desk_sockets(open_deployment(home).settings)
    try:
        found[0].listen()
        taken = found[0].getsockname()[1]
        text = (home / "proxy.yaml").read_text().replace("127.0.0.1:0", f"127.0.0.1:{taken}")
        (home / "proxy.yaml").write_text(text)
        with pytest.raises(Rejected, match="already in use"):
            desk_sockets(open_deployment(home).settings)
    finally:
        for each in found:
            each.close()


def test_the_workers_know_where_it_is() -> None:
    launch = Launch(
        config=Path("proxy.yaml"),
        host="127.0.0.1",
        port=8080,
        store_url="",
        fast_url="",
        dev=False,
        workers=1,
        desk=("127.0.0.1", 8090),
    )
    words = launch.arguments(0, 3)
    assert words[words.index("--desk-host") + 1 : words.index("--desk-host") + 4] == [
        "127.0.0.1",
        "--desk-port",
        "8090",
    ]


# --- a real one ------------------------------------------------------------------------------------------------------


def test_it_serves_signs_in_by_a_link_and_writes_that_down(home: Path, port: int) -> None:
    with running("desk", errors=subprocess.STDOUT) as (process, line):
        assert line == f"review desk ready on http://localhost:{port} · mine\n"
        url = urlsplit(cli("desk", "--link", "--as", "ben", "--json").ok().json["url"])
        with requests.Session() as browser:
            origin = f"http://127.0.0.1:{port}"
            assert "Continue as Ben" in browser.get(f"{origin}/enter?{url.query}", timeout=10).text
            word = url.query.partition("=")[2]
            answer = browser.post(f"{origin}/enter", {"link": word}, headers={"Origin": origin}, timeout=10)
            assert "Nothing waits for you" in answer.text
    assert process.returncode == 0
    rows = [row for row in show_journal(home / "state" / "journal", Wanted(kind="review")) if isinstance(row, Row)]
    assert [(row.fields["event"], row.fields["by"]) for row in rows] == [("enter", "ben")]
    assert cli("audit", "verify").code == 0


@pytest.mark.system
def test_on_a_terminal_it_prints_a_link_and_elsewhere_none(home: Path, port: int) -> None:
    with running("desk", errors=subprocess.STDOUT) as (_, line):
        assert "link=" not in line
    assert "link=" in on_terminal("desk", "--link")


@pytest.mark.system
def test_it_serves_though_its_provider_cannot_be_asked_and_says_so_at_the_door(home: Path) -> None:
    found = free_port()
    settings(home, f'listen: "127.0.0.1:{found}", oidc: {{issuer: "http://127.0.0.1:1", client_id: desk, name: Acme}}')
    with running("desk") as (_, line), requests.Session() as browser:
        assert line == f"review desk ready on http://localhost:{found} · mine\n"
        origin = f"http://localhost:{found}"
        assert "Sign in with Acme" in browser.get(f"{origin}/enter", timeout=10).text
        answer = browser.post(f"{origin}/enter/oidc", {"to": "/"}, headers={"Origin": origin}, timeout=10)
        assert answer.status_code == 503 and "Acme cannot be asked now" in answer.text
        url = urlsplit(cli("desk", "--link", "--as", "ben", "--json").ok().json["url"])  # the other door is open
        assert "Continue as Ben" in browser.get(f"{origin}/enter?{url.query}", timeout=10).text
