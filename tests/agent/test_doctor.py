"""The doctor's parts, each with what it finds and its twin. In a real place: tests/network/test_doctor.py."""

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import certs
import identities
import pytest
from origins import Origin, Reply

from proxy.agent.doctor import around, papers, proxyside
from proxy.agent.doctor.findings import State, as_json, as_text, fail, ok, plain, skip
from proxy.agent.doctor.place import Place, find_proxy
from proxy.agent.doctor.program import AILING, HEALTHY, INTERRUPTED, WRONG_USAGE, main
from proxy.agent.keyfile import save_key
from proxy.agent.variables import TRUST
from proxy.core.errors import Rejected

ROOT = Path(__file__).parents[2]
HEALTH = {"status": "ok", "deployment": identities.DEPLOYMENT}


def health(*, ahead: timedelta = timedelta(0), **headers: str) -> Reply:
    date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    return Reply(json=HEALTH, headers=(("Date", date), *headers.items()))


@pytest.fixture
def stand_in() -> Iterator[Origin]:
    """What a proxy answers on its own pages."""
    with Origin() as running:
        running.on("GET", "*", health())
        yield running


def place(url: str, *, environment: Mapping[str, str] | None = None, **more: object) -> Place:
    proxy, said_by = find_proxy(url, {})
    return Place(proxy=proxy, said_by=said_by, environment=environment or {}, timeout_s=1.0, **more)  # type: ignore[arg-type]


def forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", *TRUST):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# --- which proxy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        pytest.param("http://a:1", {"HTTPS_PROXY": "http://b:2"}, ("a", 1, "--proxy"), id="the option comes first"),
        pytest.param(None, {"https_proxy": "http://b:2"}, ("b", 2, "https_proxy"), id="else a variable"),
        pytest.param(None, {"HTTP_PROXY": "b:2"}, ("b", 2, "HTTP_PROXY"), id="as curl has it, without http://"),
    ],
)
def test_the_proxy_is_the_one_that_was_named(
    given: str | None, environment: dict[str, str], expected: tuple[str, int, str]
) -> None:
    proxy, said_by = find_proxy(given, environment)
    assert (proxy.hostname, proxy.port, said_by) == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        pytest.param({}, "which proxy?", id="none"),
        pytest.param({"HTTPS_PROXY": "http://m:s3cret@host"}, "HTTPS_PROXY must be", id="no port"),
        pytest.param({"HTTPS_PROXY": "socks5://host:1"}, "HTTPS_PROXY must be", id="another protocol"),
        pytest.param({"HTTPS_PROXY": "http://host:99999"}, "HTTPS_PROXY must be", id="no such port"),
        pytest.param({"HTTPS_PROXY": "http://host:0"}, "HTTPS_PROXY must be", id="port 0"),
        pytest.param({"HTTPS_PROXY": "http://[::1:80"}, "HTTPS_PROXY must be", id="half an IPv6 address"),
        pytest.param({"HTTPS_PROXY": f"http://{'a' * 70}:80"}, "HTTPS_PROXY must be", id="a label too long"),
        pytest.param({"HTTPS_PROXY": "http://a..b:80"}, "HTTPS_PROXY must be", id="an empty label"),
        pytest.param({"HTTPS_PROXY": "http://host:80/path"}, "HTTPS_PROXY must be", id="a path"),
    ],
)
def test_what_is_no_proxy_is_said_without_its_secrets(environment: dict[str, str], said: str) -> None:
    with pytest.raises(Rejected) as fault:
        find_proxy(None, environment)
    assert said in fault.value.detail
    assert "s3cret" not in fault.value.detail


# --- the proxy and the clock ------------------------------------------------------------------------------------------


def test_a_proxy_that_answers_is_told_with_its_deployment(stand_in: Origin) -> None:
    found, reached = proxyside.reach(place(stand_in.url("")))
    assert (found.state, reached is not None) == (State.OK, True)
    assert identities.DEPLOYMENT in found.text


