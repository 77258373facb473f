"""What an operation says of a body, from YAML to the model, each fault with its line."""

import re
from collections.abc import Callable, Mapping

from proxy.core.bodies.judge import prepare_body
from proxy.core.bodies.llm import MAX_TOKENS
from proxy.core.bodies.pointers import parse_pointer
from proxy.core.bodies.rpc import MCP_CHATTER, TOOLS_CALL
from proxy.core.bodies.rules import (
    ANY_BODY,
    BODIES_BY_WORD,
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
    scalar_text,
)
from proxy.core.encoding import MAX_EXACT_INT, canonical_json
from proxy.policy.document import Fields, Misread, any_text, choice, flag, listed, says, sized, whole, word
from proxy.policy.faults import instead, shown
from proxy.policy.yaml import Kind, Node, Scalar, Table, plain

GRAPHQL_KINDS = frozenset({"query", "mutation", "subscription"})
_WHATEVER: Mapping[str, BodyRule] = {
    "json": JsonBody(),
    "form": FormBody(others=True),
    "multipart": MultipartBody(others=True),
}
MEDIA_TYPE_PATTERN = r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+"
_MEDIA_TYPE = re.compile(MEDIA_TYPE_PATTERN)


def read_body(item: Fields) -> BodyRule:
    """The body rule of an operation: a word, or a mapping with one kind of body."""
    node = item.node("body")
    if node is None:
        return ANY_BODY
    what = f"body of {item.what}"
    if isinstance(node, Scalar):
        return item.read(node, _word, ANY_BODY, what=what)
    fields = Fields(node, what, item.faults)
    rules = [_kind(fields, kind, under) for kind in KINDS if (under := fields.node(kind)) is not None]
    fields.done()
    if fields.clean and len(rules) != 1:
        item.fault("body", f"expected exactly one of {', '.join(KINDS)}, got {len(rules)}")
    return item.read(node, lambda _: _checked(rules[0]), ANY_BODY, what=what) if fields.clean else ANY_BODY


def _kind(fields: Fields, kind: str, node: Node) -> BodyRule:
    if says(node, "any") and kind in _WHATEVER:
        return _WHATEVER[kind]
    inner = Fields(node, f"{kind} of {fields.what}", fields.faults)
    rule = KINDS[kind](inner)
    inner.done()
    _check_says_something(inner, rule)
    return rule


def no_body_rule(item: Fields) -> BodyRule:
    """Any body, as a denial has it; a rule that is written nevertheless is a fault."""
    if item.node("body") is not None:
        told = "a denial counts whatever the body says; remove it, and permit bodies by the operations of a cluster"
        item.fault("body", told)
    return ANY_BODY


def _word(node: Node) -> BodyRule:
    text = word(node)
    if text in KINDS:
        raise Misread(node, f"{text} needs to be told what it may be; write it as a key below body")
    if text not in BODIES_BY_WORD:
        raise Misread(node, f"got {shown(text)}{instead(text, BODIES_BY_WORD)}")
    return BODIES_BY_WORD[text]


def _checked(rule: BodyRule) -> BodyRule:
    prepare_body(rule)
    return rule


def _each[T](fields: Fields, key: str, one: str, read: Callable[[Fields, Scalar, Node], T]) -> tuple[T, ...]:
    """What `read` makes of each entry of the mapping under a key. `one` is what an entry is called."""
    node = fields.node(key)
    if node is None:
        return ()
    if not isinstance(node, Table):
        fields.fault(key, f"expected a mapping from each {one} to what it may be, got {node}")
        return ()
    for name, _ in node.entries:
        if not name.text and one != "JSON pointer":
            fields.fault(key, f"expected a {one}, got nothing")
    return tuple(read(fields, name, value) for name, value in node.entries)


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json(inner: Fields) -> JsonBody:
    return JsonBody(
        fields=_each(inner, "fields", "JSON pointer", _field),
        only=inner.take("only", flag, False),
        schema=inner.take("schema", _schema, None),
    )


def _check_says_something(inner: Fields, rule: BodyRule) -> None:
    """Refuse a document without a rule: what is left empty by mistake must not permit everything."""
    if inner.clean and rule == JsonBody():
        inner.fault("fields", 'expected fields or a schema; write "any" to permit every document')


def _field(fields: Fields, name: Scalar, node: Node) -> FieldRule:
    what = f"field {shown(name.text)} of {fields.what}"
    fields.read(name, lambda key: parse_pointer(key.text if isinstance(key, Scalar) else ""), (), what=what)
    if says(node, "any"):
        return FieldRule(pointer=name.text)
    if not isinstance(node, Table):
        return FieldRule(pointer=name.text, values=fields.read(node, scalars, frozenset(), what=what))
    inner = Fields(node, what, fields.faults)
    number = whole(-MAX_EXACT_INT, MAX_EXACT_INT)
    rule = FieldRule(
        pointer=name.text,
        values=inner.take("one_of", scalars, None),
        least=inner.take("least", number, None),
        most=inner.take("most", number, None),
        max_chars=inner.take("max_chars", whole(0, MAX_EXACT_INT), None),
        max_items=inner.take("max_items", whole(0, MAX_EXACT_INT), None),
        required=inner.take("required", flag, False),
    )
    inner.done()
    return rule


def scalars(node: Node) -> frozenset[str]:
    """A list of JSON values, as their RFC 8785 texts."""
    return frozenset(listed(_scalar)(node))


