"""A signed request is good once in the whole deployment: the twin is its first use, the attack sends it again."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import rawclient
from attacks import Case
from shots import Answer, Shot, answer_of, enter, filled, send
from streets import Street

REPLAYED = "proof.replayed"
CALLS = {
    "a read": Shot(),
    "a write": Shot(method="POST", path="/v1/invoices", body="a=1", headers=(("Content-Type", "text/plain"),)),
}


def cases(way: str) -> Iterator[Case]:
    for name, call in CALLS.items():
        for where, again in PLACES.items():
            yield _replayed(way, f"{name} is sent again {where}", call, again)
    if way == "tls":
        yield _replayed_connect()


class Use:
    """One request as bytes, and the connections to each worker; the first use is on the first worker's."""

    def __init__(self, way: str, call: Shot) -> None:
        self.way, self.call = way, call
        self.data = b""
        self.wires: list[rawclient.Wire] = []
        self._opened = ExitStack()

    def first(self, street: Street) -> Answer:
        self.wires = self._opened.enter_context(street.wires(self.way))
        self.data = filled(self.call, street, self.way).head(street, self.way)
        return self.on(self.wires[0])

    def on(self, wire: rawclient.Wire) -> Answer:
        wire.send(self.data)
        return answer_of(wire, to=self.call.method)

    def end(self, street: Street) -> None:
        self._opened.close()


def _on_another_connection(street: Street, use: Use) -> Answer:
    with closing(rawclient.connect(street.house.address)) as wire:
        return enter(wire, street, use.way, use.call) or use.on(wire)


def _on_another_node(street: Street, use: Use) -> Answer:
    with closing(rawclient.connect(street.other_node.address)) as wire:
        return enter(wire, street, use.way, use.call, house=street.other_node) or use.on(wire)


PLACES: dict[str, Callable[[Street, Use], Answer]] = {
    "on the same connection": lambda street, use: use.on(use.wires[0]),
    "to another worker": lambda street, use: use.on(use.wires[1]),
    "on another connection": _on_another_connection,
    "to another node": _on_another_node,
}


def _replayed(way: str, name: str, call: Shot, again: Callable[[Street, Use], Answer]) -> Case:
    use = Use(way, call)
    return Case(
        threat="E04",
        name=name,
        way=way,
        twin=use.first,
        attack=lambda street: again(street, use),
        undo=use.end,
        code=REPLAYED,
    )


def _replayed_connect() -> Case:
    """The proof that opened one tunnel does not open a second."""
    signed: list[list[tuple[str, str]]] = []

    def remember(lines: list[tuple[str, str]], method: str, url: str) -> list[tuple[str, str]]:
        signed.append(lines)
        return lines

    first = Shot(proof="tunnel", spoil=remember)
    again = Shot(proof="tunnel", spoil=lambda lines, method, url: signed[0])

    def use(call: Shot) -> Callable[[Street], Answer]:
        def act(street: Street) -> Answer:
            with closing(rawclient.connect(street.house.address)) as wire:
                return enter(wire, street, "tls", call) or send(wire, street, "tls", call)

        return act

    return Case(
        threat="E04",
        name="a signed CONNECT is sent again",
        way="tls",
        twin=use(first),
        attack=use(again),
        code=REPLAYED,
    )
