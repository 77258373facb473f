"""A grant's constraint on bodies: what must stand at certain places, whatever else the body says."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from proxy.core.bodies.fields import prepare_json
from proxy.core.bodies.parts import form_part, prepare_form
from proxy.core.bodies.pointers import find, parse_pointer
from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rules import FieldRule, FormBody, FormField, JsonBody
from proxy.core.model import Mismatch


def narrowing_faults(constraint: Mapping[str, frozenset[str]], reading: Reading) -> Iterator[Mismatch]:
    """What in a body lies outside a constraint, as `Constraints.body` has it.

    Each place must be there, and each value found there permitted. A place that begins with "/" is a JSON pointer,
    any other the name of a form's field.

    Raises:
        Rejected(BODY_MALFORMED, BODY_NOT_INSPECTED): the body cannot be read so.
    """
    if constraint and reading.empty:
        yield Mismatch(field="constraints.body", expected="a body", got="no body")
        return
    for place, values in constraint.items():
        if place.startswith("/"):
            faults = _json_faults(place, values, reading)
        else:
            faults = _form_faults(place, values, reading)
        for fault in faults:
            yield replace(fault, field=f"constraints.{fault.field}")


def _json_faults(pointer: str, values: frozenset[str], reading: Reading) -> Iterator[Mismatch]:
    document = reading.json()
    rule = JsonBody(fields=(FieldRule(pointer=pointer, values=values, required=True),))
    yield from prepare_json(rule).faults(document, reading.spellings)
    if "*" in pointer and not find(document, parse_pointer(pointer)):  # a list without items has nothing to compare
        yield Mismatch(field=f"body.{pointer}", expected="present", got="absent")


def _form_faults(name: str, values: frozenset[str], reading: Reading) -> Iterator[Mismatch]:
    texts = frozenset(text for text in map(json.loads, values) if isinstance(text, str))
    field = FormField(name=name, values=texts, required=True, repeated=True)
    parts = (form_part(given, value) for given, value in reading.form())
    return prepare_form(FormBody(fields=(field,), others=True)).faults(parts, reading.bases)
