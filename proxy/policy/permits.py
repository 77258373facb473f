"""Task clusters from what one would like to call: the lines of YAML that would permit it."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from proxy.core.model import Risk
from proxy.core.names import DEFAULT_PORTS, ip_literal
from proxy.core.verify import SAFE_METHODS

ANY = "*"

_UNFIT = re.compile(r"[^a-z0-9]+")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._~!$'()*+,=@/{}:%-]*[A-Za-z0-9._~!$'()*+,=@/{}%-]|/")
_MAX_NAME_CHARS = 60
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(?: [A-Za-z0-9_.-]+)*")
_WORDS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false", "null"})


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


def scalar(text: str) -> str:
    """Text as a YAML scalar that every reader understands alike: plain where that is safe, else in double quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
