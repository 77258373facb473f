"""What an operation says of a call's body, as plain data: one frozen class for each kind of rule.

Permitted values of JSON are kept as their RFC 8785 texts, so that `1`, `true` and `"1"` are three values.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.encoding import Json, canonical_json

type Scalar = bool | int | str | None
"""A JSON value that a rule can name. Fractions have no place in a signed document."""


def scalar_text(value: Scalar) -> str:
    """The RFC 8785 text of a value a rule permits.

    Raises:
        ValueError: an integer beyond ±(2^53 − 1), or a lone surrogate.
    """
    return canonical_json(value).decode()


def scalar_values(texts: frozenset[str]) -> list[Json]:
    """The values again, in the order of their texts."""
    return [json.loads(text) for text in sorted(texts)]


# --- fields ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRule:
    """What stands at one place of a JSON document. With no condition, anything may.

    `values` permits scalars, `least` and `most` numbers, `max_chars` strings and `max_items` lists; a rule has one of
    these. Below a `*`, `required` means in every item.
    """

    pointer: str  # RFC 6901, where a whole token "*" stands for every item of a list or member of an object
    values: frozenset[str] | None = None  # RFC 8785 texts
    least: int | None = None
    most: int | None = None
    max_chars: int | None = None  # code points
    max_items: int | None = None
    required: bool = False

    @property
    def conditions(self) -> tuple[bool, bool, bool, bool]:
        """Whether it has a condition for scalars, for numbers, for strings, and for lists."""
        numeric = self.least is not None or self.most is not None
        return self.values is not None, numeric, self.max_chars is not None, self.max_items is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """What one field of a form may be. `values` None means any value."""

    name: str
    values: frozenset[str] | None = None
    required: bool = False
    repeated: bool = False  # it may come more than once, each time with a permitted value


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """A file that a multipart form may hold. Its media type is what the part says; the content is not looked at."""

    name: str
    media_types: frozenset[str] | None = None  # lower case, without parameters; None: any, or none
    max_bytes: int | None = None  # of each
    required: bool = False
    repeated: bool = False


# --- bodies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyBody:
    """Any body, or none. It is read up to the caps, but nothing in it is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBody:
    """An empty body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexamined:
    """Any body of any length. The call is judged by its head, and the body streams through as it comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonBody:
    """One JSON document: every field rule holds, and the schema. `only`: no members but those that `fields` name."""

    fields: tuple[FieldRule, ...] = ()
    only: bool = False
    schema: str | None = None  # RFC 8785 text of a JSON Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class FormBody:
    """A URL-encoded form: each field at most once unless `repeated`, and only those listed unless `others`."""

    fields: tuple[FormField, ...] = ()
    others: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartBody:
    """A multipart form: each field and file at most once unless `repeated`, and only those listed unless `others`."""

    fields: tuple[FormField, ...] = ()
    files: tuple[FileRule, ...] = ()
    others: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphqlBody:
    """GraphQL operations, each of a permitted kind with permitted root fields only.

    `names` narrows further, but proves nothing: whoever writes a document names its operations.
    """

    kinds: frozenset[str]  # of "query", "mutation", "subscription"
    fields: frozenset[str] | None  # None: any root field
    names: frozenset[str] | None = None  # None: any name, or none


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRule:
    """An MCP tool that may be called, and what its arguments may be."""

    name: str
    arguments: JsonBody = JsonBody()


@dataclass(frozen=True, slots=True, kw_only=True)
class McpBody:
    """JSON-RPC messages as MCP uses them: permitted methods, and for `tools/call` permitted tools."""

    methods: frozenset[str]
    tools: tuple[ToolRule, ...] = ()


class LlmShape(enum.StrEnum):
    """How a request to a language model is written."""

    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC_MESSAGES = "anthropic-messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmBody:
    """A request to a language model. A model written `name*` stands for every model whose name begins so."""

    shape: LlmShape
    models: frozenset[str]
    tools: frozenset[str] | None = frozenset()  # None: any tool
    max_tokens: int | None = None  # a ceiling, which the request must state and keep
    stream: bool = True  # whether the answer may be streamed


type BodyRule = AnyBody | NoBody | Unexamined | JsonBody | FormBody | MultipartBody | GraphqlBody | McpBody | LlmBody

ANY_BODY = AnyBody()

BODIES_BY_WORD: Mapping[str, BodyRule] = {"any": ANY_BODY, "none": NoBody(), "unexamined": Unexamined()}
"""The rules that one word says, in a cluster's file as in its normal form."""
