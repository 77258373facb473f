"""The nouns: plain frozen data passed between the rooms of the house. No behaviour beyond naming and formatting."""

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from proxy.core.bodies.rules import ANY_BODY, BodyRule
from proxy.core.credential import Credential
from proxy.core.errors import Code

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Verdict(enum.Enum):
    """What becomes of a call. Compared with `is`, never by truth."""

    ALLOW = "allow"
    HOLD = "hold"
    DENY = "deny"

    def __bool__(self) -> bool:
        raise TypeError("a verdict is not true or false: compare it with `is Verdict.ALLOW`")


class Proof(enum.IntEnum):
    """How strongly a call proved its mandate; a larger number is stronger (DESIGN: proof level)."""

    SOURCE = 1
    SESSION = 2
    MTLS = 3
    TUNNEL = 4
    REQUEST = 5

    @property
    def label(self) -> str:
        return self.name.lower()


class AgentClass(enum.StrEnum):
    """`augmenting` helps a person at work; `embedded` runs inside a workflow and must declare its intent."""

    AUGMENTING = "augmenting"
    EMBEDDED = "embedded"


class Risk(enum.StrEnum):
    """`transformative` operations change the world: they need `request` proof and the reviewer's own key."""

    ROUTINE = "routine"
    TRANSFORMATIVE = "transformative"


# --- keys, people, agents --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An enrolled public key. `alg` belongs to the key, never to a message (RFC 9864)."""

    kid: str  # RFC 7638 thumbprint, base64url SHA-256
    alg: str  # "Ed25519" or "ES256"
    raw: bytes  # Ed25519: 32 bytes; ES256: 65 bytes, uncompressed point


class Means(enum.StrEnum):
    """With what a person's word was signed."""

    KEY = "key"  # an enrolled key of their own
    PASSKEY = "passkey"  # the review desk's key, around an assertion by an enrolled passkey of theirs
    DESK = "desk"  # the review desk's key alone: it says who was at the desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A person's enrolled WebAuthn credential."""

    id: bytes  # as the authenticator names it
    key: PublicKey
    rp_id: str  # the domain it was made for
    name: str = ""  # what its owner calls it


class Claim(enum.StrEnum):
    """By what an OpenID Connect provider names a person."""

    SUB = "sub"  # for good
    EMAIL = "email"  # an address that it has verified


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcIdentity:
    """What one provider calls a person."""

    issuer: str
    claim: Claim
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDesk:
    """What operators signed of the review desk. Without keys, no word counts that only a desk signed."""

    keys: tuple[PublicKey, ...] = ()
    origins: tuple[str, ...] = ()  # where its pages are: passkeys count from nowhere else


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRef:
    """Where a rule was written, for reviewers, `explain` and the journal; never in an agent's answer."""

    id: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A named human who may sponsor, deputise or review."""

    id: str
    name: str
    role: str
    deputy: str | None
    certified_until: datetime
    keys: tuple[PublicKey, ...]
    passkeys: tuple[Passkey, ...] = ()
    oidc: tuple[OidcIdentity, ...] = ()  # who may sign in as this person at the desk


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """By what else than its keys an agent is known."""

    spiffe: frozenset[str] = frozenset()  # SPIFFE ids its client certificates bear
    source: frozenset[str] = frozenset()  # "eth1 10.89.0.7": whence it comes in transparent mode (`core.places`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An inventory entry: a piece of software with an identity, an owner and a sponsor."""

    id: str
    owner: str
    sponsor: str  # a Person.id
    agent_class: AgentClass
    must_declare: bool  # default: True for embedded agents
    may_delegate_to: frozenset[str]  # Agent.ids a mandate of this agent may name in a child
    keys: tuple[PublicKey, ...]  # keys whose possession was proven when the agent was added
    bindings: Bindings = Bindings()


