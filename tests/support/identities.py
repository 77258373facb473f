"""People, agents, clusters, bundles, keys, manifests and signed requests for tests, with sensible defaults.

Keys are derived from their names, so that a failing test fails the same way again. Times hang on `NOW`, or on the
`now` a test that talks to a real proxy passes.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_network

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from proxy.core.bodies.rules import ANY_BODY, BodyRule
from proxy.core.clusters import cluster_digest
from proxy.core.credential import Credential
from proxy.core.encoding import Json, b64u, parse_json, unb64u
from proxy.core.errors import Code
from proxy.core.keys import ED25519, PrivateKey, private_key, sign
from proxy.core.manifest import MANIFEST_TYP, Draft, issue_child, issue_root, parse_manifest
from proxy.core.model import (
    Agent,
    AgentClass,
    Bundle,
    Cluster,
    Constraints,
    Grant,
    Hold,
    HoldState,
    HostPattern,
    Leg,
    Operation,
    Passkey,
    Person,
    Proof,
    PublicKey,
    QueryRule,
    Received,
    Review,
    ReviewDesk,
    Risk,
    RuleRef,
)
from proxy.core.proof import AGENT_INTENT, INTENT_MANIFEST, sign_request

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DEPLOYMENT = "edge-test"

SPONSOR, DEPUTY, REVIEWER = "ada", "ben", "cleo"
AGENT, HELPER = "invoice-bot", "lookup-bot"
CLUSTER = "supplier-invoices"
HOST = "erp.example"
TASK = "T-4711"


# --- keys ------------------------------------------------------------------------------------------------------------


@cache
def key(name: str, alg: str = ED25519) -> PrivateKey:
    """The key of that name; the same one every time."""
    seed = hashlib.sha256(f"{alg} {name}".encode()).digest()
    if alg == ED25519:
        return private_key(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    return private_key(ec.derive_private_key(int.from_bytes(seed) >> 8, ec.SECP256R1()))


def nonce(text: str = "") -> str:
    """A 128-bit nonce; equal texts give equal nonces."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"nonce {text}".encode()).digest()[:16]).rstrip(b"=").decode()


# --- people, agents, clusters ----------------------------------------------------------------------------------------


def person(
    id: str = SPONSOR,
    *,
    deputy: str | None = None,
    certified_until: datetime = NOW + timedelta(days=365),
    keys: Sequence[PublicKey] | None = None,
    passkeys: Sequence[Passkey] = (),
) -> Person:
    """A named human whose one key is `key(id)` unless told otherwise."""
    return Person(
        id=id,
        name=f"{id.title()} Example",
        role="controller",
        deputy=deputy,
        certified_until=certified_until,
        keys=(key(id).public,) if keys is None else tuple(keys),
        passkeys=tuple(passkeys),
    )


def agent(
    id: str = AGENT,
    *,
    sponsor: str = SPONSOR,
    agent_class: AgentClass = AgentClass.AUGMENTING,
    must_declare: bool | None = None,
    may_delegate_to: Iterable[str] = (),
    keys: Sequence[PublicKey] | None = None,
) -> Agent:
    """An inventory entry whose one key is `key(id)` unless told otherwise."""
    return Agent(
        id=id,
        owner="finance",
        sponsor=sponsor,
        agent_class=agent_class,
        must_declare=agent_class is AgentClass.EMBEDDED if must_declare is None else must_declare,
        may_delegate_to=frozenset(may_delegate_to),
        keys=(key(id).public,) if keys is None else tuple(keys),
    )


def operation(
    name: str = "read-invoice",
    *,
    methods: Iterable[str] = ("GET",),
    template: str = "/v1/invoices/{id}",
    any_query: bool = False,
    query: Iterable[QueryRule] = (),
    body: BodyRule = ANY_BODY,
    websocket: bool = False,
) -> Operation:
    return Operation(
        name=name,
        methods=frozenset(methods),
        template=template,
        any_query=any_query,
        query=tuple(query),
        at=RuleRef(id=f"{CLUSTER}.{name}", file="clusters.yaml", line=7),
        body=body,
        websocket=websocket,
    )


