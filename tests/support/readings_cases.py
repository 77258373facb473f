"""The requests of the differential test: ordinary ones, and every trick by which two parsers can be made to disagree.

A case is written in parts. Most are put together as any client would; `raw` ones are bytes in which the parts stand
where `%(…)s` says. Each carries its name in `X-Case`, so that what an origin parsed can be told apart.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

type Lines = tuple[str, ...]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "REPORT")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request. `ordinary` ones must pass; of the others only those that are judged and parsed alike."""

    name: str
    method: str = "GET"
    target: str = "/v1/things"
    lines: Lines = ()
    body: bytes = b""  # as it stands on the wire
    content: bytes | None = None  # what the body says, where that is something else: chunked
    ordinary: bool = False
    raw: str | None = None
    whole: bool = True  # False: the message does not end here for a strict reader, who goes on waiting

    def wire(self, *, base: str, host: str, marker: str, proof: Lines) -> bytes:
        """The bytes to send. `base` is "http://host:port" for a proxy request, and "" inside a tunnel."""
        lines = (f"X-Case: {marker}", *proof)
        if self.raw is not None:
            parts = {"base": base, "host": host, "lines": "\r\n".join(lines)}
            return (self.raw % parts).encode("latin-1") + self.body
        head = [f"{self.method} {base}{self.target} HTTP/1.1", f"Host: {host}", *lines, *self.lines, "", ""]
        return "\r\n".join(head).encode("latin-1") + self.body


def cases() -> list[Case]:
    """All of them, always the same, each under a name of its own."""
    made = [*_ordinary(), *_paths(), *_queries(), *_methods(), *_heads(), *_bodies(), *_framings(), *_raw(), *_mixed()]
    names = [case.name for case in made]
    assert len(names) == len(set(names))
    return made


# --- what must pass --------------------------------------------------------------------------------------------------

ORDINARY_PATHS = (
    "/", "/v1", "/v1/", "/v1/invoices/17", "/v1/a%20b", "/v1/~user", "/v1/%7Euser", "/v1/%41%62c", "/v1/a:b", "/v1/a@b",
    "/v1/a,b", "/v1/a=b", "/v1/a&b", "/v1/$metadata", "/v1/Items('a')", "/v1/(a)!*", "/v1/a+b", "/v1/a%2Bb",
    "/v1/%C3%A9t%C3%A9", "/v1/%e6%97%a5", "/v1/a..b", "/v1/.hidden", "/v1/...", "/v1/-_.~", "/v1/a%3Fb", "/v1/a%23b",
    "/v1/a%5Bb%5D", "/v1/%7Bx%7D", "/v1/a%22b", "/v1/a%3Cb%3E", "/v1/a%7Cb", "/v1/" + "long/" * 40 + "end",
)  # fmt: skip

ORDINARY_QUERIES = (
    "", "a=1", "a", "a=", "a=1&b=2", "a=1&a=2", "a=b+c", "a=b%20c", "a=b%2Bc", "a=%26&b=1", "a=%3Db", "a=b=c", "a=/b",
    "a=?b", "a=%2Fb", "a=:@!$'()*,", "a=~-._", "A=1&a=2", "a.b=1", "a=%C3%A9", "a=%e6%97%a5", "a%20b=1", "a=%22b%22",
    "$filter=Name%20eq%20'a'&$top=5", "u=https%3A%2F%2Fx.example%2F%3Fq%3D1", "u=https://x.example/a", "a=%23b",
    "X-Amz-Date=20260101T000000Z&X-Amz-Credential=AKIA%2F20260101%2Feu-1%2Fs3%2Faws4_request", "a%5B%5D=1&a%5B%5D=2",
)  # fmt: skip

