"""The composition root: reads what was configured and puts the parts of one worker together. No rule lives here."""

import asyncio
import base64
import logging
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from addons.intake import Bodies
from proxy.audit.journal import FileJournal
from proxy.audit.lines import slot_of
from proxy.audit.records import control_fields
from proxy.audit.sinks import FileCheckpoints
from proxy.core.control import Statement
from proxy.core.errors import Rejected, Unavailable
from proxy.delivering import Deliveries
from proxy.edge.ca import Authority, load_authority
from proxy.edge.client_tls import ClientTls, load_client_tls
from proxy.edge.node import load_policy as load_policy
from proxy.edge.node import node_identity, node_name
from proxy.edge.roots import upstream_roots
from proxy.edge.secret import secret_vault
from proxy.edge.secrets import secret_sources
from proxy.edge.surfaces import own_surfaces
from proxy.footing import Footings
from proxy.gate import Gate, GateSettings
from proxy.granting import Granting
from proxy.holding import Holding
from proxy.identify import Identifier
from proxy.injecting import Injecting
from proxy.internal import Internal
from proxy.policy.inforce import PolicyInForce
from proxy.policy.settings import Settings, load_settings
from proxy.registry import Certificates
from proxy.stores.book import AddressBook
from proxy.stores.clockwatch import ClockWatch
from proxy.stores.consumed import ConsumedFile
from proxy.stores.files import StatementFile, private_dir
from proxy.stores.followed import FollowedFile
from proxy.stores.names import SystemResolver
from proxy.stores.redis import RedisServer
from proxy.stores.redis_book import RedisBook
from proxy.stores.redis_checkpoints import RedisCheckpoints
from proxy.stores.redis_control import RedisControl, RedisMandates
from proxy.stores.redis_grants import RedisGrants
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import probe
from proxy.stores.redis_replays import RedisReplays
from proxy.stores.secrets import SecretSources
from proxy.stores.spool import Spools
from proxy.stores.statements import Statements

logger = logging.getLogger(__name__)

RESOLVE_WITHIN_S = 1.0  # inside the gate's deadline for the whole decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one worker is made of."""

    slot: int
    settings: Settings
    gate: Gate
    internal: Internal
    bodies: Bodies
    deliveries: Deliveries
    footings: Footings
    followed: FollowedFile
    authority: Authority
    upstream_roots: str
    client_tls: ClientTls
    policy: PolicyInForce
    control: RedisControl
    secrets: SecretSources
    clock: ClockWatch
    journal: FileJournal
    proofs_count_from: datetime  # earlier proofs may have been spent in a store now forgotten
    died: asyncio.Future[Unavailable]  # done when the journal can no longer be trusted
    servers: tuple[RedisServer, ...]
    book: AddressBook  # which name each address of the DNS stub stands for

    async def close(self) -> None:
        """Seal the journal and let go of the stores."""
        await self.journal.close()
        for server in self.servers:
            await server.close()


async def assemble(
    config: Path,
    *,
    slot: int,
    listen: tuple[str, int],
    store_url: str,
    fast_url: str | None,
    dev: bool,
    ephemeral: bool = False,
    listen_tls: tuple[str, int] | None = None,
    desk: tuple[str, int] | None = None,
) -> Parts:
    """Everything one worker needs, opened and checked.

    Raises:
        Rejected: something configured cannot be used.
        Unavailable: the store or the journal's disk does not answer.
    """
    async with AsyncExitStack() as opened:  # what was opened is closed again when something after it is not there
        parts = await _assemble(
            opened,
            config,
            slot=slot,
            listen=listen,
            store_url=store_url,
            fast_url=fast_url,
            dev=dev,
            ephemeral=ephemeral,
            listen_tls=listen_tls,
            desk=desk,
        )
        opened.pop_all()
        return parts