OPERATIONS = (
    operation(),
    operation("list-invoices", template="/v1/invoices", query=(QueryRule(name="page"),)),
    operation("post-invoice", methods=("POST",), template="/v1/invoices"),
)


def cluster(
    id: str = CLUSTER,
    *,
    hosts: Iterable[str] = (HOST,),
    ports: Iterable[int] = (443,),
    schemes: Iterable[str] = ("https",),
    addresses: Iterable[str] = (),
    operations: Sequence[Operation] = OPERATIONS,
    proof: Proof = Proof.SESSION,
    risk: Risk = Risk.ROUTINE,
    review: Review | None = None,
    credential: Credential | None = None,
) -> Cluster:
    """A cluster with its true digest. Hosts may be written `*.example.com`, addresses as CIDR."""
    draft = Cluster(
        id=id,
        description=f"The {id} of tests",
        hosts=tuple(HostPattern(name=name.removeprefix("*."), wildcard=name.startswith("*.")) for name in hosts),
        ports=frozenset(ports),
        schemes=frozenset(schemes),
        addresses=tuple(ip_network(network) for network in addresses),
        operations=tuple(operations),
        proof=proof,
        risk=risk,
        review=review or Review(),
        credential=credential,
        digest="",
        at=RuleRef(id=id, file="clusters.yaml", line=3),
    )
    return replace(draft, digest=cluster_digest(draft))


def bundle(
    *,
    people: Iterable[Person] | None = None,
    agents: Iterable[Agent] | None = None,
    clusters: Iterable[Cluster] | None = None,
    deployment: str = DEPLOYMENT,
    operators: Sequence[PublicKey] | None = None,
    desk: ReviewDesk | None = None,
    now: datetime = NOW,
) -> Bundle:
    """Ada sponsors both agents, Ben is her deputy, Cleo a reviewer; every cluster is pinned as it is."""
    until = now + timedelta(days=365)
    if people is None:
        people = (
            person(SPONSOR, deputy=DEPUTY, certified_until=until),
            person(DEPUTY, certified_until=until),
            person(REVIEWER, certified_until=until),
        )
    if agents is None:
        agents = (agent(may_delegate_to=[HELPER]), agent(HELPER))
    listed = tuple((cluster(),) if clusters is None else clusters)
    return Bundle(
        deployment=deployment,
        version=1,
        sha256=hashlib.sha256(repr(listed).encode()).hexdigest(),
        signed=True,
        people={item.id: item for item in people},
        agents={item.id: item for item in agents},
        clusters={item.id: item for item in listed},
        deny=(),
        pins={item.digest: item for item in listed},
        operators=(key("operator").public,) if operators is None else tuple(operators),
        desk=desk or ReviewDesk(),
    )


# --- manifests -------------------------------------------------------------------------------------------------------


def grant(
    of: Cluster | None = None,
    *,
    actions: Iterable[str] | None = None,
    locations: Iterable[str] | None = None,
    constraints: Constraints | None = None,
) -> Grant:
    """Everything of a cluster, unless told otherwise."""
    of = of or cluster()
    if actions is None:
        actions = [item.name for item in of.operations]
    if locations is None:
        locations = [_location(s, str(h), p) for s in of.schemes for h in of.hosts for p in of.ports]
    return Grant(
        cluster=of.id,
        digest=of.digest,
        actions=frozenset(actions),
        locations=frozenset(locations),
        constraints=constraints or Constraints(),
    )


def _location(scheme: str, host: str, port: int) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port == {"http": 80, "https": 443}[scheme] else f"{scheme}://{host}:{port}"


def draft(
    *,
    sub: str = AGENT,
    sponsor: str = SPONSOR,
    purpose: str = "Match supplier invoices with purchase orders.",
    cnf: PublicKey | None = None,
    grants: Iterable[Grant] | None = None,
    deployment: str = DEPLOYMENT,
    jti: str = "m-1",
    now: datetime = NOW,
    iat: datetime | None = None,
    nbf: datetime | None = None,
    exp: datetime | None = None,
    del_max_depth: int = 3,
    may_delegate_to: Iterable[str] = (HELPER,),
    certificate: str | None = None,
) -> Draft:
    """A root manifest for `sub`, bound to `key(sub)`, signed yesterday and good for thirty days."""
    issued = iat or now - timedelta(days=1)
    return Draft(
        sub=sub,
        aud=deployment,
        jti=jti,
        sponsor_id=sponsor,
        sponsor_name=f"{sponsor.title()} Example",
        purpose=purpose,
        cnf=cnf or key(sub).public,
        grants=(grant(),) if grants is None else tuple(grants),
        iat=issued,
        nbf=nbf or issued,
        exp=exp or issued + timedelta(days=30),
        del_max_depth=del_max_depth,
        may_delegate_to=frozenset(may_delegate_to),
        certificate=certificate,
    )


