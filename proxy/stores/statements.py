"""Which control statements count on this node: the ones that verified, for ever. The shared store only carries them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from proxy.core.control import ControlView, Statement, check_not_ahead, read_statement
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Bundle
from proxy.stores.files import StatementFile


def _ignore(statement_id: str, fault: Rejected) -> None:
    """Nobody listens."""


def _system_clock() -> datetime:
    return datetime.now(UTC)


def _unheard(said: Statement) -> None:
    """Nobody listens."""


class Statements:
    """The union of every statement that ever verified here. Forgetting one needs this node's own disk.

    `on_refused` hears of each statement that does not verify, once per bundle; `on_accepted` of each that begins to
    count while we run.
    """

    def __init__(
        self,
        bundle: Callable[[], Bundle],
        *,
        file: StatementFile | None = None,
        on_refused: Callable[[str, Rejected], None] = _ignore,
        on_accepted: Callable[[Statement], None] = _unheard,
        clock: Callable[[], datetime] = _system_clock,
    ) -> None:
        self._bundle = bundle
        self._clock = clock
        self._file = file
        self._on_refused = on_refused
        self._on_accepted = on_accepted
        self._ids: set[str] = set()
        self._refused: set[tuple[str, str]] = set()
        self.view = ControlView()
        for said in self._remembered():
            self._take_in(said)

    def knows(self, statement_id: str) -> bool:
        """Whether this statement counts already."""
        return statement_id in self._ids

    def recall(self) -> None:
        """Let everything count that this node's disk holds, whichever of its workers wrote it.

        Raises:
            Rejected: the file is not as we left it.
        """
        for said in self._remembered():
            self._count(said)

    def _remembered(self) -> tuple[Statement, ...]:
        return self._file.load() if self._file is not None else ()

    def check(self, token: str) -> Statement:
        """The statement, if it counts under the bundle in force.

        Raises:
            Rejected(STATEMENT_INVALID): it does not, or not yet.
        """
        said = read_statement(token, self._bundle())
        check_not_ahead(said, now=self._clock())
        return said

    async def offer(self, statement_id: str, token: str) -> None:
        """Let a statement that was found under `statement_id` count, if it verifies; otherwise report and ignore it.

        What stops something counts before it is on disk; what lets something run again only after. Whatever else is
        wrong with it is a reason to ignore it, never to end: anyone enrolled can write one.

        Raises:
            Unavailable(STORE_DOWN): it could not be written to this node's disk.
        """
        if statement_id in self._ids:
            return
        try:
            said = self.check(token)
            if said.id != statement_id:
                raise Rejected(Code.STATEMENT_INVALID, "the statement is stored under the id of another", field="id")
            await self.accept(said)
        except Rejected as fault:
            self._refuse(statement_id, fault)
        except ValueError as fault:
            detail = f"the statement cannot be kept: {type(fault).__name__}"
            self._refuse(statement_id, Rejected(Code.STATEMENT_INVALID, detail))

    async def accept(self, said: Statement) -> None:
        """Let a checked statement count, and keep it.

        Raises:
            Unavailable(STORE_DOWN): it could not be written to this node's disk.
        """
        if said.stops:
            self.view = self.view.absorb(said)
        if self._file is not None:
            try:
                kept = await asyncio.to_thread(self._file.remember, said)
            except (OSError, Rejected) as fault:
                raise Unavailable(
                    Code.STORE_DOWN, f"a control statement could not be kept on this node's disk: {fault}"
                ) from fault
            for one in kept:
                self._count(one)
        self._count(said)

    def _count(self, said: Statement) -> None:
        known = said.id in self._ids
        self._take_in(said)
        if not known:
            self._on_accepted(said)

    def _take_in(self, said: Statement) -> None:
        self.view = self.view.absorb(said)
        self._ids.add(said.id)

    def _refuse(self, statement_id: str, fault: Rejected) -> None:
        once = (statement_id, self._bundle().sha256)
        if once not in self._refused:
            self._refused.add(once)
            self._on_refused(statement_id, fault)
