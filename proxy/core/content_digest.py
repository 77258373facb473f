"""Content-Digest (RFC 9530): a signature covers the field, and the field stands for the body."""

import base64
import hashlib
from collections.abc import Mapping

from proxy.core.errors import Code, Rejected
from proxy.core.fields import Lines, dictionary, one_line

CONTENT_DIGEST = "content-digest"

_ALGORITHMS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def content_digest(body: bytes) -> str:
    """The Content-Digest field for `body` (RFC 9530 §2)."""
    return digest_field(hashlib.sha256(body).digest())


def digest_field(sha256: bytes) -> str:
    """The Content-Digest field for a body with this SHA-256."""
    return f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:"


class BodyDigests:
    """Takes the digests of a body in the pieces it comes in, so that none of it need be kept."""

    def __init__(self) -> None:
        self.size = 0
        self._running = {name: algorithm() for name, algorithm in _ALGORITHMS.items()}

    def add(self, piece: bytes | memoryview) -> None:
        """The next piece of the body."""
        self.size += len(piece)
        for running in self._running.values():
            running.update(piece)

    def digest(self, algorithm: str) -> bytes:
        """Of everything added until now; `algorithm` is "sha-256" or "sha-512"."""
        return self._running[algorithm].digest()

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of everything added until now."""
        return self.digest("sha-256")


def check_content_digest(found: Lines, body: bytes | BodyDigests) -> None:
    """Reject a body that is not the one whose digest was signed (RFC 9530 §2).

    Every algorithm we know must match; others are ignored beside one we know. An empty body needs no digest. Not
    checked here: that the signature covers the field.

    Raises:
        Rejected(PROOF_DIGEST): missing, unreadable, without sha-256 or sha-512, or another body's.
    """
    signed = signed_digests(found)
    size = body.size if isinstance(body, BodyDigests) else len(body)
    if signed is None and size:
        raise _bad("a signed request with a body must carry Content-Digest")
    for algorithm, digest in sorted((signed or {}).items()):
        got = body.digest(algorithm) if isinstance(body, BodyDigests) else _ALGORITHMS[algorithm](body).digest()
        if got != digest:
            raise _bad(f"{algorithm} is not the digest of the body")


def signed_digests(found: Lines) -> Mapping[str, bytes] | None:
    """What `Content-Digest` says in the algorithms we know; None without the field. What is no digest is empty.

    Raises:
        Rejected(PROOF_DIGEST): unreadable, on two lines, or without sha-256 and sha-512.
    """
    text = one_line(found, CONTENT_DIGEST, code=Code.PROOF_DIGEST)
    if text is None:
        return None
    members = dictionary(text, code=Code.PROOF_DIGEST, field=CONTENT_DIGEST)
    known = {name: member.value for name, member in members.items() if name in _ALGORITHMS}
    if not known:
        raise _bad(f"{CONTENT_DIGEST} must have sha-256 or sha-512")
    return {name: value if isinstance(value, bytes) else b"" for name, value in known.items()}


def _bad(detail: str) -> Rejected:
    return Rejected(Code.PROOF_DIGEST, detail, field=CONTENT_DIGEST)