def root(of: Draft | None = None, *, signer: PrivateKey | None = None) -> str:
    """A signed root manifest; by default the sponsor's own key signs."""
    of = of or draft()
    return issue_root(of, key=signer or key(of.sponsor_id))


def leaf_key(name: str = "leaf") -> PrivateKey:
    """The short-lived key an agent signs its requests with."""
    return key(name)


def child(
    parent: str,
    *,
    signer: PrivateKey | None = None,
    cnf: PublicKey | None = None,
    jti: str = "m-1.1",
    now: datetime = NOW,
    lifetime_s: int = 3600,
    grants: tuple[Grant, ...] | None = None,
    sub: str | None = None,
    may_delegate_to: frozenset[str] | None = None,
) -> str:
    """A child of a root made here: signed by the agent's key, bound to `leaf_key()`."""
    above = parse_manifest(parent)
    return issue_child(
        above,
        key=signer or key(above.sub),
        cnf=cnf or leaf_key().public,
        jti=jti,
        now=now,
        lifetime_s=lifetime_s,
        grants=grants,
        sub=sub,
        may_delegate_to=may_delegate_to,
    )


def chain(of: Draft | None = None, *, now: datetime = NOW) -> tuple[str, str]:
    """Root and leaf, the leaf good for an hour from `now`."""
    top = root(of or draft(now=now))
    return top, child(top, now=now)


def claims_of(token: str) -> dict[str, Json]:
    """The claims of a compact JWS, unverified, to be changed and sealed again."""
    claims = parse_json(
        unb64u(token.split(".")[1], code=Code.MANIFEST_MALFORMED, field="payload"),
        code=Code.MANIFEST_MALFORMED,
        what="claims",
    )
    assert isinstance(claims, dict)
    return claims


def resealed(token: str, signer: PrivateKey, *, typ: str = MANIFEST_TYP, drop: str = "", **changed: Json) -> str:
    """The same statement with some claims changed and one dropped, signed again: well-signed but wrong."""
    claims = {**claims_of(token), **changed}
    claims.pop(drop, None)
    header = json.dumps({"alg": signer.public.alg, "kid": signer.public.kid, "typ": typ}).encode()
    signing_input = f"{b64u(header)}.{b64u(json.dumps(claims).encode())}"
    return f"{signing_input}.{b64u(sign(signer, signing_input.encode()))}"


# --- requests --------------------------------------------------------------------------------------------------------


def intent_header(cluster: str = CLUSTER, task: str = TASK, step: int = 3) -> str:
    return f'cluster="{cluster}", task="{task}", step={step}'


def intent_headers(tokens: Sequence[str] | None = None, *, intent: str | None = None) -> list[tuple[str, str]]:
    """`Agent-Intent` and `Intent-Manifest`; `intent=""` leaves the declaration out."""
    declared = intent_header() if intent is None else intent
    lines = [(AGENT_INTENT, declared)] if declared else []
    return [*lines, (INTENT_MANIFEST, ", ".join(chain() if tokens is None else tokens))]


def signed_headers(
    method: str = "GET",
    target_uri: str = f"https://{HOST}/v1/invoices/17",
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    tokens: Sequence[str] | None = None,
    intent: str | None = None,
    signer: PrivateKey | None = None,
    created: datetime = NOW,
    nonce_text: str = "",
    lifetime_s: int = 60,
) -> list[tuple[str, str]]:
    """All the headers of a signed request but Host: the caller's, Content-Length for a body, ours, the signature.

    For CONNECT pass `host:port` as the target.
    """
    length = [("content-length", str(len(body)))] if body else []
    lines = [*headers, *length, *intent_headers(tokens, intent=intent)]
    added = sign_request(
        method=method,
        target_uri=target_uri,
        headers=lines,
        body=body,
        key=signer or leaf_key(),
        created=created,
        nonce=nonce(nonce_text),
        lifetime_s=lifetime_s,
    )
    return [*lines, *added]


