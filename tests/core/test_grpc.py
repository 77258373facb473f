"""What a gRPC client is told of a refusal."""

import json
from base64 import b64decode
from dataclasses import replace
from urllib.parse import unquote

import identities
import pytest

from proxy.core.errors import Code
from proxy.core.grpc import PROBLEM_KEY, is_grpc, trailers_only
from proxy.core.guides import GUIDES
from proxy.core.model import Decision, Verdict
from proxy.core.problems import Answer, Prefer, form_of, problem

DENIED = Decision(
    decision_id="d-1", verdict=Verdict.DENY, code=Code.NOT_COVERED, message="100 % outside, ça alors", at=identities.NOW
)

NONE = Prefer()


def told(decision: Decision, prefer: Prefer = NONE, *, held: bool = False) -> Answer:
    hold = identities.hold() if held else None
    return problem(decision, hold=hold, form="grpc", prefer=prefer, now=identities.NOW)


def fields(answer: Answer) -> dict[str, str]:
    return dict(answer.headers)


def document(answer: Answer) -> dict[str, object]:
    text = fields(answer)[PROBLEM_KEY]
    found = json.loads(b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(found, dict)
    return found


def test_the_message_names_code_and_cause_and_the_metadata_has_it_all() -> None:
    answer = told(DENIED)
    assert (answer.status, answer.body) == (200, b"")
    assert fields(answer)["Content-Type"] == "application/grpc"
    message = fields(answer)["grpc-message"]
    assert message.isascii() and message.isprintable() and "100 %25 outside" in message
    title, _, rest = unquote(message).partition(" (mandate.not_covered). ")
    assert title == "The mandate does not cover this call"
    assert rest.startswith("This request was refused, with no mandate proven: 100 % outside, ça")
    assert (document(answer)["code"], document(answer)["decision_id"]) == ("mandate.not_covered", "d-1")


def test_a_held_call_is_told_where_to_ask() -> None:
    held = replace(DENIED, verdict=Verdict.HOLD)
    answer = told(held, Prefer(respond_async=True), held=True)
    assert fields(answer)["grpc-status"] == "7", "never a success, also when asked to answer later"
    assert "http://intent.internal/holds/" in unquote(fields(answer)["grpc-message"])
    assert "task" in document(answer)


@pytest.mark.parametrize("code", [code for code in GUIDES if code is not Code.ALLOWED], ids=str)
def test_every_refusal_is_an_error(code: Code) -> None:
    answer = told(replace(DENIED, code=code))
    assert 1 <= int(fields(answer)["grpc-status"]) <= 16
    assert all(value.isascii() and value.isprintable() for _, value in answer.headers)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        pytest.param(Code.NOT_COVERED, 7, id="outside the mandate: PERMISSION_DENIED"),
        pytest.param(Code.PROOF_MISSING, 16, id="no proof: UNAUTHENTICATED"),
        pytest.param(Code.STORE_DOWN, 14, id="we cannot tell: UNAVAILABLE"),
        pytest.param(Code.UPSTREAM_CONNECT, 14, id="the origin does not answer: UNAVAILABLE"),
        pytest.param(Code.HOLD_CAP, 8, id="too many: RESOURCE_EXHAUSTED"),
        pytest.param(Code.URL_AMBIGUOUS, 3, id="to be mended: INVALID_ARGUMENT"),
        pytest.param(Code.HOLD_UNCERTAIN, 9, id="not to be sent again: FAILED_PRECONDITION"),
    ],
)
def test_the_status_says_what_kind_of_fault_it_was(code: Code, status: int) -> None:
    assert fields(told(replace(DENIED, code=code)))["grpc-status"] == str(status)


def test_an_unknown_http_status_is_a_denial() -> None:
    assert dict(trailers_only(418, "tea", b"{}"))["grpc-status"] == "7"


@pytest.mark.parametrize(
    ("value", "grpc"),
    [
        pytest.param("application/grpc", True, id="gRPC"),
        pytest.param("application/grpc+proto", True, id="gRPC with a codec"),
        pytest.param("Application/gRPC; charset=utf-8", True, id="gRPC with a parameter"),
        pytest.param("application/grpc-web", False, id="gRPC-Web, which has its own form of a refusal"),
        pytest.param("application/grpcx", False, id="a type that begins alike"),
        pytest.param("application/json", False, id="another type"),
    ],
)
def test_a_grpc_call_says_so_in_its_content_type(value: str, grpc: bool) -> None:
    lines = ((b"x", b"y"), (b"Content-Type", value.encode()))
    assert is_grpc(lines) is grpc
    received = replace(identities.received(), headers=lines, http2=True, form="origin")
    assert form_of(received) == ("grpc" if grpc else "inside")
    assert form_of(replace(received, http2=False)) == "inside"
    assert form_of(replace(received, form="absolute", http2=False)) == "absolute"
