"""Bodies that a rule leaves unexamined pass as they come, and no origin gets the end of one that nobody signed."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hasty import HastyOrigin
from houses import WAYS
from origin_replies import Reply
from origins import Connection, Origin
from rawclient import Wire, request_bytes
from towns import ROOMY, Town, open_town
from uploads import KIB, MIB, chunk, chunked_head, chunks, code, head, last, send
from workers import spools, wait_for_spools

from proxy.core.control import Act
from proxy.core.encoding import b64u
from proxy.core.manifest import parse_manifest
from proxy.core.model import Verdict

CLUSTERS = """\
version: 1
clusters:
  - id: streams
    description: Whatever it is
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: put-stream
        methods: [POST]
        path: /v1/streams/{{id}}
        body: unexamined
      - name: put-file
        methods: [POST]
        path: /v1/files/{{id}}
  - id: reviewed
    description: Whatever it is, somebody looks first
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    review: {{always: true}}
    operations:
      - name: put-stream
        methods: [POST]
        path: /v1/reviewed/{{id}}
        body: unexamined
deny:
  - id: no-secrets
    hosts: [erp.example]
    operations:
      - name: none
        methods: [POST]
        path: /v1/streams/secret
"""
SIZES = "limits: {inspected: 64KiB, body: 1MiB}\n"
BODY = secrets.token_bytes(2 * MIB + 12_345)
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"


@pytest.fixture(scope="module")
def hasty() -> Iterator[HastyOrigin]:
    with HastyOrigin(TOO_LARGE, then="close") as origin:
        yield origin


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, hasty: HastyOrigin) -> Iterator[Town]:
    clusters = CLUSTERS.replace("ports: [", f"ports: [{hasty.port}, 9, ")
    with open_town(tmp_path_factory.mktemp("streams"), workers=1, clusters=clusters, extra=SIZES + ROOMY) as running:
        for origin in (running.plain, running.tls):
            origin.on("POST", "*", Reply(json={"kept": True}))
        yield running


@pytest.fixture(autouse=True)
def nothing_on_disk(town: Town) -> Iterator[None]:
    yield
    wait_for_spools(town.house, 0)


def connection(origin: Origin, mark: tuple[tuple[int, int], ...]) -> Connection:
    """The connection made to the origin since."""
    origin.wait_for(lambda seen: len(seen.connections) > len(mark))
    return origin.connections[len(mark)]


def received(origin: Origin, mark: tuple[tuple[int, int], ...], body: bytes) -> Connection:
    """The origin's connection, once this much of a body has come."""
    seen = connection(origin, mark)
    origin.wait_for(lambda _: body in bytes(seen.raw))
    return seen


def gone(origin: Origin, seen: Connection) -> bytes:
    """What came after the head, when the proxy has ended the connection."""
    origin.wait_for(lambda _: seen.gone)
    return bytes(seen.raw).partition(b"\r\n\r\n")[2]


@contextmanager
def begun(town: Town, way: str, data: bytes) -> Iterator[Wire]:
    with town.house.open(town.url(way, "/"), timeout_s=20) as wire:
        wire.send(data)
        yield wire


# --- as it comes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_first_byte_arrives_before_the_last_is_sent(town: Town, way: str) -> None:
    origin, body = town.origin(way), b"0123456789"
    before = origin.mark()
    with begun(town, way, head(town, way, "/v1/streams/1", body) + body[:1]) as wire:
        received(origin, before, b"\r\n\r\n0")
        wire.send(body[1:-1])
        received(origin, before, b"\r\n\r\n012345678")
        wire.send(body[-1:])
        assert wire.response().status == 200
    assert origin.since(before).requests[0].body == body