ORDINARY_LINES: dict[str, Lines] = {
    "a field on two lines": ("X-A: 1", "X-A: 2"),
    "a list on one line": ("X-A: 1, 2",),
    "an empty field": ("X-A:",),
    "space around a value": ("X-A:  \t1 \t",),
    "a tab inside a value": ("X-A: 1\t2",),
    "quotes": ('If-None-Match: W/"a", "b"',),
    "a cookie": ("Cookie: a=1; b=2",),
    "a range": ("Range: bytes=0-99",),
    "credentials": ("Authorization: Bearer abc.def",),
    "keep-alive": ("Connection: keep-alive",),
    "a hop-by-hop field of one's own": ("Connection: X-Hop", "X-Hop: 1"),
    "codings it accepts": ("Accept-Encoding: gzip, br;q=0.5", "TE: trailers"),
    "many fields": tuple(f"X-{number}: {number}" for number in range(60)),
    "a long value": ("X-A: " + "a" * 4000,),
    "upper case": ("ACCEPT: */*",),
    "forwarding": ("X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "Via: 1.1 other"),
}


def _ordinary() -> Iterator[Case]:
    for path in ORDINARY_PATHS:
        yield Case(name=f"path {path[:40]}", target=path, ordinary=True)
    for query in ORDINARY_QUERIES:
        yield Case(name=f"query {query[:40] or 'of nothing'}", target=f"/v1/things?{query}", ordinary=True)
    for what, lines in ORDINARY_LINES.items():
        yield Case(name=what, lines=lines, ordinary=True)
    for method in METHODS:
        yield Case(name=f"method {method}", method=method, ordinary=True)
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT"):
        body = b'{"n": [1, 2, "\xc3\xa9"]}'
        lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        yield Case(name=f"{method} with a body", method=method, lines=lines, body=body, ordinary=True)
    yield Case(name="POST of nothing", method="POST", lines=("Content-Length: 0",), ordinary=True)
    yield Case(
        name="POST of bytes", method="POST", lines=("Content-Length: 256",), body=bytes(range(256)), ordinary=True
    )
    yield _sized("POST of 100 KB", bytes(range(256)) * 400)
    yield _chunked("one chunk", (b"hello",))
    yield _chunked("many chunks", tuple(b"x" * size for size in range(1, 40)))
    yield _chunked("no chunk", ())
    yield _chunked("bytes in chunks", (bytes(range(256)), b"\r\n0\r\n\r\n"))


def _sized(name: str, body: bytes) -> Case:
    return Case(name=name, method="POST", lines=(f"Content-Length: {len(body)}",), body=body, ordinary=True)


def _chunked(name: str, chunks: tuple[bytes, ...]) -> Case:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    lines = ("Transfer-Encoding: chunked",)
    return Case(name=name, method="POST", lines=lines, body=wire, content=b"".join(chunks), ordinary=True)


# --- tricks ----------------------------------------------------------------------------------------------------------

TRICKY_PATHS = (
    "/v1/a%2Fb", "/v1/a%2fb", "/v1/@scope%2Fname", "/v1/a;x=1", "/v1/a;x=1/b", "/v1/;/a", "/v1/a%3Bb", "/v1/[a]",
    "/v1/a|b", "/v1/{x}", '/v1/a"b', "/v1/<b>", "/v1/a^b", "/v1/a`b", "/v1/\xe9", "/v1/%E9", "/v1/%C0%AF",
    "/v1/%ED%A0%80", "/v1/%00", "/v1/%0D%0AX-A:%201", "/v1/a%09b", "/v1/a%7Fb", "/v1/#x", "/v1/a\\b", "/v1/a%5Cb",
    "/v1//b", "//v1/b", "/v1/./b", "/v1/../b", "/v1/%2E/b", "/v1/%2e%2e/b", "/v1/.%2e/b", "/v1/%2e%2E%2fb",
    "/v1/..;/b", "/v1/b/..", "/v1/b/.", "/v1/a%252Fb", "/v1/a%2541", "/v1/100%25", "/v1/100%", "/v1/%zz",
    "/v1/%u0041", "/v1/%EF%BC%8Fb", "/v1/%C2%A0", "/v1/" + "a" * 8500, "/v1/a/..%2f..%2fb", "/v1/%2F", "/v1/a%2F%2Fb",
    "/v1/%E2%80%AE", "*", "", "v1", "?a=1",
)  # fmt: skip

TRICKY_QUERIES = (
    "a=1;b=2", "a;b", "a=%3Bb", "a[]=1", "a[b]=1", "=a", "a=1&&b=2", "&", "&a=1&", "a=#b", 'a=\'b\'&"', "a=<b>",
    "a=|", "a=\\", "a=%5C", "a=%", "a=%z", "a=%252F", "a=100%25", "a=%00", "a=%0A", "a=%E9", "a=\xe9", "a=^`",
    "a={b}", "a=%u0041", "a=%C0%AF", "a=1?b=2", "a=+%2B+", "a=%F0%9F%98%80", "a=%EF%BB%BF", "%61=1&a=2", "a=1&%61=2",
    "=", "==", "a=%26amp%3B", "a=b%0D%0AX-A: 1", "a=%ED%A0%80", "a=1&a[]=2", "_method=DELETE", "a=%7F",
)  # fmt: skip


def _paths() -> Iterator[Case]:
    for number, path in enumerate(TRICKY_PATHS):
        yield Case(name=f"tricky path {number}", target=path)


def _queries() -> Iterator[Case]:
    for number, query in enumerate(TRICKY_QUERIES):
        yield Case(name=f"tricky query {number}", target=f"/v1/things?{query}")


def _methods() -> Iterator[Case]:
    for method in (
        "get",
        "Get",
        "TRACE",
        "TRACK",
        "CONNECT",
        "PRI",
        "M-SEARCH",
        "FOO",
        "G_T",
        "G\tT",
        "GET;",
        "A" * 40,
        "\xe9",
    ):
        yield Case(name=f"odd method {method!a:.20}", method=method)


TRICKY_LINES: dict[str, Lines] = {
    "obs-fold": ("X-A: 1", " 2"),
    "obs-fold with a tab": ("X-A: 1", "\tContent-Length: 5"),
    "obs-fold first": (" X-A: 1",),
    "space before the colon": ("X-A : 1",),
    "space before the colon of a length": ("Content-Length : 5",),
    "no colon": ("X-A",),
    "no name": (": 1",),
    "a name with parentheses": ("X(A): 1",),
    "NUL in a value": ("X-A: 1\x002",),
    "bare CR in a value": ("X-A: 1\r2",),
    "bare LF in a value": ("X-A: 1\nX-B: 2",),
    "Latin-1 in a value": ("X-A: \xe9",),
    "a control character": ("X-A: \x01",),
    "delete": ("X-A: \x7f",),
    "an underscore": ("X_A: 1",),
    "a length with an underscore": ("Content_Length: 5",),
    "a coding with an underscore": ("Transfer_Encoding: chunked",),
    "two hosts": ("Host: other.example",),
    "the same host twice": ("Host: diff.example",),
    "a trailer announced": ("Trailer: X-A",),
    "an upgrade": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    "an expectation": ("Expect: 100-continue",),
    "another expectation": ("Expect: 200-ok",),
    "a method override": ("X-HTTP-Method-Override: DELETE",),
    "a URL override": ("X-Original-URL: /admin",),
    "Connection names the host": ("Connection: Host",),
    "Connection names credentials": ("Connection: Authorization", "Authorization: Bearer a"),
    "Connection: close": ("Connection: close",),
    "Proxy-Connection": ("Proxy-Connection: keep-alive",),
    "Keep-Alive": ("Keep-Alive: timeout=5",),
    "two content types": ("Content-Type: text/plain", "Content-Type: text/html"),
    "two cookies": ("Cookie: a=1", "Cookie: b=2"),
    "too many fields": tuple(f"X-{number}: {number}" for number in range(150)),
    "too long a value": ("X-A: " + "a" * 70_000,),
    "a field named as a header of ours": ("Agent-Intent: task=1",),
}


def _heads() -> Iterator[Case]:
    for what, lines in TRICKY_LINES.items():
        yield Case(name=what, lines=lines)


def _bodies() -> Iterator[Case]:
    for method in ("GET", "HEAD", "OPTIONS"):
        yield Case(name=f"{method} with a body", method=method, lines=("Content-Length: 5",), body=b"hello")
    chunked = ("Transfer-Encoding: chunked",)
    for what, body, content in (
        ("an extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("a quoted extension", b'5;a="b;\\"c"\r\nhello\r\n0\r\n\r\n', b"hello"),
        ("an extension of nothing", b"5;\r\nhello\r\n0;\r\n\r\n", b"hello"),
        ("a newline in an extension", b"5;a\nhello\r\n0\r\n\r\n", None),
        ("capital digits", b"A\r\nhellohello\r\n0\r\n\r\n", b"hellohello"),
        ("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        ("spaces around a size", b" 5 \r\nhello\r\n0\r\n\r\n", None),
        ("a sign", b"+5\r\nhello\r\n0\r\n\r\n", None),
        ("0x", b"0x5\r\nhello\r\n0\r\n\r\n", None),
        ("an underscore in a size", b"1_0\r\n" + b"h" * 16 + b"\r\n0\r\n\r\n", None),
        ("a huge size", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n", None),
        ("a size over 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n", None),
        ("bare LF", b"5\nhello\n0\n\n", None),
        ("bare CR", b"5\rhello\r0\r\r", None),
        ("no CRLF after the data", b"5\r\nhello0\r\n\r\n", None),
        ("more data than its size", b"4\r\nhello\r\n0\r\n\r\n", None),
        ("a trailer", b"5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n", None),
        ("a trailer that is a length", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", None),
        ("an empty size", b"\r\nhello\r\n0\r\n\r\n", None),
    ):
        yield Case(
            name=f"chunk: {what}",
            method="POST",
            lines=chunked,
            body=body,
            content=content,
            whole=what not in ("a huge size", "a size over 64 bits", "bare LF", "bare CR"),
        )


SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: diff.example\r\nX-Case: smuggled\r\n\r\n"

FRAMINGS: dict[str, tuple[Lines, bytes, bytes]] = {  # lines, the body on the wire, and what a strict reader takes of it
    "CL and TE": (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n" + SMUGGLED, b""),
    "TE and CL": (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n" + SMUGGLED, b""),
    "TE twice": (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), b"0\r\n\r\n", b""),
    "TE identity": (("Transfer-Encoding: identity",), b"", b""),
    "TE chunked, identity": (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n", b""),
    "TE identity, chunked": (("Transfer-Encoding: identity, chunked",), b"0\r\n\r\n", b""),
    "TE gzip, chunked": (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n", b""),
    "TE xchunked": (("Transfer-Encoding: xchunked",), b"0\r\n\r\n", b""),
    "TE in capitals": (("Transfer-Encoding: CHUNKED",), b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "TE with a tab": (("Transfer-Encoding:\tchunked",), b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "TE with a vertical tab": (("Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n", b""),
    "TE quoted": (('Transfer-Encoding: "chunked"',), b"0\r\n\r\n", b""),
    "TE with a parameter": (("Transfer-Encoding: chunked;a=b",), b"0\r\n\r\n", b""),
    "TE empty": (("Transfer-Encoding:",), b"", b""),
    "TE of nothing and chunked": (("Transfer-Encoding: , chunked",), b"0\r\n\r\n", b""),
    "CL twice, the same": (("Content-Length: 5", "Content-Length: 5"), b"hello", b"hello"),
    "CL twice, another": (("Content-Length: 5", "Content-Length: 0"), b"hello", b"hello"),
    "CL as a list": (("Content-Length: 5, 5",), b"hello", b"hello"),
    "CL with a sign": (("Content-Length: +5",), b"hello", b"hello"),
    "CL below nothing": (("Content-Length: -5",), b"hello", b"hello"),
    "CL with zeros": (("Content-Length: 005",), b"hello", b"hello"),
    "CL in hex": (("Content-Length: 0x5",), b"hello", b"hello"),
    "CL with an underscore": (("Content-Length: 1_0",), b"hellohello", b"hellohello"),
    "CL with a point": (("Content-Length: 5.0",), b"hello", b"hello"),
    "CL empty": (("Content-Length:",), b"", b""),
    "CL huge": (("Content-Length: 18446744073709551621",), b"hello", b"hello"),
    "CL too small": (("Content-Length: 1",), b"a" + SMUGGLED, b"a"),
    "no length": ((), SMUGGLED, b""),
}


def _framings() -> Iterator[Case]:
    for what, (lines, body, content) in FRAMINGS.items():
        yield Case(name=f"framing: {what}", method="POST", lines=lines, body=body, content=content)


def _raw() -> Iterator[Case]:
    for what, raw in {
        "an empty line first": "\r\nGET %(base)s/v1/things HTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "HTTP/1.0": "GET %(base)s/v1/things HTTP/1.0\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "HTTP/1.2": "GET %(base)s/v1/things HTTP/1.2\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "HTTP/2.0": "GET %(base)s/v1/things HTTP/2.0\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "http/1.1": "GET %(base)s/v1/things http/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "no version": "GET %(base)s/v1/things\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "two spaces": "GET  %(base)s/v1/things  HTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "tabs": "GET\t%(base)s/v1/things\tHTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "a space in the target": "GET %(base)s/v1/a b HTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "bare LF": "GET %(base)s/v1/things HTTP/1.1\nHost: %(host)s\n%(lines)s\n\n",
        "no host": "GET %(base)s/v1/things HTTP/1.1\r\n%(lines)s\r\n\r\n",
        "an empty host": "GET %(base)s/v1/things HTTP/1.1\r\nHost:\r\n%(lines)s\r\n\r\n",
        "another host": "GET %(base)s/v1/things HTTP/1.1\r\nHost: other.example\r\n%(lines)s\r\n\r\n",
        "another port": "GET %(base)s/v1/things HTTP/1.1\r\nHost: diff.example:1\r\n%(lines)s\r\n\r\n",
        "a host with user info": "GET %(base)s/v1/things HTTP/1.1\r\nHost: u@%(host)s\r\n%(lines)s\r\n\r\n",
        "a host with a path": "GET %(base)s/v1/things HTTP/1.1\r\nHost: %(host)s/x\r\n%(lines)s\r\n\r\n",
        "two hosts in one": "GET %(base)s/v1/things HTTP/1.1\r\nHost: %(host)s, other.example\r\n%(lines)s\r\n\r\n",
        "an absolute URL of another host": "GET http://other.example/ HTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "another scheme": "GET ftp://%(host)s/ HTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n\r\n",
        "a head without an end": "GET %(base)s/v1/things HTTP/1.1\r\nHost: %(host)s\r\n%(lines)s\r\n",
    }.items():
        yield Case(name=f"raw: {what}", raw=raw, whole=not raw.endswith("%(lines)s\r\n"))


# --- mixed -----------------------------------------------------------------------------------------------------------

MIXED = 120


def _mixed() -> Iterator[Case]:
    """Parts of all the above put together by chance, which is the same at every run."""
    chance = random.Random(9112)
    bodies = [*_bodies(), *[case for case in _ordinary() if case.body], *_framings()]
    for number in range(MIXED):
        path = chance.choice((*ORDINARY_PATHS, *TRICKY_PATHS[:30]))
        query = chance.choice((None, *ORDINARY_QUERIES, *TRICKY_QUERIES))
        lines = chance.choice([(), *ORDINARY_LINES.values(), *list(TRICKY_LINES.values())[:20]])
        if chance.random() < 0.4:
            case = chance.choice(bodies)
        else:
            case = Case(name="", method=chance.choice(METHODS))
        target = path if query is None else f"{path}?{query}"
        yield replace(case, name=f"mixed {number}", target=target, lines=(*lines, *case.lines), ordinary=False)
