"""Signing in with OpenID Connect: who gets in, and everything that is no sign-in (RFC 9700, OpenID Connect Core)."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import identities
import pytest
from identities import DEPUTY, SPONSOR
from providers import CLIENT, SECRET, IdP, ec_key, provider, sign, trusting, unsigned
from reviewrooms import Browser, Room, text_of
from starlette.responses import JSONResponse, RedirectResponse, Response

from proxy.core.model import Claim, OidcIdentity, Person
from proxy.policy.oidc import OidcProvider
from proxy.policy.secrets import SecretSource
from proxy.review.desk.app import build_app
from proxy.review.desk.oidc.asking import MOST_BYTES, Asking
from proxy.review.desk.oidc.entries import LIVES, Entries, place
from proxy.review.desk.oidc.provider import FRESH_S, KEYS_EVERY_S, RETRY_S, Provider
from proxy.review.desk.sessions import LONGEST

BACK = "/enter/oidc/back"
SECRETS = SecretSource(environment="OIDC_SECRET")


@dataclass
class House:
    """A desk, a provider, and a clock for both."""

    room: Room
    idp: IdP
    told: OidcProvider
    timer_s: float = 0.0

    def __post_init__(self) -> None:
        self.use()

    def use(self, **about: Any) -> Provider:
        """The desk as it starts with these settings."""
        self.told = replace(self.told, **about)
        self.provider = Provider(
            self.told,
            ask=Asking(tls=trusting(self.idp.ca), deadline_s=5),
            secret=None if self.told.client_secret is None else lambda: SECRET,
            clock=self.room.time,
            timer=lambda: self.timer_s,
        )
        self.room.parts = replace(self.room.parts, oidc=self.provider)
        self.room.app = build_app(self.room.parts)
        return self.provider

    def enrol(self, person: str, *known: OidcIdentity) -> None:
        people = {**self.room.bundle.people, person: replace(self.room.person(person), oidc=known)}
        self.room.bundle = replace(self.room.bundle, people=people)

    def sub(self, value: str = "u-1") -> OidcIdentity:
        return OidcIdentity(issuer=self.idp.issuer, claim=Claim.SUB, value=value)

    def email(self, value: str) -> OidcIdentity:
        return OidcIdentity(issuer=self.idp.issuer, claim=Claim.EMAIL, value=value)

    async def go(self, browser: Browser, *, to: str = "/", path: str = "/enter/oidc") -> str:
        """Press the button: where the browser goes then."""
        answer = await browser.post(path, {"to": to})
        assert answer.status_code == 200, answer.text
        found = re.search(r'<meta http-equiv="refresh" content="0; url=([^"]*)">', answer.text)
        assert found is not None
        return unescape(found[1])

    async def answer(self, url: str) -> str:
        """What the provider sends the browser back with, as a path at the desk."""
        async with httpx.AsyncClient(verify=trusting(self.idp.ca), trust_env=False) as client:
            answer = await client.get(url)
        assert answer.status_code == 302
        origin, _, rest = answer.headers["location"].partition(BACK)
        assert origin == self.room.parts.origin
        return BACK + rest

    async def come(self, browser: Browser, path: str, **headers: str) -> httpx.Response:
        """The provider's redirect, as a browser follows it."""
        sent = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document", "Sec_Fetch_User": "?1", **headers}
        return await browser.get(path, **sent)

    async def sign_in(self, browser: Browser, *, to: str = "/") -> httpx.Response:
        return await self.come(browser, await self.answer(await self.go(browser, to=to)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdP]:
    with provider(tmp_path_factory.mktemp("idp"), now=lambda: identities.NOW) as idp:
        yield idp


@pytest.fixture
def house(tmp_path: Path, served: IdP) -> House:
    return make(tmp_path, served)


def make(directory: Path, idp: IdP, origins: tuple[str, ...] | None = None) -> House:
    fresh = IdP(issuer=idp.issuer, now=idp.now, ca=idp.ca)
    world = identities.world()
    about = {} if origins is None else {"origins": origins}
    room = Room(directory=directory, bundle=world.bundle, tokens=world.tokens, **about)  # type: ignore[arg-type]
    idp.__dict__.update(fresh.__dict__)
    idp.now, idp.redirects = room.time, frozenset({f"{room.parts.origin}{BACK}"})
    told = OidcProvider(issuer=idp.issuer, client_id=CLIENT, name="Acme Login", client_secret=SECRETS, ca=idp.ca)
    found = House(room=room, idp=idp, told=told)
    found.enrol(SPONSOR, found.sub())
    return found


def is_in(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and "You are signed in as" in answer.text


def session_cookie(answer: httpx.Response) -> str | None:
    found = [each for each in answer.headers.get_list("set-cookie") if re.match(r"[^=]*intent-desk(-[0-9]+)?=", each)]
    return found[0] if found else None


# --- somebody signs in -----------------------------------------------------------------------------------------------


async def test_somebody_whom_operators_enrolled_signs_in_and_goes_on_to_the_page_they_wanted(house: House) -> None:
    hold = await house.room.file()
    async with house.room.browser(None) as maria:
        door = await maria.get(f"/holds/{hold.id}")
        assert door.status_code == 401 and "Sign in with Acme Login" in door.text
        assert f'name="to" value="/holds/{hold.id}"' in door.text
        answer = await house.sign_in(maria, to=f"/holds/{hold.id}")
        assert is_in(answer) and f'content="0; url=/holds/{hold.id}"' in answer.text
        assert (await maria.get(f"/holds/{hold.id}")).status_code == 200
        session = house.room.parts.sessions.find(maria.client.cookies["intent-desk-8090"])
    assert session is not None and session.person == SPONSOR
    (line,) = house.room.journal.of("enter")
    assert (line["by"], line["via"]) == (SPONSOR, "oidc")
    cookie = session_cookie(answer) or ""
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and f"Max-Age={int(LONGEST.total_seconds())}" in cookie


async def test_what_the_provider_is_asked_holds_no_secret_and_binds_the_answer(house: House) -> None:
    async with house.room.browser(None) as maria:
        url = await house.go(maria)
        await house.come(maria, await house.answer(url))
        word = hidden_word(house, maria)
    (asked,) = house.idp.asked
    assert asked == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": f"{house.room.parts.origin}{BACK}",
        "scope": "openid email",
        "state": asked["state"],
        "nonce": asked["nonce"],
        "code_challenge": asked["code_challenge"],
        "code_challenge_method": "S256",
    }
    (posted,) = house.idp.posted
    challenge = base64.urlsafe_b64encode(hashlib.sha256(posted["code_verifier"].encode()).digest()).decode().rstrip("=")
    assert asked["code_challenge"] == challenge and len({asked["state"], asked["nonce"], posted["code_verifier"]}) == 3
    assert word is None  # the browser keeps nothing of it afterwards
    assert not any("code=" in each or "secret" in each for each in house.idp.seen)


def _by(key: Any, alg: str) -> Callable[[dict[str, Any]], str]:
    return lambda claims: sign(claims, key, alg)


def hidden_word(house: House, browser: Browser) -> str | None:
    return browser.client.cookies.get("intent-desk-8090-entry")


async def test_two_sign_ins_have_nothing_in_common(house: House) -> None:
    async with house.room.browser(None) as maria, house.room.browser(None) as ben:
        await house.go(maria)
        await house.go(ben)
        entries = Entries(clock=house.room.time)
        first, second = entries.begin("/"), entries.begin("/")
        assert hidden_word(house, maria) != hidden_word(house, ben)
    assert not {first.state, first.nonce, first.verifier} & {second.state, second.nonce, second.verifier}


@pytest.mark.parametrize(
    ("about", "method"),
    [
        pytest.param({}, "client_secret_basic", id="a secret in the header, escaped as it must be"),
        pytest.param(
            {"token_endpoint_auth_methods_supported": ["client_secret_post"]}, "client_secret_post", id="in the body"
        ),
        pytest.param({"token_endpoint_auth_methods_supported": None}, "client_secret_basic", id="nothing is announced"),
    ],
)
async def test_the_desk_shows_its_secret_as_the_provider_takes_it(
    house: House, about: dict[str, Any], method: str
) -> None:
    house.idp.metadata = about
    async with house.room.browser(None) as maria:
        assert is_in(await house.sign_in(maria))
    assert house.idp.authorized[0].startswith("Basic ") is (method == "client_secret_basic")
    assert ("client_secret" in house.idp.posted[0]) is (method == "client_secret_post")


async def test_a_desk_without_a_secret_is_a_public_client(house: House) -> None:
    house.idp.secret = None
    house.use(client_secret=None)
    async with house.room.browser(None) as maria:
        assert is_in(await house.sign_in(maria))
    assert house.idp.authorized == [""] and "client_secret" not in house.idp.posted[0]


async def test_a_desk_behind_tls_uses_host_bound_cookies(tmp_path: Path, served: IdP) -> None:
    house = make(tmp_path, served, origins=("https://desk.example",))
    async with house.room.browser(None) as maria:
        begun = await maria.post("/enter/oidc", {"to": "/"})
        (entry,) = begun.headers.get_list("set-cookie")
        url = re.search(r"url=([^\"]*)\"", begun.text)
        assert url is not None
        answer = await house.come(maria, await house.answer(unescape(url[1])))
    assert is_in(answer)
    assert entry.startswith("__Host-intent-desk-entry=") and "Secure" in entry and "Path=/;" in entry
    assert "SameSite=lax" in entry and "HttpOnly" in entry and "Domain" not in entry
    cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("__Host-intent-desk="))
    assert "Secure" in cookie and "SameSite=strict" in cookie


