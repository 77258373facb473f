"""The stable codes, and the two families of errors every part of the product raises.

`Rejected`: what we were given is bad. `Unavailable`: we could not tell. A policy outcome is neither: it is a
`Decision`, a value.
"""

from enum import StrEnum


class Code(StrEnum):
    """Stable names shared by the answer to the agent, the journal and the metrics. Never renamed, never reused."""

    ALLOWED = "allowed"

    # 1. who and under what authority
    KILL_SWITCH = "stop.kill_switch"
    QUARANTINED = "agent.quarantined"
    AGENT_UNKNOWN = "agent.unknown"
    PROOF_MISSING = "proof.missing"
    PROOF_MALFORMED = "proof.malformed"
    PROOF_COMPONENTS = "proof.components"
    PROOF_SIGNATURE = "proof.signature"
    PROOF_WINDOW = "proof.window"
    PROOF_REPLAYED = "proof.replayed"
    PROOF_KEY = "proof.key"
    PROOF_DIGEST = "proof.digest"
    PROOF_WEAK = "proof.too_weak"
    PROOF_CHANNEL = "proof.channel"
    PROOF_SESSION = "proof.session"
    PROOF_TUNNEL = "proof.tunnel"
    PROOF_CERTIFICATE = "proof.certificate"
    PROOF_SOURCE = "proof.source"
    MANIFEST_MALFORMED = "manifest.malformed"
    MANIFEST_SIGNATURE = "manifest.signature"
    MANIFEST_WINDOW = "manifest.window"
    MANIFEST_LIFETIME = "manifest.lifetime"
    MANIFEST_AUDIENCE = "manifest.audience"
    MANIFEST_SUBJECT = "manifest.subject"
    MANIFEST_REVOKED = "manifest.revoked"
    MANIFEST_UNKNOWN = "manifest.unknown"
    DELEGATION_PARENT = "delegation.parent"
    DELEGATION_DEPTH = "delegation.depth"
    DELEGATION_WIDENED = "delegation.widened"
    SPONSOR_UNKNOWN = "sponsor.unknown"
    SPONSOR_LAPSED = "sponsor.lapsed"
    INTENT_MALFORMED = "intent.malformed"
    INTENT_REQUIRED = "intent.required"
    INTENT_NOT_GRANTED = "intent.not_granted"
    INTENT_CONFLICT = "intent.conflict"

    # 2. what is asked
    URL_AMBIGUOUS = "url.ambiguous"
    REQUEST_MALFORMED = "request.malformed"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_TIMEOUT = "request.timeout"
    REQUEST_UNSUPPORTED = "request.unsupported"
    TRANSPARENT_DIRECT = "transparent.direct"
    TRANSPARENT_UNMAPPED = "transparent.unmapped"
    TRANSPARENT_LITERAL = "transparent.literal"
    TRANSPARENT_SNI = "transparent.sni"
    TRANSPARENT_PROTOCOL = "transparent.protocol"
    BODY_MALFORMED = "body.malformed"
    BODY_NOT_INSPECTED = "body.not_inspected"
    BODY_BUDGET = "body.budget"

    # 3. guardrails
    GUARD_ADDRESS = "guard.address"
    GUARD_SELF = "guard.self"

    # 4. to 7. policy
    POLICY_DENIED = "policy.denied"
    HOLD_CAP = "hold.cap_reached"
    NOT_COVERED = "mandate.not_covered"
    CLUSTER_CHANGED = "cluster.changed_since_approval"
    CLUSTER_REVIEW = "cluster.review_required"
    CREDENTIAL_UNCLEAR = "credential.unclear"

    # holds
    HOLD_PENDING = "hold.pending"
    HOLD_DENIED = "hold.denied"
    HOLD_EXPIRED = "hold.expired"
    HOLD_CANCELLED = "hold.cancelled"
    HOLD_RELEASING = "hold.releasing"
    HOLD_UNCERTAIN = "hold.uncertain"
    HOLD_SPENT = "hold.spent"
    HOLD_UNKNOWN = "hold.unknown"
    HOLD_TAMPERED = "hold.tampered"
    HOLD_NOT_PERMITTED = "hold.not_permitted"
    HOLD_NOT_STORED = "hold.not_stored"
    RELEASE_INVALID = "release.invalid"

    # the world behind us
    UPSTREAM_NAME = "upstream.name"
    UPSTREAM_CONNECT = "upstream.connect"
    UPSTREAM_TLS = "upstream.tls"
    UPSTREAM_BROKEN = "upstream.broken"
    CLIENT_GONE = "client.gone"

    # we cannot tell
    UNDECIDED = "service.undecided"
    STORE_DOWN = "service.store"
    JOURNAL_DOWN = "service.journal"
    VIEW_STALE = "service.stale"
    CLOCK_WRONG = "service.clock"
    REPLAY_EPOCH = "service.replay_epoch"
    DRAINING = "service.draining"
    BUSY = "service.busy"
    SPOOL = "service.spool"
    RESOLVER_DOWN = "service.resolver"
    CREDENTIAL_DOWN = "service.credential"

    # what people write
    CONFIG_INVALID = "config.invalid"
    BUNDLE_INVALID = "bundle.invalid"
    STATEMENT_INVALID = "statement.invalid"

    # what the journal's readers find
    JOURNAL_INVALID = "journal.invalid"


class Rejected(Exception):
    """What we were given is bad: a parser or verifier raises this and nothing else.

    `detail` says what was expected, what came and, where it helps, how to mend it; it never holds a secret or a
    body. `field` names the member, header or component at fault.
    """

    def __init__(self, code: Code, detail: str, *, field: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field

    def __repr__(self) -> str:
        return f"Rejected({self.code.value}, {self.field or '-'}: {self.detail})"


class Unavailable(Exception):
    """We could not tell: a store, the journal, the clock or a name did not answer in time. Always a refusal."""

    def __init__(self, code: Code, detail: str, *, retry_after_s: int = 2) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __repr__(self) -> str:
        return f"Unavailable({self.code.value}: {self.detail})"