def received(
    method: str = "GET",
    target_uri: str = f"https://{HOST}/v1/invoices/17",
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
) -> Received:
    """A request as a proxy reads it: origin form with a Host line before `headers`, or the authority form of CONNECT.

    Give the headers whole, as `signed_headers` makes them.
    """
    if method == "CONNECT":
        host, scheme, form, authority, target = target_uri, "http", "authority", target_uri.encode(), b""
    else:
        scheme, _, rest = target_uri.partition("://")
        host, slash, path = rest.partition("/")
        form, authority, target = "origin", b"", (slash + path).encode()
    return Received(
        method=method.encode(),
        scheme=scheme,
        form=form,
        authority=authority,
        target=target,
        headers=tuple((name.encode(), value.encode()) for name, value in [("host", host), *headers]),
        body=body,
    )


def signed_request(
    method: str = "GET",
    target_uri: str = f"https://{HOST}/v1/invoices/17",
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    tokens: Sequence[str] | None = None,
    intent: str | None = None,
    signer: PrivateKey | None = None,
    created: datetime = NOW,
    nonce_text: str = "",
    lifetime_s: int = 60,
) -> Received:
    """`received` with `signed_headers`."""
    signed = signed_headers(
        method,
        target_uri,
        headers=headers,
        body=body,
        tokens=tokens,
        intent=intent,
        signer=signer,
        created=created,
        nonce_text=nonce_text,
        lifetime_s=lifetime_s,
    )
    return received(method, target_uri, headers=signed, body=body)


def leg(*, source: str = "192.0.2.10", tls: bool = False, local: bool = False) -> Leg:
    return Leg(id="leg-1", source=source, tls=tls, local=local)


# --- holds -----------------------------------------------------------------------------------------------------------


def hold(
    id: str = "h-1",
    *,
    state: HoldState = HoldState.HELD,
    call_digest: str = "Zm9ydHktdGhyZWUtY2hhcmFjdGVycy1vZi1kaWdlc3Q",
    root_id: str = "cm9vdC1tYW5pZmVzdC1pZC1vZi00My1jaGFyYWN0ZXI",
    agent: str = AGENT,
    sponsor: str = SPONSOR,
    who: Sequence[str] = ("sponsor", "deputy"),
    risk: Risk = Risk.ROUTINE,
    proof: Proof = Proof.REQUEST,
    filed_at: datetime = NOW,
    ttl_s: int = 14_400,
    statement: str | None = None,
) -> Hold:
    """A held call outside the mandate, as a store gives it."""
    return Hold(
        id=id,
        state=state,
        version=1,
        fence=0,
        call_digest=call_digest,
        root_id=root_id,
        agent=agent,
        sponsor=sponsor,
        cluster=CLUSTER,
        task=TASK,
        code=Code.NOT_COVERED,
        risk=risk,
        proof=proof,
        who=tuple(who),
        filed_at=filed_at,
        expires_at=filed_at + timedelta(seconds=ttl_s),
        statement=statement,
    )


# --- all of it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A bundle and one agent's chain under it, with the keys to sign with."""

    now: datetime
    bundle: Bundle
    tokens: tuple[str, ...]
    sponsor_key: PrivateKey
    agent_key: PrivateKey
    leaf_key: PrivateKey
    clusters: Mapping[str, Cluster]


def world(*clusters: Cluster, now: datetime = NOW) -> World:
    """Everything a call needs: people, agents and clusters, and a chain that grants all of these clusters."""
    listed = clusters or (cluster(),)
    return World(
        now=now,
        bundle=bundle(clusters=listed, now=now),
        tokens=chain(draft(now=now, grants=[grant(item) for item in listed]), now=now),
        sponsor_key=key(SPONSOR),
        agent_key=key(AGENT),
        leaf_key=leaf_key(),
        clusters={item.id: item for item in listed},
    )


def basic(user: str, password: str) -> str:
    """The value of a Basic `Proxy-Authorization` (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
