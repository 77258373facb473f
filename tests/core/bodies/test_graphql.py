"""GraphQL requests: which operation runs, which fields it selects at its root, and every way to hide one."""

import hashlib
import json

import pytest
from graphql import build_schema, get_introspection_query, graphql_sync
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.graphql import MAX_CHARACTERS, MAX_DEPTH, MAX_TOKENS, GraphqlCall, read_graphql
from proxy.core.bodies.shapes import MAX_BATCH
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected


def one(query: str, **members: Json) -> GraphqlCall:
    (call,) = read_graphql({"query": query, **members})
    return call


def refused(document: Json) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read_graphql(document)
    assert caught.value.code is Code.BODY_MALFORMED
    return caught.value


# --- what is read ----------------------------------------------------------------------------------------------------


def test_an_operation_has_a_name_a_kind_and_its_fields() -> None:
    call = one(
        "mutation Close($id: ID!) { closeIssue(input: {issueId: $id}) { issue { url } } }",
        operationName="Close",
        variables={"id": "I_1"},
        extensions={"clientLibrary": {"name": "apollo", "version": "3"}},
    )
    assert call == GraphqlCall(name="Close", kind="mutation", fields=frozenset({"closeIssue"}))


@pytest.mark.parametrize(
    ("query", "kind", "fields"),
    [
        pytest.param("{ viewer { login } }", "query", {"viewer"}, id="the short form is a query"),
        pytest.param("query { a b }", "query", {"a", "b"}, id="an anonymous query"),
        pytest.param("subscription { newMessage { id } }", "subscription", {"newMessage"}, id="a subscription"),
        pytest.param("{ harmless: deleteAll }", "query", {"deleteAll"}, id="an alias does not rename a field"),
        pytest.param("{ deleteAll: harmless }", "query", {"harmless"}, id="nor does it lend a name"),
        pytest.param("{ ... { a } }", "query", {"a"}, id="an inline fragment"),
        pytest.param("{ ... on Query { a ... on Query { b } } }", "query", {"a", "b"}, id="inline fragments, nested"),
        pytest.param("{ ... on Other { a } }", "query", {"a"}, id="whatever the type condition says"),
        pytest.param("{ ...F } fragment F on Query { a }", "query", {"a"}, id="a named fragment"),
        pytest.param(
            "{ a ...F ... { ...G } } fragment F on Query { b ...G } fragment G on Query { c x: d }",
            "query",
            {"a", "b", "c", "d"},
            id="fragments through fragments",
        ),
        pytest.param("{ a @skip(if: true) b @include(if: false) }", "query", {"a", "b"}, id="skipped fields count"),
        pytest.param("{ ...F @skip(if: true) } fragment F on Q { a }", "query", {"a"}, id="skipped fragments count"),
        pytest.param(
            "{ ...F ... { a } ... { b } } fragment F on Q { ...G c } fragment G on Q { d }",
            "query",
            {"a", "b", "c", "d"},
            id="fragments of every kind side by side",
        ),
        pytest.param("{ __typename __schema { types { name } } }", "query", {"__typename", "__schema"}, id="meta"),
        pytest.param("{ a } fragment Unused on Query { b }", "query", {"a"}, id="an unused fragment selects nothing"),
        pytest.param("{ a { ...F } } fragment F on T { b }", "query", {"a"}, id="what lies below the root is no root"),
        pytest.param("# { b }\n{ a }", "query", {"a"}, id="a comment is no document"),
        pytest.param('{ a(x: "} mutation { b }", y: """ { c } """) }', "query", {"a"}, id="nor is a string"),
        pytest.param("\ufeff{ a, b }", "query", {"a", "b"}, id="a byte-order mark and commas are nothing"),
        pytest.param("{\r\n  a # one\r\n  b\r\n}", "query", {"a", "b"}, id="CRLF ends a line for everyone"),
    ],
)
def test_the_fields_of_the_root_are_found(query: str, kind: str, fields: set[str]) -> None:
    call = one(query)
    assert (call.name, call.kind, call.fields) == (None, kind, fields)


TWO = "query A { a } mutation B { b }"


@pytest.mark.parametrize(
    ("query", "wanted", "name"),
    [
        pytest.param(TWO, "A", "A", id="the first of two"),
        pytest.param(TWO, "B", "B", id="the second of two"),
        pytest.param("query A { a }", None, "A", id="the only one needs no name"),
        pytest.param("query A { a }", "", "A", id="an empty name for the only one"),
        pytest.param("query A { a }", "A", "A", id="the only one by its name"),
        pytest.param("{ a }", None, None, id="an anonymous one"),
    ],
)
def test_the_operation_that_runs_is_the_one_that_is_named(query: str, wanted: str | None, name: str | None) -> None:
    assert one(query, operationName=wanted).name == name


def test_a_batch_is_several() -> None:
    calls = read_graphql([{"query": "{ a }"}, {"query": "mutation { b }", "variables": None}])
    assert [(call.kind, call.fields) for call in calls] == [("query", {"a"}), ("mutation", {"b"})]


