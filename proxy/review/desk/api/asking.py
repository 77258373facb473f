"""What comes in: whose token it bears, and whether parameters and body are as the API's document says."""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

import jsonschema_rs
from starlette.requests import Request
from starlette.responses import Response

from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.review.desk.api.operations import Asking, Operation, Param
from proxy.review.desk.api.problems import Problem, problem_of
from proxy.review.desk.api.schemas import COMPONENTS, Schema
from proxy.review.desk.parts import ApiParts, DeskParts
from proxy.review.desk.tokens import Scope, Token, TooMany

MAX_BODY_BYTES = 131_072
MAX_PARAMETERS = 30

_CHALLENGE = 'Bearer realm="intent-proxy desk"'

type Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(operation: Operation, parts: DeskParts, api: ApiParts) -> Endpoint:
    """One operation as Starlette serves it: its handler is reached only with a token of its scope."""
    judged = None if operation.body is None else _validator({"$ref": f"#/components/schemas/{operation.body}"})
    numbers = {param.name: _validator(param.schema) for param in operation.query}

    async def serve(request: Request) -> Response:
        try:
            token = _token(request, api)
            policy = parts.policy()
            person = policy.bundle.people.get(token.person)
            if person is None:
                raise Problem("api.token_wrong", "the token names nobody who is enrolled", www_authenticate=_CHALLENGE)
            if operation.scope not in token.scopes:
                raise Problem("api.scope", f"the token has no scope {operation.scope.value}")
            asking = Asking(
                request=request,
                parts=parts,
                api=api,
                token=token,
                person=person,
                policy=policy,
                now=parts.clock(),
                query=_query(request, operation.query, numbers),
                body={} if judged is None else await _body(request, judged),
            )
            return await operation.handler(asking)
        except (Problem, Rejected, Unavailable) as fault:
            return problem_of(fault)

    return serve


def still_counts(api: ApiParts, parts: DeskParts, token: Token) -> bool:
    """Whether a token still opens what it opened: for streams, which outlive their request."""
    known = next((each for each in api.tokens.listing() if each.id == token.id), None)
    return (
        known is not None
        and Scope.READ in known.scopes
        and parts.clock() < known.until
        and known.person in parts.policy().bundle.people
    )


def _token(request: Request, api: ApiParts) -> Token:
    lines = request.headers.getlist("authorization")
    if not lines:
        raise Problem("api.token_missing", "the request bears no token", www_authenticate=_CHALLENGE)
    scheme, _, text = lines[0].partition(" ")
    try:
        found = api.tokens.find(text.strip()) if len(lines) == 1 and scheme.lower() == "bearer" else None
    except TooMany:
        raise Problem("api.too_many", "too many wrong tokens came in the last minute", retry_after="60") from None
    if found is None:
        detail = "there is no such token, or it has ended"
        raise Problem("api.token_wrong", detail, www_authenticate=f'{_CHALLENGE}, error="invalid_token"')
    return found


def _query(
    request: Request, params: tuple[Param, ...], judged: Mapping[str, jsonschema_rs.Draft202012Validator]
) -> dict[str, tuple[str, ...]]:
    """The query's parameters. One that the operation does not have is a fault: it would be passed over in silence."""
    known = {param.name: param for param in params}
    try:
        pairs = parse_qsl(
            request.url.query,
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise Problem("api.parameter", "the query cannot be read") from None
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        param = known.get(name)
        if param is None:
            raise Problem("api.parameter", f"there is no parameter {ascii(name)[:60]} here; {_names(known)}")
        if name in found and not param.many:
            raise Problem("api.parameter", f"{name} may be given once")
        fault = next(judged[name].iter_errors(_typed(param.schema, value)), None)
        if fault is not None:
            raise Problem("api.parameter", f"{name}: {_words(fault)}")
        found[name] = (*found.get(name, ()), value)
    return found


def _typed(schema: Schema, value: str) -> str | int:
    if schema.get("type") == "integer" and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value


def _names(known: Mapping[str, Param]) -> str:
    return f"there are {', '.join(known)}" if known else "there are none"


async def _body(request: Request, judged: jsonschema_rs.Draft202012Validator) -> Mapping[str, Json]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem("api.type", "the body must be application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise Problem("api.too_large", f"a body may have {MAX_BODY_BYTES} bytes")
    try:
        value = parse_json(
            bytes(data), code=Code.RELEASE_INVALID, what="the body", depth=8, members=500, one_reading=True
        )
    except Rejected as fault:
        raise Problem("api.body", fault.detail) from None
    wrong = next(judged.iter_errors(value), None)
    if wrong is not None or not isinstance(value, Mapping):
        raise Problem("api.body", "it must be an object" if wrong is None else _words(wrong))
    return value


def _validator(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": dict(COMPONENTS)}})


def _words(fault: jsonschema_rs.ValidationError) -> str:
    """Where a value is wrong and what was expected; of the value itself as little as possible."""
    where = "/".join(str(part) for part in fault.instance_path)
    return f"{where + ': ' if where else ''}{fault.message[:200]}"
