"""Heads that only HTTP/2 can carry: what an HTTP/1 origin behind us would read as another request, or as two."""

from collections.abc import Callable, Iterator

from attacks import Case
from h2client import Fields, fields, open_http2
from shots import CLOSED, Answer
from streets import Street

type Spoil = Callable[[list[tuple[str | bytes, str | bytes]]], Fields]
"""What happens to the fields of a good request after they were signed."""

PATH = "/v1/invoices/17"
SMUGGLED = "GET /v1/payroll HTTP/1.1\r\nHost: erp.example\r\n\r\n"
MALFORMED, AMBIGUOUS, UNSUPPORTED = "request.malformed", "url.ambiguous", "request.unsupported"


def instead(name: str, value: str) -> Spoil:
    """Another value of this pseudo-header field."""
    return lambda good: [(key, value if key == name else text) for key, text in good]


def without(name: str) -> Spoil:
    return lambda good: [(key, text) for key, text in good if key != name]


def first(*lines: tuple[str, str]) -> Spoil:
    return lambda good: [*lines, *good]


def last(*lines: tuple[str, str]) -> Spoil:
    return lambda good: [*good, *lines]


def moved_back(name: str) -> Spoil:
    """The pseudo-header field stands after the fields."""
    return lambda good: [*without(name)(good), *(line for line in good if line[0] == name)]


ATTACKS: dict[str, tuple[Spoil, str]] = {
    "a space in :path": (instead(":path", f"{PATH} HTTP/1.1"), AMBIGUOUS),
    "a whole request in :path": (instead(":path", f"/ HTTP/1.1\r\nHost: evil.example\r\n\r\n{SMUGGLED}"), AMBIGUOUS),
    "a URL in :path": (instead(":path", f"https://evil.example{PATH}"), AMBIGUOUS),
    "a host in :path": (instead(":path", f"//evil.example{PATH}"), AMBIGUOUS),
    "an asterisk in :path": (instead(":path", "*"), AMBIGUOUS),
    "a :path without a slash": (instead(":path", PATH[1:]), AMBIGUOUS),
    "a :path with a fragment": (instead(":path", f"{PATH}#"), AMBIGUOUS),
    "dot segments in :path": (instead(":path", "/v1/invoices/../payroll"), AMBIGUOUS),
    "a NUL in :path": (instead(":path", f"{PATH}\0"), AMBIGUOUS),
    "an eight-bit character in :path": (instead(":path", f"{PATH}\xe9"), AMBIGUOUS),
    "an empty :path": (instead(":path", ""), MALFORMED),
    "no :path": (without(":path"), MALFORMED),
    "a second :path": (first((":path", "/v1/payroll")), MALFORMED),
    ":path after a field": (moved_back(":path"), MALFORMED),
    "a second :path after a field": (last((":path", "/v1/payroll")), MALFORMED),
    "a method in small letters": (instead(":method", "get"), MALFORMED),
    "a whole request in :method": (instead(":method", f"{SMUGGLED}GET"), MALFORMED),
    "CONNECT": (instead(":method", "CONNECT"), MALFORMED),
    "CONNECT for a WebSocket": (
        lambda good: [(":protocol", "websocket"), *instead(":method", "CONNECT")(good)],
        MALFORMED,
    ),
    "the preface as a method": (instead(":method", "PRI"), UNSUPPORTED),
    "TRACE": (instead(":method", "TRACE"), UNSUPPORTED),
    "a second :method": (first((":method", "POST")), MALFORMED),
    "no :method": (without(":method"), MALFORMED),
    "the scheme http inside TLS": (instead(":scheme", "http"), AMBIGUOUS),
    "a scheme in capitals": (instead(":scheme", "HTTPS"), MALFORMED),
    "a host in :scheme": (instead(":scheme", "https://evil.example/?"), MALFORMED),
    "no :scheme": (without(":scheme"), MALFORMED),
    "a second :scheme": (first((":scheme", "http")), MALFORMED),
    "a second :authority": (first((":authority", "evil.example")), MALFORMED),
    "a pseudo-header field of responses": (first((":status", "200")), MALFORMED),
    "a pseudo-header field nobody knows": (first((":upstream", "evil.example")), MALFORMED),
    "a pseudo-header field without a name": (first((":", "x")), MALFORMED),
    "capitals in a name": (last(("X-Capital", "1")), MALFORMED),
    "a space in a name": (last(("x y", "1")), MALFORMED),
    "a colon in a name": (last(("x:host", "evil.example")), MALFORMED),
    "a line end in a name": (last(("x\r\nhost", "evil.example")), MALFORMED),
    "an empty name": (last(("", "1")), MALFORMED),
    "a line end in a value": (last(("x-a", "1\r\nhost: evil.example")), MALFORMED),
    "a bare line feed in a value": (last(("x-a", "1\nhost: evil.example")), MALFORMED),
    "a bare carriage return in a value": (last(("x-a", "1\rhost: evil.example")), MALFORMED),
    "a NUL in a value": (last(("x-a", "1\x002")), MALFORMED),
    "a space before a value": (last(("x-a", " 1")), MALFORMED),
    "connection": (last(("connection", "close, x-a")), MALFORMED),
    "keep-alive": (last(("keep-alive", "timeout=5")), MALFORMED),
    "proxy-connection": (last(("proxy-connection", "keep-alive")), MALFORMED),
    "transfer-encoding": (last(("transfer-encoding", "chunked")), MALFORMED),
    "transfer-encoding in capitals": (last(("Transfer-Encoding", "chunked")), MALFORMED),
    "an upgrade": (last(("upgrade", "websocket")), MALFORMED),
    "settings of an upgrade": (last(("http2-settings", "AAMAAABkAAQAAP__")), UNSUPPORTED),
    "te with a coding": (last(("te", "trailers, gzip")), MALFORMED),
    "te with a coding alone": (last(("te", "gzip")), MALFORMED),
    "two lengths": (last(("content-length", "0"), ("content-length", "48")), MALFORMED),
    "a length that is none": (last(("content-length", "+0")), MALFORMED),
    "trailers announced": (last(("trailer", "x-a")), UNSUPPORTED),
    "a field that asks for another URL": (last(("x-original-url", "/v1/payroll")), AMBIGUOUS),
    "a field that asks for another method": (last(("x-http-method-override", "DELETE")), AMBIGUOUS),
}


