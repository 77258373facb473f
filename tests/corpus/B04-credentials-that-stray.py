"""The credential that the proxy sets: with a call that nobody allowed, in another's stead, or back to the agent."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from attacks import Case
from origin_replies import Reply, Request
from shots import Answer, Shot, fire
from streets import SECRET, Street

CALL = Shot(authority="vault.example:{port}", path="/v1/items/17", clusters=("vault",))
OTHER = Shot(authority="vault.example:{port}", path="/v1/items/17", clusters=("vault", "vault-too"), declares="vault")
THERE = {"looks_up": frozenset({"vault.example"}), "dials": frozenset({"127.0.0.1"}), "may_see": frozenset({"home"})}


def cases(way: str) -> Iterator[Case]:
    yield _refused(way, "with a call outside the mandate", replace(CALL, method="DELETE"), "mandate.not_covered")
    yield _refused(way, "when two clusters disagree", replace(OTHER, declares=""), "credential.unclear", twin=OTHER)
    yield _refused(way, "when it is gone", CALL, "service.credential", spoil=lambda secret: secret.unlink())
    yield _refused(way, "when others can read it", CALL, "service.credential", spoil=lambda secret: secret.chmod(0o644))
    for name, headers in PRETENDED.items():
        yield Case(
            threat="B04",
            name=f"beside {name}",
            way=way,
            twin=lambda street: fire(street, way, CALL),
            attack=lambda street, headers=headers: _beside(street, way, headers),
            code=None,
            **THERE,
        )
    for name, reply in ECHOES.items():
        yield Case(
            threat="B04",
            name=f"back in {name}",
            way=way,
            twin=lambda street: fire(street, way, CALL),
            attack=lambda street, reply=reply: _echoed(street, way, reply),
            code=None,
            **THERE,
        )


def _refused(
    way: str, name: str, attack: Shot, code: str, *, twin: Shot = CALL, spoil: Callable[[Path], object] | None = None
) -> Case:
    """Nobody sees anything: no name is resolved for a call without its credential, either."""
    return Case(
        threat="B04",
        name=name,
        way=way,
        twin=lambda street: fire(street, way, twin),
        arrange=None if spoil is None else lambda street: spoil(street.secret),
        attack=lambda street: fire(street, way, attack),
        undo=None if spoil is None else lambda street: street.put_secret(),
        code=code,
    )


PRETENDED: dict[str, tuple[tuple[str, str], ...]] = {
    "one of the agent's own": (("X-Api-Key", "mine"),),
    "one in the spelling of CGI": (("X_API_KEY", "mine"),),
    "several": (("x-api-key", "mine"), ("X-Api-key", "mine, too")),
}


def _beside(street: Street, way: str, headers: tuple[tuple[str, str], ...]) -> Answer:
    """The origin gets the proxy's, once, and nothing of the agent's."""
    origin = street.listeners["home"][way]
    mark = origin.mark()
    answer = fire(street, way, replace(CALL, headers=headers))
    (request,) = origin.since(mark).requests
    assert request.header("x-api-key") == SECRET
    assert b"mine" not in request.raw
    return answer


def _head(request: Request) -> Reply:
    return Reply(headers=(("X-Echo", request.header("x-api-key") or ""), ("Link", f"</?k={SECRET}>")))


def _body(request: Request) -> Reply:
    raw = request.raw
    at = raw.index(SECRET.encode()) + 3  # in the midst of it
    return Reply(stream=[raw[:at], raw[at:]])


def _compressed(request: Request) -> Reply:
    """As an origin does that keeps to what it was asked for."""
    return Reply(body=request.raw, gzip="gzip" in (request.header("accept-encoding") or ""))


def _coded(request: Request) -> Reply:
    """The whole request in base64, as functions in a cloud are shown it: the credential stands anywhere in it."""
    return Reply(body=base64.b64encode(request.raw))


ECHOES = {"a head": _head, "a body": _body, "a compressed body": _compressed, "a body in base64": _coded}


def _echoed(street: Street, way: str, reply: Callable[[Request], Reply]) -> Answer:
    street.listeners["home"][way].on("GET", "/v1/items/echo", reply)
    answer = fire(street, way, replace(CALL, path="/v1/items/echo", headers=(("Accept-Encoding", "gzip"),)))
    assert answer.response is not None
    everything = answer.response.raw + answer.response.body
    assert SECRET.encode() not in everything
    for before in range(3):
        assert base64.b64encode(b"." * before + SECRET.encode())[4:-4] not in everything
    return answer
