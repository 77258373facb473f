"""What a thief has of an agent's key, session, manifest or client certificate, on two nodes with two workers each.

Everything is bound to a client certificate (`cnf["x5t#S256"]`). Stolen from one agent it is useless to another, and to
everybody once it ended, or two seconds after it was revoked or its agent quarantined, at every node and worker. Beside
each refusal its twin: the agent's own use of the like passes on the same nodes.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import identities
import pytest
from clientcerts import ClientAuthority, Shown
from houses import House
from nodes import kill_workers, nodes, wait_for
from origins import Origin
from rawclient import Response, connect
from shots import PROMISE_S

from proxy.core.control import Act
from proxy.core.encoding import Json
from proxy.core.keys import jwk
from proxy.core.manifest import parse_manifest
from proxy.registry import names_of
from proxy.stores.redis_control import RedisMandates

CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    risk: routine
    hosts: [erp.example]
    schemes: [http]
    ports: [{http}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read-invoice
        methods: [GET]
        path: /v1/invoices/{{id}}
"""
EXTRA = """\
holds: {{per_hour: 10000, open_per_mandate: 1000, open_per_sponsor: 10000}}
tls: {{listen: "127.0.0.1:0", client_cas: [{ca}]}}
"""
KINDS = ("key", "session", "manifest", "certificate")
BRIEF_S = 5
PASSED = "passed"
TRIES = 3
"""Connections to each node: with two workers, all but surely some to both."""

type Lines = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Goods:
    """What one agent proves itself with."""

    kind: str
    shown: Shown
    chain: tuple[str, str]
    session: str  # as Proxy-Authorization has it


@dataclass(kw_only=True)
class Streets:
    """The nodes, the origin behind them, and the CA of the agents' certificates."""

    houses: tuple[House, ...]
    origin: Origin
    authority: ClientAuthority
    folder: Path

    def send(self, house: House, lines: Lines, shown: Shown | None, *, url: str = "", source: str = "") -> Response:
        pair = None if shown is None else shown.write(self.folder, secrets.token_hex(6))
        method, target = ("POST", url) if url else ("GET", self.url)
        host = target.split("/")[2]
        with connect(house.tls_address, tls=house.ca, sni="localhost", shows=pair, source=source) as wire:
            return wire.request(method, target, [("Host", host), *lines])

    @property
    def url(self) -> str:
        return self.origin.url("/v1/invoices/17", host="erp.example")

    def goods(self, kind: str, *, brief: bool = False) -> Goods:
        """New goods for the agent, each with a certificate and a manifest of their own."""
        house, now = self.houses[0], datetime.now(UTC)
        ends = now + timedelta(seconds=BRIEF_S)
        shown = self.authority.issue(not_after=ends if brief and kind == "certificate" else None)
        root = house.root(certificate=shown.thumbprint)
        life_s = BRIEF_S if brief else 1800
        chain = root, identities.child(root, now=now, jti=f"l-{secrets.token_hex(6)}", lifetime_s=life_s)
        session = ""
        if kind == "session":
            url = "http://intent.internal/session"
            opened = self.send(house, house.signed("POST", url, chain=chain), shown, url=url)
            assert opened.status == 200, opened.body
            session = identities.basic(json.loads(opened.body)["manifest"], json.loads(opened.body)["token"])
        if kind == "certificate":
            manifest = parse_manifest(root)
            for name in names_of(manifest):
                house.with_store(
                    lambda server, name=name: RedisMandates(server).register(name, manifest.id, manifest.token)
                )
        return Goods(kind=kind, shown=shown, chain=chain, session=session)

    def lines(self, house: House, goods: Goods) -> Lines:
        """The proof that stands in a request, made anew."""
        if goods.kind == "certificate":
            return []
        if goods.kind == "session":
            return [("Proxy-Authorization", goods.session)]
        return house.signed("GET", self.url, chain=goods.chain)

    def used(self, *all_goods: Goods) -> list[set[str]]:
        """How its own agent fares with each, on every node and over several connections: codes, PASSED for none."""
        return [
            {code(self.send(house, self.lines(house, one), one.shown)) for house in self.houses for _ in range(TRIES)}
            for one in all_goods
        ]

    def stop(self, act: Act, target: str) -> None:
        self.houses[0].stop_by(act, target)
        time.sleep(PROMISE_S)


def code(answer: Response) -> str:
    if answer.status == 200:
        return PASSED
    told = str(json.loads(answer.body)["code"])
    assert answer.status in (403, 407) and answer.reason.split()[0].rstrip(":") == told
    return told


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streets]:
    folder = tmp_path_factory.mktemp("stolen")
    authority = ClientAuthority()
    extra = EXTRA.format(ca=authority.write(folder))
    with (
        Origin() as origin,
        nodes(folder, 2, clusters=CLUSTERS.format(http=origin.port), extra=extra, workers=2) as (_, houses),
    ):
        yield Streets(houses=houses, origin=origin, authority=authority, folder=folder)


def helpers(streets: Streets, house: House, other: Shown) -> Lines:
    """Another agent's own proof, for its own manifest."""
    root = house.root(sub=identities.HELPER, may_delegate_to=(), certificate=other.thumbprint)
    leaf = identities.child(root, now=datetime.now(UTC), jti=f"l-{secrets.token_hex(6)}", lifetime_s=1800)
    return house.signed("GET", streets.url, chain=(root, leaf))


