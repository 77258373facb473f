"""50 MB in either direction cost a worker at most 32 MiB over what it has when idle, however slowly they are taken."""

import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Protocol

import pytest
from certs import Authority, Leaf
from h2client import Http2Wire, fields, open_http2
from h2origin import Http2Origin
from houses import House, house
from nodes import wait_for
from rawclient import Wire, request_bytes
from reservoirs import Reservoir, Taken, content, told
from towns import ROOMY
from uploads import code
from workers import memory_kib, reset_peak, wait_for_spools, workers

from proxy.core.content_digest import content_digest
from proxy.stores.embedded import EmbeddedStore

pytestmark = pytest.mark.system

SIZE = 50_000_000
BODY = secrets.token_bytes(SIZE)
SENT, GIVEN = told(iter([BODY])), told(content(SIZE))
ROOM_KIB = 32 * 1024
STEP = 262_144
BREATHS = 20
CALLERS = 100
NOISE_KIB = 1024
ANNOUNCED = (("Content-Length", str(SIZE)), ("Content-Digest", content_digest(BODY)))
WAIT_S = 60.0

_OPERATIONS = """\
- name: stream
  methods: [POST]
  path: /v1/streams/{id}
  body: unexamined
- name: file
  methods: [POST]
  path: /v1/files/{id}
- name: read
  methods: [GET]
  path: /v1/files/{id}
"""
CLUSTERS = f"""\
version: 1
clusters:
  - id: files
    description: Files of any size
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [PLAIN, TLS]
    addresses: [127.0.0.0/8]
    operations:
{indent(_OPERATIONS, "      ")}
  - id: files-over-http2
    description: The same, side by side
    risk: routine
    hosts: [erp.example]
    ports: [OVER1, OVER2]
    addresses: [127.0.0.0/8]
    http2: true
    operations:
{indent(_OPERATIONS, "      ")}
"""


class Far(Protocol):
    """An origin that can be stopped."""

    @property
    def moved(self) -> int: ...
    @property
    def whole(self) -> list[Taken]: ...
    def stop(self) -> None: ...
    def go_on(self) -> None: ...
    def url(self, path: str) -> str: ...


class Far1(Reservoir):
    """Over HTTP/1.1."""

    @property
    def whole(self) -> list[Taken]:
        return self.taken

    def stop(self) -> None:
        self.sluice.clear()

    def go_on(self) -> None:
        self.sluice.set()


class Far2:
    """Over HTTP/2: it gives nothing of its window back while it is stopped."""

    def __init__(self, leaf: Leaf) -> None:
        self.origin = Http2Origin(tls=leaf)

    @property
    def moved(self) -> int:
        return sum(len(each.body) for each in self.origin.streams)

    @property
    def whole(self) -> list[Taken]:
        return [told(iter([each.body])) for each in self.origin.streams if each.ended]

    def stop(self) -> None:
        self.origin.hoards = True

    def go_on(self) -> None:
        self.origin.hoards = False
        self.origin.give_back()

    def url(self, path: str) -> str:
        return self.origin.url(path, host="erp.example")


@dataclass(kw_only=True)
class Place:
    """A running deployment of one worker, and what that worker has in memory when it is idle and warm."""

    house: House
    far: dict[str, Far]
    worker: int
    idle_kib: int = 0

    @property
    def grown_kib(self) -> int:
        """Its peak since `rest`, over what it had then."""
        return memory_kib(self.worker, "VmHWM") - self.idle_kib

    def rest(self) -> None:
        """What it has now, idle, is what the next body is measured against: what calls before warmed up is its own."""
        reset_peak(self.worker)
        self.idle_kib = memory_kib(self.worker)

    def breathe(self) -> None:
        """Another call, answered meanwhile: the proxy had time, and nobody waits for the one that is stopped."""
        answer = self.house.call("GET", "http://intent.internal/health")
        assert answer.status == 200, answer

    def until_still(self, moved: Callable[[], int]) -> int:
        """Until not one byte moves while many another call is answered."""
        seen, still = -1, 0
        while still < BREATHS:
            self.breathe()
            now = moved()
            still, seen = (still + 1, seen) if now == seen else (0, now)
        return seen


