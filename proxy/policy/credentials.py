"""The credential of a cluster, as clusters.yaml says it: the name of a secret, and how it is set."""

import re

from proxy.core.credential import Credential, Way
from proxy.core.encoding import Json
from proxy.core.model import Cluster
from proxy.policy.document import ID_PATTERN, Fields, Misread, flag, identifier, says, word
from proxy.policy.faults import instead, shown
from proxy.policy.pieces import Schema, record
from proxy.policy.yaml import Node

_HEADER_PATTERN = r"[A-Za-z][A-Za-z0-9-]{0,63}"
_HEADER = re.compile(_HEADER_PATTERN)
_NEVER = re.compile(
    r"host|connection|keep-alive|upgrade|te|trailer|transfer-encoding|expect|date|range|via|forwarded|prefer|"
    r"idempotency-key|user-agent|agent-intent|intent-.*|signature|signature-input|traceparent|tracestate|"
    r"content-.*|accept|accept-.*|if-.*|proxy-.*|sec-.*|x-forwarded-.*|x-original-.*|x-rewrite-.*|x-override-.*|"
    r"x-http-.*|x-method-override|x-host-override|x-envoy-.*|http2-.*"
)
"""What frames, routes or describes a message is no place for a secret."""

_PARAMETER_PATTERN = r"[A-Za-z0-9_.~-]{1,64}"
_PARAMETER = re.compile(_PARAMETER_PATTERN)
_USER_PATTERN = r"[!-9;-~](?:[ -9;-~]{0,126}[!-9;-~])?"
_USER = re.compile(_USER_PATTERN)

_WAYS = ("as", "header", "query", "basic")


def read_credential(entry: Fields, cluster: Cluster) -> Credential | None:
    """The credential of a cluster whose other keys were read; None when it has none."""
    fields = entry.inner("credential")
    if fields is None:
        return None
    given = [key for key in _WAYS if fields.node(key) is not None]
    if len(given) != 1:
        fields.faults.add(fields.line, f"{fields.what}: say how it is set, by exactly one of {', '.join(_WAYS)}")
    way, name = _way(fields, given[0] if given else "as")
    credential = Credential(
        secret=fields.need("secret", identifier, ""),
        way=way,
        name=name,
        over_http=fields.take("over_http", flag, False),
    )
    fields.done()
    if "http" in cluster.schemes and not credential.over_http:
        detail = "the cluster reaches plain http, where everybody on the way could read it; take http out of schemes"
        entry.fault("credential", f"{detail}, or write over_http: true")
    if "http" not in cluster.schemes and credential.over_http:
        entry.fault("credential", "over_http says nothing where schemes has no http; leave it out")
    if any(host.wildcard for host in cluster.hosts):
        entry.fault("credential", "a credential goes to hosts that are named, not to all below a name; list them")
    return credential


def _way(fields: Fields, key: str) -> tuple[Way, str]:
    match key:
        case "header":
            return Way.HEADER, fields.take("header", _header, "")
        case "query":
            return Way.QUERY, fields.take("query", _parameter, "")
        case "basic":
            inner = fields.inner("basic")
            user = "" if inner is None else inner.need("user", _user, "")
            if inner is not None:
                inner.done()
            return Way.BASIC, user
        case _:
            fields.take("as", _bearer, None)
            return Way.BEARER, ""


def _bearer(node: Node) -> None:
    if not says(node, "bearer"):
        text = word(node)
        raise Misread(node, f"got {shown(text)}{instead(text, ('bearer',))}")


def _header(node: Node) -> str:
    text = word(node)
    if not _HEADER.fullmatch(text):
        raise Misread(node, f"expected the name of a header such as X-Api-Key, got {shown(text)}")
    if _NEVER.fullmatch(text.lower()):
        raise Misread(node, f"{text} frames, routes or describes a request; no credential can stand there")
    return text


def _parameter(node: Node) -> str:
    text = word(node)
    if not _PARAMETER.fullmatch(text):
        raise Misread(node, f"expected the name of a query parameter such as key, got {shown(text)}")
    return text


def _user(node: Node) -> str:
    text = word(node)
    if not _USER.fullmatch(text):
        raise Misread(node, "expected a user's name in printable ASCII without a colon (RFC 7617 §2)")
    return text


def _one(description: str, pattern: str) -> dict[str, Json]:
    return {"description": description, "type": "string", "pattern": f"^{pattern}$"}


_KEYS: Schema = {
    "secret": _one("The name that proxy.yaml gives the secret.", ID_PATTERN),
    "as": {"description": "bearer: Authorization: Bearer SECRET.", "const": "bearer"},
    "header": _one("The header that holds the secret, whole.", _HEADER_PATTERN),
    "query": _one("The query parameter that holds the secret.", _PARAMETER_PATTERN),
    "basic": record(
        {"user": _one("The name that goes with it.", _USER_PATTERN)},
        needed=("user",),
        description="Authorization: Basic, with the secret as the password.",
    ),
    "over_http": {
        "description": "Send it over plain HTTP, too, where everybody on the way can read it.",
        "type": "boolean",
        "default": False,
    },
}

CREDENTIAL: Schema = {
    **record(
        _KEYS,
        needed=("secret",),
        description="A secret that the proxy sets on allowed calls as they leave. Its value is never written here.",
    ),
    "oneOf": [{"required": [key]} for key in _WAYS],
}
