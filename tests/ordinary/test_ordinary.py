"""No false alarms: ordinary calls, as well-known APIs document them, can be read and allowed; and no more than that.

Each file here holds clusters by their ids, each with its hosts and its calls. A call names the operation that covers
it, written as in clusters.yaml, or the name of one that stands above; what is sent; and its `twin`, the same call with
something changed that the operation does not permit (a mapping of what changes, or a method and a URL):

    github:
      hosts: [api.github.com]
      calls:
        - operation: {name: list-issues, methods: [GET], path: "/repos/{owner}/{repo}/issues", query: {state: [open]}}
          call: GET https://api.github.com/repos/octocat/hello-world/issues?state=open
          twin: GET https://api.github.com/repos/octocat/hello-world/issues?state=secret

A body is `json`, `form` (as on the wire), `text`, `lines`, `base64` or `multipart` (a list of parts), coded with
`gzip: true`. `refused` instead of a twin is the code of a call that is refused on purpose; there are very few.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import identities
import pytest
import yaml
from heads import OUTSIDE, as_received, lines
from questions import bundle_of, question

from proxy.core.canonical import canonicalise
from proxy.core.clusters import Policy, compile_policy
from proxy.core.decide import Question, decide
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Cluster, Decision, Received, Verdict
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults
from proxy.policy.yaml import load

HERE = Path(__file__).parent
AT_LEAST = 300
BOUNDARY = "----an-ordinary-boundary"
BODIES = frozenset({"json", "form", "text", "lines", "base64", "multipart"})
CALL_KEYS = BODIES | {"operation", "call", "headers", "gzip", "twin", "refused"}
TWIN_KEYS = BODIES | {"call", "headers", "gzip", "code"}
CLUSTER_KEYS = frozenset({"hosts", "ports", "schemes", "http2", "calls"})
TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}

type Written = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ordinary:
    """One call of a file: what is sent, what is sent as its twin, and which operation covers the first."""

    cluster: str
    operation: str
    sent: Written
    twin: Written | None
    code: str
    name: str = field(repr=False)


def read(file: Path) -> dict[str, Written]:
    found: dict[str, Written] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


@cache
def clusters() -> Mapping[str, Written]:
    """Every cluster of every file; a name stands in one file only."""
    found: dict[str, Written] = {}
    for file in sorted(HERE.glob("*.yaml")):
        for name, written in read(file).items():
            assert name not in found, f"{file.name}: {name} stands twice"
            assert written.keys() <= CLUSTER_KEYS, f"{file.name}: {name} has {written.keys() - CLUSTER_KEYS}"
            found[name] = written
    return found


def calls() -> Iterator[Ordinary]:
    for cluster, written in clusters().items():
        for place, entry in enumerate(written["calls"]):
            operation = entry["operation"] if isinstance(entry["operation"], str) else entry["operation"]["name"]
            assert entry.keys() <= CALL_KEYS, f"{cluster}: {operation} has {entry.keys() - CALL_KEYS}"
            assert ("twin" in entry) is ("refused" not in entry), f"{cluster}: {operation} needs a twin"
            changed = entry.get("twin", {})
            changed = {"call": changed} if isinstance(changed, str) else changed
            assert changed.keys() <= TWIN_KEYS, f"{cluster}: the twin of {operation} has {changed.keys() - TWIN_KEYS}"
            kept = {key: value for key, value in entry.items() if not (key in BODIES and changed.keys() & BODIES)}
            yield Ordinary(
                cluster=cluster,
                operation=operation,
                sent=entry,
                twin=None if "refused" in entry else {**kept, **changed},
                code=str(entry.get("refused", changed.get("code", Code.NOT_COVERED.value))),
                name=f"{cluster}: {operation} ({place + 1})",
            )


@cache
def house() -> Bundle:
    """All of it as one policy, loaded as clusters.yaml is."""
    document = {
        "version": 1,
        "clusters": [
            {
                "id": name,
                "risk": "routine",
                **{key: value for key, value in written.items() if key != "calls"},
                "operations": [
                    call["operation"] for call in written["calls"] if not isinstance(call["operation"], str)
                ],
            }
            for name, written in clusters().items()
        ],
    }
    faults, rules = Faults("clusters.yaml"), Rules(people=None)
    root = load(yaml.dump(document, Dumper=Plain, allow_unicode=True, sort_keys=False, width=10_000).encode(), faults)
    if root is not None:
        rules.read(root, faults)
    assert [str(fault) for fault in faults.listed()] == []
    return bundle_of(*rules.clusters.values())


class Plain(yaml.SafeDumper):
    """Writes no anchors: what is equal is written again."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@cache
