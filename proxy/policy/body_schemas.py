"""The JSON Schema of `body`, for editors. The rules themselves are read in `proxy.policy.bodies`."""

from proxy.core.bodies.llm import MAX_TOKENS
from proxy.core.bodies.rules import BODIES_BY_WORD, LlmShape
from proxy.core.encoding import MAX_EXACT_INT, Json
from proxy.policy.bodies import GRAPHQL_KINDS, KINDS, MEDIA_TYPE_PATTERN
from proxy.policy.document import SIZE_PATTERN
from proxy.policy.pieces import Schema, listing, record

_SCALARS = listing({"type": ["string", "integer", "boolean", "null"]}, "The JSON values that may stand there.")
_TEXTS = listing({"type": "string"}, "The values the field may have.")
_REQUIRED: Schema = {"description": "Whether it must be there.", "type": "boolean", "default": False}
_REPEATED: Schema = {"description": "Whether it may come more than once.", "type": "boolean", "default": False}
_FLAG: Schema = {"type": "boolean", "default": False}
_SIZE: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_EXACT_INT}
_NUMBER: Schema = {"type": "integer", "minimum": -MAX_EXACT_INT, "maximum": MAX_EXACT_INT}
_WORDS: Schema = {"type": "string", "minLength": 1}


def _each(value: Json, description: str, *, names: Schema) -> Schema:
    return {"description": description, "type": "object", "propertyNames": names, "additionalProperties": value}


def _any_or(*others: Json) -> Schema:
    return {"anyOf": [{"const": "any"}, *others]}


_FIELD = _any_or(
    _SCALARS,
    record(
        {
            "one_of": _SCALARS,
            "least": {**_NUMBER, "description": "The least number that may stand there."},
            "most": {**_NUMBER, "description": "The greatest number that may stand there."},
            "max_chars": {**_SIZE, "description": "How many characters a text there may have."},
            "max_items": {**_SIZE, "description": "How many items a list there may have."},
            "required": _REQUIRED,
        },
        needed=(),
        description="What may stand there: values, or a number, a text or a list within bounds.",
    ),
)

_DOCUMENT = record(
    {
        "fields": _each(
            _FIELD,
            "What may stand where: JSON pointers, in which a part * means every item or member.",
            names={"pattern": "^(/|$)"},
        ),
        "only": {**_FLAG, "description": "Whether no other members may be there than those that fields name."},
        "schema": {"description": "A JSON Schema (2020-12) that the document must fit, too.", "type": "object"},
    },
    needed=(),
    description="What the JSON document may be.",
)

_FORM_FIELDS = _each(
    _any_or(
        _TEXTS,
        record(
            {"one_of": _TEXTS, "required": _REQUIRED, "repeated": _REPEATED},
            needed=(),
            description="Values, whether it is needed, and whether it may come more than once.",
        ),
    ),
    "The fields of the form, each at most once unless repeated.",
    names=_WORDS,
)
_OTHERS: Schema = {**_FLAG, "description": "Whether fields that are not listed may be there, too."}

_FILES = _each(
    _any_or(
        record(
            {
                "types": listing(
                    {"type": "string", "pattern": f"^{MEDIA_TYPE_PATTERN}$"}, "The media types it may say it is of."
                ),
                "max_size": {
                    "description": "How large it may be: 64KiB, 5MiB.",
                    "type": "string",
                    "pattern": f"^{SIZE_PATTERN}$",
                },
                "required": _REQUIRED,
                "repeated": _REPEATED,
            },
            needed=(),
            description="What the file may be.",
        )
    ),
    "The files of the form, by the names of their fields, each at most once unless repeated.",
    names=_WORDS,
)

_GRAPHQL = record(
    {
        "kinds": {
            **listing({"enum": sorted(GRAPHQL_KINDS)}, "The kinds of operations that may run."),
            "default": ["query"],
        },
        "fields": {
            **_any_or(listing(_WORDS, "The names.")),
            "description": "The fields that may stand at the root of an operation, or any.",
        },
        "names": listing(_WORDS, "The names operations must have; agents choose them, so this proves nothing."),
    },
    needed=("fields",),
    description="GraphQL operations over POST.",
)

_MCP = record(
    {
        "methods": listing(
            _WORDS, "The JSON-RPC methods; left out, those that keep a session going, and tools/call where tools stand."
        ),
        "tools": _each(
            _any_or({**_DOCUMENT, "description": "What the arguments may be."}),
            "The tools that may be called.",
            names=_WORDS,
        ),
    },
    needed=(),
    description="JSON-RPC as the Model Context Protocol speaks it.",
)

_LLM = record(
    {
        "shape": {"description": "How the request is written.", "enum": [shape.value for shape in LlmShape]},
        "models": listing(_WORDS, 'The models; "name*" stands for all whose names begin so.'),
        "tools": {
            **_any_or(listing(_WORDS, "The names.")),
            "description": "The tools the model may be given, or any; left out, none.",
        },
        "max_tokens": {
            "description": "The most tokens a request may ask for; with it, each request must state a limit.",
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TOKENS,
        },
        "stream": {"description": "Whether the answer may be streamed.", "type": "boolean", "default": True},
    },
    needed=("shape", "models"),
    description="A request to a language model.",
)

_KINDS: Schema = {
    "json": {**_any_or(_DOCUMENT), "description": "A JSON document, or any."},
    "form": {
        **_any_or(record({"fields": _FORM_FIELDS, "any": _OTHERS}, needed=(), description="What it may hold.")),
        "description": "A URL-encoded form, or any.",
    },
    "multipart": {
        **_any_or(
            record(
                {"fields": _FORM_FIELDS, "files": _FILES, "any": _OTHERS}, needed=(), description="What it may hold."
            )
        ),
        "description": "A multipart form, or any.",
    },
    "graphql": _GRAPHQL,
    "mcp": _MCP,
    "llm": _LLM,
}
assert _KINDS.keys() == KINDS.keys()

BODY: Schema = {
    "description": (
        "What the body may be. Left out or any: whatever. none: nothing. unexamined: whatever, of any length, sent on "
        "as it comes. Otherwise exactly one kind of body."
    ),
    "anyOf": [
        {"enum": sorted(BODIES_BY_WORD)},
        {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": _KINDS,
        },
    ],
}
