"""The decision: eight places in order, what each says, and what no declaration, order or further rule can change."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from itertools import chain, combinations, permutations

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, HELPER, NOW, agent, cluster, grant, operation, person
from questions import URL, bundle_of, call, deny, evidence, mandate_of, question

from proxy.core.addresses import OwnSurfaces
from proxy.core.bodies.rules import Unexamined
from proxy.core.clusters import compile_policy
from proxy.core.control import Act, ControlView, Statement
from proxy.core.decide import Question, after_release, decide, is_final
from proxy.core.errors import Code, Rejected
from proxy.core.model import (
    AgentClass,
    Cluster,
    Constraints,
    Decision,
    Grant,
    Intent,
    Operation,
    Proof,
    QueryRule,
    Review,
    Risk,
    Verdict,
)

BAD_URL = Rejected(Code.URL_AMBIGUOUS, "the path must not hold dot segments", field="path")
BAD_PROOF = Rejected(Code.PROOF_SIGNATURE, "the signature does not verify", field="signature")
NO_PROOF = Rejected(Code.PROOF_MISSING, "sign the request, or use a session", field="signature")
METADATA = "metadata.google.internal"


def stopped(act: Act, target: str) -> ControlView:
    said = Statement(token="", id="s-1", by="operator", act=act, target=target, reason="", serial=1, at=NOW)
    return ControlView().absorb(said)


def outcome(asked: Question) -> tuple[Verdict, Code]:
    decision = decide(asked)
    return decision.verdict, decision.code


ALLOWED = (Verdict.ALLOW, Code.ALLOWED)


# --- the order -------------------------------------------------------------------------------------------------------

PLACES = {
    1: (Verdict.DENY, Code.KILL_SWITCH),
    2: (Verdict.DENY, Code.URL_AMBIGUOUS),
    3: (Verdict.DENY, Code.GUARD_ADDRESS),
    4: (Verdict.DENY, Code.POLICY_DENIED),
    6: (Verdict.HOLD, Code.NOT_COVERED),
    7: (Verdict.HOLD, Code.CLUSTER_REVIEW),
}
"""What each place says to `_hit`; place 5 is the hold store's, place 8 allows."""


def _hit(places: Iterable[int]) -> Question:
    """A question that every one of these places has something to say to."""
    places = set(places)
    hosts = (identities.HOST, METADATA)
    house = bundle_of(
        cluster(hosts=hosts, review=Review(always=7 in places)),
        deny=[deny(hosts=hosts)] if 4 in places else [],
    )
    return question(
        bundle=house,
        url=f"https://{hosts[3 in places]}/v1/{'customers' if 6 in places else 'invoices'}/17",
        view=stopped(Act.KILL_ON, "*") if 1 in places else ControlView(),
        ambiguous=BAD_URL if 2 in places else None,
    )


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(places, id="places " + " and ".join(map(str, places)) if places else "no place")
        for places in chain.from_iterable(combinations(PLACES, count) for count in range(len(PLACES) + 1))
    ],
)
def test_the_first_place_that_has_something_to_say_decides(places: tuple[int, ...]) -> None:
    assert outcome(_hit(places)) == (PLACES[places[0]] if places else ALLOWED)


# --- 1. authority ----------------------------------------------------------------------------------------------------

EMBEDDED = agent(agent_class=AgentClass.EMBEDDED)
SIGNED = cluster(proof=Proof.REQUEST)
CHANGES = cluster(risk=Risk.TRANSFORMATIVE, proof=Proof.SESSION)
POST = f"https://{identities.HOST}/v1/invoices"


