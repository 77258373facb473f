"""The API's event stream on a real connection: the store's ids, for whom it concerns, while the token counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from apiclients import ALL, make
from identities import REVIEWER
from roomservers import ServedRoom, served

from proxy.review.desk import events


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedRoom]:
    monkeypatch.setattr(events, "LOOK_S", 0.2)
    with served(tmp_path / "room") as found:
        yield found


def listening(desk: ServedRoom, token: str, **headers: str) -> requests.Response:
    about = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): each for name, each in headers.items()}}
    return requests.get(f"{desk.room.origins[1]}/api/v1/events/stream", headers=about, stream=True, timeout=10)


def heard(lines: Iterator[str], event: str) -> dict[str, str]:
    """The next event of this name: its id and data."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        found = found if line else {}
        found[name] = value
        if found.get("event") == event and name == "data":
            return found
    raise AssertionError(f"the stream ended without {event}")


def test_a_program_hears_what_happens_and_goes_on_where_it_was(desk: ServedRoom) -> None:
    token = make(desk.room)
    with listening(desk, token) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines(decode_unicode=True)
        heard(lines, "hello")
        first = desk.file("https://erp.example/v1/salaries/1")
        event = heard(lines, "hold")
        assert first.id in event["data"] and event["id"]
    second = desk.file("https://erp.example/v1/salaries/2")
    with listening(desk, token, Last_Event_ID=event["id"]) as stream:
        assert second.id in heard(stream.iter_lines(decode_unicode=True), "hold")["data"]
    with listening(desk, token, Last_Event_ID="nowhere") as stream:
        heard(stream.iter_lines(decode_unicode=True), "reset")


def test_a_stream_ends_with_its_token_and_tells_others_nothing(desk: ServedRoom) -> None:
    token, other = make(desk.room), make(desk.room, ALL, REVIEWER)
    with listening(desk, token) as mine, listening(desk, other) as theirs:
        lines, foreign = mine.iter_lines(decode_unicode=True), theirs.iter_lines(decode_unicode=True)
        heard(lines, "hello")
        heard(foreign, "hello")
        hold = desk.file("https://erp.example/v1/salaries/3")
        assert hold.id in heard(lines, "hold")["data"]
        assert desk.room.parts.api is not None
        for text in (token, other):
            desk.room.parts.api.tokens.remove(text.split("_")[1])
        heard(lines, "bye")
        assert hold.id not in "".join(line for line in foreign)
