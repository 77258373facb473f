"""Calls filed as holds the way the gate files them: really decided, really sealed, in any store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

import identities
from held import ROOMY

from proxy.core.addresses import OwnSurfaces
from proxy.core.canonical import canonicalise, with_body
from proxy.core.clusters import Policy, compile_policy
from proxy.core.control import ControlView
from proxy.core.decide import Question, decide
from proxy.core.digest import call_digest
from proxy.core.model import Bundle, Evidence, Hold, HoldState, Intent, Mandate, Proof, Received, StoredCall
from proxy.core.stored import stored_to_bytes
from proxy.core.verify import Lifetimes, verify_chain
from proxy.ports import HoldCaps, Holds, Vault

_numbers = count()

OUTSIDE = "https://erp.example/v1/customers/42"
"""A call that the mandate of `identities` does not cover, on a host that it knows."""


@dataclass(kw_only=True)
class Filer:
    """Files calls under one mandate."""

    holds: Holds
    vault: Vault
    bundle: Bundle
    tokens: tuple[str, ...]
    now: datetime
    caps: HoldCaps = ROOMY

    @property
    def policy(self) -> Policy:
        return compile_policy(self.bundle)

    @property
    def mandate(self) -> Mandate:
        return verify_chain(self.tokens, self.bundle, lifetimes=Lifetimes(), now=self.now)

    async def file(
        self,
        url: str = OUTSIDE,
        *,
        method: str = "DELETE",
        headers: Sequence[tuple[str, str]] = (("Authorization", "Bearer s3cret"),),
        body: bytes = b"",
        ttl_s: int = 600,
        task: str = identities.TASK,
        cluster: str | None = identities.CLUSTER,
        quorum: int = 1,
        changed: Mapping[str, object] | None = None,
    ) -> Hold:
        """File a call that is held. `quorum`: so many must release it, at least. `changed` replaces members of the
        hold, as an intruder in the store would.
        """
        stored = self.stored(url, method=method, headers=headers, body=body, task=task, cluster=cluster)
        review = stored.decision.review
        review = replace(review, ttl_s=ttl_s, quorum=max(quorum, review.quorum))
        stored = replace(stored, decision=replace(stored.decision, review=review))
        decision = stored.decision
        draft = Hold(
            id=str(decision.hold_id),
            state=HoldState.HELD,
            version=1,
            fence=0,
            call_digest=stored.call_digest,
            root_id=str(decision.manifest),
            agent=str(decision.agent),
            sponsor=str(decision.sponsor),
            cluster=decision.cluster or "",
            task=decision.intent.task or "",
            code=decision.code,
            risk=decision.risk,
            proof=stored.proof,
            who=decision.review.who,
            quorum=decision.review.quorum,
            filed_at=self.now,
            expires_at=self.now + timedelta(seconds=ttl_s),
            body_bytes=len(body),
        )
        sealed = self.vault.seal(draft.id, stored_to_bytes(stored))
        filed = await self.holds.file(replace(draft, **(changed or {})), sealed, ttl_s=ttl_s, caps=self.caps)  # type: ignore[arg-type]
        assert filed.created
        return filed.hold

    def stored(
        self,
        url: str = OUTSIDE,
        *,
        method: str = "DELETE",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        task: str = identities.TASK,
        cluster: str | None = identities.CLUSTER,
    ) -> StoredCall:
        """What is sealed for a call: it and the decision about it."""
        received = _absolute(method, url, headers)
        call = with_body(canonicalise(received, identities.leg(local=True)), body)
        mandate, intent = self.mandate, Intent(cluster=cluster, task=task, raw="declared")
        evidence = Evidence(proof=Proof.REQUEST, keyid=mandate.leaf.cnf.kid, created=self.now, nonce=None)
        decision = decide(
            Question(
                decision_id="d-1",
                now=self.now,
                policy=self.policy,
                view=ControlView(),
                own=OwnSurfaces(),
                grace_s=0,
                call=call,
                mandate=mandate,
                evidence=evidence,
                intent=intent,
            )
        )
        digest = call_digest(
            call,
            deployment=self.bundle.deployment,
            root_id=mandate.root_id,
            sub_path=mandate.sub_path,
            cluster=cluster or "",
            task=task,
            keyed_hash=self.vault.keyed_hash,
        )
        return StoredCall(
            call=call,
            decision=replace(decision, hold_id=f"hold-{next(_numbers):015}"),
            proof=evidence.proof,
            call_digest=digest,
            sub_path=mandate.sub_path,
            chain_kids=tuple(link.cnf.kid for link in mandate.chain),
            chain=tuple(link.token for link in mandate.chain),
        )


def _absolute(method: str, url: str, headers: Sequence[tuple[str, str]]) -> Received:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return Received(
        method=method.encode(),
        scheme=scheme,
        form="absolute",
        authority=authority.encode(),
        target=(slash + path).encode(),
        headers=tuple((name.encode(), value.encode()) for name, value in [("Host", authority), *headers]),
    )
