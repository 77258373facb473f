"""An open WebSocket when the kill switch is thrown, and one that was opened with anything but an answer to our key.

What the origin saw is counted in bytes: after the end, not one more.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from attacks import Case
from origin_replies import Reply, Request
from origins import Connection
from shots import CLOSED, PROMISE_S, Answer, Shot, answer_of, stop
from streets import Street
from wsends import KEY, Agent, ask, opening_answer

from proxy.core.control import Act

PATH = "/v1/live/news"
HELLO = b"\x81\x05hello"

type Spoil = Callable[[str], bytes]

SPOILED: dict[str, Spoil] = {
    "the answer to another key": lambda _: opening_answer(KEY),
    "an extension nobody offered": lambda key: opening_answer(key, "Sec-WebSocket-Extensions: permessage-deflate"),
    "a subprotocol nobody offered": lambda key: opening_answer(key, "Sec-WebSocket-Protocol: soap"),
    "another protocol": lambda key: opening_answer(key).replace(b"websocket", b"foo"),
    "no answer to the key": lambda key: opening_answer(key).replace(b"Accept", b"Assent"),
}


def cases(way: str) -> Iterator[Case]:
    yield _case(way, "it is thrown while a WebSocket is open", _killed, CLOSED)
    for name, spoil in SPOILED.items():
        attack = _opened_with(spoil)
        yield _case(way, f"the origin opens it with {name}", attack, "upstream.broken")


def _case(way: str, name: str, attack: Callable[[Street, str], Answer], code: str) -> Case:
    return Case(
        threat="C03",
        name=name,
        way=way,
        twin=_twin(way),
        attack=lambda street: attack(street, way),
        undo=(lambda street: stop(street, way, Act.KILL_OFF, "*", Shot())) if attack is _killed else None,
        code=code,
        may_see=frozenset({"home"}),
        dials=frozenset({"127.0.0.1"}),
        looks_up=frozenset({"erp.example"}),
    )


def _open(street: Street, way: str, ends: ExitStack, spoil: Spoil = opening_answer) -> Agent:
    """Send the handshake; the origin opens with `spoil` of its key, and says hello."""
    origin = street.listeners["home"][way]

    def opens(request: Request) -> Reply:
        return Reply(raw=spoil(request.header("sec-websocket-key") or "") + HELLO)

    origin.on("GET", PATH, opens)
    url = origin.url(PATH, host="erp.example").replace("http", "ws", 1)
    return ask(street.house, url, street.chain(), ends)


def _twin(way: str) -> Callable[[Street], Answer]:
    def talks(street: Street) -> Answer:
        with ExitStack() as ends:
            agent = _open(street, way, ends)
            agent.opened()
            heard = agent.hear() == ("text", "hello")
            connection = _connection(street, way)
            agent.wire.close()
            street.listeners["home"][way].wait_for(lambda _: connection.gone)
            return Answer(status=200 if heard else 0, code="")

    return talks


def _connection(street: Street, way: str) -> Connection:
    """The origin's end of the WebSocket that was opened last."""
    opened = [each for each in street.listeners["home"][way].connections if b"Sec-WebSocket-Key" in each.raw]
    return opened[-1]


def _killed(street: Street, way: str) -> Answer:
    origin = street.listeners["home"][way]
    with ExitStack() as ends:
        agent = _open(street, way, ends)
        agent.opened()
        assert agent.hear() == ("text", "hello")
        connection = _connection(street, way)
        street.house.stop_by(Act.KILL_ON, "*")
        origin.wait_for(lambda _: connection.gone, PROMISE_S)
        before = bytes(connection.raw)
        with suppress(OSError):
            agent.say("can you hear me")
        assert agent.hear() == ("gone",)
        assert connection.raw == before
    return Answer(status=0, code=CLOSED)


def _opened_with(spoil: Spoil) -> Callable[[Street, str], Answer]:
    def attack(street: Street, way: str) -> Answer:
        origin = street.listeners["home"][way]
        before = origin.mark()
        with ExitStack() as ends:
            agent = _open(street, way, ends, spoil)
            answer = answer_of(agent.wire)
            with suppress(OSError):
                agent.say("good morning")
                agent.wire.rest()
        seen = origin.since(before)
        assert [request.raw for request in seen.requests] == [seen.raw_bytes], "the handshake, and not a byte more"
        return answer

    return attack
