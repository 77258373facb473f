"""Signing in at the desk with OpenID Connect: `desk.oidc` in proxy.yaml, and whom a provider names in people.yaml.

Where the provider is stands in proxy.yaml, which nobody signs. Who a person is to it stands in people.yaml, together
with the provider's own name: so another provider in proxy.yaml signs nobody in.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.model import Claim, OidcIdentity
from proxy.core.names import parse_authority
from proxy.policy.document import DURATION_PATTERN, Fields, Misread, duration_s, word
from proxy.policy.faults import instead, shown
from proxy.policy.pieces import Schema, listing, record
from proxy.policy.secrets import VARIABLE_PATTERN, SecretSource, read_source
from proxy.policy.values import Written
from proxy.policy.yaml import Node

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ISSUER_PATTERN = (
    r"(https://[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|http://(localhost|127\.0\.0\.1|\[::1\]))"
    r"(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?"
)
MAX_SUBJECT = 255
"""The longest `sub` there is (OpenID Connect Core §2)."""

SCOPES = ("openid", "email")
_ISSUER = re.compile(ISSUER_PATTERN)
_SUBJECT = re.compile(rf"[!-~](?:[ -~]{{0,{MAX_SUBJECT - 2}}}[!-~])?")
_EMAIL_PATTERN = r"[!#-'*+\-./0-9=?A-Z^-~]{1,64}@[A-Za-z0-9.-]{1,189}"
_EMAIL = re.compile(_EMAIL_PATTERN)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,100}")
_CLIENT = re.compile(r"[!-~]{1,255}")
_NAME = re.compile(r"[^\W_](?:[ \w.&'-]{0,58}[\w.])?")
_KEYS = ("issuer", "client_id", "client_secret", "name", "scopes", "max_age", "ca")
_LEAST_AGE, _MOST_AGE = "1m", "30d"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """Who signs people in, as it stands in proxy.yaml."""

    issuer: str
    client_id: str
    name: str  # what the desk's door calls it
    client_secret: SecretSource | None = None  # None: a public client, which PKCE alone protects
    scopes: tuple[str, ...] = SCOPES
    max_age: timedelta | None = None  # how long ago it may have asked for a password at most; None: it decides
    ca: Path | None = None  # None: the public CAs

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where plain HTTP will do."""
        return self.issuer.startswith("http://")


# --- proxy.yaml ------------------------------------------------------------------------------------------------------


def is_issuer(text: str) -> bool:
    """Whether `text` is a provider's name: `https://`, or `http://` on loopback; no user, query or fragment."""
    if len(text) > 500 or not _ISSUER.fullmatch(text):
        return False
    scheme, _, rest = text.partition("://")
    try:
        parse_authority(rest.partition("/")[0], scheme)
    except Rejected:
        return False
    return True


def _provider(value: object, file: Path) -> OidcProvider:
    if not isinstance(value, Mapping):
        raise ValueError("expected a provider such as {issuer: https://login.example, client_id: review-desk}")
    members = {str(key): inner for key, inner in value.items()}
    for key in members:
        if key not in _KEYS:
            raise ValueError(f"unknown key {shown(key)}{instead(key, _KEYS)}")
    issuer = members.get("issuer")
    if not isinstance(issuer, str) or not is_issuer(issuer):
        wanted = "https://HOST, or http://localhost:PORT for one on this machine, as the provider itself writes it"
        raise ValueError(f"issuer must be {wanted}")
    return OidcProvider(
        issuer=issuer,
        client_id=_matching("client_id", members.get("client_id"), _CLIENT, "the name the provider gave the desk"),
        name=_matching("name", members.get("name", _host(issuer)), _NAME, "a few words for the button"),
        client_secret=_secret(members["client_secret"], file) if "client_secret" in members else None,
        scopes=_scopes(members.get("scopes", SCOPES)),
        max_age=_age(members["max_age"]) if "max_age" in members else None,
        ca=_path(members["ca"], file) if "ca" in members else None,
    )


def _host(issuer: str) -> str:
    name = issuer.partition("://")[2].partition("/")[0]
    return name if _NAME.fullmatch(name) else "OpenID Connect"


def _matching(key: str, value: object, pattern: re.Pattern[str], wanted: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key} must be {wanted}")
    return value


def _secret(value: object, file: Path) -> SecretSource:
    try:
        found = read_source(value, file)
    except ValueError as fault:
        raise ValueError(f"client_secret: {fault}") from None
    if found.command:
        raise ValueError("client_secret: expected a file or an environment variable, not a command")
    return found


def _scopes(value: object) -> tuple[str, ...]:
    found = tuple(item for item in value if isinstance(item, str)) if isinstance(value, tuple) else ()
    if not isinstance(value, tuple) or len(found) != len(value) or not all(_SCOPE.fullmatch(each) for each in found):
        raise ValueError("scopes must be a list of words such as [openid, email]")
    if "openid" not in found:
        raise ValueError("scopes must have openid among them: without it no ID token comes")
    return found