@pytest.mark.parametrize(
    ("reply", "said", "mend"),
    [
        pytest.param(Reply(status=404), "is no intent-proxy", "give the address", id="another server"),
        pytest.param(Reply(json={"status": "ok"}), "is no intent-proxy", "give the address", id="another's health"),
        pytest.param(Reply(body=b"<html>"), "is no intent-proxy", "give the address", id="a page"),
        pytest.param(Reply(raw=b"SSH-2.0\r\n", then="close"), "does not speak HTTP", "http://", id="no HTTP"),
        pytest.param(
            Reply(
                status=503,
                headers=(("Content-Type", "application/problem+json"),),
                json={
                    "type": "http://intent.internal/problems/service.undecided",
                    "code": "service.undecided",
                    "detail": "No worker runs.",
                },
            ),
            "No worker runs. (service.undecided)",
            "its operator",
            id="a proxy without a worker",
        ),
    ],
)
def test_what_is_no_proxy_that_works_is_found(stand_in: Origin, reply: Reply, said: str, mend: str) -> None:
    stand_in.on("GET", "*", reply)
    found, reached = proxyside.reach(place(stand_in.url("")))
    assert (found.state, reached) == (State.FAIL, None)
    assert said in found.text
    assert mend in found.mend


@pytest.mark.parametrize(
    ("url", "said", "mend"),
    [
        pytest.param("http://127.0.0.1:{}", "nothing listens at 127.0.0.1", "intent-proxy run", id="nobody there"),
        pytest.param("http://no-such-host.invalid:{}", "does not resolve", "give its address", id="no such name"),
    ],
)
def test_where_nobody_is_that_is_said(url: str, said: str, mend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    found, _ = proxyside.reach(place(url.format(port)))
    assert said in found.text
    assert mend in found.mend


def test_a_silent_proxy_is_found_within_its_time() -> None:
    with Origin(on_accept="silent") as silent:
        found, _ = proxyside.reach(replace(place(silent.url("")), timeout_s=0.2))
    assert "does not answer within 0.2 s" in found.text
    assert "let this place's network reach" in found.mend


def test_a_proxy_over_tls_must_be_the_one_that_is_trusted(tmp_path: Path) -> None:
    authority = certs.Authority()
    with Origin(tls=authority.server("127.0.0.1")) as over_tls:
        over_tls.on("GET", "*", health())
        trusted, _ = proxyside.reach(place(over_tls.url(""), ca=authority.write(tmp_path)))
        (tmp_path / "other").mkdir()
        other, _ = proxyside.reach(place(over_tls.url(""), ca=certs.Authority().write(tmp_path / "other")))
    assert (trusted.state, other.state) == (State.OK, State.FAIL)
    assert "certificate does not verify" in other.text
    assert "--ca" in other.mend


@pytest.mark.parametrize(
    ("ahead_s", "state", "said"),
    [
        pytest.param(0, State.OK, "agrees", id="it agrees"),
        pytest.param(3, State.OK, "agrees", id="nearly"),
        pytest.param(-3600, State.FAIL, "ahead of", id="an hour ahead of the proxy"),
        pytest.param(90, State.FAIL, "behind", id="behind the proxy"),
    ],
)
def test_the_clock_is_compared_with_the_proxys(stand_in: Origin, ahead_s: int, state: State, said: str) -> None:
    stand_in.on("GET", "*", health(ahead=timedelta(seconds=ahead_s)))
    _, reached = proxyside.reach(place(stand_in.url("")))
    assert reached is not None
    found = proxyside.clock(reached)
    assert (found.state, said in found.text) == (state, True)
    assert ("NTP" in found.mend) is (state is State.FAIL)


def test_a_proxy_that_does_not_say_the_time_is_no_fault(stand_in: Origin) -> None:
    stand_in.on("GET", "*", Reply(json=HEALTH))
    _, reached = proxyside.reach(place(stand_in.url("")))
    assert reached is not None
    assert proxyside.clock(reached).state is State.SKIP


# --- variables --------------------------------------------------------------------------------------------------------

HERE = "http://127.0.0.1:8080"
BOTH = {"HTTP_PROXY": HERE, "HTTPS_PROXY": HERE}


@pytest.mark.parametrize(
    ("environment", "state", "mend"),
    [
        pytest.param({}, State.SKIP, "", id="none are set"),
        pytest.param(BOTH, State.OK, "", id="both lead here"),
        pytest.param({"ALL_PROXY": HERE}, State.OK, "", id="one for all"),
        pytest.param(BOTH | {"NO_PROXY": "localhost, 127.0.0.1,::1"}, State.OK, "", id="this machine is left out"),
        pytest.param(BOTH | {"HTTPS_PROXY": "http://m:s3cret@127.0.0.1:8080/"}, State.OK, "", id="with a session"),
        pytest.param(BOTH | {"https_proxy": "http://other:1"}, State.FAIL, "export https_proxy=", id="one elsewhere"),
        pytest.param({"HTTPS_PROXY": HERE}, State.FAIL, "set it like", id="one is missing"),
        pytest.param(BOTH | {"NO_PROXY": "*"}, State.FAIL, "unset NO_PROXY", id="everything goes around"),
        pytest.param(BOTH | {"no_proxy": "erp.example"}, State.FAIL, "unset no_proxy", id="one host goes around"),
        pytest.param(
            BOTH | {"NO_PROXY": "127.evil.example"}, State.FAIL, "unset NO_PROXY", id="a name that begins like loopback"
        ),
        pytest.param(BOTH | {"NO_PROXY": "localhost.evil.example"}, State.FAIL, "unset", id="and one like localhost"),
        pytest.param(BOTH | {"NO_PROXY": "127.0.0.0/1"}, State.FAIL, "unset", id="a network wider than loopback"),
        pytest.param(BOTH | {"NO_PROXY": "169.254.169.254"}, State.FAIL, "unset", id="the metadata service"),
        pytest.param(
            BOTH
            | {"NO_PROXY": "LOCALHOST,.localhost,127.0.0.0/8,[::1],[::1]:80,127.0.0.1:8000,localhost:3000,::1/128"},
            State.OK,
            "",
            id="every spelling of this machine",
        ),
        pytest.param(
            {"HTTP_PROXY": "HTTP://127.0.0.1:8080/", "HTTPS_PROXY": HERE}, State.OK, "", id="the scheme in capitals"
        ),
    ],
)
def test_variables_must_lead_to_the_proxy(environment: dict[str, str], state: State, mend: str) -> None:
    found = proxyside.environment(place(HERE, environment=environment))
    assert found.state is state
    assert mend in found.mend
    assert "s3cret" not in f"{found.text}{found.mend}"


# --- papers -----------------------------------------------------------------------------------------------------------


def signed(path: Path, **changes: object) -> Path:
    path.write_text(identities.root(identities.draft(now=datetime.now(UTC), **changes)))  # type: ignore[arg-type]
    return path


DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    ("changes", "deployment", "state", "said", "mend"),
    [
        pytest.param({}, identities.DEPLOYMENT, State.OK, "valid for 2", "", id="it is valid"),
        pytest.param({}, None, State.OK, "valid for", "", id="of a proxy that does not answer"),
        pytest.param({"iat": NOW - 3 * DAY, "exp": NOW - DAY}, None, State.FAIL, "ended 1 d", "renew", id="it ended"),
        pytest.param({"nbf": NOW + DAY}, None, State.FAIL, "begins in 23 h", "wait", id="it has not begun"),
        pytest.param({}, "another", State.FAIL, "is another's", "of this deployment", id="for another deployment"),
    ],
)
def test_a_manifest_is_read_as_the_proxy_would(
    changes: dict[str, object], deployment: str | None, state: State, said: str, mend: str, tmp_path: Path
) -> None:
    where = place(HERE, manifest=signed(tmp_path / "m.jws", **changes))
    found, last = papers.manifest(where, deployment, now=datetime.now(UTC))
    assert (found.state, last is not None) == (state, True)
    assert said in found.text
    assert mend in found.mend


