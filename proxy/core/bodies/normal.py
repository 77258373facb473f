"""Body rules in the normal form that a sponsor signs, and the strict way back."""

from collections.abc import Mapping
from typing import assert_never

from proxy.core.bodies.rules import (
    BODIES_BY_WORD,
    AnyBody,
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
    scalar_values,
)
from proxy.core.encoding import MAX_EXACT_INT, Json, canonical_json, parse_json
from proxy.core.errors import Code
from proxy.core.normal import as_flag, as_list, as_members, as_text, as_texts, as_whole, check_once, not_normal

_FIELD = frozenset({"pointer", "values", "least", "most", "max_chars", "max_items", "required"})
_FORM_FIELD = frozenset({"name", "values", "required"})
_FILE = frozenset({"name", "media_types", "max_bytes", "required"})
_REPEATED = frozenset({"repeated"})
_JSON = frozenset({"fields", "only", "schema"})
_FORM = frozenset({"fields", "others"})
_MULTIPART = _FORM | {"files"}
_GRAPHQL = frozenset({"kinds", "fields", "names"})
_TOOL = frozenset({"name", "arguments"})
_MCP = frozenset({"methods", "tools"})
_LLM = frozenset({"shape", "models", "tools", "max_tokens", "stream"})


def normal_body(rule: BodyRule) -> Json:
    """A body rule as a sponsor signs it, sets in order; of any body, which is the rule when none is written, "any"."""
    match rule:
        case AnyBody():
            return "any"
        case NoBody():
            return "none"
        case Unexamined():
            return "unexamined"
        case JsonBody():
            return {"json": _normal_json(rule)}
        case FormBody():
            return {"form": {"fields": _normal_fields(rule.fields), "others": rule.others}}
        case MultipartBody():
            files: list[Json] = [
                {
                    "name": file.name,
                    "media_types": _normal_set(file.media_types),
                    "max_bytes": file.max_bytes,
                    "required": file.required,
                    **_normal_repeated(file),
                }
                for file in rule.files
            ]
            members: dict[str, Json] = {
                "fields": _normal_fields(rule.fields),
                "files": sorted(files, key=canonical_json),
                "others": rule.others,
            }
            return {"multipart": members}
        case GraphqlBody():
            return {
                "graphql": {
                    "kinds": sorted(rule.kinds),
                    "fields": _normal_set(rule.fields),
                    "names": _normal_set(rule.names),
                }
            }
        case McpBody():
            tools: list[Json] = [{"name": each.name, "arguments": _normal_json(each.arguments)} for each in rule.tools]
            return {"mcp": {"methods": sorted(rule.methods), "tools": sorted(tools, key=canonical_json)}}
        case LlmBody():
            return {
                "llm": {
                    "shape": rule.shape.value,
                    "models": sorted(rule.models),
                    "tools": _normal_set(rule.tools),
                    "max_tokens": rule.max_tokens,
                    "stream": rule.stream,
                }
            }
        case _:
            assert_never(rule)


def _normal_json(rule: JsonBody) -> Json:
    fields: list[Json] = [
        {
            "pointer": field.pointer,
            "values": None if field.values is None else scalar_values(field.values),
            "least": field.least,
            "most": field.most,
            "max_chars": field.max_chars,
            "max_items": field.max_items,
            "required": field.required,
        }
        for field in rule.fields
    ]
    schema = None if rule.schema is None else _json_of(rule.schema)
    return {"fields": sorted(fields, key=canonical_json), "only": rule.only, "schema": schema}


def _normal_fields(fields: tuple[FormField, ...]) -> Json:
    normal: list[Json] = [
        {
            "name": field.name,
            "values": _normal_set(field.values),
            "required": field.required,
            **_normal_repeated(field),
        }
        for field in fields
    ]
    return sorted(normal, key=canonical_json)


def _normal_repeated(rule: FormField | FileRule) -> dict[str, Json]:
    return {"repeated": True} if rule.repeated else {}


def _normal_set(texts: frozenset[str] | None) -> Json:
    return None if texts is None else sorted(texts)


def _json_of(text: str) -> Json:
    return parse_json(text.encode(), code=Code.CONFIG_INVALID, what="a schema")


# --- the way back ----------------------------------------------------------------------------------------------------