def asked(cluster: str) -> Question:
    """A question about a mandate for that cluster alone, under the whole policy."""
    bundle = house()
    granted: Cluster = bundle.clusters[cluster]
    return question(bundle=bundle, grants=[identities.grant(granted)], policy=policy(), call=None)


@cache
def policy() -> Policy:
    return compile_policy(house())


# --- what is sent ----------------------------------------------------------------------------------------------------


def received(written: Written) -> Received:
    """The request head and body as a client would send them."""
    method, _, url = written["call"].partition(" ")
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    body, media = content(written)
    given = {name.lower() for name in written.get("headers", {})}
    told = [f"{name}: {value}" for name, value in written.get("headers", {}).items()]
    if media and "content-type" not in given:
        told.append(f"Content-Type: {media}")
    if written.get("gzip"):
        body = gzip.compress(body, mtime=0)
        told.append("Content-Encoding: gzip")
    if body and "content-length" not in given:
        told.append(f"Content-Length: {len(body)}")
    return Received(
        method=method.encode(),
        scheme=scheme,
        form="absolute",
        authority=authority.encode(),
        target=(slash + target).encode(),
        headers=lines(f"Host: {authority}", *told),
        body=body,
    )


def content(written: Written) -> tuple[bytes, str]:
    """The body, and its media type where the kind of body says it."""
    kinds = BODIES & written.keys()
    assert len(kinds) <= 1, f"one body at most: {kinds}"
    kind = next(iter(kinds), None)
    match kind:
        case None:
            return b"", ""
        case "json":
            return json.dumps(written["json"], ensure_ascii=False).encode(), TYPES["json"]
        case "lines":
            return "".join(f"{line}\n" for line in written["lines"]).encode(), ""
        case "base64":
            return base64.b64decode(written["base64"], validate=True), ""
        case "multipart":
            return multipart(written["multipart"]), f"multipart/form-data; boundary={BOUNDARY}"
        case _:
            return str(written[kind]).encode(), TYPES.get(kind, "")


def multipart(parts: list[Written]) -> bytes:
    """The parts as RFC 7578 and browsers write them."""
    told = b""
    for part in parts:
        quoted = {key: str(part[key]).replace('"', "%22") for key in ("name", "filename") if key in part}
        disposition = "; ".join(["form-data", *(f'{key}="{value}"' for key, value in quoted.items())])
        media = f"Content-Type: {part['type']}\r\n" if "type" in part else ""
        told += f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{media}\r\n{part['text']}\r\n".encode()
    return told + f"--{BOUNDARY}--\r\n".encode()


def judged(ordinary: Ordinary, written: Written) -> Decision:
    base = asked(ordinary.cluster)
    try:
        return decide(replace(base, call=canonicalise(received(written), OUTSIDE)))
    except Rejected as fault:
        return decide(replace(base, ambiguous=fault))


# --- the tests -------------------------------------------------------------------------------------------------------

CASES = [pytest.param(each, id=each.name) for each in calls()]


def test_there_are_enough_of_them() -> None:
    assert sum(each.twin is not None for each in calls()) >= AT_LEAST
    assert sum(each.twin is None for each in calls()) <= AT_LEAST / 100


def told(decision: Decision) -> str:
    near = "; ".join(f"{item.field}: expected {item.expected}, got {item.got}" for item in decision.failed)
    close = [[f"{item.field}: {item.expected} / {item.got}" for item in each.failed] for each in decision.nearest]
    return f"{decision.code.value}: {decision.message} {near} {close}"


@pytest.mark.parametrize("ordinary", [case for case in CASES if case.values[0].twin is not None])
def test_an_ordinary_call_is_allowed_and_its_twin_is_not(ordinary: Ordinary) -> None:
    assert ordinary.twin is not None
    decision = judged(ordinary, ordinary.sent)
    assert decision.verdict is Verdict.ALLOW, told(decision)
    assert decision.operation == ordinary.operation
    twin = judged(ordinary, ordinary.twin)
    assert twin.verdict is not Verdict.ALLOW
    assert twin.code.value == ordinary.code, told(twin)


@pytest.mark.parametrize("ordinary", [case for case in CASES if case.values[0].twin is None])
def test_the_few_that_are_refused_are_refused_for_what_is_documented(ordinary: Ordinary) -> None:
    decision = judged(ordinary, ordinary.sent)
    assert (decision.verdict, decision.code.value) == (Verdict.DENY, ordinary.code), told(decision)


@pytest.mark.parametrize("ordinary", [case for case in CASES if case.values[0].twin is not None])
def test_what_is_forwarded_reads_as_what_was_judged(ordinary: Ordinary) -> None:
    call = canonicalise(received(ordinary.sent), OUTSIDE)
    assert canonicalise(as_received(call), OUTSIDE) == call
