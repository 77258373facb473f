"""Waiting for a person: what became of a held call, as a value; and the real response once it was released.

    match finish(client, client.post(url, json=payload), within_s=3600):
        case Denied() as denied: ...        # by a rule or a person; `denied.action` says what to do
        case Expired() as expired: ...      # nobody decided in time, and nothing was sent
        case Uncertain() as uncertain: ...  # it left, and nobody knows whether it arrived: do not send it again
        case Held() as held: ...            # the hour is over, and it still waits
        case response: ...                  # the origin's own response: the client's usual object

`client` is an httpx or httpx2 client, or a requests session, whose requests are signed (`IntentAuth`) or in a session;
`finish_async` is for their async clients and for aiohttp. Nothing is sent twice: a released call is redeemed, or its
response fetched where the proxy sent it by itself; where its body was too large to be kept, `resend` sends it again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from proxy.agent.answers import Denied, Headers, Held, fields_of, read_answer, read_hold

LEAST_S, USUAL_S, MOST_S = 1.0, 5.0, 300.0
"""Between two looks at a hold: never less, this where the proxy does not say, never more."""

_KEPT = "intent-response"
_OVER = {
    "hold.expired": "Nobody decided in time and nothing was sent. Send the call again if it is still needed.",
    "hold.uncertain": "The call may have reached the server. Do not send it again; tell your user.",
    "hold.cancelled": "A person ended the hold; the call was not carried out. Send it again if it is still needed.",
    "hold.denied": "A person refused this call. Do not try it in another way; tell your user.",
    "hold.spent": "The released call was sent already. To send it once more, a person has to approve it anew.",
    "hold.not_stored": "It is released, but its body was not kept. Send the same call again; it passes once.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A held call that nobody decided in time. Nothing was sent."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """A released call that left, and of which nobody knows whether it arrived. `status_url` says what is found out."""

    id: str
    status_url: str
    reason: str


type Ended = Denied | Expired | Uncertain | Held
"""What became of a call that has no response of its own. `Held`: it still waits."""


@runtime_checkable
class Response(Protocol):
    """What the responses of httpx and requests have in common."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def content(self) -> bytes: ...


class UnreadResponse(Protocol):
    """What is used of aiohttp's responses."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    def read(self) -> Awaitable[bytes]: ...


class Client[R](Protocol):
    """What httpx's clients and requests' sessions have in common."""

    def request(self, method: str, url: str) -> R: ...


class AsyncClient[R](Protocol):
    """What `httpx.AsyncClient` and `aiohttp.ClientSession` have in common."""

    def request(self, method: str, url: str) -> Awaitable[R]: ...


def finish[R: Response](
    client: Client[R], response: R, *, within_s: float, resend: Callable[[], R] | None = None
) -> R | Ended:
    """The response to a call, once a person has released it where that is needed; else what became of it.

    `response` is what the call was answered with; one that is no answer of the proxy's is returned as it is. Waits for
    at most `within_s`, as often as the proxy says. `resend` sends the same call again; without it a call whose body was
    not kept is `Denied` with the code `hold.not_stored` once it is released. What the client raises, is raised here.
    """
    latest, answered = response, None
    steps = _steps(_seen(response), within_s=within_s, clock=time.monotonic, resends=resend is not None)
    while True:
        match steps.send(answered):
            case _Done(ended):
                return latest if ended is None else ended
            case _Sleep(seconds):
                time.sleep(seconds)
                answered = None
            case _Ask(method, url, page):
                latest = client.request(method, url)
                answered = _seen(latest, page=page)
            case _Resend():
                assert resend is not None
                latest = resend()
                answered = _seen(latest)


async def finish_async[R: (Response | UnreadResponse)](
    client: AsyncClient[R], response: R, *, within_s: float, resend: Callable[[], Awaitable[R]] | None = None
) -> R | Ended:
    """As `finish`; an aiohttp response that is the proxy's is read whole, any other is left to be read."""
    latest, answered = response, None
    steps = _steps(await _read(response), within_s=within_s, clock=time.monotonic, resends=resend is not None)
    while True:
        match steps.send(answered):
            case _Done(ended):
                return latest if ended is None else ended
            case _Sleep(seconds):
                await asyncio.sleep(seconds)
                answered = None
            case _Ask(method, url, page):
                latest = await client.request(method, url)
                answered = await _read(latest, page=page)
            case _Resend():
                assert resend is not None
                latest = await resend()
                answered = await _read(latest)


# --- what to do next, without doing it -------------------------------------------------------------------------------


