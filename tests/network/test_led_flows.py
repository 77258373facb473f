"""What goes on for a while on redirected connections: streams, downloads, WebSockets, HTTP/2, and their end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import identities
import pytest
from h2client import ALPN, Http2Wire
from houses import CLUSTERS, House
from ledstreets import Street, opened
from under_way import WHOLE, UnderWay, download, stream, websocket
from wsends import Listener

from proxy.core.control import Act

pytestmark = pytest.mark.system

LIVE_PORT = 9443  # nobody else is in the namespace
LIVE = """\
      - name: hear
        methods: [GET]
        path: /v1/live/{{topic}}
        websocket: true
"""

type Begin = Callable[[House, tuple[str, str], ExitStack], UnderWay]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    clusters = CLUSTERS.replace("    risk: routine\n", "    risk: routine\n    http2: true\n") + LIVE
    clusters = clusters.replace("{https}]", f"{{https}}, {LIVE_PORT}]")
    with opened(tmp_path_factory.mktemp("flows"), clusters=clusters) as running:
        running.lead()
        yield running


@pytest.fixture(params=["a stream", "a download", "a WebSocket"])
def begin(request: pytest.FixtureRequest, street: Street) -> Iterator[Begin]:
    origin = street.town.tls
    with ExitStack() as ends:
        if request.param == "a stream":
            yield lambda house, chain, ends: stream(house, origin, chain, ends)
        elif request.param == "a download":
            yield lambda house, chain, ends: download(house, origin, chain, ends)
        else:
            leaf = street.town.authority.server("erp.example")
            there = ends.enter_context(street.place.inside(lambda: Listener(leaf, LIVE_PORT)))
            yield lambda house, chain, ends: websocket(house, there, chain, ends)


def test_it_goes_on_to_its_end(street: Street, begin: Begin) -> None:
    def here() -> str:
        with ExitStack() as ends:
            return begin(street.town.house, street.town.house.chain(), ends).goes_on()

    assert street.place.inside(here) == WHOLE


def test_a_stop_of_its_agent_ends_it_within_two_seconds(street: Street, begin: Begin) -> None:
    house = street.town.house

    def here() -> bool:
        with ExitStack() as ends:
            flow = begin(house, house.chain(), ends)
            house.stop_by(Act.QUARANTINE, identities.AGENT)
            try:
                return flow.aborted(2.5)
            finally:
                house.stop_by(Act.RESTORE, identities.AGENT)

    assert street.place.inside(here)


def test_http2_is_spoken_where_a_rule_offers_it_and_names_must_agree_there_too(street: Street) -> None:
    house, origin = street.town.house, street.town.tls

    def call(authority: str) -> tuple[int, str]:
        url = origin.url("/v1/invoices/7", host="erp.example")
        with house.open(url, alpn=ALPN) as wire:  # type: ignore[call-arg]
            http2 = Http2Wire(wire)
            fields = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", "/v1/invoices/7")]
            answer = http2.answer(
                http2.send(
                    [*fields, *((name.lower(), value) for name, value in house.signed("GET", url, chain=house.chain()))]
                )
            )
            return answer.status, answer.code

    before = origin.mark()
    assert street.place.inside(lambda: call(f"erp.example:{origin.port}")) == (200, "")
    seen = origin.since(before)
    assert [each.target for each in seen.requests] == ["/v1/invoices/7"]
    before = origin.mark()
    status, code = street.place.inside(lambda: call(f"evil.example:{origin.port}"))
    assert (status, code) == (400, "url.ambiguous")
    assert origin.since(before).nothing