def test_a_manifest_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "m.jws").write_text("eyJ.nonsense")
    for path in (tmp_path / "m.jws", tmp_path / "missing.jws"):
        found, last = papers.manifest(place(HERE, manifest=path), None, now=NOW)
        assert (found.state, last) == (State.FAIL, None)
        assert "manifest sign" in found.mend


@pytest.mark.parametrize(
    ("owner", "mode", "state", "mend"),
    [
        pytest.param(identities.AGENT, 0o600, State.OK, "", id="the agent's"),
        pytest.param("somebody", 0o600, State.FAIL, "use the key that the manifest was made for", id="another's"),
        pytest.param(identities.AGENT, 0o640, State.FAIL, "chmod 600", id="readable by others"),
        pytest.param(None, 0, State.FAIL, "intent-proxy keys new", id="missing"),
    ],
)
def test_the_key_must_be_the_manifests_and_private(
    owner: str | None, mode: int, state: State, mend: str, tmp_path: Path
) -> None:
    where = place(HERE, manifest=signed(tmp_path / "m.jws"), key=tmp_path / "k.pem")
    if owner is not None:
        save_key(tmp_path / "k.pem", identities.key(owner))
        (tmp_path / "k.pem").chmod(mode)
    _, last = papers.manifest(where, None, now=datetime.now(UTC))
    found, private = papers.key(where, last)
    assert (found.state, private is not None) == (state, state is State.OK)
    assert mend in found.mend


