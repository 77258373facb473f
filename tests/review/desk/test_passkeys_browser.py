"""Passkeys at the desk in a real browser with an authenticator, and at its end a real node that takes them."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import identities
import pytest
from identities import AGENT, REVIEWER, SPONSOR, key

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from authenticators import ORIGIN
from axe_playwright_python.sync_playwright import Axe
from certs import Authority
from clirun import cli, free_port, running
from houses import CLUSTERS, House, house
from origins import Origin
from passkeyrooms import PasskeyRoom, plug_in
from playwright.sync_api import Browser, Page, expect
from roomservers import CHROMIUM, ServedRoom, chromium, served, shoot, signed_in
from towns import ROOMY

from proxy.agent.keyfile import save_key
from proxy.cli.deployment import now
from proxy.core.model import Means, Review, Verdict
from proxy.core.release import read_release
from proxy.policy.bundle import load_bundle, sign_bundle
from proxy.policy.passkeys import read_passkey_line
from proxy.stores.files import private_dir

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's chromium"),
]

ERP = "https://erp.example"
CANCELLED = "It was cancelled, or it took too long. Nothing was signed. You can try again."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ServedRoom]:
    with served(tmp_path, PasskeyRoom) as found:
        yield found


@contextmanager
def person(browser: Browser, desk: ServedRoom, name: str, **about: object) -> Iterator[Page]:
    """A page of somebody who is signed in, their passkey at hand."""
    context = browser.new_context(**about)  # type: ignore[arg-type]
    page = signed_in(context, desk, name)
    if about.get("java_script_enabled", True):
        plug_in(page, name)
    yield page
    context.close()


def script_ran(page: Page) -> None:
    expect(page.get_by_text("with the help of this page's script").first).to_be_hidden()


def sign(page: Page, what: str) -> None:
    script_ran(page)
    page.get_by_role("button", name=f"{what}: sign with your passkey").click()


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def fits(page: Page, title: str) -> None:
    """The page is no wider than its window, and axe finds nothing in it."""
    shoot(page, title)
    violations = Axe().run(page).response["violations"]
    assert violations == [], [(each["id"], each["nodes"][0]["html"]) for each in violations]
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert int(page.evaluate(wide)) <= 0, title


def said(desk: ServedRoom, hold_id: str) -> tuple[str, Means, Verdict, str]:
    found = desk.do(desk.room.holds.get(hold_id))
    assert found is not None and found.statement is not None
    read = read_release(found.statement, hold=found, bundle=desk.room.bundle, barred=frozenset(), now=now())
    return read.by, read.means, read.verdict, read.reason


# --- deciding --------------------------------------------------------------------------------------------------------


def test_a_call_that_may_change_things_is_released_by_keyboard_and_passkey(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
    with person(browser, desk, SPONSOR) as page:
        page.goto(f"{desk.origin}/holds/{hold.id}")
        expect(page.locator("#release")).to_be_focused()
        page.keyboard.press("Enter")
        button = page.get_by_role("button", name="Release this call, once: sign with your passkey")
        expect(button).to_be_focused()
        expect(page.get_by_text(hold.call_digest).first).to_be_visible()
        shoot(page, "passkey-sign")
        script_ran(page)
        page.keyboard.press("Enter")
        heading(page, f"released by {SPONSOR}")
    assert (desk.state(hold), said(desk, hold.id)[:3]) == ("approved", (SPONSOR, Means.PASSKEY, Verdict.ALLOW))


def test_it_is_denied_with_a_passkey_and_a_reason(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
    with person(browser, desk, SPONSOR) as page:
        page.goto(f"{desk.origin}/holds/{hold.id}")
        page.get_by_label("Deny, because").fill("not its task")
        page.get_by_role("button", name="Deny…").click()
        sign(page, "Deny this call")
        heading(page, f"denied by {SPONSOR}")
    assert said(desk, hold.id) == (SPONSOR, Means.PASSKEY, Verdict.DENY, "not its task")


def test_who_cancels_is_told_so_and_may_try_again(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    stick = plug_in(page, SPONSOR)
    stick.verifies(False)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    page.locator("#release").click()
    sign(page, "Release this call, once")
    expect(page.get_by_text(CANCELLED)).to_be_visible()
    shoot(page, "passkey-cancelled")
    assert desk.state(hold) == "held"
    stick.verifies(True)
    sign(page, "Release this call, once")
    heading(page, f"released by {SPONSOR}")
    context.close()


def two_must(**about: object) -> PasskeyRoom:
    """A desk where the sponsor and Cleo must both release."""
    moment = now()
    cluster = identities.cluster(review=Review(always=True, quorum=2, who=(SPONSOR, REVIEWER)))
    world = identities.world(cluster, now=moment)
    return PasskeyRoom(**{**about, "bundle": world.bundle, "tokens": world.tokens})  # type: ignore[arg-type]


def test_two_people_with_two_passkeys_release_what_two_must(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, two_must) as desk:  # type: ignore[arg-type]
        hold = desk.file(f"{ERP}/v1/invoices/7")
        with person(browser, desk, SPONSOR) as ada, person(browser, desk, REVIEWER) as cleo:
            for page in (ada, cleo):
                page.goto(f"{desk.origin}/holds/{hold.id}")
            ada.locator("#release").click()
            expect(ada.get_by_text("0 of 2 released")).to_be_visible()
            sign(ada, "Release this call, once")
            heading(ada, f"released by {SPONSOR}, 1 of 2: 1 more must")
            assert desk.state(hold) == "held"
            expect(cleo.get_by_text("1 of 2 released")).to_be_visible()  # without loading anew
            cleo.locator("#release").click()
            sign(cleo, "Release this call, once")
            heading(cleo, f"released by {SPONSOR} and {REVIEWER}")
        assert desk.state(hold) == "approved"


def test_while_it_is_to_be_signed_another_decides_and_the_page_says_who(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
    with person(browser, desk, SPONSOR) as page:
        page.goto(f"{desk.origin}/holds/{hold.id}")
        page.locator("#release").click()
        expect(page.get_by_role("button", name="sign with your passkey")).to_be_visible()
        desk.decide(hold, release=False)
        expect(page.locator("#standing")).to_contain_text("Denied by Ada Example (ada)")
        expect(page).to_have_url(f"{desk.origin}/holds/{hold.id}")


def test_a_group_is_signed_one_after_the_other(desk: ServedRoom, browser: Browser) -> None:
    holds = [desk.file(f"{ERP}/v1/customers/{number}", method="DELETE") for number in range(2)]
    with person(browser, desk, SPONSOR) as page:
        page.goto(f"{desk.origin}/queue")
        page.locator(".groups a").first.click()
        page.get_by_label("Reason").fill("they asked to be forgotten")
        page.get_by_role("button", name="Release these 2, one by one…").click()
        sign(page, "Release this call, once")
        expect(page.get_by_text("1 left to release")).to_be_visible()
        page.get_by_role("button", name="The next of the group…").click()
        sign(page, "Release this call, once")
        heading(page, f"released by {SPONSOR}")
        expect(page.get_by_role("button", name="The next of the group…")).to_have_count(0)
    assert [desk.state(hold) for hold in holds] == ["approved"] * 2


def test_without_script_the_page_says_what_it_needs_and_how_else(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
    with person(browser, desk, SPONSOR, java_script_enabled=False) as page:
        page.goto(f"{desk.origin}/holds/{hold.id}")
        page.locator("#release").click()
        expect(page.get_by_text("with the help of this page's script")).to_be_visible()
        expect(page.get_by_role("button", name="sign with your passkey")).to_have_count(0)
        expect(page.get_by_text(f"intent-proxy holds release {hold.id} --as {SPONSOR}")).to_be_visible()


def test_another_persons_passkey_is_not_even_offered(desk: ServedRoom, browser: Browser) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
    context = browser.new_context()
    page = signed_in(context, desk, SPONSOR)
    plug_in(page, REVIEWER)
    page.goto(f"{desk.origin}/holds/{hold.id}")
    page.locator("#release").click()
    sign(page, "Release this call, once")
    expect(page.get_by_text(CANCELLED)).to_be_visible()
    assert desk.state(hold) == "held"
    context.close()


# --- making one ------------------------------------------------------------------------------------------------------


def test_a_passkey_is_made_enrolled_by_an_operator_and_decides(tmp_path: Path, browser: Browser) -> None:
    with served(tmp_path, PasskeyRoom, without=[SPONSOR]) as desk:
        hold = desk.file(f"{ERP}/v1/customers/42", method="DELETE")
        context = browser.new_context()
        page = signed_in(context, desk, SPONSOR)
        plug_in(page)
        page.goto(f"{desk.origin}/holds/{hold.id}/release")
        page.get_by_role("link", name="Your passkeys").click()
        page.get_by_label("What it is").fill("blue stick")
        page.get_by_role("button", name="Make a passkey").click()
        fits(page, "passkey-make")
        page.get_by_role("button", name="Make it").click()
        heading(page, "blue stick")
        fits(page, "passkey-made")
        told = page.locator("pre.command").inner_text()
        new = read_passkey_line(next(line for line in told.splitlines() if line.startswith("{")))
        expect(page.locator("#fingerprint")).to_have_text(new.key.kid)
        assert isinstance(desk.room, PasskeyRoom)
        desk.room.enrol(SPONSOR, new)
        page.goto(f"{desk.origin}/holds/{hold.id}")
        page.locator("#release").click()
        sign(page, "Release this call, once")
        heading(page, f"released by {SPONSOR}")
        assert said(desk, hold.id)[:2] == (SPONSOR, Means.PASSKEY)
        page.goto(f"{desk.origin}/passkeys")
        page.get_by_label("What it is").fill("the same again")
        page.get_by_role("button", name="Make a passkey").click()
        page.get_by_role("button", name="Make it").click()
        expect(page.get_by_text("has a passkey of yours for this desk already")).to_be_visible()
        context.close()


# --- on a real node --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """A running proxy, its origin, and its desk."""

    house: House
    origin: Origin
    desk: str

    def link(self, name: str) -> str:
        said = cli("desk", "-c", self.house.folder, "--link", "--as", name, "--json").ok().json
        return str(said["url"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, port, authority = tmp_path_factory.mktemp("place"), free_port(), Authority()
    with Origin() as plain, Origin(tls=authority.server("erp.example")) as tls:
        extra = f"{ROOMY}desk: {{listen: '127.0.0.1:{port}'}}\nupstream_cas: [{authority.write(folder)}]\n"
        text = CLUSTERS.format(http=plain.port, https=tls.port)
        with house(folder, clusters=text, extra=extra, start=False) as built:
            people, desk = folder / "people.yaml", f"http://localhost:{port}"
            people.write_text(people.read_text().replace(ORIGIN, desk))
            sign_bundle(built.settings, key("operator"), now=now())
            built.bundle = load_bundle(built.settings, dev=False, floor=0)
            save_key(private_dir(built.settings.state) / "desk.key", key("desk"))
            built.start()
            with running("desk", "-c", folder) as (_, line):
                assert "review desk ready" in line
                yield Place(house=built, origin=plain, desk=desk)


def test_an_agents_call_passes_once_when_its_sponsor_released_it_with_a_passkey(place: Place, browser: Browser) -> None:
    it, path, chain = place.house, f"/v1/orders/{secrets.token_hex(6)}", place.house.chain()
    body, url, before = b'{"amount": 17}', place.origin.url(path, host="erp.example"), place.origin.mark()
    json_body = [("Content-Type", "application/json")]

    def asks() -> int:
        return it.call("POST", url, chain=chain, headers=json_body, body=body).status

    answer = it.call("POST", url, chain=chain, headers=json_body, body=body)
    hold_id = json.loads(answer.body)["task"]["id"]
    context = browser.new_context()
    page = context.new_page()
    page.goto(place.link(SPONSOR))
    plug_in(page, SPONSOR)
    page.get_by_role("button", name="Continue as").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{AGENT} wants to POST {path}")
    page.locator("#release").click()
    assert asks() == 403 and place.origin.since(before).nothing, "what is only drafted lets nothing pass"
    sign(page, "Release this call, once")
    heading(page, f"released by {SPONSOR}")
    assert asks() == 200
    assert asks() == 403, "it passes once"
    (seen,) = place.origin.since(before).requests
    assert (seen.method, seen.target, seen.body) == ("POST", path, body)
    page.goto(f"{place.desk}/holds/{hold_id}")
    expect(page.locator("#standing")).to_contain_text("It was sent")
    (line,) = [line for line in it.journal("hold") if (line["hold_id"], line["event"]) == (hold_id, "approve")]
    assert (line["by"], line["signed_with"]) == (SPONSOR, Means.PASSKEY.value)
    context.close()