def test_a_hash_beside_the_text_must_be_its_hash() -> None:
    query = "{ a }"
    digest = hashlib.sha256(query.encode()).hexdigest()
    assert one(query, extensions={"persistedQuery": {"version": 1, "sha256Hash": digest}}).fields == {"a"}
    fault = refused({"query": "{ b }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}})
    assert fault.field == "/extensions/persistedQuery"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "field"),
    [
        pytest.param("{ a }", "", id="a raw document"),
        pytest.param(None, "", id="null"),
        pytest.param([], "", id="an empty batch"),
        pytest.param([{"query": "{a}"}] * (MAX_BATCH + 1), "", id="a batch over the cap"),
        pytest.param([[{"query": "{a}"}]], "/0", id="a batch within a batch"),
        pytest.param([{"query": "{a}"}, {"query": "{"}], "/1/query", id="one bad member of a batch"),
        pytest.param({}, "/query", id="no query"),
        pytest.param({"query": None}, "/query", id="a null query"),
        pytest.param({"query": ""}, "/query", id="an empty query"),
        pytest.param({"query": ["{ a }"]}, "/query", id="a query that is not a string"),
        pytest.param(
            {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}}, "/query", id="a hash alone"
        ),
        pytest.param({"documentId": "sha256:00"}, "/documentId", id="a stored document by its id"),
        pytest.param({"id": 1, "query": "{a}"}, "/id", id="a member that is not of the request"),
        pytest.param({"query": "{a}", "extensions": {"x": 1}}, "/extensions/x", id="an unknown extension"),
        pytest.param({"query": "{a}", "extensions": []}, "/extensions", id="extensions that are no object"),
        pytest.param(
            {"query": "{a}", "extensions": {"persistedQuery": 1}}, "/extensions/persistedQuery", id="an odd hash"
        ),
        pytest.param({"query": "{a}", "variables": [1]}, "/variables", id="variables that are no object"),
        pytest.param({"query": "{a}", "variables": "{}"}, "/variables", id="variables as text"),
        pytest.param({"query": "{a}", "operationName": 1}, "/operationName", id="a name that is no string"),
        pytest.param({"query": "{a}", "operationName": "A"}, "/operationName", id="a name for an anonymous one"),
        pytest.param({"query": TWO}, "/operationName", id="two operations and no name"),
        pytest.param({"query": TWO, "operationName": ""}, "/operationName", id="two operations and an empty name"),
        pytest.param({"query": TWO, "operationName": "C"}, "/operationName", id="a name that no operation has"),
        pytest.param({"query": TWO, "operationName": "a"}, "/operationName", id="names differ by case"),
        pytest.param({"query": "query A{a} query A{b}", "operationName": "A"}, "/query", id="two of one name"),
        pytest.param({"query": "{a} {b}"}, "/query", id="two anonymous ones"),
        pytest.param({"query": "query A{a} {b}", "operationName": "A"}, "/query", id="an anonymous one after another"),
        pytest.param({"query": "{b} query A{a}", "operationName": "A"}, "/query", id="an anonymous one before another"),
        pytest.param({"query": "fragment F on Q {a}"}, "/operationName", id="no operation at all"),
        pytest.param({"query": "{...F} fragment F on Q{a} fragment F on Q{b}"}, "/query", id="two fragments of a name"),
        pytest.param({"query": "{...F}"}, "/query", id="a fragment that is not there"),
        pytest.param({"query": "{...F} fragment F on Q {...F}"}, "/query", id="a fragment that spreads itself"),
        pytest.param(
            {"query": "{a ...F} fragment F on Q {...G} fragment G on Q {... {...F}}"}, "/query", id="a longer circle"
        ),
        pytest.param({"query": "type Query { a: Int }"}, "/query", id="a type definition"),
        pytest.param({"query": "{a} extend type Query { b: Int }"}, "/query", id="a type extension beside a query"),
        pytest.param({"query": "{ }"}, "/query", id="nothing selected"),
        pytest.param({"query": "{a} }"}, "/query", id="a brace too many"),
        pytest.param({"query": "{a"}, "/query", id="a brace too few"),
        pytest.param({"query": '{a(x: "'}, "/query", id="a string without end"),
        pytest.param({"query": "{a} # \rmutation {b}"}, "/query", id="a lone CR in a comment"),
        pytest.param({"query": "{a} # \u2028 mutation {b}"}, "/query", id="a line separator in a comment"),
        pytest.param({"query": "{a} # \u2029 mutation {b}"}, "/query", id="a paragraph separator in a comment"),
        pytest.param({"query": "{a" * (MAX_DEPTH + 1) + "}" * (MAX_DEPTH + 1)}, "/query", id="too deep a selection"),
        pytest.param({"query": "{a(x:" + "[" * MAX_DEPTH + "]" * MAX_DEPTH + ")}"}, "/query", id="too deep a value"),
        pytest.param({"query": "{" + "a " * MAX_TOKENS + "}"}, "/query", id="too many tokens"),
        pytest.param({"query": "{a" + " " * MAX_CHARACTERS + "}"}, "/query", id="too many characters"),
    ],
)
def test_what_could_be_read_otherwise_is_refused(document: Json, field: str) -> None:
    assert refused(document).field == field


