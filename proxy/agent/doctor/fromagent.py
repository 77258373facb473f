"""From the inside, as the agent: is there no way out but the proxy? Run by a deployment before it counts as ready.

Every row says what was tried, what was expected, what came, and how to mend it. What could not be told is no pass.
Everything is tried side by side, and all of it ends within `DEADLINE_S`.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

from proxy.agent.doctor import kernel
from proxy.agent.doctor.around import ping, quic_packet
from proxy.agent.doctor.attempts import Seen, Trial, attempt, closed, leads_out, untold
from proxy.agent.doctor.canary import Stub, refusals
from proxy.agent.doctor.datagrams import NTP, TXT, A, datagram, question
from proxy.agent.doctor.findings import Finding, State, fail, ok, skip, unknown
from proxy.agent.doctor.place import Place
from proxy.agent.doctor.privileges import PROXY_PORTS, privileges

DEADLINE_S = 9.0  # with a start and an end: ten
SETTLE_S = 2.0  # the kernel needs one to see that an address is nobody else's

OUTSIDE = (("1.1.1.1", 443), ("2606:4700:4700::1111", 443))
"""Cloudflare's resolver, which answers everywhere; others may be named."""
TIME_SERVERS = ("162.159.200.1", "2606:4700:f1::1")
"""Cloudflare's time service: https://developers.cloudflare.com/time-services/ntp/usage/."""
RESOLVERS = (("1.1.1.1", "one.one.one.one"), ("8.8.8.8", "dns.google"), ("9.9.9.9", "dns.quad9.net"))
"""Those that also answer over HTTPS and TLS, each with the name to ask it by."""
METADATA = ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
"""Where clouds tell whoever asks what this machine is, and give out its credentials."""

PORTS = (22, 25, 80, 443, 5432, 6379, 8080)
_CLOSED = "refused, dropped, or caught by the proxy"
_RULES = "intent-proxy transparent apply, where the proxy runs (docs/rules.md), or a network that leads to it alone"
_DNS = "lead port 53 to the proxy's stub (docs/transparent.md), or let nothing here ask a name server"
_METADATA = "drop link-local and metadata addresses: the proxy's packet rules do (docs/rules.md)"

