"""What lies outside the pure core, as small Protocols. Each has an in-memory form held to the same contract suite.

Every method raises only `Rejected` (the input is bad) or `Unavailable` (we could not tell), and answers within the
store's deadline. Absence is a value (`None`), never an error.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from proxy.core.control import ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Unavailable
from proxy.core.holds import Event
from proxy.core.model import Evidence, Hold, HoldState, IPAddress


class Replays(Protocol):
    """The nonce store of the whole deployment."""

    async def spend(self, evidence: Evidence) -> None:
        """Use a proof's nonce up, once in the deployment.

        Raises:
            Rejected(PROOF_REPLAYED): it was spent before.
            Unavailable(REPLAY_EPOCH): the proof is older than the store's birth + 5 s.
            Unavailable(CLOCK_WRONG): our clock and the store's differ by more than 2 s.
            Unavailable(STORE_DOWN): no answer in time.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldCaps:
    """How much may be held at once. Counted per root mandate and per sponsor."""

    open_per_root: int
    open_per_sponsor: int
    per_hour_per_root: int
    bytes_per_root: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRoom:
    """How many bytes of bodies one worker keeps at once, in memory and on disk, in all and for one root mandate."""

    memory: int
    memory_per_root: int
    spool: int
    spool_per_root: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """The outcome of filing: `created` is False when an equal call already had a hold that still counts."""

    hold: Hold
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The outcome of a transition: `applied` is False when the state no longer permitted it; `hold` is as it is now."""

    hold: Hold
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one look over the holds found."""

    ended: tuple[Hold, ...]  # expired, or uncertain now
    deliver: tuple[str, ...] = ()  # ids of released holds to be sent by this worker itself


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldNews:
    """One line of the holds' event stream."""

    cursor: str
    hold_id: str
    state: HoldState
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """The first bytes of an open hold's sealed call: enough to tell its key, and to wrap its data key anew."""

    hold_id: str
    head: bytes


