"""The kinds of values in proxy.yaml: how pydantic reads them from YAML, and what their JSON Schema says."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.names import ip_literal, parse_authority
from proxy.core.store_url import read_store_url
from proxy.policy.document import (
    DURATION_PATTERN,
    ID_PATTERN,
    SIZE_PATTERN,
    duration_s,
    is_identifier,
    read_public_jwk,
    size_bytes,
)
from proxy.policy.faults import shown

_GENERATION = "[0-9A-Za-z._-]{1,64}"
_LISTEN = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+)):(?P<port>[0-9]{1,5})")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_ORIGIN = (
    r"(https://[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|http://([a-z0-9-]+\.)*localhost)"
    r"(:[1-9][0-9]{0,4})?"
)
_REDIS = r"(rediss?(\+sentinel|\+cluster)?|unix)://[!-~]+"
JWK_SCHEMA: dict[str, Json] = {
    "description": "A public key as JWK with exactly these members: OKP/Ed25519, or EC/P-256.",
    "oneOf": [
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["kty", "crv", "x"],
            "properties": {
                "kty": {"const": "OKP"},
                "crv": {"const": "Ed25519"},
                "x": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
            },
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["kty", "crv", "x", "y"],
            "properties": {
                "kty": {"const": "EC"},
                "crv": {"const": "P-256"},
                "x": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
                "y": {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"},
            },
        },
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """An address to listen on."""

    host: str  # an IP address without brackets
    port: int  # 0: any free one

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Annotates a pydantic field: `read` makes its value from what YAML gives, and the proxy.yaml it stands in.

    `read` raises `ValueError` or `Rejected` with a sentence for people.
    """

    read: Callable[[object, Path], object]
    schema: Mapping[str, Json] = field(default_factory=dict)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)

    def _validate(self, value: object, info: core_schema.ValidationInfo) -> object:
        try:
            return self.read(value, info.context if isinstance(info.context, Path) else Path("proxy.yaml"))
        except Rejected as fault:
            raise ValueError(fault.detail) from None


def _said(value: object) -> str:
    """What was written, in a message."""
    match value:
        case None | "":
            return "nothing"
        case str():
            return shown(value)
        case bool() | int():
            return json.dumps(value)
        case _:
            return "a list" if isinstance(value, tuple) else "a mapping"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        quote = "; put it in quotes" if isinstance(value, int) else ""
        raise ValueError(f"expected text, got {_said(value)}{quote}")
    return value


def span(least: str, most: str) -> Written:
    """A duration within bounds, both included."""

    def read(value: object, _: Path) -> timedelta:
        seconds = duration_s(value if isinstance(value, str) else _said(value))
        if not duration_s(least) <= seconds <= duration_s(most):
            raise ValueError(f"expected a duration from {least} to {most}, got {value}")
        return timedelta(seconds=seconds)

    return Written(read=read, schema={"type": "string", "pattern": f"^{DURATION_PATTERN}$"})


def size(least: str, most: str) -> Written:
    """A number of bytes within bounds, both included: `64KiB`."""

    def read(value: object, _: Path) -> int:
        number = size_bytes(value if isinstance(value, str) else _said(value))
        if not size_bytes(least) <= number <= size_bytes(most):
            raise ValueError(f"expected a size from {least} to {most}, got {value}")
        return number

    return Written(read=read, schema={"type": "string", "pattern": f"^{SIZE_PATTERN}$"})


def count(least: int, most: int) -> Written:
    """A whole number within bounds, both included."""

    def read(value: object, _: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"expected a whole number from {least} to {most}, got {_said(value)}")
        return value

    return Written(read=read, schema={"type": "integer", "minimum": least, "maximum": most})


def _version(value: object, _: Path) -> int:
    if type(value) is not int or value != 1:
        raise ValueError(f"expected 1, got {_said(value)}")
    return value


def _identifier(value: object, _: Path) -> str:
    if not is_identifier(text := _text(value)):
        raise ValueError(
            f"expected at most 64 lower-case letters, digits, dots, dashes and underscores, got {shown(text)}"
        )
    return text


def _path(value: object, file: Path) -> Path:
    text = _text(value)
    if text.startswith("~") or "\0" in text:
        raise ValueError(f'expected a path, relative to this file or from "/", got {shown(text)}')
    return file.parent / text


def _listen(value: object, _: Path) -> Listen:
    text = _text(value)
    parts = _LISTEN.fullmatch(text)
    try:
        if parts is None or int(parts["port"]) > 65_535:
            raise ValueError
        host = IPv6Address(parts["ipv6"]) if parts["ipv6"] else IPv4Address(parts["ipv4"])
    except ValueError:
        raise ValueError(
            f"expected an IP address and a port such as 127.0.0.1:8080 or [::1]:8080, got {shown(text)}"
        ) from None
    return Listen(host=str(host), port=int(parts["port"]))


