"""docs/bodies.md: every piece of YAML loads, and every body becomes what the page says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bodies import FORM_TYPE, JSON_TYPE, MULTIPART_TYPE, posted
from identities import grant
from questions import bundle_of, question

from proxy.core.bodies.rules import FormBody
from proxy.core.constraints import constraints_of
from proxy.core.decide import decide
from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.model import Call, Cluster, Constraints, Unread, Verdict
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults
from proxy.policy.yaml import load, plain

DOC = (Path(__file__).parents[2] / "docs" / "bodies.md").read_text(encoding="utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", DOC, re.MULTILINE))
YAML = {
    title: found[1] for title, text in SECTIONS.items() if (found := re.search(r"```yaml\n(.*?)```", text, re.DOTALL))
}
ROW = re.compile(r"^\| (?:`(.+)`|(nothing)) \| (passes|held|denied) \|$", re.MULTILINE)
ROWS = [
    pytest.param(title, body, expected, id=f"{title}: {body[:60] or 'nothing'}")
    for title in YAML
    for body, _, expected in ROW.findall(SECTIONS[title])
]
OUTCOMES = {
    "passes": (Verdict.ALLOW, Code.ALLOWED),
    "held": (Verdict.HOLD, Code.NOT_COVERED),
    "denied": (Verdict.DENY, Code.BODY_MALFORMED),
}
NARROWING = "Narrowing a mandate to some bodies"


def cluster(body: str) -> Cluster:
    """A cluster whose one operation has this body rule."""
    lines = [
        "version: 1",
        "clusters:",
        "  - id: erp",
        "    hosts: [erp.example]",
        "    risk: routine",
        "    operations:",
        "      - name: send",
        "        methods: [POST]",
        '        path: "/v1/invoices/{id}"',
        *(f"        {line}" for line in body.splitlines()),
    ]
    rules, faults = Rules(people=None), Faults("clusters.yaml")
    root = load("\n".join(lines).encode(), faults)
    assert root is not None
    rules.read(root, faults)
    assert [str(fault) for fault in faults.listed()] == []
    return rules.clusters["erp"]


def narrowed() -> Constraints:
    root = load(YAML[NARROWING].encode(), Faults("draft.yaml"))
    assert root is not None
    return constraints_of(thawed(plain(root))["constraints"], "constraints")  # type: ignore[index, call-overload]


def thawed(value: object) -> Json:
    """Lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {name: thawed(member) for name, member in value.items()}
    return [thawed(item) for item in value] if isinstance(value, tuple) else value  # type: ignore[return-value]


def becomes(title: str, asked: Call) -> tuple[Verdict, Code]:
    of = cluster("body: any" if title == NARROWING else YAML[title])
    given = grant(of, constraints=narrowed() if title == NARROWING else None)
    decision = decide(replace(question(bundle=bundle_of(of), grants=[given], method="POST"), call=asked))
    return decision.verdict, decision.code


@pytest.mark.parametrize(("title", "body", "expected"), ROWS)
def test_every_body_becomes_what_the_page_says(title: str, body: str, expected: str) -> None:
    headers = JSON_TYPE if body.startswith(("{", "[")) else FORM_TYPE if body else ()
    assert becomes(title, posted(body.encode(), headers)) == OUTCOMES[expected]


def test_every_section_with_a_rule_shows_what_passes_and_what_does_not() -> None:
    assert len(ROWS) >= 50
    for title in YAML.keys() - {"Multipart forms and files", "Bodies of any size"}:
        shown = {expected for _, _, expected in ROW.findall(SECTIONS[title])}
        assert "passes" in shown and shown & {"held", "denied"}, title


def test_every_kind_of_rule_has_a_section() -> None:
    kinds = {re.search(r"body:\n  (\w+):", text) for text in YAML.values()}
    assert {found[1] for found in kinds if found} >= {"json", "form", "multipart", "graphql", "mcp", "llm"}


def part(head: str, data: str) -> str:
    return f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n"


SCAN = part('name="scan"; filename="a.png"\r\nContent-Type: image/png', "PNG")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(SCAN + part('name="title"', "Bill"), "passes", id="a file and a field"),
        pytest.param(part('name="title"', "Bill"), "held", id="no file"),
        pytest.param(SCAN.replace("image/png", "text/html"), "held", id="a file of another type"),
        pytest.param(part('name="scan"', "PNG"), "held", id="a field where a file should be"),
        pytest.param(SCAN + part('name="title"; filename="x"', "Bill"), "held", id="a file where a field should be"),
        pytest.param(SCAN + part('name="admin"', "1"), "held", id="a part nobody listed"),
        pytest.param(SCAN + SCAN, "held", id="a second part of one name"),
        pytest.param(SCAN.replace("\r\n", "\n"), "denied", id="parts that depend on who cuts them"),
    ],
)
def test_multipart_forms_become_what_the_page_says(text: str, expected: str) -> None:
    asked = posted(f"{text}--b--\r\n".encode(), MULTIPART_TYPE)
    assert becomes("Multipart forms and files", asked) == OUTCOMES[expected]


def test_what_is_too_large_is_held_and_what_is_unexamined_is_not() -> None:
    large = posted(Unread(size=5_000_000, sha256=b"\0" * 32))
    assert becomes("JSON: fields by pointer", large) == (Verdict.HOLD, Code.BODY_NOT_INSPECTED)
    streams = posted(Unread(size=None, sha256=None))
    assert becomes("Bodies of any size", streams) == OUTCOMES["passes"]


def test_any_is_said_of_documents_and_forms() -> None:
    assert "`json: any`" in DOC and "`form: any`" in DOC
    assert cluster("body: {form: any}").operations[0].body == FormBody(others=True)
