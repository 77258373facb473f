"""docs/urls.md: every example is read, covered, or refused as it says there."""

import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import identities
import pytest
from heads import OUTSIDE, absolute
from questions import bundle_of, mandate_of, question

from proxy.core.canonical import canonicalise
from proxy.core.clusters import compile_cluster
from proxy.core.decide import decide
from proxy.core.errors import Code, Rejected
from proxy.core.matching import destination_of
from proxy.core.model import Call, Cluster, Verdict
from proxy.policy.clusters import Rules
from proxy.policy.document import Table
from proxy.policy.faults import Faults
from proxy.policy.yaml import load

DOC = (Path(__file__).parents[2] / "docs" / "urls.md").read_text(encoding="utf-8")


def table(title: str) -> list[tuple[str, ...]]:
    """The rows of the first table below a heading, each cell without its back-quotes."""
    section = DOC.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rows = [tuple(re.sub(r"^`(.*)`$", r"\1", cell).replace("\\|", "|") for cell in row) for row in cells]
    assert rows
    return rows


def read(url: str) -> Call:
    """The call of a GET, with the URL as a client that encodes nothing would send it."""
    scheme, _, rest = url.partition("://")
    end = re.search(r"[/?#]|$", rest)
    assert end is not None
    url = f"{scheme}://{rest[: end.start()]}{'' if rest[end.start() :].startswith('/') else '/'}{rest[end.start() :]}"
    return canonicalise(absolute(url.encode("utf-8").decode("latin-1")), OUTSIDE)


def cluster_of(rule: str, host: str) -> Cluster:
    """A cluster whose only operation is the rule as the page writes it."""
    text = f"""\
version: 1
clusters:
  - id: page
    risk: routine
    hosts: [{host}]
    operations:
      - {{name: it, methods: [GET], {rule}}}
"""
    faults, rules = Faults("clusters.yaml"), Rules(people=None)
    root = load(text.encode(), faults)
    assert isinstance(root, Table)
    rules.read(root, faults)
    assert not len(faults), str(faults)
    return rules.clusters["page"]


def covers(rule: str, call: Call) -> bool:
    return bool(compile_cluster(cluster_of(rule, call.host)).matching(call, destination_of(call)))


@pytest.mark.parametrize(("sent", "canonical", "_what"), table("One spelling"))
def test_one_spelling(sent: str, canonical: str, _what: str) -> None:
    assert read(sent).url == canonical
    assert read(canonical).url == canonical


@pytest.mark.parametrize(
    ("sent", "canonical", "rule"),
    [pytest.param(sent, canonical, rule, id=api) for api, sent, canonical, rule in table("Which template covers it")],
)
def test_the_template_covers_it(sent: str, canonical: str, rule: str) -> None:
    call = read(sent)
    assert call.url == (sent if canonical == "the same" else canonical)
    assert covers(rule, call)
    for flag in ("rest", "encoded", "matrix"):
        without = _FLAGS.sub(lambda found, flag=flag: _written(set(found[1].split(",")) - {flag}), rule)
        assert without == rule or not covers(without, call), f"{flag} is of no use: {without} covers it, too"


_FLAGS = re.compile(r":([a-z,]+)\}")


def _written(flags: set[str]) -> str:
    return f":{','.join(flag for flag in ('rest', 'encoded', 'matrix') if flag in flags)}}}" if flags else "}"


def test_the_paths_of_look_alikes_are_two() -> None:
    rules = {api: rule for api, _, _, rule in table("Which template covers it")}
    composed = read("https://s3.example/box/caf%C3%A9.txt")
    assert covers(rules["S3, an accent composed"], composed)
    assert not covers(rules["S3, an accent decomposed"], composed)


@pytest.mark.parametrize(
    ("sent", "outcome", "rule"),
    [pytest.param(sent, outcome, rule, id=what) for what, sent, outcome, rule in table("What only a rule can settle")],
)
def test_what_only_a_rule_can_settle(sent: str, outcome: str, rule: str) -> None:
    call = read(sent)
    with_it = cluster_of(rule, call.host)
    path = "/items/{id}" if "items" in rule else "/go"
    plain = cluster_of(f'path: "{path}", query: any', call.host)
    allowed = decide(question(with_it, call=call))
    assert (allowed.verdict, allowed.code) == (Verdict.ALLOW, Code.ALLOWED)
    refused = decide(question(plain, call=call))
    word = {Verdict.HOLD: "held", Verdict.DENY: "denied"}[refused.verdict]
    assert f"{word}, `{refused.code.value}`" == outcome


@pytest.mark.parametrize(("sent", "why"), [pytest.param(sent, why, id=sent) for sent, why, _ in table("Refused")])
def test_what_is_refused_whatever_any_rule_says(sent: str, why: str) -> None:
    assert why
    with pytest.raises(Rejected) as caught:
        read(sent)
    assert caught.value.code is Code.URL_AMBIGUOUS
    assert caught.value.field in ("path", "query", "authority", "host")


def sigv4(url: str) -> str:
    """The canonical request of SigV4 for S3, hashed: path and query decoded, then encoded in one way, and sorted."""
    parts = urlsplit(url)
    pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    query = "&".join(sorted(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in pairs))
    path = quote(unquote(parts.path), safe="/-._~")
    return hashlib.sha256(f"GET\n{path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED".encode()).hexdigest()


@pytest.mark.parametrize(
    "sent",
    [
        *(sent for api, sent, _, _ in table("Which template covers it") if "sign" in api),
        pytest.param("https://s3.example/b%6fx/q1%7e.pdf?prefix=a[0]|b&X-Amz-Date=2026%2d&X-Amz-Signature=1", id="odd"),
    ],
)
def test_a_signature_is_over_the_same_before_and_after(sent: str) -> None:
    assert sigv4(read(sent).url) == sigv4(sent)


def test_a_constraint_compares_what_stands_between_the_fixed_texts() -> None:
    call = read("https://ai.example/v1beta/models/gemini-pro:generateContent")
    made = cluster_of('path: "/v1beta/models/{model}:generateContent"', call.host)
    for value, verdict in (("gemini-pro", Verdict.ALLOW), ("gemini-pro:generateContent", Verdict.HOLD)):
        house = bundle_of(made)
        limited = identities.grant(made, constraints=identities.Constraints(params={"model": frozenset({value})}))
        asked = question(bundle=house, grants=[limited], mandate=mandate_of(house, [limited]), call=call)
        assert decide(asked).verdict is verdict
