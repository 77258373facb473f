"""Bodies over the inspection cap wait on disk, encrypted, and go on byte for byte or not at all."""

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hasty import HastyOrigin
from houses import WAYS
from origin_replies import Gate, Reply
from rawclient import Response
from towns import ROOMY, Town, open_town
from uploads import KIB, MIB, chunked_head, chunks, code, head, last, send
from workers import wait_for_spools, workers

from proxy.core.encoding import b64u
from proxy.core.model import Verdict
from proxy.stores.redis_holds import RedisHolds

CLUSTERS = """\
version: 1
clusters:
  - id: files
    description: Files of any size
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: put-file
        methods: [POST]
        path: /v1/files/{{id}}
  - id: reviewed
    description: Files somebody looks at first
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    review: {{always: true}}
    operations:
      - name: put-file
        methods: [POST]
        path: /v1/reviewed/{{id}}
"""
SIZES = """\
limits: {inspected: 64KiB, body: 3MiB}
bodies: {memory: 3MiB, memory_per_mandate: 1MiB, spool: 12MiB, spool_per_mandate: 8MiB}
"""
BODY = secrets.token_bytes(MIB + 12_345)


TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge"


@pytest.fixture(scope="module")
def hasty() -> Iterator[dict[str, HastyOrigin]]:
    """Origins that read heads only."""
    with (
        HastyOrigin(TOO_LARGE, then="close") as closing,
        HastyOrigin(TOO_LARGE, then="wait") as staying,
    ):
        yield {"answers and closes": closing, "answers and stays": staying}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, hasty: dict[str, HastyOrigin]) -> Iterator[Town]:
    ports = ", ".join(str(origin.port) for origin in hasty.values())
    clusters = CLUSTERS.replace("ports: [", f"ports: [{ports}, ")
    with open_town(tmp_path_factory.mktemp("spool"), workers=1, clusters=clusters, extra=SIZES + ROOMY) as running:
        for origin in (running.plain, running.tls):
            origin.on("POST", "*", Reply(json={"kept": True}))
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(town: Town) -> Iterator[None]:
    """After each test no spool is open, and none ever had a name."""
    yield
    wait_for_spools(town.house, 0)
    assert list((town.house.settings.state / "spool").iterdir()) == []


# --- as it is signed, or not at all ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [64 * KIB, 64 * KIB + 1, len(BODY)], ids=["at the cap", "a byte over it", "1 MiB"])
def test_a_body_goes_on_byte_for_byte(town: Town, way: str, size: int) -> None:
    origin, body = town.origin(way), BODY[:size]
    before = origin.mark()
    assert send(town, way, head(town, way, "/v1/files/1", body), body).status == 200
    [request] = origin.since(before).requests
    assert request.body == body
    assert (request.header("content-length"), request.header("transfer-encoding")) == (str(size), None)
    decision, outcome = last(town, "decision"), last(town, "outcome")
    digest = b64u(hashlib.sha256(body).digest())
    assert (decision["verdict"], decision["body_bytes"], decision["body_sha256"]) == ("allow", size, digest)
    assert (outcome["status"], outcome["bytes_up"]) == (200, size)
    assert "body_sha256" not in outcome


