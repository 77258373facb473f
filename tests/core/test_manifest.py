"""Reading and issuing manifests: exactly the known claims, or nothing."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, CLUSTER, HELPER, NOW, SPONSOR, claims_of, key, resealed

from proxy.core.encoding import Json, sha256_b64u, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.core.keys import jwk
from proxy.core.manifest import MANIFEST_TYP, issue_child, issue_root, parse_manifest
from proxy.core.model import Constraints

ROOT, LEAF = identities.chain()
DETAIL = claims_of(ROOT)["authorization_details"][0]  # type: ignore[index,call-overload]
LATE = 253_402_300_800


def root_with(drop: str = "", **changed: Json) -> str:
    return resealed(ROOT, key(SPONSOR), drop=drop, **changed)


def leaf_with(drop: str = "", **changed: Json) -> str:
    return resealed(LEAF, key(AGENT), drop=drop, **changed)


def detail_with(**changed: Json) -> dict[str, Json]:
    return {"authorization_details": [{**DETAIL, **changed}]}


def _places(many: int, before: str = "") -> dict[str, list[str]]:
    return {f"{before}a{place}": ["x"] for place in range(many)}


def test_a_root_says_what_was_drafted() -> None:
    of = identities.draft(
        grants=[
            identities.grant(
                actions=["read-invoice"],
                constraints=Constraints(
                    methods=frozenset({"GET"}),
                    params={"id": frozenset({"17"})},
                    query={"q": frozenset({"", "a b"})},
                    body={"/to/id": frozenset({"17", '"17"', "true", "null", '"é"'}), "note": frozenset({'"a b"'})},
                ),
            )
        ]
    )
    manifest = parse_manifest(issue_root(of, key=key(SPONSOR)))
    assert (manifest.iss, manifest.sponsor_id, manifest.kid) == (SPONSOR, SPONSOR, key(SPONSOR).public.kid)
    assert (manifest.sub, manifest.aud, manifest.jti, manifest.purpose) == (of.sub, of.aud, of.jti, of.purpose)
    assert (manifest.iat, manifest.nbf, manifest.exp) == (of.iat, of.nbf, of.exp)
    assert (manifest.cnf, manifest.grants, manifest.may_delegate_to) == (of.cnf, of.grants, of.may_delegate_to)
    assert (manifest.del_depth, manifest.del_max_depth, manifest.par_hash) == (0, 3, None)


def test_a_manifest_may_be_bound_to_a_certificate_besides_its_key() -> None:
    bound = issue_root(identities.draft(certificate="A" * 43), key=key(SPONSOR))
    assert claims_of(bound)["cnf"] == {"jwk": jwk(key(AGENT).public), "x5t#S256": "A" * 43}
    assert parse_manifest(bound).certificate == "A" * 43
    assert parse_manifest(ROOT).certificate is None
    child = {"key": key(AGENT), "cnf": key("k").public, "jti": "j", "now": NOW, "lifetime_s": 60}
    link = parse_manifest(issue_child(parse_manifest(bound), **child))  # type: ignore[arg-type]
    assert link.certificate == "A" * 43
    other = parse_manifest(issue_child(parse_manifest(bound), **child, sub=HELPER))  # type: ignore[arg-type]
    assert other.certificate is None
    given = issue_child(parse_manifest(bound), **child, sub=HELPER, certificate="B" * 43)  # type: ignore[arg-type]
    assert parse_manifest(given).certificate == "B" * 43


def test_its_id_is_the_hash_of_what_was_signed() -> None:
    manifest = parse_manifest(ROOT)
    assert manifest.id == sha256_b64u(ROOT.rpartition(".")[0].encode())
    assert manifest.signing_input == ROOT.rpartition(".")[0].encode()


def test_a_child_inherits_what_is_not_said() -> None:
    parent, child = parse_manifest(ROOT), parse_manifest(LEAF)
    for claim in ("sub", "aud", "purpose", "sponsor_id", "sponsor_name", "grants", "may_delegate_to", "del_max_depth"):
        assert getattr(child, claim) == getattr(parent, claim)
    assert (child.iss, child.kid, child.par_hash) == (parent.cnf.kid, parent.cnf.kid, parent.id)
    assert (child.del_depth, child.iat, child.exp) == (1, NOW, NOW + timedelta(hours=1))


def test_a_child_says_what_is_said() -> None:
    narrower = identities.grant(actions=["read-invoice"])
    child = parse_manifest(
        issue_child(
            parse_manifest(ROOT),
            key=key(AGENT),
            cnf=key(HELPER).public,
            jti="c",
            now=NOW,
            lifetime_s=60,
            grants=(narrower,),
            sub=HELPER,
            purpose="Look up one invoice.",
            del_max_depth=1,
            may_delegate_to=frozenset(),
        )
    )
    assert (child.sub, child.purpose, child.grants) == (HELPER, "Look up one invoice.", (narrower,))
    assert (child.del_max_depth, child.may_delegate_to, child.exp) == (1, frozenset(), NOW + timedelta(seconds=60))


def test_a_child_never_outlives_its_parent_nor_starts_before() -> None:
    parent = identities.root(
        identities.draft(nbf=NOW + timedelta(seconds=30), exp=NOW + timedelta(seconds=90), iat=NOW)
    )
    child = parse_manifest(identities.child(parent))
    assert (child.nbf, child.exp) == (NOW + timedelta(seconds=30), NOW + timedelta(seconds=90))


def test_nothing_is_issued_under_an_expired_parent() -> None:
    parent = identities.root(identities.draft(exp=NOW - timedelta(seconds=1)))
    with pytest.raises(Rejected, match="exp must be after iat") as refused:
        identities.child(parent)
    assert refused.value.code is Code.MANIFEST_MALFORMED


def test_nothing_is_issued_that_the_parent_does_not_permit() -> None:
    with pytest.raises(Rejected, match="adds other") as refused:
        identities.child(ROOT, grants=(identities.grant(actions=["other"]),))
    assert refused.value.code is Code.DELEGATION_WIDENED
    with pytest.raises(Rejected, match="the cnf key of the link before it") as refused:
        identities.child(ROOT, signer=key("someone"))
    assert refused.value.code is Code.DELEGATION_PARENT


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"purpose": "\ud800"}, id="text that is not Unicode"),
        pytest.param({"purpose": ""}, id="no purpose"),
        pytest.param({"del_max_depth": 4}, id="too deep"),
    ],
)
def test_a_draft_that_cannot_be_read_back_is_not_signed(changed: dict[str, object]) -> None:
    with pytest.raises(Rejected) as refused:
        issue_root(replace(identities.draft(), **changed), key=key(SPONSOR))  # type: ignore[arg-type]
    assert refused.value.code is Code.MANIFEST_MALFORMED


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(root_with(), id="the root as it was"),
        pytest.param(leaf_with(), id="the leaf as it was"),
        pytest.param(root_with(may_delegate_to=[]), id="an empty may_delegate_to"),
        pytest.param(root_with(drop="may_delegate_to"), id="no may_delegate_to"),
        pytest.param(root_with(authorization_details=[]), id="nothing granted"),
        pytest.param(root_with(**detail_with(actions=[], locations=[])), id="empty lists, which cover nothing"),
        pytest.param(root_with(**detail_with(constraints={"methods": []})), id="an empty constraint"),
        pytest.param(
            root_with(**detail_with(constraints={"params": _places(32), "body": _places(32, "/")})),
            id="as many places as there may be",
        ),
        pytest.param(root_with(purpose="請求書を照合する。"), id="a purpose in another script"),
        pytest.param(root_with(exp=LATE - 1), id="the last second there is"),
        pytest.param(root_with(nbf=claims_of(ROOT)["exp"]), id="valid for no time at all"),
        pytest.param(leaf_with(del_depth=3), id="depth three of three"),
        pytest.param(root_with(cnf={"jwk": jwk(key("k").public), "x5t#S256": "A" * 43}), id="bound to a certificate"),
    ],
)
def test_what_is_exactly_a_manifest_is_read(token: str) -> None:
    assert parse_manifest(token).token == token


@pytest.mark.parametrize(
    ("token", "field"),
    [
        pytest.param(root_with(scope="all"), "the payload", id="an unknown claim"),
        pytest.param(root_with(drop="jti"), "the payload", id="a missing claim"),
        pytest.param(root_with(iss=1), "iss", id="iss is a number"),
        pytest.param(root_with(iss="ben"), "iss", id="a root not issued by its sponsor"),
        pytest.param(root_with(sub="Invoice Bot"), "sub", id="sub is no agent's id"),
        pytest.param(root_with(aud=["edge-test"]), "aud", id="several audiences"),
        pytest.param(root_with(aud="edge test"), "aud", id="a space in the audience"),
        pytest.param(root_with(jti="a b"), "jti", id="a space in jti"),
        pytest.param(root_with(jti="x" * 129), "jti", id="a jti too long"),
        pytest.param(root_with(iat=1.5), "iat", id="half a second"),
        pytest.param(root_with(iat=True), "iat", id="iat is a boolean"),
        pytest.param(root_with(nbf="0"), "nbf", id="nbf is a text"),
        pytest.param(root_with(exp=LATE), "exp", id="exp after the year 9999"),
        pytest.param(root_with(iat=-1), "iat", id="before 1970"),
        pytest.param(root_with(exp=claims_of(ROOT)["iat"]), "exp", id="no lifetime"),
        pytest.param(root_with(nbf=LATE - 1), "exp", id="valid only after its end"),
        pytest.param(root_with(cnf={}), "cnf", id="cnf without a key"),
        pytest.param(root_with(cnf={"jwk": jwk(key("k").public), "kid": "k"}), "cnf", id="cnf with more than a key"),
        pytest.param(root_with(cnf={"x5t#S256": "A" * 43}), "cnf", id="cnf by certificate alone"),
        pytest.param(
            root_with(cnf={"jwk": jwk(key("k").public), "x5t#S256": "AA"}),
            "cnf.x5t#S256",
            id="no hash",
        ),
        pytest.param(root_with(cnf={"jwk": {"kty": "oct", "k": "AAAA"}}), "cnf.jwk", id="cnf with a shared secret"),
        pytest.param(root_with(purpose=""), "purpose", id="no purpose"),
        pytest.param(root_with(purpose="a\nb"), "purpose", id="a line break in the purpose"),
        pytest.param(root_with(purpose="pay \u202e ton"), "purpose", id="text that runs backwards"),
        pytest.param(root_with(purpose="x" * 501), "purpose", id="a purpose too long"),
        pytest.param(root_with(purpose=["p"]), "purpose", id="a list of purposes"),
        pytest.param(root_with(sponsor="ada"), "sponsor", id="sponsor is a text"),
        pytest.param(root_with(sponsor={"id": "ada"}), "sponsor", id="sponsor without a name"),
        pytest.param(root_with(sponsor={"id": "Ada", "name": "A"}), "sponsor.id", id="sponsor.id is no id"),
        pytest.param(root_with(sponsor={"id": "ada", "name": "\x1b[2J"}), "sponsor.name", id="an escape in the name"),
        pytest.param(root_with(del_depth=4), "del_depth", id="too deep"),
        pytest.param(root_with(del_depth=False), "del_depth", id="del_depth is a boolean"),
        pytest.param(root_with(del_max_depth=-1), "del_max_depth", id="a negative depth"),
        pytest.param(root_with(del_max_depth=4), "del_max_depth", id="a chain of five"),
        pytest.param(leaf_with(del_max_depth=0), "del_depth", id="deeper than it permits"),
        pytest.param(root_with(par_hash=parse_manifest(LEAF).par_hash), "par_hash", id="a root with a parent"),
        pytest.param(leaf_with(drop="par_hash"), "par_hash", id="a child without a parent"),
        pytest.param(leaf_with(par_hash="short"), "par_hash", id="a parent by another name"),
        pytest.param(leaf_with(par_hash=None), "par_hash", id="par_hash is null"),
        pytest.param(leaf_with(iss=SPONSOR), "iss", id="a child issued by a person"),
        pytest.param(root_with(may_delegate_to="x"), "may_delegate_to", id="may_delegate_to is a text"),
        pytest.param(root_with(may_delegate_to=None), "may_delegate_to", id="may_delegate_to is null"),
        pytest.param(root_with(may_delegate_to=["a", "a"]), "may_delegate_to", id="an agent twice"),
        pytest.param(root_with(may_delegate_to=["*"]), "may_delegate_to", id="may_delegate_to with a wildcard"),
        pytest.param(root_with(authorization_details={}), "authorization_details", id="details are an object"),
        pytest.param(root_with(authorization_details=["x"]), "authorization_details[0]", id="a detail is a text"),
    ],
)
def test_anything_else_is_malformed(token: str, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_manifest(token)
    assert (refused.value.code, refused.value.field) == (Code.MANIFEST_MALFORMED, field)


@pytest.mark.parametrize(
    ("changed", "member"),
    [
        pytest.param({"type": "payment"}, ".type", id="another type of detail"),
        pytest.param({"identifier": "A B"}, ".identifier", id="no cluster's id"),
        pytest.param({"digest": "abc"}, ".digest", id="no digest"),
        pytest.param({"datatypes": ["x"]}, "", id="a member of RFC 9396 we do not use"),
        pytest.param({"actions": "read"}, ".actions", id="actions are a text"),
        pytest.param({"actions": ["*"]}, ".actions", id="every action"),
        pytest.param({"actions": ["a", "a"]}, ".actions", id="an action twice"),
        pytest.param({"locations": ["erp.example"]}, ".locations", id="no scheme"),
        pytest.param({"locations": ["https://erp.example:443"]}, ".locations", id="the default port written out"),
        pytest.param({"constraints": None}, ".constraints", id="constraints are null"),
        pytest.param({"constraints": {"amount": [1]}}, ".constraints", id="an unknown kind of constraint"),
        pytest.param({"constraints": {"methods": ["get"]}}, ".constraints.methods", id="a method in lower case"),
        pytest.param({"constraints": {"methods": None}}, ".constraints.methods", id="methods are null"),
        pytest.param({"constraints": {"params": ["id"]}}, ".constraints.params", id="params are a list"),
        pytest.param({"constraints": {"params": {"": []}}}, ".constraints.params", id="a parameter without a name"),
        pytest.param({"constraints": {"params": {"id": "17"}}}, ".constraints.params.id", id="one value, not a list"),
        pytest.param({"constraints": {"params": {"id": [17]}}}, ".constraints.params.id", id="a number for a value"),
        pytest.param({"constraints": {"query": _places(33)}}, ".constraints.query", id="too many parameters"),
        pytest.param({"constraints": {"body": _places(33, "/")}}, ".constraints.body", id="too many places"),
        pytest.param({"constraints": {"body": ["/id"]}}, ".constraints.body", id="a body that is a list"),
        pytest.param({"constraints": {"body": {"": [1]}}}, ".constraints.body", id="the whole body"),
        pytest.param({"constraints": {"body": {"/a~2": [1]}}}, ".constraints.body", id="a pointer that is none"),
        pytest.param({"constraints": {"body": {"/a": 1}}}, ".constraints.body./a", id="one value of a body"),
        pytest.param({"constraints": {"body": {"/a": [1.5]}}}, ".constraints.body./a", id="a fraction in a body"),
        pytest.param({"constraints": {"body": {"/a": [2**53]}}}, ".constraints.body./a", id="too large a number"),
        pytest.param({"constraints": {"body": {"/a": [1, 1]}}}, ".constraints.body./a", id="a body's value twice"),
        pytest.param({"constraints": {"body": {"/a": [["x"]]}}}, ".constraints.body./a", id="a list in a body"),
        pytest.param({"constraints": {"body": {"/a": ["\x00"]}}}, ".constraints.body./a", id="a NUL in a body"),
        pytest.param({"constraints": {"body": {"a": [1]}}}, ".constraints.body.a", id="a number in a form"),
        pytest.param({"constraints": {"query": {"q": ["a", "a"]}}}, ".constraints.query.q", id="a value twice"),
        pytest.param({"constraints": {"query": {"q": ["\x00"]}}}, ".constraints.query.q", id="a NUL in a value"),
    ],
)
def test_any_other_detail_is_malformed(changed: dict[str, Json], member: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_manifest(root_with(**detail_with(**changed)))
    assert (refused.value.code, refused.value.field) == (
        Code.MANIFEST_MALFORMED,
        f"authorization_details[0]{member}",
    )


def test_a_cluster_is_granted_once() -> None:
    with pytest.raises(Rejected, match="granted once") as refused:
        parse_manifest(root_with(authorization_details=[DETAIL, DETAIL]))
    assert refused.value.field == "authorization_details[1].identifier"


def test_what_was_got_is_shown_short_and_escaped() -> None:
    with pytest.raises(Rejected) as refused:
        parse_manifest(root_with(purpose="\x1b[2J" * 500))
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 160


def test_another_type_of_statement_is_no_manifest() -> None:
    with pytest.raises(Rejected, match=f"of type {MANIFEST_TYP.replace('+', '.')}"):
        parse_manifest(seal(claims_of(ROOT), typ="intent-release+jwt", key=key(SPONSOR)))


# --- properties ------------------------------------------------------------------------------------------------------

_text = st.text(st.characters(codec="utf-8"), max_size=12)
_scalar = st.none() | st.booleans() | st.integers(-(2**53 - 1), 2**53 - 1) | _text
_value = st.recursive(
    _scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=6
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(claims_of(LEAF))), _value, min_size=1, max_size=2))
def test_parsing_whatever_is_claimed_raises_only_rejected(changed: dict[str, Json]) -> None:
    try:
        parse_manifest(leaf_with(**changed))
    except Rejected as refused:
        assert refused.code is Code.MANIFEST_MALFORMED


@given(st.text(max_size=40))
def test_parsing_whatever_text_raises_only_rejected(token: str) -> None:
    with pytest.raises(Rejected):
        parse_manifest(token)


_names = st.sets(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True), max_size=3)
_values = st.dictionaries(
    st.sampled_from(["id", "q"]),
    st.frozensets(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=5), max_size=3),
    max_size=2,
)


_bodies = st.dictionaries(
    st.sampled_from(["/id", "/a~1b/*", "/"]),
    st.frozensets(st.sampled_from(["1", "-2", "true", "null", '"1"', '""', '"é"']), max_size=3),
    max_size=2,
)


@settings(max_examples=100)
@given(
    actions=_names,
    methods=st.none() | st.frozensets(st.sampled_from(["GET", "POST", "M-SEARCH"])),
    params=_values,
    query=_values,
    body=_bodies,
    delegates=_names,
    life_s=st.integers(1, 10**8),
)
def test_every_draft_reads_back_as_itself(
    actions: set[str],
    methods: frozenset[str] | None,
    params: dict[str, frozenset[str]],
    query: dict[str, frozenset[str]],
    body: dict[str, frozenset[str]],
    delegates: set[str],
    life_s: int,
) -> None:
    constraints = Constraints(methods=methods, params=params, query=query, body=body)
    granted = identities.grant(actions=actions, constraints=constraints)
    of = identities.draft(grants=[granted], may_delegate_to=delegates, iat=NOW, exp=NOW + timedelta(seconds=life_s))
    manifest = parse_manifest(identities.root(of))
    assert manifest.grants == (granted,)
    assert manifest.may_delegate_to == delegates
    assert to_epoch(manifest.exp) - to_epoch(manifest.iat) == life_s
    assert manifest.grants[0].cluster == CLUSTER
