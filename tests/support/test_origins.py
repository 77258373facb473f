"""The instruments themselves: an origin that loses a byte, or a client that forgives one, proves nothing."""

import contextlib
import gzip
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import certs
import origins
import pytest
import rawclient
from origins import Gate, Origin, Reply, events


def at(origin: Origin) -> tuple[str, int]:
    return origin.host, origin.port


def test_every_byte_and_every_request_is_logged() -> None:
    first = rawclient.request_bytes("POST", "/a?b=1", (("Host", "x"), ("Content-Length", "3")), b"abc")
    second = rawclient.request_bytes("GET", "/c", (("host", "x"),))
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        wire.send(first + second + b"GET /half")
        seen = json.loads(wire.response().body)
        assert wire.response().status == 200
        origin.wait_for(lambda o: o.raw_bytes.endswith(b"/half"))
        assert [request.raw for request in origin.requests] == [first, second]
        assert origin.raw_bytes == first + second + b"GET /half"
        assert origin.connections[0].unparsed == b"GET /half"
        assert origin.requests[0].body == b"abc"
        assert (seen["method"], seen["target"], seen["body_base64"]) == ("POST", "/a?b=1", "YWJj")


def test_a_chunked_request_is_read_to_its_end() -> None:
    head = rawclient.request_bytes("POST", "/", (("Host", "x"), ("Transfer-Encoding", "chunked")))
    raw = head + b"3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        wire.send(raw)
        assert wire.response().status == 200
        assert (origin.requests[0].body, origin.requests[0].raw) == (b"abcde", raw)


def test_a_bare_connection_counts() -> None:
    with Origin() as origin:
        before = origin.mark()
        assert origin.since(before).nothing
        with rawclient.connect(at(origin)):
            origin.wait_for(lambda o: len(o.connections) == 1)
        assert not origin.since(before).nothing
        origin.wait_for(lambda o: o.connections[0].closed)


def test_a_mark_sees_only_what_follows_on_a_kept_connection() -> None:
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        wire.get("/before", host="x")
        before = origin.mark()
        assert origin.since(before).nothing
        wire.get("/after", host="x")
        seen = origin.since(before)
        assert [request.target for request in seen.requests] == ["/after"]
        assert (seen.accepted, seen.nothing) == (0, False)
        assert b"/before" not in seen.raw_bytes


def test_a_stream_pauses_until_the_test_opens_the_gate() -> None:
    gate = Gate()
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        one, two = events("one", "two")
        origin.on("GET", "/stream", Reply(stream=[one, gate, two]))
        wire.send(rawclient.request_bytes("GET", "/stream", (("Host", "x"),)))
        assert wire.head()[0] == 200
        assert wire.chunk() == one
        gate.wait_until_reached()
        gate.open()
        assert (wire.chunk(), wire.chunk()) == (two, b"")


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        pytest.param(Reply(body=b"abc"), b"abc", id="with a length"),
        pytest.param(Reply(body=b"abc", framing="chunked"), b"abc", id="chunked"),
        pytest.param(Reply(body=b"abc", framing="close"), b"abc", id="until the connection ends"),
        pytest.param(Reply(body=b"abc", interim=(103,)), b"abc", id="after an interim answer"),
        pytest.param(Reply(status=204), b"", id="without a body"),
        pytest.param(Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), b"abc", id="as raw bytes"),
    ],
)
def test_a_reply_is_framed(reply: Reply, body: bytes) -> None:
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        origin.on("*", "/*", reply)
        assert wire.get("/", host="x").body == body


def test_gzip_is_real() -> None:
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        origin.on("GET", "/", Reply(body=b"abc", gzip=True))
        answer = wire.get("/", host="x")
        assert (answer.header("content-encoding"), gzip.decompress(answer.body)) == ("gzip", b"abc")


def test_half_a_response_is_broken_and_none_is_closed() -> None:
    with Origin() as origin:
        origin.on("GET", "/half", Reply(body=b"x" * 100, cut_after=90))
        origin.on("GET", "/none", Reply(cut_after=0))
        for path, fault in (("/half", rawclient.Broken), ("/none", rawclient.Closed)):
            with rawclient.connect(at(origin)) as wire, pytest.raises(fault, match="ended after"):
                wire.get(path, host="x")


def test_a_silent_origin_logs_and_a_resetting_one_resets() -> None:
    with Origin(on_accept="silent") as origin, rawclient.connect(at(origin), timeout_s=5) as wire:
        wire.send(b"anything")
        origin.wait_for(lambda o: o.raw_bytes == b"anything")
    with Origin(on_accept="reset") as origin:
        with (
            contextlib.suppress(ConnectionResetError),
            rawclient.connect(at(origin)) as wire,
        ):  # may come while connecting
            assert wire.ended()
        assert len(origin.connections) == 1


