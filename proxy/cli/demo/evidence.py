"""What the server saw and what the journal says: read from their files, by nobody's word."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.lines import Kind
from proxy.audit.show import Row, Wanted, show_journal
from proxy.cli.demo.agent import Reply
from proxy.core.encoding import Json

_HEAD = re.compile(rb"([A-Z]+ [^ \r\n]+) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n")  # the story's calls have no bodies


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What reached the server: connections opened, and each request's method and path, in order."""

    connections: int
    requests: tuple[str, ...]


class ServerLog:
    """Reads the server's log onwards."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def news(self) -> Seen:
        """What arrived since it was last asked. The server logs before it answers, so an answered call is in it."""
        lines = self._path.read_text("ascii").splitlines() if self._path.exists() else []
        fresh, self._read = lines[self._read :], len(lines)
        return seen_in(fresh)


def seen_in(lines: Iterable[str]) -> Seen:
    """What lines of `origin.jsonl` say. A request counts from its whole head on."""
    connections, requests, open_heads = 0, [], dict[int, bytes]()
    for line in lines:
        entry = json.loads(line)
        number = int(entry["connection"])
        if entry["event"] == "opened":
            connections += 1
            continue
        text = open_heads.get(number, b"") + str(entry["bytes"]).encode("latin-1")
        while head := _HEAD.match(text):
            requests.append(head[1].decode("ascii"))
            text = text[head.end() :]
        open_heads[number] = text
    return Seen(connections=connections, requests=tuple(requests))


def allowed_in(journal: Path, host: str) -> list[str]:
    """Method and path of every call to `host` that the journal says was let through, oldest first."""
    rows = show_journal(journal, Wanted(kind=Kind.DECISION, verdict="allow", host=host))
    return [f"{row.fields['method']} {_path(str(row.fields['url']))}" for row in rows if isinstance(row, Row)]


def _path(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def problem_of(reply: Reply) -> Mapping[str, Json]:
    """The proxy's problem document in a reply; empty when it is the server's own."""
    if reply.headers.get("content-type") != "application/problem+json":
        return {}
    members: Json = json.loads(reply.body)
    assert isinstance(members, Mapping)
    return members
