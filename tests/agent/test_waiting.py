"""Waiting for a person: every end of a held call is a value, nothing is sent twice, and nobody is asked too often."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import held as holds
import identities
import pytest

from proxy.agent import waiting
from proxy.agent.answers import Denied, Held
from proxy.agent.waiting import Expired, Uncertain, finish, finish_async
from proxy.core.documents import hold_document
from proxy.core.errors import Code
from proxy.core.model import Decision, Hold, HoldState, Verdict
from proxy.core.problems import Answer, Prefer, document, problem

NOW = identities.NOW
HOLD = replace(
    holds.draft(), id="h-1", filed_at=NOW, expires_at=NOW + timedelta(hours=4), code=Code.NOT_COVERED, reason=None
)
DENIED = Decision(decision_id="d-1", verdict=Verdict.DENY, code=Code.NOT_COVERED, message="Not covered", at=NOW)


@dataclass(frozen=True)
class Said:
    """A response, as httpx and requests have them."""

    status_code: int
    headers: dict[str, str]
    content: bytes


def said(answer: Answer) -> Said:
    return Said(answer.status, dict(answer.headers), answer.body)


def held(hold: Hold = HOLD) -> Said:
    return said(problem(replace(DENIED, verdict=Verdict.HOLD), hold=hold, form="inside", prefer=Prefer(), now=NOW))


def denied(code: Code, hold: Hold | None = None) -> Said:
    return said(problem(replace(DENIED, code=code), hold=hold, form="inside", prefer=Prefer(), now=NOW))


def status(state: HoldState, **changed: Any) -> Said:
    return said(document(hold_document(replace(HOLD, state=state, **changed), now=NOW)))


REAL = Said(201, {"Content-Type": "text/plain"}, b"filed")
KEPT = Said(200, {"Intent-Response": "kept; body=complete; bytes=5"}, b"filed")
SELF, REDEEM, FETCH = ("GET", ""), ("POST", "/redeem"), ("GET", "/response")


@dataclass
class Client:
    """Answers one request after the other, and remembers which they were."""

    answers: Iterator[Said]
    asked: list[tuple[str, str]] = field(default_factory=list)

    def request(self, method: str, url: str) -> Said:
        self.asked.append((method, url.removeprefix("http://intent.internal/holds/h-1")))
        return next(self.answers)


class AsyncClient(Client):
    async def request(self, method: str, url: str) -> Said:  # type: ignore[override]
        return super().request(method, url)


class AioSaid:
    """A response as aiohttp has them: its body is read apart."""

    def __init__(self, of: Said) -> None:
        self.status, self.headers, self.of, self.was_read = of.status_code, of.headers, of, False

    async def read(self) -> bytes:
        self.was_read = True
        return self.of.content


class AioClient(Client):
    async def request(self, method: str, url: str) -> AioSaid:  # type: ignore[override]
        return AioSaid(super().request(method, url))


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s, self.slept = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert len(self.slept) < 1000, "it never ends"
        self.slept.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()

    async def sleep(seconds: float) -> None:
        made.sleep(seconds)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=made.monotonic, sleep=made.sleep))
    monkeypatch.setattr(waiting, "asyncio", SimpleNamespace(sleep=sleep))
    return made


type Run = Callable[..., tuple[Any, list[tuple[str, str]]]]


def by_sync(first: Said, *answers: Said, within_s: float = 600, resend: Callable[[], Said] | None = None) -> Any:
    client = Client(iter(answers))
    return finish(client, first, within_s=within_s, resend=resend), client.asked


def by_async(first: Said, *answers: Said, within_s: float = 600, resend: Callable[[], Said] | None = None) -> Any:
    client = AsyncClient(iter(answers))

    async def again() -> Said:
        assert resend is not None
        return resend()

    wanted = finish_async(client, first, within_s=within_s, resend=again if resend else None)  # type: ignore[type-var]
    return asyncio.run(wanted), client.asked


def by_aiohttp(first: Said, *answers: Said, within_s: float = 600, resend: Callable[[], Said] | None = None) -> Any:
    client = AioClient(iter(answers))

    async def again() -> AioSaid:
        assert resend is not None
        return AioSaid(resend())

    wanted = finish_async(client, AioSaid(first), within_s=within_s, resend=again if resend else None)  # type: ignore[type-var]
    found = asyncio.run(wanted)
    if isinstance(found, AioSaid):
        assert not found.was_read, "an origin's response is left to be read"
        found = found.of
    return found, client.asked


@pytest.fixture(params=[by_sync, by_async, by_aiohttp], ids=["sync", "async", "aiohttp"])
def run(request: pytest.FixtureRequest, clock: Clock) -> Run:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(REAL, id="an origin's response"),
        pytest.param(Said(403, {"Content-Type": "text/html"}, b"no"), id="an origin's own refusal"),
    ],
)
def test_what_is_not_held_is_returned_at_once(first: Said, run: Run, clock: Clock) -> None:
    assert run(first) == (first, [])
    assert clock.slept == []


def test_a_denied_call_is_a_value_at_once(run: Run, clock: Clock) -> None:
    found, asked = run(denied(Code.POLICY_DENIED))
    assert isinstance(found, Denied)
    assert (found.code, found.action, asked, clock.slept) == ("policy.denied", "stop", [], [])


def test_a_released_call_is_redeemed_once(run: Run, clock: Clock) -> None:
    waits = status(HoldState.HELD)
    found, asked = run(held(), waits, waits, status(HoldState.APPROVED), REAL)
    assert (found, asked) == (REAL, [SELF, SELF, SELF, REDEEM])
    assert clock.slept == [5.0, 5.0, 5.0], "as often as the proxy says"


def test_a_call_that_was_released_before_is_not_waited_for(run: Run, clock: Clock) -> None:
    found, asked = run(held(replace(HOLD, state=HoldState.APPROVED)), status(HoldState.APPROVED), REAL)
    assert (found, asked, clock.slept) == (REAL, [SELF, REDEEM], [])


def test_what_the_proxy_sends_by_itself_is_fetched_and_never_sent(run: Run, clock: Clock) -> None:
    by_itself = {"delivers": True}
    states = [status(state, **by_itself) for state in (HoldState.HELD, HoldState.APPROVED, HoldState.RELEASED)]
    found, asked = run(held(), *states, denied(Code.HOLD_UNKNOWN), states[-1], KEPT)
    assert found == KEPT
    assert asked == [SELF, SELF, SELF, FETCH, SELF, FETCH]


def test_a_call_whose_body_was_not_kept_is_sent_again(run: Run, clock: Clock) -> None:
    released = status(HoldState.APPROVED, stored=False)
    found, asked = run(held(replace(HOLD, stored=False)), released, resend=lambda: REAL)
    assert (found, asked) == (REAL, [SELF])


def test_without_a_way_to_send_it_again_that_is_said(run: Run, clock: Clock) -> None:
    found, asked = run(held(replace(HOLD, stored=False)), status(HoldState.APPROVED, stored=False))
    assert isinstance(found, Denied)
    assert (found.code, found.action, asked) == ("hold.not_stored", "retry", [SELF])


@pytest.mark.parametrize(
    ("state", "kind", "said_of_it"),
    [
        pytest.param(HoldState.DENIED, Denied, ("hold.denied", "stop"), id="a person refused it"),
        pytest.param(HoldState.CANCELLED, Denied, ("hold.cancelled", "retry"), id="a person ended it"),
        pytest.param(HoldState.RELEASED, Denied, ("hold.spent", "stop"), id="it was sent before"),
        pytest.param(HoldState.EXPIRED, Expired, None, id="nobody decided"),
        pytest.param(HoldState.UNCERTAIN, Uncertain, None, id="nobody knows whether it arrived"),
    ],
)
def test_every_end_is_a_value(
    state: HoldState, kind: type, said_of_it: tuple[str, str] | None, run: Run, clock: Clock
) -> None:
    found, asked = run(held(), status(HoldState.HELD), status(state, reason="Ask Ada first"))
    assert isinstance(found, kind)
    assert asked == [SELF, SELF], "nothing was sent"
    if isinstance(found, Denied):
        assert (found.code, found.action, found.detail) == (*(said_of_it or ()), "Ask Ada first")
    else:
        assert (found.id, found.reason) == ("h-1", "Ask Ada first")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(denied(Code.HOLD_UNCERTAIN, replace(HOLD, state=HoldState.UNCERTAIN)), Uncertain, id="uncertain"),
        pytest.param(denied(Code.UPSTREAM_BROKEN, replace(HOLD, state=HoldState.RELEASING)), Held, id="being sent"),
        pytest.param(denied(Code.UPSTREAM_BROKEN, replace(HOLD, state=HoldState.UNCERTAIN)), Uncertain, id="broken"),
        pytest.param(denied(Code.HOLD_EXPIRED, replace(HOLD, state=HoldState.EXPIRED)), Expired, id="expired"),
        pytest.param(denied(Code.QUARANTINED), Denied, id="quarantined meanwhile"),
    ],
)
def test_redeeming_may_end_otherwise(answer: Said, kind: type, run: Run, clock: Clock) -> None:
    later = [status(HoldState.RELEASING)] * 1000
    found, asked = run(held(), status(HoldState.APPROVED), answer, *later, within_s=30)
    assert isinstance(found, kind), found
    assert asked.count(REDEEM) == 1, "a call that may have left is not sent again"


def test_what_was_provably_not_sent_is_tried_again_later(run: Run, clock: Clock) -> None:
    approved = status(HoldState.APPROVED)
    found, asked = run(
        held(), approved, denied(Code.UPSTREAM_CONNECT), approved, denied(Code.STORE_DOWN), approved, REAL
    )
    assert (found, asked.count(REDEEM)) == (REAL, 3)
    assert clock.slept == [5.0, 10.0, 2.0], "after what each answer says"


def test_an_answer_of_nobody_and_a_proxy_that_cannot_tell_are_asked_again(run: Run, clock: Clock) -> None:
    strange = Said(502, {"Content-Type": "text/html"}, b"<h1>bad gateway</h1>")
    found, asked = run(held(), strange, denied(Code.STORE_DOWN), status(HoldState.APPROVED), REAL)
    assert (found, len(asked)) == (REAL, 4)


def test_a_mandate_that_ends_meanwhile_ends_the_waiting(run: Run, clock: Clock) -> None:
    found, asked = run(held(), denied(Code.MANIFEST_REVOKED))
    assert isinstance(found, Denied)
    assert (found.code, asked) == ("manifest.revoked", [SELF])


def test_when_the_time_is_over_the_hold_itself_is_returned(run: Run, clock: Clock) -> None:
    found, asked = run(held(), *[status(HoldState.HELD)] * 100, within_s=12)
    assert isinstance(found, Held)
    assert (found.id, found.status, asked) == ("h-1", "held", [SELF] * 3)
    assert sum(clock.slept) == 12


def test_nobody_who_has_no_time_asks_at_all(run: Run, clock: Clock) -> None:
    found, asked = run(held(), within_s=0)
    assert isinstance(found, Held)
    assert (asked, clock.slept) == ([], [])


@pytest.mark.parametrize(
    ("after_s", "waited_s"),
    [
        pytest.param(0, 1.0, id="no less than a second"),
        pytest.param(40, 40.0, id="as long as it says"),
        pytest.param(None, 5.0, id="some seconds where it does not say"),
        pytest.param(86_400, 300.0, id="never longer than five minutes"),
    ],
)
def test_the_time_between_two_looks_is_the_proxys_within_reason(
    after_s: int | None, waited_s: float, run: Run, clock: Clock
) -> None:
    waits = json.loads(status(HoldState.HELD).content) | {"retry_after_s": after_s}
    page = Said(200, {"Content-Type": "application/json"}, json.dumps(waits).encode())
    run(held(), *[page] * 1000, within_s=1000)
    assert clock.slept[1] == waited_s
