"""The harness on real parts: a fair round counts, and one in which anything is not as claimed does not."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.failures import Dishonest, Failed
from bench.honesty import Allowed
from bench.https import LANES, Street
from bench.machine import Cores

ANYWHERE = Cores(proxies=(), load=(), origin=(), store=())
FULL = next(lane for lane in LANES if lane.name == "full")
OFF = next(lane for lane in LANES if lane.name == "off")
SMALL = {"count": 24, "warmup": 16}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    folder: Path = tmp_path_factory.mktemp("bench")
    folder.chmod(0o755)
    with Street(folder, ANYWHERE, (FULL, OFF), lambda _: None) as opened:
        yield opened


class Lying:
    """A child whose answers are changed on their way to the harness."""

    def __init__(self, child: object, change: Callable[[dict], None]) -> None:
        self._child, self._change = child, change

    def ask(self, message: Mapping[str, object], **waiting: float) -> dict:
        answer = self._child.ask(message, **waiting)
        self._change(answer)
        return answer


def test_a_fair_round_counts_and_has_a_price(street: Street) -> None:
    measured, tls = street.measure(FULL, **SMALL)
    assert measured.p50_us <= measured.p99_us
    assert tls["version"] == "TLSv1.3"
    street.check_journal()


def test_with_enforcement_off_everything_passes_and_nothing_is_recorded(street: Street) -> None:
    street.journal.allowed()
    street.measure(OFF, **SMALL)
    assert street.journal.allowed() == []


def test_planted_calls_are_refused_while_all_others_pass(street: Street) -> None:
    plants = {1: "path", 4: "method", 7: "query", 10: "url", 13: "stale", 16: "replay", 19: "unsigned"}
    street.measure(FULL, plants=plants, **SMALL)


@pytest.mark.parametrize("kind", ["stale", "replay", "unsigned", "path"])
def test_one_call_that_should_pass_and_does_not_spoils_the_round(
    street: Street, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def forget(answer: dict) -> None:
        for call in answer.get("calls", ()):
            call["plant"] = ""

    monkeypatch.setattr(street, "load", Lying(street.load, forget))
    with pytest.raises(Dishonest, match="the round of full does not count: answers: 1 of 40 calls"):
        street.measure(FULL, plants={5: kind}, **SMALL)


def test_a_request_that_the_origin_missed_spoils_the_round(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    def miss(answer: dict) -> None:
        del answer["targets"][3:4]

    monkeypatch.setattr(street, "origin", Lying(street.origin, miss))
    with pytest.raises(Dishonest, match=r"origin: GET /v1/invoices/\S+ is missing"):
        street.measure(FULL, **SMALL)


def test_a_journal_line_too_few_spoils_the_round(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    read = street.journal.allowed

    def one_less() -> list[Allowed]:
        return read()[1:]

    monkeypatch.setattr(type(street.journal), "allowed", lambda _: one_less())
    with pytest.raises(Dishonest, match=r"journal: GET /v1/invoices/\S+ is missing"):
        street.measure(FULL, **SMALL)


def test_a_planted_call_that_passes_spoils_the_round(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    def claim(answer: dict) -> None:
        if "calls" in answer:
            answer["calls"][7]["plant"] = "path"

    monkeypatch.setattr(street, "load", Lying(street.load, claim))
    with pytest.raises(Dishonest, match="planted path"):
        street.measure(FULL, **SMALL)


def test_enforcement_that_is_not_there_cannot_pass_for_it(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(street.systems, "full", street.systems["off"])
    with pytest.raises(Dishonest, match="store: 0 nonces were spent there, and 40 were sent"):
        street.measure(FULL, **SMALL)


def test_an_edited_journal_spoils_the_run(street: Street) -> None:
    street.measure(FULL, **SMALL)
    (path,) = (street.deployment.settings.state / "journal").glob("*.jsonl")
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"verdict":"allow"', b'"verdict":"allOw"', 1))
    try:
        with pytest.raises(Dishonest, match="the journal does not verify"):
            street.check_journal()
    finally:
        path.write_bytes(good)


def test_a_system_that_died_is_a_failure_not_a_number(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    street.systems["off"].child.end()
    with pytest.raises(Failed):
        street.measure(OFF, **SMALL)
