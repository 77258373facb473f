"""From a chain to a mandate: every step refuses by itself (THREATS E01, E02, E03, E05)."""

from dataclasses import replace
from datetime import datetime, timedelta

import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import AGENT, DEPUTY, HELPER, NOW, SPONSOR, key, resealed

from proxy.core.encoding import b64u, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.keys import ES256, sign
from proxy.core.manifest import parse_manifest
from proxy.core.model import AgentClass, Bundle, Intent, Mandate, Proof, Risk
from proxy.core.verify import Lifetimes, check_declares, least_proof, verify_chain

BUNDLE = identities.bundle()
ROOT, LEAF = identities.chain()
DAY = timedelta(days=1)


def verify(*tokens: str, bundle: Bundle = BUNDLE, now: datetime = NOW, lifetimes: Lifetimes | None = None) -> Mandate:
    return verify_chain(tokens, bundle, lifetimes=lifetimes or Lifetimes(), now=now)


def refusal(*tokens: str, bundle: Bundle = BUNDLE, now: datetime = NOW) -> Rejected:
    with pytest.raises(Rejected) as refused:
        verify(*tokens, bundle=bundle, now=now)
    return refused.value


def test_a_chain_becomes_a_mandate() -> None:
    mandate = verify(ROOT, LEAF)
    root, leaf = parse_manifest(ROOT), parse_manifest(LEAF)
    assert mandate.chain == (root, leaf)
    assert mandate.root_id == root.id
    assert mandate.agent is BUNDLE.agents[AGENT]
    assert mandate.sponsor is mandate.answerable is BUNDLE.people[SPONSOR]
    assert mandate.not_after == leaf.exp == NOW + timedelta(hours=1)


def test_a_short_lived_root_may_stand_alone() -> None:
    alone = identities.root(identities.draft(iat=NOW, exp=NOW + timedelta(hours=1)))
    mandate = verify(alone)
    assert mandate.leaf is mandate.root
    assert mandate.root_id == parse_manifest(alone).id


def test_a_chain_of_four_verifies_and_five_do_not() -> None:
    tokens = [ROOT]
    for depth in range(1, 4):
        signer = key(AGENT) if depth == 1 else key(f"k{depth - 1}")
        tokens.append(identities.child(tokens[-1], signer=signer, cnf=key(f"k{depth}").public, jti=f"d{depth}"))
    assert len(verify(*tokens).chain) == 4
    assert verify(*tokens).not_after == NOW + timedelta(hours=1)
    assert refusal(*tokens, tokens[-1]).code is Code.MANIFEST_MALFORMED


def test_a_delegate_acts_in_its_own_name_with_its_own_key() -> None:
    mandate = verify(ROOT, identities.child(ROOT, sub=HELPER, cnf=key(HELPER).public))
    assert (mandate.agent.id, mandate.sub_path) == (HELPER, f"{AGENT}/{HELPER}")


@pytest.mark.parametrize("alg", ["Ed25519", ES256])
def test_sponsors_and_agents_may_have_either_kind_of_key(alg: str) -> None:
    bundle = identities.bundle(
        people=[identities.person(keys=[key(SPONSOR, alg).public])],
        agents=[identities.agent(keys=[key(AGENT, alg).public])],
    )
    top = identities.root(identities.draft(cnf=key(AGENT, alg).public), signer=key(SPONSOR, alg))
    low = identities.child(top, signer=key(AGENT, alg), cnf=key("leaf", alg).public)
    assert verify(top, low, bundle=bundle).leaf.cnf == key("leaf", alg).public


# --- 1. shape --------------------------------------------------------------------------------------------------------


def test_no_chain_is_no_mandate() -> None:
    assert refusal().code is Code.MANIFEST_MALFORMED
    assert refusal("nonsense").code is Code.MANIFEST_MALFORMED


def test_a_leaf_without_its_root_is_refused() -> None:
    assert refusal(LEAF).code is Code.DELEGATION_PARENT
    assert refusal(LEAF, ROOT).code is Code.DELEGATION_PARENT


