"""Reading a body as its Content-Type says: which types are JSON, and header lines that speak of the body."""

from dataclasses import replace

import pytest
from questions import call

from proxy.core.bodies.reading import Reading
from proxy.core.errors import Code, Rejected


def reading(body: bytes, *headers: tuple[str, str]) -> Reading:
    return Reading(replace(call(method="POST"), headers=headers, body=body))


@pytest.mark.parametrize(
    "media",
    [
        *("application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"),
        *("application/merge-patch+json", "application/json-rpc", "text/json", "application/x-amz-json-1.0"),
    ],
)
def test_json_goes_by_several_names(media: str) -> None:
    assert reading(b'{"a": 1}', ("Content-Type", media)).json() == {"a": 1}


@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/x-amz-json", "a/json"],
)
def test_nothing_else_is_json(media: str) -> None:
    with pytest.raises(Rejected, match="Content-Type must be application/json") as caught:
        reading(b'{"a": 1}', ("Content-Type", media)).json()
    assert caught.value.code is Code.BODY_MALFORMED


MESSAGE = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "now"}}'
JSON = ("Content-Type", "application/json")


def test_a_header_that_names_the_tool_of_the_body_is_no_matter() -> None:
    assert reading(MESSAGE, JSON, ("Mcp-Name", "now")).rpc()[0].tool == "now"


def test_a_header_that_names_another_tool_than_the_body_is_refused() -> None:
    with pytest.raises(Rejected, match="Mcp-Name") as caught:
        reading(MESSAGE, JSON, ("Mcp-Name", "drop_table")).rpc()
    assert caught.value.code is Code.BODY_MALFORMED
