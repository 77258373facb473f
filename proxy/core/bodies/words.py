"""Body rules in plain words, for whoever has to sign for them. Whatever the normal form holds is said."""

import json
from collections.abc import Callable, Collection
from typing import assert_never

from proxy.core.bodies.rules import (
    AnyBody,
    BodyRule,
    FieldRule,
    FileRule,
    FormBody,
    FormField,
    GraphqlBody,
    JsonBody,
    LlmBody,
    McpBody,
    MultipartBody,
    NoBody,
    Unexamined,
)
from proxy.core.shown import any_of, shown


def body_words(rule: BodyRule) -> str:
    """`with a JSON body in which /amount is a number of at most 500 (required), and nothing else`; "" for any body."""
    match rule:
        case AnyBody():
            return ""
        case NoBody():
            return "without a body"
        case Unexamined():
            return "with a body that nobody examines, of any length"
        case JsonBody():
            return f"with a JSON body {json_words(rule)}"
        case FormBody():
            return f"with a form of {_form(rule.fields, (), others=rule.others)}"
        case MultipartBody():
            return f"with a multipart form of {_form(rule.fields, rule.files, others=rule.others)}"
        case GraphqlBody():
            return f"with a GraphQL {_graphql(rule)}"
        case McpBody():
            return f"with JSON-RPC for {_mcp(rule)}"
        case LlmBody():
            return f"with a request ({rule.shape.value}) {_llm(rule)}"
        case _:
            assert_never(rule)


# --- parts of them ---------------------------------------------------------------------------------------------------


def json_words(rule: JsonBody) -> str:
    """`in which /amount is a number of at most 500 (required); nothing else is there`."""
    parts = [_part(field) for field in sorted(rule.fields, key=lambda field: field.pointer)]
    if rule.only:
        parts.append("nothing else is there")
    if rule.schema is not None:
        parts.append(f"the schema {schema_words(rule.schema)} holds")
    return f"in which {'; '.join(parts)}" if parts else "of any content"


def _part(rule: FieldRule) -> str:
    place = shown(rule.pointer) if rule.pointer else "it"
    return f"{place} is {field_words(rule, any_of)}{' (required)' if rule.required else ''}"


def field_words(rule: FieldRule, listing: Callable[[Collection[str]], str]) -> str:
    """`a number from 1 to 500`: what may stand at one place of a document."""
    if rule.values is not None:
        return listing(rule.values) or "no value"
    if rule.least is not None and rule.most is not None:
        return f"a number from {rule.least} to {rule.most}"
    if rule.least is not None:
        return f"a number of at least {rule.least}"
    if rule.most is not None:
        return f"a number of at most {rule.most}"
    if rule.max_chars is not None:
        return f"text of at most {rule.max_chars} characters"
    if rule.max_items is not None:
        return f"a list of at most {rule.max_items} items"
    return "anything"


def schema_words(schema: str) -> str:
    """A schema in full: who signs for it has to see all of it."""
    return json.dumps(json.loads(schema))


def _flags(rule: FormField | FileRule) -> str:
    return f"{', required' if rule.required else ''}{', also repeated' if rule.repeated else ''}"


def _form(fields: tuple[FormField, ...], files: tuple[FileRule, ...], *, others: bool) -> str:
    parts = [
        f"{shown(field.name)} ({_any_of(field.values, 'value')}{_flags(field)})"
        for field in sorted(fields, key=lambda field: field.name)
    ]
    parts += [
        f"the file {shown(file.name)} ({_any_of(file.media_types, 'type')}{_at_most(file.max_bytes, 'bytes')}"
        f"{_flags(file)})"
        for file in sorted(files, key=lambda file: file.name)
    ]
    parts += ["anything else"] if others else []
    return "; ".join(parts) or "nothing"


def _graphql(rule: GraphqlBody) -> str:
    fields = _any_of(rule.fields, "root field")
    named = "" if rule.names is None else f", if it calls itself {any_of(rule.names) or 'nothing'}"
    return f"{any_of(rule.kinds) or 'nothing'} of {fields}{named}"


def _mcp(rule: McpBody) -> str:
    tools = [f"{shown(tool.name)} with arguments {json_words(tool.arguments)}" for tool in rule.tools]
    return "; ".join([any_of(rule.methods) or "no method", *(f"the tool {tool}" for tool in sorted(tools))])


def _llm(rule: LlmBody) -> str:
    limit = "" if rule.max_tokens is None else f", for at most {rule.max_tokens} tokens"
    tools = _any_of(rule.tools, "tool")
    streams = "" if rule.stream else ", not streamed"
    return f"to {any_of(rule.models) or 'no model'} with {tools}{limit}{streams}"


def _any_of(texts: frozenset[str] | None, what: str) -> str:
    if texts is None:
        return f"any {what}"
    return any_of(texts) or f"no {what}"


def _at_most(bound: int | None, unit: str) -> str:
    return "" if bound is None else f", at most {bound} {unit}"
