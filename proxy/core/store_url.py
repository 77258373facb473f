"""Where the store is, as one URL: one server, a primary that Sentinels name, or a cluster."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import unquote

from proxy.core.errors import Code, Rejected

FORMS = (
    "redis://HOST:PORT/0, unix:///PATH?db=0, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/0 or "
    "redis+cluster://HOST:PORT,HOST:PORT, with rediss for TLS"
)

_URL = re.compile(r"(?P<scheme>rediss?(?:\+sentinel|\+cluster)?|unix)://(?P<rest>[!-~]+)")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})


class StoreKind(Enum):
    """How the server that is to be asked is found."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """A store's URL, taken apart. `hosts` is empty for a unix socket, which has a `path`."""

    kind: StoreKind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str = "default"
    password: str = field(default="", repr=False)
    sentinel_username: str = "default"
    sentinel_password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def where(self) -> str:
        """The address without credentials, as messages name it."""
        if self.path:
            return self.path
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.service} of {hosts}" if self.service else hosts


def read_store_url(text: str, *, name: str = "redis_url") -> StoreUrl:
    """Take a store's URL apart. What it says of timeouts, retries or certificate checks is refused, not ignored.

    Not checked here: whether certificate files are there.

    Raises:
        Rejected(CONFIG_INVALID): not such a URL, or with an option that is not ours to allow. It is never shown.
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise _wrong(name, f"expected {FORMS}, got something else")
    base, _, kind = found["scheme"].partition("+")
    location, _, query = found["rest"].partition("?")
    authority, slash, path = location.partition("/")
    options = _read_options(query, _allowed(base, kind), name)
    login, _, where = authority.rpartition("@")
    username, _, password = login.partition(":")
    username = unquote(username) or options.get("username", "default")
    password = unquote(password) or options.get("password", "")
    if base == "unix":
        if where or not path:
            raise _wrong(name, "expected unix:///PATH, with the whole path of the socket")
        return StoreUrl(
            kind=StoreKind.SERVER,
            path=unquote(slash + path),
            db=_database(options.get("db", ""), name),
            username=username,
            password=password,
        )
    if bool(options.get("ssl_certfile")) != bool(options.get("ssl_keyfile")):
        raise _wrong(name, "expected ssl_certfile and ssl_keyfile together")
    service, database = _read_path(path.rstrip("/"), kind, name)
    return StoreUrl(
        kind=StoreKind(kind or "server"),
        hosts=_read_hosts(where, kind, name),
        service=service,
        db=_database(database or options.get("db", ""), name),
        username=username,
        password=password,
        sentinel_username=options.get("sentinel_username", "default"),
        sentinel_password=options.get("sentinel_password", ""),
        tls=base == "rediss",
        ca=options.get("ssl_ca_certs", ""),
        certificate=options.get("ssl_certfile", ""),
        key=options.get("ssl_keyfile", ""),
    )


def _allowed(base: str, kind: str) -> frozenset[str]:
    options = frozenset({"username", "password"} if kind == "cluster" else {"db", "username", "password"})
    options |= _TLS_OPTIONS if base == "rediss" else frozenset()
    return options | (_SENTINEL_OPTIONS if kind == "sentinel" else frozenset())


def _read_options(query: str, allowed: frozenset[str], name: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        option, _, value = pair.partition("=")
        if option not in allowed:
            # Not shown: it may be half of a password with a question mark in it.
            raise _wrong(name, f"a URL of this kind may carry only {', '.join(sorted(allowed))}, got another option")
        if option in options or not value:
            raise _wrong(name, f"expected {option} once, with a value")
        options[option] = unquote(value)
    return options


def _read_hosts(text: str, kind: str, name: str) -> tuple[tuple[str, int], ...]:
    usual = 26379 if kind == "sentinel" else 6379
    hosts: list[tuple[str, int]] = []
    for part in text.split(","):
        found = _HOST.fullmatch(part)
        port = int(found["port"] or usual) if found else 0
        if found is None or not 0 < port < 65536:
            raise _wrong(name, f"expected {FORMS}, got a host that is none")
        hosts.append((found["v6"] or found["name"], port))
    if len(hosts) > 1 and not kind:
        raise _wrong(name, "expected one host; several are for redis+sentinel:// and redis+cluster://")
    return tuple(hosts)


def _read_path(path: str, kind: str, name: str) -> tuple[str, str]:
    """The service a Sentinel is asked for, and the number of the database as it is written."""
    if kind == "cluster" and path:
        raise _wrong(name, "a cluster has one database: nothing may follow its hosts")
    if kind != "sentinel":
        return "", path
    service, _, database = path.partition("/")
    if not service:
        raise _wrong(name, "expected redis+sentinel://HOST:PORT/SERVICE, with the name Sentinel knows the primary by")
    return unquote(service), database


def _database(text: str, name: str) -> int:
    if text and not (text.isdecimal() and text.isascii() and len(text) < 5):
        raise _wrong(name, "expected the number of a database")
    return int(text or "0")


def _wrong(name: str, detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail, field=name)
