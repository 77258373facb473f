"""What the demo's processes say, as the story reads it."""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from proxy.cli.demo.agent import Reply
from proxy.cli.demo.origin import HOST
from proxy.cli.demo.stage import Address
from proxy.cli.demo.teller import PASSED, PLAIN, REFUSED, STOPPED
from proxy.core.encoding import Json
from proxy.core.errors import Code


def asked_in(reply: Reply) -> str:
    """Method and path; the whole URL when it is not the ERP system's."""
    parts = urlsplit(reply.url)
    return f"{reply.method} {parts.path if parts.hostname == HOST else reply.url}"


def outcome_of(reply: Reply, problem: Mapping[str, Json], style: str | None) -> tuple[str, str]:
    """What came back in few words, and in which colour."""
    if problem:
        held = "task" in problem and problem["code"] != Code.HOLD_DENIED
        return f"{'held' if held else 'denied'}: {problem['code']}", STOPPED if held else REFUSED
    words = "; ".join(f"{name} {value}" for name, value in json.loads(reply.body).items())
    return words, style or (PASSED if reply.status == 200 else PLAIN)


def task_in(problem: Mapping[str, Json], member: str) -> str:
    """What a refusal says of its hold."""
    task = problem["task"]
    assert isinstance(task, Mapping)
    return str(task[member])


def reply_in(said: Json) -> Reply:
    """A reply as the agent's process writes it."""
    assert isinstance(said, Mapping)
    headers = said["headers"]
    assert isinstance(headers, Mapping)
    return Reply(
        method=str(said["method"]),
        url=str(said["url"]),
        status=int(str(said["status"])),
        headers={name: str(value) for name, value in headers.items()},
        body=str(said["body"]),
    )


def doors_in(said: Json) -> dict[str, Address]:
    """Where the server listens, as its process writes it."""
    assert isinstance(said, Mapping)
    return {
        name: (str(place["host"]), int(str(place["port"])))
        for name, place in said.items()
        if isinstance(place, Mapping)
    }
