"""Reading back what was signed: at every place, only what this program writes there, and a sentence that names it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from bodies import one_of

from proxy.core.bodies.normal import body_from_normal, normal_body
from proxy.core.bodies.rules import (
    BodyRule,
    FieldRule,
    FileRule,
    FormBody,
    FormField,
    GraphqlBody,
    JsonBody,
    LlmBody,
    LlmShape,
    McpBody,
    MultipartBody,
    ToolRule,
)
from proxy.core.clusters import from_normalised, normalised
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Cluster, HostPattern, Operation, Proof, QueryRule, Review, Risk, RuleRef

MOST = 2**53 - 1
FIELD = FieldRule(pointer="", values=one_of(1, "1"), least=-MOST, most=MOST, max_chars=9, max_items=MOST, required=True)
JSON = JsonBody(fields=(FIELD,), only=True, schema='{"type":"object"}')
FORM_FIELD = FormField(name="a", values=frozenset({"", "x"}), required=True, repeated=True)
FILE = FileRule(name="f", media_types=frozenset({"image/gif"}), max_bytes=5, required=True, repeated=True)
RULES: tuple[BodyRule, ...] = (
    JSON,
    FormBody(fields=(FORM_FIELD,), others=True),
    MultipartBody(fields=(FORM_FIELD,), files=(FILE,), others=True),
    GraphqlBody(kinds=frozenset({"query"}), fields=frozenset({"a"}), names=frozenset({"N"})),
    McpBody(methods=frozenset({"tools/call"}), tools=(ToolRule(name="search", arguments=JsonBody(only=True)),)),
    LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"m"}), tools=frozenset({"t"}), max_tokens=1, stream=True),
)
"""Every kind of body, with everything written that can be."""

CLUSTER = Cluster(
    id="invoices",
    description="",
    hosts=(HostPattern(name="cdn.example", wildcard=True),),
    ports=frozenset({1, 65_535}),
    schemes=frozenset({"https"}),
    addresses=(ip_network("10.1.0.0/16"),),
    operations=(
        Operation(
            name="list",
            methods=frozenset({"GET"}),
            template="/v1/invoices",
            any_query=False,
            query=(
                QueryRule(name="q", values=frozenset({"", "open"}), required=True, encoded=True, repeated=True),
                QueryRule(name="r"),
            ),
            at=RuleRef(id="invoices.list", file="", line=1),
            websocket=True,
            body=JSON,
        ),
    ),
    proof=Proof.SESSION,
    risk=Risk.ROUTINE,
    review=Review(always=True, who=("sponsor",), ttl_s=60, wait_s=5),
    digest="",
    at=RuleRef(id="invoices", file="", line=1),
)

Path = tuple[str | int, ...]


def put(form: Json, path: Path, value: Json) -> Json:
    """The form with something else at one place."""
    if not path:
        return value
    changed = copy.deepcopy(form)
    place: object = changed
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    return changed


def places(form: Json, path: Path = ()) -> Iterator[Path]:
    yield path
    steps = form.keys() if isinstance(form, dict) else range(len(form)) if isinstance(form, list) else ()
    for step in steps:
        if step not in {"body", "schema"}:  # the one has a table of its own, the other says what it likes
            yield from places(form[step], (*path, step))  # type: ignore[index]


def table(text: str) -> dict[str, str]:
    """Lines of a place and what is said there; a line that begins with a space goes on with the one before."""
    return dict(line.split(": ", 1) for line in text.strip().replace("\n  ", " ").splitlines())


def said(form: Json, read: Callable[[Json], object]) -> dict[str, str]:
    """What is said of something that is never right, at each place."""
    told = {}
    for path in places(form):
        with pytest.raises(Rejected) as caught:
            read(put(form, path, {"?": [None]}))
        assert caught.value.code is Code.CONFIG_INVALID
        told[".".join(map(str, path)) or "all"] = caught.value.detail
    return told


IN_A_CLUSTER = table("""
all: a pinned cluster must have exactly the members addresses, hosts, id, limits, mode,
  operations, ports, proof, review, risk, schemes
