"""Multipart forms: every part as all servers find it, or none (THREATS.md D03)."""

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.coding import BodyCaps
from proxy.core.bodies.media import MediaType, parse_media_type
from proxy.core.bodies.multipart import MAX_HEADER_BYTES, MAX_PARTS, FormPart, read_multipart
from proxy.core.errors import Code, Rejected

CAPS = BodyCaps()
MEDIA = parse_media_type("multipart/form-data; boundary=XyZ")
NAMED = 'Content-Disposition: form-data; name="a"'


def body(*parts: tuple[str, bytes], boundary: str = "XyZ", end: bytes = b"--\r\n") -> bytes:
    """A form from the head of each part and its content."""
    delimiter = f"--{boundary}".encode()
    each = b"".join(delimiter + b"\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return each + delimiter + end


def test_a_form_with_a_field_and_a_file_is_read() -> None:
    data = body(
        ('Content-Disposition: form-data; name="note"', "größe\r\n--".encode()),
        (
            'content-disposition: FORM-DATA; name="file"; filename="été.pdf"\r\nContent-Type: application/PDF',
            b"\0\r\n\r\n\xff",
        ),
    )
    assert read_multipart(data, MEDIA, CAPS) == (
        FormPart(
            name="note",
            filename=None,
            media=None,
            data="größe\r\n--".encode(),
            headers=(("Content-Disposition", 'form-data; name="note"'),),
        ),
        FormPart(
            name="file",
            filename="été.pdf",
            media=MediaType(type="application/pdf", parameters={}),
            data=b"\0\r\n\r\n\xff",
            headers=(
                ("content-disposition", 'FORM-DATA; name="file"; filename="été.pdf"'),
                ("Content-Type", "application/PDF"),
            ),
        ),
    )


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"{NAMED}\r\nContent-Type: text/plain; charset=utf-8", id="a type"),
        pytest.param(f"Content-Type: text/plain\r\n{NAMED}", id="the type first"),
        pytest.param(f"{NAMED}\r\nContent-Transfer-Encoding: 8BIT", id="a transfer encoding that changes nothing"),
        pytest.param(f"{NAMED}\r\nContent-Type: text/plain; charset=us-ascii", id="ASCII, and it is"),
        pytest.param(f"{NAMED}\r\nX: ".ljust(MAX_HEADER_BYTES, "x"), id="lines up to the bound"),
        pytest.param(f"{NAMED}\r\nContent-Length: 5", id="its own length"),
        pytest.param(f"{NAMED}\r\nX-Anything: at all\r\nContent-ID: <1>", id="lines that mean nothing here"),
        pytest.param('Content-Disposition:form-data;name="a"', id="without spaces"),
        pytest.param('Content-Disposition: form-data; name="a"; filename=""', id="a file that was not chosen"),
        pytest.param(
            f'{NAMED}; filename="b"\r\nContent-Type: text/plain; charset=iso-8859-1',
            id="a file in another character set",
        ),
    ],
)
def test_a_part_may_have(head: str) -> None:
    (part,) = read_multipart(body((head, b"hello")), MEDIA, CAPS)
    assert (part.name, part.data) == ("a", b"hello")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        pytest.param("", "header lines", id="no line at all"),
        pytest.param("Content-Type: text/plain", "Content-Disposition", id="no disposition"),
        pytest.param(f"{NAMED}\r\n{NAMED}", "twice", id="its disposition twice"),
        pytest.param(f'{NAMED}\r\ncontent-DISPOSITION: form-data; name="b"', "twice", id="two dispositions"),
        pytest.param(f"{NAMED}\r\nX-A: 1\r\nx-a: 1", "twice", id="another line twice"),
        pytest.param("Content-Disposition: form-data", "Content-Disposition", id="no name"),
        pytest.param("Content-Disposition: form-data; name=a", "Content-Disposition", id="a bare name"),
        pytest.param('Content-Disposition: attachment; name="a"', "Content-Disposition", id="another disposition"),
        pytest.param(f'{NAMED}; name="b"', "Content-Disposition", id="two names"),
        pytest.param(f"{NAMED}; filename=b", "Content-Disposition", id="a bare file name"),
        pytest.param(f'{NAMED}; filename="b"; filename="c"', "Content-Disposition", id="two file names"),
        pytest.param(f"{NAMED}; filename*=utf-8''b", "Content-Disposition", id="an extended file name"),
        pytest.param(
            f"{NAMED}; filename=\"b\"; filename*=utf-8''c", "Content-Disposition", id="a file name, and an extended one"
        ),
        pytest.param("Content-Disposition: form-data; name*=utf-8''a", "Content-Disposition", id="an extended name"),
        pytest.param(
            'Content-Disposition: form-data; filename="b"; name="a"', "Content-Disposition", id="file name first"
        ),
        pytest.param(f"{NAMED};", "Content-Disposition", id="a semicolon at the end"),
        pytest.param(f"{NAMED}; size=5", "Content-Disposition", id="another parameter"),
        pytest.param('Content-Disposition: form-data; name="a\\"b"', "Content-Disposition", id="an escape in a name"),
        pytest.param('Content-Disposition: form-data; name="a;b"', "Content-Disposition", id="a semicolon in a name"),
        pytest.param(f'{NAMED}; filename="..\\b"', "Content-Disposition", id="a backslash in a file name"),
        pytest.param(f'{NAMED}; filename="b; name=c"', "Content-Disposition", id="a name within a file name"),
        pytest.param('Content-Disposition: form-data; name=""', "a name", id="an empty name"),
        pytest.param('Content-Disposition: form-data; name="=?utf-8?q?a?="', "encoded", id="an encoded name"),
        pytest.param('Content-Disposition: form-data; name=" a"', "white space", id="a space before a name"),
        pytest.param(
            'Content-Disposition: form-data; name="_charset_"', "_charset_", id="a field that sets the character set"
        ),
        pytest.param('Content-Disposition: form-data; name="a\x85b"', "header lines", id="a control in a name"),
        pytest.param(f"{NAMED}\r\n ; filename=b", "header lines", id="a folded line"),
        pytest.param(f"{NAMED}\r\n\tx", "header lines", id="a folded line with a tab"),
        pytest.param(f"{NAMED}\nX-A: 1", "header lines", id="a bare line feed"),
        pytest.param(f"{NAMED}\rX-A: 1", "header lines", id="a bare carriage return"),
        pytest.param(f"X-A: a\0\r\n{NAMED}", "header lines", id="a NUL"),
        pytest.param(f"{NAMED}\r\nX-A", "header lines", id="a line without a colon"),
        pytest.param(f"{NAMED}\r\nX-A : 1", "header lines", id="a space before a colon"),
        pytest.param(f"{NAMED}\r\nX-A: " + "a" * 5_000, "4096 bytes", id="too many bytes"),
        pytest.param(f"{NAMED}\r\nContent-Transfer-Encoding: base64", "transfer encoding", id="base64"),
        pytest.param(
            f"{NAMED}\r\nContent-Transfer-Encoding: quoted-printable", "transfer encoding", id="quoted-printable"
        ),
        pytest.param(
            f"{NAMED}\r\nContent-Transfer-Encoding: ", "transfer encoding", id="a transfer encoding without a name"
        ),
        pytest.param(f"{NAMED}\r\nContent-Encoding: gzip", "coded", id="a content coding"),
        pytest.param(f"{NAMED}\r\nTransfer-Encoding: chunked", "coded", id="a transfer coding"),
        pytest.param(f"{NAMED}\r\nContent-Length: 4", "not its length", id="another length"),
        pytest.param(f"{NAMED}\r\nContent-Type: text", "media type", id="no media type"),
        pytest.param(
            f"{NAMED}\r\nContent-Type: text/plain; charset=utf-7", "charset", id="a field in another character set"
        ),
        pytest.param(
            f"{NAMED}\r\nContent-Type: multipart/mixed; boundary=b", "multipart themselves", id="parts of its own"
        ),
    ],
)
def test_a_part_may_not_have(head: str, says: str) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        read_multipart(body((head, b"hello")), MEDIA, CAPS)
    assert refused.value.code is Code.BODY_MALFORMED


