"""An origin that switches protocols though nobody asked: the agent gets no tunnel through which it could say more."""

from collections.abc import Iterator
from contextlib import closing, suppress

import rawclient
from attacks import Case
from origin_replies import Reply
from shots import CLOSED, Answer, Shot, answer_of, enter, fire, send
from streets import Street

CALL = Shot(path="/v1/invoices/switch")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nwelcome"
MORE = b"SSH-2.0-OpenSSH_9.9\r\n"


def cases(way: str) -> Iterator[Case]:
    yield Case(
        threat="C01",
        name="the origin answers 101",
        way=way,
        twin=lambda street: fire(street, way, CALL),
        arrange=lambda street: _answers(street, way, Reply(raw=SWITCH)),
        attack=lambda street: _goes_on(street, way),
        undo=lambda street: _answers(street, way, Reply()),
        code={CLOSED, "upstream.broken"},
        may_see=frozenset({"home"}),
        dials=frozenset({"127.0.0.1"}),
        looks_up=frozenset({"erp.example"}),
    )


def _answers(street: Street, way: str, reply: Reply) -> None:
    street.listeners["home"][way].on("GET", CALL.path, reply)


def _goes_on(street: Street, way: str) -> Answer:
    origin = street.listeners["home"][way]
    before = origin.mark()
    with closing(rawclient.connect(street.house.address)) as wire:
        answer = enter(wire, street, way, CALL) or send(wire, street, way, CALL)
        with suppress(OSError):  # the connection may be gone already
            wire.send(MORE)
            wire.half_close()
        answer_of(wire)
    seen = origin.since(before)
    assert [request.raw for request in seen.requests] == [seen.raw_bytes], "the call, and not a byte more"
    return answer
