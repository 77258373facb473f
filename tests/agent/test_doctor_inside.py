"""What `doctor --from-agent` takes for proof, piece by piece. In a real place: tests/network/test_from_agent.py."""

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import certs
import pytest
from origins import Origin

from proxy.agent.doctor import datagrams, fromagent, kernel, privileges
from proxy.agent.doctor.attempts import Trial, attempt, refusal
from proxy.agent.doctor.findings import State, as_text, unknown
from proxy.agent.doctor.fromagent import Questions, Row
from proxy.agent.doctor.program import AILING, WRONG_USAGE, main

OURS = json.dumps({"type": "http://intent.internal/problems/proof.source", "code": "proof.source"}).encode()
THEIRS = json.dumps({"type": "about:blank", "code": "proof.source"}).encode()


@contextmanager
def answering(said: bytes, *, keep: bool = False) -> Iterator[int]:
    """Somebody who says this to whoever connects, and closes, or waits."""
    kept: list[socket.socket] = []

    def run() -> None:
        with suppress(OSError):
            while True:
                taken, _ = sock.accept()
                taken.settimeout(1)
                with suppress(OSError):
                    taken.recv(4096)
                    taken.sendall(said)
                kept.append(taken)
                if not keep:
                    taken.close()

    sock = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=run, daemon=True).start()
    try:
        yield sock.getsockname()[1]
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        for each in kept:
            each.close()


def http(body: bytes, kind: str = "application/problem+json", status: int = 511) -> bytes:
    return f"HTTP/1.1 {status} No\r\nContent-Type: {kind}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("said", "state"),
    [
        pytest.param(http(OURS), State.OK, id="the proxy's refusal"),
        pytest.param(http(THEIRS), State.FAIL, id="somebody else's problem"),
        pytest.param(http(OURS, "text/html"), State.FAIL, id="another media type"),
        pytest.param(b"SSH-2.0-x\r\n", State.FAIL, id="a banner"),
        pytest.param(b"HTTP/1.1 x\r\n\r\n", State.FAIL, id="no HTTP"),
        pytest.param(b"HTTP/1.1 \r\n", State.FAIL, id="half a line"),
        pytest.param(b"HTTP/1.1", State.FAIL, id="less than that"),
        pytest.param(b"", State.UNKNOWN, id="nothing, by a stranger"),
    ],
)
def test_what_comes_back_says_who_is_there(said: bytes, state: State) -> None:
    with answering(said) as port:
        assert attempt(Trial(address="127.0.0.1", port=port, timeout_s=1)).state is state


def test_silence_is_proof_only_of_who_would_have_spoken() -> None:
    with answering(b"") as port:
        assert attempt(Trial(address="127.0.0.1", port=port, timeout_s=1, speaks=True)).state is State.OK
    with answering(b"", keep=True) as port:
        assert attempt(Trial(address="127.0.0.1", port=port, timeout_s=0.3, speaks=True)).state is State.UNKNOWN


def test_of_the_proxys_own_parts_even_its_words_are_too_much() -> None:
    with answering(http(OURS)) as port:
        assert attempt(Trial(address="127.0.0.1", port=port, timeout_s=1, part=True)).state is State.FAIL


def test_a_certificate_says_whose_it_is(tmp_path: Path) -> None:
    ours, theirs = certs.Authority(), certs.Authority()
    files = [each.write(tmp_path, name) for each, name in ((ours, "ours"), (theirs, "theirs"))]
    with Origin(tls=ours.server("erp.example")) as origin:
        states = [
            attempt(Trial(address="127.0.0.1", port=origin.port, tls=True, ca=ca, timeout_s=2)).state
            for ca in (files[0], files[1], None, tmp_path / "none.pem")
        ]
        part = attempt(Trial(address="127.0.0.1", port=origin.port, tls=True, ca=files[0], part=True))
    assert states == [State.OK, State.FAIL, State.UNKNOWN, State.UNKNOWN]
    assert part.state is State.FAIL
    with answering(b"\x15\x03\x03\x00\x02\x02\x28") as port:
        assert attempt(Trial(address="127.0.0.1", port=port, tls=True, timeout_s=1)).state is State.FAIL
    with answering(b"HTTP/1.0 400 Bad Request\r\n\r\n") as port:
        assert attempt(Trial(address="127.0.0.1", port=port, tls=True, timeout_s=1)).state is State.FAIL


