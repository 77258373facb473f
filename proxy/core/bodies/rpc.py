"""What a JSON-RPC 2.0 body asks for, and which tool with which arguments where it is the Model Context Protocol.

MCP is JSON-RPC over HTTP (Streamable HTTP): each POST carries a request, a notification, or the client's response to a
request of the server; before version 2025-06-18 also a batch of them.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.core.bodies.shapes import a_text, an_object, kind_of, malformed, one_or_batch, only
from proxy.core.encoding import Json

TOOLS_CALL = "tools/call"

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
_CODED = re.compile(r"=\?base64\?([A-Za-z0-9+/=]*)\?=")
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
    return tuple(_message(message, where) for message, where in one_or_batch(document))


def check_named(headers: Sequence[tuple[str, str]], calls: Sequence[RpcCall]) -> None:
    """Refuse header lines that name another method or tool than the body does (MCP 2026-07-28, Streamable HTTP).

    `Mcp-Method` and `Mcp-Name` are there for whoever stands before the server and does not read bodies. Not checked
    here: `Mcp-Param-…` lines, which mirror arguments.

    Raises:
        Rejected(BODY_MALFORMED): they disagree, or name one thing for a batch of several.
    """
    for name, value in headers:
        if name.lower() not in _NAMED:
            continue
        for call in calls:
            if _plain(value) != _NAMED[name.lower()](call):
                raise malformed("", f"the header {name} must name what the body names; send the same in both")


def _plain(value: str) -> str | None:
    """A header's value, undone where it is Base64 since it could not stand in a header as it is."""
    coded = _CODED.fullmatch(value)
    if coded is None:
        return value
    try:
        return base64.b64decode(coded[1], validate=True).decode()
    except ValueError:
        return None


def _name(call: RpcCall) -> Json:
    """What a call is about: the tool, the prompt, or the resource."""
    params = call.params if isinstance(call.params, Mapping) else {}
    return params.get("uri") if call.method.startswith("resources/") else params.get("name")


_NAMED: Mapping[str, Callable[[RpcCall], Json]] = {"mcp-method": lambda call: call.method, "mcp-name": _name}


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
    tool, arguments = _tool(params, f"{where}/params") if method == TOOLS_CALL else (None, None)
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
