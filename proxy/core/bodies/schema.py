"""JSON Schema 2020-12 for bodies: compiled once when rules are loaded, then asked what is wrong with a document.

Nothing is ever fetched: a reference may point only into the schema itself. Patterns run in linear time (no look-around,
no back-references). Formats are asserted, not only annotated. A keyword that would not be asserted is refused, so that
a slip of the pen does not let everything through.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import jsonschema_rs

from proxy.core.bodies.shapes import escaped, kind_of
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.folding import unjoined

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MAX_VALUES = 10_000
"""How many values a schema may have, itself and everything in it."""

MAX_DEPTH = 64
MAX_FAULTS = 10
MAX_TOLD = 1_000
"""Up to how many values of a document its faults are told one by one; of a larger one only that it does not fit, since
collecting the faults costs up to their number times the size of the document."""

_ONE = frozenset(
    {
        *("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "dependentSchemas", "patternProperties", "properties"})
_ASSERTED = frozenset(
    {
        *("const", "dependentRequired", "enum", "format", "multipleOf", "pattern", "required", "type", "uniqueItems"),
        *("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "maxContains", "minContains"),
        *("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"),
    }
)
_TOLD = frozenset({"$anchor", "$comment", "default", "deprecated", "description", "examples", "title"})
_OF_THE_WHOLE = frozenset({"$id", "$schema"})
_NEEDS = {"then": "if", "else": "if", "maxContains": "contains", "minContains": "contains"}

type _Plain = dict[str, _Plain] | list[_Plain] | str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledSchema:
    """A schema, ready to be asked. Made by `compile_schema` only."""

    _validator: jsonschema_rs.Draft202012Validator = field(repr=False, compare=False)
    _names: frozenset[str] = field(repr=False)  # every member that any part of the schema names
    _unjoined: frozenset[str] = field(repr=False)

    def check_spelling(self, document: Json) -> None:
        """Refuse a member, anywhere, that some reader takes for one the schema names, and that is not it.

        To the schema it is another member, which may have any value; a server that ignores case or joints takes it.

        Raises:
            Rejected(BODY_MALFORMED): there is one.
        """
        waiting = [document]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Mapping):
                if any(name not in self._names and unjoined(name) in self._unjoined for name in value):
                    detail = "the body must spell the members that the rule names in the same letters"
                    raise Rejected(Code.BODY_MALFORMED, detail, field="body")
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)

    def faults(self, document: Json) -> tuple[tuple[str, str], ...]:
        """Where the document does not fit, and by which keyword: pairs of a JSON pointer (RFC 6901) and its name.

        At most `MAX_FAULTS`, and none when it fits. Of a document of more than `MAX_TOLD` values only `("", "schema")`.
        The pointers hold members' names of the document, but nothing holds its values.

        Raises:
            Rejected(BODY_MALFORMED): what no JSON text can hold, such as lone surrogates.
        """
        try:
            if self._validator.is_valid(document):
                return ()
            if _larger_than(document, MAX_TOLD):
                return (("", "schema"),)
            found = (
                (_pointer(fault.instance_path), fault.kind.name) for fault in self._validator.iter_errors(document)
            )
            return tuple(islice(dict.fromkeys(found), MAX_FAULTS))
        except ValueError:  # whatever the validator cannot take in
            raise Rejected(Code.BODY_MALFORMED, "the body cannot be compared with a JSON Schema") from None


def compile_schema(schema: Json) -> CompiledSchema:
    """A JSON Schema of draft 2020-12, checked and ready to be asked.

    Not checked here: that anything can fit it, and that it does not grow out of bounds where its parts refer to each
    other many times over: that is for whoever signs it.

    Raises:
        Rejected(CONFIG_INVALID): another draft, references to elsewhere, keywords that would not be asserted, patterns
            without a linear-time reading, unknown formats, or no schema at all.
    """
    if _larger_than(schema, MAX_VALUES):
        raise _bad("", f"expected at most {MAX_VALUES} values")
    if isinstance(schema, Mapping):
        plain: dict[str, _Plain] | bool = {name: _plain(value, 1) for name, value in schema.items()}
    elif isinstance(schema, bool):
        plain = schema
    else:
        raise _bad("", f"expected an object, true or false, got {kind_of(schema)}")
    _check(schema, "")
    try:
        validator = jsonschema_rs.Draft202012Validator(
            plain,
            validate_formats=True,
            ignore_unknown_formats=False,
            pattern_options=jsonschema_rs.RegexOptions(),
            offline=True,
        )
    except (ValueError, jsonschema_rs.ReferencingError) as fault:
        raise _bad("", f"not a JSON Schema that can be used: {_first_line(fault)}") from None
    names = frozenset(_named(schema))
    return CompiledSchema(_validator=validator, _names=names, _unjoined=frozenset(map(unjoined, names)))


def _plain(value: Json, depth: int) -> _Plain:
    """The same as lists and dicts, which the validator needs."""
    if depth > MAX_DEPTH:
        raise _bad("", f"expected values at most {MAX_DEPTH} deep")
    match value:
        case Mapping():
            return {name: _plain(member, depth + 1) for name, member in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return [_plain(item, depth + 1) for item in value]


def _check(schema: Json, where: str) -> None:
    """Refuse what would be read in another way than it was meant, here and in every part."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise _bad(where, f"expected a schema, got {kind_of(schema)}")
    for name, value in schema.items():
        place = f"{where}/{escaped(name)}"
        _check_keyword(name, value, where, place)
        if (needed := _NEEDS.get(name)) is not None and needed not in schema:
            raise _bad(place, f"without {needed} it says nothing; add {needed}")
    for part, place in _parts(schema, where):
        _check(part, place)