# --- who somebody is, the signed people.yaml says --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "counts"),
    [
        pytest.param({"sub": "u-1"}, True, id="the enrolled one"),
        pytest.param({"sub": "u-2"}, False, id="somebody else"),
        pytest.param({"sub": "U-1"}, False, id="in other letters"),
        pytest.param({"sub": "u-1 "}, False, id="with a space"),
        pytest.param({"sub": SPONSOR}, False, id="named as a person is here"),
        pytest.param({"sub": "u-2", "email": "maria@example.com", "email_verified": True}, True, id="a verified email"),
        pytest.param({"sub": "u-2", "email": "maria@example.com", "email_verified": False}, False, id="unverified"),
        pytest.param({"sub": "u-2", "email": "maria@example.com"}, False, id="of which nothing is said"),
        pytest.param({"sub": "u-2", "email": "maria@example.com", "email_verified": "true"}, False, id="a word for it"),
        pytest.param({"sub": "u-2", "email": "Maria@example.com", "email_verified": True}, False, id="another address"),
        pytest.param({"sub": "maria@example.com"}, False, id="an email where the sub stands"),
    ],
)
async def test_who_somebody_is_stands_in_the_signed_people_file(
    house: House, person: dict[str, Any], counts: bool
) -> None:
    house.enrol(SPONSOR, house.sub(), house.email("maria@example.com"))
    house.idp.person = person
    async with house.room.browser(None) as maria:
        answer = await house.sign_in(maria)
        assert is_in(answer) is counts
        assert (await maria.get("/queue")).status_code == (200 if counts else 401)
    if not counts:
        assert answer.status_code == 403 and session_cookie(answer) is None
        said = text_of(answer.text)
        assert "You are not enrolled here" in said and house.idp.issuer in said and "bundle sign" in said
        assert house.room.journal.of("enter") == []
        assert set(house.room.policy().bundle.people) == set(identities.world().bundle.people)


