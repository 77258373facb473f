"""Calls with bodies, and a rule of each kind, for tests of what a policy says about bodies."""

import json
from dataclasses import replace

from questions import call

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
    NoBody,
    ToolRule,
    Unexamined,
    scalar_text,
)
from proxy.core.encoding import Json
from proxy.core.model import Call, Unread

JSON_TYPE = (("content-type", "application/json"),)
FORM_TYPE = (("content-type", "application/x-www-form-urlencoded"),)
MULTIPART_TYPE = (("content-type", "multipart/form-data; boundary=b"),)


def posted(body: bytes | Unread, headers: tuple[tuple[str, str], ...] = JSON_TYPE) -> Call:
    """A call with this body, which says that it is JSON unless told otherwise."""
    return replace(call(method="POST"), body=body, headers=headers)


def posted_json(document: Json) -> Call:
    return posted(json.dumps(document).encode())


def posted_form(text: str) -> Call:
    return posted(text.encode(), FORM_TYPE)


def one_of(*values: bool | int | str | None) -> frozenset[str]:
    return frozenset(map(scalar_text, values))


PAYMENT = JsonBody(
    fields=(
        FieldRule(pointer="/amount", least=1, most=500, required=True),
        FieldRule(pointer="/currency", values=one_of("EUR", "USD")),
        FieldRule(pointer="/note", max_chars=20),
        FieldRule(pointer="/lines", max_items=3),
    ),
    only=True,
    schema='{"type":"object"}',
)

EVERY_KIND: dict[str, BodyRule] = {
    "none": NoBody(),
    "unexamined": Unexamined(),
    "json": PAYMENT,
    "form": FormBody(
        fields=(FormField(name="payee", values=frozenset({"88", ""}), required=True), FormField(name="note"))
    ),
    "multipart": MultipartBody(
        fields=(FormField(name="note"),),
        files=(
            FileRule(name="scan", media_types=frozenset({"image/png", "image/jpeg"}), max_bytes=4096, required=True),
            FileRule(name="more"),
        ),
        others=True,
    ),
    "graphql": GraphqlBody(kinds=frozenset({"query"}), fields=frozenset({"viewer"}), names=frozenset({"Who"})),
    "mcp": McpBody(
        methods=frozenset({"tools/list", "tools/call"}),
        tools=(ToolRule(name="search"), ToolRule(name="pay", arguments=PAYMENT)),
    ),
    "llm": LlmBody(
        shape=LlmShape.OPENAI_CHAT,
        models=frozenset({"small", "big-*"}),
        tools=frozenset({"find"}),
        max_tokens=500,
        stream=False,
    ),
}
"""A rule of each kind but any body."""
