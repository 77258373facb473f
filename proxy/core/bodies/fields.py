"""Field rules and a schema on one JSON document: all rules in one walk, whatever the document is.

What an origin might read in another way is no absence: a member whose name some reader takes for a named one is
refused, and a list or a scalar where a named field needs an object is a fault.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from proxy.core.bodies.pointers import EVERY, parse_pointer, token_text
from proxy.core.bodies.rules import FieldRule, JsonBody
from proxy.core.bodies.schema import CompiledSchema, compile_schema
from proxy.core.bodies.words import field_words
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.folding import Spellings, unjoined
from proxy.core.model import Mismatch
from proxy.core.shown import is_plain_name, shown, some_of

_INDEX = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place of a document that rules speak of, and the places right below it."""

    pointer: str  # as the rules write it
    rule: FieldRule | None
    named: Mapping[str, "Place"]
    every: "Place | None"  # below every item of a list or member of an object
    unjoined: frozenset[str]  # `named` without regard to case and joints
    needed: bool  # it, or a named place below it, must be there

    def check_spelling(self, value: Json, spellings: Spellings) -> None:
        """Refuse a member that some reader takes for one the rules name, and that is not it.

        Raises:
            Rejected(BODY_MALFORMED): there is one, here or below.
        """
        if self.named and isinstance(value, Mapping):
            spelt = spellings.of(value)
            if any(name not in self.named for key in self.unjoined for name in spelt.get(key, ())):
                detail = f"the body must spell the members {some_of(self.named)} so, in the same letters"
                raise Rejected(Code.BODY_MALFORMED, detail, field=_place_of(self.pointer))
        for name, member in self._looked_at(value, only=False):
            for place in self._below(name):
                place.check_spelling(member, spellings)

    def faults(self, value: Json, *, only: bool) -> Iterator[Mismatch]:
        """What does not fit here and below. With `only`, also what no rule names, where rules name anything."""
        if self.rule is not None and not _holds(self.rule, value):
            yield _fault(self.pointer, field_words(self.rule, some_of), _told(self.rule, value))
        if not self.named and self.every is None:
            return
        if not isinstance(value, Mapping | list):
            yield _fault(self.pointer, "an object" if self.named else "an object or a list", "a single value")
            return
        if isinstance(value, list) and not all(_INDEX.fullmatch(name) for name in self.named):
            yield _fault(self.pointer, "an object", "a list")
            return
        there = set()
        for name, member in self._looked_at(value, only=only):
            there.add(name)
            below = self._below(name)
            for place in below:
                yield from place.faults(member, only=only)
            if only and not below:
                yield _fault(self.pointer, f"nothing but {some_of(self.named)}", shown(name))
        for name, place in self.named.items():
            if place.needed and name not in there:
                yield _fault(place.pointer, "present", "absent")

    def _looked_at(self, value: Json, *, only: bool) -> Iterable[tuple[str, Json]]:
        """The members, or items, that matter here: where just some are named, and others may be there, those alone."""
        if only or self.every is not None or not isinstance(value, Mapping):
            return _members(value)
        return ((name, value[name]) for name in self.named if name in value)

    def _below(self, name: str) -> list["Place"]:
        return [place for place in (self.named.get(name), self.every) if place is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedJson:
    """A JSON rule ready to compare."""

    root: Place
    only: bool
    schema: CompiledSchema | None

    def faults(self, document: Json, spellings: Spellings | None = None) -> Iterator[Mismatch]:
        """What in the document the rule does not permit. Values are told only where a rule constrains them.

        `spellings` are the document's, where several rules are asked about it.

        Raises:
            Rejected(BODY_MALFORMED): a member is spelled in another way than the rules spell it.
        """
        self.root.check_spelling(document, Spellings() if spellings is None else spellings)
        if self.schema is not None:
            self.schema.check_spelling(document)
        yield from self.root.faults(document, only=self.only)
        if self.schema is not None:
            for pointer, broken in self.schema.faults(document):
                yield _fault(_plainly(pointer), f"the schema's {broken}", "something else")


def prepare_json(rule: JsonBody) -> PreparedJson:
    """Make a JSON rule ready to compare; its schema is compiled here, once.

    Raises:
        Rejected(CONFIG_INVALID): a pointer or the schema is none, or rules contradict each other.
    """
    if rule.only and not rule.fields:
        raise Rejected(Code.CONFIG_INVALID, "only needs fields: name those that may be there")
    return PreparedJson(
        root=_place("", [(parse_pointer(field.pointer), field) for field in rule.fields]),
        only=rule.only,
        schema=None if rule.schema is None else compile_schema(json.loads(rule.schema)),
    )


def _place(pointer: str, rules: Iterable[tuple[tuple[str, ...], FieldRule]]) -> Place:
    here: list[FieldRule] = []
    below: dict[str, list[tuple[tuple[str, ...], FieldRule]]] = {}
    for tokens, each in rules:
        if tokens:
            below.setdefault(tokens[0], []).append((tokens[1:], each))
        else:
            here.append(each)
    if len(here) > 1:
        raise Rejected(Code.CONFIG_INVALID, f"{pointer} has two rules; keep one")
    rule = here[0] if here else None
    if rule is not None:
        _check(rule, leaf=not below)
    places = {token: _place(f"{pointer}/{token_text(token)}", inner) for token, inner in below.items()}
    every = places.pop(EVERY, None)
    return Place(
        pointer=pointer,
        rule=rule,
        named=places,
        every=every,
        unjoined=frozenset(map(unjoined, places)),
        needed=(rule is not None and rule.required) or any(place.needed for place in places.values()),
    )


def _check(rule: FieldRule, *, leaf: bool) -> None:
    if sum(rule.conditions) > 1:
        detail = "one_of, least and most, max_chars and max_items are for different values; keep one of them"
        raise Rejected(Code.CONFIG_INVALID, f"{rule.pointer}: {detail}")
    if rule.least is not None and rule.most is not None and rule.least > rule.most:
        raise Rejected(Code.CONFIG_INVALID, f"{rule.pointer}: least must not be above most")
    if any(rule.conditions[:3]) and not leaf:
        raise Rejected(Code.CONFIG_INVALID, f"{rule.pointer} is a single value, so nothing can lie below it")


def _plainly(pointer: str) -> str:
    """A pointer from a document, whose members' names may be anything, secrets too: only plain ones are told."""
    return "".join(f"/{token if is_plain_name(token) else EVERY}" for token in pointer.split("/")[1:])


def _members(value: Json) -> Iterable[tuple[str, Json]]:
    """The members of an object, or the items of a list by their index."""
    if isinstance(value, Mapping):
        return value.items()
    return ((str(index), item) for index, item in enumerate(value)) if isinstance(value, list) else ()


def _holds(rule: FieldRule, value: Json) -> bool:
    if rule.values is not None:
        return not isinstance(value, Mapping | list) and _text(value) in rule.values
    if rule.least is not None or rule.most is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (rule.least is None or rule.least <= value) and (rule.most is None or value <= rule.most)
    if rule.max_chars is not None:
        return isinstance(value, str) and len(value) <= rule.max_chars
    if rule.max_items is not None:
        return isinstance(value, list) and len(value) <= rule.max_items
    return True


def _told(rule: FieldRule, value: Json) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if rule.max_chars is not None and isinstance(value, str):
        return f"{len(value)} characters"
    return shown(_text(value))


def _text(value: Json) -> str:
    """A scalar as a rule writes it: `12.0` is not `12`, and `"1"` is not `1`."""
    return json.dumps(value, ensure_ascii=False)


def _fault(pointer: str, expected: str, got: str) -> Mismatch:
    return Mismatch(field=_place_of(pointer), expected=expected, got=got)


def _place_of(pointer: str) -> str:
    return f"body.{shown(pointer)}" if pointer else "body"
