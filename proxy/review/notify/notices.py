"""What receivers are told, and how it is written: as JSON (Standard Webhooks), or as Slack reads it. Pure.

A message says who wants what, how risky that is, until when somebody must decide, and where. It never bears a body, a
header, the value of a query, or what an agent said of itself. All its text is printable ASCII.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from proxy.core.encoding import Json, b64u
from proxy.core.hiding import masked_path
from proxy.core.model import Call
from proxy.core.shown import shown
from proxy.policy.webhooks import About, Format
from proxy.review.times import instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message. The same happening always has the same id: who gets it twice can tell."""

    id: str
    about: About
    at: datetime
    text: str  # one sentence
    link: str  # where to look, or to decide
    facts: Mapping[str, Json]


def notice_id(deployment: str, about: About, *what: str) -> str:
    """The id of the message about something that happens once."""
    words = json.dumps([deployment, about.value, *what])
    return f"msg_{b64u(hashlib.sha256(words.encode()).digest()[:18])}"


def plain_notice(about: About, text: str, *what: str, deployment: str, link: str, now: datetime) -> Notice:
    """A message that is about nothing but the deployment."""
    return Notice(
        id=notice_id(deployment, about, *what),
        about=about,
        at=now,
        text=text,
        link=link,
        facts={"deployment": deployment},
    )


def asks_for(call: Call) -> str:
    """Method and URL, without the query, whose values may be anything, and without credentials in the path."""
    return f"{call.method} {call.origin}{shown(masked_path(call.path))}{' with a query' if call.query else ''}"


def written(notice: Notice, form: Format) -> str:
    """The body of the message."""
    document = _slack(notice) if form is Format.SLACK else _plain(notice)
    return json.dumps(document, ensure_ascii=True, separators=(",", ":"))


def _plain(notice: Notice) -> Mapping[str, Json]:
    return {
        "type": notice.about.value,
        "timestamp": instant(notice.at),
        "data": {"text": notice.text, "link": notice.link, **notice.facts},
    }


def _slack(notice: Notice) -> Mapping[str, Json]:
    """What comes from outside is `plain_text`, in which nothing is a mention, a link or markup."""
    told = [
        f"{label} {words}"
        for label, name in (("risk:", "risk"), ("may decide:", "may_decide"), ("until", "expires_at"))
        if (words := _words(notice.facts.get(name)))
    ]
    blocks: list[Json] = [{"type": "section", "text": _plain_text(notice.text)}]
    if told:
        blocks.append({"type": "context", "elements": [_plain_text("  |  ".join(told))]})
    blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": f"<{notice.link}|Open it at the desk>"}})
    return {"text": _escaped(notice.text), "blocks": blocks}


def _plain_text(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _words(value: Json) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else ""
