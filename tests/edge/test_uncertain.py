"""A released call of which nobody knows whether it arrived: what its agent is told, and how a person closes it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import identities
import pytest
from clirun import Ran, cli
from houses import WAYS
from nodes import wait_for
from origin_replies import Reply
from towns import Town

from proxy.agent.keyfile import save_key
from proxy.core.model import HoldState, Verdict


@dataclass(kw_only=True)
class Lost:
    """A call whose connection the origin reset when it had read it."""

    id: str
    town: Town
    way: str
    path: str
    chain: tuple[str, str]

    def ask(self) -> dict[str, object]:
        """The agent asks again: status and problem."""
        answer = self.town.house.call("GET", self.town.url(self.way, self.path), chain=self.chain)
        return {"http": answer.status} | (json.loads(answer.body) if answer.status >= 400 else {})

    def status(self) -> dict[str, object]:
        """What the agent reads at its hold's address."""
        url = f"http://intent.internal/holds/{self.id}"
        told: dict[str, object] = json.loads(self.town.house.call("GET", url, chain=self.chain).body)
        return told

    def seen(self) -> int:
        return sum(seen.target == self.path for seen in self.town.origin(self.way).requests)

    def events(self, event: str) -> list[dict[str, object]]:
        lines = self.town.house.journal("hold")
        return [line for line in lines if line["hold_id"] == self.id and line["event"] == event]


@pytest.fixture
def lose(town: Town) -> Callable[[str, str], Lost]:
    def lose(way: str, path: str) -> Lost:
        chain = town.house.chain()
        town.origin(way).on("GET", path, Reply(then="reset", cut_after=0))
        lost = Lost(id="", town=town, way=way, path=path, chain=chain)
        task = lost.ask()["task"]
        assert isinstance(task, dict)
        lost.id = str(task["id"])
        town.house.decide(lost.id, Verdict.ALLOW)
        return lost

    return lose


@pytest.fixture
def resolve(town: Town, tmp_path: Path) -> Callable[..., Ran]:
    key = tmp_path / "sponsor.pem"
    save_key(key, identities.key(identities.SPONSOR))

    def resolve(lost: Lost, found: str) -> Ran:
        where = ("-c", town.house.folder, "--key", key)
        return cli("holds", "resolve", lost.id, found, "--reason", "asked whoever runs it", *where, "--json")

    return resolve


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("found", ["--arrived", "--not-arrived"])
def test_nothing_is_sent_by_what_a_person_found_out_and_the_agent_may_ask_anew(
    lose: Callable[[str, str], Lost], resolve: Callable[..., Ran], way: str, found: str
) -> None:
    lost = lose(way, f"/v1/payroll/lost{found}")
    broken = lost.ask()
    assert (broken["code"], "Do not send it again" in str(broken["detail"])) == ("upstream.broken", True)
    assert lost.status()["status"] == "uncertain"
    stuck = lost.ask()
    assert (stuck["http"], stuck["code"]) == (409, "hold.uncertain")
    assert "ask here later" in str(lost.status()["next"])

    ran = resolve(lost, found).ok()

    ended = {"--arrived": ("released", "arrived"), "--not-arrived": ("cancelled", "closed")}
    state, event = ended[found]
    assert (ran.json["result"], ran.json["hold"]["state"]) == ("done", state)
    assert lost.status()["status"] == state
    assert ("Send it again" in str(lost.status()["next"])) is (found == "--not-arrived")
    (line,) = wait_for(lambda: lost.events(event), "the journal says who found out")
    assert (line["by"], line["reason"]) == (identities.SPONSOR, "asked whoever runs it")
    assert resolve(lost, found).code == 3
    assert lost.seen() == 1, "nothing is sent by it"
    anew = lost.ask()
    assert anew["code"] == "mandate.not_covered"
    task = anew["task"]
    assert isinstance(task, dict) and (task["status"], task["id"] == lost.id) == ("held", False)
    lost.town.origin(way).on("GET", lost.path, Reply())
    lost.town.house.decide(str(task["id"]), Verdict.ALLOW)
    assert (lost.ask()["http"], lost.seen()) == (200, 2)
    assert lost.town.house.hold(str(task["id"])).state is HoldState.RELEASED