# --- ways around ------------------------------------------------------------------------------------------------------


@contextmanager
def answering(reply: Callable[[bytes], bytes]) -> Iterator[int]:
    """A UDP port of loopback that answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            with suppress(OSError):
                while True:
                    packet, sender = sock.recvfrom(4096)
                    sock.sendto(reply(packet), sender)

        threading.Thread(target=serve, daemon=True).start()
        yield sock.getsockname()[1]


@pytest.mark.parametrize(
    ("flags", "open_"),
    [
        pytest.param(b"\x81\x80", True, id="an answer"),
        pytest.param(b"\x81\x83", True, id="no such name: somebody asked the world"),
        pytest.param(b"\x81\x82", False, id="a server that cannot find out"),
        pytest.param(b"\x81\x85", False, id="a server that refuses"),
    ],
)
def test_a_name_server_is_a_way_if_it_finds_out(flags: bytes, open_: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def exchange(address: str, port: int, packet: bytes, timeout_s: float) -> bytes:
        asked.append(packet)
        return packet[:2] + flags + packet[4:]

    monkeypatch.setattr(around, "_exchange", exchange)
    assert bool(around.dns("192.0.2.1", "example.com", 1.0)) is open_
    (packet,) = asked
    assert packet[12:] == b"\x07example\x03com\x00" + struct.pack(">2H", 1, 1), "one question, and nothing else"


def test_an_answer_to_another_question_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (None, b"", b"\0" * 12):
        monkeypatch.setattr(around, "_exchange", lambda *_, answer=answer: answer)
        monkeypatch.setattr(around.secrets, "randbits", lambda _: 4711)
        assert around.dns("192.0.2.1", "example.com", 1.0) == ""


def test_one_datagram_is_sent_and_one_is_heard() -> None:
    with answering(lambda packet: packet[::-1]) as port:
        assert around._exchange("127.0.0.1", port, b"abc", 2.0) == b"cba"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert around._exchange("127.0.0.1", silent.getsockname()[1], b"abc", 0.1) is None
        assert silent.recv(100) == b"abc"


def test_a_ping_is_heard_where_one_may_send_it() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except PermissionError:
        pytest.skip("sending pings needs root")
    assert around.ping("127.0.0.1", 2.0) == "answers a ping"


def test_its_name_servers_are_those_of_the_place(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# ours\nsearch example\nnameserver 192.0.2.1\nnameserver  2001:db8::1 \n")
    assert around.own_resolvers(tmp_path / "resolv.conf") == ("192.0.2.1", "2001:db8::1")
    assert around.own_resolvers(tmp_path / "missing") == ()


def test_ways_are_named_with_their_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tcp", "quic", "ping"):
        monkeypatch.setattr(around, name, lambda address, *_: "answers" if address == "192.0.2.2" else "")
    monkeypatch.setattr(around, "dns", lambda *_: "")
    targets = around.Targets(addresses_4=("192.0.2.1", "192.0.2.2"), addresses_6=(), metadata=(), timeout_s=0.1)
    found = {each.name: each for each in around.around(targets, proxy="10.0.0.2:8080")}
    assert [each.name for each in found.values() if each.fails] == [
        "around: IPv4, TCP 443",
        "around: TCP 22, 53, 80, 853",
        "around: UDP 443",
        "around: ICMP",
    ]
    assert "192.0.2.2 answers" in found["around: IPv4, TCP 443"].text
    assert "10.0.0.2:8080 and nothing else" in found["around: IPv4, TCP 443"].mend
    assert found["around: IPv6, TCP 443"].text == "not tried: no address"


# --- whatever is given, whatever answers ------------------------------------------------------------------------------


@contextmanager
def dripping(first: bytes) -> Iterator[int]:
    """A server that answers each connection a byte at a time, and never ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip(sock: socket.socket) -> None:
            with suppress(OSError), sock:
                sock.sendall(first)
                while True:
                    sock.sendall(b"a")
                    threading.Event().wait(0.05)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", id="in the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="in the body"),
        pytest.param(b"", id="from the first byte on"),
    ],
)
def test_a_proxy_that_answers_a_byte_at_a_time_is_left_in_time(first: bytes) -> None:
    with dripping(first) as port:
        where = replace(place(f"http://127.0.0.1:{port}"), timeout_s=0.2)
        found, _ = proxyside.reach(where)
        (trusted,) = proxyside.certificates(where, tuple)
    assert (found.state, trusted.state) == (State.FAIL, State.FAIL)
    assert "does not answer within 0.2 s" in found.text


