"""The corpus's test internet, loaded into the proxy's processes: every public, private or metadata address exists.

On top of the test DNS (`tests/support/names`): a name nobody told it about is a public address, as on a network full
of attackers. A TCP connection to anything but this machine's loopback is led to `TEST_WORLD` on the same port, where a
listener logs every byte; so a forbidden address is one that would have answered. Every connection begun is logged in
the file `TEST_DIALS`, one `address port` a line, before it is made.
The product knows nothing of this: what is replaced is the C library's answer and the kernel's routes.
"""

import importlib.util
import os
import socket
from ipaddress import ip_address
from pathlib import Path

_here = Path(__file__).parent
_next = next(
    path
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if (path := Path(folder) / "sitecustomize.py").is_file() and path.parent != _here
)
_spec = importlib.util.spec_from_file_location("names_sitecustomize", _next)
_names = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_names)

_ANY_NAME = os.environ["TEST_ANY_NAME"]
_WORLD = os.environ["TEST_WORLD"]
_DIALS = os.environ["TEST_DIALS"]

_getaddrinfo = socket.getaddrinfo
_connect = socket.socket.connect


def _resolved(host, port, family=0, type=0, proto=0, flags=0):
    try:
        return _getaddrinfo(host, port, family, type, proto, flags)
    except socket.gaierror:
        return _getaddrinfo(_ANY_NAME, port, family, type, proto, flags)


def _routed(self, address):
    if self.type == socket.SOCK_STREAM and self.family in (socket.AF_INET, socket.AF_INET6):
        with open(_DIALS, "a") as log:  # noqa: PTH123
            log.write(f"{address[0]} {address[1]}\n")
        to = ip_address(address[0].partition("%")[0])
        plain = getattr(to, "ipv4_mapped", None) or to
        if not (plain.is_loopback or plain.is_unspecified):
            address = (f"::ffff:{_WORLD}" if self.family == socket.AF_INET6 else _WORLD, address[1])
    return _connect(self, address)


socket.getaddrinfo = _resolved
socket.socket.connect = _routed
