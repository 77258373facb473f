"""Header lines and structured fields: one value, one line, one spelling."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected
from proxy.core.fields import SignatureInput, dictionary, lines, one_line, read_signature, read_signature_input

CODE = Code.INTENT_MALFORMED
SIGNATURE = base64.b64encode(bytes(range(64))).decode()
INPUT = '("@method" "@target-uri");created=1;expires=2;keyid="k";nonce="n";tag="agent-intent"'


def test_lines_are_kept_apart_by_name_in_order() -> None:
    found = lines([(b"Cookie", b" a=1\t"), (b"host", b"x"), (b"COOKIE", b"b=2")])
    assert found == {"cookie": [b"a=1", b"b=2"], "host": [b"x"]}


def test_one_line_is_its_value_and_none_is_none() -> None:
    found = lines([(b"Prefer", b"wait=5,\twait=6")])
    assert one_line(found, "prefer", code=CODE) == "wait=5,\twait=6"
    assert one_line(found, "cookie", code=CODE) is None


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        pytest.param([(b"prefer", b"a"), (b"Prefer", b"a")], "one line, got 2", id="the same line twice"),
        pytest.param([(b"prefer", b"a\r\n b")], "printable ASCII", id="a folded line"),
        pytest.param([(b"prefer", b"a\nb")], "printable ASCII", id="a bare line feed"),
        pytest.param([(b"prefer", b"a\0")], "printable ASCII", id="a NUL"),
        pytest.param([(b"prefer", b"caf\xe9")], "printable ASCII", id="Latin-1"),
    ],
)
def test_anything_that_is_not_one_plain_line_is_refused(headers: list[tuple[bytes, bytes]], says: str) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        one_line(lines(headers), "prefer", code=CODE)
    assert (refused.value.code, refused.value.field) == (CODE, "prefer")


def test_the_members_of_a_dictionary() -> None:
    members = dictionary('a="x";p=1, b=-5, c=:AQI=:, d, e=("x" "y");q, f=("x";p), g=tok, h=1.5', code=CODE, field="f")
    assert {name: member.value for name, member in members.items()} == {
        "a": "x",
        "b": -5,
        "c": b"\x01\x02",
        "d": True,
        "e": ("x", "y"),
        "f": None,
        "g": None,
        "h": None,
    }
    assert members["a"].params == {"p": 1}
    assert members["e"].params == {"q": True}
    assert dictionary("", code=CODE, field="f") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("a=1, a=1", "'a' twice", id="a key twice"),
        pytest.param("a=1;p;p", "'p' twice", id="a parameter twice"),
        pytest.param("A=1", "must be a structured-field dictionary", id="an upper-case key"),
        pytest.param('a="x', "must be a structured-field dictionary", id="an open string"),
        pytest.param("a=1,", "must be a structured-field dictionary", id="a trailing comma"),
        pytest.param('a="é"', "must be a structured-field dictionary", id="not ASCII"),
        pytest.param("a=@99999999999999", "must be a structured-field dictionary", id="a date beyond the calendar"),
    ],
)
def test_no_dictionary(text: str, says: str) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        dictionary(text, code=CODE, field="agent-intent")
    assert (refused.value.code, refused.value.field) == (CODE, "agent-intent")


@settings(max_examples=200)
@given(st.text(max_size=40) | st.text('ab=,;:"() \t?@%0123456789.\\-*', max_size=40))
def test_reading_fields_raises_only_rejected(text: str) -> None:
    for read in (
        lambda: dictionary(text, code=CODE, field="f"),
        lambda: read_signature_input(text, label="a", tag="b"),
        lambda: read_signature(text, label="a"),
        lambda: read_signature_input(f"intent=({text})", label="intent", tag="b"),
    ):
        try:
            read()
        except Rejected as refused:
            assert refused.code in (CODE, Code.PROOF_MALFORMED)


# --- Signature-Input -------------------------------------------------------------------------------------------------


def read_input(text: str) -> SignatureInput:
    return read_signature_input(text, label="intent", tag="agent-intent")


@pytest.mark.parametrize(
    ("text", "serialised"),
    [
        pytest.param(f"intent={INPUT}", INPUT, id="alone"),
        pytest.param(f'other=();tag="x", intent={INPUT}', INPUT, id="after another signature"),
        pytest.param(f'intent={INPUT},\tother=("@path");created=1', INPUT, id="before another signature"),
        pytest.param(f"intent={INPUT}".replace(";", "; "), INPUT, id="with spaces between parameters"),
        pytest.param('intent=(  "@method"  "@target-uri" )' + INPUT.partition(")")[2], INPUT, id="with spaces inside"),
        pytest.param('intent=();tag="agent-intent"', '();tag="agent-intent"', id="covering nothing"),
        pytest.param('intent=("a");created=007;tag="agent-intent"', '("a");created=7;tag="agent-intent"', id="zeros"),
    ],
)
def test_our_signature_input_is_read_and_serialised_strictly(text: str, serialised: str) -> None:
    assert str(read_input(text)) == serialised


def test_the_order_of_components_and_parameters_is_kept() -> None:
    found = read_input('intent=("b" "a");tag="agent-intent";created=1')
    assert found.components == ("b", "a")
    assert list(found.parameters.items()) == [("tag", "agent-intent"), ("created", 1)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("intent", id="no inner list"),
        pytest.param(f"other={INPUT}", id="our tag under another label"),
        pytest.param(f"intent={INPUT}".replace("agent-intent", "x"), id="our label with another tag"),
        pytest.param(f"intent={INPUT}".replace('"agent-intent"', "agent-intent"), id="our tag as a token"),
        pytest.param("intent=()", id="our label without a tag"),
        pytest.param(f"intent={INPUT}, intent={INPUT}", id="our label twice"),
        pytest.param(f"intent={INPUT}, two={INPUT}", id="our tag twice"),
        pytest.param(f"two={INPUT}, intent=()", id="our label and our tag on different signatures"),
        pytest.param(f"intent={INPUT};created=2", id="a parameter twice"),
        pytest.param(f"intent={INPUT};alg", id="a parameter without a value"),
        pytest.param(f"intent={INPUT};created=1.0", id="a decimal"),
        pytest.param('intent=("a");tag="agent-intent";keyid="a\\"b"', id="a string that needs escaping"),
        pytest.param('intent=("a");tag="agent-intent";keyid=""', id="an empty string"),
        pytest.param('intent=("a";sf);tag="agent-intent"', id="a component with a parameter"),
        pytest.param('intent=("A");tag="agent-intent"', id="a component in upper case"),
        pytest.param('intent=("a b");tag="agent-intent"', id="a component with a space"),
        pytest.param('intent=(a);tag="agent-intent"', id="a component as a token"),
        pytest.param('intent="a";tag="agent-intent"', id="an item for a list"),
        pytest.param("intent=(", id="cut short"),
    ],
)
def test_any_other_signature_input_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_input(text)
    assert (refused.value.code, refused.value.field) == (Code.PROOF_MALFORMED, "signature-input")


_component = st.from_regex(r"@?[a-z]+(-[a-z]+)*", fullmatch=True)
_parameters = st.dictionaries(
    st.sampled_from(["created", "expires", "keyid", "nonce"]),
    st.integers(0, 10**15 - 1) | st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
)


@given(st.lists(_component, max_size=5), _parameters)
def test_the_short_way_and_the_long_way_read_the_same(components: list[str], parameters: dict[str, int | str]) -> None:
    written = SignatureInput(components=tuple(components), parameters={**parameters, "tag": "agent-intent"})
    assert read_input(f"intent={written}") == read_input(f"intent={written} , x=1") == written


# --- Signature -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"intent=:{SIGNATURE}:", id="alone"),
        pytest.param(f"other=:AQI=:, intent=:{SIGNATURE}:", id="after another"),
        pytest.param(f"intent=:{SIGNATURE}:, other=:AQI=:", id="before another"),
    ],
)
def test_our_signature_is_read(text: str) -> None:
    assert read_signature(text, label="intent") == bytes(range(64))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(f"other=:{SIGNATURE}:", id="another label"),
        pytest.param(f"intent=:{SIGNATURE}:;p=1", id="a parameter"),
        pytest.param(f"intent=:{SIGNATURE}:, intent=:{SIGNATURE}:", id="twice"),
        pytest.param('intent="x"', id="a string"),
        pytest.param("intent=:AQI=:", id="two bytes"),
        pytest.param(f"intent=:{SIGNATURE[:-2]}:", id="no padding"),
        pytest.param(f"intent=:{SIGNATURE[:-3]}x==:", id="stray bits in the last character"),
        pytest.param(f"intent=:{SIGNATURE[:-3]}x==:, other=:AQI=:", id="stray bits, beside another"),
        pytest.param(f"intent=:{SIGNATURE}", id="cut short"),
    ],
)
def test_any_other_signature_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_signature(text, label="intent")
    assert (refused.value.code, refused.value.field) == (Code.PROOF_MALFORMED, "signature")
