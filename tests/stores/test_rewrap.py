"""Stored calls brought under a new key: memory and Redis alike, calls of today's format and of the one before."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from held import ROOMY, draft

from proxy.core.errors import Rejected
from proxy.core.holds import Event
from proxy.stores.keyring import FixedRing, single, subkey
from proxy.stores.rewrap import in_use, rewrap_all
from proxy.stores.vault import HEAD_BYTES, SecretVault

ONE, TWO = bytes(range(32)), bytes([7]) * 32
RING = single(ONE).rotated(TWO, now=datetime(2027, 3, 1, tzinfo=UTC))
OLD, NEW = SecretVault(ONE), SecretVault(FixedRing(RING))
OLD_ID, NEW_ID = (key.id for key in RING.keys)


def seal_as_before(hold_id: str, plaintext: bytes) -> bytes:
    """What versions before keyrings wrote: the call is bound to the key, too."""
    head = b"\x01" + OLD_ID
    bound, data_key = head + hold_id.encode(), bytes([5]) * 32
    wrapped = AESGCM(subkey(ONE, "hold key-encryption key")).encrypt(bytes(12), data_key, bound)
    return head + bytes(12) + wrapped + bytes(12) + AESGCM(data_key).encrypt(bytes(12), plaintext, bound)


async def file(holds, seal, text: bytes) -> str:
    wanted = draft()
    outcome = await holds.file(wanted, seal(wanted.id, text), ttl_s=600, caps=ROOMY)
    return outcome.hold.id


@pytest.mark.parametrize("seal", [OLD.seal, seal_as_before], ids=["in today's form", "in the form before"])
async def test_every_open_call_comes_under_the_new_key_and_reads_the_same(holds, seal):
    ids = [await file(holds, seal, b"call %d" % number) for number in range(250)]
    ended = await file(holds, seal, b"over")
    await holds.apply(ended, Event.CANCEL)
    cursor = await holds.cursor()
    before = await holds.get(ids[0])
    assert await in_use(holds, NEW) == {OLD_ID: 250}

    done = await rewrap_all(holds, NEW)

    assert (done.holds, done.unreadable) == (250, set())
    assert await in_use(holds, NEW) == {NEW_ID: 250}
    only_new = SecretVault(TWO)
    for number, hold_id in enumerate(ids):
        assert only_new.unseal(hold_id, await holds.sealed(hold_id)) == b"call %d" % number
    assert await holds.sealed(ended) is None
    assert (await holds.get(ids[0]), await holds.cursor()) == (before, cursor)
    assert (await rewrap_all(holds, NEW)).holds == 0


async def test_what_was_cut_off_is_gone_on_with(holds):
    ids = [await file(holds, OLD.seal, b"call") for _ in range(5)]
    sealed = await holds.sealed(ids[0])
    assert await holds.reseal(ids[0], sealed[:HEAD_BYTES], NEW.rewrap(ids[0], sealed), whole=False)
    assert (await rewrap_all(holds, NEW)).holds == 4


async def test_a_call_that_ends_or_changes_meanwhile_is_left_alone(holds):
    hold_id = await file(holds, OLD.seal, b"call")
    sealed = await holds.sealed(hold_id)
    head = NEW.rewrap(hold_id, sealed)
    for before in (head, b"x" * HEAD_BYTES, sealed + b"x"):
        assert not await holds.reseal(hold_id, before, head, whole=False)
    assert await holds.sealed(hold_id) == sealed
    await holds.apply(hold_id, Event.CANCEL)
    for whole in (False, True):
        assert not await holds.reseal(hold_id, sealed[:HEAD_BYTES], head, whole=whole)
    assert await holds.sealed(hold_id) is None
    assert not await holds.reseal("nothing", head, head, whole=True)


async def test_a_call_filed_under_the_old_key_while_it_goes_on_is_found(holds):
    first = await file(holds, OLD.seal, b"first")
    late: list[str] = []

    class Busy(type(holds)):
        async def reseal(self, hold_id, before, after, *, whole):
            if not late:
                late.append(await file(holds, OLD.seal, b"late"))
            return await super().reseal(hold_id, before, after, whole=whole)

    holds.__class__ = Busy
    assert (await rewrap_all(holds, NEW)).holds == 2
    for hold_id in (first, *late):
        SecretVault(TWO).unseal(hold_id, await holds.sealed(hold_id))


async def test_a_call_that_opens_under_no_key_is_named_and_does_not_count_as_use(holds):
    good = await file(holds, OLD.seal, b"call")
    swapped = await file(holds, lambda _, text: OLD.seal("another", text), b"call")
    foreign = await file(holds, SecretVault(bytes(32)).seal, b"call")
    short = await file(holds, lambda *_: b"\x02", b"call")
    done = await rewrap_all(holds, NEW)
    assert (done.holds, done.unreadable) == (1, {swapped, foreign, short})
    assert await in_use(holds, NEW) == {NEW_ID: 1}
    assert NEW.unseal(good, await holds.sealed(good)) == b"call"


async def test_older_calls_that_never_end_are_told(holds):
    hold_id = await file(holds, OLD.seal, b"call")
    sealed = await holds.sealed(hold_id)

    class Undone(type(holds)):
        async def reseal(self, hold_id, before, after, *, whole):
            await super().reseal(hold_id, before, after, whole=whole)
            return await super().reseal(hold_id, after, sealed, whole=True)

    holds.__class__ = Undone
    with pytest.raises(Rejected, match="without the new one"):
        await rewrap_all(holds, NEW)