def embedded(**changed: object) -> Question:
    house = identities.bundle(agents=(EMBEDDED, agent(HELPER)))
    return question(bundle=house, declared=identities.CLUSTER, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        pytest.param(question(view=stopped(Act.KILL_ON, "*")), Code.KILL_SWITCH, id="everything is stopped"),
        pytest.param(question(view=stopped(Act.KILL_OFF, "*")), None, id="nothing is stopped any more"),
        pytest.param(question(view=stopped(Act.QUARANTINE, AGENT)), Code.QUARANTINED, id="the agent is quarantined"),
        pytest.param(question(view=stopped(Act.QUARANTINE, HELPER)), None, id="another agent is"),
        pytest.param(question(view=stopped(Act.REVOKE_MANIFEST, "ada m-1")), Code.MANIFEST_REVOKED, id="revoked"),
        pytest.param(question(view=stopped(Act.REVOKE_MANIFEST, "ada m-2")), None, id="another manifest is revoked"),
        pytest.param(question(now=NOW + timedelta(hours=2)), Code.MANIFEST_WINDOW, id="the mandate has expired"),
        pytest.param(question(now=NOW + timedelta(minutes=5)), None, id="the mandate has not expired"),
        pytest.param(
            question(policy=compile_policy(identities.bundle(people=[person(certified_until=NOW)]))),
            Code.SPONSOR_LAPSED,
            id="the sponsor lapsed and has no deputy",
        ),
        pytest.param(
            question(
                policy=compile_policy(
                    identities.bundle(people=[person(certified_until=NOW, deputy="ben"), person("ben")])
                )
            ),
            None,
            id="the sponsor lapsed and the deputy answers",
        ),
        pytest.param(question(refusal=BAD_PROOF), Code.PROOF_SIGNATURE, id="evidence that fails, beside a mandate"),
        pytest.param(question(evidence=None), Code.PROOF_MISSING, id="a mandate without evidence"),
        pytest.param(question(declared=identities.CLUSTER), None, id="a declared cluster that is granted"),
        pytest.param(question(declared="payroll"), Code.INTENT_NOT_GRANTED, id="a declared cluster that is not"),
        pytest.param(question(declared="payroll\n"), Code.INTENT_NOT_GRANTED, id="a declared name that is none"),
        pytest.param(embedded(), None, id="an embedded agent that declares"),
        pytest.param(embedded(intent=Intent()), Code.INTENT_REQUIRED, id="an embedded agent that does not"),
        pytest.param(embedded(evidence=evidence(Proof.SESSION)), None, id="an embedded agent reads in a session"),
        pytest.param(
            embedded(call=call(POST, "POST"), evidence=evidence(Proof.SESSION)),
            Code.PROOF_WEAK,
            id="an embedded agent writes in a session",
        ),
        pytest.param(
            embedded(call=call(f"{POST}/x", "POST"), evidence=evidence(Proof.SESSION)),
            Code.PROOF_WEAK,
            id="an embedded agent writes beyond its mandate in a session",
        ),
        pytest.param(embedded(call=call(POST, "POST")), None, id="an embedded agent writes with a signature"),
        pytest.param(question(SIGNED), None, id="the proof the cluster asks for"),
        pytest.param(
            question(SIGNED, proof=Proof.TUNNEL), Code.PROOF_WEAK, id="weaker proof than the cluster asks for"
        ),
        pytest.param(question(CHANGES), None, id="a signed request for a transformative cluster"),
        pytest.param(question(CHANGES, proof=Proof.SESSION), Code.PROOF_WEAK, id="a session for a transformative one"),
        pytest.param(question(proof=Proof.SOURCE), Code.PROOF_WEAK, id="less than a session"),
        pytest.param(
            question(SIGNED, proof=Proof.SESSION, url=f"{URL}/lines"),
            Code.PROOF_WEAK,
            id="beyond a mandate whose clusters all ask for signatures",
        ),
        pytest.param(
            question(SIGNED, proof=Proof.SESSION, grants=[]), None, id="a mandate that grants nothing needs a session"
        ),
    ],
)
def test_authority(asked: Question, code: Code | None) -> None:
    decision = decide(asked)
    if code is None:
        assert decision.code in (Code.ALLOWED, Code.NOT_COVERED)
    else:
        assert (decision.verdict, decision.code) == (Verdict.DENY, code)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        pytest.param({"refusal": NO_PROOF}, Code.PROOF_MISSING, id="no evidence"),
        pytest.param({}, Code.PROOF_MISSING, id="no evidence and no word why"),
        pytest.param({"refusal": BAD_PROOF}, Code.PROOF_SIGNATURE, id="evidence that fails"),
        pytest.param({"refusal": BAD_PROOF, "ambiguous": BAD_URL}, Code.PROOF_SIGNATURE, id="and cannot be read"),
        pytest.param({"refusal": NO_PROOF, "ambiguous": BAD_URL}, Code.URL_AMBIGUOUS, id="nothing and cannot be read"),
        pytest.param(
            {"refusal": BAD_PROOF, "view": stopped(Act.KILL_ON, "*")}, Code.KILL_SWITCH, id="and everything is stopped"
        ),
        pytest.param({"refusal": NO_PROOF, "call": call(f"https://{METADATA}/")}, Code.GUARD_ADDRESS, id="the guard"),
        pytest.param(
            {"refusal": NO_PROOF, "policy": compile_policy(bundle_of(deny=[deny()]))},
            Code.POLICY_DENIED,
            id="a denial needs no mandate",
        ),
        pytest.param({"evidence": evidence()}, Code.PROOF_MISSING, id="evidence for nothing"),
    ],
)
def test_without_a_mandate(changed: dict[str, object], code: Code) -> None:
    asked = question(**{"mandate": None, "evidence": None, **changed})  # type: ignore[arg-type]
    assert outcome(asked) == (Verdict.DENY, code)
    assert outcome(question()) == ALLOWED


def test_a_weak_proof_is_named_as_data() -> None:
    decision = decide(question(SIGNED, proof=Proof.SESSION))
    assert [(item.field, item.expected, item.got) for item in decision.failed] == [
        ("proof", "request or stronger", "session")
    ]
    assert decision.message == "the call needs request proof and came with session proof"


