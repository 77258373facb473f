"""Oversight: what was decided, how people rule, and which mandates there are and until when. It changes nothing."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from proxy.audit.show import Row, Unreadable
from proxy.audit.window import MOST_BYTES, newest, sizes
from proxy.core.clusters import Policy
from proxy.core.model import Agent, Manifest, Person
from proxy.review.history import Asked, Pace, Ruling, paces, rulings
from proxy.review.service import LONGEST_HOLD

_AT_A_STRETCH = 100  # rows: a few milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Rulings, oldest first. Not `whole`: the journal is larger than what was read, and older ones are missing."""

    rulings: tuple[Ruling, ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """A person and how they rule. `person` is None for somebody who ruled and is no longer enrolled."""

    id: str
    person: Person | None
    pace: Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """An agent, the manifest it has, and how its held calls ended."""

    agent: Agent
    manifest: Manifest | None  # nothing in it is verified here
    released: int
    denied: int
    others: int  # cancelled, expired


class Oversight:
    """Reads the journal of this machine, the policy and the manifests, each time anew."""

    def __init__(
        self,
        *,
        journal: Path,
        policy: Callable[[], Policy],
        manifests: Callable[[], Sequence[Manifest]],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._journal = journal
        self._policy = policy
        self._manifests = manifests
        self._most_bytes = most_bytes

    async def history(self, asked: Asked) -> History:
        """What was decided. A large journal takes seconds, in a thread.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal cannot be read.
        """
        return await asyncio.to_thread(self._history, asked)

    def mark(self) -> tuple[tuple[str, int], ...]:
        """What the journal is now: as long as this is the same, everything read from it is.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal cannot be read.
        """
        return sizes(self._journal)

    def kept(self) -> tuple[Manifest, ...]:
        """The manifests that are kept here, root links alone. Nothing in them is verified."""
        return tuple(self._manifests())

    async def reviewers(self, asked: Asked) -> tuple[Reviewer, ...]:
        """How everybody rules, whoever ruled most first; those who never did come last.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal cannot be read.
        """
        found = await self.history(replace(asked, reviewer=None))
        people = self._policy().bundle.people
        wanted = (pace for pace in paces(found.rulings, people) if asked.reviewer in (None, pace.person))
        return tuple(Reviewer(id=pace.person, person=people.get(pace.person), pace=pace) for pace in wanted)

    async def agents(self, asked: Asked) -> tuple[Supervised, ...]:
        """Every agent with its manifest: the one that ends last, of those its sponsor left here.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal cannot be read.
        """
        found = await self.history(asked)
        manifests = sorted(await asyncio.to_thread(self._manifests), key=lambda manifest: manifest.exp)
        latest = {manifest.sub: manifest for manifest in manifests}
        return tuple(
            _supervised(agent, latest.get(agent.id), [each for each in found.rulings if each.agent == agent.id])
            for agent in self._policy().bundle.agents.values()
            if asked.agent in (None, agent.id) and asked.sponsor in (None, agent.sponsor)
        )

    def _history(self, asked: Asked) -> History:
        # A hold that ended in time may have been filed, and called, before.
        since = None if asked.since is None else asked.since - LONGEST_HOLD - timedelta(days=1)
        window = newest(self._journal, since=since, most_bytes=self._most_bytes)
        found = tuple(ruling for ruling in rulings(_giving_way(window.rows)) if asked.matches(ruling))
        return History(rulings=found, whole=window.whole)


def _giving_way(rows: Iterable[Row | Unreadable]) -> Iterator[Row | Unreadable]:
    """The same rows. Whoever else wants the interpreter gets it now and then: the desk stays live meanwhile."""
    for number, row in enumerate(rows):
        if number % _AT_A_STRETCH == 0:
            time.sleep(0)
        yield row


def _supervised(agent: Agent, manifest: Manifest | None, ended: Sequence[Ruling]) -> Supervised:
    counts = {ending: sum(each.ending.value == ending for each in ended) for ending in ("released", "denied")}
    return Supervised(
        agent=agent,
        manifest=manifest,
        released=counts["released"],
        denied=counts["denied"],
        others=len(ended) - sum(counts.values()),
    )
