"""What the gate knows of a call on its way, and the lines it leaves in the journal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from proxy.audit.records import decision_fields, outcome_fields
from proxy.claims import Claim
from proxy.core.clusters import Policy
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.injection import Injection
from proxy.core.model import Call, Decision, Hold, Intent, IPAddress, Leg, Received, Verdict
from proxy.core.problems import Prefer
from proxy.identify import Identity
from proxy.ports import Journal

NO_PREFERENCE = Prefer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A request head that was read: the call it makes and who makes it, or why it is refused."""

    leg: Leg
    received: Received
    call: Call | None = None
    identity: Identity | None = None
    ambiguous: Rejected | None = None  # why there is no canonical call
    refusal: Rejected | Unavailable | None = None  # why there is no identity
    prefer: Prefer = NO_PREFERENCE

    @property
    def fault(self) -> Rejected | Unavailable | None:
        return self.ambiguous or self.refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the gate decided, and what may be sent where. `addresses` is empty unless the verdict is ALLOW."""

    decision: Decision
    call: Call | None = None
    hold: Hold | None = None
    addresses: tuple[IPAddress, ...] = ()
    claim: Claim | None = None
    injection: Injection | None = None  # what is set on the call as it leaves
    waited: bool = False  # the connection waited for a reviewer, as Prefer asked


class Recorder:
    """Writes what was decided, and what became of it."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        journal: Journal,
        keyed_hash: Callable[[str], str],
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._journal = journal
        self._keyed_hash = keyed_hash
        self._clock = clock
        self._new_id = new_id

    def refused(self, admission: Admission, fault: Rejected | Unavailable) -> Decision:
        """The denial of what never came to be judged: places 1 and 2 of the order, and whatever could not be told."""
        identity = admission.identity
        mandate = identity.mandate if identity is not None else None
        return Decision(
            decision_id=self._new_id(),
            verdict=Verdict.DENY,
            code=fault.code,
            message=fault.detail,
            at=self._clock(),
            agent=mandate.leaf.sub if mandate is not None else None,
            sponsor=mandate.sponsor.id if mandate is not None else None,
            purpose=mandate.purpose if mandate is not None else None,
            manifest=mandate.root_id if mandate is not None else None,
            intent=identity.intent if identity is not None else Intent(),
            proof=identity.evidence.proof if identity is not None else None,
            bundle_sha256=self._policy().bundle.sha256,
            retry_after_s=fault.retry_after_s if isinstance(fault, Unavailable) else None,
        )

    async def decision(self, admission: Admission, decision: Decision, call: Call | None) -> None:
        """Write what was decided; durable when this returns.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal has ended.
        """
        identity = admission.identity
        fields = decision_fields(
            decision,
            keyed_hash=self._keyed_hash,
            call=call,
            leg=admission.leg,
            mandate=identity.mandate if identity is not None else None,
            evidence=identity.evidence if identity is not None else None,
        )
        await self._journal.append("decision", fields)

    async def outcome(
        self,
        outcome: Outcome,
        *,
        status: int | None,
        bytes_up: int,
        bytes_down: int,
        duration_ms: int,
        fault: Code | None,
        websocket: Mapping[str, Json] | None = None,
        body_sha256: bytes | None = None,
    ) -> None:
        """Write what became of an allowed call. `bytes_*` count bodies, or the messages of a `websocket`, only;
        `body_sha256` is of a body that streamed.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal has ended.
        """
        fields = outcome_fields(
            outcome.decision.decision_id,
            status=status,
            bytes_up=bytes_up,
            bytes_down=bytes_down,
            duration_ms=duration_ms,
            error=fault.value if fault is not None else None,
            websocket=websocket,
            body_sha256=body_sha256,
        )
        if outcome.claim is None:
            self._journal.note("outcome", fields)
        else:
            await self._journal.append("outcome", fields)
