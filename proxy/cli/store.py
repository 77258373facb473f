"""The deployment's store, opened from the command line; and what is published there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce

from proxy.cli.deployment import Deployment, new_id, nonce, now
from proxy.cli.signers import Signer
from proxy.core.clusters import compile_policy
from proxy.core.control import OPERATOR, RESUMING, Act, ControlView, Statement, read_statement, state
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Bundle
from proxy.edge.secret import secret_file, secret_vault
from proxy.review.granting import Granter
from proxy.review.resolving import Resolving
from proxy.review.service import ReviewService
from proxy.review.wishes import Words
from proxy.stores.clockwatch import time_of
from proxy.stores.embedded import EmbeddedStore
from proxy.stores.files import StatementFile
from proxy.stores.redis import PATIENT_S, RedisServer
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_grants import RedisGrants
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.statements import Statements
from proxy.stores.vault import SecretVault


@asynccontextmanager
async def open_store(deployment: Deployment) -> AsyncIterator[RedisServer]:
    """The store that the proxy uses. An embedded one that does not run is started, and stopped by who began it.

    Raises:
        Rejected(CONFIG_INVALID): there is no store to open.
        Unavailable(STORE_DOWN): it does not answer.
    """
    settings = deployment.settings
    embedded = EmbeddedStore(settings.state) if settings.redis_url is None else None
    ran_before = embedded is None or (embedded.directory.exists() and embedded.alive())
    url = embedded.start() if embedded is not None else str(settings.redis_url)
    server = RedisServer(url, replicas=settings.redis_replicas, deadline_s=PATIENT_S)
    try:
        yield server
    finally:
        await server.close()
        if embedded is not None and not ran_before and await _unused(url):
            embedded.stop()


async def _unused(url: str) -> bool:
    """Whether nobody else has come to rely on the server in the meantime."""
    server = RedisServer(url)
    try:
        reply = await server.command("INFO", "clients")
    except Unavailable:
        return False
    finally:
        await server.close()
    return isinstance(reply, bytes) and b"connected_clients:1\r\n" in reply


def open_secret(deployment: Deployment) -> SecretVault:
    """The vault of a deployment that has run before.

    Raises:
        Rejected(CONFIG_INVALID): the deployment's secret is not on this machine, or cannot be used.
    """
    path = secret_file(deployment.settings)
    if path is not None and not path.exists():
        detail = f"{path} is not here: run this on the proxy's machine, after its first start"
        raise Rejected(Code.CONFIG_INVALID, detail)
    return secret_vault(deployment.settings, make=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a reviewer works with."""

    reviews: ReviewService
    granter: Granter
    resolving: Resolving

    @property
    def words(self) -> Words:
        return Words(reviews=self.reviews, granter=self.granter, resolving=self.resolving)


@asynccontextmanager
async def open_desk(deployment: Deployment, bundle: Bundle) -> AsyncIterator[Desk]:
    """The review services on the deployment's own store and secret.

    Raises:
        Rejected(CONFIG_INVALID): the deployment's secret is not on this machine.
        Rejected, Unavailable: as `open_store`.
    """
    vault, policy = open_secret(deployment), compile_policy(bundle)
    kept = StatementFile(deployment.settings.state / "control.jsonl").load()
    async with open_store(deployment) as server:
        holds, statements = RedisHolds(server), Statements(lambda: bundle)
        await RedisControl(server, statements).ready()
        stopped = reduce(ControlView.absorb, kept, statements.view)
        reviews = ReviewService(
            holds=holds,
            vault=vault,
            policy=lambda: policy,
            clock=now,
            new_nonce=nonce,
            max_ttl=deployment.settings.holds.max_ttl,
            view=lambda: stopped,
        )
        granter = Granter(
            reviews=reviews,
            grants=RedisGrants(server),
            policy=lambda: policy,
            clock=now,
            new_nonce=nonce,
            new_id=new_id,
        )
        resolving = Resolving(reviews=reviews, holds=holds, policy=lambda: policy, clock=now, new_nonce=nonce)
        yield Desk(reviews=reviews, granter=granter, resolving=resolving)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A statement that every node was given, and what it adds up to with what was said before."""

    said: Statement
    view: ControlView


async def publish(
    deployment: Deployment, bundle: Bundle, act: Act, target: str, *, reason: str, signer: Signer
) -> Published:
    """Sign a control statement and give it to every node.

    It is dated after whatever was said of the target before, and not ahead of the nodes' clock, which is the store's:
    a stop counts at once, whatever this machine's clock says.

    Raises:
        Rejected(STATEMENT_INVALID): this signer may not say that, or it would let nothing run again.
        Rejected, Unavailable: as `open_store`.
    """

    def signed(moment: datetime) -> str:
        return state(
            act, target, by=signer.name, reason=reason, deployment=bundle.deployment, key=signer.key, now=moment
        )

    read_statement(signed(now()), bundle)  # whoever may not say it need not wait for the store
    file = StatementFile(deployment.settings.state / "control.jsonl")
    async with open_store(deployment) as server:
        told = now()
        before = Statements(lambda: bundle, clock=lambda: told)
        with suppress(Unavailable):  # what cannot be looked at holds up no stop: the nodes know what was said before
            told = await time_of(server)
            await RedisControl(server, before).ready()
        view = reduce(ControlView.absorb, file.load(), before.view)
        last = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=view.last_serial(target) + 1)
        moment = max(min(now(), told), last)
        statements = Statements(lambda: bundle, file=StatementFile(file.path), clock=lambda: max(told, moment))
        said = statements.check(signed(moment))
        view = view.absorb(said)
        if act in RESUMING and (still := view.stop_of(target)) is not None:
            detail = f"{still.by} stopped it: only an operator lets it go on (--as {OPERATOR})"
            raise Rejected(Code.STATEMENT_INVALID, detail)
        await RedisControl(server, statements).publish(said.token)
    return Published(said=said, view=view)
