"""`init --allow 'GET https://host/path/{id}'`: what one would like to call, as it is written on a command line."""

import re
from urllib.parse import SplitResult, urlsplit

import typer

from proxy.core.errors import Rejected
from proxy.core.names import DEFAULT_PORTS, load_host
from proxy.core.templates import parse_template
from proxy.policy.permits import ANY, Permit

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")


def read_permit(text: str) -> Permit:
    """`GET https://host/path/{id}?page=*&status=open`; an option's parser. Several methods: `GET,HEAD`.

    In the query `name=*` permits any value, and `?*` any query at all; without one no query is permitted.

    Raises:
        typer.BadParameter: anything else.
    """
    methods, space, url = text.strip().partition(" ")
    names = tuple(dict.fromkeys(methods.split(",")))
    if not space or not all(_METHOD.fullmatch(name) for name in names):
        raise _bad(text, "write METHOD, a space and a URL")
    try:
        parts = urlsplit(url.strip())
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
        host = load_host(parts.hostname or "")
        path = parse_template(parts.path or "/").text
    except (ValueError, Rejected) as fault:
        raise _bad(text, fault.detail if isinstance(fault, Rejected) else str(fault)) from None
    if not port or parts.username is not None or parts.fragment:
        raise _bad(text, "the URL must be http:// or https://, without user and fragment")
    return Permit(
        methods=names,
        scheme=parts.scheme,
        host=host,
        port=port,
        path=path,
        any_query=parts.query == ANY,
        query=() if parts.query == ANY else _query(text, parts),
    )


def _query(text: str, parts: SplitResult) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in parts.query.split("&") if parts.query else ():
        name, equals, value = part.partition("=")
        if not name or not equals or not value:
            raise _bad(text, f"write {name or 'name'}=VALUE, or {name or 'name'}=* for any")
        pairs.append((name, value))
    return tuple(pairs)


def _bad(text: str, why: str) -> typer.BadParameter:
    example = "'GET https://api.example.com/v1/items/{id}'"
    return typer.BadParameter(f"expected something like {example}, got {text!r}: {why}")
