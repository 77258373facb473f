"""Bodies of type multipart/form-data (RFC 7578, RFC 2046 §5.1.1), of which only the plainest form is read.

Two bodies with the same parts and the same boundary are the same bytes but for the last line end: nothing is skipped.
"""

import re
from dataclasses import dataclass

from proxy.core.bodies.coding import BodyCaps, check_size
from proxy.core.bodies.forms import check_names
from proxy.core.bodies.media import WORD, MediaType, check_charset, parse_media_type
from proxy.core.errors import Code, Rejected

MAX_PARTS = 1_000
"""More are cut off or refused by common servers."""
MAX_HEADER_BYTES = 4_096
"""Of one part."""

MULTIPART = "multipart/form-data"

_PARAMETERS = frozenset({"boundary", "charset"})
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_\-./:=?]{1,70}")  # RFC 2046 bchars without space and comma, at which some cut
_LINE = re.compile(rf"({WORD}):[ \t]*((?:[!-~\xa0-\U0010ffff](?:[\t -~\xa0-\U0010ffff]*[!-~\xa0-\U0010ffff])?)?)")
# No backslash, which escapes for some and is plain for browsers; no ";", at which some split.
_QUOTED = r'"([ !#-:<-\[\]-~\xa0-\U0010ffff]*)"'
_DISPOSITION = re.compile(rf"form-data[ \t]*;[ \t]*name={_QUOTED}(?:[ \t]*;[ \t]*filename={_QUOTED})?", re.IGNORECASE)
_ENCODED_WORD = "=?"
_IDENTITY_ENCODINGS = frozenset({"7bit", "8bit", "binary"})
_REFUSED_LINES = frozenset({"content-encoding", "content-range", "transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPart:
    """One field or file of a form. `headers` are its lines in order, as they came; `media` None: not given."""

    name: str
    filename: str | None
    media: MediaType | None
    data: bytes
    headers: tuple[tuple[str, str], ...]


def read_multipart(data: bytes, media: MediaType, caps: BodyCaps) -> tuple[FormPart, ...]:
    """The parts of a form in order.

    Strict: CRLF alone ends lines, nothing stands before the first delimiter or after the last but one CRLF, nothing
    behind a delimiter on its line, and the delimiter's text nowhere else. Each part has exactly one
    `Content-Disposition: form-data; name="…"` with `filename="…"` after it or not, and no header line twice or
    folded. Not checked here: what the parts hold, and that a field's bytes are UTF-8.

    Raises:
        Rejected(BODY_MALFORMED): anything else; another media type, or one with other parameters; names as in
            `forms.check_names`, or encoded.
        Rejected(BODY_NOT_INSPECTED): larger than `caps.decoded_bytes`.
    """
    check_size(len(data), caps)
    delimiter = _delimiter(media)
    check_charset(media, data)
    if data.count(delimiter) > MAX_PARTS + 1:
        raise _bad(f"may have at most {MAX_PARTS} parts")
    before, *pieces = data.split(delimiter)
    if before or not pieces:
        raise _bad("must begin with the delimiter that Content-Type names")
    if pieces.pop() not in (b"--", b"--\r\n"):
        raise _bad('must end with the delimiter and "--", and with nothing after it but one CRLF')
    if not pieces:
        raise _bad("must have at least one part")
    parts = tuple(_part(piece) for piece in pieces)
    check_names(part.name for part in parts)
    return parts


def _delimiter(media: MediaType) -> bytes:
    if media.type != MULTIPART:
        raise Rejected(Code.BODY_MALFORMED, f"content-type must be {MULTIPART}", field="content-type")
    if not media.parameters.keys() <= _PARAMETERS:  # PHP takes the first that has "boundary" anywhere in its name
        detail = "content-type must have no parameters but boundary, and charset"
        raise Rejected(Code.BODY_MALFORMED, detail, field="content-type")
    boundary = media.parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        detail = "content-type must have a boundary of 1 to 70 letters, digits and '()+_-./:=? (RFC 2046 §5.1.1)"
        raise Rejected(Code.BODY_MALFORMED, detail, field="content-type")
    return b"--" + boundary.encode("ascii")


def _part(piece: bytes) -> FormPart:
    """A part from what stands between two delimiters, line ends included."""
    head, mark, data = piece[2:-2].partition(b"\r\n\r\n")
    if not (mark and piece.startswith(b"\r\n") and piece.endswith(b"\r\n")):
        raise _bad("must put each delimiter on a line of its own, ended by CRLF, and an empty line before the content")
    headers = _lines(head)
    known = {name.lower(): value for name, value in headers}
    if len(known) != len(headers):
        raise _bad("must not have a header line twice in one part")
    if not _REFUSED_LINES.isdisjoint(known):
        raise _bad("must not have parts that are coded or cut")
    if known.get("content-transfer-encoding", "binary").lower() not in _IDENTITY_ENCODINGS:
        raise _bad("must not have a transfer encoding other than 7bit, 8bit and binary (RFC 7578 §4.7)")
    if known.get("content-length", str(len(data))) != str(len(data)):
        raise _bad("has a part whose Content-Length is not its length")
    disposition = _DISPOSITION.fullmatch(known.get("content-disposition", ""))
    if disposition is None:
        raise _bad(
            'must have parts with Content-Disposition: form-data; name="…"; filename="…", the latter for files,'
            " in UTF-8 and without backslashes or semicolons"
        )
    if _ENCODED_WORD in disposition[1]:  # which Commons FileUpload, and so Tomcat, undoes (RFC 2047)
        raise _bad('must not have names with "=?" in them, which begins an encoded word for some')
    media = parse_media_type(known["content-type"]) if "content-type" in known else None
    if media is not None and media.type.startswith("multipart/"):
        raise _bad("must not have parts that are multipart themselves")
    if disposition[2] is None:
        check_charset(media, data)
    return FormPart(name=disposition[1], filename=disposition[2], media=media, data=data, headers=headers)


def _lines(head: bytes) -> tuple[tuple[str, str], ...]:
    if len(head) > MAX_HEADER_BYTES:
        raise _bad(f"may have at most {MAX_HEADER_BYTES} bytes of header lines in a part")
    try:
        found = [_LINE.fullmatch(line) for line in head.decode().split("\r\n")]
    except UnicodeDecodeError:
        raise _bad("must have header lines in UTF-8") from None
    headers = tuple((line[1], line[2]) for line in found if line is not None)
    if len(headers) != len(found):
        raise _bad('must have header lines that read "Name: value", each on one line, without controls')
    return headers


def _bad(rule: str) -> Rejected:
    return Rejected(Code.BODY_MALFORMED, f"the multipart form {rule}", field="body")
