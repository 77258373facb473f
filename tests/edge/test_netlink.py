"""Which interface bears which address: all of them, and as they are at this moment."""

import ipaddress
from collections.abc import Iterator

import pytest
from enclosure import Enclosure, enclosure

from proxy.edge import netlink
from proxy.edge.netlink import Interfaces, interfaces

pytestmark = pytest.mark.system

FIRST, SECOND, SIX = (ipaddress.ip_address(each) for each in ("192.0.2.1", "192.0.2.2", "2001:db8::1"))


@pytest.fixture
def place() -> Iterator[Enclosure]:
    with enclosure() as made:
        made.ip("link", "add", "one", "type", "veth", "peer", "name", "two")
        yield made


def test_every_address_of_an_interface_is_known(place: Enclosure) -> None:
    for address in (f"{FIRST}/24", f"{SECOND}/24"):
        place.ip("addr", "add", address, "dev", "one")
    place.ip("addr", "add", f"{SIX}/64", "dev", "two", "nodad")
    place.ip("addr", "add", f"{SECOND}/32", "dev", "two")
    found = place.inside(interfaces)
    assert (found[FIRST], found[SECOND], found[SIX]) == ({"one"}, {"one", "two"}, {"two"})


def test_the_near_end_of_a_wire_between_two_is_ours(place: Enclosure) -> None:
    place.ip("addr", "add", f"{FIRST}", "peer", f"{SECOND}", "dev", "one")
    found = place.inside(interfaces)
    assert FIRST in found and SECOND not in found


def test_a_change_is_known_at_the_next_question(place: Enclosure) -> None:
    known = place.inside(Interfaces)

    def bearing() -> frozenset[str]:
        return place.inside(lambda: known.bearing(FIRST))

    assert bearing() == frozenset()
    for name in ("one", "two"):
        place.ip("addr", "add", f"{FIRST}/24", "dev", name)
        assert bearing() == {name}
        place.ip("addr", "del", f"{FIRST}/24", "dev", name)
    assert bearing() == frozenset()
    place.ip("addr", "add", f"{FIRST}/24", "dev", "one")
    place.ip("link", "set", "one", "name", "other")
    assert bearing() == {"other"}


def test_the_kernel_is_not_asked_again_while_nothing_changed(place: Enclosure, monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = place.inside(Interfaces), []
    monkeypatch.setattr(netlink, "interfaces", lambda: asked.append(1) or {})
    for _ in range(3):
        known.bearing(FIRST)
    assert len(asked) == 1


def test_without_news_it_is_asked_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(netlink, "interfaces", lambda: asked.append(1) or {})
    monkeypatch.setattr(netlink, "_subscribed", lambda: None)
    known = Interfaces()
    for _ in range(3):
        known.bearing(FIRST)
    assert len(asked) == 3
