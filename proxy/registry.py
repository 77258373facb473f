"""Registered mandates: the manifest under which an agent acts that shows a client certificate and nothing else.

An agent has exactly one. It is the manifest its sponsor signed, alone: what is short-lived here is the certificate.
The store carries it and authorises nothing; whoever reads it verifies it, and looks whether the certificate is the one
it is bound to, or its agent's.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from proxy.core.certificates import ClientCertificate, belongs, described, verify_certificate
from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Bundle, Mandate, Manifest
from proxy.core.places import Place, bound_to
from proxy.core.standing import SKEW_S, check_window
from proxy.ports import Mandates

_REMEMBERED = 4096

type Verify = Callable[[tuple[str, ...]], Mandate]


def names_of(manifest: Manifest) -> tuple[str, ...]:
    """Under which names a manifest is registered: its agent's, and that of the certificate it is bound to."""
    bound = () if manifest.certificate is None else (_of_certificate(manifest.certificate),)
    return (of_agent(manifest.sub), *bound)


async def forget(mandates: Mandates, manifest: Manifest) -> None:
    """Take a manifest away. Its agent's name goes last: while that is there, whoever is cut off can begin again."""
    for name in reversed(names_of(manifest)):
        await mandates.unregister(name, manifest.id)


def of_agent(agent: str) -> str:
    return f"agent:{agent}"


def _of_certificate(thumbprint: str) -> str:
    return f"x5t:{thumbprint}"


def check_registrable(mandate: Mandate) -> None:
    """Reject a chain that no client certificate could stand for.

    Raises:
        Rejected(MANIFEST_MALFORMED): it is not a root manifest alone.
        Rejected(MANIFEST_SUBJECT): neither is it bound to a certificate, nor has its agent a SPIFFE id.
    """
    if len(mandate.chain) != 1:
        detail = f"only the manifest a sponsor signed is registered, by itself, got a chain of {len(mandate.chain)}"
        raise Rejected(Code.MANIFEST_MALFORMED, detail)
    bindings = mandate.agent.bindings
    if mandate.root.certificate is None and not (bindings.spiffe or bindings.source):
        detail = f"no certificate can stand for agent {mandate.agent.id}: sign the manifest with --certificate FILE, or"
        raise Rejected(Code.MANIFEST_SUBJECT, f"{detail} name its SPIFFE id or source under bindings in agents.yaml")


@dataclass(slots=True, kw_only=True)
class Registry:
    """Whose a certificate is, and the one mandate registered for it."""

    mandates: Mandates
    _known: tuple[str, Mapping[str, tuple[Agent, ...]]] = field(default=("", {}), init=False)

    async def mandate_of(
        self, certificate: ClientCertificate, bundle: Bundle, verify: Verify, *, now: datetime
    ) -> Mandate | Rejected:
        """The one mandate registered for a certificate. Where there is none, why: by itself the certificate then proves
        nothing, but whoever shows it may sign.

        `verify` makes a chain the mandate it stands for. Not checked here: that it stands at this moment.

        Raises:
            Rejected(PROOF_CERTIFICATE): there is more than one; or several agents have the SPIFFE id.
            Rejected: what is registered does not verify.
            Unavailable: the store does not answer.
        """
        agents = self._agents(bundle).get(certificate.spiffe_id or "", ())
        if len(agents) > 1:
            names = ", ".join(sorted(agent.id for agent in agents))
            raise _refused(f"{described(certificate)} stands for several agents ({names}): it must stand for one")
        tokens: dict[str, None] = {}
        for name in (_of_certificate(certificate.thumbprint), *(of_agent(agent.id) for agent in agents)):
            tokens |= dict.fromkeys(await self.mandates.registered(name))
        found, over = _verified(tuple(tokens), verify, now=now)
        meant = [each for each in found if belongs(certificate, each.root, each.agent)]
        if len(meant) > 1:
            detail = f"{len(meant)} mandates are registered for {described(certificate)}, and one must be"
            raise _refused(f"{detail}: see intent-proxy manifest registered")
        if meant:
            return meant[0]
        if over is not None:
            return over
        return _refused(f"no mandate is registered for {described(certificate)}: intent-proxy manifest register FILE")

    async def mandate_at(self, place: Place, bundle: Bundle, verify: Verify, *, now: datetime) -> Mandate:
        """The one mandate registered for the one agent that is bound to a place. Not checked here: as `mandate_of`.

        Raises:
            Rejected(PROOF_SOURCE): no agent is bound to it, or several; or not exactly one mandate is registered.
            Rejected: what is registered does not verify.
            Unavailable: the store does not answer.
        """
        agents = bound_to(bundle, place)
        if len(agents) != 1:
            detail = f"{len(agents)} agents are bound to where this call comes from, and one must be"
            raise Rejected(Code.PROOF_SOURCE, detail, field="source")
        found, over = _verified(await self.mandates.registered(of_agent(agents[0].id)), verify, now=now)
        meant = [each for each in found if each.root.certificate is None and each.agent.id == agents[0].id]
        if len(meant) == 1:
            return meant[0]
        if over is not None and not meant:
            raise over
        detail = f"{len(meant)} mandates are registered for the agent this call comes from, and one must be"
        raise Rejected(Code.PROOF_SOURCE, f"{detail}: intent-proxy manifest register FILE", field="source")

    async def is_registered(self, root: Manifest) -> bool:
        """Whether this very manifest is registered for its agent at this moment.

        Raises:
            Unavailable: the store does not answer.
        """
        return root.token in await self.mandates.registered(of_agent(root.sub))

    def _agents(self, bundle: Bundle) -> Mapping[str, tuple[Agent, ...]]:
        """The agents of each SPIFFE id, remembered for the bundle in force."""
        if self._known[0] != bundle.sha256:
            listed: dict[str, tuple[Agent, ...]] = {}
            for agent in bundle.agents.values():
                for spiffe_id in agent.bindings.spiffe:
                    listed[spiffe_id] = (*listed.get(spiffe_id, ()), agent)
            self._known = (bundle.sha256, listed)
        return self._known[1]


def _verified(tokens: tuple[str, ...], verify: Verify, *, now: datetime) -> tuple[list[Mandate], Rejected | None]:
    """What verifies. One that has ended stands in nobody's way, but is the reason when there is no other."""
    found, over = [], None
    for token in tokens:
        try:
            mandate = verify((token,))
            check_window(mandate.root, now=now, skew_s=SKEW_S)  # it may have been verified a while ago
            found.append(mandate)
        except Rejected as fault:
            if fault.code is not Code.MANIFEST_WINDOW:
                raise
            over = fault
    return found, over


def _refused(detail: str) -> Rejected:
    return Rejected(Code.PROOF_CERTIFICATE, detail, field="certificate")


class Certificates:
    """What connections show, verified against the CAs of this deployment once each and remembered while it lasts."""

    def __init__(self, anchors: tuple[x509.Certificate, ...]) -> None:
        self._anchors = anchors
        self._known: OrderedDict[bytes, ClientCertificate] = OrderedDict()

    def verified(self, shown: tuple[bytes, ...], *, now: datetime) -> ClientCertificate:
        """What a connection showed, if it counts at `now`.

        Raises:
            Rejected(PROOF_CERTIFICATE): it does not count.
        """
        # By their digest: what is shown beside the client's own may be large, and another each time.
        key = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in shown)).digest()
        known = self._known.get(key)
        if known is not None and known.not_before <= now <= known.not_after:
            return known
        self._known.pop(key, None)
        found = verify_certificate(shown, self._anchors, now=now)
        self._known[key] = found
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found
