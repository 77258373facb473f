"""Names that some readers take for the same name."""

import sys
import unicodedata

import pytest

from proxy.core.folding import Bases, Spellings, are_apart, folded, other_spelling, same_parameter, unjoined


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("amount", "Amount", id="case"),
        pytest.param("task", "tas\u212a", id="the Kelvin sign, as Go folds"),
        pytest.param("status", "\u017ftatus", id="the long s, as Go folds"),
        pytest.param("id", "\u0131d", id="the dotless i, as Java ignores case"),
        pytest.param("id", "\u0130D", id="the capital I with a dot, as Java ignores case"),
        pytest.param("caf\u00e9", "cafe\u0301", id="an accent apart, as Swift compares"),
        pytest.param("CAF\u00c9", "cafe\u0301", id="an accent apart, and case"),
        pytest.param("\u0130d", "I\u0307d", id="a dot apart"),
        pytest.param("amount", "amount\0", id="what a C string ends at"),
        pytest.param("amount", "AMOUNT\0x", id="what stands behind it"),
        pytest.param("\u03c3", "\u03c2", id="the final sigma"),
    ],
)
def test_one_name_for_some_reader_is_one_name(one: str, other: str) -> None:
    assert folded(one) == folded(other)
    assert other_spelling(one, ["x", one, other]) == other
    assert not are_apart([one, "x", other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("amount", "amounts", id="another word"),
        pytest.param("a_b", "a-b", id="another joint"),
        pytest.param("x2", "x\u00b2", id="a compatibility form"),
        pytest.param("a", "\uff41", id="a full-width letter"),
        pytest.param("a", "\u0430", id="a look-alike of another script"),
        pytest.param("a", " a", id="a space before it"),
    ],
)
def test_other_names_stay_other_names(one: str, other: str) -> None:
    assert folded(one) != folded(other)
    assert other_spelling(one, [other]) is None
    assert are_apart([one, other])


def test_every_character_is_one_with_its_upper_lower_and_title_case() -> None:
    for number in range(sys.maxunicode + 1):
        char = chr(number)
        for form in {char.upper(), char.lower(), char.title(), unicodedata.normalize("NFD", char)} - {char}:
            # Full lower case of U+0130 is two characters; single ones are what readers compare.
            assert folded(form) == folded(char) or (char == "\u0130" and len(form) == 2), f"U+{number:04X}"


def test_a_name_of_many_marks_is_folded_at_once() -> None:
    below, above = "\u0323", "\u0301"  # which stand in this order, whichever was written first
    many = 200_000  # by `unicodedata` alone this takes minutes
    assert folded(f"A{above * many}{below * many}b") == folded(f"a{below * many}{above * many}B")


@pytest.mark.parametrize("many", [1, 2, 30, 31, 32, 100])
def test_marks_in_another_order_are_the_same_marks_however_many(many: int) -> None:
    marks = ["\u0301", "\u0323", "\u0344", "\u0327", "\u0345", "\u0f73", "\u20d0"]
    text = "".join(marks[place % len(marks)] for place in range(many))
    for around in ("\u00e9{}Z", "i{}", "\u0130{}x{}", "{}"):
        written = around.format(text, text)
        assert folded(written) == folded(unicodedata.normalize("NFD", written))
        assert folded(written) == folded(unicodedata.normalize("NFC", written))


def test_folding_twice_changes_nothing() -> None:
    for number in range(0x3000):
        assert folded(folded(chr(number))) == folded(chr(number))


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        pytest.param("a", "a", True, id="the name itself"),
        pytest.param("a", "A", True, id="in capitals (ASP.NET)"),
        pytest.param("a", "a[]", True, id="a list (PHP, Rails, Express)"),
        pytest.param("a", "a[b][c]", True, id="a mapping"),
        pytest.param("a[b]", "a[b][]", True, id="a list in a mapping"),
        pytest.param("a[b]", "a", True, id="what holds it"),
        pytest.param("a_b", "a.b", True, id="a dot (PHP)"),
        pytest.param("a_b", "a b", True, id="a space (PHP)"),
        pytest.param("a_b", "a[b", True, id="a bracket that stays open (PHP)"),
        pytest.param("a", " a", True, id="a space before it (PHP)"),
        pytest.param("a", "[a]", True, id="in brackets (Express, Rack)"),
        pytest.param("a", "]a", True, id="behind a bracket (Rack)"),
        pytest.param("a", "A]", True, id="before a bracket (Rack)"),
        pytest.param("a", "[a]b", True, id="before a bracket and something else (Rack)"),
        pytest.param("a[b]", "[a][b]", True, id="the first part in brackets"),
        pytest.param("a", "[]", False, id="brackets alone"),
        pytest.param("a", "[b]", False, id="another name in brackets"),
        pytest.param("a", "ab", False, id="a longer name"),
        pytest.param("a", "b[a]", False, id="a member of another"),
        pytest.param("a[b]", "a[c]", False, id="another member"),
        pytest.param("a_b", "a-b", False, id="a dash"),
    ],
)
def test_which_names_some_servers_take_for_one(name: str, other: str, same: bool) -> None:
    assert same_parameter(name, other) is same_parameter(other, name) is same
    bases = Bases()
    assert not same or bases[name] & bases[other]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("payeeId", "payee_id", True, id="an underscore (protobuf's JSON)"),
        pytest.param("payee-id", "PAYEE_ID", True, id="a hyphen, and case"),
        pytest.param("a_b_c", "aBC", True, id="words of one letter"),
        pytest.param("id", "_id", False, id="an underscore before a name (MongoDB)"),
        pytest.param("id", "id_", False, id="one behind it"),
        pytest.param("a_b", "a__b", False, id="two of them"),
        pytest.param("_", "-", False, id="joints alone"),
        pytest.param("a_b", "a.b", False, id="a dot"),
    ],
)
def test_names_that_differ_in_their_joints(one: str, other: str, same: bool) -> None:
    assert (unjoined(one) == unjoined(other)) is same
    assert are_apart([one, other]) or one.lower() == other.lower()


def test_an_object_is_gone_through_once() -> None:
    document = {"Payee": 1, "payee": 2, "x": {}}
    spellings = Spellings()
    found = spellings.of(document)
    assert found == {"payee": ["Payee", "payee"], "x": ["x"]}
    assert spellings.of(document) is found
