"""A worker has so many connections and no more: beyond that a call is refused, and the stores keep theirs."""

import ipaddress
import resource

import pytest
from mitmproxy.connection import Client
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from addons.dial import REFUSED, Dial, Dials, DialToken
from addons.exchange import Exchange, Upstream
from proxy.core.errors import Code
from proxy.edge.descriptors import FEWEST, SPARE_DESCRIPTORS, most_connections


def asked(most: int) -> tuple[ServerConnectionHookData, Exchange]:
    """What becomes of one connection that an allowed call asks for."""
    client, dials = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2)), Dials()
    server = Upstream(address=("erp.example", 80))
    exchange = Exchange(flow=HTTPFlow(client, server), client_id=client.id)
    address = ipaddress.ip_address("127.0.0.1")
    dials.grant(
        (client.id, "erp.example", 80), DialToken(exchange=exchange, addresses=(address,), tls=False, deadline_s=1e12)
    )
    server.exchange = exchange
    data = ServerConnectionHookData(server=server, client=client)
    Dial(dials, most=most).server_connect(data)
    return data, exchange


def test_with_room_the_call_is_dialled() -> None:
    data, exchange = asked(1)
    assert (data.server.error, data.server.address, exchange.fault) == (None, ("127.0.0.1", 80), None)


def test_without_room_the_call_is_refused_as_one_too_many() -> None:
    data, exchange = asked(0)
    assert data.server.error not in (None, REFUSED)
    assert exchange.fault is Code.BUSY


@pytest.mark.parametrize(
    ("limit", "clients"),
    [
        pytest.param(SPARE_DESCRIPTORS + 300, 100, id="one in three is a client's"),
        pytest.param(SPARE_DESCRIPTORS, FEWEST, id="a few there are always"),
    ],
)
def test_descriptors_are_shared_out(monkeypatch: pytest.MonkeyPatch, limit: int, clients: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert most_connections().clients == clients
    assert most_connections().origins == max(FEWEST, limit - SPARE_DESCRIPTORS - clients)
