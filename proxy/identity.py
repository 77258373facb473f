"""What is known of a caller once its evidence was verified; `proxy.identify` makes it."""

from dataclasses import dataclass, field
from datetime import datetime

from proxy.core.model import Evidence, Intent, Mandate
from proxy.core.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A verified mandate, the evidence for it, and what the caller says it is doing."""

    mandate: Mandate
    evidence: Evidence
    intent: Intent
    manifest_field: str  # Intent-Manifest as presented; "" for a session
    inheritable_until: datetime | None = None  # how long calls inside a tunnel may rely on it
    filed: bool = False  # of a held call: the leaf's expiry and the proof were judged when it was filed
    registered: bool = False  # its chain is a root alone, registered for the client certificate that proved it
    spiffe_id: str | None = None  # of that certificate
    place: Place | None = None  # where it is, if that alone proved it
    session: str = field(default="", repr=False)  # the sealed token that was presented
    ends_at: datetime | None = None  # of the session, or of the client certificate its connection shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """An accepted CONNECT. `identity` is None when it came without evidence: then each inner call brings its own."""

    host: str
    port: int
    outer_tls: bool
    identity: Identity | None
    place: Place | None = None  # of a redirected connection, which no CONNECT opened: whence it comes
