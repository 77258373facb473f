"""A command that works at a review desk elsewhere, by its API: which desk, with whose token."""

import inspect
import ipaddress
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from proxy.cli.where import given
from proxy.core.errors import Code, Rejected
from proxy.stores.files import read_private

DESK = "INTENT_PROXY_DESK"
TOKEN = "INTENT_PROXY_DESK_TOKEN"  # noqa: S105 (the name of a variable)

_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a desk is."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtDesk:
    """A desk, and how a command was told to work there."""

    place: Place
    token_file: Path | None
    ca: Path | None
    yes: bool = False
    digest: str | None = None

    def token(self) -> str:
        """The token: from its file, else from the environment; never from the command line, which others can read.

        Raises:
            Rejected(CONFIG_INVALID): there is none.
        """
        if self.token_file is not None:
            try:
                text = read_private(self.token_file).decode("ascii", "replace").strip()
            except FileNotFoundError:
                raise Rejected(Code.CONFIG_INVALID, f"there is no token file {self.token_file}") from None
        else:
            text = os.environ.get(TOKEN, "").strip()
        if not text.isascii() or not text.isprintable() or not text or " " in text:
            detail = f"the desk wants a token: name its file with --token-file, or set ${TOKEN}"
            raise Rejected(Code.CONFIG_INVALID, detail)
        return text


_asked: ContextVar[AtDesk | None] = ContextVar("asked", default=None)


def at_desk() -> AtDesk | None:
    """The desk that the running command was told to work at; None: it works on a deployment here."""
    return _asked.get()


_OPTIONS = {
    "desk": Annotated[
        str | None,
        typer.Option(
            "--desk", metavar="URL", help=f"Work at this review desk instead; else ${DESK}.", show_default=False
        ),
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option("--token-file", help=f"At a desk: a file with the token. Else ${TOKEN}.", show_default=False),
    ],
    "ca": Annotated[
        Path | None, typer.Option("--ca", help="At a desk: the CA that its TLS is verified with.", show_default=False)
    ],
}
_SAYING = {
    "digest": Annotated[
        str | None,
        typer.Option("--digest", help="At a desk: only about the call of this digest.", show_default=False),
    ],
    "yes": Annotated[bool, typer.Option("--yes", help="At a desk: do not ask after the call is shown.")],
}


def or_at_desk[R](command: Callable[..., R], *, says: bool = False) -> Callable[..., R]:
    """The command with the options of a desk. `says`: it decides, and so shows first what about."""
    options: dict[str, Any] = {**_OPTIONS, **(_SAYING if says else {})}

    @wraps(command)
    def either(**words: Any) -> R:
        named = {name: words.pop(name) for name in options}
        before = _asked.set(_read(named, config=words.get("config")))
        try:
            return command(**words)
        finally:
            _asked.reset(before)

    signature = inspect.signature(command)
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "yes" else None, annotation=annotation
        )
        for name, annotation in options.items()
    ]
    known = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()]
    setattr(either, "__signature__", signature.replace(parameters=[*known, *more]))  # noqa: B010 (no such attribute)
    either.__annotations__ = {**command.__annotations__, **options}
    return either


def _read(named: dict[str, Any], *, config: Path | None) -> AtDesk | None:
    here = config is not None or given.get() is not None
    url = named["desk"] or ("" if here else os.environ.get(DESK, ""))
    if named["desk"] and here:
        raise typer.BadParameter("--desk and --config exclude each other: the desk has its own deployment")
    if not url:
        unused = [name for name in ("token_file", "ca", "digest") if named.get(name) is not None]
        if unused:
            raise typer.BadParameter(f"--{unused[0].replace('_', '-')} belongs to --desk")
        return None
    digest = named.get("digest")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise typer.BadParameter("--digest is a call digest, as holds show --json prints it")
    return AtDesk(
        place=read_place(url),
        token_file=named["token_file"],
        ca=named["ca"],
        yes=bool(named.get("yes")),
        digest=digest,
    )


def read_place(url: str) -> Place:
    """Where a desk is. Plain HTTP is for this machine alone: a token sent in clear is anybody's.

    Raises:
        typer.BadParameter
    """
    wanted = f"--desk must be https://NAME[:PORT], or http:// on loopback, got {ascii(url)[:100]}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise typer.BadParameter(wanted) from None
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in ("http", "https") or not host or not bare or not url.isascii() or not url.isprintable():
        raise typer.BadParameter(wanted)
    if parts.scheme == "http" and not _is_loopback(host):
        raise typer.BadParameter(wanted)
    return Place(scheme=parts.scheme, host=host, port=port or {"http": 80, "https": 443}[parts.scheme])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
