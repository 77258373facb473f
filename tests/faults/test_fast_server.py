"""`redis_fast_url`: nonces in a server of their own, without a disk, in explicit mode by both ways in."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from certs import Authority
from houses import CLUSTERS, WAYS, house
from nodes import wait_for
from origins import Origin
from plant_calls import ANSWER_S
from rawclient import Response
from towns import ROOMY, Town
from valkeys import Valkey

from proxy.stores.memory import SETTLE_S

pytestmark = pytest.mark.system

BACK_S = 5.0
NEW_S = SETTLE_S + 2.0
"""After this long a proof is newer than the epoch by five seconds: when it was made is told in whole ones."""


@dataclass(kw_only=True)
class FastTown(Town):
    """A town with two stores."""

    store: Valkey
    fast: Valkey

    def ask(self, way: str, lines: list[tuple[str, str]]) -> Response:
        return self.house.send("GET", self.url(way, "/v1/invoices/17"), lines)

    def proof(self, way: str, *, created: datetime | None = None) -> list[tuple[str, str]]:
        url = self.url(way, "/v1/invoices/17")
        return self.house.signed("GET", url, chain=self.house.chain(), created=created)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastTown]:
    folder = tmp_path_factory.mktemp("fast")
    authority = Authority()
    tls_origin = Origin(tls=authority.server("erp.example"))
    with Valkey() as store, Valkey(appendonly="no") as fast, Origin() as plain, tls_origin as tls:
        store.age_epoch()
        fast.age_epoch()
        text = CLUSTERS.format(http=plain.port, https=tls.port)
        urls = f"redis_url: {store.url}\nredis_fast_url: {fast.url}\n"
        with house(
            folder / "house", clusters=text, extra=f"upstream_cas: [{authority.write(folder)}]\n{urls}{ROOMY}"
        ) as running:
            yield FastTown(house=running, plain=plain, tls=tls, authority=authority, store=store, fast=fast)


def code(answer: Response) -> tuple[int, str]:
    return answer.status, "" if answer.status == 200 else str(json.loads(answer.body)["code"])


def nonces(server: Valkey) -> int:
    with server.client() as client:
        return sum(1 for _ in client.scan_iter("*:nonce:*"))


@pytest.mark.parametrize("way", WAYS)
def test_nonces_are_there_and_nowhere_else_and_each_counts_once(town: FastTown, way: str) -> None:
    before, lines = nonces(town.fast), town.proof(way)
    mark = town.origin(way).mark()
    assert code(town.ask(way, lines)) == (200, "")
    assert code(town.ask(way, lines)) == (403 if way == "tls" else 407, "proof.replayed")
    assert code(town.ask(way, town.proof(way))) == (200, "")
    assert len(town.origin(way).since(mark).requests) == 2
    assert (nonces(town.fast) - before, nonces(town.store)) == (2, 0)


def test_while_it_is_down_nothing_passes_and_once_it_is_back_no_proof_from_before_counts(town: FastTown) -> None:
    marks = {way: town.origin(way).mark() for way in WAYS}
    spent = {way: town.proof(way) for way in WAYS}
    assert {code(town.ask(way, lines)) for way, lines in spent.items()} == {(200, "")}
    town.fast.kill()
    for way in WAYS:
        began_s = time.monotonic()
        assert code(town.ask(way, town.proof(way))) == (503, "service.store")
        assert time.monotonic() - began_s < ANSWER_S
        assert json.loads(town.house.call("GET", "http://intent.internal/health").body), "which needs no nonce"

    town.fast.start()
    back = datetime.now(UTC)

    def refused_as_too_old() -> bool:
        answer = town.ask("plain", town.proof("plain"))
        assert answer.status == 503, "it cannot know yet whether this was there before"
        return code(answer)[1] == "service.replay_epoch"

    wait_for(refused_as_too_old, "it answers again", BACK_S)
    for way, lines in spent.items():
        answer = town.ask(way, lines)
        assert code(answer) == (503, "service.replay_epoch"), "spent before the restart, and forgotten by it"
        assert int(answer.header("retry-after") or 0) >= 1
    wait_for(lambda: town.ask("plain", town.proof("plain")).status == 200, "a proof that is new enough", NEW_S)
    assert datetime.now(UTC) - back > timedelta(seconds=SETTLE_S - 1)
    for way, lines in spent.items():
        assert code(town.ask(way, lines)) == (503, "service.replay_epoch"), "it stays too old"
        assert code(town.ask(way, town.proof(way, created=datetime.now(UTC)))) == (200, "")
        targets = [seen.target for seen in town.origin(way).since(marks[way]).requests]
        assert len(targets) == (3 if way == "plain" else 2), "those before, those after, and nothing in between"
