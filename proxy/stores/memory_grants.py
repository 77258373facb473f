"""Route grants of one process, held to the same tests as those on Redis."""

from dataclasses import replace
from datetime import datetime

from proxy.ports import Grants, KeptGrant
from proxy.stores.memory import Clock, system_clock


class MemoryGrants(Grants):
    """Grants in memory, forgotten when they end."""

    def __init__(self, *, now: Clock = system_clock) -> None:
        self._clock = now
        self._kept: dict[str, tuple[KeptGrant, str, datetime]] = {}

    async def put(self, grant_id: str, statement: str, *, root_id: str, until: datetime) -> None:
        self._kept.setdefault(grant_id, (KeptGrant(id=grant_id, statement=statement, used=0), root_id, until))

    async def of_root(self, root_id: str) -> tuple[KeptGrant, ...]:
        return tuple(grant for grant, root, _ in self._in_force() if root == root_id)

    async def every(self) -> tuple[KeptGrant, ...]:
        return tuple(grant for grant, _, _ in self._in_force())

    async def spend(self, grant_id: str, *, count: int) -> int | None:
        found = {grant.id: (grant, root, until) for grant, root, until in self._in_force()}.get(grant_id)
        if found is None or found[0].used >= count:
            return None
        grant, root, until = found
        self._kept[grant_id] = (replace(grant, used=grant.used + 1), root, until)
        return grant.used + 1

    def _in_force(self) -> list[tuple[KeptGrant, str, datetime]]:
        now = self._clock()
        self._kept = {name: kept for name, kept in self._kept.items() if kept[2] > now}
        return sorted(self._kept.values(), key=lambda kept: (kept[2], kept[0].id))
