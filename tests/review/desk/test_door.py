"""The desk's door: who gets in, from where, and what every answer bears (THREATS F02, F03)."""

import re
from datetime import timedelta
from pathlib import Path

import httpx
import identities
import pytest
from identities import DEPUTY, SPONSOR
from reviewrooms import ORIGIN, Room, hidden, text_of

from proxy.core.model import HoldState
from proxy.review.desk.app import STATIC
from proxy.review.desk.pages import TEMPLATES
from proxy.review.desk.sessions import IDLE, LONGEST, MOST, Sessions


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


# --- under its own name alone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example:8090",
        "127.0.0.1",
        "127.0.0.1:8091",
        "localhost:8090",
        "127.1:8090",
        "0.0.0.0:8090",
        "[::1]:8090",
        "127.0.0.1:8090.",
        "127.0.0.1:8090@evil.example",
        "",
    ],
)
async def test_under_another_name_nothing_is_served_and_nothing_is_decided(room: Room, host: str) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        page = hidden((await maria.get(f"/holds/{hold.id}")).text)
        for answer in (
            await maria.get(f"/holds/{hold.id}", Host=host or " "),
            await maria.post(f"/holds/{hold.id}/release", page, Host=host or " "),
        ):
            assert answer.status_code == 421 and hold.id not in answer.text
        assert (await maria.get(f"/holds/{hold.id}", Host="127.0.0.1:8090")).status_code == 200  # the twin
    assert (await room.holds.get(hold.id)).state is HoldState.HELD  # type: ignore[union-attr]


async def test_two_hosts_are_none(room: Room) -> None:
    transport = httpx.ASGITransport(app=room.app)
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        both = [("Host", "127.0.0.1:8090"), ("Host", "127.0.0.1:8090")]
        assert (await client.get("/enter", headers=both)).status_code == 421


# --- only from its own pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(
            {"Sec_Fetch_Site": "same-origin", "Origin": "null"}, 200, id="a form of the desk, under no-referrer"
        ),
        pytest.param({"Sec_Fetch_Site": "same-origin", "Origin": ORIGIN}, 200, id="a form of the desk"),
        pytest.param({"Sec_Fetch_Site": "", "Origin": ORIGIN}, 200, id="an older browser"),
        pytest.param({"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"}, 403, id="another site"),
        pytest.param({"Sec_Fetch_Site": "cross-site", "Origin": "null"}, 403, id="a sandboxed frame"),
        pytest.param({"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:9000"}, 403, id="another port here"),
        pytest.param({"Sec_Fetch_Site": "none", "Origin": ""}, 403, id="no page at all"),
        pytest.param({"Sec_Fetch_Site": "", "Origin": "null"}, 403, id="an older browser, from nowhere"),
        pytest.param({"Sec_Fetch_Site": "", "Origin": ""}, 403, id="a program without either"),
        pytest.param({"Sec_Fetch_Site": "", "Origin": f"{ORIGIN}.evil.example"}, 403, id="a name that begins alike"),
        pytest.param({"Sec_Fetch_Site": "same-origin", "Origin": "http://evil.example"}, 403, id="two that disagree"),
    ],
)
async def test_a_form_counts_from_the_desks_own_pages_alone(room: Room, headers: dict[str, str], status: int) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        page = hidden((await maria.get(f"/holds/{hold.id}")).text)
        assert (await maria.post(f"/holds/{hold.id}/release", page, **headers)).status_code == status
    now = await room.holds.get(hold.id)
    assert now is not None and now.state is (HoldState.APPROVED if status == 200 else HoldState.HELD)


