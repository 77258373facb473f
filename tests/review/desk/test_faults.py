"""What people at the desk are told while something fails: the truth, also where nobody knows, and no stack trace."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import identities
import pytest
from identities import NOW, SPONSOR
from reviewrooms import Room, hidden, text_of

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import HoldState
from proxy.review.desk.sessions import Sessions
from proxy.stores import files


@pytest.fixture
def room(tmp_path: Path) -> Room:
    world = identities.world()
    return Room(directory=tmp_path, bundle=world.bundle, tokens=world.tokens)


def away(*_: object, **__: object) -> Awaitable[Any]:
    raise Unavailable(Code.STORE_DOWN, "the store does not answer")


def cut_off(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The same step, taken, and its answer lost on the way back."""

    async def taken(*words: object, **named: object) -> Any:
        await step(*words, **named)
        await away()

    return taken


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        pytest.param("release", HoldState.APPROVED, id="a release"),
        pytest.param("deny", HoldState.DENIED, id="a denial"),
        pytest.param("notes/comment", HoldState.HELD, id="a comment"),
        pytest.param("notes/cancel", HoldState.CANCELLED, id="a cancellation"),
    ],
)
async def test_a_word_whose_answer_was_lost_is_not_told_as_not_recorded(
    room: Room, monkeypatch: pytest.MonkeyPatch, verb: str, state: HoldState
) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        with monkeypatch.context() as lost:
            lost.setattr(room.holds, "apply", cut_off(room.holds.apply))
            answer = await maria.say(hold, verb, reason="why")
        text = text_of(answer.text)
        assert answer.status_code == 503 and "whether this was recorded is not known" in text
        assert "nothing is decided" not in text and f"look at hold {hold.id} before you say it again" in text
        found = await room.holds.get(hold.id)
        assert found is not None and found.state is state  # it was
        assert text_of((await maria.get(f"/holds/{hold.id}")).text)  # and the card can be read again