def test_the_refusals_own_words_are_kept() -> None:
    decision = decide(question(mandate=None, evidence=None, refusal=BAD_PROOF))
    assert decision.message == BAD_PROOF.detail
    assert [(item.field, item.expected, item.got) for item in decision.failed] == [("signature", BAD_PROOF.detail, "")]


# --- 2. to 4. whatever the mandate -----------------------------------------------------------------------------------


def test_a_call_that_was_not_read_is_refused() -> None:
    assert outcome(question(call=None, ambiguous=BAD_URL)) == (Verdict.DENY, Code.URL_AMBIGUOUS)
    assert outcome(question(call=None)) == (Verdict.DENY, Code.UNDECIDED)


DOUBTFUL = cluster(
    operations=(
        operation("cars", template="/cars/{model:matrix}"),
        operation("files", template="/files/{key:rest,encoded,matrix}"),
        operation("go", template="/go", query=[QueryRule(name="to", encoded=True), QueryRule(name="by")]),
        operation("any", template="/any", any_query=True),
        operation("plain", template="/plain/{id}"),
    )
)
AT = f"https://{identities.HOST}"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        pytest.param("/cars/bmw;color=red", Code.ALLOWED, id="a matrix parameter where a rule has one"),
        pytest.param("/cars/bmw%3Bcolor=red", Code.ALLOWED, id="an encoded one"),
        pytest.param("/cars;x=y/bmw", Code.URL_AMBIGUOUS, id="one in another part"),
        pytest.param("/plain/7;x=y", Code.URL_AMBIGUOUS, id="one where no rule has any"),
        pytest.param("/elsewhere;x=y", Code.URL_AMBIGUOUS, id="one on a path of no rule"),
        pytest.param("/elsewhere", Code.NOT_COVERED, id="the path of no rule without it"),
        pytest.param("/files/a;x/b%2Fc", Code.ALLOWED, id="a matrix parameter and an encoded slash"),
        pytest.param("/plain/a%2Fb", Code.NOT_COVERED, id="an encoded slash alone is only outside the mandate"),
        pytest.param(
            "/go?to=https%3A%2F%2Fa.example%2F%253Fb", Code.ALLOWED, id="text encoded twice where a rule says so"
        ),
        pytest.param("/go?by=%2541", Code.URL_AMBIGUOUS, id="text encoded twice in another parameter"),
        pytest.param("/any?to=%2541", Code.URL_AMBIGUOUS, id="text encoded twice in any query"),
        pytest.param("/any?to=%41", Code.ALLOWED, id="text encoded once in any query"),
        pytest.param("/elsewhere?to=%2541", Code.URL_AMBIGUOUS, id="text encoded twice on a path of no rule"),
        pytest.param("/go?to=/x&more=1", Code.NOT_COVERED, id="nothing encoded twice"),
    ],
)
def test_what_only_a_rule_can_settle_is_denied_without_one(path: str, code: Code) -> None:
    decision = decide(question(DOUBTFUL, url=f"{AT}{path}"))
    verdict = {Code.ALLOWED: Verdict.ALLOW, Code.NOT_COVERED: Verdict.HOLD}.get(code, Verdict.DENY)
    assert (decision.verdict, decision.code) == (verdict, code)
    if code is Code.URL_AMBIGUOUS:
        assert [item.field for item in decision.failed] == ["query" if "%25" in path else "path"]
        assert len(decision.nearest) == 3


def test_what_only_a_rule_can_settle_is_denied_without_a_mandate_too() -> None:
    asked = question(DOUBTFUL, url=f"{AT}/cars/bmw;color=red", mandate=None, evidence=None, refusal=NO_PROOF)
    assert outcome(asked) == (Verdict.DENY, Code.URL_AMBIGUOUS)
    plain = question(DOUBTFUL, url=f"{AT}/cars/bmw", mandate=None, evidence=None, refusal=NO_PROOF)
    assert outcome(plain) == (Verdict.DENY, Code.PROOF_MISSING)


def test_a_rule_nobody_granted_settles_nothing() -> None:
    asked = question(DOUBTFUL, grants=[grant(DOUBTFUL, actions=["plain"])], url=f"{AT}/cars/bmw;color=red")
    assert outcome(asked) == (Verdict.DENY, Code.URL_AMBIGUOUS)


def test_a_rule_the_sponsor_has_not_approved_is_for_a_person() -> None:
    plain = cluster(operations=(operation("cars", template="/cars/{model}"),))
    now = cluster(operations=(operation("cars", template="/cars/{model:matrix}"),))
    asked = question(bundle=bundle_of(now, approved=[plain]), grants=[grant(plain)], url=f"{AT}/cars/bmw;color=red")
    assert outcome(asked) == (Verdict.HOLD, Code.CLUSTER_CHANGED)


TEN = cluster(hosts=["10.1.2.3", "169.254.169.254", "127.0.0.1", "100.100.100.200"], addresses=["10.0.0.0/8"])
LOCAL = cluster(hosts=["127.0.0.1"], addresses=["127.0.0.0/8"], ports=[443, 8080])
CGNAT = cluster(hosts=["100.100.100.200", "100.100.100.1"], addresses=["100.64.0.0/10"])
EIGHT = cluster(hosts=["8.8.8.8"], addresses=["8.8.8.0/24"])
PATH = "/v1/invoices/17"


