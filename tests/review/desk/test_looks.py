"""How the desk's pages look and are used: every page of its routing table, in light and dark, on a phone, by keyboard.

`DESK_PICTURES=DIR` keeps a picture of each.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from identities import SPONSOR

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from deskpages import ERP, EveryWay, Scene, idle, pages_of, scene, stopped
from playwright.sync_api import Browser, Page, expect
from roomservers import CHROMIUM, ServedRoom, chromium, served, shoot, signed_in

from proxy.review.desk.app import desk_routes

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},
    "resultTypes": ["violations"],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ServedRoom]:
    with served(tmp_path, EveryWay) as found:
        yield found


def violations(page: Page, only: list[str] | None) -> list[tuple[str, str]]:
    """What axe finds, by all of its rules or by some."""
    wanted = RULES if only is None else {"runOnly": only, "resultTypes": ["violations"]}
    found = Axe().run(page, options=wanted).response["violations"]
    return [(each["id"], node["html"][:160]) for each in found for node in each["nodes"]]


def too_wide(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def watch(page: Page) -> list[str]:
    """Everything that went wrong in a page, but for answers that say no."""
    said: list[str] = []
    page.on("pageerror", lambda fault: said.append(f"error: {fault}"))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    return said


# --- states that a form leads to --------------------------------------------------------------------------------------


def a_denial_without_reason(page: Page, here: Scene) -> None:
    page.goto(f"{here.desk.origin}/holds/{here.hold.id}")
    page.locator("form[action$='/deny']").evaluate("form => { form.noValidate = true }")
    page.locator("form[action$='/deny'] button").click()
    expect(page.get_by_role("alert")).to_contain_text(
        "Nothing was decided. A denial, which the agent reads, needs a reason."
    )
    expect(page.get_by_role("alert")).to_be_focused()  # and not a button, which the next Enter would press
    expect(page.get_by_role("alert")).to_be_in_viewport()


def a_denial(page: Page, here: Scene) -> None:
    hold = here.desk.file(f"{ERP}/v1/customers/80")
    page.goto(f"{here.desk.origin}/holds/{hold.id}")
    page.get_by_label("Deny, because").fill("not its task")
    page.locator("form[action$='/deny'] button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"denied by {SPONSOR}")


def a_word_too_late(page: Page, here: Scene) -> None:
    hold = here.desk.file(f"{ERP}/v1/customers/81")
    page.goto(f"{here.desk.origin}/holds/{hold.id}")
    page.route("**/events*", lambda route: route.abort())
    page.reload()
    here.desk.decide(hold, release=False)
    page.locator("#release").click()
    page.unroute("**/events*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("is denied: decided by")


def credentials(page: Page, here: Scene) -> None:
    page.goto(f"{here.desk.origin}/holds/{here.hold.id}")
    page.get_by_role("button", name="Show what may be credentials").click()
    expect(page.get_by_text("Credentials are shown")).to_be_visible()


def a_group(page: Page, here: Scene) -> None:
    for number in range(2):
        here.desk.file(f"{ERP}/v1/parcels/{number}")
    page.goto(f"{here.desk.origin}/queue?search=parcels")
    page.locator(".groups a").first.click()
    page.get_by_label("Reason").fill("month end")
    page.get_by_role("button", name="Deny these 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Denied: 2 of 2")


def everything_open(page: Page, here: Scene) -> None:
    page.goto(f"{here.desk.origin}/holds/{here.hold.id}")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")


def an_agent_that_is_stopped(page: Page, here: Scene) -> None:
    stopped(here.desk)
    page.goto(f"{here.desk.origin}/agents/{here.values['agent']}")
    expect(page.get_by_text("It is stopped")).to_be_visible()


def a_word_that_a_passkey_signs(page: Page, here: Scene) -> None:
    page.goto(f"{here.desk.origin}{here.states['risky']}")
    page.locator("#release").click()
    expect(page.get_by_role("heading", name="What your passkey signs")).to_be_visible()


def a_passkey_that_is_made(page: Page, here: Scene) -> None:
    page.goto(f"{here.desk.origin}/passkeys")
    page.get_by_label("What it is").fill("blue stick")
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_role("button", name="Make it")).to_be_visible()


LED_TO: dict[str, Callable[[Page, Scene], None]] = {
    "card-form-error": a_denial_without_reason,
    "result": a_denial,
    "result-too-late": a_word_too_late,
    "revealed": credentials,
    "together": a_group,
    "card-all-open": everything_open,
    "passkey-sign": a_word_that_a_passkey_signs,
    "passkey-make": a_passkey_that_is_made,
    "agent-stopped": an_agent_that_is_stopped,
}


def visited(page: Page, here: Scene) -> Iterator[str]:
    """Every page and every state of one, in this window, by name."""
    for name, path in here.pages().items():
        page.goto(f"{here.desk.origin}{path}")
        yield name
    for name, lead in LED_TO.items():
        lead(page, here)
        yield name


# --- every page ------------------------------------------------------------------------------------------------------


def test_every_page_of_the_routing_table_is_looked_at(desk: ServedRoom) -> None:
    listed = pages_of(desk_routes(desk.room.parts))
    assert {"/", "/queue", "/holds/{hold}", "/history", "/reviewers", "/agents", "/agents/{agent}"} <= {*listed}
    assert len(scene(desk).pages()) > len(listed)


LOOKS = (
    ("light-desktop", "light", DESKTOP, None),
    ("dark-desktop", "dark", DESKTOP, ["color-contrast"]),
    ("light-phone", "light", PHONE, ["target-size", "scrollable-region-focusable"]),
    ("dark-phone", "dark", PHONE, []),
    ("zoomed", "light", {"width": 640, "height": 450}, []),  # 1280 pixels at 200 %
    ("narrow", "light", {"width": 320, "height": 600}, []),
)
"""Every look, and what may differ in it from the first: those rules of axe alone, or none but that it fits."""


def look_at(page: Page, name: str) -> list[object]:
    """What is wrong with a page, in any look; a picture of each is kept."""
    found: list[object] = []
    for look, scheme, size, rules in LOOKS:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        shoot(page, f"{name}-{look}")
        if (wide := too_wide(page)) > 0:
            found.append(f"{look}: {wide} pixels too wide")
        if size is PHONE and rules != []:  # all of it in the window: nothing is under what stays at its foot
            page.set_viewport_size({**size, "height": 12_000})  # type: ignore[arg-type, typeddict-item]
        if rules != []:
            found += [(look, *each) for each in violations(page, rules)]
    return found


@pytest.mark.timeout(400)  # some fifty pages and states, each in six looks
def test_no_page_has_a_fault_that_axe_finds_and_each_fits_light_and_dark_on_a_phone_and_zoomed(
    desk: ServedRoom, browser: Browser
) -> None:
    here = scene(desk)
    context = browser.new_context(reduced_motion="reduce")
    page = signed_in(context, desk, SPONSOR)
    faults, found = watch(page), dict[str, object]()
    for name in visited(page, here):
        if wrong := look_at(page, name):
            found[name] = wrong
        page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    for name, lone in outside(browser, desk):
        if wrong := look_at(lone, name):
            found[name] = wrong
        lone.context.close()
    assert found == {}
    assert [fault for fault in faults if "status of 4" not in fault and "ERR_FAILED" not in fault] == []
    context.close()


def outside(browser: Browser, desk: ServedRoom) -> Iterator[tuple[str, Page]]:
    """Pages before signing in, and of somebody for whom nothing waits."""
    door = browser.new_context().new_page()
    door.goto(f"{desk.origin}/queue")
    yield "door-of-a-page", door
    link = browser.new_context().new_page()
    link.goto(desk.link(SPONSOR))
    yield "link", link
    nothing = idle(browser.new_context(), desk)
    expect(nothing.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    yield "empty", nothing


# --- by keyboard -----------------------------------------------------------------------------------------------------

CONTROLS = """() => [...document.querySelectorAll(
    "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")]
  .filter(each => each.checkVisibility({visibilityProperty: true}) && !each.disabled)
  .filter(each => each.type !== "radio" || each === document.querySelector(`[name="${each.name}"]`))
  .map((each, number) => { each.dataset.number = number; return each.outerHTML.slice(0, 90); })"""
FOCUSED = """() => {
  const each = document.activeElement;
  if (each === document.body) return null;
  const box = each.getBoundingClientRect(), style = getComputedStyle(each);
  const inset = 2, xs = [box.left + inset, (box.left + box.right) / 2, box.right - inset];
  const ys = [box.top + inset, (box.top + box.bottom) / 2, box.bottom - inset];
  const seen = xs.some(x => ys.some(y => {
    const top = document.elementFromPoint(x, y);
    return top !== null && (each.contains(top) || top.contains(each) && top.closest(".reach") === null);
  }));
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return {number: Number(each.dataset.number ?? -1), html: each.outerHTML.slice(0, 90), seen, ring};
}"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_control_is_reached_by_tab_in_its_order_seen_and_marked(
    desk: ServedRoom, browser: Browser, size: dict[str, int]
) -> None:
    here = scene(desk)
    context = browser.new_context(viewport=size, reduced_motion="reduce")  # type: ignore[arg-type]
    page = signed_in(context, desk, SPONSOR)
    page.route("**/events*", lambda route: route.abort())  # a part that is loaded anew has no numbers
    wanted = (
        "holds-one",
        "risky-confirm",
        "queue",
        "groups-one",
        "history",
        "reviewers",
        "agents",
        "agents-one",
        "passkeys",
    )
    paths = here.pages()
    faults: list[tuple[str, object]] = []
    for name in wanted:
        page.goto(f"{desk.origin}{paths[name]}#from-the-top")
        controls = page.evaluate(CONTROLS)
        reached: list[int] = []
        for _ in controls:
            page.keyboard.press("Tab")
            focus = page.evaluate(FOCUSED)
            if focus is None:
                break
            reached.append(focus["number"])
            if not (focus["seen"] and focus["ring"]):
                faults.append((name, focus))
        missed = [html for number, html in enumerate(controls) if number not in reached]
        if missed or reached != sorted(reached):
            faults.append((name, missed or reached))
    assert faults == []
    context.close()


