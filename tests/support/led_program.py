"""What stands where packet rules lead: it answers every connection with the address that was meant, and any datagram.

    python led_program.py UID all|lo TCP_PORT UDP_PORT [OTHER_TCP_PORT ...]

At the other ports stands what nobody may reach; it answers "reached". Prints "ready" once it listens.
"""

import ipaddress
import os
import socket
import struct
import sys
import threading

SO_ORIGINAL_DST = 80


def original(sock: socket.socket) -> str:
    """The address that the client meant."""
    try:
        if sock.family == socket.AF_INET:
            data = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            port, raw = struct.unpack_from("!2xH4s", data)
        else:
            data = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            port, raw = struct.unpack_from("!2xH4x16s", data)
    except OSError:
        return "direct"
    return f"{ipaddress.ip_address(raw)} {port}"


def listen(family: socket.AddressFamily, kind: socket.SocketKind, port: int, at: str = "") -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((at, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
    return sock


def streams(sock: socket.socket, *, led: bool) -> None:
    while True:
        client, _ = sock.accept()
        with client:
            client.sendall(f"led {original(client)}\n".encode() if led else b"reached\n")


def datagrams(sock: socket.socket) -> None:
    while True:
        data, sender = sock.recvfrom(2048)
        sock.sendto(b"stub " + data, sender)


def main() -> None:
    at = sys.argv.pop(2)
    user, led, stub, *others = map(int, sys.argv[1:])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    for family in (socket.AF_INET, socket.AF_INET6):
        for port in (led, *others):
            sock = listen(family, socket.SOCK_STREAM, port)
            threading.Thread(target=streams, args=(sock,), kwargs={"led": port == led}, daemon=True).start()
        if stub:
            own = {"all": "", "lo": "127.0.0.1" if family == socket.AF_INET else "::1"}[at]
            sock = listen(family, socket.SOCK_DGRAM, stub, own)
            threading.Thread(target=datagrams, args=(sock,), daemon=True).start()
            tcp = listen(family, socket.SOCK_STREAM, stub)
            threading.Thread(target=streams, args=(tcp,), kwargs={"led": True}, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
