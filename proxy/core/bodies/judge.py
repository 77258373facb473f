"""Deciding by a body: what in it a rule does not permit, as data (THREATS D03)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from proxy.core.bodies.fields import PreparedJson, prepare_json
from proxy.core.bodies.graphql import GraphqlCall
from proxy.core.bodies.llm import LlmRequest
from proxy.core.bodies.parts import PreparedForm, form_part, prepare_form
from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rpc import TOOLS_CALL, RpcCall
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
from proxy.core.errors import Code, Rejected
from proxy.core.folding import Spellings
from proxy.core.model import Mismatch, Unread
from proxy.core.shown import shown, some_of

type _Judge = Callable[[Reading], Iterator[Mismatch]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBody:
    """A body rule ready to compare.

    `faults` yields what the rule does not permit, and raises Rejected (BODY_MALFORMED, BODY_NOT_INSPECTED) when the
    body has no one reading, or is not here to be read. `reads`: whether it looks into the body at all.
    """

    faults: _Judge
    reads: bool


def prepare_body(rule: BodyRule) -> PreparedBody:
    """Make a body rule ready to compare; whatever can be worked out once is worked out here.

    Raises:
        Rejected(CONFIG_INVALID): a pointer or a schema in it is none, or it contradicts itself.
    """
    match rule:
        case AnyBody():
            return PreparedBody(faults=_unseen, reads=False)
        case NoBody():
            return PreparedBody(faults=_not_empty, reads=False)
        case Unexamined():
            return PreparedBody(faults=lambda _: iter(()), reads=False)
        case JsonBody():
            return _reads("a JSON document", _json(rule))
        case FormBody():
            return _reads("a form", _form(prepare_form(rule)))
        case MultipartBody():
            return _reads("a multipart form", _multipart(prepare_form(rule)))
        case GraphqlBody():
            return _reads("a GraphQL request", _graphql(rule))
        case McpBody():
            return _reads("a JSON-RPC message", _mcp(rule))
        case LlmBody():
            return _reads("a request to a language model", _llm(rule))
        case _:
            assert_never(rule)


def _reads(what: str, faults: _Judge) -> PreparedBody:
    """A rule that reads the body, so that there must be one."""

    def judge(reading: Reading) -> Iterator[Mismatch]:
        if reading.empty:
            yield Mismatch(field="body", expected=what, got="no body")
        else:
            yield from faults(reading)

    return PreparedBody(faults=judge, reads=True)


def _unseen(reading: Reading) -> Iterator[Mismatch]:
    """Nothing, once the body is here: of one that is sent while it comes nobody knows whether it keeps to the caps."""
    body = reading.call.body
    if isinstance(body, Unread) and body.size is None:
        detail = "the body must be read whole before it is sent, got one that streams"
        raise Rejected(Code.BODY_NOT_INSPECTED, detail, field="body")
    return iter(())


def _not_empty(reading: Reading) -> Iterator[Mismatch]:
    if not reading.empty:
        size = reading.call.body_bytes
        yield Mismatch(field="body", expected="no body", got="a body" if size is None else f"{size} bytes")


# --- documents and forms ---------------------------------------------------------------------------------------------


def _json(rule: JsonBody) -> _Judge:
    prepared = prepare_json(rule)
    return lambda reading: prepared.faults(reading.json(), reading.spellings)


def _form(prepared: PreparedForm) -> _Judge:
    return lambda reading: prepared.faults((form_part(name, value) for name, value in reading.form()), reading.bases)


def _multipart(prepared: PreparedForm) -> _Judge:
    return lambda reading: prepared.faults(reading.multipart(), reading.bases)


# --- operations ------------------------------------------------------------------------------------------------------


def _graphql(rule: GraphqlBody) -> _Judge:
    """Every operation of a batch must pass."""

    def faults(reading: Reading) -> Iterator[Mismatch]:
        for call in reading.graphql():
            yield from _graphql_faults(rule, call)

    return faults


def _graphql_faults(rule: GraphqlBody, call: GraphqlCall) -> Iterator[Mismatch]:
    if call.kind not in rule.kinds:
        yield Mismatch(field="body.kind", expected=some_of(rule.kinds) or "no kind", got=call.kind)
    if rule.fields is not None:
        for name in sorted(call.fields - rule.fields):
            yield Mismatch(field="body.field", expected=some_of(rule.fields) or "no root field", got=shown(name))
    if rule.names is not None and (call.name is None or call.name not in rule.names):
        got = "no name" if call.name is None else shown(call.name)
        yield Mismatch(field="body.name", expected=some_of(rule.names) or "no name is permitted", got=got)


def _mcp(rule: McpBody) -> _Judge:
    """Every message of a batch must pass."""
    if (TOOLS_CALL in rule.methods) is not bool(rule.tools):
        mend = "name its tools, or remove it from methods" if not rule.tools else "add it to methods"
        raise Rejected(Code.CONFIG_INVALID, f"{TOOLS_CALL} and tools go together: {mend}")
    tools = {tool.name: prepare_json(tool.arguments) for tool in rule.tools}

    def faults(reading: Reading) -> Iterator[Mismatch]:
        for call in reading.rpc():
            yield from _rpc_faults(rule, tools, call, reading.spellings)

    return faults


def _rpc_faults(
    rule: McpBody, tools: Mapping[str, PreparedJson], call: RpcCall, spellings: Spellings
) -> Iterator[Mismatch]:
    if call.method not in rule.methods:
        if not (call.kind == "response" and call.is_chatter):
            got = "a response" if call.kind == "response" else shown(call.method)
            yield Mismatch(field="body.method", expected=some_of(rule.methods) or "no method", got=got)
    elif call.tool is not None:
        if call.tool not in tools:
            yield Mismatch(field="body.tool", expected=some_of(tools), got=shown(call.tool))
        else:
            for fault in tools[call.tool].faults(call.arguments, spellings):
                yield replace(fault, field=f"body.arguments{fault.field.removeprefix('body')}")


def _llm(rule: LlmBody) -> _Judge:
    for model in rule.models:
        if "*" in model[:-1] or model == "*":
            detail = 'a "*" may only end a name that begins with something else'
            raise Rejected(Code.CONFIG_INVALID, f"the model {shown(model)}: {detail}")
    begins = tuple(model[:-1] for model in rule.models if model.endswith("*"))

    def faults(reading: Reading) -> Iterator[Mismatch]:
        request = reading.llm(rule.shape)
        if request.model not in rule.models and not request.model.startswith(begins):
            yield Mismatch(field="body.model", expected=some_of(rule.models) or "no model", got=shown(request.model))
        yield from _llm_faults(rule, request)

    return faults


def _llm_faults(rule: LlmBody, request: LlmRequest) -> Iterator[Mismatch]:
    if rule.tools is not None:
        for name in sorted(request.tools - rule.tools):
            yield Mismatch(field="body.tool", expected=some_of(rule.tools) or "no tool", got=shown(name))
    most, asked = rule.max_tokens, request.max_tokens
    if most is not None and (asked is None or asked > most):
        got = "no limit" if asked is None else str(asked)
        yield Mismatch(field="body.max_tokens", expected=f"at most {most}", got=got)
    if request.stream and not rule.stream:
        yield Mismatch(field="body.stream", expected="false", got="true")