@pytest.mark.parametrize(
    ("of", "url", "expected"),
    [
        pytest.param(cluster(), f"https://{METADATA}/", Code.GUARD_ADDRESS, id="a metadata name"),
        pytest.param(
            cluster(hosts=["*.google.internal"]), f"https://{METADATA}{PATH}", Code.GUARD_ADDRESS, id="covered"
        ),
        pytest.param(cluster(hosts=["*.internal"]), f"http://intent.internal{PATH}", Code.GUARD_SELF, id="ourselves"),
        pytest.param(cluster(hosts=["*.internal"]), f"https://erp.internal{PATH}", None, id="another internal name"),
        pytest.param(TEN, f"https://10.1.2.3{PATH}", None, id="an address with a rule"),
        pytest.param(TEN, "https://10.1.2.3/x", Code.NOT_COVERED, id="an address with a rule, beyond the operations"),
        pytest.param(TEN, f"https://10.1.2.4{PATH}", Code.GUARD_ADDRESS, id="a private address without a rule"),
        pytest.param(TEN, f"https://127.0.0.1{PATH}", Code.GUARD_ADDRESS, id="loopback outside the rule"),
        pytest.param(TEN, f"https://169.254.169.254{PATH}", Code.GUARD_ADDRESS, id="the metadata address"),
        pytest.param(CGNAT, f"https://100.100.100.1{PATH}", None, id="an address in a shared network"),
        pytest.param(CGNAT, f"https://100.100.100.200{PATH}", Code.GUARD_ADDRESS, id="metadata inside the rule"),
        pytest.param(LOCAL, f"https://127.0.0.1{PATH}", None, id="loopback with a rule"),
        pytest.param(LOCAL, f"https://127.0.0.1:8080{PATH}", Code.GUARD_SELF, id="the proxy's own port there"),
        pytest.param(EIGHT, f"https://8.8.8.8{PATH}", None, id="a public address with a rule"),
        pytest.param(cluster(), f"https://8.8.8.8{PATH}", Code.URL_AMBIGUOUS, id="a public address without one"),
        pytest.param(
            cluster(hosts=["8.8.8.8"]),
            f"https://8.8.8.8{PATH}",
            Code.URL_AMBIGUOUS,
            id="a host without an address rule",
        ),
        pytest.param(EIGHT, f"https://[2606:4700::1111]{PATH}", Code.URL_AMBIGUOUS, id="an IPv6 address"),
        pytest.param(EIGHT, f"https://[::1]{PATH}", Code.GUARD_ADDRESS, id="IPv6 loopback"),
    ],
)
def test_guardrails(of: Cluster, url: str, expected: Code | None) -> None:
    verdict, code = outcome(question(of, url=url))
    assert code is (expected or Code.ALLOWED)
    assert verdict is {None: Verdict.ALLOW, Code.NOT_COVERED: Verdict.HOLD}.get(expected, Verdict.DENY)


def test_the_desks_name_is_guarded_at_every_port_and_without_any_address() -> None:
    own = OwnSurfaces(names=frozenset({"erp.example"}))
    for url in (f"https://erp.example{PATH}", f"http://erp.example:9{PATH}", f"https://ERP.example.{PATH}"):
        assert outcome(question(url=url, own=own)) == (Verdict.DENY, Code.GUARD_SELF)
    assert outcome(question(own=OwnSurfaces(names=frozenset({"desk.example"})))) == ALLOWED


def test_an_address_of_our_own_is_guarded_by_name_of_its_port() -> None:
    own = OwnSurfaces(addresses=frozenset({ip_address("8.8.8.8")}), ports=frozenset({443}))
    assert outcome(question(url=f"https://8.8.8.8{PATH}", own=own)) == (Verdict.DENY, Code.GUARD_SELF)
    assert outcome(question(EIGHT, url=f"https://8.8.8.8{PATH}", own=OwnSurfaces())) == ALLOWED


def test_granted_clusters_that_place_a_host_nowhere_are_a_denial() -> None:
    ten, other = cluster("a", addresses=["10.0.0.0/8"]), cluster("b", addresses=["192.168.0.0/16"])
    assert outcome(question(ten, other)) == (Verdict.DENY, Code.GUARD_ADDRESS)
    decision = decide(question(ten, cluster("b", addresses=["10.1.0.0/16"])))
    assert (decision.verdict, [str(network) for network in decision.addresses]) == (Verdict.ALLOW, ["10.1.0.0/16"])


def test_a_denial_beats_a_grant_and_names_its_rule_to_reviewers_only() -> None:
    decision = decide(question(bundle=bundle_of(cluster(), deny=[deny("no-erp", line=44)])))
    assert (decision.verdict, decision.code) == (Verdict.DENY, Code.POLICY_DENIED)
    assert decision.rule is not None
    assert (decision.rule.id, decision.rule.line) == ("no-erp", 44)
    assert "no-erp" not in decision.message
    assert outcome(question(bundle=bundle_of(cluster(), deny=[deny(hosts=["crm.example"])]))) == ALLOWED


