"""What of a checked head goes on, and what ends here."""

import heads
import pytest

from proxy.core.errors import Code, Rejected
from proxy.core.forwarding import forwardable, with_length, without_length
from proxy.core.headers import Limits, check_head

LIMITS = Limits()

GRPC = "content-type: application/grpc"


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        pytest.param((GRPC, "te: trailers"), True, id="of gRPC"),
        pytest.param((f"{GRPC}+proto", "te: trailers"), True, id="of gRPC in a named format"),
        pytest.param((f"{GRPC}; x=y", "te: trailers"), True, id="of gRPC with a parameter"),
        pytest.param((f"{GRPC}-web", "te: trailers"), False, id="of gRPC-Web, whose trailers are in the body"),
        pytest.param((f"{GRPC}x", "te: trailers"), False, id="of a type that only begins so"),
        pytest.param(("content-type: application/json", "te: trailers"), False, id="of anything else"),
        pytest.param(("te: trailers",), False, id="of nothing"),
        pytest.param((GRPC, "TE: trailers, deflate"), False, id="with a coding"),
        pytest.param((GRPC, "TE: trailers", "TE: gzip"), False, id="with a coding on another line"),
        pytest.param((GRPC, "TE: trailers", "Connection: TE"), False, id="that Connection names"),
        pytest.param((GRPC,), False, id="that was not sent"),
    ],
)
def test_te_goes_on_with_grpc_alone(texts: tuple[str, ...], kept: bool) -> None:
    passed = [value for name, value in forwardable(heads.lines(*texts)) if name.lower() == "te"]
    assert passed == ["trailers"] * kept


# --- what goes on ----------------------------------------------------------------------------------------------------


def test_everything_of_this_hop_and_everything_of_ours_is_stripped() -> None:
    received = heads.absolute(
        "http://erp.example/",
        'Agent-Intent: cluster="supplier-invoices"',
        "Intent-Manifest: a.b.c",
        "Proxy-Authorization: Basic eA==",
        "Proxy-Connection: keep-alive",
        "Connection: keep-alive, X-Hop",
        "Connection: X-Other-Hop",
        "Keep-Alive: timeout=5",
        "X-Hop: 1",
        "x-other-hop: 2",
        "TE: trailers",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        'Signature-Input: intent=("@method");created=1;tag="agent-intent"',
        "Signature: intent=:AA==:",
        "Accept: a",
        "Content-Digest: sha-256=:AA==:",
        "X-Custom: kept",
        "Accept: b",
    )
    check_head(received, LIMITS)
    assert forwardable(received.headers) == (
        ("Host", "erp.example"),
        ("Accept", "a"),
        ("Content-Digest", "sha-256=:AA==:"),
        ("X-Custom", "kept"),
        ("Accept", "b"),
    )


def test_somebody_elses_signature_stays_and_only_our_label_goes() -> None:
    headers = heads.lines(
        'Signature-Input: site=("@method" "x-a";sf);created=7;keyid="k", intent=("@method");tag="agent-intent"',
        "Signature: site=:c2l0ZQ==:, intent=:AA==:",
    )
    assert forwardable(headers) == (
        ("Signature-Input", 'site=("@method" "x-a";sf);created=7;keyid="k"'),
        ("Signature", "site=:c2l0ZQ==:"),
    )


def test_a_signature_without_our_label_is_not_rewritten() -> None:
    headers = heads.lines('signature-input: site=( "@method"  );created=7', "signature: site=:c2l0ZQ==:")
    assert forwardable(headers) == (
        ("signature-input", 'site=( "@method"  );created=7'),
        ("signature", "site=:c2l0ZQ==:"),
    )


@pytest.mark.parametrize("name", ["Signature", "Signature-Input"])
def test_a_signature_that_cannot_be_read_could_hide_our_label_and_is_refused(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        forwardable(heads.lines(f'{name}: keyId="x",intent'))
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_MALFORMED, name.lower())


@pytest.mark.parametrize(
    ("texts", "body_bytes", "declared", "expected"),
    [
        pytest.param(["Host: a"], 0, False, ["Host: a"], id="no body, none announced"),
        pytest.param(["Host: a"], 3, False, ["Host: a", "Content-Length: 3"], id="a body gets its length"),
        pytest.param(["Host: a"], 0, True, ["Host: a", "Content-Length: 0"], id="an announced empty body, too"),
        pytest.param(
            ["content-length: 9", "X: 1"], 3, False, ["content-length: 3", "X: 1"], id="a length is rewritten in place"
        ),
    ],
)
def test_the_length_is_the_bodys(texts: list[str], body_bytes: int, declared: bool, expected: list[str]) -> None:
    given_headers = tuple((name, value) for name, _, value in (text.partition(": ") for text in texts))
    wanted = tuple((name, value) for name, _, value in (text.partition(": ") for text in expected))
    assert with_length(given_headers, body_bytes, declared=declared) == wanted


def test_a_length_can_be_taken_out() -> None:
    assert without_length((("Host", "a"), ("Content-LENGTH", "0"), ("X", "1"))) == (("Host", "a"), ("X", "1"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(b"wait=10", None, id="wait alone goes"),
        pytest.param(b"respond-async, wait=10", None, id="both go"),
        pytest.param(b"return=minimal, wait=10", "return=minimal", id="the origin's preference stays"),
        pytest.param(b'x="a, wait=1", Wait = 5', 'x="a, wait=1"', id="a comma in quotes parts nothing"),
        pytest.param(b"waiting=1", "waiting=1", id="a longer name is another preference"),
        pytest.param(b"wait=5, , x", "x", id="an empty one is none"),
    ],
)
def test_preferences_meant_for_the_proxy_are_not_forwarded(given: bytes, expected: str | None) -> None:
    kept = dict(forwardable(((b"Host", b"a.example"), (b"Prefer", given))))
    assert kept.get("Prefer") == expected
