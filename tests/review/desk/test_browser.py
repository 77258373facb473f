"""The desk in a real browser: the story of a held call, by keyboard, live, and without script."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from identities import DEPUTY, SPONSOR

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect
from roomservers import CHROMIUM, ServedRoom, chromium, served, shoot, signed_in

from proxy.review.desk.parts import Earlier

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

ERP = "https://erp.example"
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
        ("/help", "help"),
        (f"/holds/{hold.id}/propose", "propose"),
        ("/holds/none", "not-here"),
    ):
        page.goto(f"{desk.origin}{path}{group if path == '/groups/' else ''}")
        if title == "queue":
            expect(page.locator(".groups a")).to_have_count(1)
            group = (page.locator(".groups a").first.get_attribute("href") or "").rpartition("/")[2]
        shoot(page, f"{title}-{name}")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{title} is {wide} px wider than the window"
    assert [fault for fault in faults if "404" not in fault] == []
    context.close()