# --- 6. beyond the mandate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        pytest.param(question(url=f"{URL}/lines"), Verdict.HOLD, id="another path"),
        pytest.param(question(method="DELETE"), Verdict.HOLD, id="another method"),
        pytest.param(question(url="https://crm.example/"), Verdict.HOLD, id="another host"),
        pytest.param(question(url=f"{URL}?x=1"), Verdict.HOLD, id="a query"),
        pytest.param(question(grants=[grant(actions=[])]), Verdict.HOLD, id="no action granted"),
        pytest.param(question(grants=[grant(locations=[])]), Verdict.HOLD, id="no location granted"),
        pytest.param(
            question(grants=[grant(constraints=Constraints(methods=frozenset()))]), Verdict.HOLD, id="no method left"
        ),
        pytest.param(question(grants=[replace(grant(), cluster="gone")]), Verdict.HOLD, id="the cluster is gone"),
        pytest.param(question(grants=[]), Verdict.DENY, id="a mandate without grants: nobody could approve"),
        pytest.param(
            question(cluster(review=Review(who=())), url=f"{URL}/lines", declared=identities.CLUSTER),
            Verdict.DENY,
            id="a declared cluster without reviewers: nobody may",
        ),
    ],
)
def test_what_nothing_covers_is_held_if_a_human_may_approve_it(asked: Question, verdict: Verdict) -> None:
    assert outcome(asked) == (verdict, Code.NOT_COVERED)


def test_what_failed_and_came_near_is_data() -> None:
    decision = decide(question(url=f"https://{identities.HOST}/v1/customers/17"))
    assert (decision.nearest[0].cluster, decision.nearest[0].operation) == (identities.CLUSTER, "read-invoice")
    assert decision.failed == decision.nearest[0].failed
    assert [item.field for item in decision.failed] == ["path"]
    assert decide(question()).nearest == ()


READS = cluster("reads", operations=(operation("read"),))
LISTS = cluster("lists", operations=(operation("list", template="/v1/invoices"),))


def test_a_declaration_that_does_not_fit_says_which_granted_cluster_does() -> None:
    decision = decide(question(READS, LISTS, declared="lists"))
    assert (decision.verdict, decision.code) == (Verdict.HOLD, Code.NOT_COVERED)
    assert decision.cluster == "lists"
    assert "granted cluster reads does" in decision.message
    nothing = decide(question(READS, LISTS, declared="lists", url=f"{URL}/lines"))
    assert nothing.message == "the declared cluster lists does not cover this call"


SECRET = cluster("board-minutes", hosts=["board.example"], operations=(operation("minutes", template="/minutes/{id}"),))


@pytest.mark.parametrize(
    "url", ["https://board.example/minutes/1", "https://board.example/", f"{URL}/lines", f"{URL}?minutes=1"]
)
@pytest.mark.parametrize("declared", [None, identities.CLUSTER, "board-minutes"])
def test_nothing_of_what_was_not_granted_reaches_the_agent(url: str, declared: str | None) -> None:
    house = bundle_of(cluster(), SECRET, deny=[deny("no-board", hosts=["x.example"])])
    decision = decide(question(bundle=house, grants=[grant()], url=url, declared=declared))
    told = " ".join([decision.message, *(f"{item.field} {item.got}" for item in decision.failed)])
    assert decision.verdict is not Verdict.ALLOW
    for secret in (
        "minutes/{id}",
        "no-board",
        *(["board"] if declared != "board-minutes" and "board" not in url else []),
    ):
        assert secret not in told
    assert all(near.cluster == identities.CLUSTER for near in decision.nearest)


# --- 7. review -------------------------------------------------------------------------------------------------------

