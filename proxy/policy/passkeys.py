"""Passkeys and the review desk as people write them in people.yaml.

Both stand under the operators' signature: whose passkey it is, by which key a desk signs, and where its pages are.
"""

import json
import re

from proxy.core.encoding import b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import jwk
from proxy.core.model import Passkey, Person, PublicKey, ReviewDesk
from proxy.core.names import ip_literal, parse_authority
from proxy.core.passkeys import MAX_ID_BYTES, MIN_ID_BYTES, is_within
from proxy.policy.document import Fields, Misread, listed, one_line, public_key, word
from proxy.policy.faults import Faults, shown
from proxy.policy.yaml import Node, load

NAME_PATTERN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
ORIGIN_PATTERN = rf"(https://{NAME_PATTERN}|http://([a-z0-9-]+\.)*localhost)(:[1-9][0-9]{{0,4}})?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){NAME_PATTERN}")
_ORIGIN = re.compile(ORIGIN_PATTERN)

_NO_KEY = PublicKey(kid="", alg="", raw=b"")


def read_desk(fields: Fields) -> ReviewDesk:
    """What stands under `desk`; a desk without anything when it is left out."""
    desk = fields.inner("desk")
    if desk is None:
        return ReviewDesk()
    found = ReviewDesk(
        keys=desk.need("keys", listed(public_key, empty=True), ()),
        origins=desk.take("origins", listed(_origin, empty=True), ()),
    )
    desk.done()
    return found


def read_passkeys(entry: Fields) -> tuple[Passkey, ...]:
    """The passkeys of one person."""
    return tuple(_passkey(each) for each in entry.each("passkeys", "passkey", named_by="name"))


def _passkey(fields: Fields) -> Passkey:
    passkey = Passkey(
        id=fields.need("id", _credential_id, b""),
        key=fields.need("key", public_key, _NO_KEY),
        rp_id=fields.need("rp_id", _rp_id, ""),
        name=fields.need("name", one_line, ""),
    )
    fields.done()
    return passkey


def check_passkeys(person: Person, desk: ReviewDesk, entry: Fields) -> None:
    """Keep a fault for every passkey that could not be used at any origin of the desk."""
    for passkey in person.passkeys:
        if passkey.rp_id and not any(is_within(origin, passkey.rp_id) for origin in desk.origins):
            where = ", ".join(desk.origins) or "none"
            detail = f"{shown(passkey.name)} was made for {passkey.rp_id}, and the desk's origins are {where}"
            entry.fault("passkeys", f"{detail}; add its page to desk.origins, or remove it")


def passkey_line(passkey: Passkey) -> str:
    """A passkey as it is written in people.yaml: on one line, in JSON, which is YAML too."""
    members = {"id": b64u(passkey.id), "key": jwk(passkey.key), "rp_id": passkey.rp_id, "name": passkey.name}
    return json.dumps(members, ensure_ascii=False)


def read_passkey_line(text: str) -> Passkey:
    """A passkey from what `passkey_line` writes, as the desk's page hands it to its owner.

    Raises:
        Rejected(CONFIG_INVALID): anything else.
    """
    faults = Faults("the passkey")
    root = load(text.encode("utf-8"), faults)
    found = None if root is None else _passkey(Fields(root, "the passkey", faults))
    if found is None or faults:
        raise Rejected(Code.CONFIG_INVALID, "\n".join(str(each) for each in faults.listed()))
    return found


def _credential_id(node: Node) -> bytes:
    text = word(node)
    data = unb64u(text, code=Code.CONFIG_INVALID, field="id")
    if not MIN_ID_BYTES <= len(data) <= MAX_ID_BYTES:
        raise Misread(node, f"expected a credential id of {MIN_ID_BYTES} to {MAX_ID_BYTES} bytes, got {len(data)}")
    return data


def _rp_id(node: Node) -> str:
    text = word(node)
    if not _NAME.fullmatch(text) or ip_literal(text) is not None:
        raise Misread(node, f"expected the domain of the desk, such as desk.example, got {shown(text)}")
    return text


def _origin(node: Node) -> str:
    """An origin as browsers write it (RFC 6454 §6.2), of a page that may use passkeys."""
    text = word(node)
    scheme, _, rest = text.partition("://")
    host, port = parse_authority(rest, scheme) if _ORIGIN.fullmatch(text) else ("", 0)
    usual = {"https": 443, "http": 80}.get(scheme)
    written = host if port == usual else f"{host}:{port}"
    if not _NAME.fullmatch(host) or ip_literal(host) is not None or rest != written:
        wanted = "https://desk.example, https://desk.example:8443 or http://localhost:8090"
        raise Misread(node, f"expected an origin such as {wanted}, got {shown(text)}")
    return text
