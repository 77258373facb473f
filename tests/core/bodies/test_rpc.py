"""JSON-RPC and MCP: which messages a body holds, which tool is called, and every way to hide one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.rpc import MCP_CHATTER, RpcCall, check_named, read_rpc
from proxy.core.bodies.shapes import MAX_BATCH
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected


def message(method: str = "ping", **members: Json) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, **members}


def tool_call(params: Json) -> dict[str, Json]:
    return message("tools/call", params=params)


def refused(document: Json) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read_rpc(document)
    assert caught.value.code is Code.BODY_MALFORMED
    return caught.value


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "call"),
    [
        pytest.param(message(), RpcCall(kind="request", method="ping", params={}), id="a request without parameters"),
        pytest.param(
            message("sum", params=[1, 2]), RpcCall(kind="request", method="sum", params=[1, 2]), id="by position"
        ),
        pytest.param(
            message("sum", params={"a": 1}), RpcCall(kind="request", method="sum", params={"a": 1}), id="by name"
        ),
        pytest.param(message(id="x"), RpcCall(kind="request", method="ping", params={}), id="an id that is a string"),
        pytest.param(message(id=None), RpcCall(kind="request", method="ping", params={}), id="a null id"),
        pytest.param(
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            RpcCall(kind="notification", method="notifications/initialized", params={}),
            id="a notification has no id",
        ),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "result": {"roots": []}},
            RpcCall(kind="response", method="", params={"roots": []}),
            id="the answer to a request of the server",
        ),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "result": None},
            RpcCall(kind="response", method="", params=None),
            id="an answer of null",
        ),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}},
            RpcCall(kind="response", method="", params={"code": -32601, "message": "no"}),
            id="an error for the server",
        ),
        pytest.param(
            tool_call({"name": "get_weather", "arguments": {"city": "Bern"}, "_meta": {"progressToken": 1}}),
            RpcCall(
                kind="request",
                method="tools/call",
                params={"name": "get_weather", "arguments": {"city": "Bern"}, "_meta": {"progressToken": 1}},
                tool="get_weather",
                arguments={"city": "Bern"},
            ),
            id="a tool with arguments",
        ),
        pytest.param(
            tool_call({"name": "now"}),
            RpcCall(kind="request", method="tools/call", params={"name": "now"}, tool="now", arguments={}),
            id="a tool without arguments",
        ),
        pytest.param(
            {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "now"}},
            RpcCall(kind="notification", method="tools/call", params={"name": "now"}, tool="now", arguments={}),
            id="a tool called without waiting for an answer is still called",
        ),
        pytest.param(
            tool_call({"name": "slow", "task": {"ttl": 60000}}),
            RpcCall(
                kind="request",
                method="tools/call",
                params={"name": "slow", "task": {"ttl": 60000}},
                tool="slow",
                arguments={},
            ),
            id="a tool as a task (2025-11-25)",
        ),
        pytest.param(
            tool_call({"name": "ask", "inputResponses": {"q": {"action": "accept"}}, "requestState": "s"}),
            RpcCall(
                kind="request",
                method="tools/call",
                params={"name": "ask", "inputResponses": {"q": {"action": "accept"}}, "requestState": "s"},
                tool="ask",
                arguments={},
            ),
            id="a tool that asked back (2026-07-28)",
        ),
    ],
)
def test_messages_are_read(document: Json, call: RpcCall) -> None:
    assert read_rpc(document) == (call,)


def test_every_message_of_a_batch_is_read() -> None:
    calls = read_rpc([message("tools/list"), tool_call({"name": "drop_table"}), message("ping")])
    assert [(call.method, call.tool) for call in calls] == [
        ("tools/list", None),
        ("tools/call", "drop_table"),
        ("ping", None),
    ]


def test_the_longest_batch_is_read() -> None:
    assert len(read_rpc([message()] * MAX_BATCH)) == MAX_BATCH


@pytest.mark.parametrize(
    ("document", "chatter"),
    [
        pytest.param(message("initialize", params={"protocolVersion": "2025-11-25"}), True, id="the greeting"),
        pytest.param(message("tools/list"), True, id="asking for the tools"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}}, True, id="the answer to a ping"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}, False, id="an answer that says something"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": []}, False, id="an answer of another kind"),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "m"}}, False, id="an error says something"
        ),
        pytest.param(tool_call({"name": "now"}), False, id="a tool"),
        pytest.param(message("resources/read", params={"uri": "file:///etc/passwd"}), False, id="a resource"),
        pytest.param(message("tools/List"), False, id="names differ by case"),
    ],
)
def test_chatter_keeps_a_session_going_and_does_nothing_else(document: Json, chatter: bool) -> None:
    assert read_rpc(document)[0].is_chatter is chatter


def test_no_method_of_the_chatter_runs_or_reads_anything() -> None:
    assert (
        not {
            *("tools/call", "resources/read", "resources/subscribe", "prompts/get", "completion/complete"),
            *("tasks/get", "tasks/result", "tasks/cancel", "sampling/createMessage", "elicitation/create", ""),
        }
        & MCP_CHATTER
    )


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "field"),
    [
        pytest.param("ping", "", id="a string"),
        pytest.param(None, "", id="null"),
        pytest.param([], "", id="an empty batch"),
        pytest.param([message()] * (MAX_BATCH + 1), "", id="a batch over the cap"),
        pytest.param([[message()]], "/0", id="a batch within a batch"),
        pytest.param([message(), {}], "/1/jsonrpc", id="one bad member of a batch"),
        pytest.param({"id": 1, "method": "ping"}, "/jsonrpc", id="no version"),
        pytest.param({**message(), "jsonrpc": "1.0"}, "/jsonrpc", id="another version"),
        pytest.param({**message(), "jsonrpc": 2.0}, "/jsonrpc", id="a version that is a number"),
        pytest.param(message(id=True), "/id", id="an id that is a truth value"),
        pytest.param(message(id=[1]), "/id", id="an id that is a list"),
        pytest.param(message(id={}), "/id", id="an id that is an object"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": 5}, "/method", id="a method that is no string"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": ""}, "/method", id="an empty method"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "method": None}, "/method", id="a null method"),
        pytest.param(message(params=None), "/params", id="null parameters"),
        pytest.param(message(params="x"), "/params", id="parameters that are a string"),
        pytest.param(message(params=5), "/params", id="parameters that are a number"),
        pytest.param(message(Method="tools/call"), "/Method", id="a member that is not of a request"),
        pytest.param(message(result={}), "/result", id="a request that is also a response"),
        pytest.param({"jsonrpc": "2.0", "id": 1}, "", id="neither a request nor a response"),
        pytest.param({"jsonrpc": "2.0", "result": {}}, "", id="a response to nothing"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, "", id="a result and an error"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "error": "no"}, "/error", id="an error that is no object"),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}}, "/params", id="a response with more"),
        pytest.param(message("tools/call"), "/params/name", id="a tool without a name"),
        pytest.param(tool_call(["now"]), "/params", id="a tool by position"),
        pytest.param(tool_call({"name": 5}), "/params/name", id="a tool whose name is a number"),
        pytest.param(tool_call({"name": ""}), "/params/name", id="a tool with an empty name"),
        pytest.param(tool_call({"name": ["a", "b"]}), "/params/name", id="two tools at once"),
        pytest.param(tool_call({"name": "a", "arguments": []}), "/params/arguments", id="arguments by position"),
        pytest.param(tool_call({"name": "a", "arguments": None}), "/params/arguments", id="null arguments"),
        pytest.param(tool_call({"name": "a", "arguments": "{}"}), "/params/arguments", id="arguments as text"),
        pytest.param(tool_call({"name": "a", "tool": "b"}), "/params/tool", id="a member that is not MCP's"),
    ],
)
def test_what_could_be_read_otherwise_is_refused(document: Json, field: str) -> None:
    assert refused(document).field == field


# --- what header lines say -------------------------------------------------------------------------------------------

CALL = tool_call({"name": "get_weather", "arguments": {}})
READ = message("resources/read", params={"uri": "file:///a", "name": "b"})


@pytest.mark.parametrize(
    ("document", "headers"),
    [
        pytest.param(CALL, {}, id="nothing"),
        pytest.param(CALL, {"Mcp-Method": "tools/call", "Mcp-Name": "get_weather"}, id="method and tool"),
        pytest.param(CALL, {"mcp-name": "=?base64?Z2V0X3dlYXRoZXI=?="}, id="in Base64"),
        pytest.param(READ, {"MCP-METHOD": "resources/read", "Mcp-Name": "file:///a"}, id="a resource by its URI"),
        pytest.param(message("tools/list"), {"Mcp-Method": "tools/list"}, id="a method alone"),
        pytest.param(CALL, {"Mcp-Names": "x", "X-Mcp-Name": "x"}, id="other lines"),
    ],
)
def test_header_lines_that_name_what_the_body_names_pass(document: Json, headers: dict[str, str]) -> None:
    check_named(tuple(headers.items()), read_rpc(document))


@pytest.mark.parametrize(
    ("document", "headers"),
    [
        pytest.param(CALL, {"Mcp-Method": "tools/list"}, id="another method"),
        pytest.param(CALL, {"Mcp-Name": "drop_table"}, id="another tool"),
        pytest.param(CALL, {"Mcp-Name": "=?base64?ZHJvcA==?="}, id="another tool in Base64"),
        pytest.param(CALL, {"Mcp-Name": "=?base64?Z?="}, id="broken Base64"),
        pytest.param(CALL, {"Mcp-Name": "=?base64?Z2V0X3dlYXRoZXI==?="}, id="Base64 that only some take"),
        pytest.param(CALL, {"Mcp-Name": "=?base64?/w==?="}, id="Base64 of no text"),
        pytest.param(CALL, {"Mcp-Name": "Get_Weather"}, id="names differ by case"),
        pytest.param(READ, {"Mcp-Name": "b"}, id="a resource by another name"),
        pytest.param(message("tools/list"), {"Mcp-Name": "x"}, id="a name for what has none"),
        pytest.param(message("sum", params=[1]), {"Mcp-Name": "x"}, id="a name for what goes by position"),
        pytest.param([CALL, message()], {"Mcp-Method": "tools/call"}, id="one name for a batch"),
    ],
)
def test_header_lines_that_name_something_else_are_refused(document: Json, headers: dict[str, str]) -> None:
    with pytest.raises(Rejected, match="send the same in both") as caught:
        check_named((("Host", "mcp.example"), *headers.items()), read_rpc(document))
    assert caught.value.code is Code.BODY_MALFORMED


# --- no other exception ----------------------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | JSON_VALUES},
    optional={
        "id": JSON_VALUES,
        "method": st.sampled_from(["tools/call", "ping"]) | JSON_VALUES,
        "params": st.fixed_dictionaries({"name": JSON_VALUES}, optional={"arguments": JSON_VALUES}) | JSON_VALUES,
        "result": JSON_VALUES,
        "error": JSON_VALUES,
    },
)


@given(JSON_VALUES | MESSAGES | st.lists(MESSAGES, max_size=3))
def test_no_exception_but_rejected(document: Json) -> None:
    try:
        calls = read_rpc(document)
    except Rejected as fault:
        assert fault.code is Code.BODY_MALFORMED
    else:
        assert all((call.method == "tools/call") is (call.tool is not None) for call in calls)
        assert all((call.method == "") is (call.kind == "response") for call in calls)