WIDER = cluster(operations=(*identities.OPERATIONS, operation("lines", template="/v1/invoices/{id}/lines")))
APPROVED = grant(actions=[item.name for item in WIDER.operations])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(
            question(bundle=bundle_of(WIDER, approved=[cluster()]), grants=[APPROVED]), ALLOWED, id="both texts cover"
        ),
        pytest.param(
            question(bundle=bundle_of(WIDER, approved=[cluster()]), grants=[APPROVED], url=f"{URL}/lines"),
            (Verdict.HOLD, Code.CLUSTER_CHANGED),
            id="only the current text covers",
        ),
        pytest.param(
            question(bundle=bundle_of(WIDER), grants=[APPROVED]),
            (Verdict.HOLD, Code.CLUSTER_CHANGED),
            id="the approved text is lost",
        ),
        pytest.param(
            question(
                bundle=bundle_of(cluster(), approved=[WIDER]),
                grants=[grant(WIDER)],
                url=f"{URL}/lines",
            ),
            (Verdict.HOLD, Code.NOT_COVERED),
            id="only the approved text covers",
        ),
        pytest.param(
            question(cluster(review=Review(always=True))), (Verdict.HOLD, Code.CLUSTER_REVIEW), id="always reviewed"
        ),
        pytest.param(
            question(cluster(review=Review(always=True, who=()))),
            (Verdict.DENY, Code.CLUSTER_REVIEW),
            id="always reviewed, by nobody",
        ),
        pytest.param(
            question(
                bundle=bundle_of(cluster(review=Review(always=False)), approved=[cluster(review=Review(always=True))]),
                grants=[grant(cluster(review=Review(always=True)))],
            ),
            (Verdict.HOLD, Code.CLUSTER_REVIEW),
            id="the approved text asks for review, the current one no longer",
        ),
        pytest.param(
            question(
                bundle=bundle_of(cluster(review=Review(who=()), ports=[443, 444])),
                grants=[grant()],
            ),
            (Verdict.DENY, Code.CLUSTER_CHANGED),
            id="changed, and nobody may decide",
        ),
    ],
)
def test_review(asked: Question, expected: tuple[Verdict, Code]) -> None:
    assert outcome(asked) == expected


@pytest.mark.parametrize("path", ["/v1/x:purge", "/v1/x%3Apurge", "/v1/x%3apurge"])
def test_no_spelling_of_a_path_slips_past_the_review_of_another_granted_cluster(path: str) -> None:
    """Most servers read an encoded colon as a colon."""
    loose = cluster("any", operations=[operation("any", template="/v1/{name}")])
    strict = cluster("purges", operations=[operation("purge", template="/v1/{name}:purge")], review=Review(always=True))
    asked = {"url": f"https://erp.example{path}", "declared": "any"}
    assert outcome(question(loose, **asked)) == ALLOWED
    assert outcome(question(loose, strict, **asked)) == (Verdict.HOLD, Code.CLUSTER_REVIEW)
    asked["url"] = "https://erp.example/v1/x%3Aread"
    assert outcome(question(loose, strict, **asked)) == ALLOWED


def test_a_changed_cluster_is_named_with_both_digests() -> None:
    decision = decide(question(bundle=bundle_of(WIDER), grants=[APPROVED]))
    assert [(item.field, item.expected, item.got) for item in decision.failed] == [
        ("digest", cluster().digest, WIDER.digest)
    ]
    assert decision.message == "cluster supplier-invoices changed since the sponsor approved it"


# --- what a decision bears -------------------------------------------------------------------------------------------


def test_a_hold_bears_the_terms_of_the_cluster_that_asks_for_it() -> None:
    review = Review(always=True, who=("ada",), ttl_s=60, wait_s=5)
    asking = cluster(review=review, risk=Risk.TRANSFORMATIVE)
    decision = decide(question(asking))
    assert (decision.review, decision.risk, decision.rule) == (review, Risk.TRANSFORMATIVE, asking.at)


def test_a_call_that_was_not_read_may_be_dialled_nowhere() -> None:
    decision = decide(question(ambiguous=BAD_URL))
    assert (decision.addresses, decision.cluster, decision.operation) == ((), None, None)


def test_a_refusal_that_names_no_field_has_no_mismatch() -> None:
    decision = decide(question(ambiguous=Rejected(Code.URL_AMBIGUOUS, "two readings")))
    assert (decision.message, decision.failed) == ("two readings", ())


def test_the_nearest_is_looked_for_in_the_declared_cluster() -> None:
    """The other cluster is nearer, but it is not what the agent says it is doing."""
    here = cluster("here", operations=[operation(template="/v1/other/{id}")])
    there = cluster("there", operations=[operation(template="/v1/invoices/{id}/lines")])
    asked = question(here, there, declared="here", url=f"{URL}/line")
    assert decide(asked).nearest[0].cluster == "here"
    assert decide(replace(asked, intent=Intent())).nearest[0].cluster == "there"
    doubtful = question(here, there, declared="here", url=f"{URL}/line;a")
    assert decide(doubtful).code is Code.URL_AMBIGUOUS
    assert decide(doubtful).nearest[0].cluster == "here"
    assert decide(replace(doubtful, intent=Intent())).nearest[0].cluster == "there"


def test_a_decision_says_who_what_and_under_which_policy() -> None:
    asked = question(declared=identities.CLUSTER)
    decision = decide(asked)
    assert asked.mandate is not None
    assert (decision.decision_id, decision.at) == ("d-1", NOW)
    assert (decision.agent, decision.sponsor, decision.manifest) == (AGENT, "ada", asked.mandate.root_id)
    assert (decision.cluster, decision.operation, decision.intent) == (identities.CLUSTER, "read-invoice", asked.intent)
    assert decision.purpose == "Match supplier invoices with purchase orders."
    assert decision.rule == identities.OPERATIONS[0].at
    assert (decision.proof, decision.risk) == (Proof.REQUEST, Risk.ROUTINE)
    assert decision.bundle_sha256 == asked.policy.bundle.sha256


