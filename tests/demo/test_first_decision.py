"""A newcomer's first decision: the demo on a terminal, the link it prints in a browser, and what is decided there."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clones import processes_of, temporary

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect
from roomservers import CHROMIUM, chromium
from terminals import LOOK_AROUND, PROMPT, Terminal

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

PROMISE_S = 60.0
"""From the first line that the demo prints to the release that the desk shows as done."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with temporary() as folder:
        opened = Terminal(folder)
        yield opened
        opened.close()
        assert list(folder.iterdir()) == []
        assert processes_of(folder) == []


def link(terminal: Terminal) -> str:
    """The link, as one copies a line of the terminal."""
    terminal.read_until(PROMPT)
    (found,) = re.findall(r"^ *(http://localhost:\d+/enter\?link=[\w-]{43})$", terminal.text, re.MULTILINE)
    return found


def card(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text("invoice-bot wants to GET /v1/payroll/88")


def test_the_first_decision_takes_two_presses_of_enter_and_less_than_a_minute(
    terminal: Terminal, browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    terminal.read_until("A server, a proxy")
    began_s = time.monotonic()

    page.goto(link(terminal))
    expect(page.get_by_role("button", name="Continue as Maria Brandt")).to_be_focused()
    page.keyboard.press("Enter")
    card(page)
    expect(page.locator("#release")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("released by maria")
    assert time.monotonic() - began_s < PROMISE_S

    terminal.read_until(LOOK_AROUND)  # the story has gone on, and the desk is still there
    assert re.search(r"You released it.*GET /v1/payroll/88 +200", terminal.text, re.DOTALL)
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("main")).to_contain_text("1 of 1 that concern you")
    terminal.type("\n")
    assert terminal.end() == 0, terminal.text
    assert "steps did what they claim." in terminal.text
    context.close()


def test_without_script_it_may_be_denied_and_the_story_tells_that(terminal: Terminal, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(link(terminal))
    page.get_by_role("button", name="Continue as Maria Brandt").click()
    card(page)
    for key in ("Tab", "Tab", "Enter", "Tab"):  # as docs/desk.md has it
        page.keyboard.press(key)
    expect(page.locator("#release")).to_be_focused()
    page.get_by_label("Deny, because").fill("not for invoices")
    page.get_by_role("button", name="Deny", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("denied by maria")
    terminal.read_until(LOOK_AROUND)
    assert re.search(r"GET /v1/payroll/88 +403 +denied: hold.denied", terminal.text)
    assert "not for invoices" in terminal.text
    terminal.type("\n")
    assert terminal.end() == 0, terminal.text
    assert "steps did what they claim." in terminal.text
    context.close()
