"""The calls of `test_planted`: each ready but for its last step, so that what fails can be planted before it."""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from identities import basic
from origins import Origin
from plant_house import PlantedTown
from planting import SECRET
from rawclient import Broken, Response, Wire, connect
from towns import Town

from proxy.core.model import Verdict

ANSWER_S = 2.0
"""The promise: whatever fails, the agent knows within this."""

COVERED, OUTSIDE = "/v1/invoices", "/v1/payments"
INSIDE_MARKS = (b"Traceback", b'File "', b".py", SECRET.encode())
"""What no answer may show of the program behind it."""

type Lines = Sequence[tuple[str, str]]

_numbers = count(1)
_TEXT = [("Content-Type", "text/plain")]


@dataclass(frozen=True, kw_only=True)
class Ready:
    """One call, ready but for its last step, and the body by which its origin knows it."""

    origin: Origin
    body: bytes
    fire: Callable[[], Response]
    port: int = 0  # of the connection it will take, if that stands already
    again: Callable[[], Response] | None = None  # a second attempt at the same call, where only one may ever pass


type Case = Callable[[PlantedTown, str], Ready]


def signed_call(town: PlantedTown, way: str, path: str = COVERED) -> Ready:
    """A signed call over a connection that stands already; on the TLS way, the tunnel does, too."""
    url, body = town.url(way, path), _fresh_body()
    lines = _signed(town, url, body, town.house.chain())
    wire = town.house.open(url)
    return _on(wire, town.origin(way), url, lines, body)


def outside(town: PlantedTown, way: str) -> Ready:
    """The same call, but to where the mandate does not reach."""
    return signed_call(town, way, OUTSIDE)


def connecting(town: PlantedTown, way: str) -> Ready:
    """A signed call from the first byte on: CONNECT, TLS, then the call."""
    url, body = town.url(way, COVERED), _fresh_body()
    lines = _signed(town, url, body, town.house.chain())
    return Ready(origin=town.origin(way), body=body, fire=lambda: _through(town, url, lines, body))


def from_scratch(town: Town, way: str, path: str = COVERED) -> Ready:
    """A signed call from the first byte on, by either way."""
    url, body = town.url(way, path), _fresh_body()
    lines = _signed(town, url, body, town.house.chain())

    def fire() -> Response:
        if way == "tls":
            return _through(town, url, lines, body)
        return _within(town.house.open(url, timeout_s=ANSWER_S + 1), url, lines, body)

    return Ready(origin=town.origin(way), body=body, fire=fire)


def by_tunnel(town: PlantedTown, way: str) -> Ready:
    """A call without proof of its own, in a tunnel that was opened with one."""
    url, body = town.url(way, COVERED), _fresh_body()
    proof = town.house.signed("CONNECT", _authority(url), chain=town.house.chain())
    return Ready(
        origin=town.origin(way), body=body, fire=lambda: _through(town, url, _unsigned(url, body), body, proof)
    )


def by_session(town: PlantedTown, way: str) -> Ready:
    """A call under a session that was opened before."""
    url, body = town.url(way, COVERED), _fresh_body()
    opened = json.loads(town.house.call("POST", "http://intent.internal/session").body)
    lines = [*_unsigned(url, body), ("Proxy-Authorization", basic(opened["manifest"], opened["token"]))]
    wire = town.house.open(url)
    return _on(wire, town.origin(way), url, lines, body)


def opening_session(town: PlantedTown, way: str) -> Ready:
    """A session is opened; nothing goes to any origin."""
    url = "http://intent.internal/session"
    lines = _signed(town, url, b"", town.house.chain())
    wire = town.house.open(url)
    return _on(wire, town.origin(way), url, lines, b"")


def released(town: PlantedTown, way: str) -> Ready:
    """A call outside the mandate that a reviewer released, sent again."""
    return _approved(town, way, redeem=False)


def redeemed(town: PlantedTown, way: str) -> Ready:
    """A call outside the mandate that a reviewer released, redeemed."""
    return _approved(town, way, redeem=True)


def _approved(town: PlantedTown, way: str, *, redeem: bool) -> Ready:
    chain, url, body = town.house.chain(), town.url(way, OUTSIDE), _fresh_body()
    held = _within(town.house.open(url), url, _signed(town, url, body, chain), body)
    hold_id = json.loads(held.body)["task"]["id"]
    town.house.decide(hold_id, Verdict.ALLOW)
    target, sent = (f"http://intent.internal/holds/{hold_id}/redeem", b"") if redeem else (url, body)

    def send() -> Response:
        return _within(town.house.open(target), target, _signed(town, target, sent, chain), sent)

    wire, lines = town.house.open(target), _signed(town, target, sent, chain)
    return replace(_on(wire, town.origin(way), target, lines, sent), body=body, again=send)


def _on(wire: Wire, origin: Origin, url: str, lines: Lines, body: bytes) -> Ready:
    return Ready(origin=origin, body=body, port=wire.local[1], fire=lambda: _within(wire, url, lines, body))


# --- their bytes -----------------------------------------------------------------------------------------------------


def _fresh_body() -> bytes:
    return b"number=%d" % next(_numbers)


def _authority(url: str) -> str:
    return url.split("/")[2]


def _signed(town: Town, url: str, body: bytes, chain: Sequence[str]) -> Lines:
    lines = town.house.signed("POST", url, chain=chain, headers=_TEXT if body else [], body=body)
    return [("Host", _authority(url)), *lines]


def _unsigned(url: str, body: bytes) -> Lines:
    return [("Host", _authority(url)), *_TEXT, ("Content-Length", str(len(body)))]


def _within(wire: Wire, url: str, lines: Lines, body: bytes) -> Response:
    """Send over a connection that is ready, and close it."""
    with wire:
        wire.extend(ANSWER_S + 1)
        target = url if url.startswith("http:") else url[len("https://") + len(_authority(url)) :]
        return wire.request("POST", target, tuple(lines), body)


def _through(town: Town, url: str, lines: Lines, body: bytes, proof: Lines = ()) -> Response:
    """Open a tunnel, with proof or without, and send inside it; or the answer that refused the tunnel."""
    with connect(town.house.address, timeout_s=ANSWER_S + 1) as wire:
        opened = wire.connect(_authority(url), tuple(proof))
        if opened.status != 200:
            return opened
        wire.start_tls(town.house.ca, sni="erp.example")
        return _within(wire, url, lines, body)


# --- what they got ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Got:
    """What the agent got: a status, or None when its connection ended or nothing came."""

    status: int | None
    raw: bytes
    took_s: float

    def faults(self, *, may_pass: bool) -> Iterator[str]:
        if self.took_s > ANSWER_S:
            yield f"no answer within {ANSWER_S} s"
        if self.status is not None and self.status < 400 and not may_pass:
            yield f"answered {self.status}"
        if any(mark in self.raw for mark in INSIDE_MARKS):
            yield f"an answer that tells of the inside: {self.raw!r}"


def attempt(fire: Callable[[], Response]) -> Got:
    """Take a call's last step."""
    began_s = time.monotonic()
    try:
        answer = fire()
    except (TimeoutError, Broken, OSError, ssl.SSLError):
        return Got(status=None, raw=b"", took_s=time.monotonic() - began_s)
    return Got(status=answer.status, raw=answer.raw, took_s=time.monotonic() - began_s)