async def test_the_page_says_what_an_operator_would_write(house: House) -> None:
    house.idp.person = {"sub": 'x"}\n  - {sub: <b>', "email": "eve@example.com", "email_verified": True}
    async with house.room.browser(None) as eve:
        answer = await house.sign_in(eve)
    assert "<b>" not in answer.text
    said = unescape(answer.text)
    assert f'{{issuer: {json.dumps(house.idp.issuer)}, sub: "x\\"}}\\n  - {{sub: <b>"}}' in said
    assert "eve@example.com" in said


async def test_another_providers_identity_does_not_count_here(house: House) -> None:
    house.enrol(SPONSOR, OidcIdentity(issuer="https://other.example", claim=Claim.SUB, value="u-1"))
    async with house.room.browser(None) as maria:
        assert (await house.sign_in(maria)).status_code == 403
        house.enrol(SPONSOR, house.sub())
        assert is_in(await house.sign_in(maria))


async def test_whoever_would_be_two_people_is_none(house: House) -> None:
    house.idp.person = {"sub": "u-1", "email": "ben@example.com", "email_verified": True}
    house.enrol(DEPUTY, house.email("ben@example.com"))
    async with house.room.browser(None) as somebody:
        answer = await house.sign_in(somebody)
        assert answer.status_code == 403 and "several people" in answer.text and session_cookie(answer) is None
        house.enrol(DEPUTY)
        assert is_in(await house.sign_in(somebody))


