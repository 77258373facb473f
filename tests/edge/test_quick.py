"""What replaces code of mitmproxy means the same, and nothing is replaced in another mitmproxy than it was made for."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http, version

from proxy.edge import quick

ORIGINAL = {name: getattr(owner, name) for owner, name, _ in quick.REPLACED}
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
    before = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in quick.REPLACED]
    yield
    for owner, name, method in before:
        if method is None and name in owner.__dict__:
            delattr(owner, name)
        elif method is not None:
            setattr(owner, name, method)


@given(HEADERS, KEYS)
def test_headers_are_found_as_mitmproxy_finds_them(headers: http.Headers, key: str | bytes) -> None:
    for name in ("get_all", "get", "__contains__"):
        quicker = next(each for _, other, each in quick.REPLACED if other == name)
        assert said(partial(quicker, headers, key)) == said(partial(ORIGINAL[name], headers, key))


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
    assert (http.Headers.get_all is quick.REPLACED[1][2]) is done
