"""What a request to a language model asks for: the model, the tools, how much, and whom the provider is to contact.

Three shapes: OpenAI's Chat Completions and Responses, and Anthropic's Messages. A model's provider acts, too: it runs
tools of its own, calls remote MCP servers and fetches files by URL. Each of these is in `LlmRequest.tools` under a name
with a prefix, which no function's name can have:

- `get_weather`: a function that the caller runs (also legacy `functions`, and custom tools)
- `type:web_search`: a tool known by its type, which the provider runs or defines
- `mcp:https://mcp.example/path`, `mcp:connector_gmail`, `mcp:tunnel_1`: a remote MCP server
- `fetch:https://files.example`: where the provider is to fetch an image or a file from
- `reach:wheels.example`: a host that a container of the provider may contact
- `skill:pptx`: a skill loaded into such a container
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from proxy.core.bodies.rules import LlmShape
from proxy.core.bodies.shapes import a_list, a_text, an_object, escaped, kind_of, malformed, only
from proxy.core.encoding import Json
from proxy.core.folding import folded

MAX_TOOLS = 1_000
MAX_TOKENS = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmRequest:
    """One request to a language model."""

    model: str
    tools: frozenset[str]  # see the head of this module
    max_tokens: int | None  # the most that may be generated in all, for every choice together; None: no limit is asked
    stream: bool


_OPENAI = frozenset(
    {
        *("metadata", "model", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "safety_identifier", "service_tier", "store", "stream", "stream_options"),
        *("temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user"),
    }
)
_KNOWN: Mapping[LlmShape, Set[str]] = {
    LlmShape.OPENAI_CHAT: _OPENAI
    | {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "messages", "modalities", "n", "prediction", "presence_penalty"),
        *("reasoning_effort", "response_format", "seed", "stop", "verbosity", "web_search_options"),
    },
    LlmShape.OPENAI_RESPONSES: _OPENAI
    | {
        *("background", "context_management", "conversation", "include", "input", "instructions"),
        *("max_output_tokens", "max_tool_calls", "previous_response_id", "reasoning", "text", "truncation"),
    },
    LlmShape.ANTHROPIC_MESSAGES: frozenset(
        {
            *("anthropic_version", "cache_control", "container", "context_management", "inference_geo", "max_tokens"),
            *("mcp_servers", "messages", "metadata", "model", "output_config", "output_format", "service_tier"),
            *("speed", "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice", "tools"),
            *("top_k", "top_p", "user_profile_id"),
        }
    ),
}
_SPOKEN: Mapping[LlmShape, str] = {  # where the conversation stands
    LlmShape.OPENAI_CHAT: "messages",
    LlmShape.OPENAI_RESPONSES: "input",
    LlmShape.ANTHROPIC_MESSAGES: "messages",
}
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LOOKED_AT = frozenset(
    {
        *("allowed_domains", "connector_id", "container", "custom", "environment", "function", "image_url", "input"),
        *("name", "network_policy", "server_url", "skill_id", "skills", "source", "tools", "tunnel_id", "type", "url"),
    }
)
_FOLDED = frozenset(map(folded, _LOOKED_AT))
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_URL = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_ORIGIN = re.compile(r"(https?://[a-z0-9.-]+(?::[0-9]{1,5})?)(?:[/?#]|$)")
_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})  # their input is whatever the tool takes
_HOST = re.compile(r"(?:\*\.)?[a-z0-9.-]{1,253}")


def read_llm(document: Json, shape: LlmShape) -> LlmRequest:
    """What a JSON body of that shape asks for.

    A member that is not known here is refused: providers and those who imitate them have members that add models,
    tools or a whole stored prompt. Null stands for a member that is not there.

    Not checked here: what is said in the conversation, what a tool's parameters are, and what the provider's own tools
    may reach beyond what the request itself lists.

    Raises:
        Rejected(BODY_MALFORMED): a member that is unknown or of another kind than the provider documents.
    """
    whole = an_object(document, "")
    only(whole, _KNOWN[shape], "", mend=f"it is not known to be harmless in the shape {shape}")
    request = {name: value for name, value in whole.items() if value is not None}
    stream = request.get("stream", False)
    if not isinstance(stream, bool):
        raise malformed("/stream", f"expected true or false, got {kind_of(stream)}")
    tools: set[str] = set()
    for name in _reached(request, shape):
        tools.add(name)
        if len(tools) > MAX_TOOLS:
            raise malformed("/tools", f"expected at most {MAX_TOOLS} tools")
    return LlmRequest(
        model=a_text(request.get("model"), "/model"), tools=frozenset(tools), max_tokens=_most(request), stream=stream
    )


def _most(request: Mapping[str, Json]) -> int | None:
    """The one limit there is, under whichever names, times the number of choices."""
    said = {_whole(request[name], f"/{name}") for name in _LIMITS if name in request}
    if len(said) > 1:
        raise malformed("/max_tokens", "the limits of tokens must agree; send one of them")
    choices = _whole(request.get("n", 1), "/n", least=1)
    return said.pop() * choices if said else None


def _whole(value: Json, where: str, *, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_TOKENS:
        raise malformed(where, f"expected a whole number from {least} to {MAX_TOKENS}, got {kind_of(value)}")
    return value


# --- whom and what it reaches ----------------------------------------------------------------------------------------


type _Place = tuple[_Place, str | int] | str
"""Where a value stands: its pointer, or what holds it and its own name or number. Most are never told."""


def _pointer(place: _Place) -> str:
    tokens: list[str] = []
    while not isinstance(place, str):
        place, token = place
        tokens.append(escaped(str(token)))
    return "/".join([place, *reversed(tokens)])


def _reached(request: Mapping[str, Json], shape: LlmShape) -> Iterator[str]:
    """The names of all tools and places, repeats included."""
    yield from _tools(request.get("tools", []), "/tools", shape)
    for place, function in enumerate(a_list(request.get("functions", []), "/functions")):
        yield _name(_entry(function, f"/functions/{place}").get("name"), f"/functions/{place}/name")
    if "web_search_options" in request:
        yield "type:web_search"
    for place, server in enumerate(a_list(request.get("mcp_servers", []), "/mcp_servers")):
        where = f"/mcp_servers/{place}"
        yield f"mcp:{_url(_entry(server, where).get('url'), f'{where}/url')}"
    yield from _container(request.get("container"), "/container")
    yield from _conversation(request.get(_SPOKEN[shape]), f"/{_SPOKEN[shape]}", shape)


def _entry(value: Json, where: str) -> Mapping[str, Json]:
    """An object whose members are what they seem: none that some reader takes for one that is looked at here."""
    entry = an_object(value, where)
    _check_spelling(entry, where)
    return entry


def _check_spelling(entry: Mapping[str, Json], place: _Place) -> None:
    for name in entry:
        if name not in _LOOKED_AT and folded(name) in _FOLDED:
            raise malformed(_pointer((place, name)), "some readers take this for another member; spell it as they do")


def _tools(value: Json, where: str, shape: LlmShape, *, nested: bool = False) -> Iterator[str]:
    for place, tool in enumerate(a_list(value, where)):
        yield from _tool(_entry(tool, f"{where}/{place}"), f"{where}/{place}", shape, nested=nested)


def _tool(tool: Mapping[str, Json], where: str, shape: LlmShape, *, nested: bool) -> Iterator[str]:
    """The names of one tool, and of what it brings along."""
    kind = "custom" if tool.get("type") is None else tool["type"]
    if kind in ("function", "custom"):
        yield _name(*_function_name(tool, str(kind), where, shape))
    elif kind == "mcp":
        yield f"mcp:{_server(tool, where)}"
    elif kind == "namespace" and not nested:
        yield from _tools(tool.get("tools"), f"{where}/tools", shape, nested=True)
    elif kind != "mcp_toolset":  # which only chooses from a server that stands under mcp_servers
        yield f"type:{_name(kind, f'{where}/type')}"
        yield from _container(tool.get("container"), f"{where}/container")
        yield from _container(tool.get("environment"), f"{where}/environment")
        if "tools" in tool:
            raise malformed(f"{where}/tools", "tools within a tool of this type cannot be read; list each by itself")


def _function_name(tool: Mapping[str, Json], kind: str, where: str, shape: LlmShape) -> tuple[Json, str]:
    """The name and its place: Chat Completions has it in a member called as the type, the others in the tool itself."""
    if shape is not LlmShape.OPENAI_CHAT:
        return tool.get("name"), f"{where}/name"
    if "name" in tool:
        raise malformed(f"{where}/name", f"a name stands in the member {kind} here; remove this one")
    return _entry(tool.get(kind), f"{where}/{kind}").get("name"), f"{where}/{kind}/name"


def _name(value: Json, where: str) -> str:
    text = a_text(value, where)
    if not _NAME.fullmatch(text):
        raise malformed(where, "expected up to 128 letters, digits, dots, hyphens and underscores")
    return text


def _server(tool: Mapping[str, Json], where: str) -> str:
    """Which MCP server: by exactly one of its names."""
    said = [name for name in ("server_url", "connector_id", "tunnel_id") if tool.get(name) is not None]
    if len(said) != 1:
        raise malformed(where, "expected exactly one of server_url, connector_id and tunnel_id")
    place = f"{where}/{said[0]}"
    return _url(tool[said[0]], place) if said == ["server_url"] else _name(tool[said[0]], place)


def _url(value: Json, where: str) -> str:
    """A URL that everyone reads in the same way, and that holds no secret: it will be shown."""
    text = a_text(value, where)
    if not _URL.fullmatch(text) or "/." in text:
        raise malformed(
            where, "expected http(s)://host[:port]/path, the host in lower case, without user, query or dot segments"
        )
    return text


def _container(value: Json, where: str) -> Iterator[str]:
    """What a container of the provider is given: hosts it may contact, and skills."""
    if value is None or isinstance(value, str):  # one that exists already, by its id
        return
    container = _entry(value, where)
    if (policy := container.get("network_policy")) is not None:
        place = f"{where}/network_policy/allowed_domains"
        hosts = _entry(policy, f"{where}/network_policy").get("allowed_domains", [])
        for number, host in enumerate(a_list(hosts, place)):
            yield f"reach:{_host(host, f'{place}/{number}')}"
    if (skills := container.get("skills")) is not None:
        for number, skill in enumerate(a_list(skills, f"{where}/skills")):
            place = f"{where}/skills/{number}"
            yield f"skill:{_name(_entry(skill, place).get('skill_id'), f'{place}/skill_id')}"


def _host(value: Json, where: str) -> str:
    text = a_text(value, where)
    if not _HOST.fullmatch(text):
        raise malformed(where, "expected a host in lower case")
    return text


def _conversation(value: Json, where: str, shape: LlmShape) -> Iterator[str]:
    """What the provider is to fetch for the conversation, and tools that come in the middle of it."""
    if isinstance(value, str) and shape is LlmShape.OPENAI_RESPONSES:
        return
    waiting: list[tuple[Json, _Place]] = [(item, (where, number)) for number, item in enumerate(a_list(value, where))]
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, Mapping):
            _check_spelling(value, place)
            yield from _fetched(value, place)
            kind = value.get("type")
            if kind in ("additional_tools", "tool_search_output"):
                yield from _tools(value.get("tools"), f"{_pointer(place)}/tools", shape)
            parts = ((name, part) for name, part in value.items() if name != "input" or kind not in _CALLS)
            waiting.extend((part, (place, name)) for name, part in parts if not isinstance(part, str))
        elif isinstance(value, list | tuple):
            waiting.extend((item, (place, number)) for number, item in enumerate(value))


def _fetched(part: Mapping[str, Json], place: _Place) -> Iterator[str]:
    """`image_url`, `file_url` and the like, a string or an object with a `url`; and a `source` with a `url`."""
    for name, value in part.items():
        if not (name == "source" or folded(name).endswith("_url")):
            continue
        told = value.get("url") if isinstance(value, Mapping) else value if name != "source" else None
        if not isinstance(told, str) or told.startswith("data:"):
            continue
        origin = _ORIGIN.match(told)
        if origin is None:
            detail = "expected a data: URL, or http(s)://host with the host in lower case"
            raise malformed(_pointer((place, name)), detail)
        yield f"fetch:{origin[1]}"
