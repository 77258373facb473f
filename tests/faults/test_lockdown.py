"""The facts about mitmproxy that this product stands on, each kept true: what is pinned, what is loaded, what ends."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytest_asyncio
from houses import WAYS
from mitmproxy import connection, hooks, http, tls
from mitmproxy.exceptions import OptionsError
from mitmproxy.flow import Error
from mitmproxy.options import Options
from mitmproxy.proxy import context, layer, server_hooks
from rawclient import request_bytes
from towns import Town, open_town

from addons.intake import Bodies
from addons.lockdown import PINNED, check
from addons.plain import Closed
from proxy.core.model import HoldState, Verdict
from proxy.delivering import Deliveries
from proxy.edge.ca import load_authority
from proxy.edge.master import Dispatch, EdgeMaster
from proxy.footing import Footings
from proxy.gate import Gate
from proxy.internal import Internal
from proxy.stores.embedded import EmbeddedStore

ENDS_S = 15.0

# --- options and addons ----------------------------------------------------------------------------------------------

OTHERWISE: dict[str, object] = {
    "connection_strategy": "eager",
    "stream_large_bodies": "1",
    "body_size_limit": "1m",
    "connect_addr": "127.0.0.1",
    "client_certs": __file__,
    "ciphers_client": "ALL",
    "ciphers_server": "ALL",
    "tls_version_client_min": "UNBOUNDED",
    "tls_version_server_min": "UNBOUNDED",
}
"""Another value for each pinned option that is neither a switch nor a list."""

HARMLESS = {
    "cert_passphrase": "our own authority signs",
    "certs": "our own authority signs",
    "key_size": "our own authority signs",
    "confdir": "nothing is read from or written to it",
    "content_view_lines_cutoff": "nothing is displayed",
    "protobuf_definitions": "nothing is displayed",
    "showhost": "nothing is displayed",
    "http2_ping_keepalive": "only mitmproxy's own HTTP/2 reads it, which is never made",
    "http3": "nobody listens for UDP, and nothing dials it",
    "http_connect_send_host_header": "no proxy is upstream of us",
    "listen_host": "the listener is ours",
    "listen_port": "the listener is ours",
    "mode": "the listener is ours, and explicit",
    "ssl_verify_upstream_trusted_ca": "set once, from proxy.yaml",
    "ssl_verify_upstream_trusted_confdir": "the file above is set, always",
    "tcp_timeout": "set once; it ends connections, it does not open any",
    "tls_ecdh_curve_client": "any curve OpenSSL has will do",
    "tls_ecdh_curve_server": "any curve OpenSSL has will do",
    "tls_version_client_max": "there is none above what we want",
    "tls_version_server_max": "there is none above what we want",
}
"""Options that are not pinned, and why not. One that a new mitmproxy brings belongs here or there before it is used."""


@pytest_asyncio.fixture
async def master(tmp_path: Path) -> AsyncIterator[EdgeMaster]:
    """An embedded mitmproxy that serves nobody: only its options, addons and dispatch are looked at."""
    authority = load_authority(tmp_path / "ca", deployment="edge-test", now=datetime.now(UTC))
    yield EdgeMaster(
        gate=Mock(Gate),
        internal=Mock(Internal),
        bodies=Mock(Bodies),
        deliveries=Mock(Deliveries),
        authority=authority,
        upstream_roots=None,
        footings=Mock(Footings),
    )


def other_than(name: str) -> object:
    pinned = PINNED[name]
    return OTHERWISE.get(name, [".*"] if isinstance(pinned, list) else not pinned)


@pytest.mark.parametrize("name", PINNED)
async def test_a_pinned_option_cannot_be_changed(master: EdgeMaster, name: str) -> None:
    with pytest.raises(OptionsError, match=name):
        master.options.update(**{name: other_than(name)})
    assert getattr(master.options, name) == PINNED[name]
    check(master.options)


@pytest.mark.parametrize("name", PINNED)
def test_a_start_with_a_pinned_option_changed_is_refused(name: str) -> None:
    given = type("Given", (), PINNED | {name: other_than(name)})
    with pytest.raises(OptionsError, match=f"{name} must be"):
        check(given)  # type: ignore[arg-type]
    check(type("Given", (), PINNED))  # type: ignore[arg-type]


async def test_every_option_is_pinned_or_known_to_be_harmless(master: EdgeMaster) -> None:
    assert set(master.options.keys()) == PINNED.keys() | HARMLESS.keys()
    assert PINNED.keys() <= {*Options().keys(), *master.options.keys()}


async def test_only_the_named_addons_are_loaded(master: EdgeMaster) -> None:
    loaded = [f"{type(addon).__module__}.{type(addon).__name__}" for addon in master.addons.chain]
    assert loaded == [
        "mitmproxy.addons.core.Core",
        "mitmproxy.addons.disable_h2c.DisableH2C",
        "mitmproxy.addons.proxyserver.Proxyserver",
        "addons.lockdown.Lockdown",
        "addons.admit.Admit",
        "addons.dial.Dial",
        "proxy.edge.tls.EdgeTls",
        "mitmproxy.addons.errorcheck.ErrorCheck",
        "addons.observe.Observe",
        "addons.renewal.Renewal",
        "addons.carrier.Carrier",
        "addons.enforce.Enforce",
    ]
    assert [type(addon).__name__ for addon in master.addons.chain if hasattr(addon, "request")][-1] == "Enforce"


async def test_no_option_loads_code_or_changes_messages(master: EdgeMaster) -> None:
    """`-s script.py` with a broken reload would run on without the gate; here nothing could take the option."""
    elsewhere = {"scripts", "modify_headers", "modify_body", "map_local", "map_remote", "server_replay", "proxyauth"}
    assert elsewhere.isdisjoint(master.options.keys())


# --- an exception in any hook ----------------------------------------------------------------------------------------


class Failing:
    """An addon of which one hook raises."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self._fail)

    def _fail(self, *_: object) -> None:
        raise RuntimeError("this hook fails")


