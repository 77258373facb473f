"""YAML without surprises: what is read, with which place, and what is refused."""

import pytest
import yaml as pyyaml
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.policy.faults import Faults
from proxy.policy.yaml import MAX_DEPTH, MAX_FILE_BYTES, Items, Kind, Scalar, Table, load, plain


def told(data: bytes) -> list[str]:
    """The faults of a file called f.yaml, as people see them."""
    faults = Faults("f.yaml")
    tree = load(data, faults)
    assert (tree is None) == bool(len(faults))
    return [str(fault) for fault in faults.listed()]


def read(text: str) -> Table:
    faults = Faults("f.yaml")
    tree = load(text.encode(), faults)
    assert tree is not None, faults.listed()
    return tree


def doubtful(text: str, mend: str = "write true or false, or put it in quotes") -> str:
    return f'f.yaml:1: "{text}" is not the same to every YAML reader; {mend}'


NUMBER = "write a plain decimal number, or put it in quotes"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        pytest.param("a: yes", [doubtful("yes")], id="yes is no boolean"),
        pytest.param("a: No", [doubtful("No")], id="No is no boolean"),
        pytest.param("a: on", [doubtful("on")], id="on is no boolean"),
        pytest.param("a: OFF", [doubtful("OFF")], id="OFF is no boolean"),
        pytest.param("a: y", [doubtful("y")], id="y is no boolean"),
        pytest.param("a: True", [doubtful("True")], id="True with a capital"),
        pytest.param("a: NULL", [doubtful("NULL")], id="NULL in capitals"),
        pytest.param("a: =", [doubtful("=")], id="the value key of YAML 1.1"),
        pytest.param("no: 1", [doubtful("no")], id="a surprise as a key"),
        pytest.param("a: 0777", [doubtful("0777", NUMBER)], id="octal of YAML 1.1"),
        pytest.param("a: 0o777", [doubtful("0o777", NUMBER)], id="octal of YAML 1.2"),
        pytest.param("a: 0x1F", [doubtful("0x1F", NUMBER)], id="hexadecimal"),
        pytest.param("a: 0b11", [doubtful("0b11", NUMBER)], id="binary"),
        pytest.param("a: 1_000", [doubtful("1_000", NUMBER)], id="underscores"),
        pytest.param("a: 12:30", [doubtful("12:30", NUMBER)], id="base 60"),
        pytest.param("a: 1:2:3:4:5:6:7:8", [doubtful("1:2:3:4:5:6:7:8", NUMBER)], id="an IPv6 address in base 60"),
        pytest.param("a: +5", [doubtful("+5", NUMBER)], id="a plus sign"),
        pytest.param("a: -0", [doubtful("-0", NUMBER)], id="minus nought"),
        pytest.param("a: 1.10", [doubtful("1.10", NUMBER)], id="a fraction"),
        pytest.param("a: 1e3", [doubtful("1e3", NUMBER)], id="an exponent"),
        pytest.param("a: .5", [doubtful(".5", NUMBER)], id="a fraction without a leading digit"),
        pytest.param("a: -.inf", [doubtful("-.inf", NUMBER)], id="infinity"),
        pytest.param("a: .NaN", [doubtful(".NaN", NUMBER)], id="not a number"),
        pytest.param(f"a: 1{'0' * 18}", [doubtful(f"1{'0' * 18}", NUMBER)], id="a number too large to be exact"),
        pytest.param(
            "a: 1\nb: 2\na: 3",
            ['f.yaml:3: the key "a" appears twice, first on line 1; keep one'],
            id="a key twice",
        ),
        pytest.param(
            'a: 1\n"a": 2', ['f.yaml:2: the key "a" appears twice, first on line 1; keep one'], id="a key twice, quoted"
        ),
        pytest.param(
            "a: &x 1\nb: *x",
            [
                'f.yaml:1: the anchor "&x"; write each value out where it is used',
                'f.yaml:2: the alias "*x"; write the value out',
            ],
            id="an anchor and its alias",
        ),
        pytest.param(
            "a: &x [1]", ['f.yaml:1: the anchor "&x"; write each value out where it is used'], id="an anchored list"
        ),
        pytest.param("<<: {a: 1}", ['f.yaml:1: the merge key "<<"; write the keys out'], id="a merge key"),
        pytest.param("a: !!str 1", ['f.yaml:1: the tag "tag:yaml.org,2002:str"; values here have no tags'], id="a tag"),
        pytest.param("a: ! b", ['f.yaml:1: the tag "!"; values here have no tags'], id="the bare tag"),
        pytest.param(
            "a: !!python/object/apply:os.system [x]",
            ['f.yaml:1: the tag "tag:yaml.org,2002:python/object/apply:os.system"; values here have no tags'],
            id="a tag that would construct an object",
        ),
        pytest.param(
            "a: 1\n---\nb: 2", ["f.yaml:2: a second document; keep one document in a file"], id="two documents"
        ),
        pytest.param("%YAML 1.1\n---\na: 1", ["f.yaml:1: a % directive; remove it"], id="a version directive"),
        pytest.param(
            "%TAG ! tag:x,2000:\n---\na: 1", ["f.yaml:1: a % directive; remove it"], id="a directive that renames tags"
        ),
        pytest.param(
            "a:\n\tb: 1",
            ['f.yaml:2: a tab; indent and separate with spaces, or write "\\t" in double quotes'],
            id="a tab to indent",
        ),
        pytest.param(
            "a: b\t# c",
            ['f.yaml:1: a tab; indent and separate with spaces, or write "\\t" in double quotes'],
            id="a tab before a comment",
        ),
        pytest.param(
            "a: x\u202ey",
            ["f.yaml:1: the invisible character U+202E; remove it, or escape it in double quotes"],
            id="a character that turns the text around",
        ),
        pytest.param(
            "a: 1\n# \u200b",
            ["f.yaml:2: the invisible character U+200B; remove it, or escape it in double quotes"],
            id="a zero-width space in a comment",
        ),
        pytest.param(
            "a: x\u2028b: y",
            ["f.yaml:1: the invisible character U+2028; remove it, or escape it in double quotes"],
            id="a line separator that editors do not count",
        ),
        pytest.param(
            "a: \x1b[31m",
            ["f.yaml:1: the invisible character U+001B; remove it, or escape it in double quotes"],
            id="a terminal escape",
        ),
        pytest.param(
            "a: 1\rb: 2",
            ["f.yaml:1: a carriage return without a line feed; end lines with a line feed"],
            id="a lone carriage return",
        ),
        pytest.param(
            "? [a]\n: 1",
            ["f.yaml:1: expected a word as key, got a list; put it in quotes if it is one"],
            id="a list as a key",
        ),
        pytest.param(
            "1: a", ["f.yaml:1: expected a word as key, got 1; put it in quotes if it is one"], id="a number as a key"
        ),
        pytest.param(
            "~: a",
            ["f.yaml:1: expected a word as key, got nothing; put it in quotes if it is one"],
            id="nothing as a key",
        ),
        pytest.param(
            "", ['f.yaml:1: expected a mapping that begins with "version: 1", got an empty file'], id="nothing"
        ),
        pytest.param(
            "# only\n",
            ['f.yaml:1: expected a mapping that begins with "version: 1", got an empty file'],
            id="only a comment",
        ),
        pytest.param(
            "- a", ['f.yaml:1: expected a mapping that begins with "version: 1", got a list'], id="a list on top"
        ),
        pytest.param(
            "text", ['f.yaml:1: expected a mapping that begins with "version: 1", got "text"'], id="a word on top"
        ),
        pytest.param(
            "a: [*.example.com]",
            ['f.yaml:1: not valid YAML: a plain text may not begin with "*"; put it in quotes: "*.example.com"'],
            id="a wildcard without quotes",
        ),
        pytest.param(
            "a: 1\nb: [",
            ["f.yaml:3: not valid YAML: while parsing a flow node, did not find expected node content"],
            id="a list left open",
        ),
        pytest.param(
            "a:\n  b: 1\n c: 2",
            ["f.yaml:3: not valid YAML: while parsing a block mapping, did not find expected key"],
            id="a wrong indent",
        ),
        pytest.param(
            f"a: {'[' * (MAX_DEPTH + 4)}",
            [f"f.yaml:1: expected at most {MAX_DEPTH} levels of nesting"],
            id="too many levels",
        ),
        pytest.param(
            "a: yes\nb: 1.5", [doubtful("yes"), doubtful("1.5", NUMBER).replace(":1:", ":2:")], id="two faults"
        ),
    ],
)
def test_refuses_with_the_line(text: str, faults: list[str]) -> None:
    assert told(text.encode()) == faults


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        pytest.param(
            b"\xef\xbb\xbfa: 1", "f.yaml:1: expected UTF-8 without a byte-order mark; save it without one", id="a BOM"
        ),
        pytest.param(b"a: 1\nb: \xff", "f.yaml:2: expected UTF-8, got the byte 0xff; save it as UTF-8", id="not UTF-8"),
        pytest.param(
            b"a: \xc0\xaf", "f.yaml:1: expected UTF-8, got the byte 0xc0; save it as UTF-8", id="overlong UTF-8"
        ),
        pytest.param(
            "a: 1".encode("utf-16"), "f.yaml:1: expected UTF-8, got the byte 0xff; save it as UTF-8", id="UTF-16"
        ),
        pytest.param(
            b"#" * (MAX_FILE_BYTES + 1),
            "f.yaml: expected at most 4194304 bytes, got 4194305; split it into several files",
            id="one byte too large",
        ),
    ],
)
def test_refuses_bytes(data: bytes, fault: str) -> None:
    assert told(data) == [fault]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a: true", True, id="true"),
        pytest.param("a: 'yes'", "yes", id="a surprise in single quotes"),
        pytest.param('a: "0777"', "0777", id="a surprise in double quotes"),
        pytest.param("a: |\n  yes\n", "yes\n", id="a surprise in a block"),
        pytest.param("a: yesterday", "yesterday", id="a word that only begins like one"),
        pytest.param("a: 0", 0, id="nought"),
        pytest.param("a: -12", -12, id="a negative number"),
        pytest.param("a: 4h", "4h", id="a duration"),
        pytest.param("a: 2027-06-30", "2027-06-30", id="a date stays text"),
        pytest.param("a: 2027-06-30T10:00:00Z", "2027-06-30T10:00:00Z", id="a time stays text"),
        pytest.param("a: 10.0.0.0/8", "10.0.0.0/8", id="a network"),
        pytest.param("a: 127.0.0.1:8080", "127.0.0.1:8080", id="an address and a port"),
        pytest.param("a: 1.2.3", "1.2.3", id="a version number"),
        pytest.param("a: [fd00::/8, '::1']", ("fd00::/8", "::1"), id="IPv6 in a list"),
        pytest.param('a: "\\t\\u202e"', "\t\u202e", id="escapes may say what raw text may not"),
        pytest.param("a: Jürgen 李", "Jürgen 李", id="letters of all languages"),
        pytest.param("a:", None, id="nothing"),
        pytest.param("a: ~", None, id="the other nothing"),
        pytest.param("a: {b: {c: [d]}}", {"b": {"c": ("d",)}}, id="nesting"),
        pytest.param("---\na: 1\n...\n", 1, id="the marks of one document"),
        pytest.param("a: 1\r\nb: 2\r\n", 1, id="lines that end in CR LF"),
    ],
)
def test_reads_what_is_plain(text: str, value: object) -> None:
    assert plain(read(text))["a"] == value  # type: ignore[index,call-overload]


