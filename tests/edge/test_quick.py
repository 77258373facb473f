"""What replaces code of mitmproxy means the same, and nothing is replaced in another mitmproxy than it was made for."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http, options, version
from mitmproxy.connection import Client
from mitmproxy.hooks import Hook, all_hooks
from mitmproxy.proxy import layer
from mitmproxy.proxy.context import Context
from mitmproxy.utils import asyncio_utils

from proxy.edge import quick

ORIGINAL: dict[str, Callable[..., Any]] = {name: getattr(owner, name) for owner, name, _ in quick.REPLACED}
REPLACED: dict[str, Callable[..., Any]] = {name: quicker for _, name, quicker in quick.REPLACED}
NAMES = st.sampled_from((b"Host", b"host", b"X-\xff", b"accept", b"")) | st.binary(max_size=6)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=5).map(http.Headers)
KEYS = st.sampled_from(("Host", "HOST", b"hOST", "x-\udcff", "", b"")) | st.text(max_size=4) | st.binary(max_size=4)


def said(ask: Callable[[], object]) -> object:
    """What it gives, or how it fails."""
    try:
        return ask()
    except Exception as fault:
        return type(fault)


@pytest.fixture
def restored() -> Iterator[None]:
    for owner, name, _ in quick.REPLACED:  # another test of this process may have had them replaced
        setattr(owner, name, ORIGINAL[name])
    yield
    for owner, name, _ in quick.REPLACED:
        setattr(owner, name, ORIGINAL[name])


@given(HEADERS, KEYS)
def test_headers_are_found_as_mitmproxy_finds_them(headers: http.Headers, key: str | bytes) -> None:
    for name in ("get_all", "get", "__contains__"):
        assert said(partial(REPLACED[name], headers, key)) == said(partial(ORIGINAL[name], headers, key))


@pytest.mark.parametrize(
    ("field", "value", "passes"),
    [
        pytest.param("content", None, True, id="no content"),
        pytest.param("content", b"x", True, id="bytes"),
        pytest.param("content", "x", False, id="text for bytes"),
        pytest.param("timestamp_start", 1, True, id="a whole number of seconds"),
        pytest.param("timestamp_end", None, True, id="not over yet"),
        pytest.param("timestamp_end", "1", False, id="text for a time"),
        pytest.param("trailers", {}, False, id="a dictionary for headers"),
        pytest.param("status_code", True, True, id="what is an int, though not exactly"),
        pytest.param("reason", "OK", False, id="text for a reason"),
    ],
)
def test_messages_are_checked_as_mitmproxy_checks_them(field: str, value: object, passes: bool) -> None:
    data = http.Response.make(200, b"x").data
    setattr(data, field, value)
    assert said(partial(quick._quick_check, data)) == said(partial(ORIGINAL["__post_init__"], data))
    assert (said(partial(quick._quick_check, data)) is None) is passes


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(("running", "done"), [(quick.WRITTEN_FOR, True), ("13.0.0", False)])
def test_only_the_mitmproxy_it_was_written_for_is_changed(
    running: str, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "VERSION", running)
    assert quick.install() is done
    for owner, name, quicker in quick.REPLACED:
        assert (getattr(owner, name) is quicker) is done


def test_a_request_gets_a_context_of_its_own_on_the_same_connections() -> None:
    client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 2))
    first = Context(client, options.Options())
    first.layers.append(cast(layer.Layer, object()))
    for fork in (ORIGINAL["fork"], REPLACED["fork"]):
        forked = fork(first)
        assert vars(forked) == vars(first) and forked.layers is not first.layers


@pytest.mark.parametrize(
    "kind", [each for each in all_hooks.values() if len(fields(each)) < 2], ids=lambda kind: str(kind.name)
)
def test_a_hook_is_told_of_the_same(kind: type[Hook]) -> None:
    hook = kind(*[object() for _ in fields(kind)])
    assert REPLACED["args"](hook) == ORIGINAL["args"](hook)


async def test_a_task_is_kept_until_it_is_done() -> None:
    go, done = asyncio.Event(), []

    async def work() -> None:
        await go.wait()
        done.append(True)

    for make in (ORIGINAL["create_task"], REPLACED["create_task"]):
        task = make(work(), name="work", keep_ref=True, client=("192.0.2.1", 1))
        assert task in asyncio_utils._KEEP_ALIVE
        go.set()
        await task
        await asyncio.sleep(0)
        assert task not in asyncio_utils._KEEP_ALIVE
        go.clear()
    assert done == [True, True]
