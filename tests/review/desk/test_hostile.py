"""Hostile text in every field of a held call: no page gains a tag, an attribute or an address by it (THREATS F03).

A page is read as a browser's parser reads it, and compared with the page of an innocent call: whatever stands there
besides text must stand there, too.
"""

import asyncio
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import identities
import pytest
from payloads import MARKUP, UNSEEN
from reviewrooms import Room, hidden

URL = "https://erp.example/v1/customers"
FIELDS = ("path", "query", "header", "header name", "content type", "body", "JSON", "form", "reason", "task", "name")
ASCII_ALONE = frozenset({"path", "query", "header", "header name", "content type"})
INNOCENT = (
    *((field, text) for field in FIELDS for text in ("an innocent word", "[1]")),
    ("body", "\xff"),
    ("reason", "too long " * 100),
)
_NOT_IN_PATHS = dict.fromkeys(map(ord, "/%\\."), "-")
_TOKEN = "!#$&'*+-.^_`|~"


class Skeleton(HTMLParser):
    """The tags of a page, each with the names of its attributes and its addresses."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: set[str] = set()
        self.addresses: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.add(f"<{tag} {' '.join(sorted(name for name, _ in attrs))}>")
        self.addresses |= {str(value) for name, value in attrs if name in ("href", "src", "action", "formaction")}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.parts.add("<!-- -->")

    def handle_decl(self, decl: str) -> None:
        self.parts.add(f"<!{decl}>")


def skeleton(page: str) -> Skeleton:
    found = Skeleton()
    found.feed(page)
    found.close()
    return found


def plain(text: str) -> str:
    """What a header or an address may hold of a text."""
    return "".join(char for char in text if " " <= char <= "~")


def call(field: str, text: str) -> dict[str, object]:
    """A held call with this text in that field, as far as such a field may hold it."""
    about: dict[str, object] = {"url": f"{URL}/42", "headers": [("X-Plain", "x")], "body": b""}
    line = plain(text).strip() or "x"
    escaped = quote(text.encode("utf-8", "replace"), safe="")
    match field:
        case "path":
            about["url"] = f"{URL}/a{quote(line.translate(_NOT_IN_PATHS), safe='')}"
        case "query":
            about["url"] = f"{URL}/42?q={quote(line.replace('%', '-'), safe='')}"
        case "header":
            about["headers"] = [("X-Plain", line)]
        case "header name":
            about["headers"] = [("".join(char for char in line if char.isalnum() or char in _TOKEN)[:60] or "x", "x")]
        case "content type":
            about["headers"], about["body"] = [("Content-Type", line)], b"x"
        case "body":
            about["headers"], about["body"] = [("Content-Type", "text/html")], text.encode("utf-8", "surrogatepass")
        case "JSON":
            about["headers"] = [("Content-Type", "application/json")]
            about["body"] = json.dumps({text[:50]: [text, {"deep": text}]}).encode()
        case "form":
            about["headers"] = [("Content-Type", "application/x-www-form-urlencoded")]
            about["body"] = f"{escaped}={escaped}".encode()
        case "task":
            about["task"] = line[:60]
    return about


async def pages(directory: Path, field: str, text: str) -> list[str]:
    """Every page that shows anything of a call with this text in that field."""
    world = identities.world()
    bundle = world.bundle
    if field == "name":
        name = "".join(char for char in text if char.isprintable())[:200] or "x"
        people = {each.id: replace(each, name=name, role=name) for each in bundle.people.values()}
        bundle = replace(bundle, people=people)
    room = Room(directory=directory, bundle=bundle, tokens=world.tokens)
    about = call(field, text)
    url = str(about.pop("url"))
    hold = await room.file(url, **about)
    risky = await room.file(url, method="DELETE", **about)
    reason = " ".join(text.split()) if field == "reason" else "because"
    async with room.browser() as maria:
        token = hidden((await maria.get("/queue")).text)
        answers = [
            await maria.get("/queue"),
            await maria.get(f"/queue?search={quote(text.encode('utf-8', 'replace'))}"),
            await maria.get(f"/holds/{hold.id}"),
            await maria.get(f"/holds/{risky.id}/release"),
            await maria.post(f"/holds/{hold.id}/reveal", token),
            await maria.say(hold, "notes/comment", reason=reason.encode("utf-8", "replace").decode()),
            await maria.say(hold, "deny", reason=reason.encode("utf-8", "replace").decode()),
            await maria.get(f"/holds/{hold.id}"),
        ]
    assert not [answer.status_code for answer in answers if answer.status_code >= 500]
    return [answer.text for answer in answers]


@pytest.fixture(scope="module")
def innocent(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every tag, with the names of its attributes, that pages of innocent calls have."""

    async def look() -> set[str]:
        found = {"<mark class>"}
        for field, text in INNOCENT:
            for page in await pages(tmp_path_factory.mktemp("innocent"), field, text):
                found |= skeleton(page).parts
        return found

    return asyncio.run(look())


def texts_for(field: str) -> tuple[str, ...]:
    return MARKUP if field in ASCII_ALONE else (*MARKUP, *UNSEEN)


async def check(field: str, text: str, directory: Path, innocent: set[str]) -> None:
    for page in await pages(directory, field, text):
        found = skeleton(page)
        assert found.parts <= innocent, f"{text!r} adds {found.parts - innocent}"
        assert all(each.startswith(("/", "#")) and not each.startswith("//") for each in found.addresses), text
        assert all(each.replace("\n", "").isprintable() for each in found.texts), text


@pytest.mark.parametrize("field", FIELDS)
async def test_no_text_in_this_field_becomes_markup(field: str, tmp_path: Path, innocent: set[str]) -> None:
    """Every payload in one field or another; all of them in all fields are among the system tests."""
    for number, text in enumerate(texts_for(field)[FIELDS.index(field) :: len(FIELDS)]):
        await check(field, text, tmp_path / str(number), innocent)


@pytest.mark.system
@pytest.mark.parametrize("field", FIELDS)
async def test_no_text_at_all_becomes_markup(field: str, tmp_path: Path, innocent: set[str]) -> None:
    for number, text in enumerate(texts_for(field)):
        await check(field, text, tmp_path / str(number), innocent)


def test_there_are_more_than_two_hundred() -> None:
    assert sum(len(texts_for(field)) for field in FIELDS) > 200
