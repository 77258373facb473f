"""The whole story on a real proxy, store, desk and origin, in a real browser: held, read, decided, and what follows."""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clirun import cli, free_port, running
from identities import AGENT, SPONSOR, key
from rawclient import Response

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect
from roomservers import CHROMIUM, chromium, shoot
from towns import ROOMY, Town, open_town

from proxy.agent.keyfile import save_key
from proxy.core.model import Verdict

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]


@dataclass(kw_only=True)
class Story:
    """A town with a desk, which can be stopped and started, and agents that wait."""

    town: Town
    port: int
    desk: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    def open(self) -> None:
        """Start the desk, as a process of its own."""
        self.desk.enter_context(running("desk", "-c", self.town.house.folder, errors=subprocess.STDOUT))

    def close(self) -> None:
        self.desk.close()

    def link(self, person: str) -> str:
        made = cli("desk", "--link", "--as", person, "--json", "-c", self.town.house.folder).ok().json
        return f"{self.origin}{urlsplit(made['url']).path}?{urlsplit(made['url']).query}"

    def aside[T](self, work: Callable[[], T]) -> T:
        """Do something that runs a loop of its own: Playwright has one in this thread."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result(30)

    def hold_of(self, asking: "Asking") -> str:
        return self.aside(lambda: self.town.wait_for_hold(asking.chain))

    def decide(self, hold: str, verdict: Verdict, reason: str) -> None:
        """The sponsor's word, said elsewhere."""
        self.aside(lambda: self.town.house.decide(hold, verdict, by=SPONSOR, reason=reason))

    def asks(self, path: str) -> "Asking":
        """An agent asks for something outside its mandate, and waits for the answer."""
        asking = Asking(town=self.town, url=self.town.url("tls", path), chain=self.town.house.chain())
        asking.start()
        return asking


class Asking(threading.Thread):
    """An agent whose connection waits."""

    def __init__(self, *, town: Town, url: str, chain: tuple[str, str]) -> None:
        super().__init__(daemon=True)
        self._town, self._url, self.chain = town, url, chain
        self._answers: list[Response] = []

    def run(self) -> None:
        prefer = [("Prefer", "wait=30")]
        self._answers.append(self._town.house.call("GET", self._url, chain=self.chain, headers=prefer, timeout_s=40))

    def answer(self) -> Response:
        self.join(40)
        (answer,) = self._answers
        return answer


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    port = free_port()
    settings = f'{ROOMY}desk: {{listen: "127.0.0.1:{port}"}}\n'
    with open_town(tmp_path_factory.mktemp("story"), workers=1, extra=settings) as town:
        save_key(town.house.settings.state / "desk.key", key("desk"))
        found = Story(town=town, port=port)
        found.open()
        yield found
        found.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(story: Story, browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(story.link(SPONSOR))
    expect(page.get_by_role("button", name="Continue as Ada")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing waits for you")
    expect(page.locator("#live-state")).to_have_text("live")
    yield page
    context.close()


def test_a_held_call_appears_is_released_by_keyboard_and_passes_once(story: Story, page: Page) -> None:
    before = story.town.tls.mark()
    asking = story.asks("/v1/payroll/1")
    expect(page.get_by_role("heading", level=1)).to_contain_text("invoice-bot wants to GET /v1/payroll/1")
    assert story.town.tls.since(before).requests == ()
    expect(page.get_by_role("button", name="Release once")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"released by {SPONSOR}")
    assert asking.answer().status == 200
    (seen,) = story.town.tls.since(before).requests
    assert seen.target == "/v1/payroll/1"
    page.goto(f"{story.origin}/agents/{AGENT}")
    expect(page.get_by_role("region", name="What it did of late")).to_contain_text("/v1/payroll/1")
    in_history(page, story, "v1/payroll/1", "released by Ada Example (ada)", "sent, answered 200")
    shoot(page, "story-history")


def test_the_reason_of_a_denial_reaches_the_agent_and_nothing_is_sent(story: Story, page: Page) -> None:
    before = story.town.tls.mark()
    asking = story.asks("/v1/payroll/2")
    expect(page.get_by_role("heading", level=1)).to_contain_text("/v1/payroll/2")
    expect(page.get_by_role("button", name="Release once")).to_be_focused()
    page.keyboard.press("d")
    page.keyboard.type("payroll is not its task")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"denied by {SPONSOR}")
    answer = asking.answer()
    assert answer.status == 403 and "payroll is not its task" in json.dumps(json.loads(answer.body))
    assert story.town.tls.since(before).requests == ()
    in_history(page, story, "v1/payroll/2", "denied by Ada Example (ada)", "payroll is not its task")


def test_a_desk_that_was_restarted_shows_what_happened_meanwhile(story: Story, page: Page) -> None:
    first = story.asks("/v1/payroll/3")
    expect(page.get_by_role("heading", level=1)).to_contain_text("/v1/payroll/3")
    story.close()
    expect(page.locator("#live-state")).to_contain_text("not connected")
    story.decide(story.hold_of(first), Verdict.ALLOW, "by phone")
    assert first.answer().status == 200
    second = story.asks("/v1/payroll/4")
    hold = story.hold_of(second)
    story.open()
    expect(page.locator("#live-state")).to_have_text("live", timeout=20_000)
    expect(page.locator("#standing")).to_contain_text("by phone")
    expect(page.locator("#following")).to_contain_text("/v1/payroll/4")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_contain_text("/v1/payroll/4")
    story.decide(hold, Verdict.DENY, "elsewhere")
    expect(page.locator("#standing")).to_contain_text("Denied by Ada Example (ada)")
    expect(page.get_by_role("button", name="Release once")).to_have_count(0)
    assert second.answer().status == 403


def in_history(page: Page, story: Story, what: str, *says: str) -> None:
    """The history tells that of a call, as soon as workers have written it down."""
    row = page.locator("[data-row]", has_text=what)
    deadline_s = time.monotonic() + 10
    while True:
        page.goto(f"{story.origin}/history?search={what}")
        said = [" ".join(text.split()) for text in row.all_text_contents()]
        if len(said) == 1 and all(words in said[0] for words in says):
            return
        assert time.monotonic() < deadline_s, said