class Lifting:
    """An addon that would let a call pass."""

    def request(self, flow: http.HTTPFlow) -> None:
        flow.response = None


def a_flow() -> http.HTTPFlow:
    client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
    flow = http.HTTPFlow(client, connection.Server(address=("erp.example", 443)), live=True)
    flow.request = http.Request.make("GET", "https://erp.example/")
    return flow


def a_context() -> context.Context:
    return context.Context(a_flow().client_conn, Options())


def is_refusal(subject: http.HTTPFlow) -> bool:
    return subject.response is not None and subject.response.status_code == 503


def is_killed(subject: http.HTTPFlow) -> bool:
    return subject.error is not None and subject.error.msg == Error.KILLED_MESSAGE


def leads_nowhere(subject: layer.NextLayer) -> bool:
    return subject.layer is None or isinstance(subject.layer, Closed)


def a_dial() -> server_hooks.ServerConnectionHookData:
    return server_hooks.ServerConnectionHookData(
        server=connection.Server(address=("erp.example", 443)), client=a_flow().client_conn
    )


def a_handshake() -> tls.TlsData:
    data = tls.TlsData(conn=a_flow().client_conn, context=a_context())
    data.ssl_conn = object()  # type: ignore[assignment]
    return data


def a_hello() -> tls.ClientHelloData:
    return tls.ClientHelloData(context=a_context(), client_hello=None, ignore_connection=True)  # type: ignore[arg-type]


REFUSED = {
    "requestheaders": (a_flow, is_refusal),
    "request": (a_flow, is_refusal),
    "http_connect": (a_flow, is_refusal),
    "responseheaders": (a_flow, is_killed),
    "response": (a_flow, is_killed),
    "next_layer": (lambda: layer.NextLayer(a_context()), leads_nowhere),
    "server_connect": (a_dial, lambda subject: bool(subject.server.error)),
    "tls_start_client": (a_handshake, lambda subject: subject.ssl_conn is None),
    "tls_start_server": (a_handshake, lambda subject: subject.ssl_conn is None),
    "tls_clienthello": (a_hello, lambda subject: subject.ignore_connection is False),
}
"""What a hook is asked about, and how it looks once it is refused."""

NO_VERDICT = {
    "load": "start: the worker does not come up",
    "configure": "an option was changed: it is set back",
    "running": "start",
    "done": "stop",
    "update": "somebody was told",
    "add_log": "never called",
    "client_connected": "nothing was asked yet; every call is judged on its own",
    "client_disconnected": "it is over",
    "server_connected": "the connection was judged by server_connect",
    "server_connect_error": "it is over",
    "server_disconnected": "it is over",
    "tls_established_client": "what was agreed on stands; every call is judged on its own",
    "tls_established_server": "the certificate was checked",
    "tls_failed_client": "it is over",
    "tls_failed_server": "it is over",
    "error": "it is over",
    "http_connected": "the tunnel was judged by http_connect",
    "http_connect_error": "it is over",
    "refused_head": "without an answer the connection ends",
    "conversation_ended": "it is over",
    "write_body": "a job that is not said to be done has failed",
    "send_piece": "a job that is not said to be done has failed",
    "end_body": "a job that is not said to be done has failed",
} | dict.fromkeys(
    [name for name in hooks.all_hooks if name.startswith(("tcp_", "udp_", "dns_", "quic_", "websocket_"))]
    + ["http_connect_upstream", "socks5_auth"],
    "no layer that calls it is ever made",
)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_failing_hook_was_asked_is_refused(master: EdgeMaster, name: str) -> None:
    make, refused = REFUSED[name]
    subject = make()
    assert isinstance(master.addons, Dispatch)
    assert not refused(subject) or name == "next_layer"
    master.addons.add(Failing(name))
    await master.addons.trigger_event(hooks.all_hooks[name](subject))
    assert refused(subject)


