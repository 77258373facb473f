"""The OpenAI and Anthropic SDKs against stand-ins: streams come piece by piece, refusals as the SDKs' own errors."""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import foreign
import pytest
from client_town import ClientTown, client_town, seen_by, signed_environment
from origin_replies import Part
from origins import Gate, Reply, events

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).parent / "programs" / "sdk_clients.py"
HOST = "llm.example"
LLM = """\
  - id: llm
    description: Ask the language model that was agreed on
    risk: routine
    hosts: [llm.example]
    schemes: [https]
    ports: [{tls}]
    addresses: [127.0.0.0/8]
    operations:
      - name: chat
        methods: [POST]
        path: /v1/chat/completions
        body: {{llm: {{shape: openai-chat, models: [agreed-1]}}}}
      - name: respond
        methods: [POST]
        path: /v1/responses
        body: {{llm: {{shape: openai-responses, models: [agreed-1]}}}}
      - name: message
        methods: [POST]
        path: /v1/messages
        body: {{llm: {{shape: anthropic-messages, models: [agreed-1]}}}}
"""

SHAPES = {
    "openai_chat": ("/v1", "/v1/chat/completions"),
    "openai_responses": ("/v1", "/v1/responses"),
    "anthropic_messages": ("", "/v1/messages"),
}


def openai_chat(text: str) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "agreed-1"}
    return events(json.dumps({**head, "choices": [choice]}))[0]


def openai_responses(text: str) -> bytes:
    event = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0}
    return named({**event, "delta": text, "sequence_number": 1, "logprobs": []})


def anthropic_messages(text: str) -> bytes:
    return named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def named(event: dict[str, object]) -> bytes:
    return f"event: {event['type']}\n".encode() + events(json.dumps(event))[0]


ANTHROPIC_START = (
    named(
        {
            "type": "message_start",
            "message": {
                "id": "m-1",
                "type": "message",
                "role": "assistant",
                "model": "agreed-1",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        }
    ),
    named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
)
ANTHROPIC_END = (
    named({"type": "content_block_stop", "index": 0}),
    named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
    named({"type": "message_stop"}),
)


def stream(shape: str, pause: Gate) -> Reply:
    """Two pieces of text, with a pause between them."""
    piece = {"openai_chat": openai_chat, "openai_responses": openai_responses, "anthropic_messages": anthropic_messages}
    first, second = (piece[shape](text) for text in ("Two, ", "since May."))
    parts: Sequence[Part] = (first, pause, second)
    if shape == "anthropic_messages":
        parts = (*ANTHROPIC_START, *parts, *ANTHROPIC_END)
    if shape == "openai_chat":
        parts = (*parts, *events("[DONE]"))
    return Reply(headers=(("Content-Type", "text/event-stream"),), stream=parts)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientTown]:
    with client_town(tmp_path_factory.mktemp("sdks"), more=LLM) as running:
        yield running


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["session", "signed"])
def proof(request: pytest.FixtureRequest, town: ClientTown) -> dict[str, str]:
    return signed_environment(town) if request.param == "signed" else dict(town.environment)


def command(town: ClientTown, shape: str, model: str, *, prefix: str = "") -> list[str]:
    base, _ = SHAPES[shape]
    url = town.url("tls", f"{prefix}{base}", host=HOST)
    return [foreign.clients_python(), str(PROGRAM), shape, url, model]


def ask(town: ClientTown, shape: str, proof: dict[str, str], model: str = "agreed-1", *, prefix: str = "") -> dict:
    told = town.run(command(town, shape, model, prefix=prefix), given=proof, session=False)
    assert told.exit_code == 0, told
    return told.document


def test_a_stream_comes_piece_by_piece(town: ClientTown, shape: str, proof: dict[str, str]) -> None:
    """The origin sends the second piece only after the program has shown the first."""
    pause, before = Gate(), (town.plain.mark(), town.tls.mark())
    _, path = SHAPES[shape]
    town.tls.on("POST", path, stream(shape, pause))
    environment = {**foreign.plain_environment(), **proof}
    with subprocess.Popen(command(town, shape, "agreed-1"), env=environment, stdout=subprocess.PIPE) as running:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line.decode()) for line in running.stdout], daemon=True).start()
        first = lines.get(timeout=30)
        assert first == "piece Two, \n", (first, lines.get(timeout=30))
        pause.open()
        assert lines.get(timeout=30) == "piece since May.\n"
        assert json.loads(lines.get(timeout=30)) == {"text": "Two, since May."}
    (seen,) = seen_by(town, before).requests
    assert (seen.method, seen.target) == ("POST", path)
    assert json.loads(seen.body)["model"] == "agreed-1"


def test_another_model_is_held_and_the_sdk_says_so(town: ClientTown, shape: str, proof: dict[str, str]) -> None:
    before, known = (town.plain.mark(), town.tls.mark()), town.holds()
    told = ask(town, shape, proof, f"dear-{len(known)}")
    filed = town.wait_for_a_hold(known)
    assert told["error"] == "PermissionDeniedError", told
    assert all(word in told["words"] for word in ("mandate.not_covered", filed.id, "a person has been asked")), told
    assert seen_by(town, before).nothing


def test_a_denied_call_is_a_permission_error_with_its_code(town: ClientTown, shape: str, proof: dict[str, str]) -> None:
    before = (town.plain.mark(), town.tls.mark())
    told = ask(town, shape, proof, prefix="/secrets")
    assert told["error"] == "PermissionDeniedError", told
    assert "policy.denied" in told["words"], told
    assert seen_by(town, before).nothing
