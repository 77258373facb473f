"""What a node remembers of the holds it sent, whatever its store is made to say."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import identities
import pytest
from held import ROOMY, draft

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Hold, HoldState
from proxy.holding import Claim, Holding
from proxy.ports import Journal
from proxy.stores.consumed import ConsumedFile
from proxy.stores.memory import MemoryHolds
from proxy.stores.vault import open_vault


class Lines(Journal):
    """A journal that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[Mapping[str, Json]] = []

    async def append(self, kind: str, fields: Mapping[str, Json]) -> None:
        self.lines.append({"kind": kind, **fields})


class Node:
    """One worker on a disk of its own, or on another's."""

    def __init__(self, folder: Path, holds: MemoryHolds) -> None:
        folder.mkdir(exist_ok=True)
        self.journal, self.holds = Lines(), holds
        vault = open_vault(folder.parent / "secret.key")
        self.holding = Holding(
            bundle=identities.bundle,
            holds=holds,
            consumed=ConsumedFile(folder / "consumed.jsonl"),
            vault=vault,
            journal=self.journal,
            caps=ROOMY,
            max_ttl_s=60,
            clock=lambda: datetime.now(UTC),
            timer=monotonic,
            new_id=lambda: "h",
        )

    async def claim(self, hold: Hold) -> Claim:
        claim = await self.holding.claim(hold)
        assert isinstance(claim, Claim), claim
        return claim


async def approved(holds: MemoryHolds) -> Hold:
    hold = (await holds.file(draft(), b"sealed", ttl_s=60, caps=ROOMY)).hold
    moved = await holds.apply(hold.id, Event.APPROVE, statement="signed", by="ada", reason="seen")
    assert moved.applied
    return moved.hold


def put_back(holds: MemoryHolds, hold: Hold) -> None:
    """What somebody who writes to the store can do: the hold as it was, with its genuine release."""
    record = holds._records[hold.id]
    record.hold, record.sealed = hold, b"sealed"


async def test_a_sent_hold_that_was_put_back_is_not_sent_again(tmp_path: Path) -> None:
    holds = MemoryHolds()
    node, hold = Node(tmp_path / "a", holds), await approved(holds)
    await node.holding.settle(await node.claim(hold), Event.SENT)
    put_back(holds, hold)
    for again in (node, Node(tmp_path / "a", holds)):  # and after a restart
        with pytest.raises(Rejected) as refused:
            await again.holding.claim(hold)
        assert refused.value.code is Code.HOLD_SPENT


@pytest.mark.parametrize("undo", ["settled", "given back"])
async def test_an_unsent_hold_may_be_sent(tmp_path: Path, undo: str) -> None:
    holds = MemoryHolds()
    node, hold = Node(tmp_path / "a", holds), await approved(holds)
    claim = await node.claim(hold)
    await (node.holding.settle(claim, Event.UNSENT) if undo == "settled" else node.holding.give_back(claim))
    found = await holds.get(hold.id)
    assert found is not None
    await node.holding.settle(await node.claim(found), Event.SENT)
    put_back(holds, hold)  # as it was before the claim that came to nothing
    with pytest.raises(Rejected):
        await node.holding.claim(hold)


async def test_only_one_of_two_workers_takes_a_hold_and_the_other_learns_what_became_of_it(tmp_path: Path) -> None:
    holds = MemoryHolds()
    one, other, hold = Node(tmp_path / "a", holds), Node(tmp_path / "a", holds), await approved(holds)
    taken = await asyncio.gather(one.holding.claim(hold), other.holding.claim(hold))
    assert [type(each) for each in taken].count(Claim) == 1
    assert [each.state for each in taken if isinstance(each, Hold)] == [HoldState.RELEASING]


async def test_of_two_nodes_the_second_learns_what_became_of_it_and_forgets_its_try(tmp_path: Path) -> None:
    holds = MemoryHolds()
    one, other, hold = Node(tmp_path / "a", holds), Node(tmp_path / "b", holds), await approved(holds)
    claim = await one.claim(hold)
    assert not isinstance(await other.holding.claim(hold), Claim)
    await one.holding.give_back(claim)
    found = await holds.get(hold.id)
    assert found is not None
    assert isinstance(await other.holding.claim(found), Claim)


async def test_what_another_node_sent_is_not_sent_here_when_it_is_put_back(tmp_path: Path) -> None:
    holds = MemoryHolds()
    one, other, hold = Node(tmp_path / "a", holds), Node(tmp_path / "b", holds), await approved(holds)
    following = asyncio.ensure_future(other.holding.follow_news(record=False))
    await asyncio.sleep(0)
    try:
        await one.holding.settle(await one.claim(hold), Event.SENT)
        async with asyncio.timeout(2):
            while not (tmp_path / "b" / "consumed.jsonl").exists() or not (
                tmp_path / "b" / "consumed.jsonl"
            ).read_text().endswith("\n"):
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
    put_back(holds, hold)
    with pytest.raises(Rejected) as refused:
        await other.holding.claim(hold)
    assert refused.value.code is Code.HOLD_SPENT


async def test_a_claim_the_store_did_not_answer_is_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holds = MemoryHolds()
    node, hold = Node(tmp_path / "a", holds), await approved(holds)

    async def away(*_: object, **__: object) -> None:
        raise Unavailable(Code.STORE_DOWN, "no answer in time")

    with monkeypatch.context() as patched:
        patched.setattr(holds, "apply", away)
        with pytest.raises(Unavailable):
            await node.holding.claim(hold)
    assert isinstance(await node.holding.claim(hold), Claim)


async def test_a_claim_nobody_waited_for_is_given_back(tmp_path: Path) -> None:
    holds = MemoryHolds()
    node, hold = Node(tmp_path / "a", holds), await approved(holds)
    claiming = asyncio.ensure_future(node.holding.claim(hold))
    await asyncio.sleep(0)
    claiming.cancel()
    with suppress(asyncio.CancelledError):
        await claiming
    async with asyncio.timeout(2):
        while (found := await holds.get(hold.id)) is not None and found.version < hold.version + 2:
            await asyncio.sleep(0.01)
    assert found is not None
    assert isinstance(await node.holding.claim(found), Claim)


async def test_what_cannot_be_noted_on_disk_is_not_claimed(tmp_path: Path) -> None:
    holds = MemoryHolds()
    node, hold = Node(tmp_path / "a", holds), await approved(holds)
    (tmp_path / "a" / "consumed.jsonl").mkdir()
    with pytest.raises(Unavailable):
        await node.holding.claim(hold)
    assert await holds.get(hold.id) == replace(hold)
