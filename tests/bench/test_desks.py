"""Two real desks on one real Valkey with thousands of open holds: complete, live, of one mind. No speed is asserted."""

from collections.abc import Iterator
from functools import partial

import identities
import pytest

from bench.desk import both
from bench.desks import Browser, Desk, Desks
from proxy.core.model import Hold

pytestmark = pytest.mark.system

MANY = 2_000


@pytest.fixture(scope="module")
def desks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    with Desks(tmp_path_factory.mktemp("desks")) as opened:
        yield opened


@pytest.fixture(scope="module")
def filed(desks: Desks) -> list[Hold]:
    with desks.store.client() as client:
        client.config_set("appendfsync", "no")  # nobody pulls the plug while these are filed
    holds = list(desks.file(MANY))
    with desks.store.client() as client:
        client.config_set("appendfsync", "always")
    return holds


@pytest.fixture(scope="module")
def two(desks: Desks, filed: list[Hold]) -> tuple[Desk, Desk]:
    started = desks.start("one"), desks.start("other")
    for each in started:
        each.wait()
    return started


@pytest.fixture
def ada(two: tuple[Desk, Desk]) -> Browser:
    return Browser(two[0], identities.SPONSOR)


@pytest.fixture
def ben(two: tuple[Desk, Desk]) -> Browser:
    return Browser(two[1], identities.DEPUTY)


def test_thousands_are_listed_completely_by_paging_and_counted_right(ada: Browser, filed: list[Hold]) -> None:
    pages = [ada.get(f"/queue?page={number}") for number in range(1, MANY // 50 + 1)]
    assert {hold for page in pages for hold in page.holds} == {hold.id for hold in filed}
    assert all(str(len(filed)) in page.text for page in pages)


def test_nothing_is_missed_at_a_reconnect_while_things_happen(desks: Desks, ada: Browser, filed: list[Hold]) -> None:
    before = set(desks.places())
    listener = ada.listen()
    filed.extend(desks.file(20))
    (*_, last) = desks.places()
    assert listener.wait_for([last]) == []
    listener.close()
    filed.extend(desks.file(20))
    again = ada.listen(max(listener.heard, key=lambda place: tuple(map(int, place.split("-")))))
    filed.extend(desks.file(20))
    happened = [place for place in desks.places() if place not in before]
    assert again.wait_for([place for place in happened if place not in listener.heard]) == []
    again.close()
    assert (listener.resets, again.resets, len(happened)) == (0, 0, 60)


def test_what_one_desk_decided_the_other_shows(desks: Desks, ada: Browser, ben: Browser, filed: list[Hold]) -> None:
    known, listener, hold = set(desks.places()), ben.listen(), filed.pop()
    assert ada.deny(hold, "not its task").status == 200
    assert listener.wait_for([place for place in desks.places() if place not in known]) == []
    listener.close()
    assert "decided by" in ben.deny(hold, "nor mine").text
    assert ada.get("/queue").holds == ben.get("/queue").holds


def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told_by_whom(
    ada: Browser, ben: Browser, filed: list[Hold]
) -> None:
    hold = filed.pop()
    both(partial(ada.get, f"/holds/{hold.id}"), partial(ben.get, f"/holds/{hold.id}"))
    won, lost = sorted(
        both(partial(ada.deny, hold, "one"), partial(ben.deny, hold, "other")), key=lambda answer: answer.status
    )
    assert (won.status, lost.status) == (200, 409)
    assert f"decided by {identities.SPONSOR}" in lost.text or f"decided by {identities.DEPUTY}" in lost.text
