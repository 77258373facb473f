"""What the desk says of a hold is true at the moment at which it says it."""

from dataclasses import replace
from datetime import timedelta

import identities
from identities import NOW

from proxy.core.model import HoldState
from proxy.review.desk.pages import marked
from proxy.review.desk.words import standing


def test_a_release_whose_time_is_up_does_not_say_that_the_call_will_leave() -> None:
    hold = replace(identities.hold(ttl_s=60), state=HoldState.APPROVED)
    late = standing(hold, NOW + timedelta(days=1))
    assert late.word == "expired" and "It was not sent" in late.sent and "leaves" not in late.sent
    assert "leaves when its agent asks again" in standing(hold, hold.expires_at - timedelta(seconds=1)).sent


def test_half_a_character_is_written_out_and_breaks_no_page() -> None:
    assert marked("\ud800\u202e").encode("utf-8").isascii()
