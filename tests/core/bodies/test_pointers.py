"""JSON pointers: what a rule of a body speaks of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.pointers import find, parse_pointer
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected

DOCUMENT: Json = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "m~n": 8,
    "~1": 9,
    "0": "zero",
    "items": [{"price": 1}, {"price": 2}, {}],
    "by": {"x": {"price": 3}, "y": {"price": 4}},
    "nothing": None,
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", (DOCUMENT,), id="the whole document"),
        pytest.param("/foo", (["bar", "baz"],), id="a member"),
        pytest.param("/foo/0", ("bar",), id="an item"),
        pytest.param("/", (0,), id="the member with the empty name"),
        pytest.param("/a~1b", (1,), id="a slash in a name"),
        pytest.param("/m~0n", (8,), id="a tilde in a name"),
        pytest.param("/~01", (9,), id="a tilde and a one"),
        pytest.param("/0", ("zero",), id="a member called as a number"),
        pytest.param("/nothing", (None,), id="a member that is null"),
        pytest.param("/items/*/price", (1, 2), id="every item"),
        pytest.param("/by/*/price", (3, 4), id="every member"),
        pytest.param("/*/*/price", (1, 2, 3, 4), id="every item of every member"),
        pytest.param("/absent", (), id="no such member"),
        pytest.param("/foo/2", (), id="no such item"),
        pytest.param("/foo/00", (), id="a leading zero is no index"),
        pytest.param("/foo/-", (), id="the item after the last is not there"),
        pytest.param("/foo/-1", (), id="a negative index is none"),
        pytest.param("/foo/\u0660", (), id="a digit of another script is none"),
        pytest.param("/foo/0/0", (), id="a text has no items"),
        pytest.param("/foo/0/*", (), id="a text has no items at all"),
        pytest.param("/nothing/x", (), id="null has no members"),
    ],
)
def test_a_pointer_finds(text: str, found: tuple[Json, ...]) -> None:
    assert find(DOCUMENT, parse_pointer(text)) == found


@pytest.mark.parametrize("text", ["foo", "#/foo", "/a~", "/a~2", "/~~01"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="JSON pointer") as refused:
        parse_pointer(text)
    assert (refused.value.code, refused.value.field) == (Code.CONFIG_INVALID, "pointer")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param({"Amount": 1}, "/amount", id="capitals"),
        pytest.param({"a": [{}, {"\u017ftate": 1}]}, "/a/*/state", id="a long s, further in"),
        pytest.param({"amount\0": 1}, "/amount", id="a NUL"),
    ],
)
def test_a_member_that_some_take_for_the_one_that_is_meant_is_refused(document: Json, text: str) -> None:
    with pytest.raises(Rejected, match="must spell the member") as refused:
        find(document, parse_pointer(text))
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "body")


@given(st.lists(st.text("a/~01é", max_size=5), max_size=4))
def test_every_path_has_a_pointer(path: list[str]) -> None:
    written = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path)
    assert parse_pointer(written) == tuple(path)


@given(st.text(max_size=20))
def test_reading_raises_only_rejected(text: str) -> None:
    try:
        parse_pointer(text)
    except Rejected as refused:
        assert refused.code is Code.CONFIG_INVALID
