"""The review desk put together: on the deployment's own store, secret and journal, as long as it runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from proxy.agent.keyfile import load_key, new_key
from proxy.audit.journal import FileJournal
from proxy.audit.lines import Kind, slot_of
from proxy.audit.recent import recent_lines
from proxy.audit.records import policy_fields
from proxy.audit.sinks import FileCheckpoints
from proxy.cli.deployment import Deployment, new_id, nonce, now
from proxy.cli.deskplace import desk_links, desk_tokens
from proxy.cli.oidc import oidc_provider
from proxy.cli.proposing import proposal_for
from proxy.cli.store import open_secret, open_store
from proxy.core.encoding import Json
from proxy.core.errors import Unavailable
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle
from proxy.edge.node import load_policy, node_identity, node_name
from proxy.edge.notifying import manifests_at, open_notifier, open_updates
from proxy.policy.inforce import PolicyInForce
from proxy.policy.settings import Settings
from proxy.review.desk.index import Index
from proxy.review.desk.parts import ApiParts, DeskParts, Earlier, Proposed
from proxy.review.desk.remembered import Remembered
from proxy.review.desk.sessions import Sessions
from proxy.review.desk.signing import with_desk_key
from proxy.review.granting import Granter
from proxy.review.opened import HeldCall
from proxy.review.oversight import Oversight
from proxy.review.resolving import Resolving
from proxy.review.service import ReviewService
from proxy.stores.clockwatch import ClockWatch
from proxy.stores.files import StatementFile, private_dir
from proxy.stores.redis import RedisServer
from proxy.stores.redis_checkpoints import RedisCheckpoints
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_grants import RedisGrants
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.statements import Statements

logger = logging.getLogger(__name__)

JOURNAL_SLOT = 9_000
"""The desk's number among those who write a node's journal; workers have lower ones."""
MOST_EARLIER = 8
MOST_DID = 50
MOST_JOURNAL_BYTES = 64 * 2**20
"""So much of the journal is read for a page: a second or two. `holds history` reads more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A desk that is ready to serve, and what must go on while it does. `died` is set when its journal failed."""

    parts: DeskParts
    chores: tuple[Coroutine[Any, Any, None], ...]
    died: "asyncio.Future[Unavailable]"


def desk_key(settings: Settings) -> PrivateKey:
    """The key the desk signs with; its own is made when it is missing, one that is named never is.

    Raises:
        Rejected(CONFIG_INVALID): it cannot be read, or others can read it.
    """
    path = settings.desk.key or settings.state / "desk.key"
    return load_key(path) if settings.desk.key is not None or path.exists() else new_key(path)


@asynccontextmanager
async def open_parts(
    deployment: Deployment, *, dev: bool, origins: tuple[str, ...], config: str
) -> AsyncIterator[Opened]:
    """Everything the desk is made of, opened and checked.

    Raises:
        Rejected: something configured cannot be used.
        Unavailable: the store or the journal's disk does not answer.
    """
    settings = deployment.settings
    unsigned = dev or not settings.operators
    state = private_dir(settings.state)
    private_dir(state / "desk")
    policy = PolicyInForce(
        load_policy(settings, dev=unsigned),
        load=lambda: load_policy(settings, dev=unsigned),
        bundle=settings.bundle,
    )
    vault, key = open_secret(deployment), desk_key(settings)
    async with open_store(deployment) as server:
        died: asyncio.Future[Unavailable] = asyncio.get_running_loop().create_future()
        journal = await _journal(settings, server, policy().bundle, died)
        try:
            statements = Statements(lambda: policy().bundle, file=StatementFile(state / "control.jsonl"))
            control = RedisControl(server, statements)
            await control.ready()
            watch = ClockWatch(server, now=now)  # what a wrong clock dates, the nodes refuse after it was told as done
            await watch.look()
            holds = RedisHolds(server)
            reviews = ReviewService(
                holds=holds,
                vault=vault,
                policy=policy,
                clock=watch.now,
                new_nonce=nonce,
                max_ttl=settings.holds.max_ttl,
                view=control.view,
            )
            provider = oidc_provider(settings)
            index = Index(reviews=reviews, holds=holds, policy=policy, clock=now)

            async def record(bundle: Bundle) -> None:
                await journal.append(Kind.POLICY, policy_fields(bundle))

            oversight = Oversight(
                journal=state / "journal",
                policy=policy,
                manifests=lambda: manifests_at(deployment.manifests),
                most_bytes=MOST_JOURNAL_BYTES,
            )
            parts = DeskParts(
                reviews=reviews,
                granter=Granter(
                    reviews=reviews,
                    grants=RedisGrants(server),
                    policy=policy,
                    clock=watch.now,
                    new_nonce=nonce,
                    new_id=new_id,
                ),
                resolving=Resolving(reviews=reviews, holds=holds, policy=policy, clock=watch.now, new_nonce=nonce),
                updates=open_updates(settings, server=server, policy=policy, clock=watch.now, new_id=new_id),
                manifests=lambda: manifests_at(deployment.manifests),
                index=index,
                policy=policy,
                signing=with_desk_key(key),
                sessions=Sessions(clock=now, file=state / "desk" / "sessions.json"),
                links=desk_links(settings) if settings.desk.links else None,
                journal=journal,
                earlier=_Before(state / "journal"),
                did=_Did(state / "journal"),
                remembered=Remembered(oversight, clock=now),
                view=control.view,
                propose=lambda held: _proposed(held, policy().bundle),
                clock=now,
                api=ApiParts(tokens=desk_tokens(settings), oversight=oversight),
                origins=origins,
                oidc=provider,
                config=config,
            )
            telling = await open_notifier(
                settings,
                server=server,
                vault=vault,
                policy=policy,
                clock=now,
                new_id=new_id,
                view=control.view,
                desk=origins[0],
                desk_listens=(settings.desk.listen.host, settings.desk.listen.port),
            )
            signing_in = () if provider is None else (provider.follow(),)
            chores = (policy.follow(record), control.follow(), watch.follow(), index.run(), telling.run(), *signing_in)
            yield Opened(parts=parts, chores=chores, died=died)
        finally:
            await journal.close()


async def _journal(
    settings: Settings, server: RedisServer, bundle: Bundle, died: "asyncio.Future[Unavailable]"
) -> FileJournal:
    slot = slot_of(node_name(), JOURNAL_SLOT)
    return await FileJournal.open(
        settings.state / "journal",
        node=node_name(),
        worker=JOURNAL_SLOT,
        key=node_identity(settings.state),
        bundle=bundle,
        sinks=(
            FileCheckpoints(settings.journal.sink or settings.state / "checkpoints.jsonl"),
            RedisCheckpoints(server, slot=slot),
        ),
        clock=now,
        on_dead=died.set_result,
    )


@dataclass(frozen=True, slots=True)
class _Before:
    """What an agent did before a call was held, from this node's journal."""

    journal: Path

    async def __call__(self, held: HeldCall) -> tuple[Earlier, ...]:
        hold = held.hold

        def read() -> tuple[Earlier, ...]:
            try:
                lines = recent_lines(
                    self.journal,
                    manifest=hold.root_id,
                    before=hold.filed_at,
                    kinds=(Kind.DECISION,),
                    limit=MOST_EARLIER + 1,
                )
            except Unavailable:
                return ()
            found = [line for line in lines if line.fields.get("hold_id") != hold.id or line.at < hold.filed_at]
            return tuple(_earlier(line.at, line.fields) for line in found[-MOST_EARLIER:])

        return await asyncio.to_thread(read)


@dataclass(frozen=True, slots=True)
class _Did:
    """What an agent did of late, under whichever mandate, from this node's journal."""

    journal: Path

    async def __call__(self, agent: str) -> tuple[Earlier, ...]:
        def read() -> tuple[Earlier, ...]:
            try:
                lines = recent_lines(self.journal, agent=agent, before=now(), kinds=(Kind.DECISION,), limit=MOST_DID)
            except Unavailable:
                return ()
            return tuple(_earlier(line.at, line.fields) for line in lines)

        return await asyncio.to_thread(read)


def _earlier(at: datetime, fields: Mapping[str, Json]) -> Earlier:
    def text(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    query = fields.get("query")
    names = [str(pair[0]) for pair in query if isinstance(pair, list) and pair] if isinstance(query, list) else []
    asked = f"{text('method')} {text('url')}{'?' if names else ''}{'&'.join(names)}".strip()
    return Earlier(at=at, what=text("verdict"), asked=asked or "(no call)", why=text("code"), task=text("task"))


def _proposed(held: HeldCall, bundle: Bundle) -> Proposed:
    proposal = proposal_for(held, bundle)
    return Proposed(where=proposal.where, lines=proposal.lines, then=proposal.then)