# --- 2. and 3. who says so -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(identities.root(identities.draft(deployment="other")), Code.MANIFEST_AUDIENCE, id="for elsewhere"),
        pytest.param(
            identities.root(identities.draft(sponsor="mallory")), Code.SPONSOR_UNKNOWN, id="by someone not enrolled"
        ),
        pytest.param(
            identities.root(signer=key(DEPUTY)), Code.MANIFEST_SIGNATURE, id="with another person's key (kid confusion)"
        ),
        pytest.param(identities.root(signer=key("mallory")), Code.MANIFEST_SIGNATURE, id="with an unknown key"),
        pytest.param(
            identities.root(signer=key(AGENT)), Code.MANIFEST_SIGNATURE, id="by the agent itself in the sponsor's name"
        ),
        pytest.param(
            identities.root(identities.draft(sponsor=DEPUTY)),
            Code.MANIFEST_SUBJECT,
            id="by a person who is not its sponsor",
        ),
        pytest.param(
            identities.root(identities.draft(sub="ghost")), Code.AGENT_UNKNOWN, id="for an agent nobody enrolled"
        ),
        pytest.param(
            identities.root(identities.draft(cnf=key(HELPER).public)),
            Code.MANIFEST_SUBJECT,
            id="for another agent's key",
        ),
    ],
)
def test_a_root_that_its_sponsor_did_not_rightly_sign_is_refused(token: str, code: Code) -> None:
    short = resealed_short(token)
    assert refusal(short).code is code
    assert verify(resealed_short(ROOT))


def resealed_short(token: str) -> str:
    """The same root, living an hour so that it may act alone, signed by the key that signed it."""
    kid = parse_manifest(token).kid
    [signer] = [key(name) for name in (SPONSOR, DEPUTY, AGENT, "mallory") if key(name).public.kid == kid]
    return resealed(token, signer, iat=to_epoch(NOW), exp=to_epoch(NOW) + 3600)


def test_a_signature_of_another_statement_is_refused() -> None:
    other = identities.root(identities.draft(jti="m-2"))
    assert refusal(ROOT.rpartition(".")[0] + "." + other.rpartition(".")[2], LEAF).code in (
        Code.MANIFEST_SIGNATURE,
        Code.DELEGATION_PARENT,
    )
    swapped = ROOT.rpartition(".")[0] + "." + b64u(sign(key("x"), parse_manifest(ROOT).signing_input))
    assert refusal(swapped, LEAF).code is Code.MANIFEST_SIGNATURE


# --- 4. each to the next ---------------------------------------------------------------------------------------------


def test_a_child_signed_with_ones_own_key_is_refused() -> None:
    """Another agent's manifest with one's own key: the header must name the parent's key, the signature be its own."""
    claims = resealed(LEAF, key("thief"))
    assert refusal(ROOT, claims).code is Code.MANIFEST_MALFORMED  # iss is not the signing key
    assert refusal(ROOT, resealed(LEAF, key("thief"), iss=key("thief").public.kid)).code is Code.DELEGATION_PARENT
    forged = LEAF.rpartition(".")[0] + "." + b64u(sign(key("thief"), parse_manifest(LEAF).signing_input))
    assert refusal(ROOT, forged).code is Code.MANIFEST_SIGNATURE
    assert verify(ROOT, LEAF)


def test_a_child_of_another_root_is_refused() -> None:
    other = identities.root(identities.draft(jti="m-2"))
    assert refusal(other, LEAF).code is Code.DELEGATION_PARENT


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        pytest.param({"aud": "other"}, Code.DELEGATION_WIDENED, id="another audience"),
        pytest.param({"sponsor": {"id": DEPUTY, "name": "Ben"}}, Code.DELEGATION_WIDENED, id="another sponsor"),
        pytest.param({"exp": to_epoch(NOW + 40 * DAY)}, Code.DELEGATION_WIDENED, id="a later end"),
        pytest.param({"sub": "ghost"}, Code.AGENT_UNKNOWN, id="a subject nobody enrolled"),
        pytest.param({"sub": HELPER}, Code.MANIFEST_SUBJECT, id="another agent's name with one's own key"),
        pytest.param({"del_depth": 2}, Code.DELEGATION_DEPTH, id="a depth that skips"),
    ],
)
def test_a_child_that_widens_is_refused(changed: dict[str, object], code: Code) -> None:
    assert refusal(ROOT, resealed(LEAF, key(AGENT), **changed)).code is code  # type: ignore[arg-type]
    assert verify(ROOT, resealed(LEAF, key(AGENT)))


