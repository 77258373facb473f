"""Who is calling, under which mandate, and how strongly that was proved.

Evidence that was presented and fails is a denial; nothing here falls back to weaker evidence.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.certificates import ClientCertificate, check_bound
from proxy.core.errors import Code, Rejected
from proxy.core.fields import one_line
from proxy.core.model import Bundle, Evidence, Intent, Leg, Mandate, Proof, Received, StoredCall
from proxy.core.places import Place
from proxy.core.proof import (
    AGENT_INTENT,
    INTENT_MANIFEST,
    PROXY_AUTHORIZATION,
    present,
    read_chain,
    read_intent,
    target_uri,
    verify_signature,
)
from proxy.core.session import SessionGrant, check_channel, check_session, read_basic
from proxy.core.verify import Lifetimes, verify_chain
from proxy.footing import Footings
from proxy.identity import Identity as Identity
from proxy.identity import Tunnel as Tunnel
from proxy.ports import Mandates, Vault
from proxy.registry import Certificates, Registry

TUNNEL_LIFE = timedelta(minutes=5)
_CACHED_MANDATES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """The fields that carry evidence, each on one line; "" when absent."""

    intent: str
    manifest: str
    session: str

    @classmethod
    def of(cls, received: Received) -> "_Fields":
        found = received.lines
        return cls(
            intent=one_line(found, AGENT_INTENT, code=Code.INTENT_MALFORMED) or "",
            manifest=one_line(found, INTENT_MANIFEST, code=Code.MANIFEST_MALFORMED) or "",
            session=one_line(found, PROXY_AUTHORIZATION, code=Code.PROOF_SESSION) or "",
        )

    def read_intent(self) -> Intent:
        return read_intent(self.intent) if self.intent else Intent()


class Identifier:
    """Turns presented evidence into an identity. Chains verified once under a bundle are remembered."""

    def __init__(
        self,
        *,
        bundle: Callable[[], Bundle],
        mandates: Mandates,
        vault: Vault,
        lifetimes: Lifetimes,
        clock: Callable[[], datetime],
        certificates: Certificates | None = None,
    ) -> None:
        self._bundle = bundle
        self._mandates = mandates
        self._vault = vault
        self._lifetimes = lifetimes
        self._clock = clock
        self._certificates = certificates or Certificates(())
        self._registry = Registry(mandates=mandates)
        self.footings = Footings(registry=self._registry, vault=vault, bundle=bundle, clock=clock)
        self._known: OrderedDict[tuple[str, tuple[str, ...], bool], Mandate] = OrderedDict()

    async def identify(self, received: Received, leg: Leg, tunnel: Tunnel | None) -> Identity:
        """The identity behind one request head.

        Not checked here: the body, the nonce, and what may have changed since verification (`check_standing`).

        Raises:
            Rejected: no evidence, or evidence that fails.
            Unavailable: a session's mandate could not be looked up.
        """
        inherited = tunnel.identity if tunnel is not None else None
        certificate = self._certificate(leg)
        found = await self._presented(received, leg, repeats=inherited.manifest_field if inherited is not None else "")
        if inherited is not None and not found:
            found.append(await self._inherit(inherited, _Fields.of(received)))
        nothing = await self._with_certificate(certificate, found, received)
        if not found and tunnel is not None and tunnel.place is not None:
            found.append(await self._by_source(tunnel.place, received))
        if not found:
            raise nothing or Rejected(
                Code.PROOF_MISSING,
                "the request carries no proof of a mandate: sign it, or use a session",
                field="signature",
            )
        # What a certificate stands for was looked up just now; what it stood for when it opened the tunnel is over.
        beside = () if inherited is None or found[0].evidence.proof is Proof.MTLS else (inherited,)
        if len({each.mandate.root_id for each in (*found, *beside)}) > 1:
            raise Rejected(Code.INTENT_CONFLICT, "the request and its tunnel prove different mandates")
        return self._bound(certificate, found)

    async def identify_connect(self, received: Received, leg: Leg) -> Identity | None:
        """The identity a CONNECT brought, or None when it brought no evidence at all. A certificate that no mandate is
        registered for is none by itself: the calls inside may be signed.

        Raises:
            Rejected: evidence that fails, or that may not be inherited on this leg.
            Unavailable: a session's mandate could not be looked up, or our clock is wrong.
        """
        self._clock()  # a wrong clock refuses here: inside, nobody would accept the certificate it makes
        certificate = self._certificate(leg)
        found = await self._presented(received, leg)
        await self._with_certificate(certificate, found, received)
        if not found:
            return None
        check_channel(leg)
        if len({each.mandate.root_id for each in found}) > 1:
            raise Rejected(Code.INTENT_CONFLICT, "the CONNECT proves two different mandates")
        return self._bound(certificate, found)

    async def _presented(self, received: Received, leg: Leg, *, repeats: str = "") -> list[Identity]:
        """One identity for each kind of evidence presented, the strongest first. All of it must verify.

        Inside a tunnel an Intent-Manifest that only `repeats` the CONNECT's is no evidence by itself.
        """
        fields, offered = _Fields.of(received), received.lines
        if repeats and fields.manifest == repeats:
            offered = {name: values for name, values in offered.items() if name != INTENT_MANIFEST}
        presented = present(offered)
        found: list[Identity] = []
        if presented.signature:
            found.append(self._by_signature(received, fields))
        if presented.session:
            found.append(await self._by_session(fields, leg))
        return found

    async def _with_certificate(
        self, certificate: ClientCertificate | None, found: list[Identity], received: Received
    ) -> Rejected | None:
        """Add the identity that the connection's certificate proves, where nothing else was found; or say why none.

        In a tunnel that was opened with it, it is looked up again: what is registered may have changed since.
        """
        if certificate is None or not all(each.evidence.proof is Proof.MTLS for each in found):
            return None
        mandate = await self._registry.mandate_of(
            certificate, self._bundle(), lambda tokens: self.mandate(tokens, registered=True), now=self._clock()
        )
        if isinstance(mandate, Rejected):
            found.clear()
            return mandate
        if found:  # it inherited that very proof, and what its CONNECT declared
            found[0] = replace(found[0], mandate=mandate)
            return None
        now = self._clock()
        found.append(
            Identity(
                mandate=mandate,
                evidence=Evidence(proof=Proof.MTLS, keyid=certificate.thumbprint, created=now, nonce=None),
                intent=_Fields.of(received).read_intent(),
                manifest_field="",
                inheritable_until=certificate.not_after,
                registered=True,
                spiffe_id=certificate.spiffe_id,
            )
        )
        return None

    def _certificate(self, leg: Leg) -> ClientCertificate | None:
        """What the client showed, if it counts; None when it showed nothing, and most show nothing."""
        return self._certificates.verified(leg.certificates, now=self._clock()) if leg.certificates else None

    def _bound(self, certificate: ClientCertificate | None, found: list[Identity]) -> Identity:
        """The strongest of what was found, all of which must be for the certificate that is shown, and ends with it."""
        for each in found:
            check_bound(certificate, each.mandate.leaf, each.mandate.agent)
        if certificate is None:
            return found[0]
        return replace(found[0], ends_at=min(found[0].ends_at or certificate.not_after, certificate.not_after))

    def mandate(self, tokens: tuple[str, ...], *, registered: bool = False) -> Mandate:
        """The verified mandate of a chain, from memory when the same bundle verified it before.

        A `registered` one may live as long as a root: its credential is a certificate.

        Raises:
            Rejected: the chain does not verify.
        """
        bundle = self._bundle()
        key = (bundle.sha256, tokens, registered)
        known = self._known.get(key)
        if known is None:
            lifetimes = self._lifetimes.lasting() if registered else self._lifetimes
            known = verify_chain(tokens, bundle, lifetimes=lifetimes, now=self._clock())
            self._known[key] = known
            if len(self._known) > _CACHED_MANDATES:
                self._known.popitem(last=False)
        return known

    def afresh(self, identity: Identity) -> Identity:
        """The identity under the bundle in force now: a call's proof may be older, by as long as its body took.

        Raises:
            Rejected: its chain does not verify any more, or what it rests on counts no more.
        """
        if identity.filed:
            return identity  # verified anew whenever a node sends its call
        self.footings.check(identity)
        tokens = tuple(link.token for link in identity.mandate.chain)
        mandate = self.mandate(tokens, registered=identity.registered)
        return identity if mandate is identity.mandate else replace(identity, mandate=mandate)

    def as_filed(self, stored: StoredCall) -> Identity:
        """The identity a held call was filed under, for a node that sends it by itself.

        `stored` was decrypted: only a worker of this deployment can have written it. Not checked here: that the
        mandate still stands (`check_standing`).

        Raises:
            Rejected(HOLD_TAMPERED): its manifests are not in it.
            Rejected: the chain does not verify under today's bundle.
        """
        if not stored.chain:
            raise Rejected(Code.HOLD_TAMPERED, "the stored call does not say under which manifests it came")
        at = stored.decision.at
        signed = stored.proof in (Proof.REQUEST, Proof.TUNNEL)  # a session may have been opened with a certificate
        lifetimes = self._lifetimes if signed else self._lifetimes.lasting()
        mandate = verify_chain(stored.chain, self._bundle(), lifetimes=lifetimes, now=at)
        evidence = Evidence(proof=stored.proof, keyid=mandate.leaf.cnf.kid, created=at, nonce=None)
        intent = stored.decision.intent
        return Identity(mandate=mandate, evidence=evidence, intent=intent, manifest_field="", filed=True)

    def _by_signature(self, received: Received, fields: "_Fields") -> Identity:
        mandate = self.mandate(read_chain(fields.manifest))
        now = self._clock()
        evidence = verify_signature(received, target_uri=target_uri(received), key=mandate.leaf.cnf, now=now)
        return Identity(
            mandate=mandate,
            evidence=evidence,
            intent=fields.read_intent(),
            manifest_field=fields.manifest,
            inheritable_until=now + TUNNEL_LIFE,
        )

    async def _by_source(self, place: Place, received: Received) -> Identity:
        """What the place of a redirected connection proves: the one mandate registered for the one agent there."""
        fields = _Fields.of(received)
        if fields.manifest:
            raise Rejected(
                Code.PROOF_MISSING, "the request bears a manifest and no signature: sign it", field="signature"
            )
        mandate = await self._registry.mandate_at(
            place, self._bundle(), lambda tokens: self.mandate(tokens, registered=True), now=self._clock()
        )
        return Identity(
            mandate=mandate,
            evidence=Evidence(proof=Proof.SOURCE, keyid=place.label, created=self._clock(), nonce=None),
            intent=fields.read_intent(),
            manifest_field="",
            registered=True,
            place=place,
        )

    async def _by_session(self, fields: "_Fields", leg: Leg) -> Identity:
        check_channel(leg)
        root_id, token = read_basic(fields.session)
        grant = SessionGrant.from_bytes(self._vault.unseal_session(token))
        deployment, now = self._bundle().deployment, self._clock()
        check_session(grant, root_id=root_id, deployment=deployment, source=leg.source, now=now)
        chain = await self._mandates.get(session_key(grant.root_id, grant.leaf_id))
        if chain is None:
            raise Rejected(Code.MANIFEST_UNKNOWN, "the session's mandate is no longer registered: open a new session")
        registered = grant.proof is Proof.MTLS
        mandate = self.mandate(chain, registered=registered)
        minted_for = (grant.root_id, grant.leaf_id, grant.leaf_kid)
        if (mandate.root_id, mandate.leaf.id, mandate.leaf.cnf.kid) != minted_for:
            raise Rejected(Code.PROOF_SESSION, "the session's registered mandate is not the one it was opened for")
        identity = Identity(
            mandate=mandate,
            evidence=Evidence(proof=Proof.SESSION, keyid=grant.leaf_kid, created=grant.issued_at, nonce=None),
            intent=fields.read_intent(),
            manifest_field="",
            inheritable_until=grant.expires_at,
            registered=registered,
            spiffe_id=grant.spiffe_id,
            session=token,
            ends_at=grant.expires_at,
        )
        await self.footings.check_now(identity)
        return identity

    async def _inherit(self, outer: Identity, fields: "_Fields") -> Identity:
        if fields.intent not in ("", outer.intent.raw) or fields.manifest not in ("", outer.manifest_field):
            raise Rejected(
                Code.INTENT_CONFLICT, "inside a tunnel Agent-Intent must be absent, equal to the CONNECT's, or signed"
            )
        if outer.inheritable_until is None or self._clock() >= outer.inheritable_until:
            raise Rejected(Code.PROOF_TUNNEL, "the proof this tunnel was opened with is too old: open a new tunnel")
        if outer.session:
            await self.footings.check_now(outer)
        return replace(outer, evidence=replace(outer.evidence, nonce=None))  # spent when the tunnel was opened


def session_key(root_id: str, leaf_id: str) -> str:
    """Under which name a session's chain is registered: one for each leaf, so that no other leaf takes its place."""
    return f"{root_id}.{leaf_id}"