def ask(street: Street, way: str, spoil: Spoil, *signed: tuple[str, str], body: bytes | None = None) -> Answer:
    url = f"https://erp.example:{street.port(way)}{PATH}"
    good = fields(street.house, "GET", url, chain=street.chain(), headers=[("te", "trailers"), *signed])
    with open_http2(street.house, url) as wire:
        answer = wire.answer(wire.send(spoil(good), body=body))
    return Answer(status=answer.status, code=answer.code if answer.status else CLOSED)


def smuggled_body(street: Street, way: str) -> Answer:
    """A body behind a head that says there is none: an HTTP/1 origin would take it for the next request."""
    return ask(street, way, lambda good: good, ("content-length", "0"), body=SMUGGLED.encode())


def late_fields(street: Street, way: str) -> Answer:
    """A second head on a stream whose first was good, in place of its body."""
    url = f"https://erp.example:{street.port(way)}/v1/invoices"
    with open_http2(street.house, url) as wire:
        stream = wire.send(fields(street.house, "POST", url, chain=street.chain(), body=b"x"), end=False)
        wire.h2.send_headers(stream, [(":path", "/v1/payroll"), ("transfer-encoding", "chunked")], end_stream=True)
        wire.flush()
        answer = wire.answer(stream)
    return Answer(status=answer.status, code=answer.code if answer.status else CLOSED)


def cases(way: str) -> Iterator[Case]:
    """Only where there is TLS: HTTP/2 is spoken inside it alone."""
    if way != "tls":
        return

    def twin(street: Street) -> Answer:
        return ask(street, "tls", lambda good: good)

    for name, (spoil, code) in ATTACKS.items():
        yield Case(
            threat="C04",
            name=name,
            way=way,
            twin=twin,
            attack=lambda street, spoil=spoil: ask(street, "tls", spoil),
            code=code,
        )
    for name, act, code in (
        ("a body where none was announced", smuggled_body, MALFORMED),
        ("trailers that would be another head", late_fields, UNSUPPORTED),
    ):
        yield Case(
            threat="C04",
            name=name,
            way=way,
            twin=twin,
            attack=lambda street, act=act: act(street, "tls"),
            code=code,
        )