@contextmanager
def open_place(folder: Path, extra: str = "") -> Iterator[Place]:
    authority = Authority()
    leaf = authority.server("erp.example")
    over2 = Far2(leaf)
    with (
        Far1(size=SIZE) as plain,
        Far1(size=SIZE, tls=leaf) as tls,
        Far1(size=SIZE, tls=leaf) as over1,
        over2.origin,
    ):
        text = CLUSTERS
        for name, port in (
            ("PLAIN", plain.port),
            ("TLS", tls.port),
            ("OVER1", over1.port),
            ("OVER2", over2.origin.port),
        ):
            text = text.replace(name, str(port))
        settings = f"upstream_cas: [{authority.write(folder)}]\n{extra}{ROOMY}"
        with house(folder, clusters=text, extra=settings) as running:
            far: dict[str, Far] = {"plain": plain, "tls": tls, "h2 to h1": over1, "h2 to h2": over2}
            place = Place(house=running, far=far, worker=workers(running)[0])
            for way in far:
                for path in ("/v1/streams/1", "/v1/files/1"):
                    Upload(place, way, path, body=b"small").run()
            place.rest()
            yield place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with open_place(tmp_path_factory.mktemp("large")) as opened:
        yield opened


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


class Upload:
    """One body on its way up, sent as fast as it is taken."""

    def __init__(self, place: Place, way: str, path: str, *, body: bytes = BODY) -> None:
        self.sent = 0
        self._house, self._over2, self._body = place.house, way.startswith("h2"), body
        self._url, self._path = place.far[way].url(path), path

    def run(self) -> None:
        status = self._run2() if self._over2 else self._run1()
        assert status == 200

    def _run1(self) -> int:
        signed = self._house.signed("POST", self._url, chain=self._house.chain(), body=self._body, intent="")
        target = self._url if self._url.startswith("http:") else self._path
        with self._house.open(self._url, timeout_s=WAIT_S) as wire:
            wire.send(request_bytes("POST", target, (("Host", self._url.split("/")[2]), *signed)))
            for piece in self._pieces():
                wire.send(piece)
            return wire.response().status

    def _run2(self) -> int:
        chain = self._house.chain()
        with open_http2(self._house, self._url, timeout_s=WAIT_S) as h2:
            head = fields(self._house, "POST", self._url, chain=chain, body=self._body, intent="")
            stream = h2.send(head, end=False)
            for piece in self._pieces():
                h2.data(stream, piece)
            h2.h2.end_stream(stream)
            h2.flush()
            return h2.answer(stream, timeout_s=WAIT_S).status

    def _pieces(self) -> Iterator[bytes]:
        for at in range(0, len(self._body), STEP):
            yield (piece := self._body[at : at + STEP])
            self.sent += len(piece)


WAYS = ("plain", "tls", "h2 to h1", "h2 to h2")


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_goes_up_no_faster_than_it_is_taken(place: Place, way: str, beside: ThreadPoolExecutor) -> None:
    far, upload = place.far[way], Upload(place, way, "/v1/streams/1")
    place.rest()
    far.stop()
    try:
        done = beside.submit(upload.run)
        sent = place.until_still(lambda: upload.sent)
    finally:
        far.go_on()
    assert sent < SIZE // 2, "the rest waits where it comes from"
    _finish(done)
    assert far.whole[-1] == SENT
    assert place.grown_kib <= ROOM_KIB


@pytest.mark.parametrize("way", WAYS)
def test_a_spooled_body_goes_up_no_faster_than_it_is_taken(place: Place, way: str, beside: ThreadPoolExecutor) -> None:
    far, upload, before = place.far[way], Upload(place, way, "/v1/files/1"), place.far[way].moved
    place.rest()
    far.stop()
    try:
        done = beside.submit(upload.run)
        moved = place.until_still(lambda: far.moved if upload.sent == SIZE else secrets.randbits(64)) - before
    finally:
        far.go_on()
    assert moved < SIZE // 2, "the rest waits on disk"
    _finish(done)
    assert far.whole[-1] == SENT
    assert place.grown_kib <= ROOM_KIB


def test_what_an_origin_does_not_take_waits_on_disk_and_ends_with_its_sender(place: Place) -> None:
    far, house = place.far["plain"], place.house
    url = far.url("/v1/files/1")
    signed, before = house.signed("POST", url, chain=house.chain(), body=BODY, intent=""), len(house.journal("outcome"))
    far.stop()
    try:
        with house.open(url, timeout_s=WAIT_S) as wire:
            wire.send(request_bytes("POST", url, (("Host", url.split("/")[2]), *signed)) + BODY)
            place.until_still(lambda: far.moved)
            assert len(wait_for_spools(house, 1)) == 1
        wait_for_spools(house, 0)
    finally:
        far.go_on()
    (outcome,) = wait_for(lambda: house.journal("outcome")[before:], "the outcome is written")
    assert outcome["error"] == "client.gone"
    assert int(str(outcome["bytes_up"])) < SIZE


