"""Chunk extensions, in which smugglers hide, are never forwarded: the origin gets the judged body, with a length."""

from collections.abc import Iterator
from dataclasses import replace

from attacks import Case
from shots import Answer, Shot, fire
from streets import Street

CALL = Shot(method="POST", path="/v1/invoices", body="a=1&b=2", chunked=True, headers=(("Content-Type", "text/plain"),))
EXTENSIONS = {
    "a name": ";x",
    "a name and a value": ";x=1",
    "a value in quotes": ';x="a\\"b"',
    "a value with a second head": ';x="GET /admin HTTP/1.1"',
}


def cases(way: str) -> Iterator[Case]:
    for name, extension in EXTENSIONS.items():
        yield Case(
            threat="C02",
            name=f"a chunk extension with {name}",
            way=way,
            twin=lambda street: fire(street, way, CALL),
            attack=lambda street, extension=extension: _extended(street, way, extension),
            code=None,
            may_see=frozenset({"home"}),
            dials=frozenset({"127.0.0.1"}),
            looks_up=frozenset({"erp.example"}),
        )


def _extended(street: Street, way: str, extension: str) -> Answer:
    origin = street.listeners["home"][way]
    before = origin.mark()
    answer = fire(street, way, replace(CALL, edits=(("\r\n7\r\n", f"\r\n7{extension}\r\n"),)))
    (seen,) = origin.since(before).requests
    assert (seen.header("content-length"), seen.header("transfer-encoding"), seen.body) == ("7", None, b"a=1&b=2")
    assert origin.since(before).raw_bytes == seen.raw
    return answer
