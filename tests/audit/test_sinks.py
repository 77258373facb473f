"""The file of checkpoints: durable, shared by workers, and spoilt by nothing but a change."""

import asyncio
import stat
from pathlib import Path

import pytest
from journals import Desk

from proxy.audit.sinks import FileCheckpoints, read_checkpoint_file
from proxy.core.errors import Code, Unavailable


async def test_what_is_published_is_read_again_in_order(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    sink = FileCheckpoints(path)
    for token in ("a.b.c", "d.e.f"):
        await sink.publish(token)
    assert path.read_text() == '"a.b.c"\n"d.e.f"\n'
    assert read_checkpoint_file(path) == ("a.b.c", "d.e.f")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_several_workers_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    tokens = [f"{number}." + "x" * 9_000 for number in range(40)]
    sinks = [FileCheckpoints(path) for _ in range(4)]
    await asyncio.gather(*(sinks[place % 4].publish(token) for place, token in enumerate(tokens)))
    assert sorted(read_checkpoint_file(path)) == sorted(tokens)


async def test_a_torn_checkpoint_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    sink = FileCheckpoints(path)
    await sink.publish("a.b.c")
    with path.open("a") as file:
        file.write('"torn')
    assert read_checkpoint_file(path) == ("a.b.c",)
    await sink.publish("d.e.f")
    assert read_checkpoint_file(path) == ("a.b.c", '"torn', "d.e.f")


async def test_a_file_moved_away_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    sink = FileCheckpoints(path)
    await sink.publish("a.b.c")
    path.rename(tmp_path / "archive")
    await sink.publish("d.e.f")
    assert read_checkpoint_file(path) == ("d.e.f",)


@pytest.mark.parametrize("target", ["/dev/full", "/nonexistent/file"])
async def test_a_checkpoint_that_may_not_be_on_disk_is_unavailable(target: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await FileCheckpoints(Path(target)).publish("a.b.c")
    assert caught.value.code is Code.STORE_DOWN


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        await FileCheckpoints(tmp_path / "link").publish("a.b.c")
    assert not (tmp_path / "elsewhere").exists()


def test_no_file_holds_no_checkpoints_and_a_directory_is_unavailable(tmp_path: Path) -> None:
    assert read_checkpoint_file(tmp_path / "none") == ()
    with pytest.raises(Unavailable):
        read_checkpoint_file(tmp_path)


async def test_a_journal_verifies_from_the_file_alone(tmp_path: Path) -> None:
    desk = Desk(directory=tmp_path / "journal")
    path = tmp_path / "checkpoints.jsonl"
    journal = await desk.open(sinks=[FileCheckpoints(path)])
    await journal.append("decision", {})
    await journal.close()
    assert desk.verify(read_checkpoint_file(path)).ok
    assert not desk.verify([]).ok
