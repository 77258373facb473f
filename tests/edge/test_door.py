"""The supervisor's own answer while no worker serves."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certs import Authority
from valkeys import free_port

from proxy.edge import door
from proxy.edge.door import Door
from proxy.edge.door_tls import door_context
from proxy.edge.parts import prepare
from proxy.policy.settings import load_settings


@asynccontextmanager
async def opened():
    port = free_port()
    it = Door("127.0.0.1", port)
    await it.open()
    try:
        yield port
    finally:
        it.close()


async def asked(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET http://erp.example/ HTTP/1.1\r\nHost: erp.example\r\n\r\n", id="an absolute form"),
        pytest.param(b"CONNECT erp.example:443 HTTP/1.1\r\nHost: erp.example:443\r\n\r\n", id="a CONNECT"),
        pytest.param(b"nonsense\r\n\r\n", id="something else"),
    ],
)
async def test_whatever_is_asked_the_answer_is_a_coded_503(head: bytes):
    async with opened() as port:
        head_, _, body = (await asked(port, head)).partition(b"\r\n\r\n")
    lines = head_.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 service.undecided"
    assert {"Retry-After: 2", "Connection: close", f"Content-Length: {len(body)}"} <= set(lines)
    assert json.loads(body)["code"] == "service.undecided"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", id="a head without an end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 30_000, id="a head too large"),
    ],
)
async def test_a_head_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, head: bytes):
    monkeypatch.setattr(door, "HEAD_WITHIN_S", 0.1)
    async with opened() as port:
        assert await asked(port, head) == b""


async def test_more_than_so_many_at_once_are_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "AT_ONCE", 1)
    async with opened() as port:
        _, waiting = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)
        assert await asked(port, b"GET / HTTP/1.1\r\n\r\n") == b""
        waiting.close()


@pytest.mark.parametrize("name", [None, "proxy.example", "elsewhere.example"])
async def test_over_tls_it_shows_what_the_workers_would(tmp_path: Path, name: str | None):
    path = tmp_path / "proxy.yaml"
    path.write_text("version: 1\ndeployment: edge\ntls: {names: [proxy.example]}\n")
    settings = load_settings(path)
    prepare(settings)
    port = free_port()
    it = Door("127.0.0.1", port, lambda: door_context(settings, "127.0.0.1"))
    await it.open()
    try:
        trust = ssl.create_default_context(cafile=str(settings.state / "ca" / "ca.pem"))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname=name or "127.0.0.1"
        )
        writer.write(b"CONNECT erp.example:443 HTTP/1.1\r\nHost: erp.example:443\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 503 service.undecided")
        writer.close()
        assert not (await asked(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP"), "TLS alone is spoken here"
    finally:
        it.close()
    assert [each.name for each in settings.state.iterdir() if each.name.startswith(".door")] == []


async def test_a_certificate_made_elsewhere_is_shown_as_it_is(tmp_path: Path):
    authority = Authority()
    authority.server("proxy.example").write(tmp_path)
    path = tmp_path / "proxy.yaml"
    path.write_text("version: 1\ndeployment: edge\ntls: {certificate: server.pem, key: server.key}\n")
    settings = load_settings(path)
    prepare(settings)
    port = free_port()
    it = Door("127.0.0.1", port, lambda: door_context(settings, "127.0.0.1"))
    await it.open()
    try:
        trust = ssl.create_default_context(cafile=str(authority.write(tmp_path)))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="proxy.example")
        writer.close()
    finally:
        it.close()


async def test_a_closed_door_takes_no_more_and_may_be_opened_again():
    port = free_port()
    it = Door("127.0.0.1", port)
    for _ in range(2):
        await it.open()
        await it.open()
        assert (await asked(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        it.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