def test_a_delegation_needs_the_operators_word_as_well() -> None:
    child = identities.child(ROOT, sub=HELPER, cnf=key(HELPER).public)
    unlisted = identities.bundle(agents=[identities.agent(), identities.agent(HELPER)])
    assert refusal(ROOT, child, bundle=unlisted).code is Code.DELEGATION_WIDENED
    assert verify(ROOT, child)


# --- 5. short credentials --------------------------------------------------------------------------------------------


def test_a_root_that_lives_too_long_is_refused() -> None:
    def root(days: int) -> str:
        return identities.root(identities.draft(exp=NOW - DAY + days * DAY))

    long, leaf = root(91), identities.child(root(91))
    refused = refusal(long, leaf)
    assert (refused.code, "the root manifest may live 7776000 s" in refused.detail) == (Code.MANIFEST_LIFETIME, True)
    assert verify(root(90), identities.child(root(90)))
    assert verify(long, leaf, lifetimes=Lifetimes(root_max_s=91 * 86_400))


def test_a_last_link_that_lives_too_long_is_refused() -> None:
    refused = refusal(ROOT, identities.child(ROOT, lifetime_s=3601))
    assert (refused.code, "the last link of the chain may live 3600 s" in refused.detail) == (
        Code.MANIFEST_LIFETIME,
        True,
    )
    assert refusal(ROOT).code is Code.MANIFEST_LIFETIME
    assert verify(ROOT, identities.child(ROOT, lifetime_s=3600))


def test_links_between_may_live_as_long_as_the_root() -> None:
    middle = identities.child(ROOT, cnf=key("middle").public, lifetime_s=20 * 86_400)
    assert verify(ROOT, middle, identities.child(middle, signer=key("middle")))


# --- 6. now ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_s", "passes"),
    [
        pytest.param(-5, True, id="our clock five seconds behind"),
        pytest.param(-6, False, id="our clock six seconds behind"),
        pytest.param(3599, True, id="the last second"),
        pytest.param(3600, False, id="expired, without any skew"),
    ],
)
def test_a_leaf_counts_within_its_lifetime(after_s: int, passes: bool) -> None:
    now = NOW + timedelta(seconds=after_s)
    if passes:
        assert verify(ROOT, LEAF, now=now)
    else:
        assert refusal(ROOT, LEAF, now=now).code is Code.MANIFEST_WINDOW


def test_a_root_not_valid_yet_or_expired_stops_its_leaf() -> None:
    early = identities.root(identities.draft(nbf=NOW + timedelta(minutes=5)))
    late = identities.root(identities.draft(exp=NOW + timedelta(minutes=5)))
    assert refusal(early, identities.child(early)).code is Code.MANIFEST_WINDOW
    at = NOW + timedelta(minutes=5)
    assert refusal(late, identities.child(late), now=at).code is Code.MANIFEST_WINDOW
    assert verify(early, identities.child(early), now=at)


# --- 7. someone answers ----------------------------------------------------------------------------------------------


def lapsed(at: datetime) -> Bundle:
    return identities.bundle(people=[identities.person(deputy=DEPUTY, certified_until=at), identities.person(DEPUTY)])


def test_a_lapsed_sponsors_deputy_answers_during_the_grace() -> None:
    mandate = verify(ROOT, LEAF, bundle=lapsed(NOW))
    assert (mandate.sponsor.id, mandate.answerable.id) == (SPONSOR, DEPUTY)


def test_a_manifest_signed_after_the_lapse_is_refused() -> None:
    assert refusal(ROOT, LEAF, bundle=lapsed(NOW - 2 * DAY)).code is Code.SPONSOR_LAPSED


def test_the_grace_ends() -> None:
    later = NOW + 8 * DAY
    leaf = identities.child(ROOT, now=later)
    assert refusal(ROOT, leaf, bundle=lapsed(NOW), now=later).code is Code.SPONSOR_LAPSED
    assert verify(ROOT, leaf, bundle=lapsed(NOW + 2 * DAY), now=later).answerable.id == DEPUTY


