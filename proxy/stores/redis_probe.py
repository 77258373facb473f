"""May this server be trusted with holds? Asked once, at start; the answer names the setting to change."""

from dataclasses import dataclass
from typing import NoReturn

from proxy.core.errors import Code, Rejected
from proxy.stores.redis import PREFIX, RedisServer, Refused

OLDEST = (7, 0, 0)
REPLAYS_AS_WRITTEN = (9, 1, 2)
"""The first Valkey seen to load a script's writes from its AOF when the default user may not make them.

Earlier ones, and Redis, check the default user's rights while loading and silently drop what it may not write: every
transition of a hold would be gone after a restart.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says of itself."""

    where: str
    valkey: bool
    version: tuple[int, ...]
    role: str
    cluster: bool
    maxmemory_policy: str
    aof: bool
    snapshots: bool
    default_user_writes: bool


def judge_server(facts: ServerFacts, *, ephemeral: bool) -> None:
    """Refuse a server that would lose or evict what must be kept. `ephemeral` waives persistence only.

    Raises:
        Rejected(CONFIG_INVALID): the detail names the setting to change.
    """
    version = ".".join(map(str, facts.version))
    name = "Valkey" if facts.valkey else "Redis"
    if facts.version < OLDEST:
        _refuse(facts, f"is {name} {version}: use Redis 7.0 or newer, or Valkey")
    if facts.cluster:
        _refuse(
            facts, "runs in cluster mode, which is not supported in this version: use a server without cluster mode"
        )
    if facts.role != "master":
        _refuse(facts, f"is a {facts.role}: give the URL of the primary")
    if facts.maxmemory_policy != "noeviction":
        _refuse(facts, f"may evict keys (maxmemory-policy {facts.maxmemory_policy}): set `maxmemory-policy noeviction`")
    if not ephemeral and not facts.aof and not facts.snapshots:
        _refuse(
            facts, "keeps nothing on disk: set `appendonly yes`, or run with --ephemeral and lose every hold with it"
        )
    fixed = facts.valkey and facts.version >= REPLAYS_AS_WRITTEN
    if facts.aof and not fixed and not facts.default_user_writes:
        _refuse(
            facts,
            f"({name} {version}) drops scripted writes from its AOF at restart while its default user is off: "
            "set `user default on >PASSWORD ~* &* +@all`, or use Valkey 9.1.2 or newer",
        )


async def probe(server: RedisServer, *, ephemeral: bool = False) -> None:
    """Ask a server about itself and refuse it when it would lose or evict what must be kept.

    Raises:
        Rejected(CONFIG_INVALID): the detail names the setting to change.
        Unavailable(STORE_DOWN): it did not answer.
    """
    info = await _info(server)
    valkey = "valkey_version" in info
    number = info.get("valkey_version") or info.get("redis_version", "")
    version = tuple(int(part) for part in number.split(".") if part.isdecimal())
    aof = info.get("aof_enabled") == "1"
    facts = ServerFacts(
        where=server.where,
        valkey=valkey,
        version=version,
        role=info.get("role", "server of unknown role"),
        cluster=info.get("cluster_enabled") == "1",
        maxmemory_policy=info.get("maxmemory_policy", "unknown"),
        aof=aof,
        snapshots=not aof and bool(await setting(server, "save")),
        default_user_writes=await default_user_writes(server),
    )
    judge_server(facts, ephemeral=ephemeral)


async def setting(server: RedisServer, name: str) -> str:
    """A setting's value, "" when the server does not tell (managed services refuse CONFIG)."""
    try:
        reply = await server.command("CONFIG", "GET", name)
    except Refused:
        return ""
    match reply:
        case [_, bytes(value)]:
            return value.decode("utf-8", "replace")
        case _:
            return ""


async def _info(server: RedisServer) -> dict[str, str]:
    reply = await server.command("INFO")
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else []
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


async def default_user_writes(server: RedisServer) -> bool:
    """Whether the server's default user may write what our scripts write; False when the server does not tell."""
    if server.username == "default":
        return True  # then we are that user
    try:
        reply = await server.command("ACL", "DRYRUN", "default", "HSET", f"{PREFIX}hold:probe", "state", "held")
    except Refused:
        return False
    return reply == b"OK"


def _refuse(facts: ServerFacts, problem: str) -> NoReturn:
    raise Rejected(Code.CONFIG_INVALID, f"the store at {facts.where} {problem}", field="redis_url")
