"""What whoever is refused reads, word for word: the only thing it can mend its request by.

Each row is one refusal: its code, the field it names and its sentence. Whether it comes is tested where the rule is.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from identities import AGENT, HELPER, HOST, NOW, agent, cluster, grant, key, leaf_key, signed_request
from questions import bundle_of, deny, question

from proxy.core.content_digest import check_content_digest
from proxy.core.control import Act, ControlView, Statement
from proxy.core.decide import Question, after_release, decide
from proxy.core.errors import Code, Rejected
from proxy.core.model import AgentClass, Intent, Mandate, Proof, Received, Review, Risk, Verdict
from proxy.core.proof import (
    read_chain,
    read_intent,
    sign_request,
    target_uri,
    verify_signature,
)
from proxy.core.verify import Lifetimes, check_declares, verify_chain

ROOT, LEAF = identities.chain()
KID, OTHER = leaf_key().public.kid, key("other").public.kid
URL = f"https://{HOST}/v1/invoices/17"


def verify(request: Received, *, after_s: float = 0, public: str = "leaf") -> None:
    now = NOW + timedelta(seconds=after_s)
    verify_signature(request, target_uri=target_uri(request), key=key(public).public, now=now)


def edited(request: Received, name: str, old: str, new: str) -> Received:
    """The request with a piece of one header replaced."""
    lines = tuple(
        (key_, value.replace(old.encode(), new.encode()) if key_.lower() == name.encode() else value)
        for key_, value in request.headers
    )
    assert lines != request.headers
    return replace(request, headers=lines)


def without(request: Received, name: str) -> Received:
    return replace(request, headers=tuple(line for line in request.headers if line[0].lower() != name.encode()))


def signing(*headers: tuple[str, str], method: str = "GET", url: str = URL, body: bytes | None = None) -> None:
    sign_request(
        method=method, target_uri=url, headers=headers, body=body, key=leaf_key(), created=NOW, nonce=identities.nonce()
    )


def chained(*tokens: str, lifetimes: Lifetimes | None = None) -> Mandate:
    return verify_chain(tokens, identities.bundle(), lifetimes=lifetimes or Lifetimes(), now=NOW)


def undeclared() -> None:
    house = identities.bundle(agents=[agent(agent_class=AgentClass.EMBEDDED), agent(HELPER)])
    mandate = verify_chain((ROOT, LEAF), house, lifetimes=Lifetimes(), now=NOW)
    check_declares(mandate, Intent(task="T-1"))


MANIFEST = ("Intent-Manifest", ROOT)
PARAMETERS = "the signature parameters must be exactly created, expires, keyid, nonce, tag, got "

PROOFS = {
    "an intent with another key": (
        lambda: read_intent('cluster="a", x=1'),
        (Code.INTENT_MALFORMED, "agent-intent"),
        "agent-intent must have cluster, task or step, nothing else and no parameters, got cluster, x",
    ),
    "an intent with a long key": (
        lambda: read_intent("x" * 100 + "=1"),
        (Code.INTENT_MALFORMED, "agent-intent"),
        f"agent-intent must have cluster, task or step, nothing else and no parameters, got {'x' * 64}",
    ),
    "an intent of nothing": (
        lambda: read_intent(""),
        (Code.INTENT_MALFORMED, "agent-intent"),
        "agent-intent must have cluster, task or step, nothing else and no parameters, got nothing",
    ),
    "an intent that is no dictionary": (lambda: read_intent("a b"), (Code.INTENT_MALFORMED, "agent-intent"), None),
    "a step below nothing": (
        lambda: read_intent("step=-1"),
        (Code.INTENT_MALFORMED, "step"),
        "step must be an integer from 0 to 1000000000",
    ),
    "a cluster that is no name": (
        lambda: read_intent('cluster="a b"'),
        (Code.INTENT_MALFORMED, "cluster"),
        'cluster must be the id of a task cluster, as in cluster="invoices"',
    ),
    "a task that is no string": (
        lambda: read_intent("task=1"),
        (Code.INTENT_MALFORMED, "task"),
        'task must be a string of 1 to 128 characters, as in task="T-1"',
    ),
    "a chain that is none": (
        lambda: read_chain("x"),
        (Code.MANIFEST_MALFORMED, "intent-manifest"),
        "intent-manifest must be 1 to 4 compact JWS, separated by commas, the root first",
    ),
    "a chain in another white space": (
        lambda: read_chain(f"{ROOT},\x0b{LEAF}"),
        (Code.MANIFEST_MALFORMED, "intent-manifest"),
        "intent-manifest must be 1 to 4 compact JWS, separated by commas, the root first",
    ),
    "a chain of something more": (
        lambda: read_chain(f"X{ROOT}X,X"),
        (Code.MANIFEST_MALFORMED, "intent-manifest"),
        "intent-manifest must be 1 to 4 compact JWS, separated by commas, the root first",
    ),
    "no host": (
        lambda: target_uri(without(signed_request(), "host")),
        (Code.URL_AMBIGUOUS, "host"),
        "the URL must have one host and only visible ASCII characters",
    ),
    "a signature on a signed request": (
        lambda: signing(MANIFEST, ("Signature", "a=:AA==:")),
        (Code.PROOF_MALFORMED, ""),
        "the request is signed already: remove the old signature first",
    ),
    "a signature's input on a request to sign": (
        lambda: signing(MANIFEST, ("Signature-Input", "a=()")),
        (Code.PROOF_MALFORMED, ""),
        "the request is signed already: remove the old signature first",
    ),
    "a signature without a manifest": (
        signing,
        (Code.PROOF_COMPONENTS, "intent-manifest"),
        "a signed request must carry Intent-Manifest",
    ),
    "an announced body without its digest": (
        lambda: signing(MANIFEST, ("Content-Length", "2"), method="POST"),
        (Code.PROOF_COMPONENTS, "content-digest"),
        "a signed request with a body must carry Content-Digest",
    ),
    "a length that is no number": (
        lambda: signing(MANIFEST, ("Content-Length", "X0X"), method="POST"),
        (Code.PROOF_COMPONENTS, "content-digest"),
        "a signed request with a body must carry Content-Digest",
    ),
    "a URL that cannot be signed": (
        lambda: signing(MANIFEST, url="https://erp.example/a b"),
        (Code.PROOF_MALFORMED, "@target-uri"),
        "the method and the URL must be visible ASCII; for CONNECT host and port",
    ),
    "no signature": (
        lambda: verify(without(signed_request(), "signature")),
        (Code.PROOF_MALFORMED, "signature"),
        "a signed request must carry signature",
    ),
    "another key": (
        lambda: verify(signed_request(), public="other"),
        (Code.PROOF_KEY, "keyid"),
        f"signed with key {KID}, but the mandate names key {OTHER}",
    ),
    "a component too few": (
        lambda: verify(edited(signed_request(), "signature-input", ' "agent-intent"', "")),
        (Code.PROOF_COMPONENTS, "signature-input"),
        "the signature must cover exactly @method @target-uri agent-intent intent-manifest, each once;"
        " it covers @method @target-uri intent-manifest",
    ),
    "components without end": (
        lambda: verify(edited(signed_request(), "signature-input", ' "agent-intent"', f' "{"a" * 500}"')),
        (Code.PROOF_COMPONENTS, "signature-input"),
        "the signature must cover exactly @method @target-uri agent-intent intent-manifest, each once;"
        f" it covers @method @target-uri {'a' * 380}",
    ),
    "another URL": (
        lambda: verify(replace(signed_request(), target=b"/v1/invoices/18")),
        (Code.PROOF_SIGNATURE, "signature"),
        "the signature does not fit: the method, the URL or a covered header is not what was signed",
    ),
    "a parameter too many": (
        lambda: verify(edited(signed_request(), "signature-input", ";tag=", ";x=1;tag=")),
        (Code.PROOF_MALFORMED, "signature-input"),
        f"{PARAMETERS}created, expires, keyid, nonce, tag, x",
    ),
    "a parameter without end": (
        lambda: verify(edited(signed_request(), "signature-input", ";tag=", f";x{'y' * 200}=1;tag=")),
        (Code.PROOF_MALFORMED, "signature-input"),
        f"{PARAMETERS}created, expires, keyid, nonce, tag, x{'y' * 162}",
    ),
    "a time that is a string": (
        lambda: verify(edited(signed_request(), "signature-input", "created=", 'created="a";x=')),
        (Code.PROOF_MALFORMED, "signature-input"),
        None,
    ),
    "a nonce that is a number": (
        lambda: verify(edited(signed_request(), "signature-input", f'"{identities.nonce()}"', "17")),
        (Code.PROOF_MALFORMED, "signature-input"),
        "created and expires must be integers, keyid and nonce strings",
    ),
    "a short nonce": (
        lambda: verify(edited(signed_request(), "signature-input", identities.nonce(), "abc")),
        (Code.PROOF_MALFORMED, "nonce"),
        "nonce must be 128 to 512 bits in base64url",
    ),
    "a nonce with stray bits": (
        lambda: verify(edited(signed_request(), "signature-input", identities.nonce(), "A" * 21 + "B")),
        (Code.PROOF_MALFORMED, "nonce"),
        None,
    ),
    "a long life": (
        lambda: verify(edited(signed_request(), "signature-input", f"expires={int(NOW.timestamp()) + 60}",
                              f"expires={int(NOW.timestamp()) + 61}")),
        (Code.PROOF_WINDOW, "expires"),
        "expires must be at most 60 s after created, got 61 s",
    ),
    "no life": (
        lambda: verify(edited(signed_request(), "signature-input", f"expires={int(NOW.timestamp()) + 60}",
                              f"expires={int(NOW.timestamp())}")),
        (Code.PROOF_WINDOW, "expires"),
        "expires must be at most 60 s after created, got 0 s",
    ),
    "long ago": (
        lambda: verify(signed_request(lifetime_s=30), after_s=45),
        (Code.PROOF_WINDOW, "created"),
        "signed 45 s ago for 30 s: sign again, or set the clock",
    ),
    "a body without its digest": (
        lambda: check_content_digest({}, b"x"),
        (Code.PROOF_DIGEST, "content-digest"),
        "a signed request with a body must carry Content-Digest",
    ),
    "a chain of nothing": (chained, (Code.MANIFEST_MALFORMED, ""), "a chain has 1 to 4 links, got 0"),
    "a chain of five": (
        lambda: chained(*[ROOT] * 5),
        (Code.MANIFEST_MALFORMED, ""),
        "a chain has 1 to 4 links, got 5",
    ),
    "a leaf alone": (
        lambda: chained(LEAF),
        (Code.DELEGATION_PARENT, "del_depth"),
        "the first link must be the root (del_depth 0), got del_depth 1",
    ),
    "a root of a stranger's key": (
        lambda: chained(identities.root(signer=key("stranger")), LEAF),
        (Code.MANIFEST_SIGNATURE, "kid"),
        None,
    ),
    "a long root": (
        lambda: chained(ROOT, LEAF, lifetimes=Lifetimes(root_max_s=60)),
        (Code.MANIFEST_LIFETIME, "exp"),
        "the root manifest may live 60 s, but exp is 2592000 s after iat: issue a shorter one",
    ),
    "a long leaf": (
        lambda: chained(ROOT, LEAF, lifetimes=Lifetimes(leaf_max_s=60)),
        (Code.MANIFEST_LIFETIME, "exp"),
        "the last link of the chain may live 60 s, but exp is 3600 s after iat: issue a shorter one",
    ),
    "an agent that must declare": (
        undeclared,
        (Code.INTENT_REQUIRED, "agent-intent"),
        f'agent {AGENT} must declare its intent: send Agent-Intent: cluster="...", task="..."',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("refuse", "what", "sentence"), PROOFS.values(), ids=PROOFS)
def test_a_refused_proof_says_what_and_why(
    refuse: Callable[[], object], what: tuple[Code, str], sentence: str | None
) -> None:
    """`sentence` None: the words are another module's, but the code and the field are this one's."""
    with pytest.raises(Rejected) as refused:
        refuse()
    assert (refused.value.code, refused.value.field) == what
    assert sentence is None or refused.value.detail == sentence


# --- decisions -------------------------------------------------------------------------------------------------------

KILLED = ControlView().absorb(
    Statement(token="", id="s-1", by="operator", act=Act.KILL_ON, target="*", reason="", serial=1, at=NOW)
)
FIRST, SECOND = cluster("first", addresses=["10.0.0.0/8"]), cluster("second", addresses=["192.168.0.0/16"])
CHANGED = cluster(ports=[443, 444])
BOTH = (cluster("here", operations=[]), cluster("there"))

DECISIONS = {
    "everything is stopped, and nobody is there": (
        question(mandate=None, evidence=None, view=KILLED),
        Code.KILL_SWITCH,
        "the kill switch is on: nothing is forwarded until an operator turns it off",
    ),
    "a mandate without evidence": (
        question(evidence=None),
        Code.PROOF_MISSING,
        "the call carries no proof of its mandate",
    ),
    "no mandate": (question(mandate=None, evidence=None), Code.PROOF_MISSING, "the call carries no proof of a mandate"),
    "a declared cluster that is not granted": (
        question(declared="payroll"),
        Code.INTENT_NOT_GRANTED,
        "the declared cluster payroll is not granted by the mandate",
    ),
    "proof that is too weak": (
        question(cluster(risk=Risk.TRANSFORMATIVE), proof=Proof.SESSION),
        Code.PROOF_WEAK,
        "the call needs request proof and came with session proof",
    ),
    "a call nobody read": (question(call=None), Code.UNDECIDED, "the call was not read"),
    "the proxy itself": (
        question(url="http://intent.internal/"),
        Code.GUARD_SELF,
        "the destination is the proxy itself",
    ),
    "a metadata service": (
        question(url="http://metadata.google.internal/"),
        Code.GUARD_ADDRESS,
        "a metadata service is never reached through the proxy",
    ),
    "networks apart": (
        question(FIRST, SECOND),
        Code.GUARD_ADDRESS,
        "the mandate's clusters place this destination in networks that have no address in common",
    ),
    "a public address": (
        question(url="https://8.8.8.8/"),
        Code.URL_AMBIGUOUS,
        "an IP address for a host needs an address rule: use the host's name",
    ),
    "an explicit denial": (
        question(bundle=bundle_of(cluster(), deny=[deny()])),
        Code.POLICY_DENIED,
        "an explicit rule denies this call to everyone",
    ),
    "a mandate of nothing": (question(grants=[]), Code.NOT_COVERED, "the mandate grants nothing"),
    "outside": (
        question(url=f"https://{HOST}/v1/payroll"),
        Code.NOT_COVERED,
        "the mandate does not cover this call",
    ),
    "outside what was declared": (
        question(url=f"https://{HOST}/v1/payroll", declared=identities.CLUSTER),
        Code.NOT_COVERED,
        f"the declared cluster {identities.CLUSTER} does not cover this call",
    ),
    "covered by another cluster than declared": (
        question(*BOTH, declared="here"),
        Code.NOT_COVERED,
        "the declared cluster here does not cover this call; granted cluster there does: if that is what the call"
        " serves, declare it",
    ),
    "changed since": (
        question(bundle=bundle_of(CHANGED), grants=[grant()]),
        Code.CLUSTER_CHANGED,
        f"cluster {identities.CLUSTER} changed since the sponsor approved it",
    ),
    "always reviewed": (
        question(cluster(review=Review(always=True))),
        Code.CLUSTER_REVIEW,
        f"every call of cluster {identities.CLUSTER} is reviewed by a person",
    ),
    "always reviewed, by nobody": (
        question(cluster(review=Review(always=True, who=()))),
        Code.CLUSTER_REVIEW,
        f"every call of cluster {identities.CLUSTER} is reviewed by a person, and nobody may release it",
    ),
    "allowed": (question(), Code.ALLOWED, "allowed"),
}


@pytest.mark.parametrize(("asked", "code", "sentence"), DECISIONS.values(), ids=DECISIONS)
def test_a_decision_says_why(asked: Question, code: Code, sentence: str) -> None:
    decision = decide(asked)
    assert (decision.code, decision.message) == (code, sentence)


def test_a_released_call_says_by_whose_word_it_passes() -> None:
    held = decide(question(cluster(review=Review(always=True))))
    released = after_release(held, hold_id="h-1")
    assert (released.verdict, released.code, released.message, released.hold_id) == (
        Verdict.ALLOW,
        Code.ALLOWED,
        "released by a reviewer",
        "h-1",
    )
