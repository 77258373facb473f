"""A tunnel carries HTTP/1.1, in TLS or plain, and nothing else: whatever begins otherwise is dropped where it is.

In the way `tls` the bytes come inside TLS to the origin's TLS port, in `plain` right after CONNECT to its plain port.
"""

from collections.abc import Iterator
from contextlib import closing

import rawclient
from attacks import Case
from shots import CLOSED, Answer, Shot, answer_of, filled, send
from streets import Street

HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(189)
BYTES = {
    "an SSH greeting": b"SSH-2.0-OpenSSH_9.9\r\n",
    "an SMTP greeting": b"EHLO evil.example\r\n",
    "an FTP command": b"USER anonymous\r\n",
    "a Redis command": b"*1\r\n$4\r\nPING\r\n",
    "a PostgreSQL startup": bytes.fromhex("0000002600030000") + b"user\0postgres\0database\0x\0\0",
    "a DNS query": bytes.fromhex("001d123401000001000000000000076578616d706c6500") + b"\0\x01\0\x01",
    "every byte there is": bytes(range(256)),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "a second CONNECT": b"CONNECT erp.example:22 HTTP/1.1\r\nHost: erp.example:22\r\n\r\n",
    "a second CONNECT to where the tunnel leads": b"CONNECT {here} HTTP/1.1\r\nHost: {here}\r\n\r\n",
    "TLS once more": HELLO,
    "TLS of an old version": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
    "a WebSocket frame": b"\x81\x85\x01\x02\x03\x04hello",
    "an absolute URL of another host": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "nothing but line ends": b"\r\n" * 50,
}
REFUSALS = frozenset({CLOSED, "request.malformed", "request.unsupported", "url.ambiguous"})


def cases(way: str) -> Iterator[Case]:
    for name, data in BYTES.items():
        if name == "TLS once more" and way == "plain":
            continue  # right after CONNECT that is what belongs there
        yield Case(threat="C01", name=name, way=way, twin=_http(way), attack=_raw(way, data), code=REFUSALS)


def _tunnel(wire: rawclient.Wire, street: Street, way: str) -> str:
    here = f"erp.example:{street.port(way)}"
    assert wire.connect(here).status == 200
    if way == "tls":
        wire.start_tls(street.house.ca, sni="erp.example")
    return here


def _http(way: str):
    """A signed call, in origin form, through the same tunnel."""

    def twin(street: Street) -> Answer:
        with closing(rawclient.connect(street.house.address)) as wire:
            here = _tunnel(wire, street, way)
            call = Shot()
            if way == "tls":
                return send(wire, street, way, call)
            wire.send(filled(call, street, way).head(street, way).replace(f"http://{here}".encode(), b"", 1))
            return answer_of(wire)

    return twin


def _raw(way: str, data: bytes):
    def attack(street: Street) -> Answer:
        with closing(rawclient.connect(street.house.address)) as wire:
            here = _tunnel(wire, street, way)
            wire.send(data.replace(b"{here}", here.encode()))
            wire.half_close()
            return answer_of(wire)

    return attack
