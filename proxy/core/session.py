"""Session proof, the pure part: what a sealed session token says, and when it counts.

For programs that know only `HTTPS_PROXY`: the token travels as the password of `Proxy-Authorization: Basic
<root manifest id>:<token>`. It is stateless; sealing (AEAD under the deployment's secret) is the vault's business.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.encoding import MAX_EPOCH_S, Json, canonical_json, from_epoch, parse_json, to_epoch, unb64
from proxy.core.errors import Code, Rejected
from proxy.core.model import Leg, Proof
from proxy.core.standing import SKEW_S

SESSION_LIFE_S = 3_600
MINTABLE = frozenset({Proof.MTLS, Proof.REQUEST})
"""Proofs a session may be minted with: a session cannot mint another, nor can an address alone. Nor can a tunnel, whose
signature counts for minutes, and which whoever it was opened for may use: a session would outlive both."""

_TEXTS = ("root_id", "leaf_id", "leaf_kid", "source", "proof", "spiffe_id", "deployment")
_TIMES = ("issued_at", "expires_at")
_BASIC = re.compile(r"[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9+/]+={0,2})")
_CREDENTIALS = re.compile(rb"([A-Za-z0-9_-]{43}):([A-Za-z0-9._~-]{1,4096})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionGrant:
    """What the proxy remembers, in the token itself, of the proof a session was minted with."""

    root_id: str
    leaf_id: str  # the leaf manifest, and with it the whole chain: each link names the one before by its hash
    leaf_kid: str  # the cnf key that was proven
    source: str  # Leg.source it was minted from; it works from nowhere else
    proof: Proof
    spiffe_id: str = ""  # of the client certificate it was minted with, "" for none: its agent must still have it
    issued_at: datetime
    expires_at: datetime
    deployment: str

    def to_bytes(self) -> bytes:
        """What is sealed. Times are whole seconds."""
        return canonical_json(
            {
                "root_id": self.root_id,
                "leaf_id": self.leaf_id,
                "leaf_kid": self.leaf_kid,
                "source": self.source,
                "proof": self.proof.label,
                "spiffe_id": self.spiffe_id,
                "issued_at": to_epoch(self.issued_at),
                "expires_at": to_epoch(self.expires_at),
                "deployment": self.deployment,
            }
        )

    @staticmethod
    def from_bytes(data: bytes) -> "SessionGrant":
        """The grant again.

        Raises:
            Rejected(PROOF_SESSION): not what `to_bytes` writes, longer than 60 minutes, or minted with a proof that
                cannot mint.
        """
        code = Code.PROOF_SESSION
        parsed = parse_json(data, code=code, what="a session token")
        members: Mapping[str, Json] = parsed if isinstance(parsed, Mapping) else {}
        texts = {name: value for name, value in members.items() if name in _TEXTS and isinstance(value, str)}
        times = {name: value for name, value in members.items() if name in _TIMES and type(value) is int}
        if len(texts) != len(_TEXTS) or len(times) != len(_TIMES) or len(members) != len(_TEXTS) + len(_TIMES):
            raise Rejected(code, "a session token must have exactly the members this version writes")
        minted = [proof for proof in MINTABLE if proof.label == texts["proof"]]
        if not minted:
            raise Rejected(code, "a session must be minted with a request or mtls proof", field="proof")
        issued_at, expires_at = times["issued_at"], times["expires_at"]
        if not 0 <= issued_at < expires_at <= min(issued_at + SESSION_LIFE_S, MAX_EPOCH_S):
            raise Rejected(code, f"a session may live at most {SESSION_LIFE_S} s", field="expires_at")
        return SessionGrant(
            root_id=texts["root_id"],
            leaf_id=texts["leaf_id"],
            leaf_kid=texts["leaf_kid"],
            source=texts["source"],
            proof=minted[0],
            spiffe_id=texts["spiffe_id"],
            issued_at=from_epoch(issued_at),
            expires_at=from_epoch(expires_at),
            deployment=texts["deployment"],
        )


def read_basic(value: str) -> tuple[str, str]:
    """User and token of a Basic `Proxy-Authorization` (RFC 7617 §2): the root manifest's id, and the sealed token.

    Raises:
        Rejected(PROOF_MALFORMED): another scheme, base64 that is not canonical, or not an id and a token.
    """
    code, field = Code.PROOF_MALFORMED, "proxy-authorization"
    basic = _BASIC.fullmatch(value)
    if basic is None:
        raise Rejected(code, "Proxy-Authorization must be Basic <base64 of manifest-id:token>", field=field)
    credentials = _CREDENTIALS.fullmatch(unb64(basic[1], code=code, field=field))
    if credentials is None:
        raise Rejected(
            code, "Proxy-Authorization must hold <manifest-id>:<token>, as `session new` prints it", field=field
        )
    return credentials[1].decode("ascii"), credentials[2].decode("ascii")


def check_channel(leg: Leg) -> None:
    """Reject proof that later calls inherit on a leg where others could read or use it.

    Raises:
        Rejected(PROOF_CHANNEL): the client's connection is neither TLS nor loopback nor a unix socket.
    """
    if not (leg.tls or leg.local):
        detail = "tunnel and session proof count only over TLS to the proxy, loopback or a unix socket"
        raise Rejected(Code.PROOF_CHANNEL, f"{detail}: give the proxy as https://, or sign every request")


def check_session(grant: SessionGrant, *, root_id: str, deployment: str, source: str, now: datetime) -> None:
    """Reject an unsealed session that is not for this mandate, deployment, source and time.

    `root_id` is the user of `Proxy-Authorization`, `source` the caller's `Leg.source`. Not checked here: the channel
    (`check_channel`), and that the chain registered for the session still verifies and ends in `grant.leaf_id`.

    Raises:
        Rejected(PROOF_SESSION): any of them differs, or the session has ended.
    """
    for field, made_for, got in (
        ("deployment", grant.deployment, deployment),
        ("mandate", grant.root_id, root_id),
        ("source", grant.source, source),
    ):
        if made_for != got:
            raise Rejected(Code.PROOF_SESSION, f"the session was made for another {field}: open a new one", field=field)
    if now >= grant.expires_at or now + timedelta(seconds=SKEW_S) < grant.issued_at:
        detail = f"the session is good from {grant.issued_at.isoformat()} until {grant.expires_at.isoformat()}"
        raise Rejected(Code.PROOF_SESSION, f"{detail}: open a new one", field="expires_at")