async def test_nobody_stays_who_is_no_longer_in_the_people_file(house: House) -> None:
    async with house.room.browser(None) as maria:
        await house.sign_in(maria)
        assert (await maria.get("/queue")).status_code == 200
        people: dict[str, Person] = {k: v for k, v in house.room.bundle.people.items() if k != SPONSOR}
        house.room.bundle = replace(house.room.bundle, people=people)
        assert (await maria.get("/queue")).status_code == 401


# --- what is no answer of this sign-in -------------------------------------------------------------------------------


async def refused(house: House, browser: Browser, path: str, said: str, status: int = 403, **headers: str) -> None:
    answer = await house.come(browser, path, **headers)
    assert answer.status_code == status and said in text_of(answer.text), text_of(answer.text)
    assert session_cookie(answer) is None and house.room.journal.of("enter") == []


NOT_HERE = "was not begun in this browser"


async def test_login_csrf_an_answer_to_anothers_sign_in_signs_nobody_in(house: House) -> None:
    house.enrol(DEPUTY, house.sub("attacker"))
    async with house.room.browser(None) as eve, house.room.browser(None) as maria:
        house.idp.person = {"sub": "attacker"}
        stolen = await house.answer(await house.go(eve))
        await refused(house, maria, stolen, NOT_HERE)  # who began nothing
        await house.go(maria)
        await refused(house, maria, stolen, NOT_HERE)  # who began something else
        assert house.idp.posted == []  # the code went nowhere
        assert is_in(await house.come(eve, stolen))


async def test_mixed_up_state_a_code_put_into_ones_own_sign_in_is_not_redeemed(house: House) -> None:
    """The victim's code with the attacker's state: PKCE and the nonce are of the attacker's sign-in (RFC 9700 §4.5)."""
    async with house.room.browser(None) as maria, house.room.browser(None) as eve:
        theirs, own = await house.answer(await house.go(maria)), await house.answer(await house.go(eve))
        code = re.search(r"code=([^&]*)", theirs)
        assert code is not None
        await refused(house, eve, re.sub(r"code=[^&]*", f"code={code[1]}", own), "does not count")
        house.idp.codes.clear()
        again = await house.answer(await house.go(eve))
        assert is_in(await house.come(eve, again))


@pytest.mark.parametrize("state", ["", "x", None], ids=["empty", "another", "missing"])
async def test_an_answer_without_its_state_is_none(house: House, state: str | None) -> None:
    house.idp.back = {"state": state}
    async with house.room.browser(None) as maria:
        await refused(house, maria, await house.answer(await house.go(maria)), NOT_HERE)
        assert house.idp.posted == []


async def test_an_answer_counts_once(house: House) -> None:
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        word = hidden_word(house, maria) or ""
        assert is_in(await house.come(maria, path))
        assert len(house.room.journal.of("enter")) == 1
        house.room.journal.lines.clear()
        await refused(house, maria, path, NOT_HERE)  # reloaded, or gone back to
        maria.client.cookies.set("intent-desk-8090-entry", word, domain="127.0.0.1", path="/")
        await refused(house, maria, path, "This sign-in was used")  # by somebody who kept both
    assert len(house.idp.posted) == 1


async def test_a_sign_in_takes_ten_minutes_at_most(house: House) -> None:
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        house.room.now += LIVES
        await refused(house, maria, path, NOT_HERE)
        path = await house.answer(await house.go(maria))
        house.room.now += LIVES - timedelta(seconds=1)
        assert is_in(await house.come(maria, path))


