"""Stored calls brought under the key that seals now, while nodes file and send others."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.core.errors import Code, Rejected
from proxy.ports import Holds, Sealing
from proxy.stores.vault import HEAD_BYTES, SecretVault

PASSES_AT_MOST = 50
"""A node takes up a new key before it seals the next call, so a second pass ends it; only an intruder makes more."""


@dataclass(slots=True, kw_only=True)
class Rewrapped:
    """What was done. `unreadable` are holds whose call opens under none of our keys: nobody can release them."""

    holds: int = 0
    unreadable: set[str] = field(default_factory=set)


async def rewrap_all(holds: Holds, vault: SecretVault) -> Rewrapped:
    """Wrap the data key of every open hold under the key that seals now, each in one atomic step.

    It may end anywhere and be begun again: whatever is done stays done, and every call can be read all the while.

    Raises:
        Rejected(HOLD_TAMPERED): calls under older keys come back as fast as they are wrapped anew.
        Unavailable: the store does not answer.
    """
    done = Rewrapped()
    for _ in range(PASSES_AT_MOST):
        before = done.holds
        async for sealing in holds.sealings(HEAD_BYTES):
            if not vault.is_current(sealing.head) and sealing.hold_id not in done.unreadable:
                await _rewrap(holds, vault, sealing, done)
        if done.holds == before:
            return done
    detail = (
        f"after {PASSES_AT_MOST} passes there are still calls under older keys: does a node run without the new one?"
    )
    raise Rejected(Code.HOLD_TAMPERED, detail)


async def _rewrap(holds: Holds, vault: SecretVault, sealing: Sealing, done: Rewrapped) -> None:
    whole = vault.is_whole(sealing.head)
    sealed = await holds.sealed(sealing.hold_id) if whole else sealing.head
    if sealed is None or not sealed.startswith(sealing.head):
        return  # it ended, or changed, in the meantime: the next pass looks at it again
    try:
        after = vault.rewrap(sealing.hold_id, sealed)
    except Rejected:
        done.unreadable.add(sealing.hold_id)
        return
    done.holds += await holds.reseal(sealing.hold_id, sealing.head, after, whole=whole)


async def in_use(holds: Holds, vault: SecretVault) -> Mapping[bytes, int]:
    """How many open holds' calls each key, by id, really opens."""
    found: dict[str, bytes] = {}
    async for sealing in holds.sealings(HEAD_BYTES):
        try:
            sealed = await holds.sealed(sealing.hold_id) if vault.is_whole(sealing.head) else sealing.head
            if sealed is not None:
                vault.rewrap(sealing.hold_id, sealed)
                found[sealing.hold_id] = vault.sealed_by(sealed)
        except Rejected:
            continue  # named by whoever writes to the store, not by us
    return Counter(found.values())
