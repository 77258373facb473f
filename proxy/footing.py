"""What a proof rests on beside its manifests, and whether that still holds: a session, a client certificate, and the
registration of the mandate the certificate stands for.

Manifests have their standing, which is asked with every call and twice a second of what is under way. A certificate or
a session ends before them; a mandate is unregistered, its agent loses a SPIFFE id, the key of a session is retired.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Bundle, Manifest, Proof
from proxy.core.places import bound_to
from proxy.identity import Identity
from proxy.ports import Vault
from proxy.registry import Registry

AT_ONCE = 8
"""How many agents the store is asked about at the same time: decisions wait for the same connections."""


class Footings:
    """What the proofs of one worker's calls rest on."""

    def __init__(
        self, *, registry: Registry, vault: Vault, bundle: Callable[[], Bundle], clock: Callable[[], datetime]
    ) -> None:
        self._registry = registry
        self._vault = vault
        self._bundle = bundle
        self._clock = clock
        self._gone: frozenset[str] = frozenset()  # roots that were registered no more at the last look

    async def check_now(self, identity: Identity) -> None:
        """Reject a proof that rests on nothing any more, asking the store where it must be asked.

        Raises:
            Rejected: as `check`.
            Unavailable: the store does not answer.
        """
        self.check(identity)
        if identity.registered and not await self._registry.is_registered(identity.mandate.root):
            raise _unregistered(identity.mandate.root)

    def check(self, identity: Identity, *, released: bool = False) -> None:
        """Reject a proof that rests on nothing any more, as far as was known at the last look at the registry.

        Of a call that a person `released` the session or certificate may end: that was judged when it was filed. Not
        checked here: that the connection shows the certificate a manifest is bound to (`check_bound`).

        Raises:
            Rejected(PROOF_SESSION): its session has ended, or the key that sealed it was retired.
            Rejected(PROOF_CERTIFICATE): its certificate has ended, or does not stand for the mandate any more.
        """
        if not released:
            self._check_end(identity)
            if identity.session:
                self._vault.unseal_session(identity.session)
        if identity.registered:
            root = identity.mandate.root
            agent = self._bundle().agents.get(root.sub)
            bound = root.certificate is not None
            if identity.place is not None:
                if [each.id for each in bound_to(self._bundle(), identity.place)] != [root.sub]:
                    detail = f"agent {root.sub} is not the one at its source any more"
                    raise Rejected(Code.PROOF_SOURCE, detail, field="source")
            elif not bound and (agent is None or identity.spiffe_id not in agent.bindings.spiffe):
                detail = f"the client certificate of {identity.spiffe_id} is not agent {root.sub}'s any more"
                raise Rejected(Code.PROOF_CERTIFICATE, detail, field="certificate")
            if root.id in self._gone:
                raise _unregistered(root)

    def _check_end(self, identity: Identity) -> None:
        if identity.ends_at is None or self._clock() < identity.ends_at:
            return
        of_session = identity.evidence.proof is Proof.SESSION
        code, what = (Code.PROOF_SESSION, "session") if of_session else (Code.PROOF_CERTIFICATE, "client certificate")
        raise Rejected(code, f"the {what} has ended, at {identity.ends_at.isoformat()}", field=what.split()[-1])

    async def look(self, identities: Iterable[Identity]) -> None:
        """Ask which of the mandates these rest on are still registered. While the store does not answer, what was
        known counts: then nobody hears of a stop either, and what is under way does not go on for long.
        """
        roots = {each.mandate.root_id: each.mandate.root for each in identities if each.registered}
        few = asyncio.Semaphore(AT_ONCE)

        async def is_gone(root: Manifest) -> bool:
            async with few:
                try:
                    return not await self._registry.is_registered(root)
                except Unavailable:
                    return root.id in self._gone

        found = await asyncio.gather(*map(is_gone, roots.values()))
        self._gone = frozenset(root_id for root_id, gone in zip(roots, found, strict=True) if gone)


def _unregistered(root: Manifest) -> Rejected:
    detail = f"manifest {root.jti} is registered for no client certificate any more"
    mend = "register one (intent-proxy manifest register FILE), then open new sessions"
    return Rejected(Code.PROOF_CERTIFICATE, f"{detail}: {mend}", field="certificate")
