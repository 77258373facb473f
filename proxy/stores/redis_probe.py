"""May this server be trusted with holds? Asked once, at start; the answer names the setting to change."""

from dataclasses import dataclass
from typing import NoReturn

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.store_url import StoreKind
from proxy.stores.redis import PREFIX, RedisServer, Refused, prefix, script
from proxy.stores.redis_node import Node, TooFewReplicas

OLDEST = (7, 0, 0)
WAITS_FOR_DISKS = (7, 2, 0)
REPLAYS_AS_WRITTEN = (9, 1, 2)
"""The first Valkey seen to load a script's writes from its AOF when the default user may not make them.

Earlier ones, and Redis, check the default user's rights while loading and silently drop what it may not write: every
transition of a hold would be gone after a restart.
"""

_TRIAL = script("trial")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says of itself. `appendfsync` and `save` are empty when it does not tell."""

    where: str
    valkey: bool
    version: tuple[int, ...]
    role: str
    cluster: bool
    maxmemory_policy: str
    aof: bool
    snapshots: bool
    default_user_writes: bool
    loading: bool = False
    appendfsync: str = "always"
    rewrites_unsynced: bool = False
    replicas: int = 0


def judge_server(facts: ServerFacts, *, ephemeral: bool, cluster: bool = False, replicas: int = 0) -> None:
    """Refuse a server that would lose or evict what must be kept. `ephemeral` waives what a restart would lose.

    `cluster`: the URL is a cluster's. `replicas`: so many are to have each transition on disk.

    Raises:
        Rejected(CONFIG_INVALID): the detail names the setting to change.
    """
    version = ".".join(map(str, facts.version))
    name = "Valkey" if facts.valkey else "Redis"
    if facts.version < OLDEST:
        _refuse(facts, f"is {name} {version}: use Redis 7.0 or newer, or Valkey")
    if facts.cluster and not cluster:
        _refuse(facts, "runs in cluster mode: write its URL as redis+cluster://, or rediss+cluster:// with TLS")
    if facts.role != "master":
        _refuse(facts, f"is a {facts.role}: give the URL of the primary, or redis+sentinel:// to be told which it is")
    if facts.maxmemory_policy != "noeviction":
        _refuse(facts, f"may evict keys (maxmemory-policy {facts.maxmemory_policy}): set `maxmemory-policy noeviction`")
    if not ephemeral and not facts.aof and not facts.snapshots:
        _refuse(
            facts, "keeps nothing on disk: set `appendonly yes`, or run with --ephemeral and lose every hold with it"
        )
    fixed = facts.valkey and facts.version >= REPLAYS_AS_WRITTEN
    if not ephemeral and facts.aof and not fixed and not facts.default_user_writes:
        _refuse(
            facts,
            f"({name} {version}) drops scripted writes from its AOF at restart while its default user is off: "
            "set `user default on >PASSWORD ~* &* +@all`, or use Valkey 9.1.2 or newer",
        )
    if replicas and (not facts.aof or (not facts.valkey and facts.version < WAITS_FOR_DISKS)):
        _refuse(
            facts, f"({name} {version}) cannot wait for replicas' disks: set `appendonly yes` on Redis 7.2 or newer"
        )


def losses(facts: ServerFacts, *, replicas: int, failover: bool) -> tuple[str, ...]:
    """What this server may lose although it is accepted, each with the setting that mends it.

    `failover`: somebody may promote a replica of it.
    """
    said: list[str] = []
    if not facts.aof and not facts.snapshots:
        said.append(
            "keeps nothing on disk, as --ephemeral accepts: its restart loses every hold, release and denial; "
            "set `appendonly yes` and `appendfsync always` to keep them"
        )
    elif not facts.aof:
        said.append("a crash loses what came after the last snapshot: set `appendonly yes` and `appendfsync always`")
    elif not facts.appendfsync:
        said.append("does not tell its appendfsync: see that it is `always`, and permit it to say so (+config|get)")
    elif facts.appendfsync != "always":
        said.append("a crash may lose the last second or more: set `appendfsync always`")
    if facts.aof and facts.rewrites_unsynced:
        said.append("a crash while the AOF is rewritten may lose much: set `no-appendfsync-on-rewrite no`")
    if not replicas and (failover or facts.replicas):
        said.append(
            "a failover may lose the last decisions about holds, denials and revocations among them: "
            "set `redis_replicas: 1` in proxy.yaml"
        )
    return tuple(f"the store at {facts.where}: {line}" for line in said)


async def probe(server: RedisServer, *, ephemeral: bool = False, forgetful: bool = False) -> tuple[str, ...]:
    """Ask every primary about itself and refuse what would lose or evict what must be kept; try one durable write.

    Returns what may be lost all the same, one line each. `forgetful`: for nonces, which may be lost altogether.

    Raises:
        Rejected(CONFIG_INVALID): the detail names the setting to change.
        Unavailable(STORE_DOWN): it did not answer.
    """
    try:
        return await _judged(server, ephemeral=ephemeral, forgetful=forgetful)
    except Refused as fault:
        if "NOPERM" not in fault.detail:
            raise
        detail = f"does not permit user {server.username} what is needed: docs/redis.md has the ACL rule"
        raise Rejected(Code.CONFIG_INVALID, f"the store at {server.where} {detail}", field="redis_url") from None
    except TooFewReplicas as fault:
        detail = (
            f"{fault.detail}: connect {server.replicas} of them, each with `appendonly yes` and `appendfsync always`, "
            "or lower redis_replicas"
        )
        raise Rejected(Code.CONFIG_INVALID, detail, field="redis_replicas") from None


async def _judged(server: RedisServer, *, ephemeral: bool, forgetful: bool) -> tuple[str, ...]:
    said: list[str] = []
    kind, replicas = server.url.kind, server.replicas
    for node in await server.primaries():
        facts = await _facts(server, node)
        if facts.loading:
            raise Unavailable(Code.STORE_DOWN, f"the store at {facts.where} still loads its data")
        cluster = kind is StoreKind.CLUSTER
        judge_server(facts, ephemeral=ephemeral or forgetful, cluster=cluster, replicas=replicas)
        if not forgetful:
            said += losses(facts, replicas=replicas, failover=kind is StoreKind.SENTINEL)
    for shard in range(server.shards):
        await server.run(_TRIAL, (f"{prefix(shard)}trial",), ())
    return tuple(said)


async def _facts(server: RedisServer, node: Node) -> ServerFacts:
    info = await _info(server, node)
    valkey = "valkey_version" in info
    number = info.get("valkey_version") or info.get("redis_version", "")
    aof = info.get("aof_enabled") == "1"
    return ServerFacts(
        where=node.where,
        valkey=valkey,
        version=tuple(int(part) for part in number.split(".") if part.isdecimal()),
        role=info.get("role", "server of unknown role"),
        cluster=info.get("cluster_enabled") == "1",
        maxmemory_policy=info.get("maxmemory_policy", "unknown"),
        aof=aof,
        snapshots=not aof and bool(await setting(server, "save", at=node)),
        default_user_writes=await default_user_writes(server, at=node),
        loading=info.get("loading") == "1",
        appendfsync=await setting(server, "appendfsync", at=node),
        rewrites_unsynced=await setting(server, "no-appendfsync-on-rewrite", at=node) == "yes",
        replicas=int(found) if (found := info.get("connected_slaves", "0")).isdecimal() else 0,
    )


async def setting(server: RedisServer, name: str, *, at: Node | None = None) -> str:
    """A setting's value, "" when the server does not tell (managed services refuse CONFIG)."""
    try:
        reply = await server.command("CONFIG", "GET", name, at=at)
    except Refused:
        return ""
    match reply:
        case [_, bytes(value)]:
            return value.decode("utf-8", "replace")
        case _:
            return ""


async def _info(server: RedisServer, node: Node) -> dict[str, str]:
    reply = await server.command("INFO", at=node)
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


async def default_user_writes(server: RedisServer, *, at: Node | None = None) -> bool:
    """Whether the server's default user may write what our scripts write; False when the server does not tell."""
    if server.username == "default":
        return True  # then we are that user
    try:
        reply = await server.command("ACL", "DRYRUN", "default", "HSET", f"{PREFIX}hold:probe", "state", "held", at=at)
    except Refused:
        return False
    return reply == b"OK"


def _refuse(facts: ServerFacts, problem: str) -> NoReturn:
    raise Rejected(Code.CONFIG_INVALID, f"the store at {facts.where} {problem}", field="redis_url")