def body_from_normal(value: Json) -> BodyRule:
    """The body rule a normal form stands for.

    Not checked here: that it is in order (the caller writes it again and compares), and that it makes sense
    (`judge.prepare_body`).

    Raises:
        Rejected(CONFIG_INVALID): not what `normal_body` writes.
        ValueError: a number or a text in it that has no canonical form.
    """
    if isinstance(value, str) and value in BODIES_BY_WORD:
        return BODIES_BY_WORD[value]
    if not isinstance(value, Mapping) or len(value) != 1:
        raise not_normal('body must be "any", "none", "unexamined", or one kind of body')
    ((kind, inner),) = value.items()
    match kind:
        case "json":
            return _json(inner, "json")
        case "form":
            members = as_members(inner, _FORM, "form")
            return FormBody(fields=_form_fields(members["fields"]), others=as_flag(members["others"], "others"))
        case "multipart":
            members = as_members(inner, _MULTIPART, "multipart")
            return MultipartBody(
                fields=_form_fields(members["fields"]),
                files=tuple(_file(item) for item in as_list(members["files"], "files")),
                others=as_flag(members["others"], "others"),
            )
        case "graphql":
            members = as_members(inner, _GRAPHQL, "graphql")
            return GraphqlBody(
                kinds=frozenset(as_texts(members["kinds"], "kinds")),
                fields=_set(members["fields"], "fields"),
                names=_set(members["names"], "names"),
            )
        case "mcp":
            return _mcp(as_members(inner, _MCP, "mcp"))
        case "llm":
            return _llm(as_members(inner, _LLM, "llm"))
        case _:
            raise not_normal(f"{kind!r} is no kind of body")


def _json(value: Json, what: str) -> JsonBody:
    members = as_members(value, _JSON, what)
    fields = tuple(_field(item) for item in as_list(members["fields"], "fields"))
    check_once([field.pointer for field in fields], "field")
    schema = members["schema"]
    return JsonBody(
        fields=fields,
        only=as_flag(members["only"], "only"),
        schema=None if schema is None else canonical_json(schema).decode(),
    )


def _field(value: Json) -> FieldRule:
    members = as_members(value, _FIELD, "a field")
    values = members["values"]
    return FieldRule(
        pointer=as_text(members["pointer"], "pointer", empty=True),
        values=None if values is None else frozenset(_scalar(item) for item in as_list(values, "values")),
        least=_number(members["least"], "least"),
        most=_number(members["most"], "most"),
        max_chars=_size(members["max_chars"], "max_chars"),
        max_items=_size(members["max_items"], "max_items"),
        required=as_flag(members["required"], "required"),
    )


def _scalar(value: Json) -> str:
    if value is None or isinstance(value, bool | int | str):
        return scalar_text(value)
    raise not_normal("values must be texts, whole numbers, true, false or null")


def _form_fields(value: Json) -> tuple[FormField, ...]:
    fields = []
    for item in as_list(value, "fields"):
        members = as_members(item, _FORM_FIELD, "a form field", may=_REPEATED)
        fields.append(
            FormField(
                name=as_text(members["name"], "name"),
                values=_set(members["values"], "values", empty=True),
                required=as_flag(members["required"], "required"),
                repeated=as_flag(members.get("repeated", False), "repeated"),
            )
        )
    return tuple(fields)


def _file(value: Json) -> FileRule:
    members = as_members(value, _FILE, "a file", may=_REPEATED)
    return FileRule(
        name=as_text(members["name"], "name"),
        media_types=_set(members["media_types"], "media_types"),
        max_bytes=_size(members["max_bytes"], "max_bytes"),
        required=as_flag(members["required"], "required"),
        repeated=as_flag(members.get("repeated", False), "repeated"),
    )


def _mcp(members: Mapping[str, Json]) -> McpBody:
    tools = []
    for item in as_list(members["tools"], "tools"):
        tool = as_members(item, _TOOL, "a tool")
        tools.append(ToolRule(name=as_text(tool["name"], "name"), arguments=_json(tool["arguments"], "arguments")))
    check_once([tool.name for tool in tools], "tool")
    return McpBody(methods=frozenset(as_texts(members["methods"], "methods")), tools=tuple(tools))


def _llm(members: Mapping[str, Json]) -> LlmBody:
    return LlmBody(
        shape=LlmShape(as_text(members["shape"], "shape")),
        models=frozenset(as_texts(members["models"], "models")),
        tools=_set(members["tools"], "tools"),
        max_tokens=_size(members["max_tokens"], "max_tokens"),
        stream=as_flag(members["stream"], "stream"),
    )


def _set(value: Json, field: str, *, empty: bool = False) -> frozenset[str] | None:
    return None if value is None else frozenset(as_texts(value, field, empty=empty))


def _size(value: Json, field: str) -> int | None:
    return None if value is None else as_whole(value, field)


def _number(value: Json, field: str) -> int | None:
    return None if value is None else as_whole(value, field, least=-MAX_EXACT_INT)
