"""Room for bodies: so much for one mandate, so much for all, and all of it comes back."""

import pytest

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.stores.room import Room


def test_an_owner_may_have_so_much_and_no_more():
    room = Room("in memory", total=100, each=10)
    room.take("ada", 10)
    with pytest.raises(Rejected, match="10 bytes in memory") as caught:
        room.take("ada", 1)
    assert caught.value.code is Code.BODY_BUDGET
    room.take("ben", 10)
    room.give("ada", 4)
    room.take("ada", 4)
    assert room.taken == 20


def test_all_together_may_have_so_much_and_no_more():
    room = Room("on disk", total=15, each=10)
    room.take("ada", 10)
    with pytest.raises(Unavailable, match="15 bytes on disk") as caught:
        room.take("ben", 6)
    assert caught.value.code is Code.SPOOL
    room.take("ben", 5)
    room.give("ada", 10)
    room.give("ben", 5)
    assert room.taken == 0
