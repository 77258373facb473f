"""Drafts of held calls for tests of whatever files, reads or moves them."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

from proxy.core.encoding import sha256_b64u
from proxy.core.errors import Code
from proxy.core.model import Hold, HoldState, Proof, Risk
from proxy.ports import HoldCaps

ROOMY = HoldCaps(open_per_root=1000, open_per_sponsor=1000, per_hour_per_root=1000, bytes_per_root=10_000_000)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

_numbers = count(1)

_DRAFT = Hold(
    id="",
    state=HoldState.HELD,
    version=0,
    fence=0,
    call_digest="",
    root_id=sha256_b64u(b"root"),
    agent="invoice-bot",
    sponsor="ada",
    cluster="supplier-invoices",
    task="T-4711",
    code=Code.NOT_COVERED,
    risk=Risk.ROUTINE,
    proof=Proof.REQUEST,
    who=("sponsor", "deputy"),
    filed_at=LONG_AGO,
    expires_at=LONG_AGO,
    body_bytes=17,
)


def draft(
    *,
    call: str | None = None,
    root: str = "root",
    agent: str = "invoice-bot",
    sponsor: str = "ada",
    task: str = "T-4711",
    body_bytes: int = 17,
) -> Hold:
    """A fresh draft: each has its own id, and its own call unless `call` names one."""
    number = next(_numbers)
    return replace(
        _DRAFT,
        id=f"hold-{number:05}",
        call_digest=sha256_b64u((call or f"call {number}").encode()),
        root_id=sha256_b64u(root.encode()),
        agent=agent,
        sponsor=sponsor,
        task=task,
        body_bytes=body_bytes,
    )