def test_a_hold_is_the_proxys_answer_too() -> None:
    assert refusal(http(OURS)) is not None
    assert refusal(http(b"{}")) is None


# --- names ------------------------------------------------------------------------------------------------------------


def reply(code: int = 0, *addresses: str, authority: int = 0) -> bytes:
    head = b"\0\7" + struct.pack(">BB4H", 0x81, 0x80 | code, 1, len(addresses), authority, 0)
    records = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) + socket.inet_aton(each) for each in addresses]
    return head + b"\3erp\7example\0\0\1\0\1" + b"".join(records)


def test_only_one_address_of_the_stubs_network_is_the_stubs_answer() -> None:
    read = [datagrams.read_reply(each, b"\0\7") for each in (reply(0, "198.19.1.2"), reply(0, "192.0.2.1"), reply(3))]
    assert [datagrams.stands_for(each) for each in read] == ["198.19.1.2", None, None]
    assert datagrams.stands_for(datagrams.read_reply(reply(0, "198.19.1.2", "192.0.2.1"), b"\0\7")) is None
    assert datagrams.stands_for(None) is None


@pytest.mark.parametrize("answer", [b"", b"x" * 30, reply()[:5], b"\0\7\1\0" + bytes(20)])
def test_what_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(datagrams.NotDns):
        datagrams.read_reply(answer, b"\0\7")


def test_a_broken_answer_still_has_its_counts() -> None:
    assert datagrams.read_reply(reply(0, "192.0.2.1")[:-3], b"\0\7").answers == 1


# --- the kernel's word ------------------------------------------------------------------------------------------------


def test_capabilities_have_their_names() -> None:
    assert kernel.named(0) == ()
    assert kernel.named(1 << 13 | 1 << 12 | 1 << 19) == ("CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_PTRACE")
    assert kernel.named(1 << 60) == (f"unknown ones ({1 << 60:#x})",)


def test_what_the_kernel_does_not_say_is_no_pass(tmp_path: Path) -> None:
    assert kernel.powers(tmp_path) is None
    assert not kernel.beyond("192.0.2.1", tmp_path)
    assert [*kernel.sockets(tmp_path)] == [] and kernel.gateways(tmp_path) == ()
    (found, *_) = privileges.privileges((), proc=tmp_path)
    assert found.state is State.UNKNOWN


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


@pytest.mark.skipif(struct.pack("=I", 1) != struct.pack("<I", 1), reason="the table above is in little-endian order")
def test_a_neighbour_is_told_from_who_is_beyond_a_router(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "route").write_text(ROUTES)
    assert kernel.gateways(tmp_path) == ("10.0.2.1",)
    found = {each: kernel.beyond(each, tmp_path) for each in ("192.0.2.1", "10.0.2.9", "127.0.0.1", "2001:db8::1")}
    assert found == {"192.0.2.1": True, "10.0.2.9": False, "127.0.0.1": False, "2001:db8::1": False}


# --- all of it --------------------------------------------------------------------------------------------------------


def test_what_ends_too_late_or_breaks_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def broken() -> fromagent.Seen:
        raise RuntimeError

    def late() -> fromagent.Seen:
        never.wait(30)
        return fromagent.closed("too late")

    row = Row(name="x", tried="y", expected="z", mend="m", jobs=[late, broken])
    monkeypatch.setattr(fromagent, "DEADLINE_S", 0.3)
    monkeypatch.setattr(fromagent, "rows", lambda _: [row])
    found = {each.name: each for each in fromagent.from_agent(None, Questions(), papers=lambda: ())}
    never.set()
    assert found["x"].state is State.UNKNOWN and len(found["x"].lines) == 1
    assert found["refusal"].state is State.FAIL


def test_what_nobody_can_tell_is_shown_with_its_mend_and_fails() -> None:
    found = unknown("x", "who knows", "look")
    assert found.fails and as_text([found], colours=False) == "?     x  who knows\n         mend: look\n"


@pytest.mark.parametrize("words", [("--store", "redis:6379"), ("--desk", "10.0.0.1"), ("--outside", "10.0.0.1:70000")])
def test_a_part_is_named_by_address_and_port(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from-agent", *words], program="doctor") == WRONG_USAGE
    assert words[0] in capsys.readouterr().err
    assert AILING != WRONG_USAGE
