"""Several nodes on one store, and deaths at the worst moment: a call is sent at most once, or nobody knows."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from houses import CLUSTERS, House
from nodes import kill_node, kill_workers, nodes, wait_for, wait_for_state
from origin_replies import Gate, Reply
from origins import Origin
from rawclient import Broken, Response
from towns import ROOMY
from valkeys import Valkey

from proxy.core.model import HoldState, Verdict
from proxy.core.standing import SKEW_S
from proxy.stores.redis import RedisServer

pytestmark = pytest.mark.system

PAYMENTS = (
    CLUSTERS
    + """\
  - id: payments
    description: Pay what is due
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments/{{id}}
    review:
      always: true
      effect: deliver
  - id: wires
    description: Wire what is due
    risk: transformative
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: wire
        methods: [POST]
        path: /v1/wires/{{id}}
    review:
      always: true
      effect: deliver
  - id: orders
    description: Order what is missing
    risk: transformative
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: order
        methods: [POST]
        path: /v1/orders/{{id}}
    review:
      always: true
"""
)
JSON = ("Content-Type", "application/json")
BODY = b'{"amount": 17}'


class Scene:
    """Three nodes, one origin, and what is asked of them."""

    def __init__(self, valkey: Valkey, houses: tuple[House, ...], origin: Origin) -> None:
        self.valkey, self.houses, self.origin = valkey, houses, origin

    def fresh(self, kind: str = "payments") -> str:
        return self.origin.url(f"/v1/{kind}/{secrets.token_hex(6)}", host="erp.example")

    def post(self, house: House, url: str, chain: Sequence[str], *headers: tuple[str, str]) -> Response:
        return house.call("POST", url, chain=chain, headers=[JSON, *headers], body=BODY, intent="", timeout_s=30)

    def held(self, house: House, url: str, chain: Sequence[str]) -> str:
        document = json.loads(self.post(house, url, chain).body)
        assert document["code"] == "cluster.review_required", document
        return str(document["task"]["id"])

    def sent(self, url: str) -> int:
        """How often the origin was asked for this."""
        return sum(seen.target == url[url.index("/v1") :] for seen in self.origin.requests)

    def answer_late(self, url: str, ends: ExitStack) -> Gate:
        gate = Gate()
        ends.callback(gate.open)
        self.origin.on("POST", url[url.index("/v1") :], Reply(before=gate))
        return gate

    def another_passes(self, house: House) -> None:
        """By the time another call was released and sent, whatever was to be sent before it is."""
        url, chain = self.fresh(), house.chain()
        hold = self.held(house, url, chain)
        house.decide(hold, Verdict.ALLOW)
        wait_for_state(house, hold, HoldState.RELEASED)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Origin() as origin:
        rules = PAYMENTS.format(http=origin.port, https=origin.port + 1)
        with nodes(tmp_path_factory.mktemp("nodes"), 3, clusters=rules, extra=ROOMY) as (valkey, houses):
            yield Scene(valkey, houses, origin)


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def code(answer: Response) -> str:
    return str(json.loads(answer.body)["code"]) if answer.status >= 400 else str(answer.status)


def together[T](*work: Callable[[], T]) -> list[T]:
    with ThreadPoolExecutor(len(work)) as pool:
        return [each.result() for each in [pool.submit(one) for one in work]]


def test_of_three_nodes_one_delivers(scene: Scene) -> None:
    house = scene.houses[0]
    url, chain = scene.fresh(), house.chain()
    hold = scene.held(house, url, chain)
    house.decide(hold, Verdict.ALLOW)
    wait_for_state(house, hold, HoldState.RELEASED)
    assert house.hold(hold).claimed_by.partition("/")[0] == house.hold(hold).waits_at
    scene.another_passes(scene.houses[1])
    assert scene.sent(url) == 1


def test_a_storm_of_equal_calls_at_every_node_makes_one_hold(scene: Scene) -> None:
    url, chain = scene.fresh("orders"), scene.houses[0].chain()
    asking = [lambda each=each: scene.post(each, url, chain) for each in scene.houses for _ in range(12)]
    answers = together(*asking)
    assert {answer.status for answer in answers} == {403}
    assert len({json.loads(answer.body)["task"]["id"] for answer in answers}) == 1
    (hold,) = {json.loads(answer.body)["task"]["id"] for answer in answers}
    scene.houses[0].decide(hold, Verdict.ALLOW)
    passed = [code(answer) for answer in together(*asking)]
    assert scene.sent(url) == 1
    assert passed.count("200") <= 1


def test_the_waiting_agent_gets_the_response_whoever_asks_elsewhere(scene: Scene) -> None:
    first, second, _ = scene.houses
    url, chain = scene.fresh(), first.chain()
    answers: list[Response] = []
    waiting = threading.Thread(target=lambda: answers.append(scene.post(first, url, chain, ("Prefer", "wait=25"))))
    waiting.start()
    hold = first.wait_for_hold(chain)
    wait_for(lambda: first.hold(hold).waits_at, "the agent waits")
    first.decide(hold, Verdict.ALLOW)
    elsewhere = scene.post(second, url, chain)
    waiting.join(30)
    assert [answer.status for answer in answers] == [200]
    assert elsewhere.status != 200
    assert scene.sent(url) == 1


@pytest.mark.parametrize("how", ["it delivers", "its agent asked again"])
def test_a_call_whose_worker_dies_while_it_is_sent_is_uncertain_and_never_sent_again(
    scene: Scene, how: str, ends: ExitStack
) -> None:
    first, second, _ = scene.houses
    url, chain = scene.fresh("payments" if how == "it delivers" else "orders"), first.chain()
    gate = scene.answer_late(url, ends)
    hold = scene.held(first, url, chain)
    first.decide(hold, Verdict.ALLOW)
    if how == "its agent asked again":
        asking = threading.Thread(target=lambda: _quietly(lambda: scene.post(first, url, chain)))
        asking.start()
        ends.callback(asking.join)
    gate.wait_until_reached()
    kill_workers(first)
    assert second.hold(hold).state is HoldState.RELEASING

    wait_for_state(second, hold, HoldState.UNCERTAIN)

    gate.open()
    lost = wait_for(
        lambda: [line for each in scene.houses for line in _events(each, hold, "lost")], "the journal says so"
    )
    assert [line["state"] for line in lost] == ["uncertain"]
    assert code(scene.post(second, url, chain)) == "hold.uncertain"
    told = second.call("GET", f"http://intent.internal/holds/{hold}", chain=chain)
    assert "Do not send it again" in json.loads(told.body)["next"]
    scene.another_passes(second)
    assert scene.sent(url) == 1
    wait_for(lambda: code(scene.post(first, scene.fresh(), first.chain())) == "cluster.review_required", "it is back")


def test_what_one_node_could_not_send_is_not_told_as_sent_by_another(scene: Scene) -> None:
    """Only the node that claimed it knows that nothing was sent; a load balancer leads the agent to any."""
    one, other = scene.houses[0], scene.houses[1]
    chain, url = one.chain(), scene.fresh()
    hold = str(json.loads(scene.post(one, url, chain, ("Authorization", "Bearer abc")).body)["task"]["id"])
    one.decide(hold, Verdict.ALLOW)
    one.resolve({"erp.example": ["127.0.0.9"]})  # nobody listens there
    try:
        assert code(scene.post(one, url, chain, ("Authorization", "Bearer abc"))) == "upstream.connect"
        noted = other.settings.state / "consumed.jsonl"
        wait_for(lambda: noted.exists() and hold in noted.read_text(), "the other node has heard of it")
        told = json.loads(scene.post(other, url, chain, ("Authorization", "Bearer abc")).body)
        assert (told["code"], told["task"]["id"]) == ("cluster.review_required", hold)
        assert scene.sent(url) == 0
    finally:
        one.resolve({"erp.example": ["127.0.0.1"]})
    wait_for(lambda: scene.post(one, url, chain, ("Authorization", "Bearer abc")).status == 200, "it is sent")
    assert scene.sent(url) == 1
    assert code(scene.post(other, url, chain, ("Authorization", "Bearer abc"))) != "200"
    assert scene.sent(url) == 1
    for house in scene.houses:
        assert "restored" not in {line["event"] for line in house.journal("hold") if line["hold_id"] == hold}


def test_of_a_node_that_died_another_delivers_what_is_routine(scene: Scene) -> None:
    last, other = scene.houses[2], scene.houses[0]
    routine, bound = scene.fresh(), scene.fresh("wires")
    chain = last.chain()
    holds = [scene.held(last, url, chain) for url in (routine, bound)]
    kill_node(last)
    for hold in holds:
        other.decide(hold, Verdict.ALLOW)
    wait_for_state(other, holds[0], HoldState.RELEASED)
    assert code(scene.post(other, bound, chain)) == "cluster.review_required"  # and told where to ask
    scene.another_passes(other)
    assert (scene.sent(routine), scene.sent(bound)) == (1, 0)
    last.start()
    wait_for_state(other, holds[1], HoldState.RELEASED, within_s=30)
    assert scene.sent(bound) == 1


def test_a_sent_hold_that_is_put_back_with_its_genuine_release_is_sent_by_no_node(scene: Scene) -> None:
    """Nodes that were there remember; one that was not acts on no release from before."""
    first, second, last = scene.houses
    path = f"/v1/payroll/{secrets.token_hex(6)}"
    url, chain = scene.origin.url(path, host="erp.example"), first.chain()

    def ask(house: House, at: str = url) -> Response:
        return house.call("GET", at, chain=chain)

    hold = str(json.loads(ask(first).body)["task"]["id"])
    first.decide(hold, Verdict.ALLOW)
    decided_s, approved = time.monotonic(), first.hold(hold)
    names = [f"{{ip:0}}:{name}" for name in (f"hold:{hold}", f"sealed:{hold}")]
    names.append(f"{{ip:0}}:call:{approved.root_id}:{approved.call_digest}")
    copies = first.with_store(lambda server: _dump(server, names))
    assert ask(first).status == 200
    assert last.stop() == 0
    for file in ("consumed.jsonl", "followed.json"):
        (last.settings.state / file).unlink()
    wait_for(lambda: time.monotonic() - decided_s > SKEW_S + 1, "clocks may differ by so much")
    last.start()

    first.with_store(lambda server: _restore(server, names, copies))

    assert first.hold(hold) == approved
    assert [code(ask(house)) for house in (first, second, last)] == ["hold.spent", "hold.spent", "release.invalid"]
    assert scene.sent(url) == 1
    twin = scene.origin.url(f"{path}-twin", host="erp.example")
    first.decide(str(json.loads(ask(last, twin).body)["task"]["id"]), Verdict.ALLOW)
    assert ask(last, twin).status == 200


def test_what_the_store_could_not_be_told_it_is_told_later(scene: Scene, ends: ExitStack) -> None:
    first = scene.houses[0]
    url, chain = scene.fresh(), first.chain()
    gate = scene.answer_late(url, ends)
    hold = scene.held(first, url, chain)
    first.decide(hold, Verdict.ALLOW)
    gate.wait_until_reached()
    scene.valkey.freeze()
    try:
        gate.open()
        wait_for(lambda: any("could not be settled" in line for line in first.output), "it could not be told")
    finally:
        scene.valkey.thaw()
    wait_for_state(first, hold, HoldState.RELEASED)
    assert scene.sent(url) == 1


def test_who_waits_is_sent_away_in_time_and_finds_the_hold_again(scene: Scene) -> None:
    house = scene.houses[1]
    url, chain = scene.fresh("orders"), house.chain()
    answers: list[Response] = []
    waiting = threading.Thread(target=lambda: answers.append(scene.post(house, url, chain, ("Prefer", "wait=60"))))
    waiting.start()
    hold = house.wait_for_hold(chain)
    wait_for(lambda: house.hold(hold).waits_at, "the agent waits")
    began_s = time.monotonic()
    assert house.stop() == 0
    assert time.monotonic() - began_s < 10
    waiting.join(10)
    (answer,) = answers
    document = json.loads(answer.body)
    assert (answer.status, document["code"], document["task"]["id"]) == (503, "service.draining", hold)
    assert answer.header("retry-after")

    house.start()

    assert scene.held(house, url, chain) == hold
    house.decide(hold, Verdict.ALLOW)
    assert scene.post(house, url, chain).status == 200
    assert scene.sent(url) == 1


async def _dump(server: RedisServer, names: Sequence[str]) -> list[bytes]:
    copies = [await server.command("DUMP", name) for name in names]
    return [copy for copy in copies if isinstance(copy, bytes)]


async def _restore(server: RedisServer, names: Sequence[str], copies: Sequence[bytes]) -> None:
    for name, copy in zip(names, copies, strict=True):
        await server.command("RESTORE", name, 0, copy, "REPLACE")


def _quietly(work: Callable[[], object]) -> None:
    with suppress(OSError, Broken):
        work()


def _events(house: House, hold: str, event: str) -> list[dict[str, object]]:
    return [line for line in house.journal("hold") if line["hold_id"] == hold and line["event"] == event]
