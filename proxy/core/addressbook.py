"""Addresses that stand for names: what the DNS stub gives out, and for how long a name is behind one.

An address is an agent's word for a name, and means it to nobody else. It is taken from a network that no real host is
in, so that a connection to it can only have come from an answer of ours.
"""

import hashlib
import hmac
from collections.abc import Iterator
from ipaddress import IPv4Address

from proxy.core.transparent import STUB_NETWORK

VALID_S = 3600
"""How long after its last answer an address stands for its name. Programs keep addresses longer than they are told."""

KEPT_S = 24 * 3600
"""How long after that answer, at the least, no other name gets the address."""

TTL_S = 30
"""What answers say of how long they may be kept (RFC 1035 §3.2.1)."""

TRIES = 32
"""How many addresses are tried for a name; where that many are taken, the quota is far too large for the network."""

_HOSTS = 254  # of each 256; the first and the last look like a network and a broadcast to some
_BLOCKS = STUB_NETWORK.num_addresses // 256


def candidates(secret: bytes, place: str, name: str) -> Iterator[IPv4Address]:
    """The addresses to try for a name at a place, in order: always the same, and told by nobody without the secret."""
    base = int(STUB_NETWORK.network_address)
    for number in range(TRIES):
        text = f"{place}\0{name}\0{number}".encode("utf-8", "surrogatepass")
        block, host = divmod(int.from_bytes(hmac.digest(secret, text, hashlib.sha256)[:8]) % (_BLOCKS * _HOSTS), _HOSTS)
        yield IPv4Address(base + block * 256 + host + 1)
