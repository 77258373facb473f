"""What a real browser and its authenticator say is what the core reads: made, used, and refused elsewhere."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
from proxy.core.passkeys import Assertion, check_assertion, read_registration
from proxy.core.release import RELEASE_TYP, read_release, release_claims
from proxy.core.vouching import sufficient
from proxy.policy.passkeys import passkey_line, read_passkey_line
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
RP_ID = "localhost"
MAKE = """async ({challenge, alg, rk}) => {
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const text = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer)));
  const made = await navigator.credentials.create({publicKey: {
    challenge: bytes(challenge), rp: {id: "localhost", name: "Review desk"},
    user: {id: new Uint8Array(16), name: "ada", displayName: "Ada"},
    pubKeyCredParams: [{type: "public-key", alg}], attestation: "none",
    authenticatorSelection: {residentKey: rk, userVerification: "required"}}});
  return {client_data: text(made.response.clientDataJSON), data: text(made.response.getAuthenticatorData())};
}"""
USE = """async ({challenge, id, verification}) => {
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const text = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer)));
  const used = await navigator.credentials.get({publicKey: {
    challenge: bytes(challenge), rpId: "localhost", userVerification: verification,
    allowCredentials: [{type: "public-key", id: bytes(id)}]}});
  const said = used.response;
  return {credential: text(used.rawId), authenticator_data: text(said.authenticatorData),
          client_data: text(said.clientDataJSON), signature: text(said.signature)};
}"""


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


def make(page: Page, origin: str, alg: int, rk: str = "preferred") -> Passkey:
    challenge = bytes(range(32))
    made = page.evaluate(MAKE, {"challenge": base64.b64encode(challenge).decode(), "alg": alg, "rk": rk})
    return read_registration(
        base64.b64decode(made["client_data"]),
        base64.b64decode(made["data"]),
        challenge=challenge,
        rp_id=RP_ID,
        origin=origin,
        name="stick",
    )


def use(page: Page, passkey: Passkey, challenge: bytes, verification: str = "required") -> Assertion:
    asked = {"challenge": challenge, "id": passkey.id}
    coded = {name: base64.b64encode(data).decode() for name, data in asked.items()}
    told = page.evaluate(USE, {**coded, "verification": verification})
    return Assertion(**{name: base64.b64decode(text) for name, text in told.items()})


@pytest.mark.parametrize("rk", ["required", "discouraged"])
@pytest.mark.parametrize(("alg", "name"), [pytest.param(-7, ES256, id="ES256"), pytest.param(-8, ED25519, id="EdDSA")])
def test_what_a_browser_makes_and_uses_releases_a_call(browser: Browser, alg: int, name: str, rk: str) -> None:
    with page_at(browser) as (page, origin):
        plug_in(page)
        passkey = read_passkey_line(passkey_line(make(page, origin, alg, rk)))
        assert passkey.key.alg == name
        hold = identities.hold(risk=Risk.TRANSFORMATIVE)
        draft = drafted(hold)
        desk_key = identities.key("desk")
        token = draft.attested(desk_key, use(page, passkey, draft.challenge))
        people = [identities.person(passkeys=[passkey])]
        desk = ReviewDesk(keys=(desk_key.public,), origins=(origin,))
        bundle = identities.bundle(people=people, desk=desk)
        said = read_release(token, hold=hold, bundle=bundle, barred=frozenset(), now=identities.NOW)
        assert (said.by, said.means) == (identities.SPONSOR, Means.PASSKEY)


def test_it_counts_at_no_other_page_and_not_without_verification(browser: Browser) -> None:
    challenge = bytes(32)
    with page_at(browser) as (page, origin), page_at(browser) as (_, elsewhere):
        plug_in(page)
        passkey = make(page, origin, -7)
        assertion = use(page, passkey, challenge)
        assert check(assertion, passkey, origin, challenge) == passkey
        for other in (elsewhere, "https://localhost"):
            with pytest.raises(Rejected, match="origin"):
                check(assertion, passkey, other, challenge)
    with page_at(browser) as (page, origin):
        plug_in(page, verifies=False)
        asked = {"challenge": base64.b64encode(challenge).decode(), "alg": -7, "rk": "discouraged"}
        made = page.evaluate(MAKE.replace("required", "discouraged"), asked)
        with pytest.raises(Rejected, match="verified"):
            read_registration(
                base64.b64decode(made["client_data"]),
                base64.b64decode(made["data"]),
                challenge=challenge,
                rp_id=RP_ID,
                origin=origin,
            )


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
