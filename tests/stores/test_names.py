"""The resolver: in time, or not at all."""

import asyncio
import socket
import threading
import time
from ipaddress import ip_address

import pytest

from proxy.core.errors import Code, Unavailable
from proxy.stores import names
from proxy.stores.names import SystemResolver


@pytest.fixture
def resolver():
    made = SystemResolver()
    yield made
    made.close()


@pytest.fixture
def answers(monkeypatch):
    """What the system's resolver answers; a test may put anything there."""
    said = {}

    def getaddrinfo(host, port, **how):
        answer = said[host]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(names.socket, "getaddrinfo", getaddrinfo)
    return said


@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1"])
async def test_an_address_is_its_own_answer_and_asks_nobody(resolver, answers, literal):
    assert await resolver.resolve(literal, 443) == (ip_address(literal),)


async def test_a_real_name_is_resolved(resolver):
    assert ip_address("127.0.0.1") in await resolver.resolve("localhost", 443)


async def test_every_address_is_returned_once_in_the_order_to_try(resolver, answers):
    answers["erp.example"] = ["192.0.2.2", "2001:db8::1", "192.0.2.2", "192.0.2.1"]
    found = await resolver.resolve("erp.example", 443)
    assert [str(address) for address in found] == ["192.0.2.2", "2001:db8::1", "192.0.2.1"]


async def test_an_answer_serves_the_next_second_and_no_longer(resolver, answers, monkeypatch):
    answers["erp.example"] = ["192.0.2.1"]
    await resolver.resolve("erp.example", 443)
    answers["erp.example"] = ["192.0.2.2"]
    assert await resolver.resolve("erp.example", 8443) == (ip_address("192.0.2.1"),)
    began_s = asyncio.get_running_loop().time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: began_s + names.REMEMBER_S)
    assert await resolver.resolve("erp.example", 443) == (ip_address("192.0.2.2"),)


async def test_that_there_was_no_answer_is_not_remembered(resolver, answers):
    answers["erp.example"] = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with pytest.raises(Unavailable):
        await resolver.resolve("erp.example", 443)
    answers["erp.example"] = ["192.0.2.1"]
    assert await resolver.resolve("erp.example", 443) == (ip_address("192.0.2.1"),)


async def test_so_many_answers_are_remembered_and_no_more(resolver, answers, monkeypatch):
    monkeypatch.setattr(names, "MOST_REMEMBERED", 2)
    for number in range(3):
        answers[f"{number}.example"] = [f"192.0.2.{number}"]
        await resolver.resolve(f"{number}.example", 443)
    for number in range(3):
        answers[f"{number}.example"] = ["192.0.2.9"]
    found = [str((await resolver.resolve(f"{number}.example", 443))[0]) for number in (2, 1, 0)]
    assert found == ["192.0.2.2", "192.0.2.1", "192.0.2.9"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(socket.gaierror(socket.EAI_NONAME, "Name or service not known"), id="an unknown name"),
        pytest.param(UnicodeError("label too long"), id="a name that cannot be asked for"),
        pytest.param(["not an address"], id="an answer that is no address"),
    ],
)
async def test_a_name_that_does_not_resolve_is_unavailable(resolver, answers, answer):
    answers["erp.example"] = answer
    with pytest.raises(Unavailable, match=r"erp\.example does not resolve") as caught:
        await resolver.resolve("erp.example", 443)
    assert caught.value.code is Code.UPSTREAM_NAME


async def test_a_name_that_resolves_to_nothing_is_unavailable(resolver, answers):
    answers["erp.example"] = []
    with pytest.raises(Unavailable) as caught:
        await resolver.resolve("erp.example", 443)
    assert caught.value.code is Code.UPSTREAM_NAME


@pytest.mark.parametrize(
    "errno",
    [
        pytest.param(socket.EAI_AGAIN, id="the name server does not answer"),
        pytest.param(socket.EAI_FAIL, id="the name server fails"),
    ],
)
async def test_a_resolver_that_cannot_say_is_not_a_name_that_does_not_exist(resolver, answers, errno):
    answers["erp.example"] = socket.gaierror(errno, "not now")
    with pytest.raises(Unavailable, match="nobody could say where") as caught:
        await resolver.resolve("erp.example", 443)
    assert caught.value.code is Code.RESOLVER_DOWN


async def test_a_dead_resolver_is_given_up_within_two_seconds(resolver, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(names.socket, "getaddrinfo", lambda *_, **__: released.wait(30) and [])
    started_s = time.monotonic()
    try:
        with pytest.raises(Unavailable, match="within 2 s") as caught:
            await resolver.resolve("erp.example", 443)
        assert 1.5 < time.monotonic() - started_s < 2.5
        assert caught.value.code is Code.RESOLVER_DOWN
    finally:
        released.set()


async def test_when_every_thread_hangs_others_are_refused_and_nothing_piles_up(monkeypatch):
    resolver = SystemResolver(deadline_s=0.1, threads=2)
    released, asked = threading.Event(), []

    def hang(host, port, **how):
        asked.append(host)
        released.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(names.socket, "getaddrinfo", hang)
    try:
        outcomes = await asyncio.gather(
            *(resolver.resolve(f"h{number}.example", 443) for number in range(20)), return_exceptions=True
        )
        assert {getattr(outcome, "code", outcome) for outcome in outcomes} == {Code.RESOLVER_DOWN}
        assert len(asked) == 2
    finally:
        released.set()
    async with asyncio.timeout(5):
        while True:
            try:
                assert await resolver.resolve("later.example", 443) == (ip_address("192.0.2.1"),)
                break
            except Unavailable:
                continue
    assert set(asked) <= {*asked[:2], "later.example"}
    resolver.close()
