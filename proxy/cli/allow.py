"""`init --allow 'GET https://host/path/{id}'`: the first task clusters, from what one would like to call."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from urllib.parse import SplitResult, urlsplit

import typer

from proxy.cli.entries import scalar
from proxy.core.errors import Rejected
from proxy.core.model import Risk
from proxy.core.names import DEFAULT_PORTS, ip_literal, load_host
from proxy.core.templates import parse_template
from proxy.core.verify import SAFE_METHODS

ANY = "*"

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")
_UNFIT = re.compile(r"[^a-z0-9]+")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!$'()*+,=@/{}:%-]*[A-Za-z0-9._~!$'()*+,=@/{}%-]|/")
_MAX_NAME_CHARS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """One call to allow: methods on a path template at one origin."""

    methods: tuple[str, ...]
    scheme: str
    host: str
    port: int
    path: str
    any_query: bool
    query: tuple[tuple[str, str], ...]  # name and value; the value "*" stands for any

    @property
    def risk(self) -> Risk:
        """A method that writes changes the world until somebody says that it does not."""
        return Risk.ROUTINE if SAFE_METHODS.issuperset(self.methods) else Risk.TRANSFORMATIVE

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")

    @property
    def example_url(self) -> str:
        """A URL that it permits, with 1 for every parameter."""
        return self.origin + re.sub(r"\{[^}]*\}", "1", self.path)


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


def cluster_entries(permits: Iterable[Permit], *, taken: Iterable[str] = ()) -> dict[str, list[str]]:
    """Entries for clusters.yaml by cluster id: one for every origin, and one more where something is written.

    None gets an id that is `taken`.
    """
    grouped: dict[tuple[str, Risk], list[Permit]] = {}
    for permit in dict.fromkeys(permits):
        grouped.setdefault((permit.origin, permit.risk), []).append(permit)
    entries: dict[str, list[str]] = {}
    for (origin, risk), group in grouped.items():
        kind = "" if risk is Risk.ROUTINE else " changes"
        name = _unused(operation_name(group[0].host, str(group[0].port), kind), {*taken, *entries})
        entries[name] = _entry(name, origin, group, risk)
    return entries


def _entry(name: str, origin: str, group: Sequence[Permit], risk: Risk) -> list[str]:
    first = group[0]
    verb, note = "read", ""
    if risk is Risk.TRANSFORMATIVE:
        verb, note = "changed", " # every call and every release is signed; say routine if it only reads"
    addresses = _addresses(first.host)
    lines = [
        f"- id: {name}",
        f"  description: {scalar(f'What may be {verb} at {origin}.')}",
        f"  hosts: [{scalar(first.host)}]",
        f"  ports: [{first.port}]",
        f"  schemes: [{first.scheme}]",
        *([f"  addresses: [{', '.join(map(scalar, addresses))}]"] if addresses else []),
        f"  risk: {risk.value}{note}",
        "  operations:",
    ]
    names: dict[str, None] = {}
    for permit in group:
        operation = _unused(operation_name(*permit.methods, permit.path), names)
        names[operation] = None
        lines += [f"    {line}" for line in operation_lines(operation, permit)]
    return lines


def operation_lines(name: str, permit: Permit) -> list[str]:
    """One operation of a cluster, as lines without indentation."""
    path = permit.path if _PLAIN_PATH.fullmatch(permit.path) else json.dumps(permit.path)
    lines = [f"- name: {name}", f"  methods: [{', '.join(permit.methods)}]", f"  path: {path}"]
    if permit.any_query:
        lines.append("  query: any")
    elif permit.query:
        lines.append("  query:")
        for parameter in dict.fromkeys(key for key, _ in permit.query):
            values = [value for key, value in permit.query if key == parameter]
            shown = "any" if ANY in values else f"[{', '.join(map(scalar, dict.fromkeys(values)))}]"
            lines.append(f"    {scalar(parameter)}: {shown}")
    return lines


def _addresses(host: str) -> list[str]:
    """Where the host may resolve, when that is not the public internet."""
    literal = ip_literal(host)
    if literal is not None:
        return [str(ip_network(literal))]
    return ["127.0.0.0/8", "::1/128"] if host == "localhost" else []


def _query(text: str, parts: SplitResult) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in parts.query.split("&") if parts.query else ():
        name, equals, value = part.partition("=")
        if not name or not equals or not value:
            raise _bad(text, f"write {name or 'name'}=VALUE, or {name or 'name'}=* for any")
        pairs.append((name, value))
    return tuple(pairs)


def operation_name(*parts: str) -> str:
    """An id made of words and whatever else: `GET /v1/{id}` is `get-v1-id`."""
    words = _UNFIT.sub("-", " ".join(parts).lower()).strip("-")
    return words[:_MAX_NAME_CHARS].rstrip("-") or "root"


def _unused(name: str, taken: Iterable[str]) -> str:
    names, number = set(taken), 2
    wanted = name
    while wanted in names:
        wanted, number = f"{name}-{number}", number + 1
    return wanted


def _bad(text: str, why: str) -> typer.BadParameter:
    example = "'GET https://api.example.com/v1/items/{id}'"
    return typer.BadParameter(f"expected something like {example}, got {text!r}: {why}")
