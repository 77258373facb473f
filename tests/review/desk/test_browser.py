"""The desk in a real browser: the story of a held call, by keyboard, live, and without script."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from identities import DEPUTY, SPONSOR

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from payloads import MARKUP, UNSEEN
from playwright.sync_api import Browser, Dialog, Page, expect
from roomservers import CHROMIUM, ServedRoom, chromium, served, shoot, signed_in

from proxy.review.desk.parts import Earlier

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

ERP = "https://erp.example"
NOT_IN_PATHS = dict.fromkeys(map(ord, "/%\\."), "-")
BODY = b'{"invoice": "2043", "amount": 1250.10, "currency": "EUR", "api_key": "s3cret-value", "note": "p\xd0\xb0ypal"}'
JSON = [("Content-Type", "application/json"), ("Authorization", "Bearer s3cret"), ("X-Request", "<b>bold</b>")]


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
    ben.keyboard.press("d")
    ben.keyboard.type("not their task")
    ben.keyboard.press("Enter")
    expect(ben.get_by_role("heading", level=1)).to_have_text(f"denied by {DEPUTY}")
    expect(maria.locator("#standing")).to_contain_text("Denied by Ben")
    expect(maria.get_by_role("button", name="Release once")).to_have_count(0)
    context.close()
    other.close()


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


def test_without_script_a_call_is_read_and_denied(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context(java_script_enabled=False)
    page = signed_in(context, desk, SPONSOR)
    expect(page.get_by_role("heading", level=1)).to_contain_text("invoice-bot wants to GET /v1/customers/42")
    page.get_by_label("Deny, because").fill("not its task")
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"denied by {SPONSOR}")
    assert desk.state(hold) == "denied"
    context.close()


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
    hold = desk.file(f"{ERP}/v1/customers/42", ttl_s=4)
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.get_by_role("button", name="Release once")).to_be_visible()
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_every_page_fits_in_light_and_dark(desk: ServedRoom, browser: Browser, scheme: str, width: int) -> None:
    now = datetime.now(UTC)
    desk.room.earlier = (
        Earlier(at=now - timedelta(minutes=2), what="allow", asked=f"GET {ERP}/v1/invoices/2043", why="allowed"),
        Earlier(at=now - timedelta(minutes=1), what="deny", asked=f"GET {ERP}/admin/users", why="policy.denied"),
    )
    hold = desk.file(f"{ERP}/v1/customers/42?token=abc", body=BODY, headers=JSON, ttl_s=600)
    risky = desk.file(f"{ERP}/v1/customers/42", method="DELETE", ttl_s=1800)
    for number in range(3):
        desk.file(f"{ERP}/v1/salaries/{number}")
    desk.decide(desk.file(f"{ERP}/v1/customers/1"), release=True)
    desk.decide(desk.file(f"{ERP}/v1/customers/2"), release=False)
    context = browser.new_context(
        viewport={"width": width, "height": 844 if width == 390 else 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        device_scale_factor=1,
    )
    page = signed_in(context, desk, SPONSOR)
    faults = watch(page)
    name = f"{scheme}-{'phone' if width == 390 else 'desktop'}"
    group = ""
    for path, title in (
        (f"/holds/{hold.id}", "card"),
        (f"/holds/{risky.id}", "risky"),
        (f"/holds/{risky.id}/release", "confirm"),
        ("/queue", "queue"),
        ("/groups/", "group"),
        ("/history", "history"),
        ("/help", "help"),
        (f"/holds/{hold.id}/propose", "propose"),
        ("/holds/none", "not-here"),
    ):
        page.goto(f"{desk.origin}{path}{group if path == '/groups/' else ''}")
        if title == "queue":
            expect(page.locator(".groups a")).to_have_count(1)
            group = (page.locator(".groups a").first.get_attribute("href") or "").rpartition("/")[2]
        shoot(page, f"{title}-{name}")
        violations = Axe().run(page).response["violations"]
        assert violations == [], [(each["id"], each["nodes"][0]["html"]) for each in violations]
        assert too_wide(page) <= 0, title
    assert [fault for fault in faults if "404" not in fault] == []
    context.close()