@pytest.mark.parametrize("way", WAYS)
def test_each_chunk_arrives_before_the_next_is_sent(town: Town, way: str) -> None:
    origin, body = town.origin(way), b"onetwothree"
    before = origin.mark()
    with begun(town, way, chunked_head(town, way, "/v1/streams/1", body)) as wire:
        connection(origin, before)  # it is asked for by the head alone
        for part in (b"one", b"two", b"three"):
            wire.send(chunk(part))
            received(origin, before, chunk(part))
        wire.send(chunk(b""))
        assert wire.response().status == 200
    [request] = origin.since(before).requests
    assert (request.body, request.header("transfer-encoding"), request.header("content-length")) == (
        body,
        "chunked",
        None,
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_of_any_length_passes_and_is_told_at_its_end(town: Town, way: str, framing: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    if framing == "length":
        answer = send(town, way, head(town, way, "/v1/streams/1", BODY), BODY)
    else:
        answer = send(town, way, chunked_head(town, way, "/v1/streams/1", BODY), chunks(BODY))
    assert answer.status == 200
    [request] = origin.since(before).requests
    assert request.body == BODY
    decision, outcome = last(town, "decision"), last(town, "outcome")
    assert (decision["verdict"], decision["operation"]) == ("allow", "put-stream")
    assert "body_bytes" not in decision
    digest = b64u(hashlib.sha256(BODY).digest())
    assert (outcome["status"], outcome["bytes_up"], outcome["body_sha256"]) == (200, len(BODY), digest)


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_goes_on_after_a_stream(town: Town, way: str) -> None:
    origin = town.origin(way)
    before, chain = origin.mark(), town.house.chain()
    with town.house.open(town.url(way, "/"), timeout_s=20) as wire:
        small = head(town, way, "/v1/streams/2", b"small", chain=chain) + b"small"
        wire.send(head(town, way, "/v1/streams/1", BODY, chain=chain) + BODY + small)
        statuses = [wire.response().status, wire.response().status]
        wire.send(chunked_head(town, way, "/v1/streams/3", BODY, chain=chain) + chunks(BODY))
        statuses.append(wire.response().status)
    assert statuses == [200, 200, 200]
    seen = origin.since(before)
    assert [len(request.body) for request in seen.requests] == [len(BODY), 5, len(BODY)]
    assert seen.accepted == 1


@pytest.mark.parametrize("way", WAYS)
def test_who_expects_100_gets_it_once_the_call_is_allowed_and_connected(town: Town, way: str) -> None:
    origin, body = town.origin(way), b"0123456789"
    before = origin.mark()
    expecting = head(town, way, "/v1/streams/1", body).replace(b"\r\n", b"\r\nExpect: 100-continue\r\n", 1)
    with begun(town, way, expecting) as wire:
        assert wire.head()[0] == 100
        connection(origin, before)
        assert last(town, "decision")["verdict"] == "allow"
        wire.send(body)
        assert wire.response().status == 200
    assert origin.since(before).requests[0].header("expect") is None


def test_who_expects_100_is_told_instead_that_nothing_answers(town: Town) -> None:
    url, body = "http://erp.example:9/v1/streams/1", b"0123456789"
    lines = town.house.signed("POST", url, chain=town.house.chain(), body=body, intent="")
    data = request_bytes("POST", url, [("Host", "erp.example:9"), ("Expect", "100-continue"), *lines])
    with begun(town, "plain", data) as wire:
        answer = wire.response()
    assert (answer.status, code(answer), answer.interim) == (502, "upstream.connect", ())


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_under_a_session_needs_no_digest(town: Town, way: str) -> None:
    chain, origin = town.house.chain(), town.origin(way)
    opened = json.loads(town.house.call("POST", "http://intent.internal/session", chain=chain, body=b"").body)
    secret = base64.b64encode(f"{opened['manifest']}:{opened['token']}".encode()).decode()
    url = town.url(way, "/v1/streams/1")
    lines = [("Host", url.split("/")[2]), ("Proxy-Authorization", f"Basic {secret}"), ("Transfer-Encoding", "chunked")]
    before = origin.mark()
    data = request_bytes("POST", url if way == "plain" else "/v1/streams/1", lines)
    answer = send(town, way, data, chunks(BODY))
    assert answer.status == 200, answer.body
    assert origin.since(before).requests[0].body == BODY
    assert last(town, "outcome")["body_sha256"] == b64u(hashlib.sha256(BODY).digest())


# --- the end of what nobody signed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [0, len(BODY) - 1], ids=["first byte", "last byte"])
def test_an_origin_never_gets_the_end_of_another_body_of_known_length(town: Town, way: str, at: int) -> None:
    origin = town.origin(way)
    before = origin.mark()
    swapped = BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :]
    answer = send(town, way, head(town, way, "/v1/streams/1", BODY), swapped)
    assert (answer.status, code(answer)) == (403 if way == "tls" else 407, "proof.digest")
    assert len(gone(origin, connection(origin, before))) < len(BODY)
    assert origin.since(before).requests == ()
    outcome = last(town, "outcome")
    assert (outcome["error"], outcome["body_sha256"]) == ("proof.digest", b64u(hashlib.sha256(swapped).digest()))
    assert "status" not in outcome
    assert send(town, way, head(town, way, "/v1/streams/1", BODY), BODY).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_an_origin_never_gets_the_last_chunk_of_another_body(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    for swapped in (BODY[:-1], BODY + b"x", b""):
        answer = send(town, way, chunked_head(town, way, "/v1/streams/1", BODY), chunks(swapped))
        assert (answer.status, code(answer)) == (403 if way == "tls" else 407, "proof.digest")
        assert not gone(origin, connection(origin, before)).endswith(b"0\r\n\r\n")
        assert origin.since(before).requests == ()
        before = origin.mark()


def test_every_known_digest_must_be_the_bodys(town: Town) -> None:
    origin, body = town.plain, b"0123456789"
    sha256, sha512 = (base64.b64encode(each(body).digest()).decode() for each in (hashlib.sha256, hashlib.sha512))
    wrong = base64.b64encode(hashlib.sha512(b"another").digest()).decode()
    good = f"sha-256=:{sha256}:, sha-512=:{sha512}:"
    for field, status in ((good, 200), (f"sha-512=:{sha512}:", 200), (f"sha-256=:{sha256}:, sha-512=:{wrong}:", 407)):
        before = origin.mark()
        answer = send(town, "plain", head(town, "plain", "/v1/streams/1", body, ("Content-Digest", field)), body)
        assert answer.status == status, field
        assert len(origin.since(before).requests) == (status == 200)


def test_an_answer_that_has_begun_is_cut_when_its_request_turns_out_to_be_another(town: Town) -> None:
    """The origin answers at length while it still reads; the agent must not take that for an answer to its call."""
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart"
    with HastyOrigin(begin, then="read") as origin:
        clusters = CLUSTERS.replace("ports: [", f"ports: [{origin.port}, ")
        folder = town.house.folder.parent / "cut"
        folder.mkdir()
        with open_town(folder, workers=1, clusters=clusters, extra=SIZES + ROOMY) as other:
            url, body = f"http://erp.example:{origin.port}/v1/streams/1", b"0123456789"
            with begun(other, "plain", head(other, "plain", "", body, url=url) + body[:5]) as wire:
                assert wire.head()[0] == 200
                wire.send(b"XXXXX")
                assert wire.rest() == b"part"
            assert last(other, "outcome")["error"] == "proof.digest"
            sent = bytes(origin.received).partition(b"\r\n\r\n")[2]
            assert len(sent) < len(body)
            assert b"01234XXXX".startswith(sent)


@pytest.mark.parametrize("way", WAYS)
def test_a_proof_streams_once(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    data = head(town, way, "/v1/streams/1", BODY) + BODY
    assert send(town, way, data).status == 200
    answer = send(town, way, data)
    assert code(answer) == "proof.replayed"
    assert len(origin.since(before).requests) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/v1/streams/secret", "policy.denied", id="a rule denies it"),
        pytest.param("/v1/elsewhere/1", "mandate.not_covered", id="the mandate does not cover it"),
        pytest.param("/v1/files/1", "request.too_large", id="its operation takes any body, up to the spool cap"),
    ],
)
def test_what_the_head_alone_does_not_allow_goes_nowhere(town: Town, way: str, path: str, expected: str) -> None:
    origin, body = town.origin(way), BODY if expected == "request.too_large" else BODY[: 100 * KIB]
    before = origin.mark()
    answer = send(town, way, chunked_head(town, way, path, body), chunks(body)[:-5], b"0\r\n\r\n")
    assert code(answer) == expected
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_a_signed_stream_without_a_digest_is_refused_as_ever(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    data = chunked_head(town, way, "/v1/streams/1", b"")  # nothing to digest, says the signer
    answer = send(town, way, data, chunks(b"0123456789"))
    assert code(answer) == "proof.components"
    assert origin.since(before).nothing


# --- held ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_what_a_person_must_see_first_does_not_stream(town: Town, way: str) -> None:
    house, origin, chain = town.house, town.origin(way), town.house.chain()
    before, body = origin.mark(), BODY[:MIB]

    def ask() -> tuple[bytes, bytes]:
        return head(town, way, "/v1/reviewed/1", body, chain=chain), body

    with begun(town, way, ask()[0] + body[:-1]) as wire:
        wait_for_spools(house, 1)
        assert origin.since(before).nothing
        wire.send(body[-1:])
        answer = wire.response()
    assert (answer.status, code(answer)) == (403, "cluster.review_required")
    hold_id = json.loads(answer.body)["task"]["id"]
    house.decide(hold_id, Verdict.ALLOW)
    assert send(town, way, *ask()).status == 200
    [request] = origin.since(before).requests
    assert request.body == body
    too_large = send(town, way, head(town, way, "/v1/reviewed/1", BODY, chain=chain))
    assert code(too_large) == "request.too_large"


# --- who leaves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_leaves_in_the_middle_leaves_an_incomplete_message(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    with begun(town, way, chunked_head(town, way, "/v1/streams/1", BODY) + chunk(BODY[:1000])):
        received(origin, before, BODY[:1000])
    assert not gone(origin, connection(origin, before)).endswith(b"0\r\n\r\n")
    assert origin.since(before).requests == ()
    outcome = last(town, "outcome")
    assert (outcome["error"], outcome["bytes_up"]) == ("client.gone", 1000)
    assert "body_sha256" not in outcome


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        pytest.param(b"zz\r\n", "request.malformed", id="a chunk without a size"),
        pytest.param(b"0\r\nX-Trailer: 1\r\n\r\n", "request.unsupported", id="trailers"),
    ],
)
def test_chunks_that_break_the_rules_end_the_stream(town: Town, way: str, spoiled: bytes, expected: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    with begun(town, way, chunked_head(town, way, "/v1/streams/1", BODY[:1000]) + chunk(BODY[:1000])) as wire:
        received(origin, before, BODY[:1000])
        wire.send(spoiled)
        answer = wire.response()
    assert (answer.status, code(answer)) == (400, expected)
    assert not gone(origin, connection(origin, before)).endswith(b"0\r\n\r\n")
    assert origin.since(before).requests == ()


def test_an_origin_that_answers_at_once_is_heard(town: Town, hasty: HastyOrigin) -> None:
    url = f"http://erp.example:{hasty.port}/v1/streams/1"
    answer = send(town, "plain", head(town, "plain", "", BODY, url=url), BODY)
    assert (answer.status, answer.body) == (413, b"large"), answer.raw
    outcome = last(town, "outcome")
    assert (outcome["status"], "body_sha256" in outcome) == (413, False)


def test_after_an_early_answer_the_next_call_is_read(town: Town, hasty: HastyOrigin) -> None:
    url = f"http://erp.example:{hasty.port}/v1/streams/1"
    before = town.plain.mark()
    with begun(town, "plain", head(town, "plain", "", BODY, url=url) + BODY[:MIB]) as wire:
        answer = wire.response()
        assert (answer.status, answer.body) == (413, b"large"), answer.raw
        wire.send(BODY[MIB:] + head(town, "plain", "/v1/streams/2", b"next") + b"next")
        assert wire.response().status == 200
    assert [request.body for request in town.plain.since(before).requests] == [b"next"]


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_ends_with_its_mandate(town: Town, way: str) -> None:
    origin, chain = town.origin(way), town.house.chain()
    before = origin.mark()
    with begun(town, way, chunked_head(town, way, "/v1/streams/1", BODY, chain=chain) + chunk(BODY[:1000])) as wire:
        seen = received(origin, before, BODY[:1000])
        town.house.stop_by(Act.REVOKE_ROOT, parse_manifest(chain[0]).id)
        started = time.monotonic()
        origin.wait_for(lambda _: seen.gone)
        assert time.monotonic() - started < 3.0
        wire.rest()
    assert origin.since(before).requests == ()
    assert spools(town.house) == []
