"""A house with the store it started itself, which may die while released calls are sent."""

import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from houses import CLUSTERS, House, house
from nodes import wait_for
from origin_replies import Gate, Reply
from origins import Origin
from rawclient import Broken, Response
from towns import ROOMY

from proxy.core.model import Verdict
from proxy.stores.embedded import EmbeddedStore

REVIEWED = """\
  - id: {kind}
    description: What a person looks at
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{{http}}, {{https}}]
    addresses: [127.0.0.0/8]
    operations:
      - name: send
        methods: [POST]
        path: /v1/{kind}/{{{{id}}}}
    review:
      always: true
      effect: {effect}
"""
RULES = CLUSTERS + REVIEWED.format(kind="payments", effect="deliver") + REVIEWED.format(kind="orders", effect="retry")
JSON = ("Content-Type", "application/json")
BODY = b'{"amount": 17}'

BACK_S = 5.0
"""The promise: service returns within this of the cure."""

HELD = "cluster.review_required"
WAYS_TO_SEND = ("it delivers", "its agent waits", "its agent asked again")


@dataclass(kw_only=True)
class Scene:
    """A house with the store it started itself, and its origin."""

    house: House
    origin: Origin

    @property
    def store(self) -> EmbeddedStore:
        return EmbeddedStore(self.house.settings.state)

    def store_pid(self) -> int:
        pid = self.store.pid()
        assert pid is not None
        return pid

    def fresh(self, kind: str) -> str:
        return self.origin.url(f"/v1/{kind}/{secrets.token_hex(6)}", host="erp.example")

    def post(self, url: str, chain: Sequence[str], *headers: tuple[str, str]) -> Response:
        lines = [JSON, *headers]
        return self.house.call("POST", url, chain=chain, headers=lines, body=BODY, intent="", timeout_s=30)

    def sent(self, url: str) -> int:
        return sum(seen.target == url[url.index("/v1") :] for seen in self.origin.requests)

    def status(self, hold: str, chain: Sequence[str]) -> str:
        answer = self.house.call("GET", f"http://intent.internal/holds/{hold}", chain=chain)
        return str(json.loads(answer.body).get("status", answer.status))

    def response(self, sending: "Sending") -> Response:
        """What was kept of a delivery's response, once it is there."""
        url = f"http://intent.internal/holds/{sending.hold}/response"

        def kept() -> Response | None:
            answer = self.house.call("GET", url, chain=sending.chain)
            return None if answer.status == 404 else answer

        return wait_for(kept, "a response is kept")

    def wait_for_service(self, within_s: float = BACK_S) -> None:
        """Until a call is held anew: the store answers, the view of it is fresh, proofs count."""

        def serves() -> bool:
            with suppress(OSError, Broken):  # no worker is there
                return code(self.post(self.fresh("orders"), self.house.chain())) == HELD
            return False

        wait_for(serves, "service returns", within_s)


@contextmanager
def open_scene(folder: Path) -> Iterator[Scene]:
    """One that serves, with one worker."""
    with Origin() as origin:
        rules = RULES.format(http=origin.port, https=origin.port + 1)
        with house(folder, clusters=rules, extra=ROOMY) as built:
            yield Scene(house=built, origin=origin)


def code(answer: Response) -> str:
    return str(json.loads(answer.body)["code"]) if answer.status >= 400 else str(answer.status)


@dataclass(kw_only=True)
class Sending:
    """A released call whose origin has read it, and does not answer yet."""

    hold: str
    url: str
    chain: tuple[str, str]
    gate: Gate
    answers: list[Response]
    asking: threading.Thread | None


def begin(scene: Scene, how: str, ends: ExitStack) -> Sending:
    """Bring a call there."""
    chain, gate, answers = scene.house.chain(), Gate(), list[Response]()
    url = scene.fresh("payments" if how == "it delivers" else "orders")
    scene.origin.on("POST", url[url.index("/v1") :], Reply(before=gate))
    ends.callback(gate.open)

    def ask(*headers: tuple[str, str]) -> threading.Thread:
        def run() -> None:
            with suppress(OSError, Broken):
                answers.append(scene.post(url, chain, *headers))

        asking = threading.Thread(target=run)
        asking.start()
        ends.callback(asking.join)
        ends.callback(gate.open)
        return asking

    asking = None
    if how == "its agent waits":
        asking = ask(("Prefer", "wait=25"))
        hold = scene.house.wait_for_hold(chain)
    else:
        hold = str(json.loads(scene.post(url, chain).body)["task"]["id"])
    scene.house.decide(hold, Verdict.ALLOW)
    if how == "its agent asked again":
        asking = ask()
    gate.wait_until_reached()
    return Sending(hold=hold, url=url, chain=chain, gate=gate, answers=answers, asking=asking)