def test_so_is_one_whose_own_handshake_never_ends() -> None:
    with dripping(b"\x16\x03\x03\x3f\xff") as port:
        found, _ = proxyside.reach(replace(place(f"https://127.0.0.1:{port}"), timeout_s=0.2))
    assert (found.state, "does not answer within 0.2 s" in found.text) == (State.FAIL, True)


def test_a_handshake_a_byte_at_a_time_is_left_in_time() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03\x3f\xff") as port:
        (trusted,) = proxyside.certificates(replace(place(f"http://127.0.0.1:{port}"), timeout_s=0.2), tuple)
    assert trusted.state is State.FAIL


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"summary": "x"}', id="no grants"),
        pytest.param(b'{"summary": "x", "grants": 5}', id="a number of grants"),
        pytest.param(b'{"summary": "x", "grants": ["y"]}', id="a grant in one word"),
        pytest.param(b'{"summary": "x", "grants": [{"you_may": 5, "locations": []}]}', id="a grant of 5"),
        pytest.param(b'{"summary": "x", "grants": [{"you_may": [], "locations": []}]}', id="half a grant"),
        pytest.param(b"[" * 100_000, id="too deep"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_whatever_answers_for_the_mandate_is_told(stand_in: Origin, answer: bytes, tmp_path: Path) -> None:
    stand_in.on("GET", "*", Reply(body=answer))
    where = place(stand_in.url("").replace("http://", "http://m:s@"))
    assert papers.mandate(where, None).state is State.FAIL


@pytest.mark.parametrize(
    "status", [b"HTTP/1.1 " + b"9" * 5000, b"HTTP/1.1 2\xb2\xb3", b"HTTP/1.1", b"\0" * 50, b"HTTP/1.1 -20 OK"]
)
def test_whatever_answers_a_connect_is_told(stand_in: Origin, status: bytes) -> None:
    stand_in.on("CONNECT", "*", Reply(raw=status + b"\r\n\r\n", then="close"))
    (found,) = proxyside.certificates(place(stand_in.url("")), tuple)
    assert found.state in (State.FAIL, State.SKIP)


@pytest.mark.parametrize(
    "said", ["never", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 +2359", "1 Jan 99999 00:00 +9999"]
)
def test_whatever_date_a_proxy_says_is_no_crash(stand_in: Origin, said: str) -> None:
    stand_in.on("GET", "*", Reply(json=HEALTH, headers=(("Date", said),)))
    _, reached = proxyside.reach(place(stand_in.url("")))
    assert reached is not None
    assert proxyside.clock(reached).state in (State.FAIL, State.SKIP)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


PAPERS: dict[str, Callable[[Path], Path]] = {
    "nothing there": lambda folder: folder / "missing",
    "a directory": lambda folder: folder,
    "an empty file": lambda folder: write(folder / "f", b""),
    "blanks": lambda folder: write(folder / "f", b" \n,,\n"),
    "noise": lambda folder: write(folder / "f", bytes(range(256)) * 40),
    "a file under a file": lambda folder: write(folder / "f", b"x") / "under",
    "a manifest that is none": lambda folder: write(folder / "f", b"eyJ.eyJ.x"),
    "many of them": lambda folder: write(folder / "f", b"eyJ.eyJ.x " * 5000),
    "half a certificate": lambda folder: write(folder / "f", b"-----BEGIN CERTIFICATE-----\nAAAA"),
    "half a key": lambda folder: write(folder / "f", b"-----BEGIN PRIVATE KEY-----\nAAAA"),
}


@pytest.mark.parametrize("option", ["--manifest", "--key", "--ca"])
@pytest.mark.parametrize("make", PAPERS.values(), ids=PAPERS.keys())
def test_whatever_file_is_named_is_told_with_a_mend(
    stand_in: Origin,
    option: str,
    make: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forget_proxies(monkeypatch)
    stand_in.on("CONNECT", "*", Reply(status=403))
    urls = stand_in.url(""), stand_in.url("").replace("http://", "https://")
    for url in urls if option == "--ca" else urls[:1]:  # over TLS the CA is read first
        words = ["--no-around", "--json", "--timeout", "0.5", "--proxy", url, option, str(make(tmp_path))]
        assert main(words, program="doctor") == AILING
        told = json.loads(capsys.readouterr().out)
        failed = [each for each in told["findings"] if each["state"] == "fail"]
        assert failed
        assert all(each["mend"] for each in failed)
        if option == "--ca" and url.startswith("https"):
            assert "write the proxy's CA there" in failed[0]["mend"], failed


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--address", "1.1.1"], id="half an address"),
        pytest.param(["--address", "resolver.example"], id="a name for an address"),
        pytest.param(["--resolver", "everybody"], id="a name for a resolver"),
        pytest.param(["--question", "a..b"], id="a name with an empty label"),
        pytest.param(["--question", "a" * 64], id="a name that is too long"),
        pytest.param(["--timeout", "nan"], id="no number of seconds"),
        pytest.param(["--no-such"], id="no such option"),
        pytest.param(["--proxy", "http://a..b:1"], id="no proxy"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_tried(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A way that could not be tried would look closed."""
    forget_proxies(monkeypatch)
    monkeypatch.setattr("proxy.agent.doctor.program.look", lambda *_: pytest.fail("it looked"))
    assert main(["--proxy", "http://127.0.0.1:9", *words], program="doctor") == WRONG_USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err


def test_ctrl_c_is_no_stack_trace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proxy.agent.doctor.program.look", interrupted)
    assert main(["--proxy", "http://127.0.0.1:9"], program="doctor") == INTERRUPTED
    assert capsys.readouterr().err == "doctor: stopped\n"


def test_a_name_in_another_script_is_asked_for_as_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[around.Targets] = []
    monkeypatch.setattr("proxy.agent.doctor.program.look", lambda _, targets: seen.append(targets) or ())
    assert main(["--proxy", "http://127.0.0.1:9", "--question", "münchen.example."], program="doctor") == HEALTHY
    assert seen[0].question == "xn--mnchen-3ya.example"


def test_the_other_ports_and_the_metadata_service_are_ways_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, int]] = []

    def connect(to: tuple[str, int], timeout: float) -> socket.socket:
        tried.append(to)
        if to[1] in (80, 853):
            return socket.socket()
        raise ConnectionRefusedError

    monkeypatch.setattr(around.socket, "create_connection", connect)
    for name in ("quic", "dns", "ping"):
        monkeypatch.setattr(around, name, lambda *_: "")
    targets = around.Targets(addresses_4=("192.0.2.1",), addresses_6=(), timeout_s=0.1)
    found = {each.name: each for each in around.around(targets, proxy="10.0.0.2:8080") if each.fails}
    assert found.keys() == {"around: TCP 22, 53, 80, 853", "around: metadata"}
    assert "port 80" in found["around: TCP 22, 53, 80, 853"].text
    assert "credentials" in found["around: metadata"].mend
    assert {to for to in tried if to[0].startswith("169.")} == {("169.254.169.254", 80)}


# --- what is printed --------------------------------------------------------------------------------------------------

FINDINGS = (ok("proxy", "answers", "more \x1b[2J"), fail("clock", "is wrong", "set it"), skip("key", "none was named"))


def test_people_read_one_line_each_with_the_mend_below() -> None:
    assert as_text(FINDINGS, colours=False).splitlines() == [
        "ok    proxy  answers",
        "             more \\x1b[2J",
        "FAIL  clock  is wrong",
        "             mend: set it",
        "-     key    none was named",
    ]
    assert "\x1b[1;31mFAIL" in as_text(FINDINGS, colours=True)
    assert plain("a\u202eb\nc") == "a\\u202eb\\nc"


def test_programs_read_json() -> None:
    told = json.loads(as_json(FINDINGS))
    assert told["ok"] is False
    assert told["findings"][1] == {"name": "clock", "state": "fail", "text": "is wrong", "mend": "set it", "lines": []}
    assert json.loads(as_json(FINDINGS[:1]))["ok"] is True


def test_the_exit_code_says_whether_something_fails(
    stand_in: Origin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_proxies(monkeypatch)
    stand_in.on("CONNECT", "*", Reply(status=403))
    assert main(["--no-around", "--proxy", stand_in.url("")], program="doctor") == HEALTHY
    stand_in.on("GET", "*", health(ahead=timedelta(hours=1)))
    assert main(["--no-around", "--proxy", stand_in.url(""), "--json"], program="doctor") == AILING
    assert main(["--no-around"], program="doctor") == WRONG_USAGE
    assert "which proxy?" in capsys.readouterr().err
    assert main(["--timeout", "0"], program="doctor") == WRONG_USAGE
    assert main(["--help"], program="intent-proxy doctor") == HEALTHY
    told = capsys.readouterr().out
    assert "Examples:" in told
    assert "Exit codes: 0 nothing fails, 1 something does, 2 wrong usage." in told


def test_it_runs_without_the_server_sides_libraries() -> None:
    code = (
        "import sys; from proxy.agent.doctor.program import main; main(['--help'], program='doctor'); "
        "sys.exit(any(name in sys.modules for name in ('mitmproxy', 'redis', 'yaml', 'typer', 'rich', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_variables_that_name_one_file_are_one_line(tmp_path: Path) -> None:
    named = dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "GIT_SSL_CAINFO"), str(tmp_path / "none.pem"))
    environment = {**named, "DENO_CERT": str(tmp_path / "another.pem")}
    _, one, other = proxyside.certificates(place("http://127.0.0.1:9", environment=environment), tuple)
    assert (one.name, one.fails, one.lines) == ("CA, SSL_CERT_FILE", True, ("the same file: GIT_SSL_CAINFO, PIP_CERT",))
    assert (other.name, other.lines) == ("CA, DENO_CERT", ())


def test_the_base_distributions_door_lets_the_doctor_through_and_names_what_is_missing() -> None:
    """Where typer is not installed."""
    without = (
        "import sys; sys.modules['typer'] = None; from proxy.cli.start import main; sys.argv[1:] = {}; sys.exit(main())"
    )
    for words, code, said in ((["doctor", "--help"], 0, "ways"), (["run"], 2, "intent-proxy[server]")):
        command = [sys.executable, "-c", without.format(words)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
