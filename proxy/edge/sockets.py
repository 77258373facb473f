"""The address the workers share: bound once by the supervisor, then by each worker."""

import errno
import ipaddress
import socket

from proxy.core.errors import Code, Rejected


def reserve(host: str, port: int) -> socket.socket:
    """Bind, without listening, the address the workers will share; port 0 picks a free one.

    Raises:
        Rejected(CONFIG_INVALID): the address is taken or is not ours to bind.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    if port:
        with socket.socket(family, socket.SOCK_STREAM) as probe:  # SO_REUSEPORT alone would share another proxy's port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(probe, host, port)
    return shared_socket(host, port)


def check_datagrams(host: str, port: int) -> None:
    """See that nobody else has an address for datagrams. It is not kept: who has it bound is sent some of them.

    Raises:
        Rejected(CONFIG_INVALID): the address is taken or is not ours to bind.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        _bind(probe, host, port)


def shared_datagrams(host: str, port: int) -> socket.socket:
    """The same for datagrams: the kernel gives each worker some of the peers.

    Raises:
        Rejected(CONFIG_INVALID): the address is taken or is not ours to bind.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(bound, host, port)
    bound.setblocking(False)
    return bound


def shared_socket(host: str, port: int) -> socket.socket:
    """A bound socket that several processes may listen on; the kernel spreads connections over them.

    Raises:
        Rejected(CONFIG_INVALID): the address is taken or is not ours to bind.
    """
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    # With its protocol named: asyncio turns Nagle's delay off only for sockets that say they are TCP.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _bind(bound, host, port)
    bound.setblocking(False)
    return bound


def _bind(sock: socket.socket, host: str, port: int) -> None:
    try:
        sock.bind((host, port))
    except OSError as fault:
        sock.close()
        why = "is already in use" if fault.errno == errno.EADDRINUSE else f"cannot be bound ({fault.strerror})"
        raise Rejected(
            Code.CONFIG_INVALID, f"listen: {host}:{port} {why}; choose another address with `listen:` or --listen"
        ) from None