async def test_a_word_that_was_never_asked_of_the_store_is_not_told_as_unknown(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        fields = {**hidden((await maria.get(f"/holds/{hold.id}")).text), "reason": "why"}
        with monkeypatch.context() as gone:
            gone.setattr(room.holds, "get", away)
            answer = await maria.post(f"/holds/{hold.id}/deny", fields)
        assert answer.status_code == 503 and "whether this was recorded" not in text_of(answer.text)
        assert (await maria.post(f"/holds/{hold.id}/deny", fields)).status_code == 200  # the twin


async def test_a_recorded_word_is_told_as_done_though_the_store_goes_away_right_after(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        fields = {**hidden((await maria.get(f"/holds/{hold.id}")).text), "reason": "why"}
        await room.file("https://erp.example/v1/customers/2")  # listed, and not opened yet
        apply = room.holds.apply

        async def last(*words: object, **named: object) -> object:
            moved = await apply(*words, **named)  # type: ignore[arg-type]
            monkeypatch.setattr(room.holds, "get", away)
            monkeypatch.setattr(room.holds, "sealed", away)
            return moved

        monkeypatch.setattr(room.holds, "apply", last)
        answer = await maria.post(f"/holds/{hold.id}/deny", fields)
        assert answer.status_code == 200 and f"denied by {SPONSOR}" in text_of(answer.text)


async def test_the_list_stays_while_calls_cannot_be_opened(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = await room.file()
    monkeypatch.setattr(room.holds, "get", away)
    async with room.browser() as maria:
        answer = await maria.get("/queue")
        assert answer.status_code == 200 and hold.id in answer.text


async def test_one_record_that_cannot_be_read_any_more_hides_no_others(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = await room.file(), await room.file("https://erp.example/v1/customers/2")
    get = room.holds.get

    async def damaged(hold_id: str) -> object:
        if hold_id == broken.id:
            raise Rejected(Code.HOLD_TAMPERED, "the record is damaged", field="hold")
        return await get(hold_id)

    monkeypatch.setattr(room.holds, "get", damaged)
    async with room.browser() as maria:
        answer = await maria.get("/queue")
        assert answer.status_code == 200 and broken.id in answer.text and whole.id in answer.text
        assert (await maria.get(f"/holds/{broken.id}")).status_code == 409
        assert (await maria.say(whole, "deny", reason="no")).status_code == 200  # the twin


async def test_nothing_is_said_to_wait_only_where_that_is_known(room: Room) -> None:
    room.parts.index._looked.set()  # the first look failed
    async with room.browser() as maria:
        for path in ("/", "/queue"):
            text = text_of((await maria.client.get(path, follow_redirects=True)).text)
            assert "Nothing waits" not in text and "not known now" in text
        await room.parts.index.read()
        assert "Nothing waits for you" in (await maria.get("/")).text  # the twin
        assert "Nothing waits." in (await maria.get("/queue")).text


async def test_what_breaks_after_a_form_was_sent_is_not_told_as_nothing_decided(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("s3cret")

    hold = await room.file()
    async with room.browser() as maria:
        monkeypatch.setattr("proxy.review.desk.rulings.told", broken)
        answer = await maria.say(hold, "deny", reason="no")
        assert answer.status_code == 500 and "is not known" in answer.text and "nothing was decided" not in answer.text
        assert "s3cret" not in answer.text and "Traceback" not in answer.text


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no file can be written."""

    def fill() -> None:
        def write(*_: object, **__: object) -> bool:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("proxy.review.desk.sessions.write_atomically", write)

    return fill


async def test_who_is_signed_in_stays_so_on_a_full_disk_and_may_leave_for_good(
    room: Room, full: Callable[[], None]
) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        full()
        room.later(minutes=2)
        page = await maria.get("/queue")
        assert page.status_code == 200
        assert (await maria.post("/leave", hidden(page.text))).status_code == 303
        room.restart()
        assert (await maria.get("/queue")).status_code == 401


async def test_who_leaves_where_nothing_can_be_written_is_told_what_that_means(
    room: Room, full: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.parts.index.read()
    async with room.browser() as maria:
        form = hidden((await maria.get("/queue")).text)
        full()
        unlink = Path.unlink

        def refuse(path: Path, **named: bool) -> None:
            if path.name == "sessions.json":
                raise OSError(30, "Read-only file system")
            unlink(path, **named)

        monkeypatch.setattr(Path, "unlink", refuse)
        answer = await maria.post("/leave", form)
        assert answer.status_code == 503 and "you are signed out, but" in text_of(answer.text)
        assert (await maria.get("/queue")).status_code == 401


async def test_a_link_that_cannot_be_used_up_signs_nobody_in(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.parts.links is not None
    word = room.parts.links.make(SPONSOR)
    async with room.browser(None) as maria:
        with monkeypatch.context() as fixed:

            def refuse(path: Path, **_: bool) -> None:
                raise OSError(30, "Read-only file system")

            fixed.setattr(Path, "unlink", refuse)
            answer = await maria.post("/enter", {"link": word})
        assert answer.status_code == 503 and "cannot be used up" in answer.text and "set-cookie" not in answer.headers
        assert (await maria.post("/enter", {"link": word})).status_code == 303  # the twin


async def test_who_could_not_be_signed_in_hears_that_the_link_is_used_up(room: Room) -> None:
    assert room.parts.links is not None
    word = room.parts.links.make(SPONSOR)
    room.journal.fault = Unavailable(Code.JOURNAL_DOWN, "the disk is full")
    async with room.browser(None) as maria:
        answer = await maria.post("/enter", {"link": word})
        text = text_of(answer.text)
        assert answer.status_code == 503 and "the link is used up" in text and "set-cookie" not in answer.headers
        assert "It cannot be written down" in text and "The store does not answer" not in text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="no list"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b'[{"id": "x", "person": "ada", "began": 1e999, "used": 1}]', id="an endless time"),
        pytest.param(b'[{"id": "x", "person": "ada", "began": 99999999999999999999, "used": 1}]', id="a far time"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_a_damaged_file_of_sessions_signs_nobody_in_and_stops_no_desk(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "sessions.json"
    files.write_atomically(file, text)
    sessions = Sessions(clock=lambda: NOW, file=file)
    assert sessions.find("x") is None
    token = sessions.begin(SPONSOR)
    assert sessions.find(token) is not None
    assert len(json.loads(file.read_bytes())) == 1


def test_a_file_of_sessions_that_others_could_have_written_signs_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "sessions.json"
    token = Sessions(clock=lambda: NOW, file=file).begin(SPONSOR)
    assert Sessions(clock=lambda: NOW, file=file).find(token) is not None
    file.chmod(0o666)
    assert Sessions(clock=lambda: NOW, file=file).find(token) is None


# --- the clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("back", "counts"),
    [
        pytest.param(timedelta(seconds=20), True, id="a small step back changes nothing"),
        pytest.param(timedelta(hours=5), False, id="a session of a wrong future ends with it"),
    ],
)
def test_a_clock_that_is_set_back_makes_no_session_longer(tmp_path: Path, back: timedelta, counts: bool) -> None:
    times = [NOW]
    sessions = Sessions(clock=lambda: times[-1])
    token = sessions.begin(SPONSOR)
    times.append(NOW - back)
    assert (sessions.find(token) is not None) is counts


# --- haste -----------------------------------------------------------------------------------------------------------


async def test_forms_sent_at_once_and_twice_are_each_told_the_truth(room: Room) -> None:
    hold = await room.file()
    async with room.browser() as maria:
        fields = {**hidden((await maria.get(f"/holds/{hold.id}")).text), "reason": "why"}
        answers = await asyncio.gather(*(maria.post(f"/holds/{hold.id}/deny", fields) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        again = next(answer for answer in answers if answer.status_code == 409)
        assert f"decided by {SPONSOR}" in text_of(again.text)
