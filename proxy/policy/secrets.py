"""The secrets that clusters may name, as proxy.yaml has them: where each comes from, never what it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from proxy.core.encoding import Json
from proxy.policy.document import DURATION_PATTERN, duration_s
from proxy.policy.faults import instead, shown
from proxy.policy.values import Written

EVERY = "10m"
_LEAST, _MOST = "5s", "1d"
_SOURCES = frozenset({"file", "environment", "command"})
_OF_COMMANDS = frozenset({"every", "inherits"})
VARIABLE_PATTERN = "[A-Za-z_][A-Za-z0-9_]{0,127}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where a secret comes from: exactly one of a file, a variable, and a command's output."""

    file: Path | None = None
    environment: str | None = None
    command: tuple[str, ...] = field(default=(), repr=False)
    every: timedelta = timedelta(seconds=duration_s(EVERY))
    inherits: tuple[str, ...] = ()


def read_source(value: object, file: Path) -> SecretSource:
    """A source as it stands in `file`.

    Raises:
        ValueError: it is none, in a sentence for people. Nothing that was written is repeated but keys: it may be the
            secret itself.
    """
    if not isinstance(value, Mapping):
        raise ValueError("expected where it comes from, such as {file: /run/secrets/erp}; never the secret itself")
    members = {str(key): inner for key, inner in value.items()}
    for key in members:
        if key not in _SOURCES | _OF_COMMANDS:
            raise ValueError(f"unknown key {shown(key)}{instead(key, _SOURCES | _OF_COMMANDS)}")
    if len(members.keys() & _SOURCES) != 1:
        raise ValueError("expected exactly one of file, environment and command")
    if "command" not in members and members.keys() & _OF_COMMANDS:
        raise ValueError("every and inherits belong to a command; leave them out")
    return SecretSource(
        file=_path(members["file"], file) if "file" in members else None,
        environment=_variable(members["environment"]) if "environment" in members else None,
        command=_command(members["command"]) if "command" in members else (),
        every=_every(members.get("every", EVERY)),
        inherits=_variables(members.get("inherits", ())),
    )


def _path(value: object, file: Path) -> Path:
    if not isinstance(value, str) or not value or value.startswith("~") or "\0" in value:
        raise ValueError('file must be a path, relative to this file or from "/"')
    return file.parent / value


def _variable(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(VARIABLE_PATTERN, value):
        raise ValueError("expected the name of an environment variable such as ERP_TOKEN")
    return value


def _variables(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("inherits must be a list of names of environment variables")
    return tuple(_variable(item) for item in value)


def _command(value: object) -> tuple[str, ...]:
    words = tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()
    if not words or not isinstance(value, list | tuple) or len(words) != len(value) or not words[0]:
        raise ValueError("command must be a list of words such as [vault, read, -field=token, kv/erp]; no shell is run")
    if "/" in words[0] and not words[0].startswith("/"):
        raise ValueError('command must name a program by its whole path, from "/", or by a name that is on PATH')
    if any("\0" in word for word in words):
        raise ValueError("command must not hold NUL characters")
    return words


def _every(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError("every must be a duration such as 10m")
    seconds = duration_s(value)
    if not duration_s(_LEAST) <= seconds <= duration_s(_MOST):
        raise ValueError(f"every must be a duration from {_LEAST} to {_MOST}, got {value}")
    return timedelta(seconds=seconds)


_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "file": {
            "description": "A file with the secret and nothing else; others must not be able to read it.",
            "type": "string",
            "minLength": 1,
            "pattern": "^[^~]",
        },
        "environment": {
            "description": "A variable in the proxy's own environment.",
            "type": "string",
            "pattern": f"^{VARIABLE_PATTERN}$",
        },
        "command": {
            "description": "A program and its arguments; no shell is run. What it prints is the secret.",
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
        },
        "every": {
            "description": "How often the command is run again.",
            "type": "string",
            "pattern": f"^{DURATION_PATTERN}$",
            "default": EVERY,
        },
        "inherits": {
            "description": "Variables of the proxy's environment that the command gets; else PATH alone.",
            "type": "array",
            "items": {"type": "string", "pattern": f"^{VARIABLE_PATTERN}$"},
        },
    },
    "oneOf": [{"required": ["file"]}, {"required": ["environment"]}, {"required": ["command"]}],
}

SECRET = Written(read=read_source, schema=_SCHEMA)
