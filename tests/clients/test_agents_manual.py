"""The programs of docs/agents.md: copied, given this machine's ports, and run against stand-ins of the models' APIs.

Each asks its model, which calls the tool twice: one page is covered, of the other a person decides while it waits.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import foreign
import pytest
from client_town import ClientTown, client_town, seen_by
from houses import ROOT
from origins import Reply, Request

from proxy.core.model import Verdict

pytestmark = pytest.mark.system

DOCS = ROOT / "docs"
PATHS = ("/v1/invoices/17", "/v1/salaries/{}")
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
        body: {{llm: {{shape: openai-chat, models: [agreed-1], tools: [read_page]}}}}
      - name: message
        methods: [POST]
        path: /v1/messages
        body: {{llm: {{shape: anthropic-messages, models: [agreed-1], tools: [read_page]}}}}
"""

type Model = Callable[[Request], Reply]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientTown]:
    with client_town(tmp_path_factory.mktemp("agents"), more=LLM) as running:
        yield running


def openai_model(paths: tuple[str, ...]) -> Model:
    """Calls the tool for each path at once, then says what it was told."""

    def reply(request: Request) -> Reply:
        messages = json.loads(request.body)["messages"]
        told = [each["content"] for each in messages if each["role"] == "tool"]
        message: dict[str, object] = {"role": "assistant", "content": " | ".join(told)}
        if not told:
            calls = [
                {
                    "id": f"c-{n}",
                    "type": "function",
                    "function": {"name": "read_page", "arguments": json.dumps({"path": p})},
                }
                for n, p in enumerate(paths)
            ]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "stop" if told else "tool_calls", "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        head = {"id": "r-1", "object": "chat.completion", "created": 1, "model": "agreed-1"}
        return Reply(json={**head, "choices": [choice], "usage": usage})

    return reply


def anthropic_model(paths: tuple[str, ...]) -> Model:
    def reply(request: Request) -> Reply:
        last = json.loads(request.body)["messages"][-1]["content"]
        told = [each["content"] for each in last if isinstance(each, dict) and each["type"] == "tool_result"]
        content: list[dict[str, object]] = [{"type": "text", "text": " | ".join(told)}]
        if not told:
            content = [
                {"type": "tool_use", "id": f"c-{n}", "name": "read_page", "input": {"path": path}}
                for n, path in enumerate(paths)
            ]
        return Reply(
            json={
                "id": "m-1",
                "type": "message",
                "role": "assistant",
                "model": "agreed-1",
                "content": content,
                "stop_reason": "end_turn" if told else "tool_use",
                "stop_sequence": None,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        )

    return reply


PROGRAMS = {
    "openai_agent": ("/v1/chat/completions", openai_model),
    "anthropic_agent": ("/v1/messages", anthropic_model),
    "langgraph_agent": ("/v1/chat/completions", openai_model),
}


def start(town: ClientTown, name: str, folder: Path) -> "subprocess.Popen[str]":
    """The manual's program, as somebody would run it."""
    text = (DOCS / f"{name}.py").read_text()
    for old, new in (
        ("http://127.0.0.1:8080", town.proxy_url),
        ("https://api.example", town.url("tls", host="llm.example")),
        ("https://erp.example", town.url("tls")),
        ("mine/manifests/invoice-bot.jws", str(town.manifest)),
        ("mine/keys/invoice-bot.pem", str(town.key)),
        ("mine/state/ca/ca.pem", str(town.house.ca)),
    ):
        assert old in text
        text = text.replace(old, new)
    program = folder / f"{name}.py"
    program.write_text(text)
    environment = foreign.plain_environment() | {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.Popen(
        [foreign.clients_python(), program, "Which invoices are open?"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        pytest.param(Verdict.ALLOW, '"target"', id="a person releases the second call"),
        pytest.param(Verdict.DENY, "hold.denied: not this quarter", id="a person refuses the second call"),
    ],
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_model_is_told_what_became_of_its_calls(
    town: ClientTown, tmp_path: Path, name: str, verdict: Verdict, told: str
) -> None:
    held_path = PATHS[1].format(f"{name}-{verdict.value}")
    path, model = PROGRAMS[name]
    town.tls.on("POST", path, model((PATHS[0], held_path)))
    marks, known = (town.plain.mark(), town.tls.mark()), town.holds()
    with start(town, name, tmp_path) as process:
        filed = town.wait_for_a_hold(known)
        targets = [request.target for request in seen_by(town, marks).requests]
        assert held_path not in targets, "nothing was sent before somebody said so"
        town.house.decide(filed.id, verdict, reason="not this quarter")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    first, _, second = out.partition(" | ")
    assert json.loads(first)["target"] == PATHS[0]
    assert told in second, out
    targets = [request.target for request in seen_by(town, marks).requests]
    assert targets.count(held_path) == (1 if verdict is Verdict.ALLOW else 0)
    assert targets.count(path) == 2, "the model itself is called through the proxy"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*_agent.py")), ids=lambda page: page.stem)
def test_every_program_of_the_manual_is_python(page: Path) -> None:
    compile(page.read_text(), str(page), "exec")