def test_a_release_replaces_places_six_and_seven_alone() -> None:
    held = decide(question(url=f"{URL}/lines"))
    released = after_release(held, hold_id="h-1")
    assert (held.verdict, released.verdict, released.code) == (Verdict.HOLD, Verdict.ALLOW, Code.ALLOWED)
    assert (released.hold_id, released.nearest) == ("h-1", held.nearest)
    for places in combinations((1, 2, 3, 4), 1):
        refused = decide(_hit(places))
        assert after_release(refused, hold_id="h-1") is refused
    assert after_release(decide(question()), hold_id="h-1").hold_id == "h-1"


def test_a_verdict_that_is_none_is_a_fault_and_no_release() -> None:
    with pytest.raises(AssertionError):
        after_release(replace(decide(question()), verdict="perhaps"), hold_id="h-1")  # type: ignore[arg-type]


def test_a_held_call_may_go_where_its_host_lives() -> None:
    held = decide(question(cluster(addresses=["10.0.0.0/8"]), url=f"{URL}/lines"))
    assert (held.verdict, [str(network) for network in held.addresses]) == (Verdict.HOLD, ["10.0.0.0/8"])


def test_only_an_allow_through_an_operation_that_leaves_the_body_unexamined_may_stream() -> None:
    streams = cluster(operations=(replace(operation(), body=Unexamined()),))
    allowed = decide(question(streams))
    assert (allowed.verdict, allowed.unexamined) == (Verdict.ALLOW, True)
    assert not decide(question()).unexamined
    reviewed = decide(question(replace(streams, review=Review(always=True))))
    assert (reviewed.verdict, reviewed.unexamined) == (Verdict.HOLD, False)
    assert not after_release(reviewed, hold_id="h-1").unexamined


# --- properties ------------------------------------------------------------------------------------------------------

OPERATIONS: tuple[Operation, ...] = (
    operation("read"),
    operation("any", template="/v1/{path:rest}"),
    operation("post", methods=("POST",), template="/v1/invoices"),
)
NAMES = [item.name for item in OPERATIONS]
CLUSTERS = st.builds(
    cluster,
    st.sampled_from(["a", "b", "c"]),
    hosts=st.sampled_from([["erp.example"], ["*.example"], ["crm.example"]]),
    addresses=st.sampled_from([[], [], ["10.0.0.0/8"], ["192.168.0.0/16"]]),
    operations=st.lists(st.sampled_from(OPERATIONS), max_size=3, unique_by=lambda item: item.name),
    proof=st.sampled_from([Proof.SESSION, Proof.REQUEST]),
    risk=st.sampled_from(Risk),
    review=st.builds(Review, always=st.booleans(), who=st.sampled_from([("sponsor",), ("deputy", "sponsor"), ()])),
)
HOUSES = st.lists(CLUSTERS, min_size=1, max_size=3, unique_by=lambda item: item.id)
URLS = st.sampled_from([URL, f"{URL}/lines", "https://erp.example/v1/invoices", "https://crm.example/v1/x"])
METHODS = st.sampled_from(["GET", "POST"])
PROOFS = st.sampled_from([Proof.SESSION, Proof.TUNNEL, Proof.REQUEST])
SEVERITY = {Verdict.ALLOW: 0, Verdict.HOLD: 1, Verdict.DENY: 2}


def grants_of(clusters: Iterable[Cluster]) -> list[Grant]:
    places = ["https://erp.example", "https://crm.example"]
    return [grant(item, actions=NAMES, locations=places) for item in clusters]


def severity(decision: Decision) -> int:
    return SEVERITY[decision.verdict]


@given(HOUSES, URLS, METHODS)
@settings(max_examples=60)
def test_no_mandate_never_allows(clusters: list[Cluster], url: str, method: str) -> None:
    asked = question(*clusters, url=url, method=method, mandate=None)
    for refusal in (None, NO_PROOF, BAD_PROOF):
        assert decide(replace(asked, refusal=refusal)).verdict is Verdict.DENY
        assert decide(replace(asked, refusal=refusal, evidence=None)).verdict is Verdict.DENY


@given(HOUSES, URLS, METHODS, st.sampled_from(["actions", "locations", "methods", "grants", "hosts", "operations"]))
@settings(max_examples=100)
def test_an_empty_list_covers_nothing(clusters: list[Cluster], url: str, method: str, emptied: str) -> None:
    if emptied in ("hosts", "operations"):
        clusters = [replace(item, **{emptied: ()}) for item in clusters]
        clusters = [replace(item, digest=identities.cluster_digest(item)) for item in clusters]
    grants = grants_of(clusters) if emptied != "grants" else []
    if emptied in ("actions", "locations"):
        grants = [replace(item, **{emptied: frozenset()}) for item in grants]
    if emptied == "methods":
        grants = [replace(item, constraints=Constraints(methods=frozenset())) for item in grants]
    asked = question(*clusters, grants=grants, url=url, method=method)
    assert decide(asked).verdict is not Verdict.ALLOW


