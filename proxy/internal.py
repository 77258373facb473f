"""http://intent.internal/: what the proxy itself tells an agent about its mandate, its holds and how to go on.

Served in every mode, matched on the canonical host before any name is resolved. All but `/ca` and `/health` need
proof, and a hold is visible to its own root mandate only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime

from proxy.audit.records import session_fields
from proxy.core.clusters import Policy
from proxy.core.documents import hold_document, mandate_document
from proxy.core.encoding import NONCE, Json, sha256_b64u, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Call
from proxy.core.names import INTERNAL_HOST
from proxy.core.problems import Answer, document, kept_answer
from proxy.core.session import MINTABLE, SESSION_LIFE_S, SessionGrant, check_channel
from proxy.delivering import Deliveries
from proxy.gate import Gate
from proxy.identify import Identity, session_key
from proxy.ports import Journal, Mandates, Vault
from proxy.recording import Admission

SESSION_TYP = "intent-session+jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeem:
    """The caller asks for its released call to be sent: the gate answers, not this page."""

    identity: Identity
    hold_id: str


class Internal:
    """The agent's own surface. Raises `Rejected` and `Unavailable`; the addon renders them like any refusal."""

    def __init__(
        self,
        *,
        gate: Gate,
        mandates: Mandates,
        vault: Vault,
        journal: Journal,
        policy: Callable[[], Policy],
        node_key: PrivateKey,
        ca_pem: bytes,
        deliveries: Deliveries,
        clock: Callable[[], datetime],
    ) -> None:
        self._deliveries = deliveries
        self._gate = gate
        self._mandates = mandates
        self._vault = vault
        self._journal = journal
        self._policy = policy
        self._node_key = node_key
        self._ca_pem = ca_pem
        self._clock = clock

    def serves(self, admission: Admission) -> bool:
        return admission.call is not None and admission.call.host == INTERNAL_HOST

    async def answer(self, admission: Admission, body: bytes) -> Answer | Redeem:
        """Answer one request to http://intent.internal/.

        Raises:
            Rejected: no such page, no or bad proof, a page from a browser, another mandate's hold.
            Unavailable: the store did not answer.
        """
        call = admission.call
        assert call is not None
        _refuse_browsers(call)
        if (call.scheme, call.port) != ("http", 80):
            raise Rejected(Code.GUARD_SELF, f"http://{INTERNAL_HOST}/ is served over plain HTTP on port 80 only")
        match call.method, call.segments:
            case "GET", ("health",):
                told = document({"status": "ok", "deployment": self._policy().bundle.deployment})
                date = format_datetime(self._clock(), usegmt=True)  # by which an agent may set its own clock
                return replace(told, headers=(*told.headers, ("Date", date)))
            case "GET", ("ca",):
                return Answer(status=200, headers=(("Content-Type", "application/x-pem-file"),), body=self._ca_pem)
        identity = await self._gate.prove(admission, body)
        match call.method, call.segments:
            case "GET", ("",) | ("mandate",):
                return document(mandate_document(identity.mandate, self._policy().bundle, now=self._clock()))
            case "GET", ("holds",):
                found = await self._gate.holding.open_holds(identity)
                return document({"holds": [hold_document(hold, now=self._clock()) for hold in found]})
            case "GET", ("holds", hold_id):
                return document(hold_document(await self._gate.holding.own(identity, hold_id), now=self._clock()))
            case "GET", ("holds", hold_id, "response"):
                hold = await self._gate.holding.own(identity, hold_id)
                return kept_answer(await self._deliveries.response(hold))
            case "POST", ("holds", hold_id, "redeem"):
                return Redeem(identity=identity, hold_id=hold_id)
            case "POST", ("session",):
                return await self._open_session(admission, identity)
        raise Rejected(
            Code.HOLD_UNKNOWN,
            "no such page: GET /, /holds, /holds/ID, /holds/ID/response, /ca or /health, "
            "POST /holds/ID/redeem or /session",
            field="path",
        )

    async def _open_session(self, admission: Admission, identity: Identity) -> Answer:
        if identity.evidence.proof not in MINTABLE:
            detail = "a session is opened by a signed request or a client certificate: a session cannot open another"
            raise Rejected(Code.PROOF_WEAK, detail)
        check_channel(admission.leg)
        nonce = _nonce(admission, identity)
        mandate, now = identity.mandate, self._clock()
        ends_at = min(now + timedelta(seconds=SESSION_LIFE_S), mandate.not_after)
        if identity.ends_at is not None:
            ends_at = min(ends_at, identity.ends_at)
        grant = SessionGrant(
            deployment=self._policy().bundle.deployment,
            root_id=mandate.root_id,
            leaf_id=mandate.leaf.id,
            leaf_kid=mandate.leaf.cnf.kid,
            source=admission.leg.source,
            proof=identity.evidence.proof,
            spiffe_id=identity.spiffe_id or "",
            issued_at=now,
            expires_at=ends_at,
        )
        await self._mandates.put(
            session_key(grant.root_id, grant.leaf_id),
            tuple(link.token for link in mandate.chain),
            until=grant.expires_at,
        )
        token = self._vault.seal_session(grant.to_bytes())
        fields = session_fields(mandate, source=admission.leg.source, expires_at=grant.expires_at)
        await self._journal.append("session", fields)
        claims: dict[str, Json] = {
            "iss": grant.deployment,
            "sub": mandate.root_id,
            "nonce": nonce,
            "token": sha256_b64u(token.encode("ascii")),
            "exp": to_epoch(grant.expires_at),
        }
        return document(
            {
                "manifest": mandate.root_id,
                "token": token,
                "expires_at": grant.expires_at.isoformat(),
                "nonce": nonce,
                "proof": seal(claims, typ=SESSION_TYP, key=self._node_key),
            }
        )


def _nonce(admission: Admission, identity: Identity) -> str:
    """What the answer is signed over, so that it is one to this very request: the signature's nonce, or the query's."""
    given = admission.call.parameters if admission.call is not None else ()
    nonce = identity.evidence.nonce or dict(given).get("nonce", "")
    if not NONCE.fullmatch(nonce):
        detail = "without a signature, give 128 to 512 random bits in base64url: POST /session?nonce=…"
        raise Rejected(Code.PROOF_MALFORMED, detail, field="nonce")
    return nonce


def _refuse_browsers(call: Call) -> None:
    """A page in somebody's browser must not read or move an agent's holds through the proxy."""
    names = {name.lower(): value for name, value in call.headers}
    if "origin" in names or names.get("sec-fetch-site", "none") != "none":
        raise Rejected(Code.GUARD_SELF, f"http://{INTERNAL_HOST}/ does not answer pages in a browser", field="origin")
