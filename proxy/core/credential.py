"""What a cluster says of a credential: the name of a secret, and how it is set. The value is nowhere in the policy."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.encoding import Json
from proxy.core.normal import as_flag, as_members, as_text, not_normal


class Way(enum.StrEnum):
    """How a credential is set on a call."""

    BEARER = "bearer"  # Authorization: Bearer SECRET (RFC 6750 §2.1)
    BASIC = "basic"  # Authorization: Basic base64(name:SECRET) (RFC 7617)
    HEADER = "header"  # the header `name`, whole
    QUERY = "query"  # the query parameter `name`


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One credential of a cluster, as its sponsor signs it."""

    secret: str  # what proxy.yaml calls it
    way: Way
    name: str = ""  # of the header or the parameter; the user's with BASIC
    over_http: bool = False  # also where nothing on the way is encrypted

    @property
    def words(self) -> str:
        """`the secret erp-token as X-Api-Key`: what is set where."""
        return f"the secret {self.secret} {_WHERE[self.way].format(self.name)}"

    @property
    def replaces(self) -> str:
        """What of the agent's own it takes the place of."""
        match self.way:
            case Way.BEARER | Way.BASIC:
                return "Authorization"
            case Way.HEADER:
                return self.name
            case _:
                return f"the query parameter {self.name}"


_WHERE: Mapping[Way, str] = {
    Way.BEARER: "as a bearer token",
    Way.BASIC: "as the password of {} (basic)",
    Way.HEADER: "in the header {}",
    Way.QUERY: "in the query parameter {}",
}

_MEMBERS = frozenset({"secret"})
_MAY = frozenset({"as", "basic", "header", "query", "over_http"})


def normal_credential(credential: Credential) -> dict[str, Json]:
    """The credential in the normal form of its cluster."""
    normal: dict[str, Json] = {"secret": credential.secret}
    match credential.way:
        case Way.BEARER:
            normal["as"] = "bearer"
        case Way.BASIC:
            normal["basic"] = {"user": credential.name}
        case _:
            normal[credential.way.value] = credential.name
    if credential.over_http:
        normal["over_http"] = True
    return normal


def credential_from_normal(value: Json) -> Credential:
    """The way back.

    Raises:
        Rejected(CONFIG_INVALID): not what `normal_credential` writes.
    """
    members = as_members(value, _MEMBERS, "credential", may=_MAY)
    ways = members.keys() - {"secret", "over_http"}
    if len(ways) != 1:
        raise not_normal("a credential must say in one way how it is set")
    [key] = ways
    name = ""
    if key == "basic":
        name = as_text(as_members(members[key], {"user"}, "credential.basic")["user"], "credential.basic.user")
    elif key != "as":
        name = as_text(members[key], f"credential.{key}")
    elif members[key] != "bearer":
        raise not_normal("a credential is set as bearer, basic, header or query")
    return Credential(
        secret=as_text(members["secret"], "credential.secret"),
        way=Way.BEARER if key == "as" else Way(key),
        name=name,
        over_http=as_flag(members.get("over_http", False), "credential.over_http"),
    )