@pytest.mark.parametrize("way", WAYS)
def test_a_body_in_chunks_goes_on_with_its_length(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    assert send(town, way, chunked_head(town, way, "/v1/files/1", BODY), chunks(BODY)).status == 200
    [request] = origin.since(before).requests
    assert request.body == BODY
    assert (request.header("content-length"), request.header("transfer-encoding")) == (str(len(BODY)), None)


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_was_swapped_goes_nowhere(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    swapped = BODY[:-1] + bytes([BODY[-1] ^ 1])
    answer = send(town, way, head(town, way, "/v1/files/1", BODY), swapped)
    assert (answer.status, code(answer)) == (403 if way == "tls" else 407, "proof.digest")
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_a_body_outside_the_mandate_goes_nowhere(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    answer = send(town, way, head(town, way, "/v1/payroll/1", BODY), BODY)
    assert (answer.status, code(answer)) == (403, "mandate.not_covered")
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_a_body_over_the_spool_cap_is_refused_before_it_comes(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    large = bytes(3 * MIB + 1)
    answer = send(town, way, head(town, way, "/v1/files/1", large))
    assert (answer.status, code(answer)) == (413, "request.too_large")
    expecting = send(town, way, head(town, way, "/v1/files/1", large, ("Expect", "100-continue")))
    assert (expecting.status, expecting.interim) == (413, ())
    assert origin.since(before).nothing
    assert send(town, way, head(town, way, "/v1/files/1", large[:-1]), large[:-1]).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_grows_over_the_spool_cap_is_refused_then(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    large = bytes(3 * MIB + 1)
    answer = send(town, way, chunked_head(town, way, "/v1/files/1", large), chunks(large)[:-6])
    assert (answer.status, code(answer)) == (413, "request.too_large")
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_trailers_behind_a_large_body_are_refused(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    coded = chunks(BODY)[:-2] + b"X-Trailer: 1\r\n\r\n"
    answer = send(town, way, chunked_head(town, way, "/v1/files/1", BODY), coded)
    assert (answer.status, code(answer)) == (400, "request.unsupported")
    assert origin.since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_calls_behind_a_large_body_are_read_after_it(town: Town, way: str) -> None:
    origin = town.origin(way)
    before, chain = origin.mark(), town.house.chain()
    small = head(town, way, "/v1/files/2", b"small", chain=chain) + b"small"
    with town.house.open(town.url(way, "/"), timeout_s=20) as wire:
        wire.send(head(town, way, "/v1/files/1", BODY, chain=chain) + BODY + small)
        statuses = [wire.response().status, wire.response().status]
        wire.send(head(town, way, "/v1/files/3", BODY, chain=chain) + BODY)
        statuses.append(wire.response().status)
    assert statuses == [200, 200, 200]
    seen = origin.since(before)
    assert [len(request.body) for request in seen.requests] == [len(BODY), 5, len(BODY)]
    assert seen.accepted == 1, "the origin's connection is kept, too"


# --- on disk ---------------------------------------------------------------------------------------------------------


def test_what_waits_on_disk_cannot_be_read_there_and_ends_with_its_sender(town: Town) -> None:
    before = town.plain.mark()
    secret = b"the wages of everybody, " * 40_000
    with town.house.open(town.url("plain", "/")) as wire:
        wire.send(head(town, "plain", "/v1/files/1", secret) + secret[:-1])
        [descriptor] = wait_for_spools(town.house, 1)
        about = descriptor.stat()
        assert (about.st_nlink, about.st_mode & 0o777) == (0, 0o600)
        deadline = time.monotonic() + 5
        while descriptor.stat().st_size < 700_000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert b"wages" not in descriptor.read_bytes()
    wait_for_spools(town.house, 0)
    assert town.plain.since(before).nothing


def test_without_a_place_on_disk_a_large_body_is_refused_and_a_small_one_is_not(town: Town) -> None:
    folder: Path = town.house.settings.state / "spool"
    before = town.plain.mark()
    folder.rmdir()
    try:
        answer = send(town, "plain", head(town, "plain", "/v1/files/1", BODY), BODY)
        assert (answer.status, code(answer)) == (503, "service.spool")
        assert answer.header("retry-after")
        assert town.plain.since(before).nothing
        assert send(town, "plain", head(town, "plain", "/v1/files/1", b"small"), b"small").status == 200
    finally:
        folder.mkdir(mode=0o700)
    assert send(town, "plain", head(town, "plain", "/v1/files/1", BODY), BODY).status == 200


# --- room ------------------------------------------------------------------------------------------------------------


def test_unfinished_bodies_of_one_mandate_take_so_much_memory_and_no_more(town: Town) -> None:
    """Many connections, each with a body a byte short, under one proof that is never spent."""
    chain, body = town.house.chain(), BODY[: 60 * KIB]
    short = head(town, "plain", "/v1/files/1", body, chain=chain) + body[:-1]
    before = town.plain.mark()
    with ExitStack() as opened:
        wires = [opened.enter_context(town.house.open(town.url("plain", "/"))) for _ in range(18)]
        for wire in wires[:17]:  # 17 × 60 KiB are just below 1 MiB
            wire.send(short)
        refused = ""
        deadline = time.monotonic() + 5
        while refused != "body.budget":  # as soon as the others have been read
            assert time.monotonic() < deadline
            with town.house.open(town.url("plain", "/")) as wire:
                wire.send(head(town, "plain", "/v1/files/1", body, chain=chain) + body)
                answer = wire.response()
                refused = "" if answer.status == 200 else code(answer)
        assert (answer.status, answer.header("retry-after")) == (429, "60")
        other = send(town, "plain", head(town, "plain", "/v1/files/1", body), body)
        assert other.status == 200, "another mandate has room of its own"
    assert {request.body for request in town.plain.since(before).requests} <= {body}
    deadline = time.monotonic() + 5
    while send(town, "plain", head(town, "plain", "/v1/files/1", body, chain=chain), body).status != 200:
        assert time.monotonic() < deadline, "what those who left had taken comes back"


def test_spooled_bodies_of_one_mandate_take_so_much_disk_and_no_more(town: Town) -> None:
    chain, body = town.house.chain(), bytes(3 * MIB)
    with ExitStack() as opened:
        for _ in range(2):  # what is announced counts at once: 6 MiB of 8
            wire = opened.enter_context(town.house.open(town.url("plain", "/")))
            wire.send(head(town, "plain", "/v1/files/1", body, chain=chain) + body[: 300 * KIB])
        wait_for_spools(town.house, 2)
        answer = send(town, "plain", head(town, "plain", "/v1/files/1", body, chain=chain))
        assert (answer.status, code(answer)) == (429, "body.budget")
        other = town.house.chain()
        for _ in range(2):
            wire = opened.enter_context(town.house.open(town.url("plain", "/")))
            wire.send(head(town, "plain", "/v1/files/1", body, chain=other) + body[: 300 * KIB])
        wait_for_spools(town.house, 4)
        answer = send(town, "plain", head(town, "plain", "/v1/files/1", body))
        assert (answer.status, code(answer)) == (503, "service.spool")
    wait_for_spools(town.house, 0)
    assert send(town, "plain", head(town, "plain", "/v1/files/1", body, chain=chain), body).status == 200


# --- held ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_large_body_is_held_by_its_fingerprint_and_sent_again_once_released(town: Town, way: str) -> None:
    house, origin, chain = town.house, town.origin(way), town.house.chain()
    before = origin.mark()
    other = BODY[:-1] + bytes([BODY[-1] ^ 1])

    def ask(body: bytes) -> Response:
        return send(town, way, head(town, way, "/v1/reviewed/1", body, chain=chain), body)

    def redeem(hold_id: str) -> Response:
        return house.call("POST", f"http://intent.internal/holds/{hold_id}/redeem", chain=chain)

    answer = ask(BODY)
    assert (answer.status, code(answer)) == (403, "cluster.review_required")
    hold_id = json.loads(answer.body)["task"]["id"]
    assert "redeem" not in str(answer.header("link"))
    assert "send the same call again" in json.loads(answer.body)["detail"]
    sealed = house.with_store(lambda server: RedisHolds(server).sealed(hold_id))
    assert sealed is not None
    assert len(sealed) < 16 * KIB, "the body is not stored"
    assert house.hold(hold_id).stored is False
    house.decide(hold_id, Verdict.ALLOW)

    refused = redeem(hold_id)
    assert (refused.status, code(refused)) == (409, "hold.not_stored")
    another = ask(other)
    assert (another.status, code(another)) == (403, "cluster.review_required")
    assert json.loads(another.body)["task"]["id"] != hold_id
    assert origin.since(before).nothing

    assert ask(BODY).status == 200
    [request] = origin.since(before).requests
    assert request.body == BODY
    assert code(ask(BODY)) in ("cluster.review_required", "hold.spent")
    assert len(origin.since(before).requests) == 1, "a release counts once"


@pytest.mark.parametrize("way", WAYS)
def test_a_large_body_waits_on_disk_for_its_reviewer(town: Town, way: str) -> None:
    house, origin, chain = town.house, town.origin(way), town.house.chain()
    before = origin.mark()
    with house.open(town.url(way, "/"), timeout_s=20) as wire:
        wire.send(head(town, way, "/v1/reviewed/1", BODY, ("Prefer", "wait=15"), chain=chain) + BODY)
        hold_id = town.wait_for_hold(chain)
        wait_for_spools(house, 1)
        assert origin.since(before).nothing
        house.decide(hold_id, Verdict.ALLOW)
        answer = wire.response()
    assert (answer.status, answer.header("preference-applied")) == (200, "wait")
    [request] = origin.since(before).requests
    assert request.body == BODY


def test_a_client_that_leaves_while_its_large_body_waits_leaves_nothing(town: Town) -> None:
    chain = town.house.chain()
    with town.house.open(town.url("plain", "/")) as wire:
        wire.send(head(town, "plain", "/v1/reviewed/1", BODY, ("Prefer", "wait=15"), chain=chain) + BODY)
        town.wait_for_hold(chain)
        wait_for_spools(town.house, 1)
    wait_for_spools(town.house, 0)


# --- origins and agents that leave -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["answers and closes", "answers and stays"])
def test_an_origin_that_answers_before_the_body_is_heard(town: Town, hasty: dict[str, HastyOrigin], kind: str) -> None:
    url, body = f"http://erp.example:{hasty[kind].port}/v1/files/1", secrets.token_bytes(3 * MIB)
    answer = send(town, "plain", head(town, "plain", "", body, url=url), body)
    assert (answer.status, answer.body) == (413, b"large")
    wait_for_spools(town.house, 0)
    assert last(town, "outcome")["status"] == 413


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_leaves_in_the_middle_of_its_body_is_not_acted_for(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    with town.house.open(town.url(way, "/")) as wire:
        wire.send(head(town, way, "/v1/files/1", BODY) + BODY[:-1])
        wait_for_spools(town.house, 1)
    wait_for_spools(town.house, 0)
    assert origin.since(before).nothing


def test_a_spool_is_gone_before_the_origin_has_answered(town: Town) -> None:
    gate = Gate()
    town.plain.on("POST", "/v1/files/slow", Reply(before=gate, json={}))
    with town.house.open(town.url("plain", "/"), timeout_s=20) as wire:
        wire.send(head(town, "plain", "/v1/files/slow", BODY) + BODY)
        gate.wait_until_reached()
        wait_for_spools(town.house, 0)
        gate.open()
        assert wire.response().status == 200


def test_every_descriptor_comes_back(town: Town) -> None:
    [worker] = workers(town.house)

    def descriptors() -> int:
        return sum(1 for _ in Path(f"/proc/{worker}/fd").iterdir())

    send(town, "plain", head(town, "plain", "/v1/files/1", BODY), BODY)
    wait_for_spools(town.house, 0)
    before = descriptors()
    for _ in range(10):
        send(town, "plain", head(town, "plain", "/v1/files/1", BODY), BODY)
        send(town, "plain", head(town, "plain", "/v1/payroll/1", BODY), BODY)
    wait_for_spools(town.house, 0)
    deadline = time.monotonic() + 5
    while descriptors() > before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