def test_the_longest_batch_is_read() -> None:
    assert len(read_graphql([{"query": "{a}"}] * MAX_BATCH)) == MAX_BATCH


def test_the_longest_document_is_read() -> None:
    assert one("{" + "a " * (MAX_TOKENS - 2) + "}").fields == {"a"}
    assert one("{a}".ljust(MAX_CHARACTERS)).fields == {"a"}


def test_the_tokens_of_a_batch_count_together() -> None:
    half = {"query": "{" + "a " * (MAX_TOKENS // 2) + "}"}
    assert read_graphql([half])
    assert refused([half, half]).field == "/1/query"


def test_the_deepest_document_that_is_read_needs_no_more_than_the_parser_has() -> None:
    assert one("{a" * MAX_DEPTH + "}" * MAX_DEPTH).fields == {"a"}
    assert one("{a(x:" + "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2) + ")}").fields == {"a"}
    assert one("query($x:" + "[" * (MAX_DEPTH - 1) + "I" + "]" * (MAX_DEPTH - 1) + "){a}").fields == {"a"}


def test_a_chain_of_a_thousand_fragments_is_followed() -> None:
    chain = "".join(f"fragment F{n} on Q {{ ...F{n + 1} }}" for n in range(1000))
    assert one("{ ...F0 }" + chain + "fragment F1000 on Q { last }").fields == {"last"}


def test_a_fault_says_where_and_quotes_nothing() -> None:
    fault = refused({"query": '{ a(password: "hunter2"'})
    assert fault.detail == "/query: not a GraphQL document: line 1, column 24"


def test_how_to_send_a_query_that_can_be_read_is_said() -> None:
    assert "send the text of the query in full" in refused({"documentId": "x"}).detail


# --- against a server ------------------------------------------------------------------------------------------------

SCHEMA = build_schema("type Query { a: Int b: Int c: Int } type Mutation { d: Int e: Int }")
NAMES = ("a", "b", "c", "d", "e")


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Operations and fragments over a few fields, with aliases, directives and spreads."""

    def selected(depth: int) -> str:
        parts = []
        for _ in range(draw(st.integers(1, 3))):
            alias = draw(st.sampled_from(("", "x: ", "a: ")))
            field = alias + draw(st.sampled_from(NAMES))
            choices = [field, field + " @include(if: true)", "...F", "...G @skip(if: false)"]
            inline = f"... {{ {selected(depth - 1)} }}" if depth else field
            parts.append(draw(st.sampled_from([*choices, inline])))
        return " ".join(parts)

    operations = [f"{kind} {name} {{ {selected(2)} }}" for kind, name in (("query", "A"), ("mutation", "B"))]
    kind = draw(st.sampled_from(("Query", "Mutation")))
    return " ".join([*operations, f"fragment F on {kind} {{ {selected(1)} }}", f"fragment G on {kind} {{ c }}"])


@given(documents(), st.sampled_from(("A", "B")))
def test_whatever_a_server_ran_was_among_the_fields(document: str, wanted: str) -> None:
    ran: set[str] = set()

    class Root:
        def __getattr__(self, name: str) -> object:
            return lambda _info: ran.add(name)

    graphql_sync(SCHEMA, document, root_value=Root(), operation_name=wanted)
    try:
        call = one(document, operationName=wanted)
    except Rejected:
        assert not ran
    else:
        assert ran <= call.fields
        assert call.kind == {"A": "query", "B": "mutation"}[wanted]


def test_introspection_as_tools_send_it_is_read() -> None:
    assert one(get_introspection_query(), operationName="IntrospectionQuery").fields == {"__schema"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.lists(
    st.sampled_from(
        ["{", "}", "(", ")", "[", "]", "...", "on", "Q", "a", ":", "$", "@", '"', '"""', "query", "fragment"]
    )
    | st.text(max_size=3),
    max_size=30,
).map(" ".join)


@given(
    JSON_VALUES
    | st.fixed_dictionaries(
        {"query": PIECES | JSON_VALUES}, optional={"operationName": JSON_VALUES, "variables": JSON_VALUES}
    )
)
def test_no_exception_but_rejected(document: Json) -> None:
    try:
        read_graphql(document)
    except Rejected as fault:
        assert fault.code is Code.BODY_MALFORMED
        json.dumps(fault.detail)


def test_a_batch_may_have_as_many_characters_as_one_document() -> None:
    half = {"query": "{a" + " " * (MAX_CHARACTERS // 2 - 3) + "}"}
    assert len(read_graphql([half, half])) == 2
    with pytest.raises(Rejected, match="characters in all") as refused:
        read_graphql([half, half, {"query": "{a}"}])
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "/2/query")
