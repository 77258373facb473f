"""What a program would speak inside its tunnel, from the first bytes it sends."""

import ssl

import pytest

from proxy.agent.sidecar.hello import MAX_HELLO_BYTES, is_tls, read_hello


def hello_of(protocols: list[str]) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    said, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(heard, said, server_hostname="erp.example").do_handshake()
    return said.read()


@pytest.mark.parametrize(
    ("protocols", "http1"),
    [
        pytest.param(["h2"], False, id="gRPC speaks HTTP/2 alone"),
        pytest.param(["h2", "http/1.1"], True, id="a browser speaks both"),
        pytest.param(["http/1.1"], True, id="HTTP/1.1 alone"),
        pytest.param([], True, id="who says nothing speaks HTTP/1.1"),
    ],
)
def test_what_a_program_speaks(protocols: list[str], http1: bool) -> None:
    said = read_hello(hello_of(protocols))
    assert said is not None
    assert (said.protocols, said.speaks_http1) == (tuple(protocols), http1)


def test_a_hello_in_pieces_is_waited_for() -> None:
    whole = hello_of(["h2"])
    assert is_tls(whole)
    assert [read_hello(whole[:end]) for end in range(1, len(whole))] == [None] * (len(whole) - 1)


def test_a_hello_in_several_records_is_one() -> None:
    whole = hello_of(["h2"])
    message, version = whole[5:], whole[:3]
    records = b"".join(version + len(part).to_bytes(2) + part for part in (message[:40], message[40:]))
    assert read_hello(records) == read_hello(whole)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", id="another message"),
        pytest.param(b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00", id="one that ends early"),
        pytest.param(b"\x16" * (MAX_HELLO_BYTES + 1), id="one without an end"),
    ],
)
def test_what_cannot_be_read_is_left_to_tls_to_refuse(data: bytes) -> None:
    said = read_hello(data)
    assert said is not None and said.protocols == ()


def test_other_bytes_are_not_tls() -> None:
    assert not is_tls(b"GET / HTTP/1.1\r\n")
    assert not is_tls(b"")
