from itertools import islice

from proxy.core.addressbook import TRIES, candidates
from proxy.core.transparent import STUB_NETWORK


def test_addresses_are_of_the_one_network_and_look_like_hosts() -> None:
    found = [address for number in range(300) for address in candidates(b"s", "lo * 1", f"h{number}.example")]
    assert len(found) == 300 * TRIES
    assert all(address in STUB_NETWORK and address.packed[3] not in (0, 255) for address in found)
    assert {address.packed[1] for address in found} == {18, 19}


def test_the_same_name_at_the_same_place_has_the_same_first_and_others_have_others() -> None:
    def first(secret: bytes, place: str, name: str) -> object:
        return next(candidates(secret, place, name))

    one = first(b"s", "lo * 1", "a.example")
    assert one == first(b"s", "lo * 1", "a.example")
    others = {
        first(b"t", "lo * 1", "a.example"),
        first(b"s", "lo * 2", "a.example"),
        first(b"s", "lo * 1", "b.example"),
    }
    assert one not in others and len(others) == 3
    assert len(set(islice(candidates(b"s", "lo * 1", "a.example"), 8))) == 8
