"""Over HTTP/2 a call that must end ends alone: the calls beside it on the same connection go on."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from h2client import Http2Wire, fields, open_http2
from h2origin import Reply2
from h2towns import Http2Town, open_http2_town
from origin_replies import Gate, Reply
from shots import PROMISE_S

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest

ORIGINS = ("h2", "h1")

type Chain = Sequence[str]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Town]:
    with open_http2_town(tmp_path_factory.mktemp("h2live")) as running:
        yield running


@dataclass(kw_only=True)
class Flow:
    """One response whose first part has come, on a connection that carries others."""

    town: Http2Town
    over: str
    path: str
    gate: Gate
    stream: int

    def aborted(self) -> bool:
        """Whether the origin sees within two seconds that nobody wants the rest."""
        deadline_s = time.monotonic() + PROMISE_S
        while time.monotonic() < deadline_s:
            if self.over == "h2":
                ended = any(each.path == self.path and each.reset is not None for each in self.town.h2.streams)
            else:
                seen = [each for each in self.town.h1.connections if any(r.target == self.path for r in each.requests)]
                ended = seen[0].gone
            if ended:
                return True
            time.sleep(0.02)
        return False


def flow(town: Http2Town, h2: Http2Wire, over: str, chain: Chain) -> Flow:
    gate, path = Gate(), f"/v1/invoices/{secrets.token_hex(6)}"
    if over == "h2":
        town.h2.on(path, Reply2(body=(b"one", gate, b"two")))
    else:
        town.h1.on("GET", path, Reply(stream=(b"one", gate, b"two")))
    stream = h2.send(fields(town.house, "GET", town.url(path, over=over), chain=chain))
    h2.until(lambda: h2.answers[stream].body == b"one")
    return Flow(town=town, over=over, path=path, gate=gate, stream=stream)


@pytest.mark.parametrize("over", ORIGINS)
def test_a_stream_ends_alone(town: Http2Town, over: str) -> None:
    doomed, other = town.chain(), town.chain()
    with open_http2(town.house, town.url("/", over=over), timeout_s=30) as h2:
        flows = [flow(town, h2, over, chain) for chain in (doomed, other)]
        town.house.stop_by(Act.REVOKE_ROOT, parse_manifest(doomed[0]).id)
        answer = h2.answer(flows[0].stream, timeout_s=PROMISE_S)
        assert answer.reset is not None
        assert flows[0].aborted()
        for each in flows:
            each.gate.open()
        twin = h2.answer(flows[1].stream)
        assert (twin.body, twin.reset, h2.closed) == (b"onetwo", None, False)
        assert answer.body == b"one"
        later = h2.answer(h2.send(fields(town.house, "GET", town.url("/v1/invoices/17", over=over), chain=doomed)))
        assert later.code == "manifest.revoked"


@pytest.mark.parametrize("over", ORIGINS)
def test_a_call_without_an_answer_yet_is_told_why(town: Http2Town, over: str) -> None:
    gate, path, doomed, other = Gate(), "/v1/invoices", town.chain(), town.chain()
    if over == "h2":
        town.h2.on(path, Reply2(before=gate))
    else:
        town.h1.on("POST", path, Reply(before=gate))
    url = town.url(path, over=over)
    with open_http2(town.house, url, timeout_s=30) as h2:
        streams = [
            h2.send(fields(town.house, "POST", url, chain=chain, body=b"a=1"), body=b"a=1") for chain in (doomed, other)
        ]
        gate.wait_until_reached()
        town.house.stop_by(Act.REVOKE_ROOT, parse_manifest(doomed[0]).id)
        told = h2.answer(streams[0], timeout_s=PROMISE_S)
        assert (told.status, told.code) == (403, "manifest.revoked")
        gate.open()
        assert h2.answer(streams[1]).status == 200
