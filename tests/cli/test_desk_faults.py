"""A real desk on a real store: killed, restarted, without its store, on damaged files."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from clirun import cli, free_port, running
from valkeys import Valkey

pytestmark = pytest.mark.system


@pytest.fixture
def origin(home: Path) -> str:
    port = free_port()
    (home / "proxy.yaml").write_text((home / "proxy.yaml").read_text() + f'\ndesk: {{listen: "127.0.0.1:{port}"}}\n')
    return f"http://127.0.0.1:{port}"


def sign_in(browser: requests.Session, origin: str) -> None:
    word = urlsplit(cli("desk", "--link", "--as", "ben", "--json").ok().json["url"]).query.partition("=")[2]
    answer = browser.post(f"{origin}/enter", {"link": word}, headers={"Origin": origin}, timeout=10)
    assert "Nothing waits for you" in answer.text


def soon(browser: requests.Session, url: str, is_so: Callable[[requests.Response], bool]) -> requests.Response:
    """Ask until it is so, and never be shown how a program failed."""
    deadline_s = time.monotonic() + 10
    while True:
        answer = browser.get(url, timeout=10)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        assert "Traceback" not in answer.text
        if is_so(answer):
            return answer
        assert time.monotonic() < deadline_s, answer.text
        time.sleep(0.05)


def test_a_desk_outlives_its_store_and_does_not_say_that_nothing_waits_meanwhile(home: Path, origin: str) -> None:
    with Valkey() as store, requests.Session() as browser:
        (home / "proxy.yaml").write_text((home / "proxy.yaml").read_text() + f"\nredis_url: {store.url}\n")
        log = home / "log"
        with log.open("w") as errors, running("desk", errors=errors.fileno()) as (desk, line):
            assert "review desk ready" in line
            sign_in(browser, origin)
            store.kill()
            told = soon(browser, f"{origin}/", lambda answer: "Nothing waits" not in answer.text)
            assert "What waits for you is not known now" in told.text and "The store does not answer" in told.text
            store.start()
            soon(browser, f"{origin}/", lambda answer: "Nothing waits for you" in answer.text)
            desk.kill()
            desk.wait()
        assert "Traceback" not in log.read_text()


def test_a_desk_that_was_killed_knows_who_was_signed_in_and_one_with_damaged_files_starts(
    home: Path, origin: str
) -> None:
    with Valkey() as store, requests.Session() as browser:
        (home / "proxy.yaml").write_text((home / "proxy.yaml").read_text() + f"\nredis_url: {store.url}\n")
        with running("desk") as (desk, _):
            sign_in(browser, origin)
            with running("desk", errors=subprocess.STDOUT) as (_, line):
                assert "Traceback" not in line and "already in use" in line
            desk.kill()
            desk.wait()
        with running("desk") as (desk, _):
            assert "Nothing waits for you" in browser.get(f"{origin}/", timeout=10).text
            desk.kill()
            desk.wait()
        sessions = home / "state" / "desk" / "sessions.json"
        sessions.write_text("7")
        sessions.chmod(0o600)
        with running("desk") as (_, line):
            assert "review desk ready" in line
            assert browser.get(f"{origin}/queue", timeout=10).status_code == 401
            sign_in(browser, origin)
