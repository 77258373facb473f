"""The desk in a real browser: the story of a held call, by keyboard, live, and without script."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest
from identities import DEPUTY, SPONSOR

pytest.importorskip("playwright")

from deskpages import BODY, ERP, JSON
from payloads import MARKUP, UNSEEN
from playwright.sync_api import Browser, Dialog, Page, expect
from roomservers import CHROMIUM, ServedRoom, chromium, served, shoot, signed_in

from proxy.core.errors import Code, Unavailable
from proxy.review.desk.index import RESET

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

NUMBERS = count(100)
NOT_IN_PATHS = dict.fromkeys(map(ord, "/%\\."), "-")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ServedRoom]:
    with served(tmp_path) as found:
        yield found


def too_wide(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def watch(page: Page) -> list[str]:
    """Everything that went wrong in a page: errors, refused content, requests to elsewhere."""
    said: list[str] = []
    page.on("pageerror", lambda fault: said.append(f"error: {fault}"))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    return said


def test_a_held_call_appears_live_is_read_and_released_by_keyboard(desk: ServedRoom, browser: Browser) -> None:
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    faults = watch(page)
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    shoot(page, "empty-light")
    hold = desk.file(f"{ERP}/v1/customers/42", body=BODY, headers=JSON)
    expect(page.get_by_role("heading", level=1)).to_contain_text("invoice-bot wants to GET /v1/customers/42")
    expect(page.get_by_role("button", name="Release once")).to_be_focused()
    expect(page.get_by_text("Nothing has been sent.")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"released by {SPONSOR}")
    shoot(page, "released-light")
    assert desk.state(hold) == "approved"
    assert faults == []
    context.close()


def test_a_call_decided_elsewhere_while_it_is_open_says_by_whom(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    context, other = browser.new_context(), browser.new_context()
    maria, ben = signed_in(context, desk, SPONSOR), signed_in(other, desk, DEPUTY)
    maria.goto(f"{desk.origin}/holds/{hold.id}")
    ben.goto(f"{desk.origin}/holds/{hold.id}")
    expect(ben.locator("#live-state")).to_have_text("live")
    ben.keyboard.press("d")
    ben.keyboard.type("not their task")
    ben.keyboard.press("Enter")
    expect(ben.get_by_role("heading", level=1)).to_have_text(f"denied by {DEPUTY}")
    expect(maria.locator("#standing")).to_contain_text("Denied by Ben")
    expect(maria.get_by_role("button", name="Release once")).to_have_count(0)
    context.close()
    other.close()


def test_pages_that_nobody_looks_at_keep_no_other_from_opening_and_miss_nothing(
    desk: ServedRoom, browser: Browser
) -> None:
    """A browser has six connections for a site."""
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    context.add_init_script(
        """Object.defineProperty(document, "hidden", {get: () => window.away ?? false});
        window.look = (away) => { window.away = away; document.dispatchEvent(new Event("visibilitychange")); }"""
    )
    signed_in(context, desk, SPONSOR).goto("about:blank")  # closing it at once may wait for ever, in Chromium
    pages = []
    for _ in range(7):
        page = context.new_page()
        page.goto(f"{desk.origin}/holds/{hold.id}")
        expect(page.locator("#live-state")).to_have_text("live")
        page.evaluate("look(true)")
        pages.append(page)
    desk.decide(hold, release=False)
    pages[0].evaluate("look(false)")
    expect(pages[0].locator("#standing")).to_contain_text("Denied by")
    expect(pages[0].locator("#live-state")).to_have_text("live")
    context.close()


def test_a_page_says_that_it_is_old_and_that_the_store_lost_its_call(
    desk: ServedRoom, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise Unavailable(Code.STORE_DOWN, "the store does not answer")

    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.locator("#live-state")).to_have_text("live")
    with monkeypatch.context() as frozen:
        frozen.setattr(desk.room.holds, "get", away)
        desk.room.parts.index._tell_all(RESET)
        expect(page.get_by_role("alert")).to_contain_text("What you see may be old")
    expect(page.get_by_role("alert")).to_have_count(0)  # it asks again by itself
    desk.room.holds.__init__(now=desk.room.time)  # type: ignore[misc]
    desk.room.parts.index._tell_all(RESET)
    expect(page.get_by_role("alert")).to_contain_text("is not there any more")
    page.get_by_role("button", name="Release once").click()
    expect(page.get_by_text("there is no hold")).to_be_visible()
    context.close()


def test_a_held_down_key_presses_nothing_on_the_next_page(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.get_by_role("button", name="Release once")).to_be_focused()
    page.evaluate(
        """document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key: "Enter", repeat: true, bubbles: true, cancelable: true}))"""
    )
    page.keyboard.press("q")
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    assert desk.state(hold) == "held"
    context.close()


def test_what_somebody_types_into_no_field_presses_nothing(desk: ServedRoom, browser: Browser) -> None:
    """A reason begun before the page was ready, or for another one: r is a shortcut, Space presses a button."""
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    release = page.get_by_role("button", name="Release once")
    expect(release).to_be_focused()
    page.keyboard.type("for your order ")
    page.keyboard.press("Enter")
    expect(release).not_to_be_focused()
    assert (page.url, desk.state(hold)) == (f"{desk.origin}/holds/{hold.id}", "held")
    page.wait_for_timeout(600)  # somebody who types pauses, and then means it
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"released by {SPONSOR}")
    context.close()


def test_the_keys_can_be_switched_off(desk: ServedRoom, browser: Browser) -> None:
    desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.get_by_role("button", name="Keyboard shortcuts: on").click()
    expect(page.get_by_role("button", name="Keyboard shortcuts: off")).to_be_visible()
    page.get_by_role("button", name="Keyboard shortcuts: off").evaluate("button => button.blur()")
    page.keyboard.press("q")
    expect(page.get_by_role("heading", level=1)).to_contain_text("invoice-bot wants to")
    context.close()


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Something that can be said on a card, as a browser without script does it."""

    under: str = ""  # the part that is opened first
    fill: tuple[tuple[str, str], ...] = ()  # fields by id
    button: str
    said: str  # what the answer's title says
    state: str = "held"  # the hold's, after it


