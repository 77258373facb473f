"""Requests to language models: model, tools, limits, and whom a provider is to contact on the caller's behalf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.llm import MAX_TOKENS, MAX_TOOLS, LlmRequest, read_llm
from proxy.core.bodies.rules import LlmShape
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected

CHAT = LlmShape.OPENAI_CHAT
RESPONSES = LlmShape.OPENAI_RESPONSES
MESSAGES = LlmShape.ANTHROPIC_MESSAGES
SAID: dict[LlmShape, dict[str, Json]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    RESPONSES: {"model": "m", "input": "hi"},
    MESSAGES: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}


def request(shape: LlmShape, **members: Json) -> LlmRequest:
    return read_llm({**SAID[shape], **members}, shape)


def tools(shape: LlmShape, *given: Json, **members: Json) -> set[str]:
    return set(request(shape, tools=list(given), **members).tools)


def refused(document: Json, shape: LlmShape) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read_llm(document, shape)
    assert caught.value.code is Code.BODY_MALFORMED
    return caught.value


# --- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", LlmShape)
def test_the_least_request_of_each_shape(shape: LlmShape) -> None:
    assert request(shape) == LlmRequest(model="m", tools=frozenset(), max_tokens=None, stream=False)


@pytest.mark.parametrize("shape", LlmShape)
def test_null_stands_for_what_is_not_there(shape: LlmShape) -> None:
    assert request(shape, tools=None, stream=None, temperature=None) == request(shape)


def test_a_chat_as_documented() -> None:
    document = {
        "model": "gpt-5",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}],
        "max_completion_tokens": 300,
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
    }
    expected = LlmRequest(model="gpt-5", tools=frozenset({"get_weather"}), max_tokens=300, stream=True)
    assert read_llm(document, CHAT) == expected


def test_a_response_as_documented() -> None:
    document = {
        "model": "gpt-5",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"image_url": "https://x"}'},
            {"type": "function_call_output", "call_id": "1", "output": "done"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
        "max_output_tokens": 300,
        "previous_response_id": "resp_1",
    }
    expected = LlmRequest(model="gpt-5", tools=frozenset({"f", "type:web_search"}), max_tokens=300, stream=False)
    assert read_llm(document, RESPONSES) == expected


def test_a_message_as_documented() -> None:
    document = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1024,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "ok"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stream": False,
    }
    expected = LlmRequest(
        model="claude-sonnet-4-5", tools=frozenset({"f", "type:bash_20250124"}), max_tokens=1024, stream=False
    )
    assert read_llm(document, MESSAGES) == expected


# --- tools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "tool", "names"),
    [
        pytest.param(CHAT, {"type": "function", "function": {"name": "f"}}, {"f"}, id="a function in a chat"),
        pytest.param(CHAT, {"type": "custom", "custom": {"name": "f"}}, {"f"}, id="a custom tool in a chat"),
        pytest.param(RESPONSES, {"type": "function", "name": "f"}, {"f"}, id="a function of a response"),
        pytest.param(
            RESPONSES,
            {"type": "function", "name": "f", "function": {"name": "harmless"}},
            {"f"},
            id="where the other shape has its name says nothing",
        ),
        pytest.param(RESPONSES, {"type": "custom", "name": "f", "format": {"type": "text"}}, {"f"}, id="a custom tool"),
        pytest.param(MESSAGES, {"name": "f", "input_schema": {}}, {"f"}, id="a tool without a type"),
        pytest.param(MESSAGES, {"type": "custom", "name": "f"}, {"f"}, id="a custom tool of a message"),
        pytest.param(MESSAGES, {"type": None, "name": "f"}, {"f"}, id="a null type"),
        pytest.param(MESSAGES, {"type": "web_search_20250305", "name": "f"}, {"type:web_search_20250305"}, id="web"),
        pytest.param(RESPONSES, {"type": "file_search", "vector_store_ids": ["v"]}, {"type:file_search"}, id="files"),
        pytest.param(RESPONSES, {"type": "teleport"}, {"type:teleport"}, id="a type that is yet to come"),
        pytest.param(
            RESPONSES,
            {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example/sse", "authorization": "secret"},
            {"mcp:https://mcp.example/sse"},
            id="a remote server by its URL",
        ),
        pytest.param(RESPONSES, {"type": "mcp", "connector_id": "connector_gmail"}, {"mcp:connector_gmail"}, id="c"),
        pytest.param(RESPONSES, {"type": "mcp", "tunnel_id": "tun_1"}, {"mcp:tun_1"}, id="a remote server by a tunnel"),
        pytest.param(
            RESPONSES,
            {"type": "namespace", "name": "crm", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]},
            {"f", "type:web_search"},
            id="a namespace is what it holds",
        ),
        pytest.param(
            CHAT,
            {"type": "namespace", "tools": [{"type": "function", "function": {"name": "f"}}]},
            {"f"},
            id="a namespace of a chat holds a chat's functions",
        ),
        pytest.param(
            RESPONSES,
            {"type": "code_interpreter", "container": {"type": "auto", "network_policy": {"type": "disabled"}}},
            {"type:code_interpreter"},
            id="a container without a network",
        ),
        pytest.param(
            RESPONSES, {"type": "code_interpreter", "container": "c_1"}, {"type:code_interpreter"}, id="by id"
        ),
        pytest.param(
            RESPONSES,
            {
                "type": "code_interpreter",
                "container": {
                    "network_policy": {"type": "allowlist", "allowed_domains": ["wheels.example", "*.x.example"]}
                },
            },
            {"type:code_interpreter", "reach:wheels.example", "reach:*.x.example"},
            id="a container with a network",
        ),
        pytest.param(
            RESPONSES,
            {"type": "shell", "environment": {"type": "container_auto", "skills": [{"skill_id": "s1"}]}},
            {"type:shell", "skill:s1"},
            id="a shell with a skill",
        ),
        pytest.param(MESSAGES, {"type": "mcp_toolset", "mcp_server_name": "x"}, set(), id="a choice from a server"),
    ],
)
def test_every_tool_has_a_name_that_no_other_kind_can_have(shape: LlmShape, tool: Json, names: set[str]) -> None:
    assert tools(shape, tool) == names


def test_tools_that_stand_elsewhere_are_found() -> None:
    assert request(CHAT, functions=[{"name": "old"}]).tools == {"old"}
    assert request(CHAT, web_search_options={}).tools == {"type:web_search"}
    servers: Json = [{"type": "url", "url": "https://mcp.example/a", "name": "x", "authorization_token": "secret"}]
    assert request(MESSAGES, mcp_servers=servers).tools == {"mcp:https://mcp.example/a"}
    assert request(MESSAGES, container="c_1").tools == set()
    skills: Json = {"id": "c_1", "skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}
    assert request(MESSAGES, container=skills).tools == {"skill:pptx"}


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
def test_tools_that_come_in_the_middle_of_a_conversation_are_found(kind: str) -> None:
    later: Json = [{"type": kind, "tools": [{"type": "function", "name": "late"}]}]
    assert request(RESPONSES, input=later).tools == {"late"}
    later = [{"type": kind, "tools": [{"type": "function", "function": {"name": "late"}}]}]
    assert request(CHAT, messages=later).tools == {"late"}


@pytest.mark.parametrize(
    ("part", "names"),
    [
        pytest.param(
            {"type": "image_url", "image_url": {"url": "https://x.example/a?b"}}, {"https://x.example"}, id="1"
        ),
        pytest.param({"type": "input_image", "image_url": "http://x.example:8080"}, {"http://x.example:8080"}, id="2"),
        pytest.param({"type": "input_file", "file_url": "https://x.example#a"}, {"https://x.example"}, id="a file"),
        pytest.param({"type": "video_url", "video_url": {"url": "https://v.example/"}}, {"https://v.example"}, id="v"),
        pytest.param(
            {"type": "image", "source": {"type": "url", "url": "https://x.example/"}}, {"https://x.example"}, id="3"
        ),
        pytest.param(
            {"type": "tool_result", "content": [{"type": "image", "source": {"url": "https://x.example/"}}]},
            {"https://x.example"},
            id="within a tool's result",
        ),
        pytest.param(
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, set(), id="in the body"
        ),
        pytest.param(
            {"type": "image", "source": {"type": "base64", "data": "AA=="}}, set(), id="in the body as base64"
        ),
        pytest.param({"type": "input_image", "file_id": "f_1", "image_url": None}, set(), id="uploaded before"),
        pytest.param({"type": "search_result", "source": "https://x.example/", "content": []}, set(), id="only said"),
        pytest.param({"type": "tool_use", "input": {"image_url": "https://x.example"}}, set(), id="a tool's arguments"),
        pytest.param(
            {"type": "tool_use", "input": {}, "content": [{"image_url": "https://x.example"}]},
            {"https://x.example"},
            id="beside a tool's arguments",
        ),
        pytest.param(
            {"type": "message", "input": [{"image_url": "https://x.example"}]},
            {"https://x.example"},
            id="an input of something else",
        ),
        pytest.param(
            {"text": "hi", "image_url": "data:image/png;base64,AA==", "file_url": "https://x.example"},
            {"https://x.example"},
            id="after something in the body",
        ),
        pytest.param({"type": "text", "text": "https://x.example", "url": "https://y.example"}, set(), id="in words"),
    ],
)
def test_what_the_provider_is_to_fetch_is_named_by_its_origin(part: Json, names: set[str]) -> None:
    said: Json = [{"role": "user", "content": [part]}]
    assert request(MESSAGES, messages=said).tools == {f"fetch:{name}" for name in names}
    assert request(RESPONSES, input=said).tools == {f"fetch:{name}" for name in names}


# --- how much --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "members", "most"),
    [
        pytest.param(CHAT, {"max_tokens": 5}, 5, id="the old name"),
        pytest.param(CHAT, {"max_completion_tokens": 5}, 5, id="the new name"),
        pytest.param(CHAT, {"max_tokens": 5, "max_completion_tokens": 5}, 5, id="both names, agreeing"),
        pytest.param(CHAT, {"max_tokens": 5, "n": 3}, 15, id="for each choice"),
        pytest.param(CHAT, {"n": 3}, None, id="choices without a limit"),
        pytest.param(RESPONSES, {"max_output_tokens": 16}, 16, id="of a response"),
        pytest.param(MESSAGES, {"max_tokens": 0}, 0, id="nothing at all"),
        pytest.param(MESSAGES, {"max_tokens": MAX_TOKENS}, MAX_TOKENS, id="the most there can be"),
    ],
)
def test_the_limit_is_of_everything_together(shape: LlmShape, members: dict[str, Json], most: int | None) -> None:
    assert request(shape, **members).max_tokens == most


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "members", "field"),
    [
        pytest.param(CHAT, {"model": None}, "/model", id="no model"),
        pytest.param(CHAT, {"model": ""}, "/model", id="an empty model"),
        pytest.param(CHAT, {"model": ["a", "b"]}, "/model", id="several models"),
        pytest.param(CHAT, {"models": ["a"]}, "/models", id="models to fall back on"),
        pytest.param(CHAT, {"plugins": [{"id": "web"}]}, "/plugins", id="a member of an imitator"),
        pytest.param(RESPONSES, {"prompt": {"id": "p_1"}}, "/prompt", id="a stored prompt"),
        pytest.param(CHAT, {"input": "hi"}, "/input", id="a member of another shape"),
        pytest.param(RESPONSES, {"max_tokens": 5}, "/max_tokens", id="a limit of another shape"),
        pytest.param(CHAT, {"max_tokens": 5, "max_completion_tokens": 6}, "/max_tokens", id="limits that disagree"),
        pytest.param(CHAT, {"max_tokens": "5"}, "/max_tokens", id="a limit as text"),
        pytest.param(CHAT, {"max_tokens": True}, "/max_tokens", id="a limit that is a truth value"),
        pytest.param(CHAT, {"max_tokens": 5.0}, "/max_tokens", id="a limit with a point"),
        pytest.param(CHAT, {"max_tokens": -1}, "/max_tokens", id="less than nothing"),
        pytest.param(CHAT, {"max_tokens": MAX_TOKENS + 1}, "/max_tokens", id="more than there can be"),
        pytest.param(CHAT, {"n": 0}, "/n", id="no choices"),
        pytest.param(CHAT, {"stream": 1}, "/stream", id="a number for true"),
        pytest.param(CHAT, {"messages": "hi"}, "/messages", id="messages as text"),
        pytest.param(CHAT, {"messages": {}}, "/messages", id="messages that are no list"),
        pytest.param(CHAT, {"messages": None}, "/messages", id="no messages"),
        pytest.param(RESPONSES, {"input": None}, "/input", id="no input"),
        pytest.param(CHAT, {"tools": {}}, "/tools", id="tools that are no list"),
        pytest.param(CHAT, {"tools": ["f"]}, "/tools/0", id="a tool as text"),
        pytest.param(CHAT, {"functions": [{}]}, "/functions/0/name", id="a function without a name"),
        pytest.param(
            CHAT, {"tools": [{"type": "function", "name": "f"}]}, "/tools/0/name", id="a name in the wrong place"
        ),
        pytest.param(
            CHAT,
            {"tools": [{"type": "function", "name": "f", "function": {"name": "harmless"}}]},
            "/tools/0/name",
            id="two names",
        ),
        pytest.param(CHAT, {"tools": [{"type": "function"}]}, "/tools/0/function", id="no function"),
        pytest.param(RESPONSES, {"tools": [{"type": "function"}]}, "/tools/0/name", id="no name"),
        pytest.param(
            RESPONSES, {"tools": [{"type": "custom", "name": "mcp:x"}]}, "/tools/0/name", id="a forged prefix"
        ),
        pytest.param(RESPONSES, {"tools": [{"type": ["mcp"]}]}, "/tools/0/type", id="a type that is a list"),
        pytest.param(RESPONSES, {"tools": [{"type": ""}]}, "/tools/0/type", id="an empty type"),
        pytest.param(RESPONSES, {"tools": [{"type": "x", "tools": []}]}, "/tools/0/tools", id="tools in a tool"),
        pytest.param(RESPONSES, {"tools": [{"type": "namespace"}]}, "/tools/0/tools", id="an empty namespace"),
        pytest.param(
            RESPONSES,
            {"tools": [{"type": "namespace", "tools": [{"type": "namespace", "tools": []}]}]},
            "/tools/0/tools/0/tools",
            id="a namespace in a namespace",
        ),
        pytest.param(RESPONSES, {"tools": [{"type": "mcp"}]}, "/tools/0", id="a remote server without a name"),
        pytest.param(
            RESPONSES,
            {"tools": [{"type": "mcp", "server_url": "https://a.example", "connector_id": "b"}]},
            "/tools/0",
            id="a remote server with two names",
        ),
        *(
            pytest.param(RESPONSES, {"tools": [{"type": "mcp", "server_url": url}]}, "/tools/0/server_url", id=url)
            for url in (
                "https://user:pw@mcp.example/",
                "https://mcp.example/?key=secret",
                "https://mcp.example/#a",
                "https://MCP.example/",
                "https://mcp.example/../admin",
                "https://mcp.example\\@evil.example",
                "https://mcp.example /",
                "ftp://mcp.example/",
                "mcp.example",
                "https:///x",
            )
        ),
        pytest.param(CHAT, {"Tools": []}, "/Tools", id="a member in other letters"),
        pytest.param(
            CHAT, {"messages": [{"content": [{"Image_URL": "gs://x"}]}]}, "/messages/0/content/0/Image_URL", id="u"
        ),
        pytest.param(
            CHAT,
            {"messages": [{"content": [{"image_url": {"URL": "https://x.example"}}]}]},
            "/messages/0/content/0/image_url/URL",
            id="a URL in other letters",
        ),
        pytest.param(
            RESPONSES,
            {"tools": [{"type": "code_interpreter", "Container": {"network_policy": {}}}]},
            "/tools/0/Container",
            id="a container in other letters",
        ),
        pytest.param(
            CHAT, {"functions": [{"name": "a", "Name\0": "b"}]}, "/functions/0/Name\0", id="a name before NUL"
        ),
        pytest.param(MESSAGES, {"mcp_servers": [{"name": "x"}]}, "/mcp_servers/0/url", id="a server without a URL"),
        pytest.param(MESSAGES, {"mcp_servers": ["x"]}, "/mcp_servers/0", id="a server as text"),
        pytest.param(MESSAGES, {"container": 5}, "/container", id="an odd container"),
        pytest.param(MESSAGES, {"container": {"skills": [{}]}}, "/container/skills/0/skill_id", id="a nameless skill"),
        pytest.param(MESSAGES, {"container": {"skills": ["x"]}}, "/container/skills/0", id="a skill as text"),
        pytest.param(
            RESPONSES,
            {"tools": [{"type": "x", "container": {"network_policy": "all"}}]},
            "/tools/0/container/network_policy",
            id="an odd network policy",
        ),
        pytest.param(
            RESPONSES,
            {"tools": [{"type": "x", "container": {"network_policy": {"allowed_domains": ["a b"]}}}]},
            "/tools/0/container/network_policy/allowed_domains/0",
            id="an odd host",
        ),
        *(
            pytest.param(
                CHAT, {"messages": [{"content": [{"image_url": url}]}]}, "/messages/0/content/0/image_url", id=url
            )
            for url in (
                "gs://bucket/a.png",
                "https://user@x.example/",
                "https://x.example:80@evil.example/",
                "https://X.example/",
                "//x.example/a",
                "file:///etc/passwd",
                "https://[::1]/",
            )
        ),
    ],
)
def test_what_could_be_read_otherwise_is_refused(shape: LlmShape, members: dict[str, Json], field: str) -> None:
    assert refused({**SAID[shape], **members}, shape).field == field


def test_too_many_tools_are_refused() -> None:
    named: list[Json] = [{"name": f"f{number}"} for number in range(MAX_TOOLS + 1)]
    assert len(tools(MESSAGES, *named[:MAX_TOOLS])) == MAX_TOOLS
    assert refused({**SAID[MESSAGES], "tools": named}, MESSAGES).field == "/tools"


@pytest.mark.parametrize("document", [None, [], "x", 5], ids=["null", "a list", "a string", "a number"])
def test_what_is_no_object_is_no_request(document: Json) -> None:
    assert refused(document, CHAT).field == ""


def test_no_secret_is_told() -> None:
    fault = refused(
        {**SAID[RESPONSES], "tools": [{"type": "mcp", "server_url": "https://x.example/?key=hunter2"}]}, RESPONSES
    )
    assert "hunter2" not in fault.detail + fault.field


MEMBERS = st.sampled_from(
    [
        *("type", "name", "function", "tools", "server_url", "connector_id", "container", "environment", "skills"),
        *(
            "network_policy",
            "allowed_domains",
            "skill_id",
            "image_url",
            "file_url",
            "source",
            "url",
            "content",
            "input",
        ),
    ]
)
WORDS = st.sampled_from(
    ["function", "custom", "mcp", "namespace", "tool_use", "tool_search_output", "https://x.example"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=12,
)
READ = ("messages", "input", "tools", "functions", "mcp_servers", "max_tokens", "n", "stream")
REQUESTS = st.fixed_dictionaries({"model": st.text(max_size=2)}, optional=dict.fromkeys(READ, VALUES))


@given(VALUES | REQUESTS, st.sampled_from(LlmShape))
def test_no_exception_but_rejected(document: Json, shape: LlmShape) -> None:
    try:
        read_llm(document, shape)
    except Rejected as fault:
        assert fault.code is Code.BODY_MALFORMED
