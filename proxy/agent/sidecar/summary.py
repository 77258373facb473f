"""What a person reads when a sidecar ends: how many calls were allowed, held and denied, and where each hold is."""

from collections import Counter
from collections.abc import Iterator, Mapping

from proxy.agent.answers import Held
from proxy.agent.sidecar.tally import Tally
from proxy.core.encoding import Json

type Holds = Mapping[str, Held]


def lines(tally: Tally, holds: Holds) -> Iterator[str]:
    """The summary, line by line; nothing when nothing was called."""
    if tally.is_empty and not holds:
        return
    held = len(holds) + tally.more_held
    yield f"{tally.allowed} allowed, {held} held, {tally.denied.total()} denied{_failed(tally)}"
    for hold in holds.values():
        yield f"held {hold.id}: {hold.status}, {hold.code}; {hold.status_url}"
    yield from _counted("denied", tally.denied)
    yield from _counted("failed", tally.failed)
    if tally.under_way:
        yield f"{_times(tally.under_way, 'call')} ended before the answer: see the proxy's journal"
    if tally.tunnels:
        yield f"{_times(tally.tunnels, 'tunnel')} opened: what was allowed or denied inside is in the proxy's journal"
    for host, times in sorted(tally.distrusted.items()):
        yield f"{host}: {_times(times, 'connection')} broken off in TLS: the program may not trust the sidecar's CA"


def document(tally: Tally, holds: Holds) -> Json:
    """The same for programs."""
    held: list[Json] = [
        {"id": each.id, "status": each.status, "code": each.code, "reason": each.reason, "status_url": each.status_url}
        for each in holds.values()
    ]
    return {
        "allowed": tally.allowed,
        "held": held,
        "denied": dict(tally.denied),
        "failed": dict(tally.failed),
        "unanswered": tally.under_way,
        "tunnels": tally.tunnels,
        "distrusted": dict(tally.distrusted),
    }


def _failed(tally: Tally) -> str:
    return f", {tally.failed.total()} failed" if tally.failed else ""


def _counted(word: str, counts: Counter[str]) -> Iterator[str]:
    for code, times in sorted(counts.items()):
        yield f"{word} {code}" + (f" ({times} times)" if times > 1 else "")


def _times(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
