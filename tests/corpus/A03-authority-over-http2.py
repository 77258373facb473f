"""The same over HTTP/2, where `:authority` names the destination and `Host` may stand beside it (CVE-2026-71554)."""

from collections.abc import Callable, Iterator

from attacks import Case
from h2client import Fields, fields, open_http2
from shots import CLOSED, Answer
from streets import Street

type Spoil = Callable[[Fields, int], Fields]
"""What happens to the fields of a good request after they were signed, given the origin's port."""

PATH = "/v1/invoices/17"


def named(authority: str | None, *hosts: str) -> Spoil:
    """`:authority` as it is (None), or another, or "" for none; and these Host lines."""

    def spoil(good: Fields, port: int) -> Fields:
        def written(text: str) -> str:
            return text.format(port=port)

        pseudo = [line for line in good if str(line[0]).startswith(":")]
        others = [line for line in good if line not in pseudo]
        if authority is not None:
            pseudo = [line for line in pseudo if line[0] != ":authority"]
            pseudo += [(":authority", written(authority))] * bool(authority)
        return [*pseudo, *(("host", written(host)) for host in hosts), *others]

    return spoil


HOME = "erp.example:{port}"
ATTACKS: dict[str, tuple[Spoil, str]] = {
    "HTTP/2, Host names another host than :authority": (named(None, "evil.example:{port}"), "url.ambiguous"),
    "HTTP/2, :authority names another host than Host": (named("evil.example:{port}", HOME), "url.ambiguous"),
    "HTTP/2, both name another host than the tunnel": (
        named("evil.example:{port}", "evil.example:{port}"),
        "url.ambiguous",
    ),
    "HTTP/2, Host has another port": (named(None, "erp.example:22"), "url.ambiguous"),
    "HTTP/2, Host has no port": (named(None, "erp.example"), "url.ambiguous"),
    "HTTP/2, an empty Host": (named(None, ""), "url.ambiguous"),
    "HTTP/2, two Host lines": (named(None, HOME, HOME), "url.ambiguous"),
    "HTTP/2, Host with userinfo": (named(None, f"evil.example@{HOME}"), "url.ambiguous"),
    "HTTP/2, :authority with userinfo": (named(f"evil.example@{HOME}"), "url.ambiguous"),
    "HTTP/2, :authority with a path": (named(f"{HOME}/evil.example"), "url.ambiguous"),
    "HTTP/2, :authority with two ports": (named(f"{HOME}:{{port}}"), "url.ambiguous"),
    "HTTP/2, no :authority": (named(""), "url.ambiguous"),
    "HTTP/2, Host in place of :authority": (named("", HOME), "url.ambiguous"),
}


def ask(street: Street, way: str, spoil: Spoil) -> Answer:
    port = street.port(way)
    url = f"https://erp.example:{port}{PATH}"
    good = fields(street.house, "GET", url, chain=street.chain())
    with open_http2(street.house, url) as wire:
        answer = wire.answer(wire.send(spoil(good, port)))
    return Answer(status=answer.status, code=answer.code if answer.status else CLOSED)


def cases(way: str) -> Iterator[Case]:
    """Only where there is TLS: HTTP/2 is spoken inside it alone."""
    if way != "tls":
        return
    for name, (spoil, code) in ATTACKS.items():
        yield Case(
            threat="A03",
            name=name,
            way=way,
            twin=lambda street: ask(street, "tls", named(None, HOME)),
            attack=lambda street, spoil=spoil: ask(street, "tls", spoil),
            code=code,
        )
