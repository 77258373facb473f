"""A real desk on a real store: killed, restarted, without its store, on damaged files."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import requests
from clirun import cli, free_port, running
from offices import Office
from reviewrooms import hidden
from valkeys import Valkey

from proxy.stores.embedded import EmbeddedStore

pytestmark = pytest.mark.system


@pytest.fixture
def origin(home: Path) -> str:
    port = free_port()
    (home / "proxy.yaml").write_text((home / "proxy.yaml").read_text() + f'\ndesk: {{listen: "127.0.0.1:{port}"}}\n')
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def embedded(home: Path) -> Iterator[EmbeddedStore]:
    """The deployment's own store, which does not outlive the test."""
    store = EmbeddedStore(home / "state")
    yield store
    store.stop()


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
            hold = Office(home=home, valkey=store).file()
            card = soon(browser, f"{origin}/holds/{hold.id}", lambda answer: answer.status_code == 200)
            store.freeze()
            with closing(HTTPConnection(urlsplit(origin).netloc, timeout=30)) as said:
                fields = {**hidden(card.text), "reason": "not their task"}
                cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies)
                headers = {"Origin": origin, "Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
                said.request("POST", f"/holds/{hold.id}/deny", urlencode(fields), headers)
                assert browser.get(f"{origin}/passkeys", timeout=10).ok  # so the other has been read, too
                desk.terminate()
                answer = said.getresponse()
                assert answer.status == 503 and b"was recorded is not known: look" in answer.read()
            assert desk.wait(10) == 0
            store.thaw()
        assert "Traceback" not in log.read_text()


def test_a_desk_that_was_killed_knows_who_was_signed_in_and_one_with_damaged_files_starts(
    home: Path, origin: str, embedded: EmbeddedStore
) -> None:
    with requests.Session() as browser:
        with running("desk") as (desk, _):
            sign_in(browser, origin)
            with running("desk", errors=subprocess.STDOUT) as (_, line):
                assert "Traceback" not in line and "already in use" in line
            other = home / "other.yaml"
            other.write_text((home / "proxy.yaml").read_text().replace(urlsplit(origin).netloc, "127.0.0.1:0"))
            with running("desk", "-c", other, errors=subprocess.STDOUT) as (_, line):  # elsewhere, on the same state
                assert "another process writes the journal" in line and "stop that one" in line
            desk.kill()
            desk.wait()
        before = embedded.pid()
        with running("desk") as (desk, _):  # takes up the store that was left running
            assert "Nothing waits for you" in browser.get(f"{origin}/", timeout=10).text
            assert embedded.pid() == before is not None
            os.kill(before, signal.SIGKILL)
            soon(browser, f"{origin}/", lambda _: embedded.pid() not in (None, before))  # and brings it back
            soon(browser, f"{origin}/", lambda answer: "Nothing waits for you" in answer.text)
            desk.kill()
            desk.wait()
        sessions = home / "state" / "desk" / "sessions.json"
        sessions.write_text("7")
        sessions.chmod(0o600)
        with running("desk") as (_, line):
            assert "review desk ready" in line
            assert browser.get(f"{origin}/queue", timeout=10).status_code == 401
            sign_in(browser, origin)
