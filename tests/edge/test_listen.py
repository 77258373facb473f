"""How long a client may take over TLS with the proxy: the looks alone, with a clock that the test moves."""

from proxy.edge.listen import HANDSHAKE_S, REAP_EVERY_S, Handshakes


def test_a_handshake_that_goes_on_for_ten_seconds_is_late() -> None:
    looks = Handshakes()
    assert looks.late({"slow"}, 100.0) == frozenset()
    assert looks.late({"slow", "new"}, 100.0 + HANDSHAKE_S - 0.1) == frozenset()
    assert looks.late({"slow", "new"}, 100.0 + HANDSHAKE_S) == {"slow"}


def test_two_handshakes_of_one_connection_are_counted_apart() -> None:
    """The one with the proxy, and the one in the tunnel."""
    looks = Handshakes()
    for now_s, shaking in ((100.0, {"one"}), (105.0, set()), (105.0 + HANDSHAKE_S, {"one"})):
        assert looks.late(shaking, now_s) == frozenset()


def test_looks_are_close_enough() -> None:
    assert REAP_EVERY_S <= HANDSHAKE_S