async def test_a_form_without_the_sessions_token_or_with_anothers_decides_nothing(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria, room.browser(DEPUTY) as ben:
        page = hidden((await maria.get(f"/holds/{hold.id}")).text)
        theirs = hidden((await ben.get("/queue")).text)["form_token"]
        for token in ("", theirs, page["form_token"][:-1]):
            answer = await maria.post(f"/holds/{hold.id}/release", {**page, "form_token": token})
            assert answer.status_code == 403
        assert (await maria.post(f"/holds/{hold.id}/release", page)).status_code == 200
    assert (await room.holds.get(hold.id)).state is HoldState.APPROVED  # type: ignore[union-attr]


async def test_nothing_is_decided_by_following_a_link(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        page = hidden((await maria.get(f"/holds/{hold.id}")).text)
        for verb in ("release", "deny", "grant", "resolve", "notes/cancel", "reveal"):
            answer = await maria.client.get(f"/holds/{hold.id}/{verb}", params={**page, "reason": "x"})
            assert answer.status_code in (303, 404, 405), verb
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert (await maria.client.request(method, f"/holds/{hold.id}/release")).status_code == 405
    now = await room.holds.get(hold.id)
    assert now is not None and (now.state, now.version) == (HoldState.HELD, 1)
    assert room.journal.of("reveal") == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(
            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403, id="a picture on another page"
        ),
        pytest.param({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403, id="a script on another port"),
        pytest.param({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200, id="a link in a message"),
        pytest.param({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200, id="an address typed in"),
        pytest.param({"Sec_Fetch_Site": "", "Sec_Fetch_Mode": ""}, 200, id="an older browser"),
    ],
)
async def test_pages_are_not_parts_of_others_pages(room: Room, headers: dict[str, str], status: int) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        assert (await maria.get("/queue", **headers)).status_code == status


# --- what every answer bears -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/enter", "/queue", "/static/desk.css", "/no-such-page", "/holds/x", "/events-no"])
async def test_every_answer_forbids_what_a_page_could_be_abused_for(room: Room, path: str) -> None:
    async with room.browser() as maria:
        found = (await maria.get(path)).headers
    policy = found["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'" and "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*|data:", found["content-security-policy"])
    assert found["cache-control"] == "no-store" and found["referrer-policy"] == "no-referrer"
    assert (found["x-content-type-options"], found["x-frame-options"]) == ("nosniff", "DENY")
    assert found["cross-origin-opener-policy"] == found["cross-origin-resource-policy"] == "same-origin"


def test_no_page_has_a_script_a_style_or_a_handler_within_or_anything_from_elsewhere() -> None:
    for path in (*TEMPLATES.iterdir(), *STATIC.iterdir()):
        text = path.read_text("utf-8")
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:|\|\s*safe|autoescape", text), path.name
            own = re.findall(r'<script type="module" src="/static/[a-z]+\.js"></script>', text)
            assert text.count("<script") == len(own), path.name
        if path.suffix == ".js":
            assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


async def test_a_fault_of_the_desk_shows_nobody_anything_of_it(room: Room) -> None:
    await room.parts.index.read()

    def broken() -> object:
        raise RuntimeError("s3cret")

    async with room.browser() as maria:
        object.__setattr__(room.parts, "clock", broken)
        answer = await maria.get("/queue")
    assert answer.status_code == 500 and "s3cret" not in answer.text and "Traceback" not in answer.text


# --- signing in ------------------------------------------------------------------------------------------------------


async def test_whoever_is_not_signed_in_gets_no_further_than_the_door(room: Room) -> None:
    hold = await room.file()
    async with room.browser(None) as stranger:
        assert (await stranger.get("/")).headers["location"] == "/enter"
        for path in ("/queue", f"/holds/{hold.id}", f"/holds/{hold.id}/body", "/groups/x", "/events", "/nothing"):
            answer = await stranger.get(path)
            assert answer.status_code == 401 and hold.agent not in answer.text, path
        for path in (f"/holds/{hold.id}/release", "/leave", "/groups/x/deny"):
            assert (await stranger.post(path, {"digest": hold.call_digest})).status_code == 401, path


async def test_a_link_signs_in_whom_it_names_once_and_looking_at_it_does_not_spend_it(room: Room) -> None:
    await room.parts.index.read()
    assert room.parts.links is not None
    word = room.parts.links.make(DEPUTY)
    async with room.browser(None) as ben, room.browser(None) as thief:
        for _ in range(2):
            assert "Continue as Ben" in (await ben.get(f"/enter?link={word}", Sec_Fetch_Site="none")).text
        answer = await ben.post("/enter", {"link": word})
        assert answer.status_code == 303
        assert "Ben" in (await ben.get("/queue")).text
        assert (await thief.post("/enter", {"link": word})).status_code == 403
        assert (await thief.get(f"/enter?link={word}")).status_code == 403
    assert [line["by"] for line in room.journal.of("enter")] == [DEPUTY]


@pytest.mark.parametrize(
    "word",
    ["", "x", "A" * 43, "../sessions.json", "%00", "é" * 43],
    ids=["none", "short", "guessed", "a path", "an escape", "not ASCII"],
)
async def test_a_link_that_was_never_made_signs_nobody_in(room: Room, word: str) -> None:
    async with room.browser(None) as stranger:
        answer = await stranger.post("/enter", {"link": word})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


async def test_a_link_ends_after_ten_minutes(room: Room) -> None:
    assert room.parts.links is not None
    early, late = room.parts.links.make(SPONSOR), room.parts.links.make(SPONSOR)
    async with room.browser(None) as maria:
        room.later(minutes=9, seconds=59)
        assert (await maria.post("/enter", {"link": early})).status_code == 303
        room.later(seconds=1)
        assert (await maria.post("/enter", {"link": late})).status_code == 403


async def test_a_link_is_nothing_that_its_file_tells_and_old_ones_are_removed(room: Room) -> None:
    assert room.parts.links is not None
    word = room.parts.links.make(SPONSOR)
    (file,) = (room.directory / "links").iterdir()
    assert word not in file.name and word not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0 and file.parent.stat().st_mode & 0o077 == 0
    room.later(minutes=11)
    room.parts.links.make(SPONSOR)
    assert not file.exists()


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(room: Room) -> None:
    assert room.parts.links is not None
    async with room.browser(None) as maria:
        cookie = (await maria.sign_in(SPONSOR)).headers["set-cookie"].lower()
    assert cookie.startswith("intent-desk-8090=")
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/")) and "domain" not in cookie


async def test_over_tls_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    world = identities.world()
    room = Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens, origins=("https://desk.example",))
    async with room.browser(None) as maria:
        answer = await maria.sign_in(SPONSOR)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-intent-desk=") and "Secure" in cookie and "Path=/" in cookie
    assert "strict-transport-security" in answer.headers


async def test_signing_in_gives_a_new_session_whatever_the_browser_had(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser(None) as maria, room.browser(None) as attacker:
        maria.client.cookies.set("intent-desk-8090", "fixed-by-an-attacker", domain="127.0.0.1")
        await maria.sign_in(SPONSOR)
        first = maria.client.cookies["intent-desk-8090"]
        assert first != "fixed-by-an-attacker"
        attacker.client.cookies.set("intent-desk-8090", "fixed-by-an-attacker", domain="127.0.0.1")
        assert (await attacker.get("/queue")).status_code == 401
        await maria.sign_in(SPONSOR)
        attacker.client.cookies.set("intent-desk-8090", first, domain="127.0.0.1")
        assert (await attacker.get("/queue")).status_code == 401  # the one before ended
        assert (await maria.get("/queue")).status_code == 200


async def test_a_session_ends_after_half_an_hour_without_its_owner(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        for _ in range(3):
            room.later(minutes=29)
            assert (await maria.get("/queue")).status_code == 200
        room.later(minutes=20)
        assert (await maria.get("/queue", Desk_Live="1")).status_code == 200  # an open page is nobody
        room.now += IDLE - timedelta(minutes=20)
        assert (await maria.get("/queue")).status_code == 401


async def test_a_session_ends_after_eight_hours_whatever_is_done(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        for _ in range(int(LONGEST / timedelta(minutes=20)) - 1):
            room.later(minutes=20)
            assert (await maria.get("/queue")).status_code == 200
        room.later(minutes=20)
        assert (await maria.get("/queue")).status_code == 401


async def test_signed_out_the_old_cookie_opens_nothing(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        token = maria.client.cookies["intent-desk-8090"]
        page = hidden((await maria.get("/queue")).text)
        assert (await maria.post("/leave", page)).status_code == 303
        maria.client.cookies.set("intent-desk-8090", token, domain="127.0.0.1")
        assert (await maria.get("/queue")).status_code == 401


async def test_whoever_is_no_longer_enrolled_is_signed_out(room: Room) -> None:
    await room.parts.index.read()
    async with room.browser() as maria, room.browser(DEPUTY) as ben:
        room.bundle = identities.bundle(people=[room.person(SPONSOR)])
        assert (await ben.get("/queue")).status_code == 401
        assert (await maria.get("/queue")).status_code == 200


async def test_sessions_outlive_a_restart_and_their_file_signs_nobody_in(room: Room) -> None:
    sessions = room.parts.sessions
    token = sessions.begin(SPONSOR)
    file = room.directory / "sessions.json"
    assert token not in file.read_text() and file.stat().st_mode & 0o077 == 0
    again = Sessions(clock=lambda: room.now, file=file)
    found = again.find(token)
    assert found is not None and (found.person, found.form_token) == (SPONSOR, sessions.find(token).form_token)  # type: ignore[union-attr]
    assert again.find(found.id) is None
    file.write_text("{")
    assert Sessions(clock=lambda: room.now, file=file).find(token) is None


def test_there_are_only_so_many_sessions_and_the_oldest_goes(room: Room) -> None:
    sessions = Sessions(clock=lambda: room.now)
    first = sessions.begin(SPONSOR)
    for _ in range(MOST):
        room.later(milliseconds=1)
        sessions.begin(DEPUTY)
    assert sessions.find(first) is None


async def test_somebody_who_follows_a_link_from_elsewhere_is_sent_round_once(room: Room) -> None:
    """The cookie is strict: it comes only with what is asked from a page of the desk."""
    hold = await room.file()
    async with room.browser(None) as maria:
        answer = await maria.get(f"/holds/{hold.id}", Sec_Fetch_Site="cross-site")
        assert 'http-equiv="refresh"' in answer.text and "Go on" in text_of(answer.text)
        again = await maria.get(f"/holds/{hold.id}", Sec_Fetch_Site="same-origin")
        assert again.status_code == 401 and "Sign in" in text_of(again.text)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        pytest.param(b"a=" + b"x" * 200_000, "application/x-www-form-urlencoded", 413, id="too large"),
        pytest.param(b"&".join(b"a=1" for _ in range(2000)), "application/x-www-form-urlencoded", 422, id="too many"),
        pytest.param(b"a=%ff", "application/x-www-form-urlencoded", 422, id="not UTF-8"),
        pytest.param(b"{}", "application/json", 415, id="JSON"),
        pytest.param(b"--x\r\n", "multipart/form-data; boundary=x", 415, id="multipart"),
        pytest.param(b"a=b", "text/plain", 415, id="what a foreign form can send without asking"),
    ],
)
async def test_what_is_no_form_of_ours_is_not_read(room: Room, content: bytes, kind: str, status: int) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin"}
        answer = await maria.client.post(f"/holds/{hold.id}/release", content=content, headers=headers)
    assert answer.status_code == status
