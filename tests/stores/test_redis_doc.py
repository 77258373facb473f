"""docs/redis.md: every URL, setting and ACL rule it shows is used here as it stands there.

Its table of faults is held to `tests/faults/test_matrix.py`; the least user is the one every other test of this folder
is, on one server and on a cluster.
"""

import re
from pathlib import Path

import pytest
from held import ROOMY, draft
from redis_page import PASSWORD, USER, acl_rules, blocks, commands
from valkeys import Valkey

import proxy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.store_url import read_store_url
from proxy.policy.faults import Faults
from proxy.policy.settings import read_settings
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import probe

STORES = Path(proxy.__path__[0]) / "stores"


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_setting_loads(text: str) -> None:
    faults = Faults("proxy.yaml")
    got = read_settings(f"version: 1\ndeployment: edge\n{text}".encode(), faults, file=Path("/srv/proxy.yaml"))
    assert got is not None, faults
    assert read_store_url(got.redis_url or "").where


async def test_the_settings_it_names_mend_a_server_that_is_refused_and_one_that_may_lose_something() -> None:
    with Valkey(appendonly="no", maxmemory_policy="allkeys-lru", no_appendfsync_on_rewrite="yes") as valkey:
        server = RedisServer(valkey.url)
        with pytest.raises(Rejected, match="maxmemory-policy"):
            await probe(server)
        with valkey.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("save", "3600 1")
            (line,) = await probe(server)
            assert "snapshot" in line and "`appendonly yes`" in line
            client.config_set("appendonly", "yes")
            client.config_set("appendfsync", "everysec")
            said = " ".join(await probe(server))
            assert "`appendfsync always`" in said and "`no-appendfsync-on-rewrite no`" in said
            for rule in commands("CONFIG SET"):
                if "min-replicas" not in rule:
                    client.execute_command(rule)
            assert await probe(server) == ()
            for rule in commands("CONFIG SET min-replicas"):
                client.execute_command(rule)
        with pytest.raises(Unavailable, match="NOREPLICAS"):  # nobody follows it, so it takes no writes
            await probe(server)
        await server.close()


def test_the_least_user_may_do_what_the_product_does_and_nothing_else() -> None:
    scripted = {
        word.lower()
        for path in STORES.glob("lua/*.lua")
        for word in re.findall(r"redis\.p?call\('([A-Z]+)'", path.read_text())
    }
    direct = {
        word.lower()
        for path in STORES.glob("redis*.py")
        for word in re.findall(r"(?:command|ask|wait|_kept)\((?:node, what, )?\"([A-Z]+)\"", path.read_text())
    }
    direct |= {"evalsha", "time"} - {"sentinel", "cluster"}
    rule, clustered, _select, sentinel = commands("ACL SETUSER")
    permitted = {
        word[1:].partition("|")[0] for line in (rule, clustered, sentinel) for word in line.split() if word[0] == "+"
    }
    assert permitted == scripted | direct | {"eval", "evalsha"}
    assert [word for word in rule.split() if word[0] == "~"] == ["~{ip:*}:*"]
    assert {"-@all", "resetchannels", "resetkeys"} <= set(rule.split())


async def test_one_command_less_is_refused_at_start_or_told(valkey: Valkey) -> None:
    with valkey.client() as client:
        client.execute_command(f"ACL SETUSER narrow on >{PASSWORD} ~{{ip:*}}:* -@all +info +config|get +acl|dryrun")
        client.execute_command(f"ACL SETUSER quiet on >{PASSWORD} ~{{ip:*}}:* -@all +info +set +eval +evalsha")
    try:
        narrow = RedisServer(f"{valkey.url}?username=narrow&password={PASSWORD}")
        with pytest.raises(Rejected, match=r"does not permit user narrow .*docs/redis\.md") as caught:
            await probe(narrow)
        assert caught.value.code is Code.CONFIG_INVALID
        await narrow.close()
        quiet = RedisServer(f"{valkey.url}?username=quiet&password={PASSWORD}")
        (line,) = await probe(quiet)
        assert "appendfsync" in line and "+config|get" in line
        await quiet.close()
    finally:
        with valkey.client() as client:
            client.acl_deluser("narrow", "quiet")


async def test_the_least_user_sees_no_other_keys(valkey: Valkey, server: RedisServer) -> None:
    with valkey.client() as client:
        client.set("another's", "1")
    hold = (await RedisHolds(server).file(draft(), b"", ttl_s=60, caps=ROOMY)).hold
    assert await RedisHolds(server).get(hold.id) == hold
    for words in (("GET", "another's"), ("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "SET", "save", "")):
        with pytest.raises(Exception, match="NOPERM"):
            await server.command(*words)


async def test_a_database_needs_one_more() -> None:
    with Valkey() as valkey:
        url = f"{valkey.url}?username={USER}&password={PASSWORD}&db=1"
        with valkey.client() as client:
            client.execute_command(acl_rules()[0])
            server = RedisServer(url)
            with pytest.raises(Exception, match=r"SELECT|NOPERM|did not answer"):
                await probe(server)
            await server.close()
            client.execute_command(commands("ACL SETUSER")[2])
        server = RedisServer(url)
        assert await probe(server) == ()
        await server.close()