class Holds(Protocol):
    """The queue of held calls. Every transition is atomic and follows `proxy.core.holds`."""

    async def file(self, draft: Hold, sealed: bytes, *, ttl_s: int, caps: HoldCaps) -> Filed:
        """Store a new hold, or return the one an equal call (root, digest) already has.

        A hold that is open, or denied and still sticky, counts as existing; a released, expired or cancelled one does
        not. `filed_at`, `expires_at`, `version`, `state` of the draft are set by the store's clock.

        Raises:
            Rejected(HOLD_CAP): a cap is reached; nothing was stored.
        """

    async def get(self, hold_id: str) -> Hold | None: ...

    async def find(self, root_id: str, call_digest: str) -> Hold | None:
        """The hold that counts for an equal call, as `file` would return it."""

    async def sealed(self, hold_id: str) -> bytes | None:
        """The encrypted call, or None once a terminal state deleted it."""

    async def apply(
        self,
        hold_id: str,
        event: Event,
        *,
        fence: int | None = None,
        statement: str | None = None,
        by: str | None = None,
        reason: str | None = None,
        sticky_until: datetime | None = None,
        said: str | None = None,
        expires_at: datetime | None = None,
        version: int | None = None,
        worker: str = "",
    ) -> Moved:
        """Take one step of the state machine, or say why not by returning the hold as it is.

        `fence` is required for SENT, UNSENT and LOST and must be the claim's. `sticky_until` is for DENY. `said` is
        added to what was said before; `expires_at` is for SAY and moves the deadline. With `version` the step is
        taken only if the hold is still at that version: what whoever asks has looked at. `worker` is who claims, or
        claimed, and by which claim ("WORKER/NUMBER"): SENT, UNSENT and LOST must bear the claim's. For a moment after
        a release the worker in `Hold.waits_at` alone may claim, while it lives; another's claim is then not applied,
        and the hold still approved.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
        """

    async def listing(
        self,
        *,
        states: frozenset[HoldState] | None = None,
        agent: str | None = None,
        sponsor: str | None = None,
        root_id: str | None = None,
        limit: int = 200,
    ) -> tuple[Hold, ...]:
        """Holds, newest first. `states` None means the open ones (held, approved, releasing, uncertain)."""

    async def wait_at(self, hold_id: str, worker: str) -> None:
        """Note that the agent of a held call waits at this worker ("": nowhere any more). Nothing else changes."""

    async def keep_response(self, hold_id: str, sealed: bytes, *, ttl_s: int) -> None:
        """Keep the response to a delivered call, encrypted, for so long."""

    async def kept_response(self, hold_id: str) -> bytes | None:
        """The response that was kept, or None."""

    async def sweep(self, worker: str = "", node: str = "", told: Collection[str] = ()) -> Swept:
        """Note that `worker` lives; expire what is due; turn abandoned sends into uncertain ones; and say what this
        worker may deliver now; what is transformative, only at the node it was filed at. A send is abandoned once the
        worker that claimed it does not live any more, or when it takes longer than any may. Each hold that ended so is
        returned to one worker at a time, again after `BEAT_S`, until one says that it has `told` of it.
        """

    def sealings(self, head_bytes: int) -> AsyncIterator[Sealing]:
        """Every open hold's sealed call, its first bytes only. One that is open all the while comes at least once."""

    async def reseal(self, hold_id: str, before: bytes, after: bytes, *, whole: bool) -> bool:
        """Put `after` where the sealed call begins with `before`, as long as that; `whole`: in place of all of it.

        False: the hold is over, or its call no longer begins so; nothing was changed. What is kept besides does not
        change, and nobody is told: the call is the same.
        """

    async def cursor(self) -> str:
        """Where the event stream is now: `news` from here misses nothing that happens after this call."""

    def news(self, after: str = "$") -> AsyncIterator[HoldNews]:
        """Follow the event stream from a cursor; "$" is now. Ends only by cancellation or `Unavailable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGrant:
    """A route grant as a store has it: a statement that nobody has verified, and how often it was used."""

    id: str
    statement: str
    used: int


class Grants(Protocol):
    """Route grants: carried and counted; verified by whoever uses one. Those that have ended are forgotten."""

    async def put(self, grant_id: str, statement: str, *, root_id: str, until: datetime) -> None:
        """Keep a grant. One that is kept already stays as it is, and as often used."""

    async def of_root(self, root_id: str) -> tuple[KeptGrant, ...]: ...

    async def every(self) -> tuple[KeptGrant, ...]: ...

    async def spend(self, grant_id: str, *, count: int) -> int | None:
        """Count one use, atomically, and return its number from 1 to `count`. None: it is used up, over or unknown."""


class Missed(Unavailable):
    """Events of the stream are gone that nobody has read: what they said must be read elsewhere, or is not known."""


class Followed(Protocol):
    """Since when this node has followed the events of holds without a gap, kept by the node itself."""

    async def go_on(self, holds: Holds) -> str:
        """Where to follow from: where this node was, or now.

        Raises:
            Unavailable: the store does not answer.
        """

    def passed(self, cursor: str) -> None:
        """Everything up to here is known to this node."""

    async def missed(self, holds: Holds) -> None:
        """There was a gap: it begins anew, now.

        Raises:
            Unavailable: the store does not answer.
        """

    def check(self, issued_at: datetime) -> None:
        """Whether this node has followed since a release was made.

        Raises:
            Rejected(RELEASE_INVALID): it began later.
            Unavailable(VIEW_STALE): it has not begun.
        """


class Consumed(Protocol):
    """Which held calls this node has sent, or seen sent; kept by the node itself. A hold is sent at most once.

    `number` is the version a claim gives its hold. A hold that was taken stays so until the same node says that
    nothing was sent; what the shared store says about it makes no difference. Entries may be dropped after `until`.

    Raises, every method:
        Unavailable(STORE_DOWN): it may not be kept.
    """

    async def take(self, hold_id: str, number: int, *, until: datetime) -> bool:
        """Note, durably and before sending, that we claim a hold. False: it was taken before, here or elsewhere."""

    async def spent(self, hold_id: str) -> bool:
        """Whether a hold that cannot be taken was claimed here, or sent. False: another node claimed it, and nobody
        has said that it was sent.
        """

    async def untake(self, hold_id: str, number: int) -> None:
        """Note that nothing was sent under our claim: the hold may be taken again."""

    async def seen(self, hold_id: str, number: int, *, sent: bool, until: datetime) -> None:
        """Note that somebody claimed a hold, or sent under that claim; our own claims are known already."""


class Mandates(Protocol):
    """Chains registered for proof that does not bring them along. Signed, so verified again by whoever reads them.

    For sessions by root id (`put`, `get`). For client certificates by name (`register`, …), as `proxy.registry` gives
    names: under one there may be several, and that is for whoever reads them to judge.
    """

    async def put(self, root_id: str, chain: tuple[str, ...], *, until: datetime) -> None: ...

    async def get(self, root_id: str) -> tuple[str, ...] | None: ...

    async def register(self, name: str, manifest_id: str, manifest: str) -> None:
        """Keep a manifest under a name until it is taken away; one of the same id is kept once."""

    async def registered(self, name: str) -> tuple[str, ...]:
        """Every manifest under a name, in no order."""

    async def unregister(self, name: str, manifest_id: str) -> None: ...


class Control(Protocol):
    """Signed revocations, quarantines and the kill switch, followed by every worker."""

    def view(self) -> ControlView:
        """What is in force, from local memory.

        Raises:
            Unavailable(VIEW_STALE): the last good look at the store is older than 2 s.
        """

    async def publish(self, statement: str) -> None:
        """Store a signed control statement durably for every node."""


class Journal(Protocol):
    """The append-only audit trail of this worker."""

    async def append(self, kind: str, fields: Mapping[str, Json]) -> None:
        """Write one line and return when it is durable.

        Raises:
            Unavailable(JOURNAL_DOWN): it may not be durable; the worker is ending.
        """

    def note(self, kind: str, fields: Mapping[str, Json]) -> None:
        """Write one line that nobody waits for: it has its place at once, and is durable within moments.

        Raises: as `append`, of what is known now.
        """


class Resolver(Protocol):
    """Names to addresses, asked only after policy passed."""

    async def resolve(self, host: str, port: int) -> tuple[IPAddress, ...]:
        """Every address of `host`, in the order to try. IP literals resolve to themselves.

        Raises:
            Unavailable(UPSTREAM_NAME): the name does not resolve.
            Unavailable(RESOLVER_DOWN): nobody could say in time.
        """


class Vault(Protocol):
    """The deployment's secret, used for what must stay unreadable in Redis and for keyed hashes."""

    def seal(self, hold_id: str, plaintext: bytes) -> bytes:
        """AES-256-GCM under a fresh data key wrapped by the key-encryption key; AAD = id, format version, key id."""

    def unseal(self, hold_id: str, sealed: bytes) -> bytes:
        """The plaintext again.

        Raises:
            Rejected(HOLD_TAMPERED): it was changed, swapped, or sealed under a key we do not hold.
        """

    def keyed_hash(self, value: str) -> str:
        """Base64url HMAC-SHA-256 for values that may not appear in clear: credentials in digests and the journal."""

    def seal_session(self, plaintext: bytes) -> str: ...

    def unseal_session(self, token: str) -> bytes:
        """The plaintext of a session token.

        Raises:
            Rejected(PROOF_SESSION): not one of ours, or changed.
        """