GOOD = body((NAMED, b"hello"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"hello", id="no delimiter"),
        pytest.param(body(), id="no part"),
        pytest.param(b"--XyZ", id="a delimiter alone"),
        pytest.param(b"\r\n" + GOOD, id="a line end before it"),
        pytest.param(b"preamble\r\n" + GOOD, id="a preamble"),
        pytest.param(GOOD + b"epilogue", id="an epilogue"),
        pytest.param(GOOD + b"\r\n", id="an empty line behind it"),
        pytest.param(GOOD + GOOD, id="a second form behind it"),
        pytest.param(GOOD.removesuffix(b"--\r\n"), id="no end"),
        pytest.param(GOOD.removesuffix(b"--\r\n") + b"\r\n", id="a delimiter in place of the end"),
        pytest.param(GOOD.removesuffix(b"\r\n") + b"\n", id="a bare line feed at the end"),
        pytest.param(GOOD.removesuffix(b"\r\n") + b" \r\n", id="a space behind the end"),
        pytest.param(GOOD.replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(GOOD.replace(b"--XyZ\r\n", b"--XyZ \r\n", 1), id="a space behind a delimiter"),
        pytest.param(GOOD.replace(b"--XyZ\r\n", b"--XyZ\n", 1), id="a bare line feed behind a delimiter"),
        pytest.param(GOOD.replace(b"\r\n--XyZ--", b"\n--XyZ--"), id="a bare line feed before a delimiter"),
        pytest.param(GOOD.replace(b"\r\n--XyZ--", b"--XyZ--"), id="a delimiter within a line"),
        pytest.param(GOOD.replace(b"\r\n\r\n", b"\r\n"), id="no empty line before the content"),
        pytest.param(GOOD.replace(b"\r\n\r\nhello", b""), id="no content"),
        pytest.param(b"--XyZ\r\n--XyZ--\r\n", id="delimiters that share a line end"),
        pytest.param(GOOD.replace(b"hello", b"he--XyZllo"), id="the delimiter within the content"),
        pytest.param(
            GOOD.replace(b"hello", b"he\r\n--XyZllo"), id="a line of the content that begins as the delimiter"
        ),
        pytest.param(GOOD.replace(b"hello", b"he\n--XyZ\nllo"), id="the delimiter between bare line feeds"),
        pytest.param(GOOD.replace(b'"a"', b'"\xe9"'), id="a name in Latin-1"),
        pytest.param(body((NAMED, b"1"), (NAMED.replace('"a"', '"A"'), b"2")), id="names that differ in case"),
        pytest.param(body(*[(NAMED, b"")] * (MAX_PARTS + 1)), id="a part too many"),
    ],
)
def test_another_framing_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        read_multipart(data, MEDIA, CAPS)
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "body")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD, id="as it should be"),
        pytest.param(GOOD.removesuffix(b"\r\n"), id="without the last line end"),
        pytest.param(GOOD.replace(b"hello", b""), id="an empty field"),
        pytest.param(GOOD.replace(b"hello", b"--Xy\r\n--"), id="half a delimiter in the content"),
        pytest.param(body(*[(NAMED, b"")] * MAX_PARTS), id="as many parts as allowed"),
        pytest.param(body((NAMED, b"1"), (NAMED, b"2")), id="a field twice"),
    ],
)
def test_its_twins_are_read(data: bytes) -> None:
    assert {part.name for part in read_multipart(data, MEDIA, CAPS)} == {"a"}


