"""Routes: which calls a reviewer's grant lets pass, derived from one that was held and no wider than they ask."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus

from proxy.core.bodies.media import media_type
from proxy.core.encoding import b64u
from proxy.core.errors import Code, Rejected
from proxy.core.hiding import masked_path
from proxy.core.model import Call, Unread
from proxy.core.templates import parse_template

ANY_BODY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The calls a grant lets pass. In each, the query has the same parameters in the same order and spelling."""

    method: str
    origin: str
    path: str  # a literal path in canonical form; with "{", a path template
    query: str  # canonical, after its "?"; "" for none
    vary: tuple[str, ...]  # names of its parameters, in order, whose values may be others
    body: str  # base64url SHA-256 of the body, or "any"
    media: str  # its type; "" for none


def route_of(call: Call, *, path: str | None = None, vary: Sequence[str] = (), any_body: bool = False) -> Route:
    """The narrowest route that covers `call`, widened as asked: a path template, parameters that vary, any body.

    Raises:
        Rejected(RELEASE_INVALID): it would not cover the call, names a parameter that the call does not have, or the
            call opens a WebSocket, which is released by itself.
    """
    code = Code.RELEASE_INVALID
    if call.websocket:
        raise Rejected(code, "a WebSocket is released by itself: what passes in it is not known before", field="path")
    there = {name for name, _ in call.parameters}
    if odd := sorted(set(vary) - there):
        has = ", ".join(sorted(there)) or "none"
        raise Rejected(code, f"the query has no parameter {ascii(odd[0])[:80]} that could vary; it has {has}")
    if isinstance(call.body, Unread):
        raise Rejected(code, "a call whose body nobody could read is released by itself", field="body")
    if (media := _media(call)) is None:
        raise Rejected(code, "a call without one type of its body (Content-Type) is released by itself", field="media")
    digest = b64u(hashlib.sha256(call.body).digest())
    route = Route(
        method=call.method,
        origin=call.origin,
        path=call.path if path is None else _template(path),
        query=call.query,
        vary=tuple(sorted(set(vary))),
        body=ANY_BODY if any_body else digest,
        media=media,
    )
    if not covers(route, call):
        raise Rejected(code, f"the path {path} does not cover the held call's {masked_path(call.path)}", field="path")
    return route


def covers(route: Route, call: Call) -> bool:
    """Whether a call lies on the route."""
    return (
        not call.websocket
        and (call.method, call.origin) == (route.method, route.origin)
        and _path_covers(route.path, call)
        and _query_covers(route, call)
        and _body_covers(route, call)
    )


def _path_covers(path: str, call: Call) -> bool:
    if "{" not in path:
        return path == call.path
    try:
        return parse_template(path).matches(call.segments)
    except Rejected:
        return False


def _query_covers(route: Route, call: Call) -> bool:
    if not route.vary:
        return route.query == call.query
    ours, theirs = route.query.split("&"), call.query.split("&")
    if len(ours) != len(theirs):
        return False
    for mine, given in zip(ours, theirs, strict=True):
        name = mine.partition("=")[0]
        if mine != given and (name != given.partition("=")[0] or unquote_plus(name) not in route.vary):
            return False
    return True


def _body_covers(route: Route, call: Call) -> bool:
    if isinstance(call.body, Unread) or _media(call) != route.media:
        return False
    return route.body in (ANY_BODY, b64u(hashlib.sha256(call.body).digest()))


def _media(call: Call) -> str | None:
    """The type of a call's body, "" without one; None where it has several or none that can be read."""
    try:
        media = media_type(call.headers)
    except Rejected:
        return None
    return "" if media is None else media.type


def _template(path: str) -> str:
    try:
        return parse_template(path).text
    except Rejected as fault:
        raise Rejected(Code.RELEASE_INVALID, fault.detail, field="path") from None