type End = tuple[str, int]
type Job = Callable[[], Seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What the operator has named."""

    outside: Sequence[End] = ()
    stores: Sequence[End] = ()
    desks: Sequence[End] = ()
    proxy_uids: Sequence[int] = ()
    resolvers: Sequence[str] = ()  # of this place
    name: str = "example.com"  # that exists in the world
    ca: Path | None = None
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One finding, from many attempts."""

    name: str
    tried: str
    expected: str
    mend: str
    jobs: Sequence[Job]


def from_agent(place: Place | None, asked: Questions, *, papers: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Every finding. `papers` yields what is asked of a proxy that agents know of."""
    ends = monotonic() + DEADLINE_S
    stub = Stub(resolvers=asked.resolvers, ca=asked.ca, timeout_s=asked.timeout_s)
    said = _Side(lambda: [*papers()])
    refused = _Side(lambda: [*refusals(place, stub)])
    while not kernel.settled() and monotonic() < ends - DEADLINE_S + SETTLE_S:
        sleep(0.1)
    waiting = [(row, [_Side(job) for job in row.jobs]) for row in rows(asked)]
    for side, name in ((said, "proxy"), (refused, "refusal")):
        found = side.result(ends)
        late = unknown(name, "no answer in time", "see whether the proxy runs, and what its log says")
        yield from [late] if found is None else (_must_be_told(each) for each in found)
    yield from privileges(asked.proxy_uids)
    for row, sides in waiting:
        yield _finding(row, [side.result(ends) for side in sides])


def _must_be_told(found: Finding) -> Finding:
    """Whether the CA is trusted must be known, not left open."""
    if found.state is State.SKIP and found.name.startswith("CA"):
        return unknown(found.name, found.text, "name --manifest and --key, which open a tunnel")
    return found


class _Side[T]:
    """Something done beside the rest. Whoever asks waits no longer than it may; nobody waits for it in the end."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._found: T | None = None
        self._thread = threading.Thread(target=self._run, args=(do,), daemon=True)
        self._thread.start()

    def _run(self, do: Callable[[], T]) -> None:
        with suppress(Exception):  # what fails in a way nobody thought of was not told: no pass, and no stack trace
            self._found = do()

    def result(self, ends: float) -> T | None:
        self._thread.join(max(0.0, ends - monotonic()))
        return self._found


def _finding(row: Row, found: Sequence[Seen | None]) -> Finding:
    seen = [each or untold("an attempt did not end in time") for each in found]
    for state, make in ((State.FAIL, fail), (State.UNKNOWN, unknown)):
        wrong = [each.text for each in seen if each.state is state]
        if wrong:
            made = make(row.name, wrong[0], row.mend)
            return replace(made, tried=row.tried, expected=row.expected, lines=tuple(wrong[1:]))
    if not seen:
        return skip(row.name, row.tried)
    told = ok(row.name, f"closed: {seen[0].text}" + (f", and {len(seen) - 1} more" if seen[1:] else ""))
    return replace(told, tried=row.tried, expected=row.expected)


# --- what is tried ----------------------------------------------------------------------------------------------------


def rows(asked: Questions) -> Iterator[Row]:
    """Every row of attempts."""
    yield from _tcp(asked)
    yield from _udp(asked)
    outside = tuple(dict.fromkeys(host for host, _ in asked.outside or OUTSIDE))
    yield _row("ICMP", outside, "no answer", _RULES, [_pinging(host, asked.timeout_s) for host in outside])
    yield from _names(asked, outside)
    yield _row(
        "metadata",
        METADATA,
        _CLOSED,
        _METADATA,
        [_trying(asked, (host, 80), speaks=True) for host in METADATA],
    )
    yield from _own_parts(asked)


def _row(name: str, tried: Iterable[object], expected: str, mend: str, jobs: Sequence[Job]) -> Row:
    return Row(name=name, tried=", ".join(map(str, tried)), expected=expected, mend=mend, jobs=jobs)


def _trying(asked: Questions, end: End, **how: object) -> Job:
    trial = Trial(address=end[0], port=end[1], ca=asked.ca, timeout_s=asked.timeout_s)
    trial = replace(trial, **how)  # type: ignore[arg-type]
    return lambda: attempt(trial)


def _pinging(host: str, timeout_s: float) -> Job:
    def job() -> Seen:
        told = ping(host, timeout_s)
        return leads_out(f"{host} {told}") if told else closed(f"{host} answers no ping")

    return job


def _tcp(asked: Questions) -> Iterator[Row]:
    for name, six in (("TCP, IPv4", False), ("TCP, IPv6", True)):
        known = [end for end in asked.outside or OUTSIDE if (":" in end[0]) is six]
        ends = dict.fromkeys([*known, *((host, port) for host, _ in known for port in PORTS)])
        jobs = [_trying(asked, end, speaks=end in known) for end in ends]
        ports = sorted({port for _, port in ends})
        if jobs:
            shown = [*dict.fromkeys(host for host, _ in known), f"ports {', '.join(map(str, ports))}"]
            yield _row(name, shown, _CLOSED, _RULES, jobs)
    shown = [f"{host} ({name}), ports 443 and 853" for host, name in RESOLVERS]
    jobs = [_trying(asked, (host, port), speaks=True, name=name) for host, name in RESOLVERS for port in (443, 853)]
    yield _row("DNS over HTTPS and TLS", shown, _CLOSED, _RULES, jobs)


def _udp(asked: Questions) -> Iterator[Row]:
    packets = {443: quic_packet(), 123: NTP}
    ends = [(host, 443) for host, _ in asked.outside or OUTSIDE]
    ends += [(host, 123) for host in (dict(asked.outside) or TIME_SERVERS)]
    ends += [end for end in asked.outside if end[1] != 53]
    jobs: list[Job] = [
        lambda end=end: datagram(end[0], end[1], packets.get(end[1], NTP), asked.timeout_s)  # type: ignore[misc]
        for end in dict.fromkeys(ends)
    ]
    yield _row("UDP", [f"{host} port {port}" for host, port in dict.fromkeys(ends)], "no answer", _RULES, jobs)


def _names(asked: Questions, outside: Sequence[str]) -> Iterator[Row]:
    name, wait = f"intent-doctor.{asked.name}", asked.timeout_s
    expected = "an address of 198.18.0.0/15, an error, or nothing"

    def asking(server: str, what: str, kind: int, *, stream: bool = False, own: bool = False) -> Job:
        return lambda: question(server, what, kind, wait, stream=stream, own=own)

    # The name that exists is answered by whoever asks the world; the other would carry something out.
    jobs = [
        asking(server, what, kind, own=True)
        for server in asked.resolvers
        for what, kind in ((asked.name, A), (name, A), (asked.name, TXT))
    ]
    tried = f"{asked.name} and {name} at {', '.join(asked.resolvers)}" if jobs else "this place has no name server"
    yield _row("DNS", [tried], expected, _DNS, jobs)
    jobs = [
        asking(server, asked.name, kind, stream=stream)
        for server in outside
        for kind, stream in ((A, False), (TXT, False), (A, True))
    ]
    yield _row("DNS, other servers", [f"{asked.name} at {', '.join(outside)}"], expected, _DNS, jobs)


def _own_parts(asked: Questions) -> Iterator[Row]:
    """What belongs to the proxy and to nobody else, reached directly."""
    near = ("127.0.0.1", "::1", *kernel.gateways())
    ends = [(host, port) for host in near for port in PROXY_PORTS]
    jobs = [
        _trying(asked, end, part=True, speaks=True, said=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", tls=False)
        for end in ends
    ]
    tried = f"{', '.join(near)}, ports {', '.join(map(str, PROXY_PORTS))}"
    yield _row("listener", [tried], "refused, dropped, or closed without a word", _RULES, jobs)
    for name, option, given, said in (
        ("store", "--store", asked.stores, b"PING\r\n"),
        ("desk", "--desk", asked.desks, None),
    ):
        if not given:
            yield _row(name, [f"none was named ({option} HOST:PORT)"], "", "", [])
            continue
        jobs = [_trying(asked, end, part=True, speaks=True, said=said, tls=False) for end in given]
        jobs += [_trying(asked, end, part=True, speaks=True, tls=True) for end in given]
        mend = f"let agents not reach the {name}: a network of its own, or --closed-port PORT (docs/rules.md)"
        yield _row(name, [f"{host} port {port}" for host, port in given], _CLOSED, mend, jobs)
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host and port.isdigit():
        mend = "let agents not reach the API server: a NetworkPolicy that denies by default (config/kubernetes)"
        yield _row(
            "Kubernetes API", [f"{host} port {port}"], _CLOSED, mend, [_trying(asked, (host, int(port)), speaks=True)]
        )
