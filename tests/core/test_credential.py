"""Credentials in the policy: what a cluster says of one, which one a call gets, and what its sponsor is told."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from identities import cluster, grant, operation
from questions import bundle_of, call, mandate_of, question

from proxy.core.clusters import from_normalised, normalised
from proxy.core.credential import Credential, Way
from proxy.core.decide import decide
from proxy.core.delivering import delivers, undeliverable
from proxy.core.describe import describe_cluster
from proxy.core.differences import cluster_difference
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.explain import explain
from proxy.core.model import Cluster, Decision, Effect, Grant, Intent, Review, Verdict
from proxy.core.reviewed import check_shown

BEARER = Credential(secret="erp-token", way=Way.BEARER)
HEADER = Credential(secret="erp-token", way=Way.HEADER, name="X-Api-Key")
QUERY = Credential(secret="erp-token", way=Way.QUERY, name="key")
BASIC = Credential(secret="erp-token", way=Way.BASIC, name="svc")
OVER_HTTP = replace(BEARER, over_http=True)

URL = "https://erp.example/v1/invoices/17"
WITH = cluster("with", credential=BEARER)
WITHOUT = cluster("without")
MOVED = cluster("with", hosts=["erp.example", "new.example"], credential=BEARER)
WIDE = grant(WITH, locations=["https://erp.example", "https://new.example"])


# --- its form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("credential", "normal", "words", "replaces"),
    [
        pytest.param(
            BEARER, {"as": "bearer"}, "the secret erp-token as a bearer token", "Authorization", id="a bearer token"
        ),
        pytest.param(
            HEADER, {"header": "X-Api-Key"}, "the secret erp-token in the header X-Api-Key", "X-Api-Key", id="a header"
        ),
        pytest.param(
            QUERY,
            {"query": "key"},
            "the secret erp-token in the query parameter key",
            "the query parameter key",
            id="a query parameter",
        ),
        pytest.param(
            BASIC,
            {"basic": {"user": "svc"}},
            "the secret erp-token as the password of svc (basic)",
            "Authorization",
            id="a password",
        ),
        pytest.param(
            OVER_HTTP,
            {"as": "bearer", "over_http": True},
            "the secret erp-token as a bearer token",
            "Authorization",
            id="also in clear",
        ),
    ],
)
def test_what_is_signed_and_said(credential: Credential, normal: dict[str, Json], words: str, replaces: str) -> None:
    its = cluster(credential=credential)
    assert normalised(its)["credential"] == {"secret": "erp-token", **normal}
    assert (credential.words, credential.replaces) == (words, replaces)
    assert from_normalised(normalised(its)).credential == credential
    assert its.digest != cluster().digest
    assert any(words in sentence and replaces in sentence for sentence in describe_cluster(its))


def test_a_cluster_without_one_is_what_it_was() -> None:
    assert "credential" not in normalised(cluster())
    assert from_normalised(normalised(cluster())).credential is None
    assert not any("secret" in sentence for sentence in describe_cluster(cluster()))


@pytest.mark.parametrize(
    "credential",
    [
        pytest.param({"secret": "s"}, id="no way"),
        pytest.param({"secret": "s", "as": "bearer", "query": "key"}, id="two ways"),
        pytest.param({"secret": "s", "as": "basic"}, id="another word"),
        pytest.param({"secret": "", "as": "bearer"}, id="no name of a secret"),
        pytest.param({"as": "bearer"}, id="no secret"),
        pytest.param({"secret": "s", "header": ""}, id="no name of a header"),
        pytest.param({"secret": "s", "basic": "svc"}, id="a user that is no mapping"),
        pytest.param({"secret": "s", "basic": {"user": "svc", "password": "x"}}, id="a password in it"),
        pytest.param({"secret": "s", "as": "bearer", "over_http": False}, id="what is written by leaving it out"),
        pytest.param({"secret": "s", "as": "bearer", "value": "x"}, id="a value"),
        pytest.param("s", id="no mapping"),
    ],
)
def test_another_form_is_refused(credential: Json) -> None:
    with pytest.raises(Rejected):
        from_normalised({**normalised(WITH), "credential": credential})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(None, BEARER, ["adds the credential: the secret erp-token as a bearer token"], id="added"),
        pytest.param(BEARER, None, ["removes the credential: the secret erp-token as a bearer token"], id="removed"),
        pytest.param(
            BEARER,
            replace(BEARER, secret="other"),
            [f"changes the credential from {BEARER.words} to the secret other as a bearer token"],
            id="another secret",
        ),
        pytest.param(
            BEARER,
            OVER_HTTP,
            [f"changes the credential from {BEARER.words} to {BEARER.words}, also over plain HTTP"],
            id="in clear",
        ),
        pytest.param(BEARER, BEARER, [], id="the same"),
    ],
)
def test_a_change_is_told(old: Credential | None, new: Credential | None, told: list[str]) -> None:
    assert list(cluster_difference(cluster(credential=old), cluster(credential=new))) == told


# --- which one a call gets -------------------------------------------------------------------------------------------


def decided(
    *clusters: Cluster,
    url: str = URL,
    method: str = "GET",
    declared: str | None = None,
    grants: Iterable[Grant] | None = None,
    approved: Iterable[Cluster] = (),
) -> Decision:
    bundle = bundle_of(*clusters, approved=approved)
    given = [grant(each) for each in clusters] if grants is None else list(grants)
    asked = question(bundle=bundle, grants=given, url=url, method=method)
    return decide(replace(asked, intent=Intent(cluster=declared)))


@pytest.mark.parametrize(
    ("decision", "verdict", "credential"),
    [
        pytest.param(decided(WITH), Verdict.ALLOW, BEARER, id="covered: its cluster's"),
        pytest.param(decided(WITHOUT), Verdict.ALLOW, None, id="covered by one that has none"),
        pytest.param(decided(WITH, WITHOUT, declared="with"), Verdict.ALLOW, BEARER, id="covered: the declared one's"),
        pytest.param(decided(WITH, WITHOUT, declared="without"), Verdict.ALLOW, None, id="the declared one has none"),
        pytest.param(
            decided(WITH, cluster("also", credential=BEARER)), Verdict.ALLOW, BEARER, id="covered twice, and both agree"
        ),
        pytest.param(
            decided(WITH, cluster("far", hosts=["far.example"], credential=HEADER)),
            Verdict.ALLOW,
            BEARER,
            id="a cluster that does not reach it has no say",
        ),
        pytest.param(decided(WITH, method="DELETE"), Verdict.HOLD, BEARER, id="not covered, at its destination"),
        pytest.param(
            decided(WITH, url="https://far.example/", method="DELETE"), Verdict.HOLD, None, id="not covered, elsewhere"
        ),
        pytest.param(
            decided(WITH, WITHOUT, method="DELETE", declared="with"), Verdict.HOLD, BEARER, id="not covered, declared"
        ),
        pytest.param(
            decided(WITH, grants=[grant(WITH, locations=[])]), Verdict.HOLD, None, id="the location is not granted"
        ),
        pytest.param(
            decided(WITH, grants=[grant(cluster("with"))], approved=[cluster("with")], method="DELETE"),
            Verdict.HOLD,
            None,
            id="not covered, and the sponsor approved the cluster without one",
        ),
        pytest.param(
            decided(WITH, grants=[grant(cluster("with"))], method="DELETE"),
            Verdict.HOLD,
            None,
            id="not covered, and what the sponsor approved is lost",
        ),
        pytest.param(
            decided(MOVED, grants=[WIDE], approved=[WITH], url="https://new.example/", method="DELETE"),
            Verdict.HOLD,
            None,
            id="not covered, at a host that its cluster had not when the sponsor approved it",
        ),
        pytest.param(
            decided(MOVED, grants=[grant(MOVED)], url="https://new.example/", method="DELETE"),
            Verdict.HOLD,
            BEARER,
            id="not covered, at a host that the sponsor approved",
        ),
        pytest.param(
            decided(cluster("with", schemes=["http"], ports=[80], credential=OVER_HTTP), url=URL.replace("s:", ":")),
            Verdict.ALLOW,
            OVER_HTTP,
            id="in clear where that is said",
        ),
    ],
)
def test_the_credential_of_a_call(decision: Decision, verdict: Verdict, credential: Credential | None) -> None:
    assert (decision.verdict, decision.credential) == (verdict, credential), decision


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        pytest.param(decided(WITH, WITHOUT), "the clusters with, without do not", id="one has none"),
        pytest.param(decided(WITH, cluster("other", credential=HEADER)), "the clusters other, with", id="another way"),
        pytest.param(decided(WITH, WITHOUT, method="DELETE"), "the clusters with, without", id="not covered"),
        pytest.param(
            decided(cluster("with", schemes=["http"], ports=[80], credential=BEARER), url=URL.replace("s:", ":")),
            "the credential of with is not sent over plain HTTP",
            id="in clear where nobody said so",
        ),
    ],
)
def test_a_call_whose_credential_is_not_clear_is_denied(decision: Decision, words: str) -> None:
    assert (decision.verdict, decision.code) == (Verdict.DENY, Code.CREDENTIAL_UNCLEAR)
    assert words in decision.message
    assert decision.credential is None


def test_another_credential_than_the_sponsor_approved_is_a_changed_cluster() -> None:
    old = cluster("with", credential=HEADER)
    for approved in (old, cluster("with")):
        changed = decided(WITH, grants=[grant(approved)], approved=[approved])
        assert (changed.verdict, changed.code) == (Verdict.HOLD, Code.CLUSTER_CHANGED)
        assert changed.credential == BEARER, "a reviewer sees what it would be sent with"
    wider = replace(WITH, operations=(*WITH.operations, operation("more", template="/more")))
    same = decided(wider, grants=[grant(WITH)], approved=[WITH])
    assert (same.verdict, same.credential) == (Verdict.ALLOW, BEARER)


def test_a_child_that_keeps_one_of_two_clusters_has_chosen() -> None:
    bundle = bundle_of(WITH, WITHOUT)
    for kept, credential in ((WITH, BEARER), (WITHOUT, None)):
        mandate = mandate_of(bundle, [grant(WITH), grant(WITHOUT)], [grant(kept)])
        decision = decide(replace(question(bundle=bundle), mandate=mandate, intent=Intent()))
        assert (decision.verdict, decision.credential) == (Verdict.ALLOW, credential)


# --- what hangs on it ------------------------------------------------------------------------------------------------


def test_a_reviewer_reads_it() -> None:
    asked = question(WITH, method="DELETE")
    decision = decide(replace(asked, intent=Intent()))
    told = explain(decision, call(URL, "DELETE"), asked.policy, None)
    assert "Credential: the proxy sends the secret erp-token as a bearer token" in told.lines
    assert explain(replace(decision, credential=None), call(), asked.policy, None).credential == ""


def test_a_release_is_for_the_credential_that_was_shown() -> None:
    shown = decided(WITH, method="DELETE")
    check_shown(shown, BEARER)
    for other in (None, HEADER):
        with pytest.raises(Rejected, match="not the one that its reviewer saw") as refused:
            check_shown(shown, other)
        assert refused.value.code is Code.RELEASE_INVALID


@pytest.mark.parametrize(
    ("credential", "name", "value", "deliverable"),
    [
        pytest.param(BEARER, "Authorization", "Bearer x", True, id="what the credential takes the place of"),
        pytest.param(BASIC, "authorization", "Basic x", True, id="in any case"),
        pytest.param(HEADER, "x_api_key", "x", True, id="as servers read it"),
        pytest.param(HEADER, "Authorization", "Bearer x", False, id="another credential of the agent's"),
        pytest.param(BEARER, "Cookie", "a=b", False, id="its cookies"),
        pytest.param(QUERY, "Authorization", "Bearer x", False, id="a header where a parameter is set"),
        pytest.param(None, "Authorization", "Bearer x", False, id="no credential"),
    ],
)
def test_a_placeholder_does_not_keep_a_call_from_being_delivered(
    credential: Credential | None, name: str, value: str, deliverable: bool
) -> None:
    asked = replace(call(), headers=((name, value),))
    decision = replace(decided(WITH, method="DELETE"), credential=credential, review=Review(effect=Effect.DELIVER))
    assert delivers(decision, asked) is deliverable


def test_nor_does_a_placeholder_in_the_query() -> None:
    asked = call(f"{URL}?key=placeholder")
    assert undeliverable(asked, QUERY) is None
    assert undeliverable(asked, BEARER) is not None
    assert undeliverable(call(f"{URL}?token=mine"), QUERY) is not None