# --- E01 -------------------------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_chain_is_refused() -> None:
    codes = set()
    for place, token in enumerate((ROOT, LEAF)):
        data = token.encode()
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            tokens = [ROOT, LEAF]
            tokens[place] = flipped.decode("latin-1")
            codes.add(refusal(*tokens).code)
    assert {Code.MANIFEST_MALFORMED, Code.MANIFEST_SIGNATURE} <= codes


@given(st.lists(st.sampled_from([ROOT, LEAF, "", "a.b.c"]), max_size=5))
def test_verifying_whatever_is_presented_raises_only_rejected(tokens: list[str]) -> None:
    try:
        assert verify(*tokens).chain == tuple(parse_manifest(token) for token in (ROOT, LEAF))
    except Rejected as refused:
        assert refused.detail


# --- what an agent of its class owes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent_class", "must_declare", "cluster", "passes"),
    [
        pytest.param(AgentClass.EMBEDDED, None, "supplier-invoices", True, id="an embedded agent that declares"),
        pytest.param(AgentClass.EMBEDDED, None, None, False, id="an embedded agent that does not"),
        pytest.param(AgentClass.EMBEDDED, False, None, True, id="an embedded agent excused"),
        pytest.param(AgentClass.AUGMENTING, None, None, True, id="an augmenting agent that does not"),
        pytest.param(AgentClass.AUGMENTING, True, None, False, id="an augmenting agent that was told to"),
    ],
)
def test_who_must_declare(
    agent_class: AgentClass, must_declare: bool | None, cluster: str | None, passes: bool
) -> None:
    agent = identities.agent(agent_class=agent_class, must_declare=must_declare)
    mandate = verify(ROOT, LEAF, bundle=identities.bundle(agents=[agent]))
    if passes:
        check_declares(mandate, Intent(cluster=cluster, task="T-1"))
    else:
        with pytest.raises(Rejected, match="must declare its intent") as refused:
            check_declares(mandate, Intent(cluster=cluster, task="T-1"))
        assert refused.value.code is Code.INTENT_REQUIRED


@pytest.mark.parametrize(
    ("agent_class", "risk", "proof", "method", "least"),
    [
        pytest.param("augmenting", "routine", Proof.SESSION, "POST", Proof.SESSION, id="what the cluster asks"),
        pytest.param("augmenting", "routine", Proof.SOURCE, "GET", Proof.SOURCE, id="what the cluster asks, weaker"),
        pytest.param("augmenting", "transformative", Proof.SESSION, "GET", Proof.REQUEST, id="transformative"),
        pytest.param("embedded", "routine", Proof.SESSION, "GET", Proof.SESSION, id="an embedded agent reads"),
        pytest.param("embedded", "routine", Proof.SESSION, "HEAD", Proof.SESSION, id="an embedded agent looks"),
        pytest.param("embedded", "routine", Proof.SESSION, "POST", Proof.REQUEST, id="an embedded agent writes"),
        pytest.param("embedded", "routine", Proof.TUNNEL, "PURGE", Proof.REQUEST, id="a method nobody knows writes"),
        pytest.param("embedded", "routine", Proof.SESSION, "get", Proof.REQUEST, id="methods have a case"),
    ],
)
def test_the_least_proof(agent_class: str, risk: str, proof: Proof, method: str, least: Proof) -> None:
    agent = identities.agent(agent_class=AgentClass(agent_class))
    cluster = identities.cluster(risk=Risk(risk), proof=proof)
    assert least_proof(agent, cluster, method) is least


def test_verification_depends_on_nothing_but_its_arguments() -> None:
    assert verify(ROOT, LEAF) == verify(ROOT, LEAF)
    reloaded = replace(BUNDLE, version=2, agents={**BUNDLE.agents, AGENT: identities.agent(must_declare=True)})
    assert verify(ROOT, LEAF, bundle=reloaded).agent.must_declare


def test_a_chain_at_rest_may_end_in_a_link_as_long_lived_as_a_root() -> None:
    usual = Lifetimes()
    assert usual.lasting() == Lifetimes(leaf_max_s=usual.root_max_s)
    assert Lifetimes(root_max_s=60).lasting() == Lifetimes(root_max_s=60)