@pytest.mark.parametrize(
    "boundary",
    ["a", "0" * 70, "----WebKitFormBoundaryAbC123", "'()+_-./:=?", "-", "--", "a--a"],
)
def test_a_boundary_may_be(boundary: str) -> None:
    media = MediaType(type="multipart/form-data", parameters={"boundary": boundary, "charset": "UTF-8"})
    assert len(read_multipart(body((NAMED, b"hello"), boundary=boundary), media, CAPS)) == 1


@pytest.mark.parametrize(
    ("media", "says"),
    [
        pytest.param("multipart/form-data", "must have a boundary", id="no boundary"),
        pytest.param(
            "multipart/form-data; xboundary=b; boundary=c", "no parameters but boundary", id="another boundary (PHP)"
        ),
        pytest.param('multipart/form-data; boundary=c; x="boundary=b"', "no parameters but", id="one within a value"),
        pytest.param('multipart/form-data; boundary=""', "must have a boundary", id="an empty boundary"),
        pytest.param(f"multipart/form-data; boundary={'0' * 71}", "must have a boundary", id="a long boundary"),
        pytest.param('multipart/form-data; boundary="a b"', "must have a boundary", id="a space in it"),
        pytest.param('multipart/form-data; boundary="a "', "must have a boundary", id="a space at its end"),
        pytest.param("multipart/form-data; boundary=a*", "must have a boundary", id="another character"),
        pytest.param("multipart/mixed; boundary=XyZ", "must be multipart/form-data", id="another multipart type"),
        pytest.param("application/json", "must be multipart/form-data", id="another type"),
        pytest.param("multipart/form-data; boundary=XyZ; charset=utf-7", "charset", id="another character set"),
    ],
)
def test_other_media_types_are_refused(media: str, says: str) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        read_multipart(GOOD, parse_media_type(media), CAPS)
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "content-type")


