"""A credential on its way out, and out of everything that comes back.

The judged call never holds the secret: it is set on a copy of the head, between the house and the wire.
"""

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_plus

from proxy.core.credential import Credential, Way
from proxy.core.echoes import Echoes, echoes_of
from proxy.core.folding import folded_field, same_parameter

LEAST_CHARS = 8
"""A shorter secret can be guessed, and cannot be told from other text where it is masked."""
MOST_CHARS = 4096

REMOVED = b"credential-removed"
"""What stands in a response's head in place of the credential. It is no secret and opens nothing."""

type Fields = tuple[tuple[bytes, bytes], ...]
type Origin = tuple[str, str, int]
"""Scheme, host and port."""

_ALSO_CODES = ("grpc-accept-encoding", "connect-accept-encoding")
_LINE_END = re.compile(r"\r?\n\Z")
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def read_secret(data: bytes) -> str:
    """The secret in these bytes, without one line end behind it.

    Raises:
        ValueError: it cannot be one; nothing of it is repeated in the words.
    """
    text = _LINE_END.sub("", data.decode("latin-1"))
    if not LEAST_CHARS <= len(text) <= MOST_CHARS:
        raise ValueError(f"must have {LEAST_CHARS} to {MOST_CHARS} characters, got {len(text)}")
    if not _TEXT.fullmatch(text):
        raise ValueError("must be one line of printable ASCII without space around it")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A credential with its value, for one call to one place. The value is in no `repr`."""

    credential: Credential
    to: Origin
    value: str = field(repr=False)
    echoes: Echoes = field(init=False, repr=False, compare=False)
    """The secret in every spelling in which an origin is likely to repeat it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "echoes", echoes_of(self.value, user=self.credential.name))

    def in_head(self, text: bytes) -> bytes:
        """A piece of a response's head without the secret."""
        return self.echoes.replaced(text, REMOVED)

    def fields(self, fields: Fields) -> Fields:
        """A response's fields without the secret. What its readers find the end of the body by stays: a number is all
        that stands there, and a secret of digits must not break the message.
        """
        return tuple(
            (name, value) if name.lower() == b"content-length" else (self.in_head(name), self.in_head(value))
            for name, value in fields
        )

    def body(self) -> "Mask":
        """What a response's body is passed through."""
        return Mask(self.echoes)


def fits(credential: Credential, value: str) -> bool:
    """Whether a secret can be set in this way: a bearer token has no space in it (RFC 6750 §2.1)."""
    return credential.way is not Way.BEARER or " " not in value


def inject(injection: Injection, fields: Fields, target: bytes) -> tuple[Fields, bytes]:
    """The head's fields and target with the credential in place of whatever the agent sent there.

    The origin is asked not to code its response, so that a credential which it repeats can be found in it; gRPC and
    Connect have fields of their own for that, without which nothing is coded.
    """
    credential = injection.credential
    fields = _with(_without(fields, _ALSO_CODES), b"Accept-Encoding", b"identity")
    match credential.way:
        case Way.BEARER:
            return _with(fields, b"Authorization", f"Bearer {injection.value}".encode("ascii")), target
        case Way.BASIC:
            value = f"Basic {_basic(credential.name, injection.value)}"
            return _with(fields, b"Authorization", value.encode("ascii")), target
        case Way.HEADER:
            return _with(fields, credential.name.encode("ascii"), injection.value.encode("ascii")), target
        case _:
            return fields, _with_parameter(target.decode("ascii"), credential.name, injection.value).encode("ascii")


def _basic(user: str, value: str) -> str:
    return base64.b64encode(f"{user}:{value}".encode()).decode("ascii")


def replaces_field(credential: Credential | None, name: str) -> bool:
    """Whether a header of this name never leaves, because the credential stands there."""
    if credential is None or credential.way is Way.QUERY:
        return False
    return folded_field(name) == folded_field(credential.replaces)


def replaces_parameter(credential: Credential | None, name: str) -> bool:
    """Whether a query parameter of this (decoded) name never leaves, because the credential stands there."""
    return credential is not None and credential.way is Way.QUERY and same_parameter(credential.name, name)


def _with(fields: Fields, name: bytes, value: bytes) -> Fields:
    """The fields with this one in place of all that some server reads as the same."""
    return (*_without(fields, (name.decode("ascii"),)), (name, value))


def _without(fields: Fields, names: tuple[str, ...]) -> Fields:
    """The fields without all that some server reads as one of these."""
    gone = set(map(folded_field, names))
    return tuple(each for each in fields if folded_field(each[0].decode("latin-1")) not in gone)


def _with_parameter(target: str, name: str, value: str) -> str:
    path, _, query = target.partition("?")
    kept = [part for part in query.split("&") if part and not same_parameter(name, _named(part))]
    return f"{path}?{'&'.join([*kept, f'{quote(name, safe="")}={quote(value, safe="")}'])}"


def _named(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


class Mask:
    """Takes a secret out of a body that streams, and leaves its length as it was.

    What ends in the beginning of the secret passes at once, or a message would come late, or never where the other
    side answers before it goes on; if it was the beginning after all, the rest is masked. Only what ends in most of the
    secret waits for what follows.
    """

    def __init__(self, echoes: Echoes) -> None:
        self._echoes = echoes
        self._passed = b""  # the end of what has passed, where it may be the beginning of a secret
        self._kept = b""

    def pass_on(self, data: bytes) -> bytes:
        """What may go on by now."""
        before, text = len(self._passed), self._masked(self._passed + self._kept + data)
        begun, waits = self._echoes.begun(text)
        passes = max(before, waits)
        self._passed, self._kept = text[begun:passes], text[passes:]
        return text[before:passes]

    def end(self) -> bytes:
        """What was kept, once nothing more comes: most of a secret is as good as all of it."""
        rest, self._kept = self._kept, b""
        return b"*" * len(rest)

    def _masked(self, data: bytes) -> bytes:
        masked = bytearray(data)
        for begins, ends in self._echoes.found(data):
            masked[begins:ends] = b"*" * (ends - begins)
        return bytes(masked)
