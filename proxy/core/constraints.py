"""The constraints of a grant: how they are written in a manifest (RFC 9396 §2), and read from one."""

import re
from collections.abc import Mapping

from proxy.core.bodies.pointers import parse_pointer
from proxy.core.bodies.rules import scalar_text, scalar_values
from proxy.core.claims import MAX_NAME_CHARS, list_of, members_of, set_of, text_of, unfit, unique
from proxy.core.encoding import MAX_EXACT_INT, Json
from proxy.core.errors import Rejected
from proxy.core.model import Constraints

MAX_VALUE_CHARS = 1024
MAX_PLACES = 32
"""How many parameters, or places of a body, one grant may constrain. Each is looked for in every call, and an agent
writes the manifests of its own children."""

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")


def constraint_claims(narrowed: Constraints) -> dict[str, Json]:
    """The member `constraints` of an `authorization_details` entry, sets sorted."""
    constraints: dict[str, Json] = {}
    if narrowed.methods is not None:
        constraints["methods"] = sorted(narrowed.methods)
    if narrowed.params:
        constraints["params"] = {name: sorted(values) for name, values in narrowed.params.items()}
    if narrowed.query:
        constraints["query"] = {name: sorted(values) for name, values in narrowed.query.items()}
    if narrowed.body:
        constraints["body"] = {place: scalar_values(texts) for place, texts in narrowed.body.items()}
    return constraints


def constraints_of(value: Json, field: str) -> Constraints:
    """The constraints that a claim holds; one of an unknown kind closes rather than opens.

    Raises:
        Rejected(MANIFEST_MALFORMED): anything but `constraint_claims`; `field` names the member.
    """
    kinds = members_of(value, field, frozenset(), optional=frozenset({"methods", "params", "query", "body"}))
    methods = kinds.get("methods")
    return Constraints(
        methods=set_of(methods, f"{field}.methods", _METHOD, "methods") if "methods" in kinds else None,
        params=_values(kinds.get("params", {}), f"{field}.params"),
        query=_values(kinds.get("query", {}), f"{field}.query"),
        body=_body(kinds.get("body", {}), f"{field}.body"),
    )


def _values(value: Json, field: str) -> dict[str, frozenset[str]]:
    if not isinstance(value, Mapping) or len(value) > MAX_PLACES:
        raise unfit(field, f"an object of at most {MAX_PLACES} lists", value)
    permitted: dict[str, frozenset[str]] = {}
    for name, listed in value.items():
        text_of(name, field, MAX_NAME_CHARS)
        place = f"{field}.{name}"
        texts = [text_of(item, place, MAX_VALUE_CHARS, least=0) for item in list_of(listed, place)]
        permitted[name] = unique(texts, place)
    return permitted


def _body(value: Json, field: str) -> dict[str, frozenset[str]]:
    """JSON pointers with the scalars that may stand there, or names of a form's fields with their texts."""
    if not isinstance(value, Mapping) or len(value) > MAX_PLACES:
        raise unfit(field, f"an object of at most {MAX_PLACES} lists", value)
    permitted: dict[str, frozenset[str]] = {}
    for place, listed in value.items():
        text_of(place, field, MAX_NAME_CHARS)
        if place.startswith("/"):
            _check_pointer(place, field)
        scalars = [_scalar(item, f"{field}.{place}", place=place) for item in list_of(listed, f"{field}.{place}")]
        permitted[place] = unique(scalars, f"{field}.{place}")
    return permitted


def _check_pointer(text: str, field: str) -> None:
    try:
        parse_pointer(text)
    except Rejected:
        raise unfit(field, "JSON pointers (RFC 6901), or names of form fields", text) from None


def _scalar(value: Json, field: str, *, place: str) -> str:
    """The RFC 8785 text of a permitted value; a form's fields hold nothing but text."""
    if isinstance(value, str):
        return scalar_text(text_of(value, field, MAX_VALUE_CHARS, least=0))
    if place.startswith("/") and (value is None or isinstance(value, bool | int)) and abs(value or 0) <= MAX_EXACT_INT:
        return scalar_text(value)
    raise unfit(field, "text, or of a JSON pointer whole numbers, true, false or null", value)
