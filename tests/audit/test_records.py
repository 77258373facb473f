"""What the lines say: everything an auditor needs, nothing secret, nothing without bound, and as the manual says."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import DEPLOYMENT, NOW, SPONSOR, bundle, chain, key, leg
from journals import NODE_KEY

from proxy.audit.lines import RESERVED, JournalFile, Kind, boot_name, compose, read_line
from proxy.audit.records import (
    MAX_PATH_CHARS,
    MAX_QUERY_PARAMETERS,
    allotment_fields,
    control_fields,
    decision_fields,
    grant_fields,
    hold_fields,
    outcome_fields,
    policy_fields,
    review_fields,
    session_fields,
    unanswered_fields,
)
from proxy.audit.starts import Previous, compose_start
from proxy.core.control import Act, read_statement, state
from proxy.core.credential import Credential, Way
from proxy.core.encoding import Json, b64u, sha256_b64u
from proxy.core.errors import Code
from proxy.core.grants import RouteGrant
from proxy.core.manifest import parse_manifest
from proxy.core.model import (
    Call,
    Decision,
    Evidence,
    Hold,
    HoldState,
    Intent,
    Mandate,
    Means,
    Mismatch,
    Nearest,
    Proof,
    Risk,
    RuleRef,
    Verdict,
)
from proxy.core.places import Place
from proxy.core.routes import Route

RULE = RuleRef(id="supplier-invoices.read-invoice", file="clusters.yaml", line=12)


def keyed_hash(value: str) -> str:
    return b64u(hmac.digest(b"deployment secret", value.encode("utf-8", "surrogatepass"), "sha256"))


def hashed(value: str) -> str:
    return f"hmac:{keyed_hash(value)[:22]}"


def decision(**changes: object) -> Decision:
    whole = Decision(
        decision_id="d-1",
        verdict=Verdict.HOLD,
        code=Code.NOT_COVERED,
        message="No granted cluster covers this call.",
        at=NOW,
        agent="invoice-bot",
        sponsor=SPONSOR,
        purpose="Match supplier invoices.",
        manifest="root-id",
        cluster="supplier-invoices",
        operation="read-invoice",
        intent=Intent(cluster="supplier-invoices", task="T-4711", step=3),
        rule=RULE,
        failed=(Mismatch(field="path", expected="/v1/invoices/{id}", got="/v1/salaries"),),
        nearest=(Nearest(cluster="supplier-invoices", operation="read-invoice", rule=RULE, failed=()),),
        proof=Proof.REQUEST,
        bundle_sha256="ab" * 32,
        latency_us=412,
        hold_id="h-1",
        credential=Credential(secret="erp-token", way=Way.BEARER),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def call(**changes: object) -> Call:
    whole = Call(
        method="POST",
        scheme="https",
        host="erp.example",
        port=8443,
        path="/v1/salaries",
        segments=("v1", "salaries"),
        query="page=2&token=s3cret",
        has_query=True,
        parameters=(("page", "2"), ("token", "s3cret")),
        headers=(("authorization", "Bearer s3cret"), ("x-note", "s3cret")),
        body=b'{"password":"s3cret"}',
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def mandate() -> Mandate:
    links = tuple(parse_manifest(token) for token in chain())
    rules = bundle()
    return Mandate(
        root_id=links[0].id,
        chain=links,
        agent=rules.agents["invoice-bot"],
        sponsor=rules.people["ada"],
        answerable=rules.people["ben"],
        not_after=links[-1].exp,
    )


EVIDENCE = Evidence(proof=Proof.REQUEST, keyid="thumbprint", created=NOW, nonce="n0nce-n0nce-n0nce-n0nce")


def whole_decision(**changes: object) -> dict[str, Json]:
    return decision_fields(
        decision(**changes),
        keyed_hash=keyed_hash,
        call=call(),
        leg=leg(),
        mandate=mandate(),
        evidence=EVIDENCE,
        call_digest="call-digest",
    )


def hold() -> Hold:
    return Hold(
        id="h-1",
        state=HoldState.APPROVED,
        version=2,
        fence=0,
        call_digest="call-digest",
        root_id="root-id",
        agent="invoice-bot",
        sponsor=SPONSOR,
        cluster="supplier-invoices",
        task="T-4711",
        code=Code.NOT_COVERED,
        risk=Risk.ROUTINE,
        proof=Proof.REQUEST,
        who=("sponsor",),
        filed_at=NOW,
        expires_at=NOW + timedelta(hours=4),
        statement="a.b.c",
        decided_by=SPONSOR,
        decided_at=NOW,
        reason="Looked at it.",
    )


# --- decisions -------------------------------------------------------------------------------------------------------


def test_a_decision_says_who_what_why_and_under_whose_name() -> None:
    links = mandate().chain
    assert whole_decision() == {
        "decision_id": "d-1",
        "verdict": "hold",
        "code": "mandate.not_covered",
        "message": "No granted cluster covers this call.",
        "agent": "invoice-bot",
        "sponsor": "ada",
        "answerable": "ben",
        "purpose": links[-1].purpose,
        "manifest": links[0].id,
        "leaf": links[-1].id,
        "sub_path": "/".join(link.sub for link in links),
        "cluster": "supplier-invoices",
        "operation": "read-invoice",
        "declared_cluster": "supplier-invoices",
        "task": "T-4711",
        "step": 3,
        "rule": {"id": RULE.id, "file": "clusters.yaml", "line": 12},
        "failed": [{"field": "path", "expected": "/v1/invoices/{id}", "got": "/v1/salaries"}],
        "nearest": [
            {
                "cluster": "supplier-invoices",
                "operation": "read-invoice",
                "rule": {"id": RULE.id, "file": "clusters.yaml", "line": 12},
            }
        ],
        "proof": "request",
        "risk": "routine",
        "bundle_sha256": "ab" * 32,
        "latency_us": 412,
        "hold_id": "h-1",
        "call_digest": "call-digest",
        "credential": "the secret erp-token as a bearer token",
        "keyid": "thumbprint",
        "nonce_sha256": sha256_b64u(b"n0nce-n0nce-n0nce-n0nce"),
        "source": "192.0.2.10",
        "leg": "leg-1",
        "tunnel": False,
        "method": "POST",
        "host": "erp.example",
        "port": 8443,
        "url": "https://erp.example:8443/v1/salaries",
        "query": [["page", hashed("2")], ["token", hashed("s3cret")]],
        "body_bytes": 21,
        "body_sha256": b64u(hashlib.sha256(b'{"password":"s3cret"}').digest()),
    }


def test_a_refusal_before_anything_was_known_says_what_there_is() -> None:
    bare = Decision(
        decision_id="d-1", verdict=Verdict.DENY, code=Code.PROOF_MISSING, message="No proof was presented.", at=NOW
    )
    assert decision_fields(bare, keyed_hash=keyed_hash) == {
        "decision_id": "d-1",
        "verdict": "deny",
        "code": "proof.missing",
        "message": "No proof was presented.",
        "risk": "routine",
        "bundle_sha256": "",
        "latency_us": 0,
    }


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_no_secret_of_a_call_enters() -> None:
    fields = whole_decision()
    written = json.dumps(fields)
    for secret in ("s3cret", "Bearer", "password", "n0nce"):
        assert secret not in written


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("path", True),
        ("host", True),
        ("method", True),
        ("constraints.methods", True),
        ("constraints.params.id", True),
        ("declared", True),
        ("query", False),
        ("query.page", False),
        ("constraints.query.page", False),
        ("pathology", False),
        ("anything else", False),
    ],
)
def test_a_refused_value_is_shown_only_where_it_can_be_no_secret(field: str, shown: bool) -> None:
    fields = whole_decision(failed=(Mismatch(field=field, expected="2", got="s3cret"),))
    assert fields["failed"] == [{"field": field, "expected": "2", "got": "s3cret" if shown else hashed("s3cret")}]


@pytest.mark.parametrize("name", ["eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJlLXNlY3JldA", "p ss", "\x1b[2J", ""])
def test_a_query_name_that_may_be_a_bare_secret_is_hashed(name: str) -> None:
    fields = decision_fields(decision(), keyed_hash=keyed_hash, call=call(parameters=((name, ""),)))
    assert fields["query"] == [[hashed(name), hashed("")]]


@pytest.mark.parametrize("name", ["page", "filter[state]", "a.b-c_d"])
def test_a_plain_query_name_is_kept(name: str) -> None:
    fields = decision_fields(decision(), keyed_hash=keyed_hash, call=call(parameters=((name, "x"),)))
    assert fields["query"] == [[name, hashed("x")]]


# --- bounds ----------------------------------------------------------------------------------------------------------

_ANY = st.text(st.characters(exclude_categories=()), max_size=3_000) | st.sampled_from(
    ["x" * 100_000, "\x00" * 5_000, "\U0001f600" * 5_000, '"' * 5_000, "\ud800" * 5_000]
)


@given(text=_ANY, other=_ANY)
def test_no_caller_can_make_a_line_the_journal_refuses(text: str, other: str) -> None:
    rule = RuleRef(id=text, file=other, line=10**9)
    mismatch = Mismatch(field=text, expected=other, got=text)
    fields = decision_fields(
        decision(
            message=text,
            agent=other,
            sponsor=text,
            purpose=other,
            manifest=text,
            cluster=other,
            operation=text,
            intent=Intent(cluster=text, task=other, step=10**15),
            rule=rule,
            failed=(mismatch,) * 50,
            nearest=(Nearest(cluster=text, operation=other, rule=rule, failed=(mismatch,) * 50),) * 50,
            hold_id=text,
        ),
        keyed_hash=keyed_hash,
        call=call(method=text, host=other, path="/" + "x" * 100_000, parameters=((text, other),) * 500),
        leg=replace(leg(), id=text, source=other),
        mandate=mandate(),
        evidence=replace(EVIDENCE, keyid=text),
        call_digest="c" * 43,
    )
    written = compose(Kind.DECISION, fields, seq=10**14, prev="A" * 43, at=NOW)
    assert json.loads(json.dumps(read_line(written.data).fields)) == json.loads(json.dumps(fields))


def test_a_long_path_is_cut_and_its_hash_kept() -> None:
    path = "/x" * MAX_PATH_CHARS
    fields = decision_fields(decision(), keyed_hash=keyed_hash, call=call(path=path))
    assert fields["url"] == f"https://erp.example:8443{path[:MAX_PATH_CHARS]}"
    assert fields["path_sha256"] == sha256_b64u(path.encode())


def test_many_parameters_are_counted() -> None:
    many = tuple((f"p{number}", "") for number in range(MAX_QUERY_PARAMETERS + 3))
    fields = decision_fields(decision(), keyed_hash=keyed_hash, call=call(parameters=many))
    query = fields["query"]
    assert isinstance(query, list)
    assert (len(query), query[-1]) == (MAX_QUERY_PARAMETERS + 1, ["and 3 more", ""])


def test_text_that_is_cut_says_so() -> None:
    fields = outcome_fields("d-1", status=None, bytes_up=1, bytes_down=0, duration_ms=5, error="é" * 100)
    assert fields["error"] == "é" * 66 + "~"
    whole = outcome_fields("d-1", status=None, bytes_up=1, bytes_down=0, duration_ms=5, error="é" * 66)
    assert whole["error"] == "é" * 66


# --- the other kinds, and the manual ---------------------------------------------------------------------------------


def a_statement() -> dict[str, Json]:
    rules = bundle()
    token = state(
        Act.QUARANTINE, "invoice-bot", by=SPONSOR, reason="odd", deployment=DEPLOYMENT, key=key(SPONSOR), now=NOW
    )
    return control_fields(read_statement(token, rules))


def a_start() -> Mapping[str, Json]:
    previous = Previous(file="f", seq=1, head="h", torn_bytes=0)
    file = JournalFile(slot="edge-1-0", boot=boot_name(NOW, b"abcd"))
    return read_line(compose_start(bundle(), file, "edge-1", previous, at=NOW, key=NODE_KEY).data).fields


A_GRANT = RouteGrant(
    token="a.b.c",
    id="g-1",
    kid="k",
    by="ada",
    hold_id="h-1",
    root_id="r",
    sub_path="invoice-bot",
    proof=Proof.REQUEST,
    route=Route(method="GET", origin="https://erp.example", path="/", query="", vary=(), body="any", media=""),
    count=5,
    reason="stock-taking",
    issued_at=NOW,
    not_after=NOW,
)

HERE = Place(interface="eth1", address=IPv4Address("10.89.0.7"), generation="1")

EVERY_KIND: dict[Kind, Mapping[str, Json]] = {
    Kind.START: a_start(),
    Kind.DECISION: {
        **whole_decision(),
        **decision_fields(decision(), keyed_hash=keyed_hash, call=call(path="/" + "x" * MAX_PATH_CHARS)),
    },
    Kind.HOLD: {**hold_fields(hold(), "file"), **hold_fields(hold(), "approve", decision_id="d-1", given=A_GRANT)},
    Kind.OUTCOME: outcome_fields(
        "d-1",
        status=200,
        bytes_up=10,
        bytes_down=20,
        duration_ms=30,
        error="reset",
        websocket={"messages_up": 1},
        body_sha256=hashlib.sha256(b"").digest(),
    ),
    Kind.SESSION: session_fields(mandate(), source="192.0.2.10", expires_at=NOW),
    Kind.CONTROL: a_statement(),
    Kind.GRANT: grant_fields(A_GRANT, 2, decision_id="d-1"),
    Kind.POLICY: policy_fields(bundle()),
    Kind.REVIEW: review_fields("read", "ada", session="s" * 43, token="ab" * 8, hold=hold()),
    Kind.DNS: {
        **allotment_fields(HERE, "erp.example", IPv4Address("198.18.7.7")),
        **unanswered_fields(HERE.label, "more names than it may have", 3),
    },
    Kind.STOP: {},
}


def test_a_hold_says_what_happened_by_whom_and_under_which_statement() -> None:
    fields = hold_fields(hold(), "approve")
    assert (fields["event"], fields["state"], fields["by"], fields["reason"]) == (
        "approve",
        "approved",
        "ada",
        "Looked at it.",
    )
    assert fields["statement_sha256"] == sha256_b64u(b"a.b.c")
    assert hold_fields(hold(), "expire", by="deadline")["by"] == "deadline"
    given = hold_fields(replace(hold(), decided_by="cleo", reason="do as I say"), "grant", given=A_GRANT)
    assert [given[name] for name in ("grant", "count", "by", "reason")] == ["g-1", 5, "ada", "stock-taking"]
    assert "by" not in hold_fields(replace(hold(), decided_by=None, statement=None), "file")
    assert "signed_with" not in fields and "who" not in fields
    assert hold_fields(hold(), "file")["who"] == list(hold().who)
    assert hold_fields(replace(hold(), decided_with=Means.DESK), "approve")["signed_with"] == "desk"
    assert given["signed_with"] == grant_fields(A_GRANT, 1, decision_id="d-1")["signed_with"] == "key"


def test_every_kind_makes_a_line() -> None:
    assert set(EVERY_KIND) == set(Kind)
    for kind, fields in EVERY_KIND.items():
        line = read_line(compose(kind, fields, seq=2, prev="", at=NOW).data)
        assert (line.kind, dict(line.fields)) == (kind, fields)


def test_the_manual_lists_exactly_the_fields_that_are_written() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    table: dict[str, set[str]] = {}
    for kinds, name in re.findall(r"^\| ([a-z, ]+) \| `([a-z0-9_]+)` \|", manual, re.MULTILINE):
        for kind in kinds.split(", "):
            table.setdefault(kind, set()).add(name)
    everywhere = table.pop("every")
    assert everywhere == RESERVED
    assert table == {kind.value: set(fields) for kind, fields in EVERY_KIND.items() if fields}
