"""The chunks of a request's body, however they come: what is wrong with them is known as soon as it is there."""

import h11
import pytest
from h11._receivebuffer import ReceiveBuffer
from hypothesis import given
from hypothesis import strategies as st

from addons.chunks import EXCESS_BYTES, LINE_BYTES, Chunks, Trailers


def read(data: bytes, step: int) -> tuple[bytes, bytes | None]:
    """The body, and what follows it; None when it is not whole."""
    reader, buf, body = Chunks(), ReceiveBuffer(), b""
    for at in range(0, len(data), step):
        buf += data[at : at + step]
        while (event := reader(buf)) is not None:
            if isinstance(event, h11.EndOfMessage):
                return body, bytes(buf) + data[at + step :]
            body += event.data
    return body, None


@pytest.mark.parametrize("step", [1, 2, 1000])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(b"0\r\n\r\n", b"", id="none"),
        pytest.param(
            b"3\r\nabc\r\n0A\r\n0123456789\r\n000\r\n\r\n", b"abc0123456789", id="two, and zeros before a size"
        ),
        pytest.param(b'3;x="a b";y\r\nabc\r\n0 ;z\r\n\r\n', b"abc", id="extensions"),
        pytest.param(b"3 \t\r\nabc\r\n0\r\n\r\n", b"abc", id="white space behind a size"),
        pytest.param(b"5\r\n\r\n\r\n\n\r\n0\r\n\r\n", b"\r\n\r\n\n", id="line ends as data"),
    ],
)
def test_chunks_are_read(data: bytes, body: bytes, step: int) -> None:
    assert read(data + b"GET", step) == (body, b"GET")


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"3\n", id="a size that ends in a bare line feed"),
        pytest.param(b"3\rX", id="a size that ends in a bare carriage return"),
        pytest.param(b"\r\n", id="no size"),
        pytest.param(b"+", id="a sign"),
        pytest.param(b"0x", id="a prefix"),
        pytest.param(b" 3", id="white space before a size"),
        pytest.param(b"3 3", id="two sizes"),
        pytest.param(b"3_", id="a digit of Python's"),
        pytest.param(b"\xb2", id="a superscript"),
        pytest.param(b"1" + b"0" * 16, id="a size of 2^64"),
        pytest.param(b"8" + b"0" * 15 + b"\r\n", id="a size of 2^63"),
        pytest.param(b"3;a\0", id="a control in an extension"),
        pytest.param(b"3;a\n", id="a line feed in an extension"),
        pytest.param(b"3\r\nabcd", id="more than its size"),
        pytest.param(b"3\r\nabc\n", id="a bare line feed behind a chunk"),
        pytest.param(b"3;" + b"x" * LINE_BYTES, id="a line too long"),
        pytest.param(b"3;" + b"x" * LINE_BYTES + b"\r\n", id="a whole line too long"),
        pytest.param(b"3; " + b" " * 1_000_000 + b"\0\r\n", id="a line of a million blanks, gone through once"),
        pytest.param((b"1;" + b"x" * 1000 + b"\r\na\r\n") * (EXCESS_BYTES // 1000 + 1), id="too much between the data"),
    ],
)
def test_what_breaks_their_rules_is_not_waited_out(data: bytes, step: int) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        read(data, step)


@pytest.mark.parametrize("data", [b"0\r\nX", b"0\r\n\n", b"0\r\n\rX"])
def test_fields_after_the_last_chunk_are_told_apart(data: bytes) -> None:
    for step in (1, 100):
        with pytest.raises(Trailers):
            read(data, step)


def test_a_sender_that_is_gone_ended_nothing() -> None:
    with pytest.raises(h11.RemoteProtocolError):
        Chunks().read_eof()


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 50))
def test_what_h11_writes_is_read_as_it_was_meant(parts: list[bytes], step: int) -> None:
    data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert read(data, step) == (b"".join(parts), b"")


@given(st.text("0aF;\r\n \tx", max_size=30).map(str.encode), st.integers(1, 9))
def test_what_is_wrong_is_wrong_in_any_pieces(data: bytes, step: int) -> None:
    def told(step: int) -> object:
        try:
            return read(data, step)
        except (h11.RemoteProtocolError, Trailers) as fault:
            return type(fault)

    assert told(step) == told(1)
