"""The address the workers share."""

import socket

import pytest

from proxy.core.errors import Code, Rejected
from proxy.edge.sockets import check_datagrams, reserve, shared_datagrams, shared_socket


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Rejected, match=rf"127\.0\.0\.1:{port} is already in use") as refused:
            reserve("127.0.0.1", port)
        assert refused.value.code is Code.CONFIG_INVALID


def test_workers_share_what_the_supervisor_reserved() -> None:
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with shared_socket("127.0.0.1", port) as first, shared_socket("127.0.0.1", port) as second:
            first.listen()
            second.listen()


def test_they_name_their_protocol_so_that_small_answers_are_not_delayed() -> None:
    with shared_socket("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    with pytest.raises(Rejected, match=r"listen: 192\.0\.2\.1:0 cannot be bound"):
        reserve("192.0.2.1", 0)


def test_an_address_where_somebody_else_gets_datagrams_is_not_taken() -> None:
    with shared_datagrams("127.0.0.1", 0) as theirs:
        port = theirs.getsockname()[1]
        with pytest.raises(Rejected, match="already in use"):
            check_datagrams("127.0.0.1", port)
    check_datagrams("127.0.0.1", port)
