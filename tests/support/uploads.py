"""Signed requests with large bodies, as bytes to be sent in any pieces, and what the journal says of them."""

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from identities import intent_headers, leaf_key, nonce
from rawclient import Response, request_bytes
from towns import Town

from proxy.core.proof import sign_request

KIB, MIB = 1024, 1024 * 1024
WAIT_S = 5.0


def code(answer: Response) -> str:
    """The code of a refusal."""
    return str(json.loads(answer.body)["code"])


def head(
    town: Town,
    way: str,
    path: str,
    body: bytes,
    *lines: tuple[str, str],
    chain: Sequence[str] | None = None,
    url: str = "",
) -> bytes:
    """A signed head that announces this body by its length."""
    url = url or town.url(way, path)
    signed = town.house.signed("POST", url, chain=chain or town.house.chain(), headers=lines, body=body, intent="")
    return request_bytes("POST", url if way == "plain" else path, [("Host", url.split("/")[2]), *signed])


def chunked_head(
    town: Town, way: str, path: str, body: bytes, *lines: tuple[str, str], chain: Sequence[str] | None = None
) -> bytes:
    """A signed head for this body in chunks; a signature covers a length that is there, so there is none."""
    url = town.url(way, path)
    base = [*lines, *intent_headers(chain or town.house.chain(), intent="")]
    created, fresh = datetime.now(UTC), nonce(secrets.token_hex(8))
    signed = sign_request(
        method="POST", target_uri=url, headers=base, body=body, key=leaf_key(), created=created, nonce=fresh
    )
    host = ("Host", url.split("/")[2])
    return request_bytes(
        "POST", url if way == "plain" else path, [host, ("Transfer-Encoding", "chunked"), *base, *signed]
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunks(body: bytes, size: int = 50_000) -> bytes:
    """The whole body in chunks, the last one included."""
    return b"".join(map(chunk, parts(body, size))) + b"0\r\n\r\n"


def parts(body: bytes, size: int) -> Iterable[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def send(town: Town, way: str, *data: bytes) -> Response:
    """Exactly this on a connection of its own, and the answer."""
    with town.house.open(town.url(way, "/"), timeout_s=20) as wire:
        for part in data:
            wire.send(part)
        return wire.response()


def last(town: Town, kind: str) -> dict[str, object]:
    """The line of this kind about the last decision, as soon as it is there."""
    deadline = time.monotonic() + WAIT_S
    while True:
        lines = town.house.journal()
        decision = [line for line in lines if line["kind"] == "decision"][-1]
        found = [line for line in lines if line["kind"] == kind and line["decision_id"] == decision["decision_id"]]
        if found:
            return found[-1]
        assert time.monotonic() < deadline, f"no {kind} line came"
        time.sleep(0.02)
