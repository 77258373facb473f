"""Bodies that are larger, or otherwise coded, than they look to whoever inspects them."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace

from attacks import Case, against
from shots import Shot

ANY_WAY = True  # also as an agent that knows of no proxy

MALFORMED, NOT_INSPECTED, NOT_COVERED = "body.malformed", "body.not_inspected", "mandate.not_covered"
JSON = (("Content-Type", "application/json"),)
GOOD, BAD = b'{"amount": 5, "payee": {"id": 88}}', b'{"amount": 900, "payee": {"id": 99}}'
CALL = Shot(method="POST", path="/v1/payments", headers=JSON, body=GOOD)
GZIPPED = replace(CALL, headers=(*JSON, ("Content-Encoding", "gzip")), body=gzip.compress(GOOD, mtime=0))

OVER_THE_CAP = 4_194_304 + 1


def coded(coding: str, body: bytes) -> dict[str, object]:
    return {"headers": (*JSON, ("Content-Encoding", coding)), "body": body}


def bomb(size: int) -> bytes:
    """A small body that is a large document once it is undone."""
    return gzip.compress(b'{"amount": 5, "note": "' + b" " * size + b'"}', mtime=0)


def cases(way: str) -> Iterator[Case]:
    for name, changes, code in (*CODED, *ENCODED, *DEEP):
        yield against("D03", name, way, CALL, changes, code=code)
    for name, body, code in BEHIND:
        yield against("D03", name, way, GZIPPED, {"body": body}, code=code)
    for name, body in PADDED:
        yield against("D03", name, way, CALL, {"body": body}, code=NOT_INSPECTED)
    yield against(
        "D03", "padding in chunks", way, replace(CALL, chunked=True), {"body": PADDED[0][1]}, code=NOT_INSPECTED
    )
    yield against(
        "D03", "padding that says it is something else", way, CALL,
        {"headers": (("Content-Type", "text/plain"),), "body": PADDED[0][1]}, code=MALFORMED,
    )  # fmt: skip


CODED = (
    ("a forbidden document in a coding", coded("gzip", gzip.compress(BAD)), NOT_COVERED),
    ("a bomb", coded("gzip", bomb(3_000_000)), MALFORMED),
    ("a bomb over the cap", coded("gzip", bomb(60_000_000)), (MALFORMED, NOT_INSPECTED)),
    ("two codings on one line", coded("gzip, gzip", gzip.compress(gzip.compress(BAD))), MALFORMED),
    ("identity and a coding", coded("identity, gzip", gzip.compress(BAD)), MALFORMED),
    ("a coding that nobody knows", coded("exi", BAD), MALFORMED),
    ("a coding that is not there", coded("gzip", GOOD), MALFORMED),
    ("no coding where one is said", coded("identity", gzip.compress(GOOD)), MALFORMED),
    ("deflate without its header", coded("deflate", zlib.compress(BAD)[2:-4]), MALFORMED),
    ("a coding cut short", coded("gzip", gzip.compress(GOOD)[:-9]), MALFORMED),
)
BEHIND = (
    ("a second document behind the first", GZIPPED.body_bytes + gzip.compress(BAD), MALFORMED),
    ("plain bytes behind the first", GZIPPED.body_bytes + BAD, MALFORMED),
    ("zeros behind the first", GZIPPED.body_bytes + b"\0" * 8, MALFORMED),
)
ENCODED = (
    ("UTF-16", {"body": GOOD.decode().encode("utf-16")}, MALFORMED),
    ("UTF-16 without a mark", {"body": GOOD.decode().encode("utf-16-le")}, MALFORMED),
    ("UTF-32", {"body": GOOD.decode().encode("utf-32")}, MALFORMED),
    ("Latin 1", {"body": '{"amount": 5, "note": "é"}'.encode("latin-1")}, MALFORMED),
    ("overlong UTF-8", {"body": b'{"amount": 5, "note": "\xc0\xaf"}'}, MALFORMED),
    ("a raw NUL", {"body": GOOD + b"\0"}, MALFORMED),
)
DEEP = (
    (
        "a document that is very deep",
        {"body": b'{"amount": 5, "lines": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"},
        MALFORMED,
    ),
    ("a document that never ends its lists", {"body": b"[" * 200_000}, MALFORMED),
    (
        "a document of very many members",
        {"body": json.dumps({"amount": 5, "lines": [0] * 200_000}).encode()},
        MALFORMED,
    ),
)
PADDED = (
    ("padding before a forbidden document", b" " * OVER_THE_CAP + BAD),
    ("padding within a forbidden document", b'{"note": "' + b" " * OVER_THE_CAP + b'", "amount": 900}'),
    ("padding after a document that is permitted", GOOD + b" " * OVER_THE_CAP),
)