@given(HOUSES, CLUSTERS, URLS, METHODS, PROOFS)
@settings(max_examples=100)
def test_a_cluster_nobody_granted_changes_nothing(
    clusters: list[Cluster], further: Cluster, url: str, method: str, proof: Proof
) -> None:
    grants = grants_of(clusters)
    asked = question(*clusters, grants=grants, url=url, method=method, proof=proof)
    wider = bundle_of(*clusters, replace(further, id="z"))
    more = replace(asked, policy=compile_policy(replace(wider, sha256=asked.policy.bundle.sha256)))
    assert decide(more) == decide(asked)


@given(HOUSES, URLS, METHODS, PROOFS)
@settings(max_examples=150)
def test_declaring_only_narrows(clusters: list[Cluster], url: str, method: str, proof: Proof) -> None:
    asked = question(*clusters, grants=grants_of(clusters), url=url, method=method, proof=proof)
    silent = decide(asked)
    for name in ("a", "b", "c"):
        said = decide(replace(asked, intent=Intent(cluster=name)))
        assert severity(said) >= severity(silent)
        if said.verdict is Verdict.ALLOW:
            assert (said.risk, said.addresses) == (silent.risk, silent.addresses)


@given(HOUSES, URLS, METHODS, PROOFS, st.sampled_from([None, "a", "b"]))
@settings(max_examples=60)
def test_the_order_of_rules_changes_nothing(
    clusters: list[Cluster], url: str, method: str, proof: Proof, declared: str | None
) -> None:
    denials = [deny("d-2", hosts=["crm.example"]), deny("d-1", hosts=["*.crm.example", "crm.example"])]
    grants = grants_of(clusters)
    mandate = mandate_of(bundle_of(*clusters), grants)
    seen = set()
    for order in permutations(clusters):
        shuffled = [replace(item, operations=item.operations[::-1], hosts=item.hosts[::-1]) for item in order]
        for house in (bundle_of(*shuffled, deny=denials), bundle_of(*shuffled, deny=denials[::-1])):
            asked = question(bundle=house, url=url, method=method, proof=proof, declared=declared, mandate=mandate)
            decision = decide(asked)
            seen.add(replace(decision, bundle_sha256=""))
    assert len(seen) == 1


@given(HOUSES, URLS, METHODS, PROOFS, st.data())
@settings(max_examples=100)
def test_a_child_is_never_wider_than_its_parent(
    clusters: list[Cluster], url: str, method: str, proof: Proof, data: st.DataObject
) -> None:
    house, grants = bundle_of(*clusters), grants_of(clusters)
    kept = data.draw(st.lists(st.sampled_from(grants), unique_by=lambda item: item.cluster))
    narrowed = [
        replace(item, actions=frozenset(data.draw(st.sets(st.sampled_from(NAMES)))))
        if data.draw(st.booleans())
        else item
        for item in kept
    ]
    parent = question(bundle=house, url=url, method=method, proof=proof, mandate=mandate_of(house, grants))
    child = replace(parent, mandate=mandate_of(house, grants, narrowed))
    wide, narrow = decide(parent), decide(child)
    if wide.code is Code.GUARD_ADDRESS:  # rules without an address in common: with one of them less a person is asked
        assert narrow.verdict is not Verdict.ALLOW
    else:
        assert severity(narrow) >= severity(wide)


CONDITIONS = {
    "host": {"url": URL.replace("erp.", "crm.")},
    "port": {"url": URL.replace("example", "example:8443")},
    "scheme": {"url": URL.replace("https", "http").replace("example", "example:443")},
    "path": {"url": f"{URL}x/y"},
    "query": {"url": f"{URL}?x=1"},
    "method": {"method": "PATCH"},
    "action": {"grants": [grant(actions=["list-invoices"])]},
    "location": {"grants": [grant(locations=["https://crm.example"])]},
    "constraint on methods": {"grants": [grant(constraints=Constraints(methods=frozenset({"PUT"})))]},
    "constraint on parameters": {"grants": [grant(constraints=Constraints(params={"id": frozenset({"1"})}))]},
    "constraint on the query": {"grants": [grant(constraints=Constraints(query={"q": frozenset({"1"})}))]},
    "digest": {"grants": [replace(grant(), digest="D" * 43)]},
    "proof": {"proof": Proof.SOURCE},
    "evidence": {"evidence": None},
    "mandate": {"mandate": None},
    "call": {"call": None},
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_without_any_one_condition_the_call_does_not_pass(condition: str) -> None:
    assert outcome(question()) == ALLOWED
    assert decide(question(**CONDITIONS[condition])).verdict is not Verdict.ALLOW  # type: ignore[arg-type]


def test_a_denial_is_final_before_the_body_came_only_if_no_body_could_change_it() -> None:
    for places, final in (((1,), True), ((2,), False), ((3,), False), ((4,), True), ((6,), False), ((7,), False)):
        assert is_final(decide(_hit(places))) is final, places
    assert not is_final(decide(question()))