def _age(value: object) -> timedelta:
    seconds = duration_s(value) if isinstance(value, str) else 0
    if not duration_s(_LEAST_AGE) <= seconds <= duration_s(_MOST_AGE):
        raise ValueError(f"max_age must be a duration from {_LEAST_AGE} to {_MOST_AGE}")
    return timedelta(seconds=seconds)


def _path(value: object, file: Path) -> Path:
    if not isinstance(value, str) or not value or value.startswith("~") or "\0" in value:
        raise ValueError('ca must be a path, relative to this file or from "/"')
    return file.parent / value


_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["issuer", "client_id"],
    "properties": {
        "issuer": {
            "description": "The provider's own name, as it writes it: https, or http on this machine's loopback.",
            "type": "string",
            "pattern": f"^{ISSUER_PATTERN}$",
        },
        "client_id": {
            "description": "The name the provider gave the desk.",
            "type": "string",
            "pattern": "^[!-~]{1,255}$",
        },
        "client_secret": {
            "description": "Where the desk's secret at the provider is; left out, the desk is a public client (PKCE).",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "file": {
                    "description": "A file with it and nothing else; others must not be able to read it.",
                    "type": "string",
                    "minLength": 1,
                    "pattern": "^[^~]",
                },
                "environment": {
                    "description": "A variable in the desk's own environment.",
                    "type": "string",
                    "pattern": f"^{VARIABLE_PATTERN}$",
                },
            },
            "minProperties": 1,
            "maxProperties": 1,
        },
        "name": {
            "description": "What the button at the door calls it; left out, its host.",
            "type": "string",
            "minLength": 1,
            "maxLength": 60,
        },
        "scopes": {
            "description": "What is asked for; openid must be among them.",
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "contains": {"const": "openid"},
            "default": list(SCOPES),
        },
        "max_age": {
            "description": "How long ago the provider may have asked the person for a proof; left out, it decides.",
            "type": "string",
            "pattern": f"^{DURATION_PATTERN}$",
        },
        "ca": {
            "description": "A PEM file of the CAs trusted for the provider, instead of the public ones.",
            "type": "string",
            "minLength": 1,
            "pattern": "^[^~]",
        },
    },
}

OIDC = Written(read=_provider, schema=_SCHEMA)


# --- people.yaml -----------------------------------------------------------------------------------------------------


def read_identities(entry: Fields) -> tuple[OidcIdentity, ...]:
    """By what providers name one person."""
    found = tuple(_identity(each) for each in entry.each("oidc", "identity", named_by="issuer"))
    return tuple(each for each in found if each is not None)


def _identity(fields: Fields) -> OidcIdentity | None:
    issuer = fields.need("issuer", _issuer, "")
    given = [claim for claim in Claim if fields.node(claim.value) is not None]
    value = ""
    if len(given) != 1:
        fields.faults.add(fields.line, f"{fields.what}: say who it is by exactly one of sub and email")
    else:
        value = fields.take(given[0].value, _READ[given[0]], "")
    fields.done()
    return OidcIdentity(issuer=issuer, claim=given[0], value=value) if issuer and value else None


def _issuer(node: Node) -> str:
    text = word(node)
    if not is_issuer(text):
        raise Misread(node, f"expected the provider's own name such as https://login.example, got {shown(text)}")
    return text


def _subject(node: Node) -> str:
    text = word(node)
    if not _SUBJECT.fullmatch(text):
        raise Misread(node, f"expected at most {MAX_SUBJECT} printable ASCII characters, got {shown(text)}")
    return text


def _email(node: Node) -> str:
    text = word(node)
    if not _EMAIL.fullmatch(text):
        raise Misread(node, f"expected an address such as maria@example.com, got {shown(text)}")
    return text


_READ = {Claim.SUB: _subject, Claim.EMAIL: _email}

IDENTITIES: Schema = listing(
    {
        **record(
            {
                "issuer": {
                    "description": "The provider, as it writes itself; desk.oidc.issuer must say the same.",
                    "type": "string",
                    "pattern": f"^{ISSUER_PATTERN}$",
                },
                "sub": {
                    "description": "What the provider calls this person, for good.",
                    "type": "string",
                    "pattern": "^[!-~]",
                    "maxLength": MAX_SUBJECT,
                },
                "email": {
                    "description": "Their address there; it counts when the provider says that it verified it.",
                    "type": "string",
                    "pattern": f"^{_EMAIL_PATTERN}$",
                },
            },
            needed=("issuer",),
            description="How one provider names the person: by exactly one of sub and email.",
        ),
        "oneOf": [{"required": ["sub"]}, {"required": ["email"]}],
    },
    "How OpenID Connect providers name the person, each identity of nobody else.",
    empty=True,
)