PLAIN = (
    pytest.param(Plain(button="Release once", said="released by", state="approved"), id="release"),
    pytest.param(
        Plain(
            under="With a reason",
            fill=(("release-reason", "seen"),),
            button="Release once",
            said="released by",
            state="approved",
        ),
        id="release with a reason",
    ),
    pytest.param(
        Plain(fill=(("deny-reason", "not its task"),), button="Deny", said="denied by", state="denied"), id="deny"
    ),
    pytest.param(
        Plain(
            under="Release calls like it, too",
            fill=(("grant-reason", "stock-taking"), ("grant-count", "3")),
            button="Release these",
            said="released by",
            state="approved",
        ),
        id="release calls like it",
    ),
    pytest.param(
        Plain(under="Comment", fill=(("comment-text", "look at the date"),), button="Note it", said="commented on by"),
        id="comment",
    ),
    pytest.param(
        Plain(
            under="More time",
            fill=(("extend-reason", "at lunch"), ("extend-minutes", "90")),
            button="Let it wait longer",
            said="",
        ),
        id="more time",
    ),
    pytest.param(
        Plain(
            under="Let the deputies decide now",
            fill=(("escalate-reason", "on a train"),),
            button="Escalate",
            said="",
        ),
        id="escalate",
    ),
    pytest.param(
        Plain(
            under="End it without a decision",
            fill=(("cancel-reason", "filed twice"),),
            button="End it",
            said="",
            state="cancelled",
        ),
        id="cancel",
    ),
)


@pytest.fixture(scope="module")
def plain_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedRoom]:
    with served(tmp_path_factory.mktemp("plain")) as found:
        yield found


@pytest.fixture(scope="module")
def plain_page(plain_desk: ServedRoom, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False)
    yield signed_in(context, plain_desk, SPONSOR)
    context.close()


@pytest.mark.parametrize("plain", PLAIN)
def test_without_script_it_is_said_by_a_plain_form(plain_desk: ServedRoom, plain_page: Page, plain: Plain) -> None:
    hold, page = plain_desk.file(f"{ERP}/v1/customers/{next(NUMBERS)}"), plain_page
    page.goto(f"{plain_desk.origin}/holds/{hold.id}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("invoice-bot wants to GET /v1/customers/")
    if plain.under:
        page.locator("summary", has_text=plain.under).click()
    for field, text in plain.fill:
        page.locator(f"#{field}").fill(text)
    page.get_by_role("button", name=plain.button, exact=True).click()
    expect(page.locator(".outcome.good h1")).to_contain_text(plain.said)
    assert plain_desk.state(hold) == plain.state


def test_without_script_the_rest_is_done_by_plain_forms_and_links_too(plain_desk: ServedRoom, plain_page: Page) -> None:
    desk, page = plain_desk, plain_page
    title = page.get_by_role("heading", level=1)
    denied = desk.file(f"{ERP}/v1/customers/{next(NUMBERS)}", headers=JSON)
    page.goto(f"{desk.origin}/holds/{denied.id}")
    page.get_by_role("button", name="Show what may be credentials").click()
    expect(page.get_by_text("Bearer s3cret")).to_be_visible()
    desk.decide(denied, release=False)
    page.goto(f"{desk.origin}/holds/{denied.id}")
    page.locator("#lift-reason").fill("it is their task after all")
    page.get_by_role("button", name="Take the denial back").click()
    expect(page.locator(".outcome.good")).to_be_visible()
    for verb, name in (("deny", "Deny these 2"), ("release", "Release these 2, each once")):
        holds = [desk.file(f"{ERP}/v1/{verb}s/{next(NUMBERS)}") for _ in range(2)]
        page.goto(f"{desk.origin}/queue")
        page.get_by_label("Search").fill(f"{verb}s")
        page.get_by_role("button", name="Show").click()
        page.locator(".groups a").click()
        page.get_by_label("Reason").fill("month end")
        page.get_by_role("button", name=name).click()
        expect(title).to_contain_text("2 of 2")
        assert {desk.state(hold) for hold in holds} == {"denied" if verb == "deny" else "approved"}
    page.get_by_role("link", name="History").click()
    page.get_by_label("Became").select_option("denied")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("[data-row]").first).to_contain_text("denied by Ada")
    page.get_by_role("button", name="Sign out").click()
    expect(title).to_have_text("Sign in")


