"""The desk's API: who is let in, with what, and from where."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import identities
import pytest
from apiclients import ALL, caller, make
from identities import DEPUTY, SPONSOR
from reviewrooms import ORIGIN, Room

from proxy.core.errors import Rejected
from proxy.core.model import HoldState
from proxy.review.desk.api.problems import GUIDES_HERE
from proxy.review.desk.api.routes import operations
from proxy.review.desk.links import Links
from proxy.review.desk.tokens import LONGEST, MOST, MOST_WRONG, PREFIX, Scope, Tokens


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_is_found_by_itself_alone_and_kept_as_a_hash(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "desk" / "tokens", clock=lambda: identities.NOW)
    text = tokens.add(SPONSOR, frozenset({Scope.READ}), name="ci")
    found = tokens.find(text)
    assert found is not None and (found.person, found.scopes, found.name) == (SPONSOR, {Scope.READ}, "ci")
    assert text.startswith(PREFIX)
    for path in (tmp_path / "desk" / "tokens").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert text.rpartition("_")[2] not in path.read_text()
    other = tokens.add(DEPUTY, frozenset({Scope.READ}))
    for wrong in (text[:-1], text + "A", text.upper(), "", "ipd_", other[:20] + text[20:], f" {text}"):
        assert tokens.find(wrong) is None, wrong


def test_when_a_token_was_last_used_is_known_to_the_minute(tmp_path: Path) -> None:
    now = identities.NOW
    tokens = Tokens(tmp_path / "desk" / "tokens", clock=lambda: now)
    text = tokens.add(SPONSOR, frozenset(Scope))
    assert tokens.listing()[0].used is None
    tokens.find(text)
    assert tokens.listing()[0].used == now
    now += timedelta(seconds=59)
    tokens.find(text)
    assert tokens.listing()[0].used == identities.NOW
    now += timedelta(seconds=1)
    tokens.find(text)
    assert tokens.listing()[0].used == now


@pytest.mark.parametrize(
    ("scopes", "lasting", "name", "why"),
    [
        pytest.param((), timedelta(days=1), "", "needs a scope", id="it may nothing"),
        pytest.param((Scope.READ,), LONGEST + timedelta(seconds=1), "", "366 days", id="it lives too long"),
        pytest.param((Scope.READ,), timedelta(0), "", "a second", id="it lives not at all"),
        pytest.param((Scope.READ,), timedelta(days=1), "a\x1b[2Jb", "printable", id="its name moves the cursor"),
        pytest.param((Scope.READ,), timedelta(days=1), "x" * 61, "60", id="its name is a novel"),
    ],
)
def test_no_token_is_made(tmp_path: Path, scopes: tuple[Scope, ...], lasting: timedelta, name: str, why: str) -> None:
    tokens = Tokens(tmp_path / "desk" / "tokens", clock=lambda: identities.NOW)
    with pytest.raises(Rejected, match=why):
        tokens.add(SPONSOR, frozenset(scopes), lasting=lasting, name=name)
    assert tokens.add(SPONSOR, frozenset({Scope.READ}), lasting=LONGEST, name="x" * 60)  # the twin


def test_there_is_a_last_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "desk" / "tokens", clock=lambda: identities.NOW)
    tokens.add(SPONSOR, frozenset({Scope.READ}))
    first = tokens.listing()[0]
    about = (tmp_path / "desk" / "tokens" / f"{first.id}.json").read_bytes()
    for number in range(MOST - 1):
        path = (
            tmp_path
            / "desk"
            / "tokens"
            / f"{str(number).translate(str.maketrans('0123456789', 'abcdefghij')):z<16}.json"
        )
        path.write_bytes(about)
        path.chmod(0o600)
    with pytest.raises(Rejected, match="already"):
        tokens.add(SPONSOR, frozenset({Scope.READ}))
    tokens.remove(first.id)
    assert tokens.add(SPONSOR, frozenset({Scope.READ}))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"[" * 200_000, id="bottomless"),
        pytest.param(b"\xff\xfe{", id="no text"),
        pytest.param(b'{"until": 1' + b"0" * 5_000 + b"}", id="an endless number"),
        pytest.param(
            '{"hash":"\u00e9","person":"ada","scopes":["read"],"name":"","made":1,"until":9999999999}'.encode(),
            id="a hash that is none",
        ),
    ],
)
def test_a_damaged_file_is_no_token_and_no_link_and_harms_no_other(tmp_path: Path, damage: bytes) -> None:
    tokens = Tokens(tmp_path / "desk" / "tokens", clock=lambda: identities.NOW)
    links = Links(tmp_path / "desk" / "links", clock=lambda: identities.NOW)
    broken, word = tokens.add(SPONSOR, frozenset({Scope.READ})), links.make(SPONSOR)
    for place in ("tokens", "links"):
        (path,) = (tmp_path / "desk" / place).iterdir()
        path.write_bytes(damage.replace(b"person", b"nobody") if place == "links" else damage)
    whole = tokens.add(DEPUTY, frozenset({Scope.READ}))
    assert tokens.find(broken) is None and tokens.find(whole) is not None
    assert [each.person for each in tokens.listing()] == [DEPUTY]
    assert links.look(word) is None and links.spend(word) is None
    assert links.look(links.make(DEPUTY)) is not None, "the twin"


def test_a_file_that_others_may_read_is_no_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "desk" / "tokens", clock=lambda: identities.NOW)
    text = tokens.add(SPONSOR, frozenset({Scope.READ}))
    (path,) = (tmp_path / "desk" / "tokens").iterdir()
    path.chmod(0o644)
    assert tokens.find(text) is None
    path.chmod(0o600)
    assert tokens.find(text) is not None
    path.write_bytes(b"{")
    assert tokens.find(text) is None and tokens.listing() == ()
    path.unlink()
    with pytest.raises(Rejected, match="there is no token"):
        tokens.remove(path.stem)


# --- the door --------------------------------------------------------------------------------------------------------


async def test_without_a_token_or_with_another_nothing_is_told(room: Room) -> None:
    hold = await room.file()
    right = make(room)
    async with caller(room, token=None) as nobody:
        for lines in (
            {},
            {"Authorization": ""},
            {"Authorization": f"Basic {right}"},
            {"Authorization": right},
            {"Authorization": f"Bearer {right}x"},
            {"Authorization": "Bearer \xff"},
        ):
            for path in ("/holds", f"/holds/{hold.id}", "/me"):
                answer = await nobody.get(path, headers=lines)
                assert answer.status_code == 401 and hold.id not in answer.text
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await nobody.get("/me", headers={"Authorization": f"bearer {right}"})).status_code == 200
    assert room.journal.lines == []


async def test_two_tokens_are_none(room: Room) -> None:
    right = make(room)
    async with caller(room, token=None) as nobody:
        both = [("Authorization", f"Bearer {right}"), ("Authorization", f"Bearer {right}")]
        assert (await nobody.get("/me", headers=both)).status_code == 401


async def test_a_token_ends_by_its_time_its_removal_and_its_persons_leaving(room: Room) -> None:
    tokens = room.parts.api.tokens  # type: ignore[union-attr]
    texts = [tokens.add(name, ALL, lasting=timedelta(hours=1)) for name in (SPONSOR, SPONSOR, DEPUTY)]

    async def counts() -> list[bool]:
        found = []
        for text in texts:
            async with caller(room, token=text) as one:
                found.append((await one.get("/me")).status_code == 200)
        return found

    assert await counts() == [True, True, True]
    tokens.remove(texts[0].split("_")[1])
    assert await counts() == [False, True, True]
    people = {name: person for name, person in room.bundle.people.items() if name != DEPUTY}
    room.bundle = replace(room.bundle, people=people)
    assert await counts() == [False, True, False]
    room.later(hours=1)
    assert await counts() == [False, False, False]


async def test_wrong_tokens_are_told_to_wait_and_right_ones_never(room: Room) -> None:
    right = make(room)
    async with caller(room, token="ipd_nothing") as wrong, caller(room, token=right) as one:
        statuses = [(await wrong.get("/me")).status_code for _ in range(MOST_WRONG + 5)]
        assert statuses == [401] * MOST_WRONG + [429] * 5
        assert (await wrong.get("/me")).headers["retry-after"] == "60"
        assert (await one.get("/me")).status_code == 200
        room.later(minutes=1)
        assert (await wrong.get("/me")).status_code == 401


@pytest.mark.parametrize("operation", operations(), ids=lambda each: f"{each.name} needs {each.scope.value}")
async def test_each_operation_has_its_scope(room: Room, operation: object) -> None:
    hold = await room.file()
    scope: Scope = operation.scope  # type: ignore[attr-defined]
    path = operation.path.replace("{hold}", hold.id)  # type: ignore[attr-defined]
    async with caller(room, token=make(room, ALL - {scope})) as one:
        answer = await one.client.request(operation.method, f"/api/v1{path}", headers=one.headers)  # type: ignore[attr-defined]
        assert (answer.status_code, answer.json()["code"]) == (403, "api.scope")
    assert room.journal.lines == []
    assert (await room.holds.get(hold.id)).version == 1  # type: ignore[union-attr]


# --- browsers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 200, id="the twin: a program"),
        pytest.param({"Sec-Fetch-Site": "none"}, 200, id="a program that says it is no page"),
        pytest.param({"Cookie": "intent-desk-8090=x"}, 403, id="with cookies"),
        pytest.param({"Cookie": "other=x"}, 403, id="with any cookie"),
        pytest.param({"Origin": ORIGIN}, 403, id="from the desk's own pages"),
        pytest.param({"Origin": "null"}, 403, id="from nowhere"),
        pytest.param({"Origin": "https://evil.example"}, 403, id="from elsewhere"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 403, id="a script of the desk"),
        pytest.param({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403, id="a link"),
        pytest.param({"Host": "rebound.example:8090"}, 421, id="under another name"),
    ],
)
async def test_browsers_get_nothing_even_with_a_token(room: Room, headers: dict[str, str], status: int) -> None:
    hold = await room.file()
    async with caller(room) as one:
        answer = await one.get(f"/holds/{hold.id}", headers=headers)
        assert answer.status_code == status
        asked = {"verb": "release", "digest": hold.call_digest}
        assert (await one.post(f"/holds/{hold.id}/rulings", asked, headers=headers)).status_code == status
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json" and hold.id not in answer.text
            assert "access-control-allow-origin" not in answer.headers
    now = await room.holds.get(hold.id)
    assert now is not None and now.state is (HoldState.APPROVED if status == 200 else HoldState.HELD)


async def test_a_session_at_the_desk_opens_no_api_and_a_token_no_page(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        for headers in ({}, {"Sec-Fetch-Site": "same-origin"}):
            assert (await maria.client.get(f"/api/v1/holds/{hold.id}", headers=headers)).status_code == 403
    async with caller(room) as one:
        assert (await one.client.get(f"/holds/{hold.id}", headers=one.headers)).status_code == 401
        post = await one.client.post(
            f"/holds/{hold.id}/release", data={"digest": hold.call_digest}, headers={**one.headers, "Origin": ORIGIN}
        )
        assert post.status_code == 401


@pytest.mark.parametrize(
    "path", ["/API/v1/me", "/%61pi/v1/me", "//api/v1/me", "/api/../api/v1/me", "/api/v1/me/", "/api/v1//me"]
)
async def test_no_other_spelling_is_the_api_with_other_rules(room: Room, path: str) -> None:
    async with caller(room) as one:
        answer = await one.client.get(path, headers={**one.headers, "Cookie": "a=b"})
        assert answer.status_code in (401, 403, 404)
        assert SPONSOR not in answer.text


async def test_every_answer_bears_the_desks_headers_and_nothing_is_cached(room: Room) -> None:
    async with caller(room) as one:
        for path in ("/me", "/nothing", "/openapi.json"):
            answer = await one.get(path)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_other_methods_are_named(room: Room) -> None:
    async with caller(room) as one:
        for method in ("PUT", "DELETE", "PATCH", "POST"):
            answer = await one.client.request(method, "/api/v1/me", headers=one.headers)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
            assert answer.json()["code"] == "api.method"


# --- bodies and parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        pytest.param(b'{"verb":"release"}', "application/json", 200, id="the twin"),
        pytest.param(b'{"verb":"release"}', "text/plain", 415, id="another type"),
        pytest.param(b"", "application/json", 422, id="nothing"),
        pytest.param(b"[]", "application/json", 422, id="a list"),
        pytest.param(b'{"verb":"release","verb":"deny"}', "application/json", 422, id="a member twice"),
        pytest.param(b'{"verb":"release","more":1}', "application/json", 422, id="an unknown member"),
        pytest.param(b'{"verb":"release","found":"arrived"}', "application/json", 422, id="what is another verb's"),
        pytest.param(b'{"verb":"release","reason":"\\ud800"}', "application/json", 422, id="half a character"),
        pytest.param(
            b'{"verb":"release","reason":"a\\u001bb"}', "application/json", 422, id="a reason nobody can show"
        ),
        pytest.param(b'{"verb":"release","scope":{}}', "application/json", 422, id="a scope without an end"),
        pytest.param(b'{"verb":"deny"}', "application/json", 422, id="a denial without a reason"),
        pytest.param(b'{"verb":"resolve"}', "application/json", 422, id="what was found is not said"),
        pytest.param(b" " * 131_073, "application/json", 413, id="too much"),
    ],
)
async def test_a_body_is_as_the_document_says(room: Room, body: bytes, kind: str, status: int) -> None:
    hold = await room.file()
    async with caller(room) as one:
        answer = await one.client.post(
            f"/api/v1/holds/{hold.id}/drafts", content=body, headers={**one.headers, "Content-Type": kind}
        )
    assert answer.status_code == status
    assert status == 200 or answer.json()["code"] in GUIDES_HERE


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "api.parameter"),
        ("limit=x", "api.parameter"),
        ("limit=1&limit=2", "api.parameter"),
        ("unknown=1", "api.parameter"),
        ("state=open", "api.parameter"),
        ("which=theirs", "api.parameter"),
        ("search=" + "x" * 201, "api.parameter"),
        ("agent=%ff", "api.parameter"),
        ("cursor=!", "api.cursor"),
        ("cursor=e30", "api.cursor"),
        ("state=denied&search=a", "api.together"),
    ],
)
async def test_a_parameter_is_as_the_document_says(room: Room, query: str, code: str) -> None:
    async with caller(room) as one:
        answer = await one.get(f"/holds?{query}")
        assert (answer.status_code, answer.json()["code"]) == (GUIDES_HERE[code].status, code)
        assert (await one.get("/holds?limit=1&state=held&state=denied")).status_code == 200


async def test_a_fault_of_the_desk_is_a_problem_without_its_data(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: object) -> object:
        raise RuntimeError("s3cret")

    room.parts.reviews.show = broken  # type: ignore[method-assign,assignment]
    async with caller(room) as one:
        answer = await one.get("/holds/x")
    assert (answer.status_code, answer.json()["code"]) == (500, "api.broken")
    assert "s3cret" not in answer.text + caplog.text


def test_the_page_on_the_api_names_every_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    assert [code for code, guide in GUIDES_HERE.items() if f"| `{code}` | {guide.status} |" not in page] == []
    assert [each.name for each in operations() if f"`{each.method} {each.path}`" not in page] == []