@pytest.mark.parametrize(
    "word",
    ["", "x", "1.{a}.", "9999999999.{a}.", "-1.{a}.", "{now}.{a}.Lw{long}", "{now}.{a}.//"],
    ids=["nothing", "a word", "old", "of the future", "negative", "too long", "no base64"],
)
def test_a_cookie_that_is_none_is_no_sign_in(word: str) -> None:
    entries, now_s = Entries(clock=lambda: identities.NOW), int(identities.NOW.timestamp())
    assert entries.find(word.format(a="a" * 43, now=now_s, long="A" * 400)) is None
    begun = entries.begin("/queue")
    assert entries.find(begun.word) == begun
    other = Entries(clock=lambda: identities.NOW).find(begun.word)  # of a desk that was restarted
    assert other is not None and other.state != begun.state


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/", "/"),
        ("/queue", "/queue"),
        ("/holds/h-1.2~3_4", "/holds/h-1.2~3_4"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("/%2f/evil.example", "/"),
        ("/.//evil.example", "/"),
        ("/a//evil.example", "/"),
        ("/a/../enter", "/"),
        ("/queue?next=//evil.example", "/"),
        ("/queue#x", "/"),
        ("/queue\n", "/"),
        ("queue", "/"),
        ("", "/"),
        ("/leave", "/"),
        ("/enter/oidc/back", "/"),
        ("/" + "a" * 300, "/"),
        ("/ä", "/"),
    ],
)
def test_one_goes_on_to_a_page_of_the_desk(path: str, to: str) -> None:
    assert place(path) == to
    assert Entries(clock=lambda: identities.NOW).begin(path).to == to


@pytest.mark.parametrize(
    ("path", "to"), [("/history", "/history"), ("//evil.example", "/"), ("https://evil.example/", "/")]
)
async def test_after_signing_in_one_is_at_the_desk_and_nowhere_else(house: House, path: str, to: str) -> None:
    async with house.room.browser(None) as maria:
        answer = await house.sign_in(maria, to=path)
    assert is_in(answer) and f'content="0; url={to}"' in answer.text and "evil" not in answer.text


@pytest.mark.parametrize(
    ("back", "counts"),
    [
        pytest.param({}, True, id="its own name"),
        pytest.param({"iss": "https://evil.example"}, False, id="another provider's"),
        pytest.param({"iss": None}, False, id="none, where it says that it has one"),
    ],
)
async def test_an_answer_bears_the_providers_name(house: House, back: dict[str, str | None], counts: bool) -> None:
    house.idp.back = back
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        if counts:
            assert is_in(await house.come(maria, path))
        else:
            await refused(house, maria, path, "does not count")
            assert house.idp.posted == []  # its code is not told to anybody (mix-up)


async def test_a_provider_that_announces_no_name_may_leave_it_out_but_not_give_another(house: House) -> None:
    house.idp.metadata = {"authorization_response_iss_parameter_supported": None}
    async with house.room.browser(None) as maria:
        house.idp.back = {"iss": "https://evil.example"}
        await refused(house, maria, await house.answer(await house.go(maria)), "does not count")
        house.idp.back = {"iss": None}
        assert is_in(await house.sign_in(maria))


async def test_a_provider_may_say_no(house: House) -> None:
    house.idp.back = {"code": None, "error": "access_denied<b>", "error_description": "no"}
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        await refused(house, maria, path, "Acme Login did not sign you in: access_denied<b>")
        assert house.idp.posted == []
        house.idp.back = {}
        assert is_in(await house.sign_in(maria))


@pytest.mark.parametrize(
    ("more", "said", "status"),
    [
        pytest.param("&code=another", "something twice", 422, id="two codes"),
        pytest.param("&state=another", "something twice", 422, id="two states"),
        pytest.param("".join(f"&a{n}=1" for n in range(30)), "too much", 422, id="too many parameters"),
    ],
)
async def test_an_answer_says_each_thing_once(house: House, more: str, said: str, status: int) -> None:
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        await refused(house, maria, path + more, said, status)
        assert is_in(await house.come(maria, path + "&session_state=x"))


