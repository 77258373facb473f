"""The OpenAPI 3.1 document, made of the same entries as the routes."""

import re
from collections.abc import Iterable

from proxy.core.encoding import Json
from proxy.review.desk.api.operations import BASE, Operation
from proxy.review.desk.api.problems import GUIDES_HERE, MEDIA
from proxy.review.desk.api.schemas import COMPONENTS, named

VERSION = "1"

_ALWAYS = (400, 401, 403, 429, 500, 503)
_WITH_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
_ABOUT = (
    "What people decide at the review desk, for programs. A token names one person; `desk tokens add` makes it. "
    "Of what may change things, or needs several people, the desk signs nothing: ask for a draft, sign it with the "
    "person's own key, and record it."
)


def document(operations: Iterable[Operation], *, server: str) -> dict[str, Json]:
    """The whole document."""
    paths: dict[str, dict[str, Json]] = {}
    for each in operations:
        there = paths.setdefault(each.path, _path(each.path))
        there[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "intent-proxy review desk", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": f"{server}{BASE}"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(COMPONENTS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _path(path: str) -> dict[str, Json]:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    return {"parameters": parameters} if parameters else {}


def _operation(each: Operation) -> Json:
    kind = "text/event-stream" if each.stream else "application/json"
    answered: dict[str, Json] = {
        "200": {"description": "Done.", "content": {kind: {} if each.stream else {"schema": named(each.answer)}}}
    }
    for status in sorted({*_ALWAYS, *each.statuses}):
        answered[str(status)] = _refusal(status)
    about: dict[str, Json] = {
        "operationId": each.name,
        "summary": each.summary,
        "description": f"Needs the scope `{each.scope.value}`.",
        "parameters": [
            {
                "name": param.name,
                "in": "query",
                "description": param.summary,
                "schema": {"type": "array", "items": param.schema} if param.many else param.schema,
            }
            for param in each.query
        ],
        "responses": answered,
    }
    if each.body is not None:
        content = {"application/json": {"schema": named(each.body)}}
        about["requestBody"] = {"required": True, "content": content}
    return about


def _refusal(status: int) -> Json:
    titles = sorted({guide.title for guide in GUIDES_HERE.values() if guide.status == status})
    found: dict[str, Json] = {
        "description": ". ".join(titles) or "Cannot be told now",
        "content": {MEDIA: {"schema": named("Problem")}},
    }
    if status in _WITH_HEADERS:
        found["headers"] = {_WITH_HEADERS[status]: {"schema": {"type": "string"}}}
    return found
