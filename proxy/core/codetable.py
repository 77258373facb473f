"""The page about all codes, made of the code itself, so that it cannot say anything else."""

from proxy.core.errors import Code
from proxy.core.guides import GUIDES, Guide, Next
from proxy.core.problems import waits_s

_FAMILIES = {
    "stop": "Everything is stopped",
    "agent": "The agent",
    "proof": "The proof",
    "manifest": "The manifest",
    "delegation": "Delegations",
    "sponsor": "The sponsor",
    "intent": "The declared intent",
    "transparent": "Connections that the network redirects",
    "url": "What is asked",
    "guard": "Guardrails",
    "policy": "The rules",
    "hold": "Held calls",
    "upstream": "The world behind the proxy",
    "service": "The proxy cannot tell",
    "config": "What people wrote",
}
_WITH = {
    "request": "url",
    "body": "url",
    "mandate": "policy",
    "cluster": "policy",
    "credential": "policy",
    "release": "hold",
    "client": "upstream",
    "bundle": "config",
    "statement": "config",
    "journal": "config",
}

_HEAD = """\
# Every code, and what to do

Each refusal has a code. It stands in the answer (`code`), in the reason phrase of its status line, in the journal and
in the metrics, and it never changes its meaning. `detail` says in one go which call was refused, under whose mandate,
why, and the advice below; `retry.action` is the advice in one word, `retry.after_s` and `Retry-After` say when.

| word | an agent |
|---|---|
| retry | sends the same call again, freshly signed, after the seconds given |
| wait | goes on with other work and asks again: a person decides, or the call is being sent |
| fix | corrects what the answer names, then sends the call again |
| stop | does not try again, in no other way either, and tells its user |

A code with status 407 is told as 403 inside a tunnel. A call that is held has status 403, the word `wait`, and the code
of why it is held: `mandate.not_covered`, `cluster.review_required`, `cluster.changed_since_approval` or
`body.not_inspected`; `task` says where to ask. What the table says of these codes is for calls that are denied.
`upstream.broken` is `stop` for a call that must not happen twice: one that was released, and methods like POST. A call
that is ended under way by a stop says so where it may have arrived.

This page is made of the code: `python -m proxy.cli.codetable > docs/codes.md` writes it anew.
"""


def page() -> str:
    """docs/codes.md, whole."""
    parts = [_HEAD]
    for family, title in _FAMILIES.items():
        codes = [code for code in Code if _family(code) == family]
        rows = [_row(code, GUIDES[code]) for code in codes]
        head = ["| code | status | what happened | next | what to do |", "|---|---|---|---|---|"]
        parts.append("\n".join([f"## {title}", "", *head, *rows, ""]))
    return "\n".join(parts)


def _family(code: Code) -> str:
    """Under which heading a code stands; `allowed` under none."""
    name = code.value.partition(".")[0]
    return _WITH.get(name, name)


def _row(code: Code, guide: Guide) -> str:
    after_s = waits_s(code, guide.status)
    word = guide.next.value if after_s is None else f"{guide.next.value} ({after_s} s)"
    return f"| `{code.value}` | {guide.status} | {guide.title} | {word} | {guide.advice} |"


def unlisted() -> frozenset[Code]:
    """Codes that no heading takes in."""
    return frozenset(code for code in Code if _family(code) not in _FAMILIES and GUIDES[code].next is not Next.GO_ON)