def _finish(done: "Future[None]") -> None:
    done.result(WAIT_S)


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_response_comes_down_no_faster_than_it_is_taken(place: Place, way: str) -> None:
    far, path = place.far[way], "/v1/files/1"
    url, before = far.url(path), far.moved
    signed = place.house.signed("GET", url, chain=place.house.chain(), intent="")
    target = url if way == "plain" else path
    place.rest()
    with place.house.open(url, timeout_s=WAIT_S) as wire:
        wire.send(request_bytes("GET", target, (("Host", url.split("/")[2]), *signed)))
        assert wire.head()[0] == 200
        assert place.until_still(lambda: far.moved) - before < SIZE // 2, "the rest waits where it comes from"
        left = SIZE

        def pieces() -> Iterator[bytes]:
            nonlocal left
            while left and (piece := wire.receive()):
                left -= len(piece)
                yield piece

        assert told(pieces()) == GIVEN
    assert place.grown_kib <= ROOM_KIB


def test_a_response_comes_down_over_http2_no_faster_than_it_is_taken(place: Place) -> None:
    """From an HTTP/1.1 origin; `test_http2_flow` has the same from one that speaks HTTP/2."""
    far = place.far["h2 to h1"]
    url, before = far.url("/v1/files/1"), far.moved
    place.rest()
    with open_http2(place.house, url, hoard=True, timeout_s=WAIT_S) as h2:
        stream = h2.send(fields(place.house, "GET", url, chain=place.house.chain(), intent=""))
        h2.until(lambda: bool(h2.answers[stream].headers))
        assert place.until_still(lambda: far.moved) - before < SIZE // 2, "the rest waits where it comes from"
        _take_all(h2, stream)
    assert told(iter([bytes(h2.answers[stream].body)])) == GIVEN
    assert place.grown_kib <= ROOM_KIB


def _take_all(h2: Http2Wire, stream: int) -> None:
    taken, answer = 0, h2.answers[stream]
    while not answer.ended:
        if len(answer.body) > taken:
            h2.take(stream, len(answer.body) - taken)
            taken = len(answer.body)
        h2.read_once()


def test_what_is_measured_would_show_a_body_that_is_kept(tmp_path: Path) -> None:
    """The twin of all others: a deployment that is told to keep 64 MiB in memory is seen to."""
    keeps = "limits: {inspected: 64MiB}\n"
    with open_place(tmp_path, keeps) as place:
        place.rest()
        Upload(place, "plain", "/v1/files/1").run()
        assert place.grown_kib > ROOM_KIB


def test_who_is_not_judged_yet_costs_no_more_than_64_kib(place: Place) -> None:
    """A hundred callers who send on while the store does not answer: what they sent waits, until they are refused."""
    before = place.far["plain"].moved
    silent_kib = _cost_kib(place, body_bytes=0)  # what a hundred waiting calls take, whatever they send
    sending_kib = _cost_kib(place, body_bytes=SIZE)
    assert place.far["plain"].moved == before
    assert sending_kib - silent_kib < CALLERS * 64 + NOISE_KIB


def _cost_kib(place: Place, *, body_bytes: int) -> int:
    """By how much the worker grows with callers who wait for a store that does not answer."""
    url, chain = place.far["plain"].url("/v1/streams/1"), place.house.chain()
    store = EmbeddedStore(place.house.settings.state).pid()
    assert store is not None
    with ExitStack() as opened, ThreadPoolExecutor(CALLERS) as threads:
        wires = [opened.enter_context(place.house.open(url, timeout_s=WAIT_S)) for _ in range(CALLERS)]
        for wire in wires:
            assert wire.get("http://intent.internal/health", host="intent.internal").status == 200
        heads = [place.house.signed("POST", url, chain=chain, headers=ANNOUNCED, intent="") for _ in wires]
        start_kib = memory_kib(place.worker)
        place.rest()
        os.kill(store, signal.SIGSTOP)
        try:
            codes = set(threads.map(lambda wire, head: _send_on(wire, url, head, body_bytes), wires, heads))
        finally:
            os.kill(store, signal.SIGCONT)
        grown_kib = memory_kib(place.worker, "VmHWM") - start_kib
    assert {each.partition(".")[0] for each in codes} == {"service"}
    return grown_kib


def _send_on(wire: Wire, url: str, head: Sequence[tuple[str, str]], body_bytes: int) -> str:
    with suppress(OSError):
        wire.send(request_bytes("POST", url, (("Host", url.split("/")[2]), *head)))
        for at in range(0, body_bytes, STEP):
            wire.send(BODY[at : at + STEP])
    return code(wire.response(to="POST"))