def test_a_form_beyond_the_cap_is_not_examined() -> None:
    with pytest.raises(Rejected, match="examined up to") as refused:
        read_multipart(GOOD, MEDIA, BodyCaps(decoded_bytes=len(GOOD) - 1))
    assert refused.value.code is Code.BODY_NOT_INSPECTED


@pytest.mark.parametrize("filename", ["a.pdf", "été ü.pdf", 'a "quote".pdf', "100% a&b=c.pdf"])
def test_what_clients_write_is_read(filename: str) -> None:
    fields, files = {"note": "größe", "empty": ""}, {"f": (filename, b"\0\r\n--", "application/pdf")}
    by_requests = requests.Request("POST", "http://erp.example/", data=fields, files=files).prepare()
    by_httpx = httpx.Request("POST", "http://erp.example/", data=fields, files=files)
    for data, media in (
        (by_requests.body, by_requests.headers["Content-Type"]),
        (by_httpx.read(), by_httpx.headers["Content-Type"]),
    ):
        assert isinstance(data, bytes)
        note, empty, file = read_multipart(data, parse_media_type(media), CAPS)
        assert (note.data.decode(), empty.data, file.data) == ("größe", b"", b"\0\r\n--")
        assert file.filename == filename.replace('"', "%22")


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_the_bytes_can_be_made_again_from_what_was_read(contents: list[bytes]) -> None:
    data = body(*[(NAMED, content) for content in contents])
    parts = read_multipart(data, MEDIA, CAPS)
    again = [("\r\n".join(f"{name}: {value}" for name, value in part.headers), part.data) for part in parts]
    assert body(*again) == data


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from(["--XyZ", "\r\n", NAMED, "--", ":", " ", "é", "\n"]), max_size=12).map(
        lambda parts: "".join(parts).encode()
    )
)
def test_reading_raises_only_rejected(data: bytes) -> None:
    for whole in (data, b"--XyZ\r\n" + data + b"\r\n--XyZ--\r\n"):
        try:
            read_multipart(whole, MEDIA, CAPS)
        except Rejected as refused:
            assert refused.code is Code.BODY_MALFORMED