id: id must be a non-empty string
hosts: hosts must be a list
hosts.0: hosts must be a non-empty string
ports: ports must be a list
ports.0: ports must be a whole number from 1 to 65535
ports.1: ports must be a whole number from 1 to 65535
schemes: schemes must be a list
schemes.0: schemes must be a non-empty string
addresses: addresses must be a list
addresses.0: addresses must be a non-empty string
operations: operations must be a list
operations.0: an operation must have exactly the members methods, name, path, query
operations.0.name: name must be a non-empty string
operations.0.methods: methods must be a list
operations.0.methods.0: methods must be a non-empty string
operations.0.path: path must be a non-empty string
operations.0.query: query must be a list
operations.0.query.0: a query rule must have exactly the members name, required, values
operations.0.query.0.name: name must be a non-empty string
operations.0.query.0.values: values must be a list
operations.0.query.0.values.0: values must be strings
operations.0.query.0.values.1: values must be strings
operations.0.query.0.required: required must be true or false
operations.0.query.0.encoded: encoded must be true or false
operations.0.query.0.repeated: repeated must be true or false
operations.0.query.1: a query rule must have exactly the members name, required, values
operations.0.query.1.name: name must be a non-empty string
operations.0.query.1.values: values must be a list
operations.0.query.1.required: required must be true or false
operations.0.websocket: websocket must be true or false
proof: proof must be a non-empty string
risk: risk must be a non-empty string
review: review must have exactly the members always, ttl_s, wait_s, who
review.always: review.always must be true or false
review.who: review.who must be a list
review.who.0: review.who must be a non-empty string
review.ttl_s: review.ttl_s must be a whole number from 0 to 9007199254740991
review.wait_s: review.wait_s must be a whole number from 0 to 9007199254740991
limits: a pinned cluster must be in normal form: members as written by this program, sets sorted
mode: a pinned cluster must be in normal form: members as written by this program, sets sorted
""")


def test_every_place_of_a_pinned_cluster_has_its_words() -> None:
    assert said(normalised(CLUSTER), from_normalised) == IN_A_CLUSTER


IN_A_BODY = table("""
all: '?' is no kind of body
json: json must have exactly the members fields, only, schema
json.fields: fields must be a list
json.fields.0: a field must have exactly the members least, max_chars, max_items, most, pointer, required, values
json.fields.0.pointer: pointer must be strings
json.fields.0.values: values must be a list
json.fields.0.values.0: values must be texts, whole numbers, true, false or null
json.fields.0.values.1: values must be texts, whole numbers, true, false or null
json.fields.0.least: least must be a whole number from -9007199254740991 to 9007199254740991
json.fields.0.most: most must be a whole number from -9007199254740991 to 9007199254740991
json.fields.0.max_chars: max_chars must be a whole number from 0 to 9007199254740991
json.fields.0.max_items: max_items must be a whole number from 0 to 9007199254740991
json.fields.0.required: required must be true or false
json.only: only must be true or false
form: form must have exactly the members fields, others
form.fields: fields must be a list
form.fields.0: a form field must have exactly the members name, required, values
form.fields.0.name: name must be a non-empty string
form.fields.0.values: values must be a list
form.fields.0.values.0: values must be strings
form.fields.0.values.1: values must be strings
form.fields.0.required: required must be true or false
form.fields.0.repeated: repeated must be true or false
form.others: others must be true or false
multipart: multipart must have exactly the members fields, files, others
multipart.fields: fields must be a list
multipart.fields.0: a form field must have exactly the members name, required, values
multipart.fields.0.name: name must be a non-empty string
multipart.fields.0.values: values must be a list
multipart.fields.0.values.0: values must be strings
multipart.fields.0.values.1: values must be strings
multipart.fields.0.required: required must be true or false
multipart.fields.0.repeated: repeated must be true or false
multipart.files: files must be a list
multipart.files.0: a file must have exactly the members max_bytes, media_types, name, required
multipart.files.0.name: name must be a non-empty string
multipart.files.0.media_types: media_types must be a list
multipart.files.0.media_types.0: media_types must be a non-empty string
multipart.files.0.max_bytes: max_bytes must be a whole number from 0 to 9007199254740991
multipart.files.0.required: required must be true or false
multipart.files.0.repeated: repeated must be true or false
multipart.others: others must be true or false
graphql: graphql must have exactly the members fields, kinds, names
graphql.kinds: kinds must be a list
graphql.kinds.0: kinds must be a non-empty string
graphql.fields: fields must be a list
graphql.fields.0: fields must be a non-empty string
graphql.names: names must be a list
graphql.names.0: names must be a non-empty string
mcp: mcp must have exactly the members methods, tools
mcp.methods: methods must be a list
mcp.methods.0: methods must be a non-empty string
mcp.tools: tools must be a list
mcp.tools.0: a tool must have exactly the members arguments, name
mcp.tools.0.name: name must be a non-empty string
mcp.tools.0.arguments: arguments must have exactly the members fields, only, schema
mcp.tools.0.arguments.fields: fields must be a list
mcp.tools.0.arguments.only: only must be true or false
llm: llm must have exactly the members max_tokens, models, shape, stream, tools
llm.shape: shape must be a non-empty string
llm.models: models must be a list
llm.models.0: models must be a non-empty string
llm.tools: tools must be a list
llm.tools.0: tools must be a non-empty string
llm.max_tokens: max_tokens must be a whole number from 0 to 9007199254740991
llm.stream: stream must be true or false
""")


def test_every_place_of_a_body_rule_has_its_words() -> None:
    told: dict[str, str] = {}
    for rule in RULES:
        told |= said(normal_body(rule), body_from_normal)
    assert told == IN_A_BODY


def test_a_cluster_comes_back_whole() -> None:
    back = from_normalised(normalised(CLUSTER))
    where = f"pinned/{back.digest}.json"
    operation = replace(CLUSTER.operations[0], at=RuleRef(id="invoices.list", file=where, line=1))
    at = RuleRef(id="invoices", file=where, line=1)
    assert replace(back, digest="") == replace(CLUSTER, operations=(operation,), at=at)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_body_rule_comes_back_whole(rule: BodyRule) -> None:
    assert body_from_normal(normal_body(rule)) == rule


def twice(form: Json, *path: str | int) -> Json:
    """The form with the first item of a list once more."""
    place: object = form
    for step in path:
        place = place[step]  # type: ignore[index]
    assert isinstance(place, list)
    return put(form, path, [*place, place[0]])


@pytest.mark.parametrize(
    ("form", "detail"),
    [
        pytest.param("all", 'body must be "any", "none", "unexamined", or one kind of body', id="an unknown word"),
        pytest.param(twice(normal_body(RULES[0]), "json", "fields"), "each field may appear only once", id="a field"),
        pytest.param(twice(normal_body(RULES[4]), "mcp", "tools"), "each tool may appear only once", id="a tool"),
    ],
)
def test_what_else_a_body_cannot_be(form: Json, detail: str) -> None:
    with pytest.raises(Rejected) as caught:
        body_from_normal(form)
    assert caught.value.detail == detail


@pytest.mark.parametrize(
    ("form", "detail"),
    [
        pytest.param(
            put(normalised(CLUSTER), ("proof",), "none"),
            "proof must be one of source, session, mtls, tunnel, request; got 'none'",
            id="an unknown proof",
        ),
        pytest.param(
            twice(normalised(CLUSTER), "operations"), "each operation may appear only once", id="an operation twice"
        ),
        pytest.param(
            twice(normalised(CLUSTER), "operations", 0, "query"),
            "each query parameter may appear only once",
            id="a query parameter twice",
        ),
    ],
)
def test_what_else_a_cluster_cannot_be(form: Json, detail: str) -> None:
    with pytest.raises(Rejected) as caught:
        from_normalised(form)
    assert caught.value.detail == detail
