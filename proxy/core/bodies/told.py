"""What a rule sees in a body, in words: the names in it, never a value that could be a secret."""

from collections.abc import Iterable
from typing import assert_never

from proxy.core.bodies.graphql import GraphqlCall
from proxy.core.bodies.llm import LlmRequest
from proxy.core.bodies.multipart import FormPart
from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rpc import RpcCall
from proxy.core.bodies.rules import (
    AnyBody,
    BodyRule,
    FormBody,
    GraphqlBody,
    JsonBody,
    LlmBody,
    McpBody,
    MultipartBody,
    NoBody,
    Unexamined,
)
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.shown import shown, some_of

_TOLD = 8
"""Of a batch no more messages than this are told."""


def body_told(rule: BodyRule, reading: Reading) -> tuple[str, ...]:
    """What a rule of this kind makes of the body, one phrase for each thing asked; or why it cannot be read."""
    if reading.empty:
        return ("none",)
    try:
        phrases = _phrases(rule, reading)
    except Rejected as fault:
        return (f"cannot be read: {fault.detail}",)
    more = len(phrases) - _TOLD
    return (*phrases[:_TOLD], *([f"and {more} more"] if more > 0 else []))


def _phrases(rule: BodyRule, reading: Reading) -> list[str]:
    match rule:
        case AnyBody() | NoBody() | Unexamined():
            size = reading.call.body_bytes
            return ["a stream, not looked into" if size is None else f"{size} bytes, not looked into"]
        case JsonBody():
            return [_document(reading.json())]
        case FormBody():
            return [f"a form with {_named('field', [name for name, _ in reading.form()])}"]
        case MultipartBody():
            return [_part(part) for part in reading.multipart()]
        case GraphqlBody():
            return [_graphql(call) for call in reading.graphql()]
        case McpBody():
            return [_rpc(call) for call in reading.rpc()]
        case LlmBody():
            return [_llm(reading.llm(rule.shape))]
        case _:
            assert_never(rule)


def _document(document: Json) -> str:
    match document:
        case dict():
            return f"a JSON object with {_named('member', document)}"
        case list():
            return f"a JSON list of {len(document)} items"
        case _:
            return "one JSON value"


def _part(part: FormPart) -> str:
    what = "a field" if part.filename is None else "a file"
    media = "" if part.media is None else f" of type {shown(part.media.type)}"
    return f"{what} named {shown(part.name)}{media}, {len(part.data)} bytes"


def _graphql(call: GraphqlCall) -> str:
    name = "" if call.name is None else f" {shown(call.name)}"
    return f"GraphQL {call.kind}{name} with {_named('root field', call.fields)}"


def _rpc(call: RpcCall) -> str:
    if call.kind == "response":
        return "JSON-RPC response"
    if call.tool is None:
        return f"JSON-RPC {call.kind} {shown(call.method)}"
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    return f"JSON-RPC {call.kind} {shown(call.method)} of tool {shown(call.tool)} with {_named('argument', arguments)}"


def _llm(request: LlmRequest) -> str:
    tokens = "without a limit" if request.max_tokens is None else f"at most {request.max_tokens} tokens"
    streams = ", streamed" if request.stream else ""
    return f"model {shown(request.model)} with {_named('tool', request.tools)}, {tokens}{streams}"


def _named(what: str, names: Iterable[str]) -> str:
    listed = sorted(set(names))
    return f"{what}{'s' if len(listed) > 1 else ''} {some_of(listed)}" if listed else f"no {what}"
