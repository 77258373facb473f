"""A granted name whose answers change, between the check and the connection or between two calls."""

from collections.abc import Iterator
from contextlib import closing

import rawclient
from attacks import Case
from shots import Answer, Shot, enter, fire, send
from streets import PUBLIC, Street


def cases(way: str) -> Iterator[Case]:
    steady = Shot(authority="steady.public.example:{port}", resolves_to=(PUBLIC,))
    yield from (_within_one_call(way, steady), _between_two_calls(way, steady))


def _within_one_call(way: str, steady: Shot) -> Case:
    """Judged by a public address, the call may pass, but to that address only, and without asking again."""
    host = f"turning-{way}.public.example"

    def attack(street: Street) -> Answer:
        answer = fire(street, way, Shot(authority=f"{host}:{{port}}", resolves_to=([PUBLIC], ["127.0.0.1"])))
        assert street.house.looked_up.count(host) == 1
        return answer

    return Case(
        threat="B02",
        name="a second look-up for the same call would be loopback",
        way=way,
        twin=lambda street: fire(street, way, steady),
        attack=attack,
        code=None,
        reaches="world",
        may_see=frozenset({"world"}),
        dials=frozenset({PUBLIC}),
        looks_up=frozenset({host}),
    )


def _between_two_calls(way: str, steady: Shot) -> Case:
    """The second call comes on a connection whose upstream half is open, to the address that was public."""
    host = f"moving-{way}.public.example"
    shot = Shot(authority=f"{host}:{{port}}", resolves_to=(PUBLIC,))

    def attack(street: Street) -> Answer:
        with closing(rawclient.connect(street.house.address)) as wire:
            assert (enter(wire, street, way, shot) or send(wire, street, way, shot)).status == 200
            seen = street.trace()
            assert seen.reached == {"world"}, seen
            return send(wire, street, way, Shot(authority=shot.authority, resolves_to=("127.0.0.1",)))

    return Case(
        threat="B02",
        name="the next call on the same connection resolves to loopback",
        way=way,
        twin=lambda street: fire(street, way, steady),
        attack=attack,
        code="guard.address",
        reaches="world",
        looks_up=frozenset({host}),
    )
