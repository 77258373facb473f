"""A body that is one JSON document, in the one reading all servers share (RFC 8259)."""

from proxy.core.bodies.coding import BodyCaps, check_size
from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code


def read_json(data: bytes, caps: BodyCaps) -> Json:
    """The document a decoded body holds, in the `one_reading` of `parse_json`.

    Many servers match member names regardless of case (Go's encoding/json, .NET), and of two would take either.

    Raises:
        Rejected(BODY_MALFORMED): not strict JSON, or deeper or more than `caps` allow.
        Rejected(BODY_NOT_INSPECTED): larger than `caps.decoded_bytes`.
    """
    check_size(len(data), caps)
    return parse_json(
        data, code=Code.BODY_MALFORMED, what="the body", depth=caps.depth, members=caps.members, one_reading=True
    )
