"""A body other than the one that was signed, under the digest of the one that was."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import replace

from attacks import Case, against
from shots import Lines, Shot

from proxy.core.content_digest import content_digest

ANY_WAY = True  # also as an agent that knows of no proxy

DIGEST = "proof.digest"
CALL = Shot(method="POST", path="/v1/invoices", body='{"total": 12}', headers=(("Content-Type", "application/json"),))
CHUNKED = replace(CALL, chunked=True)


def cases(way: str) -> Iterator[Case]:
    for kind, call in (("", CALL), (" in chunks", CHUNKED)):
        other = {"body": '{"total": 99}', "signs": call}
        yield against("E04", f"another body of the same length{kind}", way, call, other, code=DIGEST)
    for name, body in (("a longer body", '{"total": 12, "to": "mallory"}'), ("no body", "")):
        changes = {"body": body, "signs": CHUNKED}
        yield against("E04", f"{name} in chunks", way, CHUNKED, changes, code=DIGEST)
    longer = {"body": '{"total": 12000}', "signs": CALL}
    yield against("E04", "a longer body and its length", way, CALL, longer, code="proof.signature")
    for name, spoil in SPOILED.items():
        changes = {"body": '{"total": 99}', "signs": CALL, "spoil": spoil}
        yield against("E04", f"another body and {name}", way, CALL, changes, code="proof.signature")
    for name, digest in DIGESTS.items():
        changes = {"headers": (*CALL.headers, ("Content-Digest", digest))}
        yield against("E04", f"a signed digest that is {name}", way, CALL, changes, code=DIGEST)


def its_digest(lines: Lines, method: str, url: str) -> Lines:
    """The digest is made to fit the other body, the signature is not."""
    fitting = content_digest(b'{"total": 99}')
    return [(name, fitting if name == "Content-Digest" else value) for name, value in lines]


def a_further_digest(lines: Lines, method: str, url: str) -> Lines:
    fitting = base64.b64encode(hashlib.sha512(b'{"total": 99}').digest()).decode()
    return [(name, f"{value}, sha-512=:{fitting}:" if name == "Content-Digest" else value) for name, value in lines]


SPOILED = {"its digest": its_digest, "its digest beside the signed one": a_further_digest}

_right = content_digest(b'{"total": 12}')
_wrong = content_digest(b'{"total": 99}')
DIGESTS = {
    "another body's": _wrong,
    "right in one algorithm and wrong in another": f"{_right}, sha-512=:{'A' * 86}==:",
    "of an algorithm nobody knows": "crc32=:AAAAAA==:",
    "broken MD5": f"md5=:{base64.b64encode(hashlib.md5(b'x').digest()).decode()}:",
    "no byte sequence": 'sha-256="right"',
    "given twice": f"{_wrong}, {_right}",
}
