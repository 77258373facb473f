"""Revoked links, keys and roots, and quarantined agents: each stops every worker within two seconds.

The twin is the same call before the stop; `stop` holds every worker to the promise; the attack is a call after it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

import identities
import rawclient
from attacks import Case
from shots import Answer, Shot, enter, fire, send, stop
from streets import Street

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest

REVOKED, QUARANTINED = "manifest.revoked", "agent.quarantined"
ROOT, MIDDLE, LAST = 0, 1, -1


class Chain:
    """A chain with keys of its own: the root of clerk-bot, a middle link, lookup-bot acting for it, and the last."""

    def __init__(self, name: str) -> None:
        self.call = Shot(chain=self, signer=identities.key(f"last {name}"))
        self._middle = identities.key(f"middle {name}")
        self._name = name.replace(" ", "-").replace("'", "")
        self._tokens: Sequence[str] = ()

    def _jti(self, link: str) -> str:
        return f"{link}-{self._name}"  # an issuer's jti is revoked for every chain it is in

    def __call__(self, street: Street) -> Sequence[str]:
        if not self._tokens:
            now, helper = datetime.now(UTC), identities.key(identities.HELPER)
            root = street.house.root(sub="clerk-bot")
            middle = identities.child(root, cnf=self._middle.public, jti=self._jti("middle"), now=now)
            third = identities.child(
                middle, signer=self._middle, cnf=helper.public, sub=identities.HELPER, jti=self._jti("third"), now=now
            )
            last = identities.child(third, signer=helper, cnf=self.call.signer.public, jti=self._jti("last"), now=now)
            self._tokens = (root, middle, third, last)
        return self._tokens

    def name(self, link: int) -> str:
        manifest = parse_manifest(self._tokens[link])
        return f"{manifest.iss} {manifest.jti}"

    def kid(self, link: int) -> str:
        return parse_manifest(self._tokens[link]).cnf.kid

    @property
    def root_id(self) -> str:
        return parse_manifest(self._tokens[ROOT]).id


STOPS: dict[str, tuple[Act, Callable[[Chain], str], str]] = {
    "the last link is revoked by name": (Act.REVOKE_MANIFEST, lambda chain: chain.name(LAST), REVOKED),
    "a parent is revoked by name": (Act.REVOKE_MANIFEST, lambda chain: chain.name(MIDDLE), REVOKED),
    "the root is revoked by name": (Act.REVOKE_MANIFEST, lambda chain: chain.name(ROOT), REVOKED),
    "the root is revoked by its id": (Act.REVOKE_ROOT, lambda chain: chain.root_id, REVOKED),
    "the last link's key is revoked": (Act.REVOKE_KEY, lambda chain: chain.kid(LAST), REVOKED),
    "a parent's key is revoked": (Act.REVOKE_KEY, lambda chain: chain.kid(MIDDLE), REVOKED),
    "the agent is quarantined": (Act.QUARANTINE, lambda _: identities.HELPER, QUARANTINED),
    "the agent it acts for is quarantined": (Act.QUARANTINE, lambda _: "clerk-bot", QUARANTINED),
}


def cases(way: str) -> Iterator[Case]:
    for name, (act, target, code) in STOPS.items():
        yield _stopped(way, name, act, target, code)
    if way == "tls":
        yield _inside_an_open_tunnel()


def _stopped(way: str, name: str, act: Act, target: Callable[[Chain], str], code: str) -> Case:
    chain = Chain(f"{name} {way}")
    undo = (lambda street: stop(street, way, Act.RESTORE, target(chain), chain.call)) if code == QUARANTINED else None
    return Case(
        threat="E02",
        name=name,
        way=way,
        twin=lambda street: fire(street, way, chain.call),
        arrange=lambda street: stop(street, way, act, target(chain), chain.call),
        attack=lambda street: fire(street, way, chain.call),
        undo=undo,
        code=code,
    )


def _inside_an_open_tunnel() -> Case:
    """What was signed with CONNECT stops counting inside the tunnel it opened."""
    chain = Chain("inside an open tunnel")
    call = replace(chain.call, proof="tunnel")
    opened = ExitStack()
    tunnel: list[rawclient.Wire] = []

    def twin(street: Street) -> Answer:
        wire = opened.enter_context(rawclient.connect(street.house.address))
        tunnel.append(wire)
        return enter(wire, street, "tls", call) or send(wire, street, "tls", call)

    return Case(
        threat="E02",
        name="the root is revoked while a tunnel stands that it opened",
        way="tls",
        twin=twin,
        arrange=lambda street: stop(street, "tls", Act.REVOKE_ROOT, chain.root_id, chain.call),
        attack=lambda street: send(tunnel[0], street, "tls", call),
        undo=lambda _: opened.close(),
        code=REVOKED,
    )