# --- clusters --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPattern:
    """An exact name or IP literal, or (`wildcard`) any number of labels above `name`: `*.example.com`."""

    name: str  # canonical A-label form, lower case, no leading "*."
    wildcard: bool = False

    def __str__(self) -> str:
        return f"*.{self.name}" if self.wildcard else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRule:
    """What one query parameter may be. `values` None means any value."""

    name: str
    values: frozenset[str] | None = None
    required: bool = False
    encoded: bool = False  # values may hold percent-encoded text themselves: a URL within a URL
    repeated: bool = False  # it may come more than once, each time with a permitted value


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One named thing a cluster permits: methods on a path template, with constraints on the query and the body."""

    name: str
    methods: frozenset[str]
    template: str  # "/v1/invoices/{id}"; the last part may be "{name:rest}"
    any_query: bool  # True: `query: any`. False: only what `query` lists, nothing when it is empty
    query: tuple[QueryRule, ...]
    at: RuleRef
    body: BodyRule = ANY_BODY
    websocket: bool = False  # True: it permits opening a WebSocket, and nothing else


class Effect(enum.StrEnum):
    """How a released call is sent. An agent whose connection still waits gets the real response there, whatever this
    says (`resume`)."""

    RETRY = "retry"  # the agent sends it again, or redeems it
    DELIVER = "deliver"  # a node sends the stored call by itself, and keeps the response for the agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Who may decide a held call of this cluster, and how long it may take."""

    always: bool = False  # every call of the cluster is held, also when covered
    who: tuple[str, ...] = ("sponsor", "deputy")  # these words, or Person.ids
    ttl_s: int = 14_400
    wait_s: int = 0  # default wait on the connection when the agent does not send Prefer: wait
    quorum: int = 1  # how many distinct people must release it; one denial ends it
    effect: Effect = Effect.RETRY
    idempotency_key: bool = False  # a delivered call without an Idempotency-Key gets its hold's id as one


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A task cluster: destinations, and the operations permitted there."""

    id: str
    description: str
    hosts: tuple[HostPattern, ...]
    ports: frozenset[int]
    schemes: frozenset[str]
    addresses: tuple[IPNetwork, ...]  # when given, the destination must resolve inside these
    operations: tuple[Operation, ...]
    proof: Proof  # least proof
    risk: Risk
    review: Review
    digest: str  # base64url SHA-256 of the RFC 8785 form of the normalised cluster
    at: RuleRef
    http2: bool = False  # offer HTTP/2 to agents that come here; a matter of transport, so not in the digest
    credential: Credential | None = None  # set on calls as they leave, in place of whatever the agent sent there


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyRule:
    """An explicit denial; needs no mandate. Empty `operations` means every operation on those hosts."""

    id: str
    description: str
    hosts: tuple[HostPattern, ...]
    ports: frozenset[int]
    schemes: frozenset[str]
    operations: tuple[Operation, ...]
    at: RuleRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything people wrote and an operator signed: immutable, hashed, versioned."""

    deployment: str  # the audience of every manifest
    version: int
    sha256: str  # hex, over the signed payload
    signed: bool  # False only with --dev
    people: Mapping[str, Person]
    agents: Mapping[str, Agent]
    clusters: Mapping[str, Cluster]
    deny: tuple[DenyRule, ...]
    pins: Mapping[str, Cluster]  # digest -> the cluster as a sponsor once saw it
    operators: tuple[PublicKey, ...]  # keys pinned in proxy.yaml
    desk: ReviewDesk = ReviewDesk()


# --- manifest and mandate --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Narrowings of a grant. Each is a set of permitted values; an absent key does not narrow (RFC 9396 §2)."""

    methods: frozenset[str] | None = None
    params: Mapping[str, frozenset[str]] = field(default_factory=dict)  # path template parameter -> values
    query: Mapping[str, frozenset[str]] = field(default_factory=dict)  # query parameter -> values
    body: Mapping[str, frozenset[str]] = field(default_factory=dict)  # JSON pointer -> RFC 8785 texts of scalars;
    # or, where it does not begin with "/", a form's field


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One `authorization_details` entry: a cluster by name and digest, and what of it is granted."""

    cluster: str
    digest: str
    actions: frozenset[str]  # Operation.names; empty covers nothing
    locations: frozenset[str]  # "https://erp.example" or "https://*.example.com:8443"; empty covers nothing
    constraints: Constraints


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A parsed intent manifest. Nothing in it is true until `verify` made a `Mandate` of its chain."""

    token: str  # the compact JWS exactly as received
    id: str  # base64url SHA-256 of the JWS signing input
    alg: str
    kid: str
    signing_input: bytes
    signature: bytes
    iss: str  # root: Person.id of the sponsor; child: thumbprint of the parent's cnf key
    sub: str
    aud: str
    jti: str
    iat: datetime
    nbf: datetime
    exp: datetime
    cnf: PublicKey
    purpose: str
    sponsor_id: str
    sponsor_name: str
    del_depth: int
    del_max_depth: int
    may_delegate_to: frozenset[str]
    par_hash: str | None  # base64url SHA-256 of the parent's signing input
    grants: tuple[Grant, ...]
    certificate: str | None = None  # cnf["x5t#S256"]: the client certificate it is bound to besides its key
    passkey: bytes | None = None  # root: id of the credential whose assertion is in it; the desk's key signed it then


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """The verified authority. Only `proxy.core.verify` makes one."""

    root_id: str
    chain: tuple[Manifest, ...]  # root first
    agent: Agent  # the leaf's subject
    sponsor: Person
    answerable: Person  # the sponsor, or the deputy during the grace period
    not_after: datetime  # earliest expiry in the chain

    @property
    def root(self) -> Manifest:
        return self.chain[0]

    @property
    def leaf(self) -> Manifest:
        return self.chain[-1]

    @property
    def sub_path(self) -> str:
        """Every subject from root to leaf, joined by "/" (repeats kept)."""
        return "/".join(link.sub for link in self.chain)

    @property
    def purpose(self) -> str:
        """The sponsor's words; those of a child are whoever's who delegated."""
        return self.root.purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What `Agent-Intent` declares. All absent when the header is absent."""

    cluster: str | None = None
    task: str | None = None
    step: int | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The proof a call came with. `nonce` is spent once in the deployment; sessions inherit and have none."""

    proof: Proof
    keyid: str
    created: datetime
    nonce: str | None


