"""What a hostile agent writes into a call that is held: whoever reads it on a terminal, or in a message, reads text."""

import json
from collections.abc import Iterator
from urllib.parse import quote

from attacks import Case
from clirun import cli
from payloads import MARKUP, ODD, UNSEEN
from shots import Answer, Shot, fire
from streets import Street

ANY_WAY = True  # also as an agent that knows of no proxy

TEXTS = (*MARKUP[::14], *UNSEEN[::4], *ODD[::12])


def cases(way: str) -> Iterator[Case]:
    for number, text in enumerate(TEXTS):
        plain = "".join(char for char in text if " " <= char <= "~").strip()[:500] or "x"
        asked = quote(plain.replace("%", "-"), safe="")
        hostile = Shot(
            method="POST",
            path=f"/payroll/{number}?note={asked}",
            headers=(("Content-Type", "text/html"), ("X-Note", plain)),
            body=text.encode("utf-8", "replace"),
        )
        yield Case(
            threat="F03",
            name=f"a held call says {ascii(text)[:60]}",
            way=way,
            twin=lambda street: fire(street, way, Shot()),
            attack=lambda street, shot=hostile: read_by_somebody(street, way, shot),  # type: ignore[misc]
            code="mandate.not_covered",
        )


def read_by_somebody(street: Street, way: str, shot: Shot) -> Answer:
    """The call is held; then somebody reads it, and the list it is in."""
    answer = fire(street, way, shot)
    hold = answer.document["task"]["id"]
    for words in (("list",), ("show", hold), ("list", "--json"), ("show", hold, "--json")):
        printed = cli("holds", *words, "-c", street.house.folder).ok().out
        assert printed.replace("\n", "").isprintable(), words
        if "--json" in words:
            json.loads(printed)
    return answer
