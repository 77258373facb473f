"""`run --ephemeral`: a store that keeps nothing on disk works, and says at start what its restart loses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from clirun import free_port, running, spawn
from houses import CLUSTERS, House, build
from nodes import wait_for
from origins import Origin
from rawclient import Response
from towns import ROOMY
from valkeys import Valkey

from proxy.core.model import HoldState, Verdict

pytestmark = pytest.mark.system

BACK_S = 5.0


@dataclass(kw_only=True)
class Place:
    """A deployment on a store that keeps nothing, and its origin."""

    house: House
    valkey: Valkey
    origin: Origin

    def ask(self, chain: tuple[str, str], path: str) -> Response:
        return self.house.call("GET", self.origin.url(path, host="erp.example"), chain=chain)

    def held(self, chain: tuple[str, str], path: str) -> str:
        document = json.loads(self.ask(chain, path).body)
        assert document["code"] == "mandate.not_covered", document
        return str(document["task"]["id"])

    def sent(self, path: str) -> int:
        return sum(seen.target == path for seen in self.origin.requests)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Valkey(appendonly="no") as valkey, Origin() as origin:
        valkey.age_epoch()
        rules = CLUSTERS.format(http=origin.port, https=origin.port + 1)
        house = build(tmp_path / "house", clusters=rules, extra=f"redis_url: {valkey.url}\n{ROOMY}")
        yield Place(house=house, valkey=valkey, origin=origin)


@contextmanager
def serving(place: Place) -> Iterator[str]:
    """The proxy as the command line runs it; what it says at start."""
    port = free_port()
    log = place.house.folder / "err"
    words = ("run", "-c", place.house.folder, "--listen", f"127.0.0.1:{port}", "--workers", "1", "--ephemeral")
    with log.open("wb") as errors, running(*words, env=place.house.environment(), errors=errors.fileno()) as (_, line):
        place.house.address = ("127.0.0.1", port)
        yield line + log.read_text()


def test_it_works_and_says_what_a_restart_of_the_store_loses_which_it_does(place: Place) -> None:
    with serving(place) as said:
        assert "whose restart may lose every hold (--ephemeral)" in said
        assert "keeps nothing on disk, as --ephemeral accepts" in said
        chain, path = place.house.chain(), "/v1/payroll/1"
        hold = place.held(chain, path)
        place.house.decide(hold, Verdict.ALLOW)
        assert (place.ask(chain, path).status, place.sent(path)) == (200, 1)
        assert place.house.hold(hold).state is HoldState.RELEASED
        waiting = "/v1/payroll/2"
        lost = place.held(chain, waiting)

        place.valkey.restart()
        place.valkey.age_epoch()  # of nonces that are forgotten, test_fast_server tells

        wait_for(lambda: place.ask(chain, "/v1/invoices/1").status == 200, "service returns", BACK_S)
        status = place.house.call("GET", f"http://intent.internal/holds/{lost}", chain=chain)
        assert (status.status, json.loads(status.body)["code"]) == (404, "hold.unknown")
        anew = place.held(chain, waiting)
        assert (anew != lost, place.sent(waiting)) == (True, 0)
        place.house.decide(anew, Verdict.ALLOW)
        assert (place.ask(chain, waiting).status, place.sent(waiting)) == (200, 1)


def test_without_it_such_a_store_is_refused_with_the_setting_that_mends_it(place: Place) -> None:
    port = free_port()
    ran = spawn("run", "-c", place.house.folder, "--listen", f"127.0.0.1:{port}", env=place.house.environment())
    assert (ran.code, "set `appendonly yes`, or run with --ephemeral" in ran.err, ran.out) == (1, True, "")