# --- calls -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The client's connection as the proxy sees it; never what a header claims."""

    id: str
    source: str  # address (or "unix") the connection came from
    tls: bool  # TLS between client and proxy itself, outside any tunnel
    local: bool  # loopback or unix socket
    tunnel: tuple[str, int] | None = None  # the CONNECT target this request is inside of, as canonical host and port
    inner_tls: bool = False  # TLS inside the tunnel, terminated by us
    sni: str | None = None
    certificates: tuple[bytes, ...] = ()  # DER: what the client showed in TLS to the proxy itself, its own first
    transparent: bool = False  # the network redirected it here: `tunnel` is whither


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request head exactly as read from the wire. `body` is None until it has been read whole."""

    method: bytes
    scheme: str  # effective: "http" or "https"
    form: str  # "origin", "absolute" or "authority" (CONNECT)
    authority: bytes  # from the absolute form, CONNECT or HTTP/2's `:authority`; else empty
    target: bytes  # raw path and query ("" for CONNECT)
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None = None
    http2: bool = False  # RFC 9113: form is "origin", `Host` may be absent
    _lines: dict[str, list[bytes]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[bytes]] = {}
        for name, value in self.headers:
            found.setdefault(name.decode("latin-1").lower(), []).append(value.strip(b" \t"))
        object.__setattr__(self, "_lines", found)

    @property
    def lines(self) -> Mapping[str, Sequence[bytes]]:
        """The header lines by name in lower case, without the white space around them. Nothing is checked or joined."""
        return self._lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A body that is not in memory: over the inspection cap, so that only its size and digest are known, or streamed
    as it comes because a rule leaves it unexamined (then neither is known when the call is judged)."""

    size: int | None
    sha256: bytes | None


def authority_of(scheme: str, host: str, port: int) -> str:
    """Host and port as they stand in a URL: default port omitted, IPv6 in brackets."""
    name = f"[{host}]" if ":" in host else host
    return name if port == {"http": 80, "https": 443}[scheme] else f"{name}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One canonical outbound request: what is judged is what is forwarded."""

    method: str
    scheme: str
    host: str  # canonical: lower-case A-labels, or an IP literal without brackets
    port: int
    path: str  # canonical, starts with "/"
    segments: tuple[str, ...]  # path parts after the first "/", still percent-encoded where they must be
    query: str  # canonical, without "?"; "" for none
    has_query: bool  # "?" was there, even if empty
    parameters: tuple[tuple[str, str], ...]  # decoded query, in order
    headers: tuple[tuple[str, str], ...]  # what will be forwarded, in order, hop-by-hop and our own removed
    body: bytes | Unread
    websocket: bool = False  # it asks to open a WebSocket (RFC 6455 §4.1)

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL: default port omitted, IPv6 in brackets."""
        return authority_of(self.scheme, self.host, self.port)

    @property
    def origin(self) -> str:
        """Scheme, host and port: where it goes."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The whole canonical URL."""
        return f"{self.origin}{self.target}"

    @property
    def target(self) -> str:
        """Path and query, as they stand in a request line in origin form (RFC 9112 §3.2.1)."""
        return f"{self.path}?{self.query}" if self.has_query else self.path

    @property
    def body_bytes(self) -> int | None:
        """The size of the body; None where it is not known before its end."""
        return self.body.size if isinstance(self.body, Unread) else len(self.body)

    @property
    def body_sha256(self) -> bytes | None:
        """The SHA-256 of the body; None where it is not known before its end."""
        return self.body.sha256 if isinstance(self.body, Unread) else hashlib.sha256(self.body).digest()


