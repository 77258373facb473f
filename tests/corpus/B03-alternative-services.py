"""`Alt-Svc` would lead the agent's client to a way around the proxy (RFC 7838), so it never reaches it."""

from collections.abc import Iterator

from attacks import Case
from origin_replies import Reply
from shots import Answer, Shot, fire
from streets import Street

OFFERS = {
    "HTTP/3 on the same host": 'h3=":443"; ma=86400',
    "HTTP/2 on another host": 'h2="evil.example:443"',
    "several": 'h3=":443", h2="evil.example:8443"; persist=1',
}


def cases(way: str) -> Iterator[Case]:
    for name, offer in OFFERS.items():
        yield Case(
            threat="B03",
            name=f"the origin offers {name}",
            way=way,
            twin=_asks(way, ("X-Offer", offer), kept=True),
            attack=_asks(way, ("Alt-Svc", offer), kept=False),
            code=None,
            may_see=frozenset({"home"}),
            dials=frozenset({"127.0.0.1"}),
            looks_up=frozenset({"erp.example"}),
        )


def _asks(way: str, line: tuple[str, str], *, kept: bool):
    def ask(street: Street) -> Answer:
        reply = Reply(headers=(line, ("X-Kept", "1")), body=b"invoice")
        street.listeners["home"][way].on("GET", "/v1/invoices/offer", reply)
        answer = fire(street, way, Shot(path="/v1/invoices/offer"))
        assert answer.response is not None
        assert answer.response.all(line[0]) == ((line[1],) if kept else ())
        assert (answer.response.header("x-kept"), answer.response.body) == ("1", b"invoice")
        return answer

    return ask
