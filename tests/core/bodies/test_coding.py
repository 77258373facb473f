"""Content codings: one whole stream, bounded while it is undone (THREATS.md D03)."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.coding import BodyCaps, decoded, uncoded
from proxy.core.errors import Code, Rejected

CAPS = BodyCaps()
MIB = 1_048_576


def zstd(data: bytes, **more: bool) -> bytes:
    return zstandard.ZstdCompressor(**more).compress(data)


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd,
}


def coded(coding: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Encoding", coding),)


def refused(coding: str, body: bytes, caps: BodyCaps = CAPS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decoded(coded(coding), body, caps)
    return caught.value


@pytest.mark.parametrize("coding", CODERS)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"amount":12}', id="a little"),
        pytest.param(b"a" * 200_000, id="much of the same"),
        pytest.param(random.Random(1).randbytes(300_000) + bytes(100_000), id="more than is decoded in a step"),
    ],
)
def test_a_coded_body_is_read(coding: str, data: bytes) -> None:
    assert decoded(coded(coding.upper()), CODERS[coding](data), CAPS) == data


@pytest.mark.parametrize("headers", [(), coded("identity"), coded(" Identity ")])
def test_a_plain_body_is_read_as_it_is(headers: tuple[tuple[str, str], ...]) -> None:
    assert decoded(headers, b"hello", CAPS) == uncoded(headers, b"hello", CAPS) == b"hello"
    assert decoded(headers, b"", CAPS) == b""


@pytest.mark.parametrize("coding", CODERS)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda data: data + b"x", "behind its end", id="a byte behind it"),
        pytest.param(lambda data: data + b"\0" * 512, "behind its end", id="padding behind it"),
        pytest.param(lambda data: data + data, "behind its end", id="a second stream behind it"),
        pytest.param(lambda data: data[:-1], "cut short", id="without its last byte"),
        pytest.param(lambda data: data[:4], "cut short", id="without its content"),
        pytest.param(lambda data: b"hello", "", id="no such stream at all"),
        pytest.param(lambda data: b"", "empty", id="an empty body"),
    ],
)
def test_what_is_not_one_whole_stream_is_refused(coding: str, spoil: Callable[[bytes], bytes], says: str) -> None:
    fault = refused(coding, spoil(CODERS[coding](b'{"amount":12}' * 100)))
    assert (fault.code, fault.field) == (Code.BODY_MALFORMED, "content-encoding")
    if coding not in ("br", "zstd"):  # of a broken stream their decoders only say that it is one
        assert says in fault.detail


@pytest.mark.parametrize("coding", CODERS)
def test_a_changed_byte_is_noticed_or_changes_what_is_read(coding: str) -> None:
    data = CODERS[coding](b'{"amount":12}')
    for at in range(len(data)):
        spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            decoded(coded(coding), spoilt, CAPS)
        except Rejected as fault:
            assert fault.code is Code.BODY_MALFORMED


@pytest.mark.parametrize(
    "coding",
    [
        pytest.param("gzip, gzip", id="the same twice"),
        pytest.param("deflate, gzip", id="two stacked"),
        pytest.param("gzip,", id="a list with a hole"),
        pytest.param("identity, gzip", id="identity and another"),
        pytest.param("\x0cgzip", id="white space that is none of HTTP's"),
        pytest.param("", id="no name"),
        pytest.param("compress", id="compress"),
        pytest.param("aws-chunked", id="a coding of one vendor"),
        pytest.param("x-deflate", id="an unknown name"),
    ],
)
def test_other_codings_are_refused(coding: str) -> None:
    fault = refused(coding, gzip.compress(gzip.compress(b"x")))
    assert (fault.code, fault.field) == (Code.BODY_MALFORMED, "content-encoding")
    assert "must be one of gzip, deflate, br or zstd" in fault.detail


def test_two_lines_are_refused() -> None:
    with pytest.raises(Rejected, match="exactly one line"):
        decoded((*coded("gzip"), ("content-encoding", "identity")), gzip.compress(b"x"), CAPS)


@pytest.mark.parametrize("coding", CODERS)
def test_a_bomb_is_refused_before_it_grows(coding: str) -> None:
    bomb = CODERS[coding](bytes(64 * MIB))
    decoded(coded(coding), CODERS[coding](b"warm"), CAPS)
    tracemalloc.start()
    try:
        fault = refused(coding, bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fault.code in (Code.BODY_MALFORMED, Code.BODY_NOT_INSPECTED)
    assert peak_bytes < 2 * CAPS.decoded_bytes


@pytest.mark.parametrize("coding", CODERS)
def test_a_ratio_beyond_the_cap_is_refused_where_it_is_no_matter_of_a_few_bytes(coding: str) -> None:
    caps, some = BodyCaps(ratio=10), b"a" * 262_144
    assert decoded(coded(coding), CODERS[coding](some), caps) == some
    fault = refused(coding, CODERS[coding](some + b"a"), caps)
    assert fault.code is Code.BODY_MALFORMED
    assert "10 times" in fault.detail


@pytest.mark.parametrize("coding", CODERS)
def test_more_than_may_be_examined_is_told_apart_from_what_is_malformed(coding: str) -> None:
    caps = BodyCaps(decoded_bytes=1_000, ratio=1_000)
    assert len(decoded(coded(coding), CODERS[coding](b"ab" * 500), caps)) == 1_000
    fault = refused(coding, CODERS[coding](b"ab" * 500 + b"a"), caps)
    assert (fault.code, fault.field) == (Code.BODY_NOT_INSPECTED, "body")


def test_a_plain_body_beyond_the_cap_is_not_examined() -> None:
    caps = BodyCaps(decoded_bytes=5)
    assert decoded((), b"12345", caps) == b"12345"
    for read in (decoded, uncoded):
        with pytest.raises(Rejected, match="examined up to 5 bytes") as caught:
            read((), b"123456", caps)
        assert caught.value.code is Code.BODY_NOT_INSPECTED


def test_forms_may_not_be_coded() -> None:
    with pytest.raises(Rejected, match="not accepted for a form") as caught:
        uncoded(coded("gzip"), gzip.compress(b"a=1"), CAPS)
    assert caught.value.code is Code.BODY_MALFORMED


# --- gzip and deflate ------------------------------------------------------------------------------------------------


def test_deflate_is_the_zlib_format_and_not_the_raw_one() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert "is not that" in refused("deflate", raw.compress(b"hello") + raw.flush()).detail
    assert "is not that" in refused("deflate", gzip.compress(b"hello")).detail
    assert "is not that" in refused("gzip", zlib.compress(b"hello")).detail


def test_deflate_that_some_servers_read_as_a_raw_stream_is_refused() -> None:
    # 78 9C is a zlib header; a raw reader sees a stored block, whose length begins with 9C.
    polyglot = b"\x78\x9c\x00" + (0xFFFF ^ 0x009C).to_bytes(2, "little") + b"amount=99".ljust(0x9C, b"&")
    assert zlib.decompressobj(-15).decompress(polyglot).startswith(b"amount=99")
    assert "two ways" in refused("deflate", polyglot).detail


def test_deflate_with_a_preset_dictionary_is_refused() -> None:
    coder = zlib.compressobj(zdict=b"hello world")
    assert refused("deflate", coder.compress(b"hello world") + coder.flush()).code is Code.BODY_MALFORMED


# --- zstd ------------------------------------------------------------------------------------------------------------


def test_zstd_with_and_without_a_checksum_is_read() -> None:
    for flags in ({"write_checksum": True}, {"write_checksum": False}, {"write_content_size": False}):
        assert decoded(coded("zstd"), zstd(b"hello" * 50_000, **flags), BodyCaps(ratio=100_000)) == b"hello" * 50_000


def test_zstd_with_a_false_checksum_is_refused() -> None:
    data = zstd(b"hello", write_checksum=True)
    assert "is not that" in refused("zstd", data[:-1] + bytes([data[-1] ^ 1])).detail
    assert "cut short" in refused("zstd", data[:-2]).detail
    assert "behind its end" in refused("zstd", data + b"x").detail


def test_zstd_with_a_dictionary_is_refused() -> None:
    samples = [f"invoice number {n} of supplier {n % 7}".encode() * 3 for n in range(500)]
    words = zstandard.train_dictionary(1_024, samples)
    data = zstandard.ZstdCompressor(dict_data=words).compress(samples[0])
    assert "without a dictionary" in refused("zstd", data).detail


def test_zstd_with_a_large_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert "at most 8 MiB" in refused("zstd", data.compress(b"hello") + data.flush()).detail
    parameters = zstandard.ZstdCompressionParameters(window_log=23, write_content_size=False)
    twin = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert decoded(coded("zstd"), twin.compress(b"hello") + twin.flush(), CAPS) == b"hello"


def test_a_skippable_zstd_frame_is_refused() -> None:
    skippable = (0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"spam"
    for data in (skippable, skippable + zstd(b"hello"), zstd(b"hello") + skippable):
        assert refused("zstd", data).code is Code.BODY_MALFORMED


def test_zstd_in_very_many_blocks_is_refused() -> None:
    header, empty, last = zstd(b"")[:-3], b"\x00\x00\x00", b"\x01\x00\x00"
    assert decoded(coded("zstd"), header + empty * 100 + last, CAPS) == b""
    assert "65536 blocks" in refused("zstd", header + empty * 70_000 + last).detail


def test_zstd_blocks_that_repeat_a_byte_are_bounded() -> None:
    header = zstd(b"hello" * 9, write_content_size=False)[:6]
    repeated = (0x20000 << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    assert refused("zstd", header + repeated * 10_000).code in (Code.BODY_MALFORMED, Code.BODY_NOT_INSPECTED)


# --- properties ------------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(CODERS)), st.binary(max_size=200))
def test_decoding_raises_only_rejected(coding: str, data: bytes) -> None:
    for body in (data, CODERS[coding](data) + data, CODERS[coding](data)[: len(data)]):
        try:
            decoded(coded(coding), body, CAPS)
        except Rejected as fault:
            assert fault.code is Code.BODY_MALFORMED