# --- decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One condition that did not hold. Strings are canonical and safe to show to a reviewer."""

    field: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """A granted operation that almost covered the call."""

    cluster: str
    operation: str
    rule: RuleRef
    failed: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome of judging one call."""

    decision_id: str
    verdict: Verdict
    code: Code
    message: str  # one sentence; safe for the agent
    at: datetime
    agent: str | None = None
    sponsor: str | None = None
    purpose: str | None = None
    manifest: str | None = None  # root id
    cluster: str | None = None  # the covering cluster, or the declared one when nothing covers
    operation: str | None = None
    intent: Intent = Intent()
    rule: RuleRef | None = None
    failed: tuple[Mismatch, ...] = ()
    nearest: tuple[Nearest, ...] = ()
    proof: Proof | None = None
    review: Review = Review()
    risk: Risk = Risk.ROUTINE
    addresses: tuple[IPNetwork, ...] = ()  # where the destination may resolve; empty: public addresses only
    bundle_sha256: str = ""
    latency_us: int = 0
    retry_after_s: int | None = None
    hold_id: str | None = None
    unexamined: bool = False  # an allow under which the body may stream through as it comes
    credential: Credential | None = None  # what is set on the call as it leaves, if it does

    def __bool__(self) -> bool:
        raise TypeError("a decision is not true or false: compare decision.verdict with `is Verdict.ALLOW`")


# --- holds -----------------------------------------------------------------------------------------------------------


class HoldState(enum.StrEnum):
    """The life of a held call. `released`, `uncertain`… see `core.holds` for the transitions."""

    HELD = "held"
    APPROVED = "approved"
    RELEASING = "releasing"
    RELEASED = "released"
    UNCERTAIN = "uncertain"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """What is kept, encrypted, for a reviewer to read and for redeem to send: the call and why it was held."""

    call: Call
    decision: Decision
    proof: Proof
    call_digest: str
    sub_path: str = ""  # Mandate.sub_path: with it whoever decides computes the digest again
    chain_kids: tuple[str, ...] = ()  # thumbprints of every cnf key in the chain: none of them may decide
    chain: tuple[str, ...] = ()  # the manifests it came with, root first: under them a node delivers it
    node: str = ""  # the node it was filed at

    @property
    def agents(self) -> tuple[str, ...]:
        """Every agent of the line it was asked by."""
        return tuple(self.sub_path.split("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A signed statement about a hold that decided nothing by itself, and the hold's version since it was made."""

    version: int
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One held call as the store knows it. The readable call is apart, encrypted."""

    id: str
    state: HoldState
    version: int  # +1 at every transition
    fence: int  # +1 at every claim; a settle must bear the claim's fence
    call_digest: str
    root_id: str
    agent: str
    sponsor: str
    cluster: str
    task: str
    code: Code
    risk: Risk
    proof: Proof
    who: tuple[str, ...]  # Review.who at filing
    filed_at: datetime
    expires_at: datetime
    quorum: int = 1  # Review.quorum at filing
    statement: str | None = None  # the release or denial JWS that decided it
    first_end: datetime | None = None  # when it would have expired, had nobody extended it
    said: tuple[Said, ...] = ()  # earlier releases of a quorum, and notes (`core.notes`), oldest first
    decided_by: str | None = None
    decided_with: Means | None = None  # never from the store: from a statement that was verified
    decided_at: datetime | None = None
    reason: str | None = None
    body_bytes: int = 0
    stored: bool = True  # False: the body was too large to be kept, only its size and digest are known
    node: str = ""  # the node it was filed at
    waits_at: str = ""  # the worker where its agent waits, or which delivers it: for a moment it claims alone
    delivers: bool = False  # once released, a node sends it by itself
    claimed_by: str = ""  # the worker that sends it, or sent it, and by which of its claims: "WORKER/NUMBER"

    @property
    def stored_bytes(self) -> int:
        """How much room its body takes in the store."""
        return self.body_bytes if self.stored else 0
