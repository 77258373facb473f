"""The whole sign-in in a real browser: the cookies that browsers send, and the rules that they keep."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from identities import SPONSOR
from playwright.sync_api import Browser, expect
from providers import CLIENT, IdP, provider, trusting
from reviewrooms import Room
from roomservers import ServedRoom, chromium, served, shoot

from proxy.core.model import Claim, OidcIdentity
from proxy.policy.oidc import OidcProvider
from proxy.review.desk.app import build_app
from proxy.review.desk.oidc.arriving import BACK
from proxy.review.desk.oidc.asking import Asking
from proxy.review.desk.oidc.provider import Provider

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ERP = "https://erp.example"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class _WithProvider(Room):
    """A desk that a provider knows."""

    idp: IdP

    def __post_init__(self) -> None:
        super().__post_init__()
        told = OidcProvider(issuer=self.idp.issuer, client_id=CLIENT, name="Acme Login")
        person = replace(
            self.person(SPONSOR), oidc=(OidcIdentity(issuer=self.idp.issuer, claim=Claim.SUB, value="u-1"),)
        )
        self.bundle = replace(self.bundle, people={**self.bundle.people, SPONSOR: person})
        self.idp.redirects = frozenset({f"{self.origins[0]}{BACK}"})
        known = Provider(told, ask=Asking(tls=trusting(None)), secret=None, clock=self.time)
        self.parts = replace(self.parts, oidc=known)
        self.app = build_app(self.parts)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[ServedRoom]:
    with provider(tmp_path, now=lambda: datetime.now(UTC), tls=False, secret=None, asks=True) as idp:
        # Another site than the desk's `localhost`, as browsers see it: an address.
        idp.issuer = idp.issuer.replace("localhost", "127.0.0.1")
        with served(tmp_path, type("Known", (_WithProvider,), {"idp": idp})) as found:
            yield found


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_somebody_signs_in_and_reads_the_call_they_wanted(desk: ServedRoom, browser: Browser, script: bool) -> None:
    hold = desk.file(f"{ERP}/v1/customers/42")
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{desk.origin}/holds/{hold.id}")
    shoot(page, "oidc-door")
    page.get_by_role("button", name="Sign in with Acme Login").click()
    page.get_by_role("button", name="It is me").click()
    expect(page.locator("#release")).to_be_visible()
    assert page.url == f"{desk.origin}/holds/{hold.id}"
    cookies = {each["name"].removesuffix(desk.origin.rpartition(":")[2]): each for each in context.cookies(desk.origin)}
    assert set(cookies) == {"intent-desk-"}
    assert (cookies["intent-desk-"].get("sameSite"), cookies["intent-desk-"].get("httpOnly")) == ("Strict", True)
    assert any("code=" in url for url in asked)
    assert [fault for fault in faults if "status of 40" not in fault] == []

    page.locator("#release").click()
    expect(page.get_by_role("main")).to_contain_text("eleased")
    assert desk.state(hold) == "approved"
    replayed = next(url for url in asked if "code=" in url)
    page.get_by_role("button", name="Sign out").click()
    answer = page.goto(replayed)
    assert answer is not None and answer.status == 403
    expect(page.get_by_role("alert")).to_contain_text("was not begun in this browser")
    context.close()


def test_somebody_else_sees_who_they_are_and_gets_no_further(desk: ServedRoom, browser: Browser) -> None:
    desk.room.idp.person = {"sub": "u-2", "email": "eve@example.com"}  # type: ignore[attr-defined]
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{desk.origin}/enter")
    page.get_by_role("button", name="Sign in with Acme Login").click()
    page.get_by_role("button", name="It is me").click()
    expect(page.get_by_role("heading", name="You are not enrolled here")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("u-2")
    shoot(page, "oidc-nobody")
    page.goto(f"{desk.origin}/queue")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()
