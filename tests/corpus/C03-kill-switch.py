"""The kill switch ends a connection, or a tunnel, that was open before: no next call passes on it."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress

import rawclient
from attacks import Case
from shots import CLOSED, PROMISE_S, Answer, Shot, enter, send, stop
from streets import Street

from proxy.core.control import Act


def cases(way: str) -> Iterator[Case]:
    kinds = {"signed call by call": Shot()}
    if way == "tls":
        kinds["whose CONNECT was signed"] = Shot(proof="tunnel")
    for name, call in kinds.items():
        yield _killed(way, name, call)


def _killed(way: str, name: str, call: Shot) -> Case:
    opened = ExitStack()
    wires: list[rawclient.Wire] = []

    def twin(street: Street) -> Answer:
        wires.append(opened.enter_context(rawclient.connect(street.house.address)))
        return enter(wires[0], street, way, call) or send(wires[0], street, way, call)

    def undo(street: Street) -> None:
        opened.close()
        stop(street, way, Act.KILL_OFF, "*", Shot())

    return Case(
        threat="C03",
        name=f"it is thrown while a connection stands {name}",
        way=way,
        twin=twin,
        arrange=lambda street: stop(street, way, Act.KILL_ON, "*", Shot()),
        attack=lambda street: _again(wires[0], street, way, call),
        undo=undo,
        code=CLOSED,
    )


def _again(wire: rawclient.Wire, street: Street, way: str, call: Shot) -> Answer:
    """The next call, once the connection was ended: nobody reads it."""
    wire.extend(PROMISE_S)
    with suppress(ConnectionError):
        assert wire.receive() == b""
    with suppress(OSError, rawclient.Broken):
        return send(wire, street, way, call)
    return Answer(status=0, code=CLOSED)