def _redirected(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Where transparent mode listens: no agent's call goes there."""
    transparent = settings.transparent
    return tuple((each.host, each.port) for each in (*transparent.listen, *transparent.dns.listen))


async def _assemble(
    opened: AsyncExitStack,
    config: Path,
    *,
    slot: int,
    listen: tuple[str, int],
    store_url: str,
    fast_url: str | None,
    dev: bool,
    ephemeral: bool,
    listen_tls: tuple[str, int] | None,
    desk: tuple[str, int] | None,
) -> Parts:
    settings = load_settings(config)
    state = private_dir(settings.state)
    policy = PolicyInForce(
        load_policy(settings, dev=dev), load=lambda: load_policy(settings, dev=dev), bundle=settings.bundle
    )
    node_key = node_identity(state)
    vault = secret_vault(settings)
    authority = load_authority(state / "ca", deployment=settings.deployment, now=now())
    store = RedisServer(store_url, replicas=settings.redis_replicas)
    opened.push_async_callback(store.close)
    fast = RedisServer(fast_url, name="redis_fast_url") if fast_url else store
    opened.push_async_callback(fast.close)
    await _trusted(store, fast, ephemeral=ephemeral, tell=slot == 0)
    holds, mandates = RedisHolds(store), RedisMandates(store)
    replays = RedisReplays(fast, deployment=settings.deployment, now=now)
    clock = ClockWatch(store, now=now)
    await clock.look()
    died: asyncio.Future[Unavailable] = asyncio.get_running_loop().create_future()
    journal = await FileJournal.open(
        state / "journal",
        node=node_name(),
        worker=slot,
        key=node_key,
        bundle=policy().bundle,
        sinks=(
            FileCheckpoints(settings.journal.sink or state / "checkpoints.jsonl"),
            RedisCheckpoints(store, slot=slot_of(node_name(), slot)),
        ),
        clock=clock.now,
        on_dead=died.set_result,
    )
    opened.push_async_callback(journal.close)
    recorder = _Recorder(journal)
    statements = Statements(
        lambda: policy().bundle,
        file=StatementFile(state / "control.jsonl"),
        on_refused=_report_statement,
        on_accepted=recorder.control,
    )
    control = RedisControl(store, statements)
    await control.ready()
    consumed = ConsumedFile(state / "consumed.jsonl", now=clock.now)
    await consumed.ready(now=clock.now())
    followed = FollowedFile(state / "followed.json", writes=slot == 0, clock=now)
    lifetimes = settings.authority
    client_tls = load_client_tls(settings)
    identifier = Identifier(
        bundle=lambda: policy().bundle,
        mandates=mandates,
        vault=vault,
        lifetimes=lifetimes,
        clock=clock.now,
        certificates=Certificates(client_tls.anchors),
    )
    holding = Holding(
        policy=policy,
        holds=holds,
        consumed=consumed,
        vault=vault,
        journal=journal,
        caps=settings.hold_caps,
        max_ttl_s=int(settings.holds.max_ttl.total_seconds()),
        clock=now,
        timer=time.monotonic,
        new_id=new_id,
        followed=followed,
        view=control.view,
        node=node_key.public.kid,
        worker=f"{node_key.public.kid}.{slot}.{new_id()}",
    )
    deliveries = Deliveries(
        identifier=identifier,
        holding=holding,
        holds=holds,
        vault=vault,
        limits=settings.request_limits,
        response_bytes=settings.holds.response_bytes,
        response_ttl_s=int(settings.holds.response_ttl.total_seconds()),
    )
    secrets_named = secret_sources(settings)
    gate = Gate(
        policy=policy,
        identifier=identifier,
        holding=holding,
        granting=Granting(
            bundle=lambda: policy().bundle,
            grants=RedisGrants(store),
            holds=holds,
            consumed=consumed,
            journal=journal,
            digest=holding.digest,
            clock=now,
        ),
        replays=replays,
        control=control,
        journal=journal,
        resolver=SystemResolver(deadline_s=RESOLVE_WITHIN_S),
        injecting=Injecting(secrets_named),
        keyed_hash=vault.keyed_hash,
        settings=GateSettings(
            limits=settings.request_limits,
            own=await own_surfaces(
                (*filter(None, (listen, listen_tls, desk)), *_redirected(settings)),
                store,
                fast,
                desk_url=settings.desk.url,
            ),
            max_wait_s=int(settings.holds.max_wait.total_seconds()),
            grace_s=lifetimes.grace_s,
            challenge_connect=settings.challenge_connect,
        ),
        clock=now,
        timer=time.monotonic,
        new_id=new_id,
    )
    internal = Internal(
        gate=gate,
        mandates=mandates,
        vault=vault,
        journal=journal,
        policy=policy,
        node_key=node_key,
        ca_pem=authority.pem(),
        deliveries=deliveries,
        clock=now,
    )
    return Parts(
        slot=slot,
        settings=settings,
        gate=gate,
        internal=internal,
        footings=identifier.footings,
        bodies=Bodies(Spools(state / "spool"), settings.request_limits, settings.body_room),
        deliveries=deliveries,
        followed=followed,
        authority=authority,
        upstream_roots=upstream_roots(settings, state),
        client_tls=client_tls,
        policy=policy,
        control=control,
        secrets=secrets_named,
        clock=clock,
        journal=journal,
        proofs_count_from=await replays.ready(),
        died=died,
        servers=(store,) if fast is store else (store, fast),
        book=RedisBook(store, secret=vault.keyed_hash("address book").encode()),
    )


class _Recorder:
    """Writes control statements to the journal as they come into force, without holding up the one who brings them."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal
        self._writing: set[asyncio.Task[None]] = set()

    def control(self, said: Statement) -> None:
        task = asyncio.ensure_future(self._write(said))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, said: Statement) -> None:
        try:
            await self._journal.append("control", control_fields(said))
        except Unavailable as fault:
            logger.error("control statement %s could not be recorded: %s", said.id, fault.detail)


def now() -> datetime:
    """The time of this machine, aware."""
    return datetime.now(UTC)


def new_id() -> str:
    """An unguessable id for a decision or a hold: 120 random bits as lower-case letters and digits, easy to type."""
    return base64.b32encode(secrets.token_bytes(15)).decode("ascii").lower()


def prepare(settings: Settings) -> None:
    """Make what a node makes once, before workers that start together could each make their own.

    Raises:
        Rejected: something that is there cannot be used.
    """
    state = private_dir(settings.state)
    load_authority(state / "ca", deployment=settings.deployment, now=now())
    node_identity(state)
    secret_vault(settings)
    upstream_roots(settings, state)
    load_client_tls(settings)


async def _trusted(store: RedisServer, fast: RedisServer, *, ephemeral: bool, tell: bool) -> None:
    """Refuse stores that would lose what must be kept; one worker says what they may lose all the same."""
    said = await probe(store, ephemeral=ephemeral)
    if fast is not store:
        said += await probe(fast, forgetful=True)
    for line in said if tell else ():
        logger.warning("%s", line)


def _report_statement(statement_id: str, fault: Rejected) -> None:
    logger.error(
        "control statement %s in the store does not verify and is ignored: %s", ascii(statement_id)[:80], fault.detail
    )
