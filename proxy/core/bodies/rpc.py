"""What a JSON-RPC 2.0 body asks for, and which tool with which arguments where it is the Model Context Protocol.

MCP is JSON-RPC over HTTP (Streamable HTTP): each POST carries a request, a notification, or the client's response to a
request of the server; before version 2025-06-18 also a batch of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from proxy.core.bodies.shapes import a_list, a_text, an_object, kind_of, malformed, only
from proxy.core.encoding import Json

MAX_BATCH = 50

MCP_CHATTER = frozenset(
    {
        "initialize",
        "ping",
        "logging/setLevel",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "server/discover",
        "subscriptions/listen",
        "tools/list",
    }
)
"""Methods by which an MCP client gets to know a server and keeps in step with it. They run no tool and read nothing:
`tools/call`, `resources/read`, `resources/subscribe`, `prompts/get`, `completion/complete`, `tasks/…` are not here."""

_REQUEST = frozenset({"jsonrpc", "id", "method", "params"})
_RESPONSE = frozenset({"jsonrpc", "id", "result", "error"})
_TOOL_CALL = frozenset({"name", "arguments", "_meta", "task", "inputResponses", "requestState"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcCall:
    """One message. A response answers a request of the server: its method is "" and its params are what it says."""

    kind: Literal["request", "notification", "response"]
    method: str  # "" for a response, and never for anything else
    params: Json  # an object or a list, {} where there are none; of a response the result, or the error
    tool: str | None = None  # of `tools/call`
    arguments: Json = None  # of `tools/call`: an object, {} where there are none

    @property
    def is_chatter(self) -> bool:
        """Whether it only keeps an MCP session going: a method of `MCP_CHATTER`, or a response that says nothing."""
        return self.method in MCP_CHATTER or (self.kind == "response" and self.params == {})


def read_rpc(document: Json) -> tuple[RpcCall, ...]:
    """Every message of a JSON-RPC 2.0 body; a batch has several.

    Not checked here: whether the server knows the method, and what the parameters of any but `tools/call` mean.

    Raises:
        Rejected(BODY_MALFORMED): not JSON-RPC 2.0 to the letter (§4, §5, §6), or a `tools/call` that is not MCP's.
    """
    if isinstance(document, Mapping):
        return (_message(document, ""),)
    messages = a_list(document, "")
    if not 0 < len(messages) <= MAX_BATCH:
        raise malformed("", f"expected a batch of 1 to {MAX_BATCH} messages, got {len(messages)}")
    return tuple(_message(an_object(each, f"/{place}"), f"/{place}") for place, each in enumerate(messages))


def _message(message: Mapping[str, Json], where: str) -> RpcCall:
    if message.get("jsonrpc") != "2.0":
        raise malformed(f"{where}/jsonrpc", 'expected "2.0"')
    identity = message.get("id")
    if isinstance(identity, bool) or not isinstance(identity, str | int | float | None):
        raise malformed(f"{where}/id", f"expected a string, a number or null, got {kind_of(identity)}")
    if "method" not in message:
        return _response(message, where)
    only(message, _REQUEST, where)
    method = a_text(message["method"], f"{where}/method")
    params = message.get("params", {})
    if isinstance(params, str) or not isinstance(params, Mapping | list | tuple):
        raise malformed(f"{where}/params", f"expected an object or a list, got {kind_of(params)}")
    tool, arguments = _tool(params, f"{where}/params") if method == "tools/call" else (None, None)
    kind: Literal["request", "notification"] = "request" if "id" in message else "notification"
    return RpcCall(kind=kind, method=method, params=params, tool=tool, arguments=arguments)


def _response(message: Mapping[str, Json], where: str) -> RpcCall:
    only(message, _RESPONSE, where)
    if ("result" in message) is ("error" in message) or "id" not in message:
        raise malformed(where, "expected a method, or an id with either a result or an error")
    told = message["result"] if "result" in message else an_object(message["error"], f"{where}/error")
    return RpcCall(kind="response", method="", params=told)


def _tool(params: Json, where: str) -> tuple[str, Json]:
    """The tool's name and its arguments. A member that is not MCP's is refused: nobody here knows what it does."""
    call = an_object(params, where)
    only(call, _TOOL_CALL, where, mend="of tools/call, only MCP's own members can be read; remove it")
    name = a_text(call.get("name"), f"{where}/name")
    return name, an_object(call.get("arguments", {}), f"{where}/arguments")
