"""`desk.webhooks` in proxy.yaml: who is told of held calls and ending mandates, how, and where each is."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

from proxy.core.addresses import allowable_network
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.model import IPNetwork
from proxy.core.names import DEFAULT_PORTS, load_host
from proxy.policy.document import ID_PATTERN, is_identifier
from proxy.policy.faults import instead, shown
from proxy.policy.secrets import VARIABLE_PATTERN, SecretSource, read_source
from proxy.policy.values import Written

MOST = 16
"""So many receivers at most: each is served for itself."""


class About(enum.StrEnum):
    """What a message tells. The values are stable: receivers read them."""

    FILED = "hold.filed"  # a call waits for a person
    TURN = "hold.turn"  # its time has gone on so far that a deputy may decide, too
    ESCALATED = "hold.escalated"  # somebody let all deputies decide at once
    SIGNED = "hold.signed"  # one release of several that are needed
    DECIDED = "hold.decided"  # released, denied or cancelled
    LAPSED = "hold.lapsed"  # a release counted no more before it was sent: it waits for people again
    EXPIRED = "hold.expired"  # nobody decided in time, or what was released was not sent in time
    UNCERTAIN = "hold.uncertain"  # it left, and nobody knows whether it arrived
    RESOLVED = "hold.resolved"  # somebody found that out
    PROPOSED = "manifest.proposed"  # a new manifest waits for its sponsor's signature
    EXPIRING = "mandate.expiring"  # a manifest ends soon
    MISSED = "events.missed"  # the store lost events: what they said is not known
    SAMPLE = "sample"  # nothing happened: somebody tries the receiver


class Format(enum.StrEnum):
    """How a message is written."""

    JSON = "json"
    SLACK = "slack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where messages are posted. The path may be a secret, so it is in no `repr`."""

    scheme: str
    host: str  # canonical
    port: int
    path: str = field(repr=False)  # with the query

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One receiver, as it stands in proxy.yaml."""

    name: str
    target: Target | None  # None: the URL is a secret itself, and comes from `url_from`
    url_from: SecretSource | None = None
    secret: SecretSource | None = None  # what messages are signed with; None: they are not
    format: Format = Format.JSON
    events: frozenset[About] = frozenset()  # empty: all
    addresses: tuple[IPNetwork, ...] = ()  # networks it must be in; none: public addresses alone
    over_http: bool = False

    def wants(self, about: About) -> bool:
        return not self.events or about in self.events or about is About.SAMPLE


_KEYS = ("name", "url", "url_from", "secret", "format", "events", "addresses", "over_http")
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\[\]@:/?#\\\s]+)(?::([0-9]{1,5}))?((?:/[!-~]*)?)")
_ASKED = tuple(about for about in About if about is not About.SAMPLE)


def read_target(text: str, *, over_http: bool) -> Target:
    """A receiver's URL. Nothing of it is repeated in messages: Slack's are secrets.

    Raises:
        Rejected(CONFIG_INVALID): it is none, bears a user or a fragment, or is plain HTTP where that may not be.
    """
    found = _URL.fullmatch(text)
    if found is None or "#" in text or "\\" in text:
        raise _unfit("the URL must be https://HOST/PATH in printable ASCII, without a user or a fragment")
    scheme, host, port = found[1], load_host(found[2].strip("[]")), int(found[3] or DEFAULT_PORTS[found[1]])
    if not 0 < port <= 65_535:
        raise _unfit("the URL's port must be from 1 to 65535")
    if scheme == "http" and not (over_http and _is_loopback(host)):
        raise _unfit("the URL must be https (with over_http: true also http to 127.0.0.1 or [::1])")
    return Target(scheme=scheme, host=host, port=port, path=found[4] or "/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _unfit(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail, field="url")


def _webhooks(value: object, file: Path) -> tuple[Webhook, ...]:
    if not isinstance(value, tuple):
        raise ValueError("expected a list of receivers, each with a name and a url")
    if len(value) > MOST:
        raise ValueError(f"expected at most {MOST} receivers, got {len(value)}")
    found = tuple(_webhook(item, file) for item in value)
    names = [each.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"there are two receivers {shown(twice)}; name each once")
    return found


def _webhook(item: object, file: Path) -> Webhook:
    if not isinstance(item, Mapping):
        raise ValueError("expected a receiver such as {name: ops, url: https://…, secret: {file: hooks/ops}}")
    members = {str(key): inner for key, inner in item.items()}
    name = members.get("name")
    if not isinstance(name, str) or not is_identifier(name):
        raise ValueError("a receiver needs a name of lower-case letters, digits, dots, dashes and underscores")
    try:
        return _read(name, members, file)
    except (ValueError, Rejected) as fault:
        detail = fault.detail if isinstance(fault, Rejected) else str(fault)
        raise ValueError(f"receiver {name}: {detail}") from None


def _read(name: str, members: Mapping[str, object], file: Path) -> Webhook:
    for key in members:
        if key not in _KEYS:
            raise ValueError(f"unknown key {shown(key)}{instead(key, _KEYS)}")
    over_http = members.get("over_http", False)
    if not isinstance(over_http, bool):
        raise ValueError("over_http must be true or false")
    if ("url" in members) is ("url_from" in members):
        raise ValueError("expected exactly one of url and url_from")
    url = members.get("url", "")
    if not isinstance(url, str):
        raise ValueError("url must be text such as https://hooks.example/intent")
    form = _format(members.get("format", Format.JSON.value))
    secret = _source("secret", members["secret"], file) if "secret" in members else None
    if secret is None and form is Format.JSON:
        raise ValueError("messages are signed: name the secret's place, such as secret: {file: hooks/ops}")
    return Webhook(
        name=name,
        target=read_target(url, over_http=over_http) if "url" in members else None,
        url_from=_source("url_from", members["url_from"], file) if "url_from" in members else None,
        secret=secret,
        format=form,
        events=_events(members.get("events", ())),
        addresses=_networks(members.get("addresses", ())),
        over_http=over_http,
    )


def _source(key: str, value: object, file: Path) -> SecretSource:
    try:
        found = read_source(value, file)
    except ValueError as fault:
        raise ValueError(f"{key}: {fault}") from None
    if found.command:
        raise ValueError(f"{key}: expected a file or an environment variable, not a command")
    return found


def _format(value: object) -> Format:
    if not isinstance(value, str) or value not in {form.value for form in Format}:
        raise ValueError("format must be json or slack")
    return Format(value)


def _events(value: object) -> frozenset[About]:
    known = {about.value for about in _ASKED}
    if not isinstance(value, tuple):
        raise ValueError("events must be a list; left out, all of them")
    for item in value:
        if not isinstance(item, str) or item not in known:
            text = str(item)
            raise ValueError(f"there is no event {shown(text)}{instead(text, known)}")
    return frozenset(About(item) for item in value)


def _networks(value: object) -> tuple[IPNetwork, ...]:
    if not isinstance(value, tuple):
        raise ValueError("addresses must be a list of networks such as 10.1.0.0/16")
    found = []
    for item in value:
        try:
            network = ip_network(str(item))
        except ValueError:
            raise ValueError(f"addresses: expected a network such as 10.1.0.0/16, got {shown(str(item))}") from None
        allowable_network(network)
        found.append(network)
    return tuple(found)


_PLACE: Mapping[str, Json] = {
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
}

_SCHEMA: Mapping[str, Json] = {
    "type": "array",
    "maxItems": MOST,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {
                "description": "What commands and messages call it.",
                "type": "string",
                "pattern": f"^{ID_PATTERN}$",
            },
            "url": {
                "description": "Where messages are posted: https.",
                "type": "string",
                "pattern": "^https?://[!-~]+$",
            },
            "url_from": {"description": "Instead of url, where that is a secret, as Slack's are.", **_PLACE},
            "secret": {"description": "What messages are signed with: whsec_ and base64.", **_PLACE},
            "format": {
                "description": "json (signed, Standard Webhooks) or slack.",
                "enum": [form.value for form in Format],
                "default": Format.JSON.value,
            },
            "events": {
                "description": "What it is told; left out, everything.",
                "type": "array",
                "items": {"enum": [about.value for about in _ASKED]},
            },
            "addresses": {
                "description": "Networks (CIDR) it must be in; left out, its address must be public.",
                "type": "array",
                "items": {"type": "string", "minLength": 1},
            },
            "over_http": {
                "description": "Post over plain HTTP, which only this machine (loopback) may be sent.",
                "type": "boolean",
                "default": False,
            },
        },
        "oneOf": [{"required": ["url"]}, {"required": ["url_from"]}],
    },
}

WEBHOOKS = Written(read=_webhooks, schema=_SCHEMA)
