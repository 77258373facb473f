"""Hostile text in every field of a held call: no page gains a tag, an attribute or an address by it (THREATS F03).

A page is read as a browser's parser reads it, and compared with the page of an innocent call: whatever stands there
besides text must stand there, too.
"""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import hostile
import identities
import pytest
from hostile import HostileRoom
from payloads import ALL, BROKEN, MARKUP, ODD, UNSEEN
from reviewrooms import Room, hidden

from proxy.cli.heldcall import show_held
from proxy.cli.screen import Screen
from proxy.core.visible import visible
from proxy.policy.webhooks import Format
from proxy.review.notify.notices import written
from proxy.review.notify.noticing import Noticing, Places
from proxy.review.opened import Reader

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
        found = {"<mark class>", "<em class>"}  # what is written out, and what the desk says itself
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
    """Some in one field or another; all of them in all fields are among the system tests."""
    for number, text in enumerate(texts_for(field)[FIELDS.index(field) :: len(FIELDS)]):
        await check(field, text, tmp_path / str(number), innocent)


# --- every text in every field, at once ------------------------------------------------------------------------------

SURROGATES = re.compile("[\ud800-\udfff]")
EVERYWHERE = tuple(SURROGATES.sub("?", text) for text in ALL)
BATCHES = 6


async def pages_everywhere(room: HostileRoom, text: str, bodies: Sequence[tuple[str, bytes]]) -> AsyncIterator[str]:
    """Every page that shows anything, of calls with this text in every field; the first is a card, unrevealed."""
    sealed = dict.fromkeys(hostile.FIELDS, text)
    room.named(text)
    room.said = text
    reason = " ".join(text.split()) or "because"
    held = []
    for number, (kind, body) in enumerate(bodies):
        texts = sealed if not kind else {**sealed, "content type": kind}
        held.append(await room.hostile({**texts, "task": f"{number}{text}"}, body=body))
    await room.parts.index.read()
    first = held[0]
    async with room.browser() as ada:
        for hold in held:
            yield (await ada.get(f"/holds/{hold.id}")).text
        queue = (await ada.get("/queue")).text
        yield queue
        form = {**hidden(queue), "digest": first.call_digest, "reason": reason}
        yield (await ada.get(f"/holds/{first.id}/propose")).text
        if text in ODD or text not in EVERYWHERE:  # pages that show nothing more: now this, now that
            yield (await ada.get(f"/queue?search={quote(text)}&agent={quote(text)}")).text
            yield (await ada.post(f"/holds/{first.id}/reveal", form)).text
        if text not in ODD:
            grant = {"path": text, "vary": text, "minutes": "5", "count": "2"}
            yield (await ada.post(f"/holds/{first.id}/grant", {**form, **grant})).text
            for group in re.findall(r'href="/groups/([^"]+)"', queue):
                yield (await ada.get(f"/groups/{group}")).text
        yield (await ada.post(f"/holds/{first.id}/notes/comment", form)).text
        yield (await ada.post(f"/holds/{first.id}/deny", form)).text
        yield (await ada.get(f"/holds/{first.id}")).text
        yield (await ada.get("/history")).text


def bodies_of(text: str) -> Sequence[tuple[str, bytes]]:
    escaped = quote(text.encode("utf-8", "replace"), safe="")
    return (
        ("", text.encode("utf-8", "surrogatepass")),
        ("application/json", json.dumps({text[:50]: [text, {"deep": text}]}).encode()),
        ("application/x-www-form-urlencoded", f"{escaped}={escaped}".encode()),
    )


@pytest.mark.system
@pytest.mark.parametrize("batch", range(BATCHES))
async def test_every_text_in_every_field_stays_text_and_can_be_read(
    batch: int, tmp_path: Path, innocent: set[str]
) -> None:
    world = identities.world()
    known = set(innocent)
    for number, text in enumerate(("an innocent word", "[1]", *EVERYWHERE[batch::BATCHES])):
        room = HostileRoom(directory=tmp_path / str(number), bundle=world.bundle, tokens=world.tokens)
        first = ""
        async for page in pages_everywhere(room, text, bodies_of(text)):
            found = skeleton(page)
            first = first or " ".join(" ".join(found.texts).split())
            if number < 2:
                known |= found.parts
            assert found.parts <= known, f"{text!r} adds {found.parts - known}"
            assert all(each in ("", "#") or re.fullmatch(r"[/#][^/\\].*|/", each) for each in found.addresses), text
            assert all(each.replace("\n", "").isprintable() for each in found.texts), text
        shown = " ".join(visible(text).split())
        assert first.count(shown) >= 12, f"{text!r} stands there {first.count(shown)} times"


async def test_bodies_that_are_no_text_are_shown_as_bytes(tmp_path: Path, innocent: set[str]) -> None:
    world = identities.world()
    room = HostileRoom(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)
    for number, body in enumerate(BROKEN):
        hold = await room.hostile({"task": str(number)}, body=body)
        await room.parts.index.read()
        async with room.browser() as ada:
            answer = await ada.get(f"/holds/{hold.id}")
            found = skeleton(answer.text)
            assert answer.status_code == 200 and found.parts <= innocent, body
            assert all(each.replace("\n", "").isprintable() for each in found.texts)
            assert (await ada.get(f"/holds/{hold.id}/body")).content == body


@pytest.mark.parametrize("text", [*EVERYWHERE[::25], *ODD[::12]], ids=ascii)
async def test_on_a_terminal_and_in_messages_no_text_is_more_than_text(text: str, tmp_path: Path) -> None:
    """What the command line prints, and what receivers are told, of the same calls."""
    world = identities.world()
    text = SURROGATES.sub("?", text)
    room = HostileRoom(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)
    hold = await room.hostile(dict.fromkeys(hostile.FIELDS, text), body=text.encode())
    held = await room.parts.reviews.show(hold.id)
    out = io.StringIO()
    with redirect_stdout(out):
        show_held(Screen(), held, now=room.now)
        Screen().table(("hold", "agent", "asks for"), [(hold.id, hold.agent, text)], empty="")
    printed = out.getvalue()
    assert printed.replace("\n", "").isprintable()
    assert "".join(visible(text).split())[:40] in "".join(printed.split())
    reader = Reader(holds=room.holds, vault=room.vault, policy=room.policy, clock=room.time)
    places = Places(desk="https://desk.example")
    noticing = Noticing(holds=room.holds, reader=reader, policy=room.policy, clock=room.time, places=places)
    for notice in await noticing.waiting():
        for form in Format:
            message = written(notice, form)
            assert message.isascii() and message.isprintable()
            told = json.loads(message)
            if form is Format.SLACK:  # a mention or a link begins with "<"; the one that stands there is ours
                assert "<" not in told["text"] and ">" not in told["text"]
                marked = [
                    block["text"]["text"] for block in told["blocks"] if block.get("text", {}).get("type") == "mrkdwn"
                ]
                assert marked == [f"<https://desk.example/holds/{hold.id}|Open it at the desk>"]
    assert len(await noticing.waiting()) == 1 and len(ALL) > 200


def test_there_are_more_than_two_hundred() -> None:
    assert len(set(ALL)) > 200 and sum(len(texts_for(field)) for field in FIELDS) > 200
