"""The responses to calls that a node sent by itself, kept for their agents."""

from typing import Any

import pytest
from held import ROOMY, draft

from proxy import delivering
from proxy.core.delivering import KeptResponse
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.delivering import Deliveries, Delivery
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault


class Forgetful(MemoryHolds):
    """A store that is away for a while."""

    def __init__(self, away: int) -> None:
        super().__init__()
        self.away = away

    async def keep_response(self, hold_id: str, sealed: bytes, *, ttl_s: int) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable(Code.STORE_DOWN, "no answer in time")
        await super().keep_response(hold_id, sealed, ttl_s=ttl_s)


@pytest.mark.parametrize(
    ("away", "kept"),
    [
        pytest.param(0, True, id="the store is there"),
        pytest.param(len(delivering.KEEP_AGAIN_S) - 1, True, id="the store comes back"),
        pytest.param(len(delivering.KEEP_AGAIN_S), False, id="the store stays away"),
    ],
)
async def test_a_response_that_came_is_kept_once_the_store_is_back(
    monkeypatch: pytest.MonkeyPatch, away: int, kept: bool
) -> None:
    monkeypatch.setattr(delivering, "KEEP_AGAIN_S", [0.0] * len(delivering.KEEP_AGAIN_S))
    holds, nobody = Forgetful(away), Any
    parts: dict[str, Any] = dict.fromkeys(("identifier", "holding", "limits"), nobody)
    deliveries = Deliveries(holds=holds, vault=SecretVault(bytes(32)), response_bytes=9, response_ttl_s=60, **parts)
    hold = (await holds.file(draft(), b"sealed", ttl_s=60, caps=ROOMY)).hold
    delivery = Delivery(hold_id=hold.id, most_bytes=9, status=201, complete=True)
    delivery.take(b"paid")
    await deliveries.keep(delivery)
    if kept:
        response = KeptResponse(status=201, headers=(), body=b"paid", body_bytes=4, complete=True)
        assert await deliveries.response(hold) == response
    else:
        with pytest.raises(Rejected):
            await deliveries.response(hold)
