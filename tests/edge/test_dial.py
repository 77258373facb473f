"""Connecting upstream is denied, unless an allowed call that is still alive asked for exactly this connection."""

import time
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.dial import AVOID_S, REFUSED, TOKEN_LIFE_S, Dial, Dials, DialToken
from addons.exchange import Exchange, Upstream
from proxy.core.errors import Code, Rejected

FIRST, SECOND = ip_address("192.0.2.1"), ip_address("192.0.2.2")


class Bench:
    """An allowed call, its token, and the connection that is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.dials = Dials()
        self.dial = Dial(self.dials, most=3)
        self.client = Client(peername=("a", 1), sockname=("b", 2), timestamp_start=0, state=ConnectionState.OPEN)
        self.exchange = self.call()

    def call(self) -> Exchange:
        """One more allowed call, with the right to connect."""
        made = Exchange(flow=HTTPFlow(self.client, Server(address=None)), client_id=self.client.id)
        token = DialToken(
            exchange=made, addresses=(FIRST, SECOND), tls=True, deadline_s=time.monotonic() + TOKEN_LIFE_S
        )
        self.dials.grant((self.client.id, "erp.example", 443), token)
        return made

    def asked(self, *, host: str = "erp.example", port: int = 443, tls: bool = True) -> ServerConnectionHookData:
        server = Upstream(address=(host, port), transport_protocol="tcp", tls=tls)
        server.exchange = self.exchange
        return ServerConnectionHookData(server=server, client=self.client)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_an_allowed_call_leads_to_the_address_that_was_judged_under_its_own_name(bench: Bench) -> None:
    data = bench.asked()
    bench.dial.server_connect(data)
    assert (data.server.error, data.server.address, data.server.sni) == (None, (str(FIRST), 443), "erp.example")
    bench.dial.server_connected(data)
    assert data.server.address == ("erp.example", 443), "where mitmproxy finds it again"


def other_exchange(bench: Bench, data: ServerConnectionHookData) -> None:
    flow = HTTPFlow(bench.client, Server(address=None))
    assert isinstance(data.server, Upstream)
    data.server.exchange = Exchange(flow=flow, client_id=bench.client.id)


def nobody(_: Bench, data: ServerConnectionHookData) -> None:
    assert isinstance(data.server, Upstream)
    data.server.exchange = None


def not_ours(_: Bench, data: ServerConnectionHookData) -> None:
    data.server = Server(address=("erp.example", 443), transport_protocol="tcp", tls=True)


def through_another_proxy(_: Bench, data: ServerConnectionHookData) -> None:
    data.server.via = ("http", ("proxy.example", 3128))


def over_udp(_: Bench, data: ServerConnectionHookData) -> None:
    data.server.transport_protocol = "udp"


def too_late(bench: Bench, _: ServerConnectionHookData) -> None:
    bench.now_s += TOKEN_LIFE_S


def its_client_left(bench: Bench, _: ServerConnectionHookData) -> None:
    bench.exchange.gone.set()


def it_has_ended(bench: Bench, _: ServerConnectionHookData) -> None:
    bench.dials.revoke(bench.exchange)


def from_another_client(_: Bench, data: ServerConnectionHookData) -> None:
    data.client = Client(peername=("a", 9), sockname=("b", 2), timestamp_start=0, state=ConnectionState.OPEN)


type Spoil = Callable[[Bench, ServerConnectionHookData], None]

WITHOUT: dict[str, tuple[dict[str, object], Spoil]] = {
    "another host": ({"host": "evil.example"}, lambda *_: None),
    "the address itself": ({"host": str(FIRST)}, lambda *_: None),
    "another port": ({"port": 8443}, lambda *_: None),
    "no TLS where the call has it": ({"tls": False}, lambda *_: None),
    "another call": ({}, other_exchange),
    "no call": ({}, nobody),
    "a connection mitmproxy made by itself": ({}, not_ours),
    "a way through another proxy": ({}, through_another_proxy),
    "UDP": ({}, over_udp),
    "a token that is too old": ({}, too_late),
    "a call whose client left": ({}, its_client_left),
    "a call that has ended": ({}, it_has_ended),
    "another client": ({}, from_another_client),
}


@pytest.mark.parametrize(("asked", "spoil"), WITHOUT.values(), ids=WITHOUT.keys())
def test_nothing_is_dialled_for(bench: Bench, asked: dict[str, object], spoil: Spoil) -> None:
    data = bench.asked(**asked)  # type: ignore[arg-type]
    spoil(bench, data)
    bench.dial.server_connect(data)
    assert data.server.error == REFUSED


def test_an_address_that_failed_is_tried_last_for_a_while(bench: Bench) -> None:
    def tried() -> str:
        bench.exchange = bench.call()
        data = bench.asked()
        bench.dial.server_connect(data)
        assert data.server.address is not None
        chosen = data.server.address[0]
        data.server.error = "connection refused"
        bench.dial.server_connect_error(data)
        return str(chosen)

    assert [tried(), tried(), tried()] == [str(FIRST), str(SECOND), str(FIRST)], "when all have failed, the first"
    assert bench.exchange.fault is Code.UPSTREAM_CONNECT
    bench.now_s += AVOID_S
    assert tried() == str(FIRST)


def test_a_call_that_was_stopped_while_it_was_dialled_says_nothing_about_the_address(bench: Bench) -> None:
    data = bench.asked()
    bench.dial.server_connect(data)
    bench.exchange.stopped = Rejected(Code.KILL_SWITCH, "stopped")
    data.server.error = "cancelled"
    bench.dial.server_connect_error(data)
    bench.exchange = bench.call()
    again = bench.asked()
    bench.dial.server_connect(again)
    assert again.server.address == (str(FIRST), 443)
