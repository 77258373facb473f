"""What a real browser and its authenticator say is what the core reads: made, used, and refused elsewhere."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import identities
import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, sync_playwright

from proxy.core.errors import Rejected
from proxy.core.keys import ED25519, ES256
from proxy.core.model import Hold, Means, Passkey, ReviewDesk, Risk, Verdict
from proxy.core.passkeys import Assertion, check_assertion
from proxy.core.release import RELEASE_TYP, read_release, release_claims
from proxy.core.vouching import sufficient
from proxy.policy.passkeys import passkey_line, read_passkey_line
from proxy.review.ceremonies import made, signed, to_make, to_sign
from proxy.review.drafts import Draft

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
]

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
MAKE = """async options => (await navigator.credentials.create(
  {publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)})).toJSON()"""
USE = """async options => (await navigator.credentials.get(
  {publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)})).toJSON()"""
CHALLENGE = bytes(range(32))
ADA = identities.person()


class Nothing(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>desk</title>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def page_at(browser: Browser) -> Iterator[tuple[Page, str]]:
    """A page of a desk on this machine, and its origin; beside it an authenticator."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
    origin = f"http://localhost:{server.server_port}"
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(origin)
        yield page, origin
    finally:
        context.close()
        server.shutdown()


def plug_in(page: Page, *, verifies: bool = True) -> None:
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "usb",
        "hasResidentKey": True,
        "hasUserVerification": verifies,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


def make(page: Page, origin: str, **changes: object) -> Passkey:
    """A passkey, as the desk's page asks for it, or with something about that `changes`d."""
    asked = to_make(ADA, deployment=identities.DEPLOYMENT, origin=origin, challenge=CHALLENGE)
    answer = page.evaluate(MAKE, {**asked, **changes})
    return made(answer, origin=origin, challenge=CHALLENGE, name="stick")


def use(page: Page, passkey: Passkey, draft: Draft, origin: str) -> Assertion:
    asked = to_sign(draft, replace(ADA, passkeys=(passkey,)), origin=origin)
    return signed(page.evaluate(USE, asked))


@pytest.mark.parametrize("rk", ["required", "discouraged"])
@pytest.mark.parametrize(("alg", "name"), [pytest.param(-7, ES256, id="ES256"), pytest.param(-8, ED25519, id="EdDSA")])
def test_what_a_browser_makes_and_uses_releases_a_call(browser: Browser, alg: int, name: str, rk: str) -> None:
    with page_at(browser) as (page, origin):
        plug_in(page)
        kinds, selection = [{"type": "public-key", "alg": alg}], {"residentKey": rk, "userVerification": "required"}
        new = make(page, origin, pubKeyCredParams=kinds, authenticatorSelection=selection)
        passkey = read_passkey_line(passkey_line(new))
        assert passkey.key.alg == name
        hold = identities.hold(risk=Risk.TRANSFORMATIVE)
        draft = drafted(hold)
        desk_key = identities.key("desk")
        token = draft.attested(desk_key, use(page, passkey, draft, origin))
        desk = ReviewDesk(keys=(desk_key.public,), origins=(origin,))
        bundle = identities.bundle(people=[replace(ADA, passkeys=(passkey,))], desk=desk)
        said = read_release(token, hold=hold, bundle=bundle, barred=frozenset(), now=identities.NOW)
        assert (said.by, said.means) == (identities.SPONSOR, Means.PASSKEY)


def test_it_counts_at_no_other_page(browser: Browser) -> None:
    draft = drafted(identities.hold())
    with page_at(browser) as (page, origin), page_at(browser) as (_, elsewhere):
        plug_in(page)
        passkey = make(page, origin)
        assertion = use(page, passkey, draft, origin)
        assert check(assertion, passkey, origin, draft.challenge) == passkey
        for other in (elsewhere, "https://localhost"):
            with pytest.raises(Rejected, match="origin"):
                check(assertion, passkey, other, draft.challenge)


def test_without_pin_or_biometrics_nothing_is_made(browser: Browser) -> None:
    with page_at(browser) as (page, origin):
        plug_in(page, verifies=False)
        lax = {"residentKey": "discouraged", "userVerification": "discouraged"}
        with pytest.raises(Rejected, match="verified"):
            make(page, origin, authenticatorSelection=lax)


def check(assertion: Assertion, passkey: Passkey, origin: str, challenge: bytes) -> Passkey:
    return check_assertion(assertion, challenge=challenge, passkeys=(passkey,), desk=ReviewDesk(origins=(origin,)))


def drafted(hold: Hold) -> Draft:
    claims = release_claims(
        hold=hold,
        verdict=Verdict.ALLOW,
        by=identities.SPONSOR,
        reason="seen",
        deployment=identities.DEPLOYMENT,
        now=identities.NOW,
        not_after=identities.NOW + timedelta(hours=1),
        nonce=identities.nonce("browser"),
    )
    return Draft(hold=hold, call=None, typ=RELEASE_TYP, claims=claims, means=sufficient(hold))
