"""A multipart form under review: clients draw a new boundary each time, and what was approved is what is sent."""

import json
import secrets
from collections.abc import Sequence

import pytest
from houses import WAYS
from rawclient import Response
from towns import Town

from proxy.core.model import Verdict

pytestmark = pytest.mark.parametrize("way", WAYS)

type Parts = Sequence[tuple[str, bytes]]

PARTS: Parts = (
    ('Content-Disposition: form-data; name="account"', b"4711"),
    (
        'Content-Disposition: form-data; name="file"; filename="a.pdf"\r\nContent-Type: application/pdf',
        b"%PDF\r\n\0\xff",
    ),
)


def form(boundary: str, parts: Parts = PARTS) -> bytes:
    each = (f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts)
    return b"".join(each) + f"--{boundary}--\r\n".encode()


def post(town: Town, url: str, chain: Sequence[str], boundary: str, parts: Parts = PARTS) -> Response:
    media = ("Content-Type", f"multipart/form-data; boundary={boundary}")
    return town.house.call("POST", url, chain=chain, headers=[media], body=form(boundary, parts))


def problem(answer: Response) -> tuple[str, str]:
    document = json.loads(answer.body)
    return document["code"], document["task"]["id"]


def test_a_retry_with_another_boundary_finds_its_release_and_the_approved_bytes_are_sent(town: Town, way: str) -> None:
    chain, url, origin = town.house.chain(), town.url(way, f"/uploads/{secrets.token_hex(6)}"), town.origin(way)
    before = origin.mark()
    code, hold = problem(post(town, url, chain, "first"))
    assert code == "mandate.not_covered"
    assert problem(post(town, url, chain, "second-and-longer"))[1] == hold
    town.house.decide(hold, Verdict.ALLOW)
    other = problem(post(town, url, chain, "first", (*PARTS, PARTS[0])))[1]
    assert other != hold
    assert origin.since(before).nothing

    answer = post(town, url, chain, "third")
    assert answer.status == 200, answer
    (seen,) = origin.since(before).requests
    assert seen.body == form("first")
    assert (seen.header("content-type"), seen.header("content-length")) == (
        "multipart/form-data; boundary=first",
        str(len(form("first"))),
    )
    again = post(town, url, chain, "third")
    assert json.loads(again.body)["code"] != "allowed"
    assert len(origin.since(before).requests) == 1


def test_a_denial_sticks_to_the_form_under_any_boundary(town: Town, way: str) -> None:
    chain, url = town.house.chain(), town.url(way, f"/uploads/{secrets.token_hex(6)}")
    before = town.origin(way).mark()
    town.house.decide(problem(post(town, url, chain, "first"))[1], Verdict.DENY)
    assert json.loads(post(town, url, chain, "second").body)["code"] == "hold.denied"
    assert town.origin(way).since(before).nothing
