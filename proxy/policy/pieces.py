"""Pieces that the JSON Schemas for editors are made of."""

from collections.abc import Iterable, Mapping

from proxy.core.encoding import Json

type Schema = dict[str, Json]


def record(properties: Mapping[str, Json], *, needed: Iterable[str], description: str) -> Schema:
    """A mapping with these keys and no other."""
    return {
        "description": description,
        "type": "object",
        "additionalProperties": False,
        "required": sorted(needed),
        "properties": dict(properties),
    }


def listing(items: Json, description: str, *, empty: bool = False) -> Schema:
    """A list without repeats."""
    return {
        "description": description,
        "type": "array",
        "items": items,
        "uniqueItems": True,
        "minItems": 0 if empty else 1,
    }
