"""The desk's parts as its process opens them, on a real store."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from offices import Office
from valkeys import Valkey

from proxy.cli import desking
from proxy.cli.deployment import open_deployment
from proxy.cli.desking import open_parts
from proxy.core.errors import Unavailable
from proxy.core.model import Verdict
from proxy.core.notes import NoteAct
from proxy.review.desk.parts import DeskParts

type Word = Callable[[DeskParts, str], Awaitable[object]]


def ruling(parts: DeskParts, hold_id: str) -> Awaitable[object]:
    return parts.reviews.draft(hold_id, Verdict.ALLOW, person=parts.policy().bundle.people["ada"])


def note(parts: DeskParts, hold_id: str) -> Awaitable[object]:
    person = parts.policy().bundle.people["ada"]
    return parts.reviews.draft_note(NoteAct.COMMENT, hold_id, person=person, reason="why")


@pytest.mark.parametrize("word", [pytest.param(ruling, id="a release"), pytest.param(note, id="a comment")])
def test_a_desk_whose_clock_is_not_the_stores_signs_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, word: Word
) -> None:
    """A node refuses what was signed in the future, or before it followed the store: it must not be told as done."""
    ahead = timedelta(0)
    monkeypatch.setattr(desking, "now", lambda: datetime.now(UTC) + ahead)

    async def say(hold_id: str) -> None:
        nonlocal ahead
        opening = open_parts(open_deployment(home), dev=False, origins=("http://localhost:8090",), config="")
        async with opening as opened:
            for chore in opened.chores:
                chore.close()
            ahead = timedelta(minutes=1)
            with pytest.raises(Unavailable, match="run NTP on both"):
                await word(opened.parts, hold_id)
            ahead = timedelta(0)
            await word(opened.parts, hold_id)  # the twin

    with Valkey() as store:
        (home / "proxy.yaml").write_text((home / "proxy.yaml").read_text() + f"\nredis_url: {store.url}\n")
        hold = Office(home=home, valkey=store).file()
        asyncio.run(say(hold.id))
