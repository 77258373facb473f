"""The index of path templates: it agrees with the plain reading of each, and stays small or is refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected
from proxy.core.model import RuleRef
from proxy.core.paths import MAX_BRANCHES, MAX_LENGTHS, Entry, PathIndex, index_paths
from proxy.core.templates import parse_template
from proxy.core.urls import path_segments


def entry(text: str, *methods: str, line: int = 1) -> Entry[str]:
    at = RuleRef(id=f"c.{line}", file="clusters.yaml", line=line)
    return Entry(template=parse_template(text), methods=frozenset(methods or ("GET",)), at=at, value=text)


def test_the_method_belongs_to_the_entry() -> None:
    index = index_paths([entry("/a/{x}", "GET", "HEAD"), entry("/a/{x:rest}", "PUT")])
    assert index.find("HEAD", ("a", "b")) == ["/a/{x}"]
    assert index.find("PUT", ("a", "b")) == ["/a/{x:rest}"]
    assert index.find("POST", ("a", "b")) == []


FLAGS = st.sampled_from(["", ":encoded", ":matrix", ":encoded,matrix"])
AROUND = st.sampled_from(["", "", "a", "ab", "a.b", "(", "%C3%A4"])
PARTS = st.one_of(
    st.sampled_from(["a", "ab", "a(b)"]),
    st.tuples(AROUND, FLAGS, AROUND).map(lambda part: f"{part[0]}{{x{part[1]}}}{part[2]}"),
)
RESTS = st.sampled_from(["", "a", "{y:rest}", "{y:rest,encoded}", "{y:rest,matrix}", "{y:rest,encoded,matrix}"])
TEMPLATES = st.tuples(st.lists(PARTS, max_size=3), RESTS).map(
    lambda parts: "/" + "/".join([*(text.replace("{x", f"{{x{i}") for i, text in enumerate(parts[0])), parts[1]])
)
SEGMENTS = st.one_of(
    st.sampled_from(["a", "ab", "a(b)", "c", "a%2Fb", "a;b", "a%3Bb"]),
    st.lists(st.sampled_from(["a", "b", ".b", "(", ")", "%C3%A4", "%2Fa", ";", "%3B"]), min_size=1, max_size=4).map(
        lambda found: "a" + "".join(found)
    ),
)
PATHS = st.lists(SEGMENTS, max_size=4).map(lambda parts: "/" + "/".join(parts))
CLOSED = st.tuples(PATHS, st.booleans()).map(lambda item: item[0] + "/" * (item[1] and item[0] != "/"))
_PARAMETER = re.compile(r"\{\w+(?::([a-z,]+))?\}")


def plain_reading(text: str, path: str) -> bool:
    """The documented meaning as a regular expression over whole characters and escapes: the oracle."""
    pattern, end = "", 0
    for parameter in _PARAMETER.finditer(text):
        flags = (parameter[1] or "").split(",")
        refused = [odd for odd, flag in (("%2F", "encoded"), ("%3B|;", "matrix")) if flag not in flags]
        char = f"(?:(?!{'|'.join(refused)})" if refused else "(?:"
        char += r"(?:%..|[^%/]))"
        whole = rf"{char}+(?:/{char}+)*/?" if "rest" in flags else f"{char}+"
        pattern += re.escape(text[end : parameter.start()]) + whole
        end = parameter.end()
    return re.fullmatch(pattern + re.escape(text[end:]), path) is not None


@given(st.lists(TEMPLATES, max_size=8, unique=True), CLOSED)
@settings(max_examples=200)
def test_the_index_agrees_with_the_plain_reading(texts: list[str], path: str) -> None:
    segments = path_segments(path)
    expected = sorted(text for text in texts if plain_reading(text, path))
    assert sorted(text for text in texts if parse_template(text).matches(segments)) == expected
    index = index_paths(map(entry, texts))
    assert sorted(index.find("GET", segments)) == expected
    assert len(expected) <= index.branches


# --- the bound -------------------------------------------------------------------------------------------------------


def doubled(depth: int) -> list[Entry[str]]:
    """Templates of which any two overlap: at each depth a literal and a parameter."""
    texts = [""]
    for place in range(depth):
        texts = [f"{text}/{part}" for text in texts for part in ("a", f"{{p{place}}}")]
    return [entry(text, line=number) for number, text in enumerate(texts, 1)]


def test_overlap_up_to_the_bound_is_indexed() -> None:
    index = index_paths(doubled(5))
    assert index.branches == MAX_BRANCHES == len(index.find("GET", ("a",) * 5))


def test_overlap_beyond_the_bound_is_refused_with_places_and_the_mend() -> None:
    with pytest.raises(Rejected, match="put fixed parts where parameters stand") as refused:
        index_paths(doubled(6))
    assert refused.value.code is Code.CONFIG_INVALID
    assert refused.value.detail.startswith(
        "clusters.yaml:1: below / one path could mean more than 32 operations: c.1 ("
    )
    assert "and 60 more" in refused.value.detail


def test_entries_beside_the_crowd_are_not_named() -> None:
    with pytest.raises(Rejected) as refused:
        index_paths([entry("/quiet/x", line=99), *(entry("/a/{x}/z", line=line) for line in range(1, 34))])
    assert "below /a/{x}/z one path" in refused.value.detail
    assert "quiet" not in refused.value.detail

    with pytest.raises(Rejected) as refused:
        resting = [entry("/a/{x:rest}", line=line) for line in range(1, 20)]
        index_paths([entry("/a/b/quiet", line=99), *resting, *(entry("/a/c", line=line) for line in range(20, 40))])
    assert "below /a one path" in refused.value.detail
    assert refused.value.detail.count("/a/{x:rest}") == 4
    assert "and 35 more" in refused.value.detail


def test_few_entries_that_overlap_too_much_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.core.paths.MAX_BRANCHES", 1)
    with pytest.raises(Rejected) as refused:
        index_paths([entry("/{x}"), entry("/a", line=2)])
    assert "c.1 (clusters.yaml:1, /{x}), c.2 (clusters.yaml:2, /a);" in refused.value.detail


def test_many_entries_that_do_not_overlap_are_no_crowd() -> None:
    index: PathIndex[str] = index_paths(entry(f"/v1/things/{number}/{{part}}") for number in range(2000))
    assert index.branches == 1
    assert index.find("GET", ("v1", "things", "1999", "x")) == ["/v1/things/1999/{part}"]


def test_many_fixed_texts_around_parameters_are_no_crowd() -> None:
    sets = [f"Set{number}" for number in range(500)]
    texts = [f"/odata/{name}{key}" for name in sets for key in ("({id})", "('{id}')", "")] + ["/odata/{any}"]
    index = index_paths(map(entry, texts))
    assert index.branches == 4  # one each of "Set1", "Set1({id})", "Set1('{id}')" and "{any}"
    assert sorted(index.find("GET", ("odata", "Set77(1)"))) == ["/odata/Set77({id})", "/odata/{any}"]
    assert len(index.find("GET", ("odata", "Set77('1')"))) == 3

    verbs = index_paths(entry(f"/{{model}}:verb{number}") for number in range(500))
    assert verbs.branches == 1
    assert verbs.find("GET", ("gemini:verb77",)) == ["/{model}:verb77"]


def test_fixed_texts_that_hold_each_other_are_a_crowd() -> None:
    texts = ["a" * length + "{x}" for length in range(MAX_BRANCHES)]
    index = index_paths(entry(f"/{text}") for text in texts)
    assert index.branches == MAX_BRANCHES == len(index.find("GET", ("a" * MAX_BRANCHES,)))
    for further in ("a" * MAX_BRANCHES + "{x}", "{x}a", "{y}"):
        with pytest.raises(Rejected, match="below / one path could mean more than 32 operations"):
            index_paths(entry(f"/{text}") for text in [*texts, further])
    assert index_paths(entry(f"/{text}") for text in [*texts, "b{x}"]).branches == MAX_BRANCHES


@pytest.mark.parametrize("shape", ["{}{{x}}", "{{x}}{}", "a{{x}}{}"])
def test_too_many_lengths_of_fixed_text_are_refused(shape: str) -> None:
    def texts(count: int) -> list[str]:
        # Each ends, and begins, otherwise than all others, so that they are no crowd.
        return [shape.format(f"{number:02}{'b' * (2 * number)}{number:02}") for number in range(count)]

    index_paths(entry(f"/v1/{text}", line=line) for line, text in enumerate(texts(MAX_LENGTHS), 1))
    with pytest.raises(Rejected, match="put parameters in parts of their own") as refused:
        index_paths(entry(f"/v1/{text}", line=line) for line, text in enumerate(texts(MAX_LENGTHS + 1), 1))
    assert refused.value.code is Code.CONFIG_INVALID
    assert refused.value.detail.startswith(
        "clusters.yaml:1: below /v1 fixed texts around parameters have more than 64 different lengths: c.1 ("
    )
    assert "and 61 more" in refused.value.detail


def test_methods_of_one_path_are_no_crowd() -> None:
    assert index_paths([entry("/a", "GET"), entry("/a", "PUT"), entry("/a", "POST")]).branches == 1


def test_an_empty_index_finds_nothing() -> None:
    empty: PathIndex[str] = index_paths([])
    assert empty.find("GET", ("",)) == []