def test_tls_shows_the_sni_and_the_application_bytes() -> None:
    authority = certs.Authority()
    with Origin(tls=authority.server("api.example")) as origin:
        with rawclient.connect(at(origin)) as wire:
            wire.start_tls(authority.pem, sni="api.example")
            assert wire.get("/x", host="api.example").status == 200
        with rawclient.connect(at(origin)) as wire:
            wire.start_tls(authority.pem, sni=None)
            assert wire.get("/y", host="api.example").status == 200
        assert [seen.sni for seen in origin.connections] == ["api.example", None]
        assert origin.raw_bytes.startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda ca: ca.expired("api.example"), "expired", id="expired"),
        pytest.param(lambda ca: ca.not_yet_valid("api.example"), "not yet valid", id="not yet valid"),
        pytest.param(lambda ca: ca.server("other.example"), "mismatch", id="for another host"),
        pytest.param(lambda _: certs.self_signed("api.example"), "self-signed", id="self-signed"),
        pytest.param(
            lambda _: certs.Authority().server("api.example"), "unable to get local issuer", id="unknown root"
        ),
    ],
)
def test_bad_certificates_are_bad(make: object, reason: str) -> None:
    authority = certs.Authority()
    with Origin(tls=make(authority)) as origin, rawclient.connect(at(origin)) as wire:  # type: ignore[operator]
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            wire.start_tls(authority.pem, sni="api.example")
        wire.close()
        origin.wait_for(lambda o: o.connections[0].closed)
        assert origin.raw_bytes == b""


def test_tls_runs_inside_tls() -> None:
    """Two layers, as to a TLS proxy and through it, with a relay that takes only the outer one off."""
    authority = certs.Authority()
    with Origin(tls=authority.server("api.example")) as origin, socket.create_server(("127.0.0.1", 0)) as listener:
        relay = threading.Thread(
            target=unwrap, args=(listener, authority.server("proxy.example"), at(origin)), daemon=True
        )
        relay.start()
        host, port = listener.getsockname()
        with rawclient.connect((host, port), tls=authority.pem, sni="proxy.example") as wire:
            wire.start_tls(authority.pem, sni="api.example")
            assert wire.get("/inside", host="api.example").status == 200
        relay.join(10)
        assert origin.connections[0].sni == "api.example"


def unwrap(listener: socket.socket, leaf: certs.Leaf, target: tuple[str, int]) -> None:
    sock, _ = listener.accept()
    with leaf.server_context().wrap_socket(sock, server_side=True) as outer, socket.create_connection(target) as inner:
        back = threading.Thread(target=pump, args=(inner, outer), daemon=True)
        back.start()
        pump(outer, inner)
        back.join(10)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/2 200\r\n\r\n", id="another version"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", id="space before the colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", id="a folded line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", id="two framings"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", id="a signed length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n", id="an extension"),
    ],
)
def test_the_raw_client_forgives_nothing(raw: bytes) -> None:
    with Origin() as origin, rawclient.connect(at(origin)) as wire:
        origin.on("*", "/*", Reply(raw=raw, then="close"))
        with pytest.raises(rawclient.Broken):
            wire.get("/", host="x")


def test_the_raw_client_has_a_deadline() -> None:
    gate = Gate()
    with Origin() as origin, rawclient.connect(at(origin), timeout_s=0.2) as wire:
        origin.on("GET", "/", Reply(before=gate))
        with pytest.raises(TimeoutError):
            wire.get("/", host="x")
        gate.open()


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    leaf = certs.Authority().server("localhost")
    pem, key = leaf.write(tmp_path)
    routes, log = tmp_path / "routes.json", tmp_path / "log.jsonl"
    routes.write_text(json.dumps([{"path": "/v1/*", "json": {"ok": 1}, "require": {"authorization": "Bearer k"}}]))
    program = [sys.executable, origins.__file__, "--cert", str(pem), "--key", str(key)]
    with subprocess.Popen([*program, "--log", str(log), "--routes", str(routes)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        with rawclient.connect((said["host"], said["port"])) as wire:
            wire.start_tls(None, sni="localhost")
            assert wire.get("/v1/a", host="localhost", headers=(("Authorization", "Bearer k"),)).status == 200
            assert wire.get("/v1/a", host="localhost").status == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    events = [line["event"] for line in lines if line["event"] != "bytes"]
    assert events[:4] == ["accepted", "tls", "request", "request"]
    assert sorted(events[4:]) == ["closed", "gone"]  # who ends the connection first, either side may write down first
