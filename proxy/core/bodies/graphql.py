"""What a GraphQL request asks a server to run: which operation, and the fields at its root.

The shape of the request is that of GraphQL over HTTP, §5.4 (POST, `application/json`), alone or in a list (a batch, as
several servers take it). Documents are those of the GraphQL specification, read with the reference parser.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from graphql.error import GraphQLError
from graphql.language import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    Lexer,
    OperationDefinitionNode,
    Source,
    TokenKind,
    parse,
)

from proxy.core.bodies.shapes import a_text, an_object, kind_of, malformed, one_or_batch, only
from proxy.core.encoding import Json

MAX_CHARACTERS = 131_072
"""Of all documents of one body together. Long values belong into variables."""

MAX_TOKENS = 15_000
"""The same, comments included. Within both bounds reading takes at most about a fifth of a second."""

MAX_DEPTH = 64
"""How deep braces, brackets and parentheses may nest. The parser calls itself for each, so this is known before."""

_MEMBERS = frozenset({"query", "operationName", "variables", "extensions"})
_EXTENSIONS = frozenset({"persistedQuery", "clientLibrary"})  # the second only names the sender
_OPENING = frozenset({TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L})
_CLOSING = frozenset({TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R})
_LINE_ENDS = re.compile("\r(?!\n)|[\u2028\u2029]")
_IN_FULL = "send the text of the query in full"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphqlCall:
    """One operation that the server is asked to run."""

    name: str | None  # as the document names it; None for an anonymous operation
    kind: str  # "query", "mutation" or "subscription"
    fields: frozenset[str]  # of the root: the fields' own names, never aliases, through every fragment


def read_graphql(document: Json) -> tuple[GraphqlCall, ...]:
    """Every operation that a JSON body asks for; a batch asks for several.

    A field counts whatever its type condition, `@skip` or `@include` says; `__typename`, `__schema` and `__type` are
    fields like any other. A request by hash alone cannot be read, and is refused; one with both must match.

    Not checked here: the server's schema, so arguments, types and what lies below the root.

    Raises:
        Rejected(BODY_MALFORMED): anything a server could read in another way, or cannot run at all.
    """
    calls: list[GraphqlCall] = []
    left = _Left()
    for request, where in one_or_batch(document):
        call, left = _call(request, where, left)
        calls.append(call)
    return tuple(calls)


class _Left(NamedTuple):
    """What documents may still take."""

    characters: int = MAX_CHARACTERS
    tokens: int = MAX_TOKENS


def _call(request: Mapping[str, Json], where: str, most: _Left) -> tuple[GraphqlCall, _Left]:
    """The call, and what is left of `most`."""
    only(request, _MEMBERS, where, mend=f"{_IN_FULL}, with operationName, variables and extensions at most")
    if request.get("query") is None:
        raise malformed(f"{where}/query", f"a query that is not there cannot be read; {_IN_FULL}")
    text = a_text(request["query"], f"{where}/query")
    _check_extensions(request.get("extensions"), text, f"{where}/extensions")
    if request.get("variables") is not None:
        an_object(request["variables"], f"{where}/variables")
    left = _Left(most.characters - len(text), most.tokens - _tokens(text, f"{where}/query", most))
    operation, fragments = _chosen(_parsed(text, f"{where}/query"), request.get("operationName"), where)
    call = GraphqlCall(
        name=None if operation.name is None else operation.name.value,
        kind=operation.operation.value,
        fields=_root_fields(operation, fragments, f"{where}/query"),
    )
    return call, left


def _check_extensions(value: Json, text: str, where: str) -> None:
    """A hash of a persisted query must be that of the text beside it: some servers run what the hash names."""
    if value is None:
        return
    extensions = an_object(value, where)
    only(extensions, _EXTENSIONS, where)
    if "persistedQuery" in extensions:
        persisted = an_object(extensions["persistedQuery"], f"{where}/persistedQuery")
        if persisted.get("sha256Hash") != hashlib.sha256(text.encode("utf-8", "replace")).hexdigest():
            raise malformed(f"{where}/persistedQuery", f"the hash is not that of the query; remove it and {_IN_FULL}")


# --- the document ----------------------------------------------------------------------------------------------------


def _tokens(text: str, where: str, most: _Left) -> int:
    """How many tokens the document has, once it is known to be short and shallow enough for the parser."""
    if len(text) > most.characters:
        raise malformed(where, f"expected at most {MAX_CHARACTERS} characters in all; use variables")
    if _LINE_ENDS.search(text):
        raise malformed(where, "a lone CR, U+2028 or U+2029 ends a line for some servers only; use LF")
    lexer = Lexer(Source(text))
    count = depth = 0
    try:
        while (token := lexer.advance()).kind is not TokenKind.EOF:
            count += 1
            depth += (token.kind in _OPENING) - (token.kind in _CLOSING)
            if depth > MAX_DEPTH or count > most.tokens:
                raise malformed(where, f"expected at most {MAX_TOKENS} tokens in all, nested at most {MAX_DEPTH} deep")
    except GraphQLError as fault:
        raise malformed(where, f"not a GraphQL document: {_told(fault)}") from None
    return count


def _parsed(text: str, where: str) -> DocumentNode:
    try:
        return parse(text, no_location=True)
    except GraphQLError as fault:
        raise malformed(where, f"not a GraphQL document: {_told(fault)}") from None


def _told(fault: GraphQLError) -> str:
    """Where the parser stopped; not its words, which quote the document."""
    return ", ".join(f"line {place.line}, column {place.column}" for place in fault.locations or ())


type _Fragments = Mapping[str, FragmentDefinitionNode]


def _chosen(document: DocumentNode, wanted: Json, where: str) -> tuple[OperationDefinitionNode, _Fragments]:
    """The operation that a server runs (GraphQL §6.1, GetOperation), and the document's fragments by name."""
    operations: dict[str, OperationDefinitionNode] = {}
    fragments: dict[str, FragmentDefinitionNode] = {}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            name = "" if definition.name is None else definition.name.value
            if name in operations or (operations and "" in {name, *operations}):
                raise malformed(f"{where}/query", "several operations must each have a name of their own")
            operations[name] = definition
        elif isinstance(definition, FragmentDefinitionNode):
            if definition.name.value in fragments:
                raise malformed(f"{where}/query", f"there are two fragments {definition.name.value[:80]}")
            fragments[definition.name.value] = definition
        else:
            raise malformed(f"{where}/query", "expected operations and fragments, got a type definition")
    if wanted is None or wanted == "":  # the empty name is none for some servers and an error for the others
        if len(operations) == 1:
            return next(iter(operations.values())), fragments
        raise malformed(f"{where}/operationName", f"expected the name of one of {len(operations)} operations, got none")
    if not isinstance(wanted, str):
        raise malformed(f"{where}/operationName", f"expected a string or null, got {kind_of(wanted)}")
    if wanted not in operations:
        raise malformed(f"{where}/operationName", "expected the name of an operation in the query")
    return operations[wanted], fragments


def _root_fields(operation: OperationDefinitionNode, fragments: _Fragments, where: str) -> frozenset[str]:
    """The fields that the operation selects at its root, through fragments of any kind (GraphQL §6.3.2)."""
    fields: set[str] = set()
    spreads: dict[str, set[str]] = {}  # at the root, which fragment spreads which; "" stands for the operation
    waiting = [("", operation.selection_set)]
    while waiting:
        within, selected = waiting.pop()
        fields |= {each.name.value for each in selected.selections if isinstance(each, FieldNode)}
        waiting += [
            (within, each.selection_set) for each in selected.selections if isinstance(each, InlineFragmentNode)
        ]
        for name in {each.name.value for each in selected.selections if isinstance(each, FragmentSpreadNode)}:
            if name not in fragments:
                raise malformed(where, f"there is no fragment {name[:80]}")
            if name not in spreads:
                spreads[name] = set()
                waiting.append((name, fragments[name].selection_set))
            spreads.setdefault(within, set()).add(name)
    try:
        TopologicalSorter(spreads).prepare()
    except CycleError:
        raise malformed(where, "a fragment must not spread itself") from None
    if not fields:
        raise malformed(where, "expected at least one field")
    return frozenset(fields)