def _scalar(node: Node) -> str:
    match node:
        case Scalar(kind=Kind.TEXT):
            return scalar_text(node.text)
        case Scalar(kind=Kind.INT) if abs(int(node.text)) <= MAX_EXACT_INT:
            return scalar_text(int(node.text))
        case Scalar(kind=Kind.INT):
            raise Misread(
                node, f"expected a whole number that every JSON reader takes exactly, at most {MAX_EXACT_INT}"
            )
        case Scalar(kind=Kind.BOOL):
            return scalar_text(node.text == "true")
        case Scalar(kind=Kind.NULL, text="null"):
            return scalar_text(None)
        case _:
            raise Misread(node, f"expected text, a whole number, true, false or null, got {node}")


def _schema(node: Node) -> str:
    if not isinstance(node, Table):
        raise Misread(node, f"expected a JSON Schema, got {node}")
    try:
        return canonical_json(plain(node)).decode()
    except ValueError as fault:
        raise Misread(node, f"expected a JSON Schema: {fault}") from None


# --- forms -----------------------------------------------------------------------------------------------------------


def _form(inner: Fields) -> FormBody:
    return FormBody(fields=_each(inner, "fields", "form field", _form_field), others=inner.take("any", flag, False))


def _multipart(inner: Fields) -> MultipartBody:
    return MultipartBody(
        fields=_each(inner, "fields", "form field", _form_field),
        files=_each(inner, "files", "file's field", _file),
        others=inner.take("any", flag, False),
    )


def _form_field(fields: Fields, name: Scalar, node: Node) -> FormField:
    if says(node, "any"):
        return FormField(name=name.text)
    what = f"form field {shown(name.text)} of {fields.what}"
    if not isinstance(node, Table):
        return FormField(name=name.text, values=fields.read(node, _texts, frozenset(), what=what))
    inner = Fields(node, what, fields.faults)
    rule = FormField(
        name=name.text,
        values=inner.take("one_of", _texts, None),
        required=inner.take("required", flag, False),
        repeated=inner.take("repeated", flag, False),
    )
    inner.done()
    return rule


def _texts(node: Node) -> frozenset[str]:
    return frozenset(listed(any_text)(node))


def _file(fields: Fields, name: Scalar, node: Node) -> FileRule:
    if says(node, "any"):
        return FileRule(name=name.text)
    inner = Fields(node, f"file {shown(name.text)} of {fields.what}", fields.faults)
    rule = FileRule(
        name=name.text,
        media_types=inner.take("types", _media_types, None),
        max_bytes=inner.take("max_size", sized("1B", "64MiB"), None),
        required=inner.take("required", flag, False),
        repeated=inner.take("repeated", flag, False),
    )
    inner.done()
    return rule


def _media_types(node: Node) -> frozenset[str]:
    return frozenset(listed(_media_type)(node))


def _media_type(node: Node) -> str:
    text = word(node)
    if not _MEDIA_TYPE.fullmatch(text):
        raise Misread(node, f"expected a media type in lower case such as image/png, got {shown(text)}")
    return text


# --- operations ------------------------------------------------------------------------------------------------------


def _graphql(inner: Fields) -> GraphqlBody:
    return GraphqlBody(
        kinds=inner.take("kinds", _graphql_kinds, frozenset({"query"})),
        fields=inner.need("fields", _words_or_any, frozenset()),
        names=inner.take("names", _words, None),
    )


def _graphql_kinds(node: Node) -> frozenset[str]:
    kinds = frozenset(listed(word)(node))
    for kind in sorted(kinds - GRAPHQL_KINDS):
        raise Misread(node, f"got {shown(kind)}{instead(kind, GRAPHQL_KINDS)}")
    return kinds


def _mcp(inner: Fields) -> McpBody:
    """Left out, the methods are those that keep a session going, and `tools/call` where tools are named."""
    tools = _each(inner, "tools", "tool", _tool)
    usual = MCP_CHATTER | ({TOOLS_CALL} if tools else set())
    return McpBody(methods=inner.take("methods", _words, usual), tools=tools)


def _tool(fields: Fields, name: Scalar, node: Node) -> ToolRule:
    if says(node, "any"):
        return ToolRule(name=name.text)
    inner = Fields(node, f"tool {shown(name.text)} of {fields.what}", fields.faults)
    arguments = _json(inner)
    inner.done()
    _check_says_something(inner, arguments)
    return ToolRule(name=name.text, arguments=arguments)


def _llm(inner: Fields) -> LlmBody:
    return LlmBody(
        shape=inner.need("shape", choice(LlmShape), LlmShape.OPENAI_CHAT),
        models=inner.need("models", _words, frozenset()),
        tools=inner.take("tools", _words_or_any, frozenset()),
        max_tokens=inner.take("max_tokens", whole(1, MAX_TOKENS), None),
        stream=inner.take("stream", flag, True),
    )


def _words(node: Node) -> frozenset[str]:
    return frozenset(listed(word)(node))


def _words_or_any(node: Node) -> frozenset[str] | None:
    return None if says(node, "any") else _words(node)


KINDS: Mapping[str, Callable[[Fields], BodyRule]] = {
    "json": _json,
    "form": _form,
    "multipart": _multipart,
    "graphql": _graphql,
    "mcp": _mcp,
    "llm": _llm,
}
"""Every kind of body that is written as a mapping, and how it is read."""