@pytest.mark.parametrize("code", [None, "", "a\n", "ä", "a" * 5000], ids=["none", "empty", "lines", "Umlaut", "long"])
async def test_a_code_is_one(house: House, code: str | None) -> None:
    house.idp.back = {"code": code}
    async with house.room.browser(None) as maria:
        await refused(house, maria, await house.answer(await house.go(maria)), "does not count")
    assert house.idp.posted == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="the provider's redirect"),
        pytest.param({"Sec_Fetch_Site": "same-site"}, 200, id="a provider beside the desk"),
        pytest.param({"Sec_Fetch_Site": "", "Sec_Fetch_Mode": "", "Sec_Fetch_Dest": ""}, 200, id="an older browser"),
        pytest.param({"Sec_Fetch_Dest": "iframe"}, 403, id="in a frame"),
        pytest.param({"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, 403, id="as a picture"),
        pytest.param({"Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}, 403, id="by a script"),
        pytest.param({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "empty"}, 403, id="by a script of the desk"),
    ],
)
async def test_the_answer_comes_in_a_window_of_its_own(house: House, headers: dict[str, str], status: int) -> None:
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        assert (await house.come(maria, path, **headers)).status_code == status
    assert bool(house.room.journal.of("enter")) is (status == 200)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_only_the_desks_own_page_begins_a_sign_in(house: House, site: str) -> None:
    async with house.room.browser(None) as maria:
        assert (await maria.post("/enter/oidc", {"to": "/"}, Sec_Fetch_Site=site)).status_code == 403
        assert (await maria.get("/enter/oidc")).status_code in (401, 405)
        assert hidden_word(house, maria) is None
        await house.go(maria)


async def test_fixation_what_the_browser_had_before_is_nobody(house: House) -> None:
    async with house.room.browser(DEPUTY) as browser:
        before = browser.client.cookies["intent-desk-8090"]
        path = await house.answer(await house.go(browser))
        assert house.room.parts.sessions.find(before) is None
        browser.client.cookies.set("intent-desk-8090", "chosen-by-an-attacker", domain="127.0.0.1", path="/")
        answer = await house.come(browser, path)
        token = (session_cookie(answer) or "").partition("=")[2].partition(";")[0]
    assert token not in ("", before, "chosen-by-an-attacker")
    assert house.room.parts.sessions.find("chosen-by-an-attacker") is None
    found = house.room.parts.sessions.find(token)
    assert found is not None and found.person == SPONSOR


async def test_at_another_of_its_names_the_desk_sends_people_to_the_one_the_provider_knows(
    tmp_path: Path, served: IdP
) -> None:
    house = make(tmp_path, served, origins=("http://localhost:8090", "http://127.0.0.1:8090"))
    async with house.room.browser(None) as maria:
        answer = await maria.post("http://127.0.0.1:8090/enter/oidc", {"to": "/"}, Host="127.0.0.1:8090")
        assert 'url=http://localhost:8090/enter"' in answer.text and hidden_word(house, maria) is None
        assert is_in(await house.sign_in(maria))


async def test_a_desk_without_a_provider_has_no_such_door(house: House) -> None:
    house.room.parts = replace(house.room.parts, oidc=None)
    house.room.app = build_app(house.room.parts)
    async with house.room.browser(None) as maria:
        assert "/enter/oidc" not in (await maria.get("/enter")).text
        assert (await maria.post("/enter/oidc", {"to": "/"})).status_code == 404
        assert (await house.come(maria, f"{BACK}?code=x&state=y")).status_code == 404


async def test_signing_out_ends_the_session_of_the_desk(house: House) -> None:
    async with house.room.browser(None) as maria:
        await house.sign_in(maria)
        form = re.search(r'name="form_token" value="([^"]*)"', (await maria.get("/queue")).text)
        assert form is not None
        assert (await maria.post("/leave", {"form_token": form[1]})).status_code == 303
        assert (await maria.get("/queue")).status_code == 401
        assert is_in(await house.sign_in(maria))


# --- tokens that do not count (each way in which one may not: test_oidc_tokens) ---------------------------------------

NOW_S = int(identities.NOW.timestamp())


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        pytest.param({"claims": {"nonce": "another"}}, "nonce", id="of another sign-in"),
        pytest.param({"claims": {"aud": "another"}}, "aud", id="for another client"),
        pytest.param({"make_token": _by(ec_key(), "ES256")}, "signature", id="signed by somebody else"),
        pytest.param({"make_token": unsigned}, "alg must be one of", id="signed by nobody"),
    ],
)
async def test_a_token_that_does_not_count_signs_nobody_in(
    house: House, caplog: pytest.LogCaptureFixture, lie: dict[str, Any], why: str
) -> None:
    async with house.room.browser(None) as maria:
        house.idp.__dict__.update(lie)
        await refused(house, maria, await house.answer(await house.go(maria)), "does not count")
        assert why in caplog.text
        house.idp.claims, house.idp.make_token = {}, None
        assert is_in(await house.sign_in(maria))


