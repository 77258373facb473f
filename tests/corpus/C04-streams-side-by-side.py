"""Many calls on one connection, of which one is not permitted: it is held, whatever the others do around it."""

from collections.abc import Iterator
from functools import partial

from attacks import Case
from h2client import Http2Wire, fields, open_http2
from shots import CLOSED, Answer
from streets import Street

MANY = 24
OUTSIDE = "/v1/payroll/7"
UNHARMED = frozenset({"home"})


def head(street: Street, path: str, method: str = "GET", body: bytes | None = None):
    url = f"https://erp.example:{street.port('tls')}{path}"
    return fields(street.house, method, url, chain=street.chain(), body=body)


def opened(street: Street) -> Http2Wire:
    return open_http2(street.house, f"https://erp.example:{street.port('tls')}/", timeout_s=30)


def seen(street: Street) -> list[str]:
    return [request.target for request in street.listeners["home"]["tls"].requests]


def told(wire: Http2Wire, stream: int) -> Answer:
    answer = wire.answer(stream)
    return Answer(status=answer.status, code=answer.code if answer.status else CLOSED)


def one(street: Street) -> Answer:
    """The twin: a call that is permitted, over a connection of the same kind."""
    with opened(street) as wire:
        return told(wire, wire.send(head(street, "/v1/invoices/17")))


def among_many(street: Street, *, wait: bool) -> Answer:
    """The others pass while it is held, and after it was."""
    with opened(street) as wire:
        streams = [wire.send(head(street, f"/v1/invoices/{number}")) for number in range(MANY // 2)]
        lines = head(street, OUTSIDE)
        held = wire.send([*lines, ("prefer", "wait=1")] if wait else lines)
        streams += [wire.send(head(street, f"/v1/invoices/{number}")) for number in range(MANY // 2, MANY)]
        assert {wire.answer(each).status for each in streams} == {200}
        answer = told(wire, held)
        assert wire.answer(wire.send(head(street, "/v1/invoices/18"))).status == 200
    assert OUTSIDE not in seen(street)
    return answer


def body_on_a_held_stream(street: Street) -> Answer:
    """Its body goes on coming after it was refused, between the frames of others."""
    with opened(street) as wire:
        lines = [each for each in head(street, OUTSIDE, "POST", b"x" * 4096) if each[0] != "signature"]
        refused = wire.send(lines, end=False)
        wire.h2.send_data(refused, b"x" * 2048)
        other = wire.send(head(street, "/v1/invoices", "POST", b"y"), end=False)
        wire.h2.send_data(refused, b"x" * 2048, end_stream=True)
        wire.flush()
        wire.data(other, b"y", end=True)
        assert wire.answer(other).status == 200
        answer = told(wire, refused)
    bodies = [request.body for request in street.listeners["home"]["tls"].requests]
    assert not any(b"x" in body for body in bodies)
    return answer


def reset_and_again(street: Street) -> Answer:
    """Given up and tried again, faster than anybody decides."""
    with opened(street) as wire:
        for _ in range(20):
            wire.reset(wire.send(head(street, OUTSIDE)))
        answer = told(wire, wire.send(head(street, OUTSIDE)))
        assert wire.answer(wire.send(head(street, "/v1/invoices/19"))).status == 200
    assert OUTSIDE not in seen(street)
    return answer


def cases(way: str) -> Iterator[Case]:
    """Only where there is TLS: HTTP/2 is spoken inside it alone."""
    if way != "tls":
        return
    attacks = {
        "a call outside the mandate among many that are permitted": (
            partial(among_many, wait=False),
            "mandate.not_covered",
        ),
        "the body of a refused call between the frames of others": (body_on_a_held_stream, "proof.malformed"),
        "a call outside the mandate, given up and tried again": (reset_and_again, "mandate.not_covered"),
    }
    for name, (attack, code) in attacks.items():
        yield Case(
            threat="C04",
            name=name,
            way=way,
            twin=one,
            attack=attack,
            code=code,
            may_see=UNHARMED,
            dials=frozenset({"127.0.0.1"}),
            looks_up=frozenset({"erp.example"}),
        )