class Answered(NamedTuple):
    """An answer, whichever client brought it."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class _Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class _Ask:
    method: str
    url: str
    page: bool = False  # of the proxy's own, to be read whole


@dataclass(frozen=True, slots=True)
class _Resend:
    """Send the call itself again."""


@dataclass(frozen=True, slots=True)
class _Done:
    ended: Ended | None  # None: the latest answer is the response


type _Step = _Sleep | _Ask | _Resend | _Done
type _Steps[T] = Generator[_Step, Answered | None, T]


def _steps(first: Answered, *, within_s: float, clock: Callable[[], float], resends: bool) -> _Steps[None]:
    """One thing to do after the other; each is answered with what it brought, None for a sleep."""
    deadline_s = clock() + within_s
    answer = read_answer(*first)
    if not isinstance(answer, Held):
        yield _Done(answer)
        return
    held, rest_s = answer, 0.0 if answer.status == "approved" else _pause(answer.retry_after_s)
    while True:
        left_s = deadline_s - clock()
        if rest_s and left_s <= 0:
            yield _Done(held)
            return
        if rest_s:
            yield _Sleep(min(rest_s, left_s))
        latest: Held | Denied | None = yield from _look(held)
        if isinstance(latest, Held):
            held, rest_s = latest, _pause(latest.retry_after_s)
            latest = yield from _act(held, resends=resends)
        match latest:
            case Held():
                held = latest
            case Denied() if latest.action in ("retry", "wait") and latest.code not in _OVER:
                rest_s = _pause(latest.retry_after_s)  # nobody could tell, or nobody was there: the hold stands
            case _:
                yield _Done(_ended(latest, held))
                return


def _look(held: Held) -> _Steps[Held | Denied]:
    """The hold as it is now. An answer that is none leaves it as it was."""
    answered = yield _Ask("GET", held.status_url, page=True)
    assert answered is not None
    answer = read_answer(*answered)
    if isinstance(answer, Denied):
        return answer
    return read_hold(answered.body) or held


def _act(held: Held, *, resends: bool) -> _Steps[Held | Denied | None]:
    """What its state asks for; None when that brought the response. The hold itself: wait on."""
    if held.status == "released" and held.response_url is not None:
        return (yield from _fetch(held, held.response_url))
    if held.status in ("held", "releasing") or (held.status == "approved" and held.response_url is not None):
        return held
    if held.status != "approved":
        return _denied(held, "hold.spent" if held.status == "released" else f"hold.{held.status}")
    if held.redeem_url is not None:
        answered = yield _Ask("POST", held.redeem_url)
    elif resends:
        answered = yield _Resend()
    else:
        return _denied(held, "hold.not_stored")
    assert answered is not None
    return read_answer(*answered)


def _fetch(held: Held, url: str) -> _Steps[Held | Denied | None]:
    """The response to a call that the proxy has sent by itself; until it is kept there is none."""
    answered = yield _Ask("GET", url)
    assert answered is not None
    if _KEPT in fields_of(answered.headers):
        return None
    answer = read_answer(*answered)
    return answer if isinstance(answer, Denied) and answer.code != "hold.unknown" else held


def _pause(after_s: int | None) -> float:
    return min(max(USUAL_S if after_s is None else float(after_s), LEAST_S), MOST_S)


def _denied(held: Held, code: str) -> Denied:
    again = code in ("hold.expired", "hold.cancelled", "hold.not_stored")
    return Denied(
        status=403,
        code=code,
        title=f"The hold is {held.status}",
        detail=held.reason or _OVER.get(code, ""),
        action="retry" if again else "stop",
        retry_after_s=None,
        decision_id="",
        sponsor=None,
        reasons=(),
    )


def _ended(latest: Denied | None, held: Held) -> Ended | None:
    if latest is None:
        return None
    if latest.code == "hold.expired":
        return Expired(id=held.id, reason=latest.detail)
    if latest.code in ("hold.uncertain", "upstream.broken"):
        return Uncertain(id=held.id, status_url=held.status_url, reason=latest.detail)
    return latest


# --- what was answered -----------------------------------------------------------------------------------------------


def _seen(response: Response, *, page: bool = False) -> Answered:
    """Of what is neither the proxy's nor a `page` of it the body is left alone: it may be a stream."""
    ours = page or _may_be_ours(response.status_code, response.headers)
    return Answered(response.status_code, response.headers, response.content if ours else b"")


async def _read(response: Response | UnreadResponse, *, page: bool = False) -> Answered:
    if isinstance(response, Response):
        return _seen(response, page=page)
    ours = page or _may_be_ours(response.status, response.headers)
    return Answered(response.status, response.headers, await response.read() if ours else b"")


def _may_be_ours(status: int, headers: Headers) -> bool:
    """Whether it can be a refusal of the proxy's, or its word that a call was accepted for review."""
    return status == 202 or fields_of(headers).get("content-type", "").startswith("application/problem+json")
