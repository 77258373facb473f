"""Content-Digest: every digest that is known must be the body's, whether it came whole or in pieces (THREATS E04)."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.content_digest import BodyDigests, check_content_digest, content_digest, signed_digests
from proxy.core.errors import Code, Rejected
from proxy.core.fields import Lines

SHA256 = content_digest(b"body")
SHA512 = f"sha-512=:{base64.b64encode(hashlib.sha512(b'body').digest()).decode()}:"
WRONG512 = f"sha-512=:{base64.b64encode(bytes(64)).decode()}:"


def in_pieces(body: bytes) -> BodyDigests:
    digests = BodyDigests()
    for at in range(0, len(body), 3):
        digests.add(body[at : at + 3])
    return digests


def digests(*values: str) -> Lines:
    return {"content-digest": [value.encode() for value in values]}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b"", id="no body and no digest"),
        pytest.param(digests(content_digest(b"")), b"", id="the digest of nothing"),
        pytest.param(digests(SHA256), b"body", id="sha-256"),
        pytest.param(digests(SHA512), b"body", id="sha-512"),
        pytest.param(digests(f"{SHA256}, {SHA512}"), b"body", id="both"),
        pytest.param(digests(f"md5=:AAAA:, {SHA256}"), b"body", id="an unknown one beside a known one"),
    ],
)
def test_a_body_that_fits_its_digest(headers: Lines, body: bytes) -> None:
    check_content_digest(headers, body)
    check_content_digest(headers, in_pieces(body))


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({}, b"body", id="no digest"),
        pytest.param(digests(SHA256), b"Body", id="another body"),
        pytest.param(digests(SHA256), b"", id="no body"),
        pytest.param(digests(f"{SHA256}, {WRONG512}"), b"body", id="one of two is wrong"),
        pytest.param(digests("md5=:hBotaJrKa9FhFEdFPCLG/A==:"), b"body", id="unknown algorithms only"),
        pytest.param(digests(""), b"body", id="an empty field"),
        pytest.param(digests(SHA256, SHA256), b"body", id="two lines"),
        pytest.param(digests(f"{SHA256}, {SHA256}"), b"body", id="one algorithm twice"),
        pytest.param(digests("sha-256=abc"), b"body", id="no byte sequence"),
        pytest.param(digests("sha-256=:"), b"body", id="cut short"),
    ],
)
def test_a_body_that_does_not(headers: Lines, body: bytes) -> None:
    for form in (body, in_pieces(body)):
        with pytest.raises(Rejected) as refused:
            check_content_digest(headers, form)
        assert (refused.value.code, refused.value.field) == (Code.PROOF_DIGEST, "content-digest")


@given(st.lists(st.binary(max_size=9)))
def test_a_body_in_pieces_has_the_digests_of_the_whole(pieces: list[bytes]) -> None:
    digests, whole = BodyDigests(), b"".join(pieces)
    for piece in pieces:
        digests.add(piece)
    assert digests.size == len(whole)
    assert digests.sha256 == digests.digest("sha-256") == hashlib.sha256(whole).digest()
    assert digests.digest("sha-512") == hashlib.sha512(whole).digest()


def test_what_was_signed_is_known_before_the_body_comes() -> None:
    assert signed_digests({}) is None
    assert signed_digests(digests(f"{SHA512}, md5=:AAAA:")) == {"sha-512": hashlib.sha512(b"body").digest()}


@given(st.dictionaries(st.just("content-digest"), st.lists(st.binary(max_size=40), max_size=2)), st.binary(max_size=5))
def test_reading_whatever_arrives_raises_only_rejected(headers: Lines, body: bytes) -> None:
    try:
        check_content_digest(headers, body)
    except Rejected as refused:
        assert refused.code is Code.PROOF_DIGEST
