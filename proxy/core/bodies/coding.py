"""Content codings: a body as it was before it was compressed (RFC 9110 §8.4), never larger than its caps.

Exactly one whole stream is read, with nothing behind it: readers differ on a second one (the next member of a gzip, the
next frame of a zstd, padding), so what stands there would be judged by one and used by another.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import brotli
import zstandard

from proxy.core.errors import Code, Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyCaps:
    """Bounds of reading. `ratio` is decoded to coded bytes; `members` counts every value of a JSON document."""

    decoded_bytes: int = 4_194_304
    ratio: int = 100
    depth: int = 64
    members: int = 100_000


USUAL_CAPS = BodyCaps()

_SMALL_BYTES = 262_144  # up to here any ratio is ordinary: a page of blanks is no bomb
_STEP_BYTES = 131_072  # of output at a time; the most one zstd block gives
_ZSTD_WINDOW_BYTES = 8_388_608  # RFC 9659 §3
_ZSTD_BLOCKS = 65_536
_RLE_BLOCK = 1


class _Brotli(Protocol):
    def process(self, data: bytes, output_buffer_limit: int) -> bytes: ...
    def can_accept_more_data(self) -> bool: ...
    def is_finished(self) -> bool: ...


def decoded(headers: tuple[tuple[str, str], ...], body: bytes, caps: BodyCaps) -> bytes:
    """The body without its content coding: none or identity, gzip (x-gzip), deflate, br or zstd.

    Of `deflate` only the zlib format is read (RFC 9110 §8.4.1.2), and not where the same bytes begin a raw stream too.
    Not checked here: that the server undoes codings at all. What is not text of one strict form, and could be found
    within the coded bytes by a server that does not, is for `uncoded`.

    Raises:
        Rejected(BODY_MALFORMED): another coding, or several; a stream that is broken, cut short or followed by
            anything; an empty body that is said to be coded; more than `caps.ratio` times larger than it came.
        Rejected(BODY_NOT_INSPECTED): larger than `caps.decoded_bytes`, as it came or decoded.
    """
    coding = _coding(headers)
    check_size(len(body), caps)
    if coding is None:
        return body
    decoder = _DECODERS.get(coding)
    if decoder is None:
        raise _bad(f"must be one of gzip, deflate, br or zstd, once, got {coding[:40]!a}")
    if not body:
        raise _bad(f"says {coding}, but the body is empty: leave the field out")
    room = min(caps.decoded_bytes, max(caps.ratio * len(body), _SMALL_BYTES))
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in decoder(body):
            size += len(chunk)
            check_size(size, caps)
            if size > room:
                raise _bad(f"must not make a body more than {caps.ratio} times larger: send it as it is")
            chunks.append(chunk)
    except (zlib.error, zstandard.ZstdError, brotli.error):
        raise _bad(f"says {coding}, but the body is not that") from None
    return b"".join(chunks)


def uncoded(headers: tuple[tuple[str, str], ...], body: bytes, caps: BodyCaps) -> bytes:
    """The body as it came, where it may not be coded: forms, and multipart.

    A server that does not undo codings looks for fields in the coded bytes, and a gzip header, or a stored block, can
    hold some. JSON has no such second reading: coded bytes are no JSON.

    Raises:
        Rejected(BODY_MALFORMED): a content coding other than identity.
        Rejected(BODY_NOT_INSPECTED): larger than `caps.decoded_bytes`.
    """
    if _coding(headers) is not None:
        raise _bad("is not accepted for a form: send it as it is")
    check_size(len(body), caps)
    return body


def _coding(headers: tuple[tuple[str, str], ...]) -> str | None:
    values = [value.strip(" \t").lower() for name, value in headers if name.lower() == "content-encoding"]
    if len(values) > 1:
        raise _bad("must stand on exactly one line")
    return None if values in ([], ["identity"]) else values[0]


def check_size(size: int, caps: BodyCaps) -> None:
    """Refuse a body of more bytes than are examined.

    Raises:
        Rejected(BODY_NOT_INSPECTED): more than `caps.decoded_bytes`.
    """
    if size > caps.decoded_bytes:
        detail = f"a body is examined up to {caps.decoded_bytes} bytes, and this one is larger"
        raise Rejected(Code.BODY_NOT_INSPECTED, detail, field="body")


def _gunzipped(body: bytes) -> Iterator[bytes]:
    return _inflated(body, zlib.MAX_WBITS | 16)


def _undeflated(body: bytes) -> Iterator[bytes]:
    # Some servers expect raw deflate here. To them a zlib header is a stored block, whose length stands there twice.
    if int.from_bytes(body[1:3]) ^ int.from_bytes(body[3:5]) == 0xFFFF:
        raise _bad("deflate can be read in two ways here: use gzip")
    return _inflated(body, zlib.MAX_WBITS)


def _inflated(body: bytes, window_bits: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(window_bits)
    while not decoder.eof:
        chunk = decoder.decompress(body, _STEP_BYTES)
        body = decoder.unconsumed_tail
        if not chunk and not body and not decoder.eof:
            raise _cut_short()
        yield chunk
    if decoder.unused_data:
        raise _followed()


def _unbrotlied(body: bytes) -> Iterator[bytes]:
    decoder: _Brotli = brotli.Decompressor()
    # The last byte apart: a stream that ends before it has something behind it, which the decoder may not tell.
    for piece in (body[:-1], body[-1:]):
        if decoder.is_finished():
            raise _followed()
        chunk = decoder.process(piece, output_buffer_limit=_STEP_BYTES)
        while chunk or not decoder.can_accept_more_data():
            yield chunk
            chunk = decoder.process(b"", output_buffer_limit=_STEP_BYTES)
    if not decoder.is_finished():
        raise _cut_short()


def _unzstded(body: bytes) -> Iterator[bytes]:
    frame = zstandard.get_frame_parameters(body)
    if frame.dict_id or frame.window_size > _ZSTD_WINDOW_BYTES or not body.startswith(zstandard.FRAME_HEADER):
        raise _bad("zstd must be one frame without a dictionary, with a window of at most 8 MiB (RFC 9659)")
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
    for piece in _zstd_pieces(body, has_checksum=frame.has_checksum):
        yield decoder.decompress(piece)
    if not decoder.eof:
        raise _cut_short()


def _zstd_pieces(body: bytes, *, has_checksum: bool) -> Iterator[bytes]:
    """A frame block by block (RFC 8878 §3.1.1), since the decoder gives all that a piece holds at once."""
    end = zstandard.frame_header_size(body)
    yield body[:end]
    for _ in range(_ZSTD_BLOCKS):
        start, header = end, int.from_bytes(body[end : end + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        end = start + 3 + (1 if kind == _RLE_BLOCK else size)
        if end > len(body):
            raise _cut_short()
        if last:
            end += 4 if has_checksum else 0
            if end < len(body):
                raise _followed()
            yield body[start:]
            return
        yield body[start:end]
    raise _bad(f"zstd may have at most {_ZSTD_BLOCKS} blocks")


_DECODERS: Mapping[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "deflate": _undeflated,
    "br": _unbrotlied,
    "zstd": _unzstded,
}


def _cut_short() -> Rejected:
    return _bad("names a coding whose stream is cut short")


def _followed() -> Rejected:
    return _bad("must name one whole stream: something stands behind its end")


def _bad(rule: str) -> Rejected:
    return Rejected(Code.BODY_MALFORMED, f"content-encoding {rule}", field="content-encoding")