def test_of_very_many_invisible_characters_the_first_are_told() -> None:
    assert len(told(b"\t" * 50)) == 1  # all on one line, told alike
    assert len(told(b"\t\n" * 50)) == 20


def test_every_node_knows_its_line_and_column() -> None:
    tree = read('a: 1\nbc:\n  - x\n  - {d: "y"}\n')
    (_, first), (key, second) = tree.entries
    assert first == Scalar("1", Kind.INT, 1, 4)
    assert (key.line, key.column) == (2, 1)
    assert isinstance(second, Items)
    assert [(node.line, node.column) for node in second.nodes] == [(3, 5), (4, 5)]
    inner = second.nodes[1]
    assert isinstance(inner, Table)
    assert inner.entries[0][1] == Scalar("y", Kind.TEXT, 4, 9)


def test_depth_up_to_the_limit_is_read() -> None:
    assert read(f"a: {'[' * (MAX_DEPTH - 1)}{']' * (MAX_DEPTH - 1)}")


@given(st.binary(max_size=200))
@example(b"a: *x\nb: &x")
@example(b"%YAML 9.9\n---\n")
@example(b"? ? ? :")
@example(b"!<tag> x: y")
@example(b'a: "\\ud800"')
@example(b"\x00")
def test_any_bytes_are_read_or_refused_with_faults(data: bytes) -> None:
    told(data)


@given(st.text(alphabet="ab:-?,[]{}#&*!|>'\"%@`\n .01\\yesno<=~", max_size=60))
def test_any_text_is_read_or_refused_with_faults(text: str) -> None:
    told(text.encode())


_PLAIN = st.recursive(
    st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), _PLAIN, min_size=1, max_size=4))
def test_what_another_writer_wrote_is_read_as_it_was_or_refused(value: dict[str, object]) -> None:
    faults = Faults("f.yaml")
    tree = load(pyyaml.safe_dump(_lists(value)).encode(), faults)
    assert tree is None or plain(tree) == value


def _lists(value: object) -> object:
    """The same with lists, which a YAML writer knows, for tuples."""
    if isinstance(value, dict):
        return {name: _lists(inner) for name, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple) else value
