"""The spellings of a secret: found whole, and seen to begin wherever a text ends within one."""

import string
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.echoes import Echoes, echoes_of

ODD = "\"&'<>+=/\\% "


def found(echoes: Echoes, text: bytes) -> list[bytes]:
    return [text[begins:ends] for begins, ends in echoes.found(text)]


@pytest.mark.parametrize(
    ("word", "text", "all_found"),
    [
        pytest.param("abcdefgh", b"-ABCdefgh-abcdefg", [b"ABCdefgh"], id="letters of either case"),
        pytest.param("abcd", b"%61bcd", [], id="nobody escapes letters"),
        pytest.param("a b&c", b"a+b%26amp;c a%20b&amp;c", [b"a%20b&amp;c"], id="each character for itself"),
        pytest.param("a/b", rb"a/b a\/b a\\/b a%2Fb a%252fb a&#47;b a&sol;b", None, id="however it is escaped"),
        pytest.param("%25x", b"%25x %2525x %252525x", None, id="what looks escaped itself"),
        pytest.param("\\\\x", rb"\\x \\\\x %5C%5cx", [rb"\\x", rb"\\x", b"%5C%5cx"], id="backslashes"),
        pytest.param('\\"x', rb"\"x \\\"x \u005c\u0022x", None, id="a backslash before what is escaped by one"),
        pytest.param("+-+-", b"+-+- &#43;-&plus;-", None, id="no letter to look for first"),
    ],
)
def test_where_a_word_stands(word: str, text: bytes, all_found: list[bytes] | None) -> None:
    assert found(Echoes((word,)), text) == (text.split() if all_found is None else all_found)


def test_of_several_words_the_first_that_is_there() -> None:
    echoes = Echoes(("abcdef", "abc", "xyz"))
    assert found(echoes, b"abcdef-abcd-xyz") == [b"abcdef", b"abc", b"xyz"]
    assert echoes.replaced(b"abcdef-abcd-xy", b".") == b".-.d-xy"
    assert echoes.replaced(b"nothing", b".") == b"nothing"


def test_none_is_found_twice_or_across_another() -> None:
    assert found(Echoes(("abab",)), b"ababab") == [b"abab"]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"xyz", 3, id="nowhere"),
        pytest.param(b"xa", 1, id="its first letter"),
        pytest.param(b"xabc%2", 1, id="within a character"),
        pytest.param(b"xabc%2fde", 1, id="after a character"),
        pytest.param(b"xabc&#47;", 1, id="after another spelling of it"),
        pytest.param(b"abc/dex", 7, id="what is another thing after all"),
        pytest.param(b"abc/def", 7, id="a whole one has ended"),
        pytest.param(b"abc/abc/", 4, id="only the last of two"),
        pytest.param(b"abc\\", 0, id="an escape that may be one"),
        pytest.param(b"abc\\q", 5, id="and is not"),
    ],
)
def test_where_one_may_have_begun(text: bytes, at: int) -> None:
    assert Echoes(("abc/def",)).begun(text)[0] == at


@pytest.mark.parametrize(
    ("text", "at"),
    [
        pytest.param(b"xab", (1, 3), id="little of it"),
        pytest.param(b"xabc", (1, 1), id="half of it"),
        pytest.param(b"xabc%2", (1, 1), id="and a part of the next character"),
        pytest.param(b"xabc/x", (6, 6), id="something else"),
    ],
)
def test_what_must_wait_for_more(text: bytes, at: tuple[int, int]) -> None:
    assert Echoes(("abc/def",)).begun(text) == at


def test_all_but_sixteen_characters_of_a_long_one_may_pass() -> None:
    word = "abcdefghijklmnopqrstuvwxyz0123456789"
    assert Echoes((word,)).begun(word[:19].encode()) == (0, 19)
    assert Echoes((word,)).begun(word[:20].encode()) == (0, 0)


@given(
    st.text(st.sampled_from(string.ascii_letters + ODD * 3), min_size=1, max_size=8),
    st.lists(
        st.sampled_from(["{}", "%{:02X}", "%25{:02x}", "\\u00{:02x}", "&#{};", "&#x{:x};"]), min_size=8, max_size=8
    ),
    st.binary(max_size=4),
)
def test_every_mixture_is_found_and_seen_to_begin(word: str, ways: list[str], before: bytes) -> None:
    """But right behind a backslash, which takes for its own what escapes the next character."""
    spelt = "".join(
        char if char.isalnum() or way == "{}" else way.format(ord(char)) for char, way in zip(word, ways, strict=False)
    ).encode()
    echoes = Echoes((word,))
    if "\\" not in word:
        assert echoes.replaced(spelt, b"") == b"", spelt
    for end in range(1, len(spelt)):
        assert echoes.begun(before + spelt[:end])[0] <= len(before)


def test_no_text_keeps_us_busy() -> None:
    """Backslashes could be shared out among those of the secret in more ways than can be tried."""
    for word, text in (
        ("\\" * 60 + "x", b"\\" * 90),
        ('\\"' * 60 + "x", b'\\\\"' * 60),
        ("%25" * 60 + "x", b"%25" * 99),
    ):
        assert found(Echoes((word,)), text + b"y") == []


def test_the_words_of_a_secret() -> None:
    echoes = echoes_of("se/cret-value", user="svc")
    assert echoes is echoes_of("se/cret-value", user="svc")
    for first, second in product((b"c3ZjOnNlL2NyZXQtdmFsdWU", b"c2UvY3JldC12YWx1ZQ", b"73652f6372"), (b"", b"=")):
        assert echoes.begun(b"." + first[:8] + second)[0] == (1 if not second else 10)
