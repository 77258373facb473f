"""Proposed manifests of one process, held to the same tests as those on Redis."""

from collections.abc import Mapping

from proxy.ports import Proposals


class MemoryProposals(Proposals):
    """Proposals in memory."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def put(self, proposal_id: str, text: str) -> None:
        self._texts[proposal_id] = text

    async def get(self, proposal_id: str) -> str | None:
        return self._texts.get(proposal_id)

    async def every(self) -> Mapping[str, str]:
        return dict(self._texts)

    async def drop(self, proposal_id: str) -> bool:
        return self._texts.pop(proposal_id, None) is not None
