"""The policy in force is replaced as a whole, by a good one only, and never in the middle of a decision."""

import asyncio
from dataclasses import replace
from pathlib import Path

import identities
import pytest

from proxy.core.clusters import Policy, compile_policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Bundle
from proxy.policy.inforce import PolicyInForce, one_policy


def version(number: int) -> Policy:
    return compile_policy(replace(identities.bundle(), version=number, sha256=f"{number:064}"))


class Signed:
    """A signature file, and what loading it gives."""

    def __init__(self, folder: Path) -> None:
        self.file, self.good = folder / "bundle.jws", True
        self.number, self.recording, self.recorded = 1, True, list[int]()
        self.file.write_text("1")
        self.policy = PolicyInForce(version(1), load=self.load, bundle=self.file)

    def load(self) -> Policy:
        if not self.good:
            raise Rejected(Code.BUNDLE_INVALID, "clusters.yaml: was changed")
        return version(self.number)

    async def look(self) -> bool:
        return await self.policy.look(self.record)

    async def record(self, bundle: Bundle) -> None:
        if not self.recording:
            raise Unavailable(Code.JOURNAL_DOWN, "the disk is full")
        assert self.policy.version < bundle.version
        self.recorded.append(bundle.version)

    def sign(self, *, good: bool = True) -> None:
        self.number, self.good = self.number + 1, good
        self.file.with_suffix(".new").write_text(str(self.number))
        self.file.with_suffix(".new").replace(self.file)


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


async def test_what_is_signed_anew_comes_into_force(signed: Signed) -> None:
    assert not await signed.look()
    signed.sign()
    assert await signed.look()
    assert signed.policy().bundle.version == 2
    assert not await signed.look()
    assert signed.recorded == [2]


async def test_what_cannot_be_recorded_does_not_come_into_force_until_it_can(signed: Signed) -> None:
    signed.sign()
    signed.recording = False
    assert not await signed.look()
    assert signed.policy.version == 1
    signed.recording = True
    assert await signed.look()
    assert (signed.policy.version, signed.recorded) == (2, [2])


async def test_what_is_wrong_or_gone_does_not_and_is_taken_up_once_it_is_good(
    signed: Signed, caplog: pytest.LogCaptureFixture
) -> None:
    signed.sign(good=False)
    for _ in range(3):
        assert not await signed.look()
    assert [record.message for record in caplog.records] == [
        "version 1 stays in force; what is signed now is refused: clusters.yaml: was changed"
    ]
    signed.good = True
    assert await signed.look()
    signed.file.unlink()
    signed.good = False
    assert not await signed.look()
    assert signed.policy().bundle.version == 2


async def test_a_decision_under_way_keeps_its_policy_in_every_task_it_begins(signed: Signed) -> None:
    with one_policy(signed.policy):
        signed.sign()
        assert await signed.look()
        assert signed.policy().bundle.version == 1
        assert (await asyncio.create_task(asyncio.to_thread(signed.policy))).bundle.version == 1
    assert signed.policy().bundle.version == 2


async def test_it_is_followed_until_cancelled(signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.policy.inforce.LOOK_EVERY_S", 0.01)
    following = asyncio.ensure_future(signed.policy.follow(signed.record))
    signed.sign()
    async with asyncio.timeout(5):
        while signed.policy.version != 2:
            await asyncio.sleep(0.01)
    following.cancel()
