"""A redirect is the origin's advice to the agent: what the agent then asks for is judged like any other call."""

from collections.abc import Iterator

from attacks import Case
from origin_replies import Reply
from shots import Answer, Shot, fire
from streets import Street

WHERE = {
    "another host": ("{scheme}://evil.example:{port}/collect", "mandate.not_covered"),
    "an ungranted path of the same host": ("{scheme}://erp.example:{port}/admin", "mandate.not_covered"),
    "an address": ("{scheme}://127.0.0.1:{port}/v1/invoices/17", "guard.address"),
    "a metadata service": ("{scheme}://169.254.169.254:{port}/latest/meta-data/", "guard.address"),
    "the permitted host as userinfo": ("{scheme}://erp.example@evil.example:{port}/", "request.malformed"),
    "the proxy's own pages on another port": ("{scheme}://intent.internal:{port}/", "guard.self"),
}


def cases(way: str) -> Iterator[Case]:
    for status in (302, 307):
        for name, (location, code) in WHERE.items():
            yield _followed(way, status, name, location, code)


def _followed(way: str, status: int, name: str, location: str, code: str) -> Case:
    """The agent asks, is sent elsewhere, and follows with a fresh signature; the twin is sent to a covered path."""
    where: dict[str, Shot] = {}

    def ask(street: Street, to: str) -> None:
        url = to.format(scheme="https" if way == "tls" else "http", port=street.port(way))
        origin = street.listeners["home"][way]
        origin.on("GET", "/v1/invoices/moved", Reply(status=status, headers=(("Location", url),)))
        answer = fire(street, way, Shot(path="/v1/invoices/moved"))
        assert answer.response is not None and answer.status == status, answer
        assert answer.response.header("location") == url, "the agent reads the origin's own words"
        _, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        where["next"] = Shot(authority=authority, path=slash + path)

    def twin(street: Street) -> Answer:
        ask(street, "{scheme}://erp.example:{port}/v1/invoices/17")
        assert street.trace().reached == {"home"}
        return fire(street, way, where["next"])

    return Case(
        threat="B03",
        name=f"{status} to {name}",
        way=way,
        twin=twin,
        arrange=lambda street: ask(street, location),
        attack=lambda street: fire(street, way, where["next"]),
        code=code,
    )