def test_after_a_restart_of_the_desk_an_open_page_goes_on_and_misses_nothing(
    desk: ServedRoom, browser: Browser
) -> None:
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/queue")
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    expect(page.locator("#live-state")).to_have_text("live")
    desk.do(desk.stop())
    expect(page.locator("#live-state")).to_contain_text("not connected")
    desk.file(f"{ERP}/v1/customers/42")
    desk.room.restart()
    desk.do(desk.start())
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.locator("#live-state")).to_have_text("live")
    context.close()


def test_a_hold_that_expires_while_it_is_open_can_no_longer_be_released(desk: ServedRoom, browser: Browser) -> None:
    """Also in a browser whose clock is years ahead, and then is set years back: it is the desk's that counts."""
    hold = desk.file(f"{ERP}/v1/customers/42", ttl_s=4)
    context = browser.new_context()
    context.clock.install(time=datetime(2035, 1, 1, tzinfo=UTC))
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.get_by_role("button", name="Release once")).to_be_visible()
    page.wait_for_function("document.querySelector('#standing .counts').textContent.match(/^[1-4] s$/)")
    page.clock.set_system_time(datetime(2020, 1, 1, tzinfo=UTC))
    expect(page.locator("#standing")).to_contain_text("Nobody decided in time", timeout=15_000)
    expect(page.get_by_role("button", name="Release once")).to_have_count(0)
    context.close()


def test_two_people_see_each_others_word(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    maria_at, ben_at = browser.new_context(), browser.new_context()
    maria, ben = signed_in(maria_at, desk, SPONSOR), signed_in(ben_at, desk, DEPUTY)
    for page in (maria, ben):
        page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(ben.get_by_text("You cannot release it")).to_be_visible()
    maria.get_by_text("Let the deputies decide now").click()
    maria.locator("#escalate-reason").fill("on a train")
    maria.get_by_role("button", name="Escalate").click()
    expect(ben.locator("#said-part")).to_contain_text("on a train")
    expect(ben.get_by_role("button", name="Release once")).to_be_visible()
    maria_at.close()
    ben_at.close()


def test_a_group_is_released_together(desk: ServedRoom, browser: Browser) -> None:
    holds = [desk.file(f"{ERP}/v1/salaries/{number}") for number in range(3)]
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/queue")
    page.locator(".groups a").first.click()
    page.get_by_label("Reason").fill("month end")
    page.get_by_role("button", name="Release these 3").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Released: 3 of 3")
    shoot(page, "together-light")
    assert [desk.state(hold) for hold in holds] == ["approved"] * 3
    context.close()


def test_hostile_calls_run_nothing_and_ask_for_nothing(desk: ServedRoom, browser: Browser) -> None:
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    faults, asked, dialogs = watch(page), list[str](), list[str]()

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", dismiss)
    body = "\n".join((*MARKUP, *UNSEEN)).encode("utf-8", "replace")
    holds = [
        desk.file(
            f"{ERP}/v1/a{quote(text.translate(NOT_IN_PATHS), safe='')}",
            headers=[("X-Note", text), ("Content-Type", "text/html")],
            body=body,
        )
        for text in MARKUP[::6]
    ]
    for hold in holds:
        page.goto(f"{desk.origin}/holds/{hold.id}")
        expect(page.get_by_role("button", name="Release once")).to_be_visible()
        assert too_wide(page) <= 0
    page.goto(f"{desk.origin}/queue")
    assert (faults, dialogs) == ([], [])
    assert [url for url in asked if not url.startswith(f"{desk.origin}/")] == []
    context.close()