async def test_new_keys_are_found_once_they_are_needed_and_not_asked_for_without_end(house: House) -> None:
    def reads() -> int:
        return house.idp.seen.count("GET /keys")

    async with house.room.browser(None) as maria:
        assert is_in(await house.sign_in(maria)) and reads() == 1
        house.idp.key = ec_key("ec-2")  # the provider changes its key
        house.timer_s += KEYS_EVERY_S - 1
        house.room.journal.lines.clear()
        await refused(house, maria, await house.answer(await house.go(maria)), "does not count")
        assert reads() == 1
        house.timer_s += 1
        assert is_in(await house.sign_in(maria)) and reads() == 2
        house.room.journal.lines.clear()
        house.idp.make_token = _by(ec_key("evil"), "ES256")
        for _ in range(3):
            await refused(house, maria, await house.answer(await house.go(maria)), "does not count")
        assert reads() == 2
        house.idp.make_token = None
        house.timer_s += FRESH_S + 1  # what it took back counts no longer, whoever asks
        assert is_in(await house.sign_in(maria)) and reads() == 3


@pytest.mark.parametrize(
    ("auth_time", "counts"),
    [(0, True), (-3600, True), (-3661, False), (None, False)],
    ids=["now", "an hour ago", "longer ago", "it does not say"],
)
async def test_how_long_ago_the_provider_asked_for_a_proof(house: House, auth_time: int | None, counts: bool) -> None:
    house.use(max_age=timedelta(hours=1))
    house.idp.claims = {"auth_time": None if auth_time is None else NOW_S + auth_time}
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        assert house.idp.asked[0]["max_age"] == "3600"
        if counts:
            assert is_in(await house.come(maria, path))
        else:
            await refused(house, maria, path, "does not count")


# --- a provider that cannot be used ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        pytest.param({"issuer": "https://evil.example"}, "calls itself", id="another provider"),
        pytest.param({"token_endpoint": "http://127.0.0.1/token"}, "token_endpoint must be https", id="plain http"),
    ],
)
async def test_a_provider_that_says_something_else_of_itself_is_not_used(
    house: House, caplog: pytest.LogCaptureFixture, metadata: dict[str, Any], why: str
) -> None:
    house.idp.metadata = metadata
    async with house.room.browser(None) as maria:
        answer = await maria.post("/enter/oidc", {"to": "/"})
        assert answer.status_code == 503 and "cannot be asked now" in answer.text and hidden_word(house, maria) is None
        for _ in range(3):  # whoever presses again neither asks the provider nor fills the log
            assert (await maria.post("/enter/oidc", {"to": "/"})).status_code == 503
        assert caplog.text.count(why) == 1 and "Traceback" not in caplog.text
        assert len(house.idp.seen) == 1
        assert "cannot be asked now" in (await maria.get("/enter")).text
        house.idp.metadata = {}
        house.timer_s += RETRY_S[0]
        assert is_in(await house.sign_in(maria))
        assert "cannot be asked now" not in (await maria.get("/help")).text


@pytest.mark.parametrize(
    ("discovery", "why"),
    [
        pytest.param(Response(status_code=500), "answered 500", id="an error"),
        pytest.param(RedirectResponse("https://evil.example/"), "redirects are not followed", id="a redirect"),
        pytest.param(Response("<html>"), "strict JSON", id="a page"),
        pytest.param(JSONResponse([]), "JSON object", id="a list"),
        pytest.param(Response(b"x" * (MOST_BYTES + 1)), "more than 256 KiB", id="too much"),
        pytest.param(Response(b"x", headers={"Content-Encoding": "gzip"}), "packed", id="packed"),
        pytest.param(Response(b"[" * 2_000), "strict JSON", id="nested without end"),
    ],
)
async def test_an_answer_that_is_none_is_told_with_its_mend(
    house: House, caplog: pytest.LogCaptureFixture, discovery: Response, why: str
) -> None:
    house.idp.discovery = discovery
    async with house.room.browser(None) as maria:
        assert (await maria.post("/enter/oidc", {"to": "/"})).status_code == 503
        assert why in caplog.text
        house.idp.discovery, house.timer_s = None, RETRY_S[0]
        assert is_in(await house.sign_in(maria))
    assert not any("evil" in each for each in house.idp.seen)


