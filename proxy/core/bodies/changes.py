"""What changed between two body rules, in the verbs of `proxy.core.compare`."""

from collections.abc import Iterator

from proxy.core.bodies.rules import (
    AnyBody,
    BodyRule,
    FieldRule,
    FormBody,
    GraphqlBody,
    JsonBody,
    LlmBody,
    McpBody,
    MultipartBody,
    NoBody,
    Unexamined,
)
from proxy.core.bodies.words import body_words, field_words, schema_words
from proxy.core.compare import ceiling, floor, repeated, required, sets, values
from proxy.core.shown import any_of, shown


def body_changes(old: BodyRule, new: BodyRule) -> Iterator[str]:
    """Every respect in which `new` permits more, less or other bodies than `old`; nothing when they are alike."""
    match old, new:
        case JsonBody(), JsonBody():
            yield from _json("the body", old, new)
        case FormBody(), FormBody():
            yield from _form(old, new)
        case MultipartBody(), MultipartBody():
            yield from _form(old, new)
            yield from _files(old, new)
        case GraphqlBody(), GraphqlBody():
            yield from sets("GraphQL kind", old.kinds, new.kinds)
            yield from values("the root fields", old.fields, new.fields)
            yield from values("the names of operations", old.names, new.names)
        case McpBody(), McpBody():
            yield from _mcp(old, new)
        case LlmBody(), LlmBody():
            yield from _llm(old, new)
        case _:
            if old != new:
                yield _other_kind(old, new)


def _other_kind(old: BodyRule, new: BodyRule) -> str:
    before, after = _breadth(old), _breadth(new)
    verb = "changes" if before == after else "loosens" if after > before else "tightens"
    return f"{verb} the body from {_kind(old)} to {_kind(new)}"


def _breadth(rule: BodyRule) -> int:
    """From nothing to anything; what lies between permits other things rather than more."""
    match rule:
        case NoBody():
            return 0
        case AnyBody():
            return 2
        case Unexamined():
            return 3
        case _:
            return 1


def _kind(rule: BodyRule) -> str:
    return f'"{body_words(rule) or "with any body"}"'


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json(what: str, old: JsonBody, new: JsonBody) -> Iterator[str]:
    if old.only != new.only:
        yield f"tightens {what} to what is named" if new.only else f"loosens {what} to members that nobody named"
    before, after = {rule.pointer: rule for rule in old.fields}, {rule.pointer: rule for rule in new.fields}
    for pointer in sorted(before.keys() | after.keys()):
        place = f"{shown(pointer) if pointer else 'the whole'} of {what}"
        yield from _field(place, before.get(pointer), after.get(pointer), was_only=old.only, is_only=new.only)
    if old.schema != new.schema:
        verb = "loosens" if new.schema is None else "tightens" if old.schema is None else "changes"
        yield f"{verb} the schema of {what} from {_schema(old.schema)} to {_schema(new.schema)}"


def _field(what: str, old: FieldRule | None, new: FieldRule | None, *, was_only: bool, is_only: bool) -> Iterator[str]:
    """A field without a rule may be anything, or nothing where only named ones may be there."""
    if new is None:
        yield f"removes {what}" if is_only else f"loosens {what} to anything"
    elif old is None:
        words = f"{field_words(new, any_of)}{' (required)' if new.required else ''}"
        yield f"adds {what}: {words}" if was_only else f"tightens {what} to {words}"
    elif old.conditions == new.conditions:
        yield from values(what, old.values, new.values)
        yield from floor(f"the least of {what}", old.least, new.least)
        for each, before, after in (
            ("the most", old.most, new.most),
            ("the length", old.max_chars, new.max_chars),
            ("the number of items", old.max_items, new.max_items),
        ):
            yield from ceiling(f"{each} of {what}", before, after)
        yield from required(what, old.required, new.required)
    else:
        verb = "loosens" if not any(new.conditions) else "tightens" if not any(old.conditions) else "changes"
        yield f"{verb} {what} from {field_words(old, any_of)} to {field_words(new, any_of)}"
        yield from required(what, old.required, new.required)


def _schema(schema: str | None) -> str:
    return "none" if schema is None else schema_words(schema)


# --- forms -----------------------------------------------------------------------------------------------------------


def _form(old: FormBody | MultipartBody, new: FormBody | MultipartBody) -> Iterator[str]:
    if old.others != new.others:
        yield "loosens the form to fields that nobody named" if new.others else "tightens the form to what is named"
    before, after = {rule.name: rule for rule in old.fields}, {rule.name: rule for rule in new.fields}
    yield from sets("form field", before, after)
    for name in sorted(before.keys() & after.keys()):
        yield from required(f"form field {shown(name)}", before[name].required, after[name].required)
        yield from repeated(f"form field {shown(name)}", before[name].repeated, after[name].repeated)
        yield from values(f"form field {shown(name)}", before[name].values, after[name].values)


def _files(old: MultipartBody, new: MultipartBody) -> Iterator[str]:
    before, after = {rule.name: rule for rule in old.files}, {rule.name: rule for rule in new.files}
    yield from sets("file", before, after)
    for name in sorted(before.keys() & after.keys()):
        yield from required(f"file {shown(name)}", before[name].required, after[name].required)
        yield from repeated(f"file {shown(name)}", before[name].repeated, after[name].repeated)
        yield from values(f"the types of file {shown(name)}", before[name].media_types, after[name].media_types)
        yield from ceiling(f"the bytes of file {shown(name)}", before[name].max_bytes, after[name].max_bytes)


# --- operations ------------------------------------------------------------------------------------------------------


def _mcp(old: McpBody, new: McpBody) -> Iterator[str]:
    yield from sets("JSON-RPC method", old.methods, new.methods)
    before, after = {tool.name: tool.arguments for tool in old.tools}, {tool.name: tool.arguments for tool in new.tools}
    yield from sets("tool", before, after)
    for name in sorted(before.keys() & after.keys()):
        yield from _json(f"the arguments of tool {shown(name)}", before[name], after[name])


def _llm(old: LlmBody, new: LlmBody) -> Iterator[str]:
    if old.shape is not new.shape:
        yield f"changes the shape of the request from {old.shape.value} to {new.shape.value}"
    yield from sets("model", old.models, new.models)
    yield from values("the tools", old.tools, new.tools)
    yield from ceiling("the number of tokens", old.max_tokens, new.max_tokens)
    if old.stream != new.stream:
        yield (
            "loosens the answer to one that may stream" if new.stream else "tightens the answer to one that is whole"
        )