async def test_the_refusal_of_a_head_stands_when_its_body_has_come(master: EdgeMaster) -> None:
    """mitmproxy calls `request` for a flow whose `requestheaders` failed: that must not lift the refusal."""
    flow = a_flow()
    master.addons.add(Failing("requestheaders"), Lifting())
    await master.addons.trigger_event(hooks.all_hooks["requestheaders"](flow))
    await master.addons.trigger_event(hooks.all_hooks["request"](flow))
    assert is_refusal(flow) or is_killed(flow)


def test_every_hook_has_its_refusal_or_a_reason_for_none() -> None:
    assert REFUSED.keys() | NO_VERDICT.keys() == hooks.all_hooks.keys()


# --- processes -------------------------------------------------------------------------------------------------------


def processes_of(pid: int) -> set[int]:
    """The living children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in listed if is_alive(int(child))}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + ENDS_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {ENDS_S} s: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, list[Path]]]:
    """A town of two workers, whose environment asks every TLS library for its secrets."""
    folder = tmp_path_factory.mktemp("watched")
    logs = {name: folder / name for name in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")}
    with pytest.MonkeyPatch.context() as patch:
        for name, path in logs.items():
            patch.setenv(name, str(path))
        (folder / "town").mkdir()
        with open_town(folder / "town") as town:
            for name in logs:
                patch.delenv(name)
            yield town, list(logs.values())
    EmbeddedStore(town.house.settings.state).stop()


def test_no_tls_secret_is_written_whatever_the_environment_says(watched: tuple[Town, list[Path]]) -> None:
    town, logs = watched
    assert town.house.call("GET", town.url("tls", "/v1/invoices/17")).status == 200
    assert [log.name for log in logs if log.exists()] == []


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_sent_for_a_client_that_left_while_its_call_was_held(
    watched: tuple[Town, list[Path]], way: str
) -> None:
    town = watched[0]
    origin, chain = town.origin(way), town.house.chain()
    url, before = town.url(way, "/v1/payroll/9"), origin.mark()
    lines = town.house.signed("GET", url, chain=chain, headers=[("Prefer", "wait=30")])
    wire = town.house.open(url)
    wire.send(request_bytes("GET", url if way == "plain" else "/v1/payroll/9", [("Host", url.split("/")[2]), *lines]))
    hold_id = town.wait_for_hold(chain)
    wire.close()
    town.house.decide(hold_id, Verdict.ALLOW)
    again = town.house.call("GET", url, chain=chain)
    assert again.status == 200, "the release is still there for the agent's next attempt"
    assert len(origin.since(before).requests) == 1
    assert town.house.hold(hold_id).state is HoldState.RELEASED


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_worker_is_replaced_and_service_goes_on(watched: tuple[Town, list[Path]], way: str) -> None:
    town = watched[0]
    assert town.house.process is not None
    supervisor, journals = town.house.process.pid, town.house.settings.state / "journal"
    before, chains = processes_of(supervisor), set(journals.glob("*.jsonl"))
    assert len(before) == 2
    os.kill(victim := min(before), signal.SIGKILL)
    until(lambda: len(processes_of(supervisor) - {victim}) == 2, "another worker is started")
    until(lambda: len(set(journals.glob("*.jsonl")) - chains) == 1, "it begins a chain of its own")
    (chain,) = set(journals.glob("*.jsonl")) - chains

    def served() -> bool:
        assert town.house.call("GET", town.url(way, "/v1/invoices/17")).status == 200
        return '"decision"' in chain.read_text()

    until(served, "the new worker decides, and no call fails meanwhile")


def test_workers_end_with_their_supervisor(watched: tuple[Town, list[Path]]) -> None:
    town = watched[0]
    assert town.house.process is not None
    workers = processes_of(town.house.process.pid)
    assert len(workers) == 2
    os.kill(town.house.process.pid, signal.SIGKILL)
    town.house.process.wait(ENDS_S)
    until(lambda: not any(is_alive(pid) for pid in workers), "both workers end")
    with pytest.raises(ConnectionRefusedError):
        town.house.open(town.url("plain", "/"))
