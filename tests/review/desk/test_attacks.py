"""Attacks on the desk, each beside what passes: by other sites, other reviewers, odd requests (THREATS F02, F03).

Which addresses there are is asked of the application's own table: a new page is attacked without being named here.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import identities
import pytest
from identities import AGENT, DEPUTY, REVIEWER, SPONSOR
from providers import described
from reviewrooms import ORIGIN, Browser, Room, Stream, hidden, kept_up, text_of
from starlette.routing import BaseRoute, Mount, Route

from proxy.core.model import Hold
from proxy.policy.chains import write_chain_file
from proxy.review.desk.app import build_app
from proxy.review.desk.events import MOST_STREAMS
from proxy.review.desk.guard import Guard

ABOUT = {"act": "comment", "verb": "deny"}
COOKIE = "intent-desk-8090"
DOOR = "/enter"
BEFORE_A_SESSION = {
    DOOR: "the word of a link, which is spent once",
    "/enter/oidc": "it signs nobody in: the provider's answer counts in the browser that began, by its cookie, once",
}
"""Forms that come before a session whose token they could bear, and what stands in its place. That another page's form
is none of the desk's is seen by Origin and Sec-Fetch-Site, as everywhere.
"""
METHODS = ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")


@dataclass(frozen=True, kw_only=True)
class Address:
    """One row of the application's table, as an attacker fills it in."""

    method: str
    path: str  # with {names}

    def about(self, **values: str) -> str:
        return re.sub(r"\{(\w+)[^}]*\}", lambda found: {**ABOUT, **values}.get(found[1], "x"), self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def table(routes: Sequence[BaseRoute], before: str = "") -> Iterator[Address]:
    for route in routes:
        if isinstance(route, Mount):
            yield from table(route.routes or (), before + route.path)
        elif isinstance(route, Route):
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield Address(method=method, path=before + route.path)


def addresses() -> tuple[Address, ...]:
    """Every address of the desk's pages. Its API knows no cookies: tests/review/desk/test_api_*.py attack that."""
    world = identities.world()
    app = Room(directory=Path("/nowhere"), bundle=world.bundle, tokens=world.tokens).app
    assert isinstance(app, Guard)
    found = table(app._app.routes)  # type: ignore[attr-defined]
    return tuple(each for each in found if not each.path.startswith("/api/"))


ALL = addresses()
READ = tuple(each for each in ALL if each.method == "GET" and not each.path.startswith(("/static/", "/events")))
SAID = tuple(each for each in ALL if each.method != "GET")
OF_ONE = tuple(each for each in ALL if re.search(r"\{(hold|group)\}", each.path))


def test_the_table_is_read_whole() -> None:
    assert len(SAID) >= 9 and len(READ) >= 10 and len(OF_ONE) >= 12
    assert {each.method for each in ALL} == {"GET", "POST"}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A desk with every way in."""
    world = identities.world()
    made = Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)
    made.parts = replace(made.parts, oidc=described(made.time))
    made.app = build_app(made.parts)
    return made


def group_in(page: str) -> str:
    found = re.search(r'href="/groups/([^"]+)"', page)
    assert found is not None
    return found[1]


async def two_alike(room: Room) -> tuple[Hold, Hold]:
    return await room.file("https://erp.example/v1/salaries/1"), await room.file("https://erp.example/v1/salaries/2")


async def state_of(room: Room, *holds: Hold) -> object:
    """Everything that an attack might change."""
    now = [await room.holds.get(hold.id) for hold in holds]
    sessions = (room.directory / "sessions.json").read_text()
    return [(each.state, each.version) for each in now if each], sessions, len(room.journal.lines), room.grants


def form_of(page: Mapping[str, str], hold: Hold) -> dict[str, str | list[str]]:
    """A form that would do for any address."""
    return {
        **page,
        "digest": hold.call_digest,
        "hold": [f"{hold.id}:{hold.call_digest}"],
        "reason": "because",
        "found": "arrived",
        "minutes": "5",
        "count": "1",
        "answer": "{}",
    }


# --- forms of other sites --------------------------------------------------------------------------------------------

FORGED = {
    "a form on another site": {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"},
    "a form on another port of this machine": {"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:9000"},
    "a sandboxed frame": {"Sec_Fetch_Site": "cross-site", "Origin": "null"},
    "a form from nowhere, in an older browser": {"Sec_Fetch_Site": "", "Origin": "null"},
    "a program that says nothing of itself": {"Sec_Fetch_Site": "", "Origin": ""},
    "another site that says twice where it is": {"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"},
    "another name of the desk": {"Sec_Fetch_Site": "", "Origin": "http://localhost:8090"},
    "the desk over TLS": {"Sec_Fetch_Site": "", "Origin": "https://127.0.0.1:8090"},
}


@pytest.mark.parametrize("address", SAID, ids=str)
async def test_no_forged_form_changes_anything_and_ones_own_does(room: Room, address: Address) -> None:
    hold, other = await two_alike(room)
    room.pins.mkdir()
    write_chain_file(room.directory / "manifests" / f"{AGENT}.jws", room.tokens[:1])
    proposal = await room.parts.updates.propose(room.draft(), author=room.person(DEPUTY), why="month-end")
    async with room.browser() as maria:
        queue = await maria.get("/queue")
        page = hidden(queue.text)
        path = address.about(hold=hold.id, group=group_in(queue.text), proposal=proposal.id)
        form = {**form_of(page, hold), "agent": AGENT}
        if path == DOOR:
            assert room.parts.links is not None
            form["link"] = room.parts.links.make(SPONSOR)
        before = await state_of(room, hold, other)
        for name, headers in FORGED.items():  # with the true token, even: nobody else's page may send it
            answer = await maria.post(path, form, **headers)
            assert answer.status_code in (401, 403), f"{name}: {answer.status_code}"
            assert "set-cookie" not in answer.headers, name
        if path not in BEFORE_A_SESSION:
            for token in ("", "x" * 43, page["form_token"][:-1], page["form_token"].swapcase()):
                answer = await maria.post(path, {**form, "form_token": token})
                assert answer.status_code in (401, 403), f"token {token}: {answer.status_code}"
        assert await state_of(room, hold, other) == before
        answer = await maria.post(path, form)  # the twin
        assert answer.status_code not in (401, 403, 404, 405), answer.text


@pytest.mark.parametrize("address", READ, ids=str)
async def test_nothing_is_decided_by_looking_whatever_a_link_says(room: Room, address: Address) -> None:
    hold, other = await two_alike(room)
    async with room.browser() as maria:
        queue = await maria.get("/queue")
        path = address.about(hold=hold.id, group=group_in(queue.text))
        token = hidden(queue.text)["form_token"]
        before = await state_of(room, hold, other)
        asked = {
            **{name: str(value) for name, value in form_of({"form_token": token}, hold).items()},
            "_method": "POST",
        }
        override = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST", "X-HTTP-Method": "POST"}
        for method in ("GET", "HEAD"):
            answer = await maria.client.request(method, path, params=asked, headers=override)
            assert answer.status_code < 500, answer.text
            assert method == "GET" or answer.content == b""
        after = await state_of(room, hold, other)
        assert isinstance(before, tuple) and isinstance(after, tuple)
        assert (after[:2], after[3]) == (before[:2], before[3])
        assert {fields.get("event") for _, fields in room.journal.lines} <= {"enter", "read", "reveal"}


@pytest.mark.parametrize("method", METHODS)
async def test_another_method_does_nothing_at_any_address(room: Room, method: str) -> None:
    hold, other = await two_alike(room)
    async with room.browser() as maria:
        queue = await maria.get("/queue")
        form, group = form_of(hidden(queue.text), hold), group_in(queue.text)
        before = await state_of(room, hold, other)
        for address in ALL:
            path = address.about(hold=hold.id, group=group)
            headers = {"Sec-Fetch-Site": "same-origin", "X-HTTP-Method-Override": "POST"}
            answer = await maria.client.request(method, path, data=form, headers=headers)
            assert answer.status_code == 405, f"{method} {path}"
        assert await state_of(room, hold, other) == before


# --- what concerns others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", OF_ONE, ids=str)
async def test_anothers_hold_answers_as_one_that_never_was(room: Room, address: Address) -> None:
    hold, other = await two_alike(room)
    async with room.browser() as ada, room.browser(REVIEWER) as cleo:
        group = group_in((await ada.get("/queue")).text)
        token = {"form_token": hidden((await cleo.get("/queue")).text)["form_token"]}
        before = await state_of(room, hold, other)
        answers = []
        for hold_id, name in ((hold.id, group), (hold.id[:-3] + "zzz", group[:-3] + "zzz")):
            path = address.about(hold=hold_id, group=name)
            if address.method == "GET":
                answer = await cleo.get(path)
            else:
                form = form_of(token, hold)
                answer = await cleo.post(path, {**form, "hold": [f"{hold_id}:{hold.call_digest}"]})
            answers.append((answer.status_code, answer.text.replace(hold_id, "ID").replace(name, "GROUP")))
        assert answers[0] == answers[1]
        assert answers[0][0] in (404, 409)
        assert not re.search(r"salaries|invoice-bot|erp\.example", answers[0][1])
        assert await state_of(room, hold, other) == before
        path = address.about(hold=hold.id, group=group)  # the twin: whom it concerns gets another answer
        mine = form_of(hidden((await ada.get("/queue")).text), hold)
        twin = await (ada.get(path) if address.method == "GET" else ada.post(path, mine))
        assert twin.status_code != 404


SIGNED = {
    "without an answer": ({"answer": ""}, 422),
    "with an answer that is none": ({"answer": "[]"}, 422),
    "with an answer to a page that was never shown": ({"answer": "{}", "asked": "x" * 43}, 409),
}


@pytest.mark.parametrize(("fields", "status"), SIGNED.values(), ids=SIGNED)
async def test_whose_hold_it_is_cannot_be_learnt_by_signing(room: Room, fields: dict[str, str], status: int) -> None:
    """What was asked of this session is looked for before any hold is; so it is all the same which hold is named."""
    hold, _ = await two_alike(room)
    async with room.browser(REVIEWER) as cleo:
        token = {"form_token": hidden((await cleo.get("/queue")).text)["form_token"]}
        theirs, none = [await cleo.post(f"/holds/{each}/sign", {**token, **fields}) for each in (hold.id, "none")]
        assert (theirs.status_code, theirs.text) == (none.status_code, none.text)
        assert theirs.status_code == status


async def test_lists_counts_and_searches_say_nothing_of_what_concerns_others(room: Room) -> None:
    hold, other = await two_alike(room)
    async with room.browser() as ada, room.browser(REVIEWER) as cleo:
        await ada.say(hold, "deny", reason="not their task")
        await room.parts.index.read()
        words = re.compile(r"salaries|invoice-bot|erp\.example|not their task|hold-0|finance")
        for path in ("/queue", f"/queue?search={other.id}", "/queue?search=salaries", "/queue?agent=invoice-bot", "/"):
            page = (await cleo.get(path)).text
            assert not words.search(text_of(page).replace(other.id, "")), path
        assert "0 of 0 held calls; 0 you may decide" in text_of((await cleo.get("/queue")).text)
        assert "0 of 0 that concern you" in text_of((await cleo.get("/history")).text)
        assert not words.search(text_of((await cleo.get("/history")).text))
        assert "1 of 1 held calls" in text_of((await ada.get("/queue")).text)  # the twins
        assert "not their task" in text_of((await ada.get("/history")).text)


# --- streams ---------------------------------------------------------------------------------------------------------


async def test_a_stream_says_nothing_of_what_concerns_others_and_ends_with_its_session(room: Room) -> None:
    async with kept_up(room.parts.index), room.browser() as ada, room.browser(REVIEWER) as cleo:
        streams = [Stream(browser, f"/events?after={room.parts.index.cursor}") for browser in (ada, cleo)]
        for stream in streams:
            assert (await stream.next())["event"] == "hello"
        first = await room.filer.file(method="GET")
        assert first.id in (await streams[0].next())["data"]
        await ada.post("/leave", hidden((await ada.get("/queue")).text))
        await cleo.post("/leave", hidden((await cleo.get("/queue")).text))
        await room.filer.file("https://erp.example/v1/salaries/9", method="GET")
        for stream in streams:  # neither hears of the second, nor Cleo of the first
            assert (await stream.next())["event"] == "bye"
            await stream.leave()
        assert room.parts.index.listeners_of("") == 0


async def test_one_session_has_so_many_streams_and_others_have_theirs(room: Room) -> None:
    async with kept_up(room.parts.index), room.browser() as ada, room.browser(REVIEWER) as cleo:
        path = f"/events?after={room.parts.index.cursor}"
        streams = [Stream(ada, path) for _ in range(MOST_STREAMS)]
        for stream in streams:
            assert (await stream.next())["event"] == "hello"
        assert (await ada.get(path, Accept="text/event-stream")).status_code == 429
        theirs = Stream(cleo, path)
        assert (await theirs.next())["event"] == "hello"
        await streams.pop().leave()
        again = Stream(ada, path)
        assert (await again.next())["event"] == "hello"
        for stream in (*streams, theirs, again):
            await stream.leave()


# --- cookies and links -----------------------------------------------------------------------------------------------


async def test_the_sessions_token_is_in_its_cookie_and_nowhere_else(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hold, _ = await two_alike(room)
    async with room.browser() as maria:
        token, texts = maria.client.cookies[COOKIE], list[str]()
        queue = await maria.get("/queue")
        for address in (*READ, *(each for each in SAID if each.path not in (*BEFORE_A_SESSION, "/leave"))):
            path = address.about(hold=hold.id, group=group_in(queue.text))
            form = form_of(hidden(queue.text), hold)
            answer = await (maria.get(path) if address.method == "GET" else maria.post(path, form))
            texts += [str(answer.url), answer.text, repr(answer.headers)]
        files = [path.read_text() for path in room.directory.rglob("*") if path.is_file()]
    for text in (*texts, *files, repr(room.journal.lines), caplog.text):
        assert token not in text
    session = room.parts.sessions.find(token)
    assert (
        session is not None and session.id in files[0] and any(session.form_token in text for text in texts)
    )  # the twin


async def test_what_the_file_of_sessions_tells_opens_nothing(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria, room.browser(None) as thief:
        session = room.parts.sessions.find(maria.client.cookies[COOKIE])
        assert session is not None
        for word in (session.id, session.form_token, session.person, ""):
            thief.client.cookies.set(COOKIE, word, domain="127.0.0.1")
            assert (await thief.get("/queue")).status_code == 401, word
        thief.client.cookies.set(COOKIE, maria.client.cookies[COOKIE], domain="127.0.0.1")
        assert (await thief.get("/queue")).status_code == 200  # the twin


async def test_nobody_is_made_to_sign_in_as_somebody_else(room: Room) -> None:
    """With a link of the attacker's own, so that what the victim says is said in another's name."""
    assert room.parts.links is not None
    async with room.browser() as maria:
        word = room.parts.links.make(REVIEWER)
        for headers in FORGED.values():
            assert (await maria.post(DOOR, {"link": word}, **headers)).status_code == 403
        assert (await maria.get(f"{DOOR}?link={word}", Sec_Fetch_Site="cross-site")).status_code == 200
        assert "Ada" in text_of((await maria.get("/help")).text)
        assert (await maria.post(DOOR, {"link": word})).status_code == 303  # the twin
        assert "Cleo" in text_of((await maria.get("/help")).text)


async def test_guessing_links_finds_none_and_locks_nobody_out(room: Room) -> None:
    """A link's word has 256 random bits, so what counts is that guesses cost their maker, and nobody else."""
    assert room.parts.links is not None
    await room.parts.index.read()
    word = room.parts.links.make(SPONSOR)
    files = sorted((room.directory / "links").iterdir())
    async with room.browser(None) as guesser:
        near = [word[:-1] + last for last in "AQgw" if word[:-1] + last != word]
        for guess in (
            *near,
            word[:-1],
            f"{word}=",
            word.lower(),
            word.upper(),
            f" {word[::-1]}",
            *map(str, range(100)),
        ):
            answer = await guesser.post(DOOR, {"link": guess})
            assert answer.status_code == 403 and "set-cookie" not in answer.headers
        assert sorted((room.directory / "links").iterdir()) == files
        assert (await guesser.post(DOOR, {"link": word})).status_code == 303  # the twin


# --- odd addresses and odd heads -------------------------------------------------------------------------------------

ODD_PATHS = (
    "//queue",
    "/queue/",
    "/QUEUE",
    "/queue%2f",
    "/queue;x=y",
    "/./queue",
    "/holds//{hold}",
    "/holds/{hold}/",
    "/holds/{hold}/..;/body",
    "/HOLDS/{hold}",
    "/holds/{hold}%00",
    "/holds/{hold}%0d%0aSet-Cookie:a=b",
    "/holds/..%2f..%2fetc%2fpasswd",
    "/static/../enter",
    "/static/..%2f..%2fapp.py",
    "/static/%2e%2e/templates/card.html",
    "/static/",
    "/static",
    "/static/desk.css/x",
    "//evil.example/",
    "/%5cevil.example",
    "/%2f%2fevil.example",
    "/enter/../queue",
    "/events/x",
    "/favicon.ico",
    "/robots.txt",
    "/openapi.json%00",
    "/.git/config",
)


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_an_odd_address_leads_nowhere(room: Room, path: str) -> None:
    hold, _ = await two_alike(room)
    path = path.format(hold=hold.id)
    async with room.browser(None) as stranger, room.browser(REVIEWER) as cleo, room.browser() as ada:
        for site in ("same-origin", "cross-site", "none"):
            answer = await stranger.client.send(raw(stranger, path, {"Sec-Fetch-Site": site, **NAVIGATE}))
            assert answer.status_code in (200, 401, 404), answer
            assert not re.search(r"salaries|invoice-bot", answer.text) and hold.agent not in answer.text
            assert not re.search(r"""(?:href|src|action)=["'](?:/[/\\]|[^/"'#])""", answer.text), answer.text
            assert answer.status_code != 200 or "Go on" in answer.text or "Sign in" in answer.text
            assert "location" not in answer.headers
        answer = await cleo.client.send(raw(cleo, path, NAVIGATE))
        assert answer.status_code in (200, 303, 404) and "salaries" not in answer.text
        answer = await ada.client.send(raw(ada, path, NAVIGATE))
        assert answer.status_code in (200, 404) and answer.headers.get("location", "/").startswith("/")
        assert (await ada.get(f"/holds/{hold.id}")).status_code == 200  # the twin


NAVIGATE = {"Sec-Fetch-Mode": "navigate"}


def raw(browser: Browser, path: str, headers: Mapping[str, str]) -> httpx.Request:
    """A request for a path that no client may tidy up."""
    request = browser.client.build_request("GET", "/", headers=dict(headers))
    request.url = httpx.URL(ORIGIN).copy_with(raw_path=path.encode())
    return request


@pytest.mark.parametrize("kind", ["iframe", "frame", "object", "embed", "fencedframe"])
async def test_no_page_is_put_into_another(room: Room, kind: str) -> None:
    hold, _ = await two_alike(room)
    async with room.browser() as maria:
        for site in ("same-origin", "same-site", "cross-site", "none"):
            answer = await maria.get(f"/holds/{hold.id}", Sec_Fetch_Site=site, Sec_Fetch_Dest=kind)
            assert answer.status_code == 403 and hold.id not in answer.text
        assert room.journal.of("read") == []
        assert (await maria.get(f"/holds/{hold.id}", Sec_Fetch_Dest="document")).status_code == 200  # the twin


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example")], id="another host"),
        pytest.param([("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-User", "ada")], id="another person"),
        pytest.param([("X-Original-URL", "/help"), ("X-Rewrite-URL", "/help")], id="another path"),
        pytest.param([("Authorization", "Basic YWRhOmFkYQ==")], id="a password"),
        pytest.param([("Cookie", "__Host-intent-desk=x; intent-desk-8090=y; intent-desk-8090=z")], id="cookies"),
        pytest.param([("Upgrade", "websocket"), ("Connection", "Upgrade")], id="an upgrade"),
    ],
)
async def test_no_header_stands_in_for_a_session_or_for_the_address(room: Room, headers: list[tuple[str, str]]) -> None:
    await room.parts.index.read()
    async with room.browser(None) as stranger, room.browser() as maria:
        answer = await stranger.client.get("/queue", headers=headers)
        assert answer.status_code == 401 and "evil.example" not in answer.text + str(answer.headers)
        if "Cookie" not in dict(headers):
            assert "Held calls" in (await maria.client.get("/queue", headers=headers)).text  # the twin


async def test_a_head_beyond_bounds_is_not_read(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        assert (await maria.get("/queue", X_Long="x" * 20_000)).status_code == 431
        assert (await maria.client.get("/queue", headers=[(f"X-{n}", "y" * 50) for n in range(400)])).status_code == 431
        assert (await maria.get(f"/queue?search={'x' * 20_000}")).status_code == 200
        assert (await maria.get("/queue", X_Long="x" * 8_000)).status_code == 200  # the twin