@pytest.mark.parametrize(
    ("answer", "why", "status"),
    [
        pytest.param(JSONResponse({"access_token": "x"}), "no ID token", 403, id="no ID token"),
        pytest.param(JSONResponse({"id_token": 7}), "no ID token", 403, id="a number"),
        pytest.param(
            JSONResponse({"error": "invalid_client"}, 401), "client_id and client_secret", 403, id="our secret"
        ),
        pytest.param(JSONResponse({"error": "<b>\n"}, 400), "an error of no known kind", 403, id="markup"),
        pytest.param(JSONResponse([], 200), "JSON object", 503, id="a list"),
        pytest.param(Response("no", 502), "strict JSON", 503, id="a page"),
        pytest.param(RedirectResponse("https://evil.example/token", 307), "strict JSON", 503, id="a redirect"),
        pytest.param(Response(b"x" * (MOST_BYTES + 1)), "more than", 503, id="too much"),
    ],
)
async def test_what_the_token_endpoint_says_instead(
    house: House, caplog: pytest.LogCaptureFixture, answer: Response, why: str, status: int
) -> None:
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        house.idp.token_answer = answer
        said = "does not count" if status == 403 else "cannot be asked now"
        await refused(house, maria, path, said, status)
        assert why in caplog.text and SECRET not in caplog.text
        house.idp.token_answer = None
        assert is_in(await house.sign_in(maria))


async def test_a_certificate_of_another_ca_or_name_does_not_count(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house.provider = Provider(
        house.told, ask=Asking(tls=trusting(None)), secret=None, clock=house.room.time, timer=lambda: house.timer_s
    )
    house.room.parts = replace(house.room.parts, oidc=house.provider)
    house.room.app = build_app(house.room.parts)
    async with house.room.browser(None) as maria:
        assert (await maria.post("/enter/oidc", {"to": "/"})).status_code == 503
        assert "certificate that does not count" in caplog.text and "desk.oidc.ca" in caplog.text
    house.use()
    async with house.room.browser(None) as maria:
        assert is_in(await house.sign_in(maria))
    assert "GET /.well-known/openid-configuration" in house.idp.seen


async def test_a_provider_that_does_not_answer_is_given_up(house: House, caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    told = OidcProvider(issuer=f"http://127.0.0.1:{port}", client_id=CLIENT, name="Silent")
    asking = Asking(tls=trusting(None), deadline_s=0.05)
    silent_one = Provider(told, ask=asking, secret=None, clock=house.room.time)
    following = asyncio.ensure_future(silent_one.follow())
    while not silent_one.fault:
        await asyncio.sleep(0)
    assert "gave no answer" in silent_one.fault
    following.cancel()
    server.close()
    assert "nobody signs in with Silent" in caplog.text


async def test_plain_http_is_for_a_provider_on_this_machine(tmp_path: Path) -> None:
    with provider(tmp_path, now=lambda: identities.NOW, tls=False) as idp:
        house = make(tmp_path, idp)
        async with house.room.browser(None) as maria:
            assert is_in(await house.sign_in(maria))
        house.idp.metadata = {"token_endpoint": "http://login.example/token"}
        house.use()
        async with house.room.browser(None) as maria:
            assert (await maria.post("/enter/oidc", {"to": "/"})).status_code == 503


async def test_no_secret_code_or_token_is_ever_written_to_the_log(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with house.room.browser(None) as maria:
        path = await house.answer(await house.go(maria))
        assert is_in(await house.come(maria, path))
        house.idp.claims = {"nonce": "another"}
        house.room.journal.lines.clear()
        await refused(house, maria, await house.answer(await house.go(maria)), "does not count")
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("proxy"))
    code = re.search(r"code=([^&]*)", path)
    assert code is not None and ours
    for kept in (code[1], SECRET, *(each["code_verifier"] for each in house.idp.posted), "eyJ"):
        assert kept not in ours