def _check_keyword(name: str, value: Json, where: str, place: str) -> None:
    if name == "$ref":
        if not isinstance(value, str) or not value.startswith("#"):
            raise _bad(place, 'expected a reference into this schema, such as "#/$defs/name"; nothing is ever fetched')
    elif name in _OF_THE_WHOLE:
        if where:
            raise _bad(place, f"{name} may stand only at the top of the schema; remove it")
        if name == "$schema" and value != DRAFT:
            raise _bad(place, f'expected "{DRAFT}", or no $schema; other drafts read the same words in other ways')
    elif name not in _ONE | _LISTS | _NAMED | _ASSERTED | _TOLD:
        raise _bad(place, "this is not a keyword of JSON Schema 2020-12 that is asserted here; remove it or mend it")


def _parts(schema: Mapping[str, Json], where: str) -> Iterator[tuple[Json, str]]:
    """The schemas that a schema directly holds; a wrong shape around them is the validator's to find."""
    for name, value in schema.items():
        place = f"{where}/{escaped(name)}"
        if name in _ONE:
            yield value, place
        elif name in _LISTS and isinstance(value, list | tuple):
            yield from ((item, f"{place}/{number}") for number, item in enumerate(value))
        elif name in _NAMED and isinstance(value, Mapping):
            yield from ((member, f"{place}/{escaped(key)}") for key, member in value.items())


def _named(schema: Json) -> Iterator[str]:
    """Every member that a valid schema names, in any of its parts."""
    if not isinstance(schema, Mapping):
        return
    for keyword in ("properties", "required", "dependentRequired", "dependentSchemas"):
        yield from _texts(schema.get(keyword))
    needed = schema.get("dependentRequired")
    for names in needed.values() if isinstance(needed, Mapping) else ():
        yield from _texts(names)
    for part, _ in _parts(schema, ""):
        yield from _named(part)


def _texts(value: Json) -> Iterator[str]:
    """The names of an object's members, or the strings in a list."""
    if isinstance(value, Mapping | list | tuple):
        yield from (text for text in value if isinstance(text, str))


def _larger_than(document: Json, most: int) -> bool:
    """Whether it has more values than that; a long string counts as one for each hundred characters."""
    counted = 0
    waiting = [document]
    while waiting and counted <= most:
        value = waiting.pop()
        counted += 1 + (len(value) // 100 if isinstance(value, str) else 0)
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            waiting.extend(value)
    return counted > most


def _pointer(path: Sequence[str | int]) -> str:
    return "".join(f"/{escaped(str(token))}" for token in path)


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0][:200]


def _bad(where: str, detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, f"{where or 'the schema'}: {detail}", field=where)