class Secrets(Protocol):
    """The secrets that clusters name, as this node has them."""

    def current(self, name: str) -> str:
        """The value now; whoever changes it need not restart anybody.

        Raises:
            Unavailable(CREDENTIAL_DOWN): there is none that may be used. Where it should come from is told to nobody.
        """

    def refused(self, name: str) -> None:
        """An origin did not take it (401): a newer one may be there already."""


class Marks(Protocol):
    """How far somebody has come who follows something for everybody, such as the teller of one receiver.

    One at a time: whoever takes a mark has it for so long, and longer each time they note how far they are.
    """

    async def take(self, name: str, owner: str, *, for_s: int) -> str | None:
        """What was last noted under this name ("" for nothing yet), and it is `owner`'s now. None: somebody has it."""

    async def note(self, name: str, owner: str, mark: str, *, for_s: int) -> bool:
        """Note how far `owner` is. False: somebody else has it now, and nothing was noted."""

    async def leave(self, name: str, owner: str) -> None:
        """Let others take it at once; what was noted stays."""


class Proposals(Protocol):
    """Proposed manifests that wait for their sponsors: text that nobody signed, for whoever reads it to judge."""

    async def put(self, proposal_id: str, text: str) -> None: ...

    async def get(self, proposal_id: str) -> str | None: ...

    async def every(self) -> Mapping[str, str]: ...

    async def drop(self, proposal_id: str) -> bool:
        """Forget one. False: it was gone already."""
