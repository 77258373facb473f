"""ES256 has two signatures for every message; only the one with low s counts (so nothing signed has two forms)."""

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import identities
from attacks import Case, against
from shots import Lines, Shot
from streets import Street

from proxy.core.keys import ES256

ANY_WAY = True  # also as an agent that knows of no proxy

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
LEAF = identities.key("leaf", ES256)


def cases(way: str) -> Iterator[Case]:
    call = Shot(chain=_chain, signer=LEAF)
    for name, spoil in (("the signature with high s", _high_s), ("the signature in DER", _der)):
        code = "proof.signature" if spoil is _high_s else "proof.malformed"
        yield against("E01", name, way, call, {"spoil": spoil}, code=code)


def _chain(street: Street) -> Sequence[str]:
    root, _ = street.chain()
    return root, identities.child(root, cnf=LEAF.public, now=datetime.now(UTC))


def _signature(lines: Lines) -> tuple[Lines, int, int]:
    *rest, (_, value) = lines
    raw = base64.b64decode(value.removeprefix("intent=:").removesuffix(":"))
    return rest, int.from_bytes(raw[:32]), int.from_bytes(raw[32:])


def _high_s(lines: Lines, method: str, url: str) -> Lines:
    rest, r, s = _signature(lines)
    return [*rest, ("Signature", f"intent=:{base64.b64encode(r.to_bytes(32) + (ORDER - s).to_bytes(32)).decode()}:")]


def _der(lines: Lines, method: str, url: str) -> Lines:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    rest, r, s = _signature(lines)
    return [*rest, ("Signature", f"intent=:{base64.b64encode(encode_dss_signature(r, s)).decode()}:")]
