"""TLS to the store: whose certificate is taken, and what we show. The bundled Valkey has none, so something that has
stands before it; with Debian's redis-server the same is tried on the server itself."""

import asyncio
import shutil
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certs import Authority, Leaf, self_signed
from held import ROOMY, draft
from valkeys import Valkey, free_port

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import probe

INSTALL = "redis-server with TLS is missing: apt-get install redis-server"
NAME = "localhost"


@asynccontextmanager
async def behind_tls(valkey: Valkey, leaf: Leaf, *, clients: Authority | None = None):
    """The port of a TLS server that passes everything on to this Valkey."""
    context = leaf.server_context(alpn=())
    if clients is not None:
        context.load_verify_locations(cadata=clients.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(f"{valkey.directory}/s")
        await asyncio.gather(pump(reader, back), pump(there, writer))

    listening = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def test_a_store_whose_certificate_verifies_is_used(valkey: Valkey, tmp_path: Path):
    authority = Authority()
    async with behind_tls(valkey, authority.server(NAME)) as port:
        server = RedisServer(f"rediss://{NAME}:{port}?ssl_ca_certs={authority.write(tmp_path)}")
        await probe(server)
        holds = RedisHolds(server)
        hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
        assert await holds.get(hold.id) == hold
        await server.close()


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        pytest.param(lambda trusted: Authority().server(NAME), "certificate does not verify", id="another CA"),
        pytest.param(lambda trusted: self_signed(NAME), "certificate does not verify", id="no CA"),
        pytest.param(lambda trusted: trusted.expired(NAME), "expired", id="expired"),
        pytest.param(lambda trusted: trusted.server("other.example"), "mismatch", id="another name"),
    ],
)
async def test_a_store_whose_certificate_does_not_verify_is_unavailable(valkey: Valkey, tmp_path: Path, leaf, why):
    trusted = Authority()
    async with behind_tls(valkey, leaf(trusted)) as port:
        server = RedisServer(f"rediss://{NAME}:{port}?ssl_ca_certs={trusted.write(tmp_path)}")
        with pytest.raises(Unavailable, match=why) as caught:
            await server.command("GET", "{ip:0}:x")
        assert caught.value.code is Code.STORE_DOWN
        await server.close()


async def test_with_a_ca_of_its_own_no_other_is_trusted(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    system, own = Authority(), Authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(system.write(tmp_path, "system")))
    async with behind_tls(valkey, system.server(NAME)) as port:
        pinned = RedisServer(f"rediss://{NAME}:{port}?ssl_ca_certs={own.write(tmp_path)}")
        with pytest.raises(Unavailable, match="certificate does not verify"):
            await pinned.command("GET", "{ip:0}:x")
        await pinned.close()
        common = RedisServer(f"rediss://{NAME}:{port}")
        assert await common.command("GET", "{ip:0}:x") is None
        await common.close()


async def test_a_client_certificate_is_shown(valkey: Valkey, tmp_path: Path):
    authority = Authority()
    ca = authority.write(tmp_path)
    pem, key = authority.client("edge").write(tmp_path, "client")
    async with behind_tls(valkey, authority.server(NAME), clients=authority) as port:
        base = f"rediss://{NAME}:{port}?ssl_ca_certs={ca}"
        shown = RedisServer(f"{base}&ssl_certfile={pem}&ssl_keyfile={key}")
        assert await shown.command("GET", "{ip:0}:x") is None
        await shown.close()
        bare = RedisServer(base)
        with pytest.raises(Unavailable):
            await bare.command("GET", "{ip:0}:x")
        await bare.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param("ssl_ca_certs={tmp}/gone.pem", "ssl_ca_certs: .*gone.pem must be", id="a CA that is not there"),
        pytest.param("ssl_ca_certs={tmp}/key.key", "ssl_ca_certs: .*key.key must be", id="a CA that is none"),
        pytest.param("ssl_certfile={tmp}/key.pem&ssl_keyfile={tmp}/other.key", "ssl_keyfile", id="another one's key"),
        pytest.param("ssl_certfile={tmp}/key.pem&ssl_keyfile={tmp}/gone.key", "ssl_keyfile", id="no key"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_once(tmp_path: Path, options: str, said: str):
    Authority().client("edge").write(tmp_path, "key")
    Authority().client("edge").write(tmp_path, "other")
    with pytest.raises(Rejected, match=said) as caught:
        RedisServer(f"rediss://cache.example?{options.format(tmp=tmp_path)}")
    assert caught.value.code is Code.CONFIG_INVALID


# --- the server's own TLS --------------------------------------------------------------------------------------------


def program() -> str:
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip(INSTALL)
    return found


def with_tls(authority: Authority, folder: Path) -> dict[str, str]:
    pem, key = authority.server("127.0.0.1").write(folder)
    return {
        "program": program(),
        "bind": "127.0.0.1",
        "tls_cert_file": str(pem),
        "tls_key_file": str(key),
        "tls_ca_cert_file": str(authority.write(folder, "ca")),
        "tls_auth_clients": "yes",
    }


@pytest.mark.system
async def test_a_server_that_speaks_tls_itself_is_probed_and_used(tmp_path: Path):
    authority = Authority()
    settings = with_tls(authority, tmp_path)
    pem, key = authority.client("edge").write(tmp_path, "client")
    options = f"ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={pem}&ssl_keyfile={key}"
    port = free_port()
    with Valkey(tls_port=str(port), **settings):
        server = RedisServer(f"rediss://127.0.0.1:{port}?{options}")
        await probe(server)
        holds = RedisHolds(server)
        hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
        assert await holds.get(hold.id) == hold
        await server.close()
        bare = RedisServer(f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path}/ca.pem")
        with pytest.raises(Unavailable):
            await probe(bare)
        await bare.close()


@pytest.mark.system
async def test_redis_7_0_with_its_default_user_off_is_refused_and_does_drop_scripted_writes(tmp_path: Path):
    """If this fails, `redis_probe.REPLAYS_AS_WRITTEN` refuses servers for nothing."""
    users = tmp_path / "users.acl"
    users.write_text("user default off\nuser edge on >s3cret ~* &* +@all\n")
    with Valkey(program=program(), aclfile=str(users)) as redis:
        server = RedisServer(f"{redis.url}?username=edge&password=s3cret")
        with pytest.raises(Rejected, match="drops scripted writes"):
            await probe(server)
        holds = RedisHolds(server)
        hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
        await server.close()
        redis.restart()
        again = RedisServer(f"{redis.url}?username=edge&password=s3cret")
        assert await RedisHolds(again).get(hold.id) is None
        await again.close()
