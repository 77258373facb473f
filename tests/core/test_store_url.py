"""URLs of stores: what is read out of them, and that nothing in them weakens a connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected
from proxy.core.store_url import StoreKind, StoreUrl, read_store_url

SERVER, SENTINEL, CLUSTER = StoreKind.SERVER, StoreKind.SENTINEL, StoreKind.CLUSTER


@pytest.mark.parametrize(
    ("text", "url", "where"),
    [
        pytest.param(
            "redis://cache.example",
            StoreUrl(kind=SERVER, hosts=(("cache.example", 6379),)),
            "cache.example:6379",
            id="a server and nothing more",
        ),
        pytest.param(
            "redis://edge:s%40cret@[fd00::7]:6380/3",
            StoreUrl(kind=SERVER, hosts=(("fd00::7", 6380),), db=3, username="edge", password="s@cret"),
            "[fd00::7]:6380",
            id="an IPv6 address, a database and credentials",
        ),
        pytest.param(
            "redis://:s3cret@cache.example/?db=2",
            StoreUrl(kind=SERVER, hosts=(("cache.example", 6379),), db=2, password="s3cret"),
            "cache.example:6379",
            id="a password alone, the database as an option",
        ),
        pytest.param(
            "rediss://cache.example?ssl_ca_certs=/etc/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&username=edge&password=p",
            StoreUrl(
                kind=SERVER,
                hosts=(("cache.example", 6379),),
                tls=True,
                ca="/etc/ca.pem",
                certificate="/c.pem",
                key="/k.pem",
                username="edge",
                password="p",
            ),
            "cache.example:6379",
            id="TLS with a CA and a certificate of our own",
        ),
        pytest.param(
            "unix://edge@/run/a%20b.sock?password=s3cret&db=1",
            StoreUrl(kind=SERVER, path="/run/a b.sock", db=1, username="edge", password="s3cret"),
            "/run/a b.sock",
            id="a unix socket",
        ),
        pytest.param(
            "redis+sentinel://edge:p@s1.example,s2.example:26380/my%20holds/1?sentinel_username=w&sentinel_password=q",
            StoreUrl(
                kind=SENTINEL,
                hosts=(("s1.example", 26379), ("s2.example", 26380)),
                service="my holds",
                db=1,
                username="edge",
                password="p",
                sentinel_username="w",
                sentinel_password="q",
            ),
            "my holds of s1.example:26379,s2.example:26380",
            id="two Sentinels and a service",
        ),
        pytest.param(
            "rediss+sentinel://s1.example/holds",
            StoreUrl(kind=SENTINEL, hosts=(("s1.example", 26379),), service="holds", tls=True),
            "holds of s1.example:26379",
            id="a Sentinel over TLS",
        ),
        pytest.param(
            "redis+cluster://10.0.0.1:7000,10.0.0.2:7000/",
            StoreUrl(kind=CLUSTER, hosts=(("10.0.0.1", 7000), ("10.0.0.2", 7000))),
            "10.0.0.1:7000,10.0.0.2:7000",
            id="a cluster",
        ),
    ],
)
def test_a_url_is_taken_apart(text: str, url: StoreUrl, where: str) -> None:
    got = read_store_url(text)
    assert got == url
    assert got.where == where
    assert not any(secret in repr(got) for secret in ("s3cret", "s@cret"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("cache.example:6379", r"redis\+cluster://HOST", id="no scheme"),
        pytest.param("http://:s3cret@cache.example", "got something else", id="another scheme"),
        pytest.param("redis+master://cache.example", "got something else", id="another kind"),
        pytest.param("unix+cluster:///run/s", "got something else", id="a cluster of unix sockets"),
        pytest.param("redis://cache.example/é", "got something else", id="not ASCII"),
        pytest.param("redis://", "got something else", id="nothing behind the scheme"),
        pytest.param("redis:///0", "a host that is none", id="no host"),
        pytest.param("redis://s3cret@/0", "a host that is none", id="credentials and no host"),
        pytest.param("redis://cache.example:port", "a host that is none", id="a port that is no number"),
        pytest.param("redis://cache.example:0", "a host that is none", id="port 0"),
        pytest.param("redis://cache.example:65536", "a host that is none", id="a port too great"),
        pytest.param("redis+cluster://a.example,,b.example", "a host that is none", id="a host left out"),
        pytest.param("redis://a.example,b.example", "several are for", id="several servers that are no cluster"),
        pytest.param("redis+cluster://a.example/0", "nothing may follow", id="a database of a cluster"),
        pytest.param("redis+cluster://a.example?db=1", "may carry only", id="a database of a cluster, as an option"),
        pytest.param("redis+sentinel://a.example", "the name Sentinel knows", id="Sentinels and no service"),
        pytest.param("redis+sentinel://a.example/", "the name Sentinel knows", id="Sentinels and an empty service"),
        pytest.param("redis+sentinel://a.example/holds/x", "number of a database", id="a database that is none"),
        pytest.param("redis://a.example/12345", "number of a database", id="a database beyond all"),
        pytest.param("redis://a.example/-1", "number of a database", id="a negative database"),
        pytest.param("redis://a.example?db=1&db=2", "db once", id="an option twice"),
        pytest.param("redis://a.example?db", "db once", id="an option without a value"),
        pytest.param("redis://:s3cret@a.example?socket_timeout=60", "may carry only", id="a timeout"),
        pytest.param("rediss://:s3cret@a.example?ssl_cert_reqs=none", "may carry only", id="no certificate check"),
        pytest.param("redis://a.example?ssl_ca_certs=/ca.pem", "may carry only", id="a CA without TLS"),
        pytest.param("rediss://a.example?sentinel_password=s3cret", "may carry only", id="a Sentinel's password"),
        pytest.param("redis://:half?s3cret@a.example", "a host that is none|may carry only", id="a ? in a password"),
        pytest.param("rediss://a.example?ssl_certfile=/c.pem", "together", id="a certificate without its key"),
        pytest.param("rediss://a.example?ssl_keyfile=/k.pem", "together", id="a key without its certificate"),
        pytest.param("unix://", "got something else", id="no path"),
        pytest.param("unix://?password=s3cret", "unix:///PATH", id="options and no path"),
        pytest.param("unix://host/run/s", "unix:///PATH", id="a path on another machine"),
        pytest.param("unix:///run/s?db=x", "number of a database", id="a socket's database that is none"),
    ],
)
def test_a_url_that_is_none_or_weakens_the_connection_is_refused_and_not_shown(text: str, said: str) -> None:
    with pytest.raises(Rejected, match=said) as caught:
        read_store_url(text, name="redis_fast_url")
    assert (caught.value.code, caught.value.field) == (Code.CONFIG_INVALID, "redis_fast_url")
    assert "s3cret" not in str(caught.value)


@given(st.text(max_size=60), st.sampled_from(["", "redis://", "rediss+sentinel://", "redis+cluster://", "unix://"]))
def test_a_reader_of_urls_raises_nothing_else(text: str, scheme: str) -> None:
    try:
        url = read_store_url(scheme + text)
    except Rejected as fault:
        assert fault.code is Code.CONFIG_INVALID
    else:
        assert bool(url.path) is not bool(url.hosts)