def _listens(value: object, file: Path) -> tuple[Listen, ...]:
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"expected a list of at least one IP address and port, got {_said(value)}")
    found = tuple(_listen(item, file) for item in value)
    if len(set(found)) != len(found):
        raise ValueError("expected each address once")
    for each in found:
        if each.port == 0:  # packet rules lead to it, and somebody has to say where
            raise ValueError(f"expected a port, not any free one, got {each}")
    return found


def _own_listens(value: object, file: Path) -> tuple[Listen, ...]:
    found = _listens(value, file)
    for each in found:
        if ip_address(each.host).is_unspecified:
            raise ValueError(f"expected an address of this machine, not every one of them, got {each}")
    return found


def _under(value: object, _: Path) -> str:
    text = _text(value)
    if not _NAME.fullmatch(text) or ip_literal(text) is not None:
        raise ValueError(f"expected a name in lower case such as svc.cluster.local, got {shown(text)}")
    return text


def _generation(value: object, _: Path) -> str:
    text = _text(value)
    if not re.fullmatch(_GENERATION, text):
        wanted = "at most 64 letters, digits, dots, dashes and underscores, such as a pod's UID"
        raise ValueError(f"expected {wanted}, got {shown(text)}")
    return text


def _name_or_address(value: object, _: Path) -> str:
    text = _text(value)
    if (ip_literal(text) is None or "%" in text) and not _NAME.fullmatch(text):
        raise ValueError(f"expected a host name in lower case or an IP address, got {shown(text)}")
    return text


def _origin(value: object, _: Path) -> str:
    text = _text(value)
    if not re.fullmatch(_ORIGIN, text):
        wanted = "https://NAME or http://localhost:PORT, in lower case and with nothing after it"
        raise ValueError(f"expected {wanted}, got {shown(text)}")
    scheme, authority = text.split("://")
    try:
        parse_authority(authority, scheme)
    except Rejected as fault:
        raise ValueError(fault.detail) from None
    return text


def _redis(value: object, _: Path) -> str:
    text = _text(value)
    try:
        read_store_url(text)
    except Rejected as fault:  # it may hold a password, so it is not shown
        raise ValueError(fault.detail) from None
    return text


def _paths(value: object, file: Path) -> tuple[Path, ...]:
    if isinstance(value, str):
        return (_path(value, file),)
    if not isinstance(value, tuple) or not value:
        raise ValueError("expected a path, or a list of at least one")
    paths = tuple(_path(item, file) for item in value)
    if len(set(paths)) != len(paths):
        raise ValueError("expected each path once")
    return paths


_PATH_SCHEMA: Mapping[str, Json] = {"type": "string", "minLength": 1, "pattern": "^[^~]"}

VERSION = Written(read=_version, schema={"const": 1})
IDENTIFIER = Written(read=_identifier, schema={"type": "string", "pattern": f"^{ID_PATTERN}$"})
PATH = Written(read=_path, schema=_PATH_SCHEMA)
PATHS = Written(
    read=_paths,
    schema={
        "anyOf": [_PATH_SCHEMA, {"type": "array", "items": _PATH_SCHEMA, "minItems": 1, "uniqueItems": True}],
    },
)
LISTEN = Written(read=_listen, schema={"type": "string", "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]{1,5}$"})
_LISTENS_SCHEMA: Mapping[str, Json] = {
    "type": "array",
    "items": dict(LISTEN.schema),
    "minItems": 1,
    "uniqueItems": True,
}
LISTENS = Written(read=_listens, schema=_LISTENS_SCHEMA)
OWN_LISTENS = Written(read=_own_listens, schema=_LISTENS_SCHEMA)
UNDER = Written(read=_under, schema={"type": "string", "pattern": "^[0-9a-z._-]{1,253}$"})
GENERATION = Written(read=_generation, schema={"type": "string", "pattern": f"^{_GENERATION}$"})
NAME_OR_ADDRESS = Written(read=_name_or_address, schema={"type": "string", "pattern": "^[0-9A-Za-z:.-]{1,253}$"})
ORIGIN = Written(read=_origin, schema={"type": "string", "pattern": f"^{_ORIGIN}$"})
REDIS = Written(read=_redis, schema={"type": "string", "pattern": f"^{_REDIS}$"})
PUBLIC_KEY = Written(read=lambda value, _: read_public_jwk(value), schema=JWK_SCHEMA)