def test_the_skip_links_lead_to_the_content_and_to_the_decision(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    for presses, target in ((1, "main"), (2, "decide")):
        page.goto("about:blank")  # else it is the same document still, and something in it has the focus
        page.goto(f"{desk.origin}/holds/{hold.id}#from-the-top")
        for _ in range(presses):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(f"#{target}")).to_be_focused()
    context.close()


def test_on_a_phone_the_decision_is_in_reach_wherever_one_reads(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", body=b'{"line": 1}\n' * 400, headers=[("Content-Type", "text/plain")])
    context = browser.new_context(viewport=PHONE, java_script_enabled=False)  # type: ignore[arg-type]
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    for part in ("consequence", "why", "call", "before"):
        page.locator(f"#{part}").scroll_into_view_if_needed()
        expect(page.locator(".reach button")).to_be_in_viewport(ratio=1)
    page.locator(".reach a", has_text="Deny").click()
    expect(page.locator("#deny-reason")).to_be_in_viewport()
    page.locator(".reach button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"released by {SPONSOR}")
    context.close()


def test_on_a_phone_what_a_passkey_signs_is_as_near(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", quorum=2)
    context = browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    page.locator(".reach button").click()
    expect(page.get_by_role("heading", name="What your passkey signs")).to_be_visible()
    context.close()


# --- for whoever reads with their ears, or wants nothing to move ------------------------------------------------------


def test_what_changes_is_said_politely_and_only_faults_interrupt(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    expect(page.locator("#live-state")).to_have_text("live")
    region = page.locator("#announce")
    assert (region.get_attribute("role"), region.get_attribute("aria-live")) == ("status", "polite")
    expect(page.get_by_role("alert")).to_have_count(0)
    desk.decide(hold, release=False)
    expect(region).to_contain_text("It was not sent. Denied by Ada")
    expect(page.get_by_role("alert")).to_have_count(0)
    context.close()


def test_nothing_moves_for_whoever_asked_for_that(desk: ServedRoom, browser: Browser) -> None:
    moves = """() => [...document.querySelectorAll("*")].filter(each => {
        const style = getComputedStyle(each);
        return style.animationName !== "none" || parseFloat(style.transitionDuration) > 0;
    }).length"""
    desk.file(f"{ERP}/v1/customers/42")
    for wish, most in (("reduce", 0), ("no-preference", 99)):
        context = browser.new_context(reduced_motion=wish)  # type: ignore[arg-type]
        page = signed_in(context, desk, SPONSOR)
        assert page.evaluate(moves) <= most
        context.close()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        pytest.param("/", ["Desk"], id="the frame"),
        pytest.param("/queue", ["Search", "Show", "Agent", "Sponsor", "Risk", "First"], id="filters"),
        pytest.param("/history", ["Search", "Decided by", "Agent", "Became", "In"], id="filters of the past"),
    ],
)
def test_parts_and_fields_have_the_names_that_stand_beside_them(
    desk: ServedRoom, browser: Browser, path: str, names: list[str]
) -> None:
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    page.goto(f"{desk.origin}{path}")
    for name in names:
        if path == "/":
            expect(page.get_by_role("navigation", name=name)).to_be_visible()
        else:
            expect(page.get_by_label(name, exact=True)).to_be_visible()
    context.close()