def forged_leaf(streets: Streets, house: House, goods: Goods) -> Lines:
    """The stolen manifest, handed on with the thief's own key."""
    thief = identities.key("mallory")
    cnf: dict[str, Json] = {"jwk": jwk(thief.public), "x5t#S256": goods.shown.thumbprint}
    leaf = identities.resealed(goods.chain[1], thief, cnf=cnf, iss=thief.public.kid)
    return house.signed("GET", streets.url, chain=(goods.chain[0], leaf), signer=thief)


type Try = Callable[[Streets, House, Goods, Shown], Response]

THIEVES: dict[str, list[tuple[str, Try]]] = {
    "key": [
        ("proof.certificate", lambda at, house, goods, _: at.send(house, at.lines(house, goods), None)),
        ("proof.certificate", lambda at, house, goods, other: at.send(house, at.lines(house, goods), other)),
    ],
    "session": [
        ("proof.certificate", lambda at, house, goods, _: at.send(house, at.lines(house, goods), None)),
        ("proof.certificate", lambda at, house, goods, other: at.send(house, at.lines(house, goods), other)),
        (
            "proof.session",
            lambda at, house, goods, _: at.send(house, at.lines(house, goods), goods.shown, source="127.0.0.2"),
        ),
        (
            "proof.session",
            lambda at, house, goods, other: at.send(
                house,
                [("Proxy-Authorization", identities.basic(parse_manifest(house.root()).id, token_of(goods)))],
                goods.shown,
            ),
        ),
    ],
    "manifest": [
        (
            "proof.key",
            lambda at, house, goods, other: at.send(
                house, house.signed("GET", at.url, chain=goods.chain, signer=identities.key("mallory")), other
            ),
        ),
        (
            "delegation.parent",
            lambda at, house, goods, other: at.send(house, forged_leaf(at, house, goods), other),
        ),
    ],
    "certificate": [
        ("proof.certificate", lambda at, house, goods, other: at.send(house, helpers(at, house, other), goods.shown)),
        ("proof.missing", lambda at, house, goods, _: at.send(house, [], None)),
    ],
}


def token_of(goods: Goods) -> str:
    return base64.b64decode(goods.session.removeprefix("Basic ")).decode().partition(":")[2]


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
def test_stolen_from_one_agent_it_is_useless_to_another_at_every_node(streets: Streets, kind: str) -> None:
    goods, other = streets.goods(kind), streets.authority.issue()
    before = streets.origin.mark()
    for house in streets.houses:
        for expected, attempt in THIEVES[kind]:
            assert code(attempt(streets, house, goods, other)) == expected
    assert streets.origin.since(before).nothing
    assert streets.used(goods) == [{PASSED}]
    for house in streets.houses:
        assert code(streets.send(house, helpers(streets, house, other), other)) == PASSED, (
            "what the thief may do itself"
        )


ENDED = {
    "key": "manifest.window",
    "session": "proof.session",
    "manifest": "manifest.window",
    "certificate": "proof.certificate",
}


@pytest.mark.system
def test_it_is_useless_to_everybody_once_it_ended_was_revoked_or_its_agent_quarantined(streets: Streets) -> None:
    revoked, kept = ([streets.goods(kind) for kind in KINDS] for _ in range(2))
    brief = [streets.goods(kind, brief=True) for kind in KINDS]
    assert streets.used(*brief, *revoked, *kept) == [{PASSED}] * 12
    for goods in revoked[1:]:
        streets.houses[1].stop_by(Act.REVOKE_ROOT, parse_manifest(goods.chain[0]).id)
    streets.stop(Act.REVOKE_ROOT, parse_manifest(revoked[0].chain[0]).id)
    ends_at = [parse_manifest(goods.chain[1]).exp for goods in brief if goods.kind != "certificate"]
    ends_at += [goods.shown.chain[0].not_valid_after_utc for goods in brief if goods.kind == "certificate"]
    time.sleep(max(0.0, (max(ends_at) - datetime.now(UTC)).total_seconds()))  # what is asked is what follows then
    before = streets.origin.mark()
    assert streets.used(*revoked) == [{"manifest.revoked"}] * 4
    assert streets.used(*brief) == [{ENDED[kind]} for kind in KINDS]
    assert streets.origin.since(before).nothing
    assert streets.used(*kept) == [{PASSED}] * 4
    try:
        streets.stop(Act.QUARANTINE, identities.AGENT)
        before = streets.origin.mark()
        assert streets.used(*kept) == [{"agent.quarantined"}] * 4
        assert streets.origin.since(before).nothing
        other = streets.authority.issue()
        for house in streets.houses:
            assert code(streets.send(house, helpers(streets, house, other), other)) == PASSED
    finally:
        streets.houses[0].stop_by(Act.RESTORE, identities.AGENT)
    wait_for(lambda: streets.used(*kept) == [{PASSED}] * 4, "what was only quarantined passes again")


@pytest.mark.system
def test_while_no_worker_runs_agents_over_tls_are_told_so(streets: Streets) -> None:
    """The supervisor answers there, too, with a certificate that agents trust."""
    house, lines = streets.houses[1], [("Content-Length", "0")]
    kill_workers(house)

    def answered() -> Response | None:
        try:
            return streets.send(house, lines, None, url="http://intent.internal/session")
        except OSError:
            return None

    told = wait_for(answered, "somebody answers")
    assert (told.status, json.loads(told.body)["code"]) == (503, "service.undecided")
    wait_for(lambda: (again := answered()) is not None and again.status == 407, "a worker answers")
