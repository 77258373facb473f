"""What a stop (the kill switch, a quarantine) does to releases: those given before it, or during it, end with it.

An agent that may go on again does not send by itself what people released before anybody knew that it had to be
stopped: they are asked again.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from proxy.core.control import ControlView, Statement, ended_by
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Hold, StoredCall
from proxy.core.release import Release, read_approval
from proxy.core.reviewed import as_sealed


def counts_under(
    view: ControlView, agents: Sequence[str], *, recorded_at: datetime | None = None
) -> Callable[[Release], bool]:
    """Whether no stop of these agents, or of everything, came after a release.

    `recorded_at` is when the store took in the one that decided: a signer's clock may run ahead.
    """
    return lambda release: stop_after(release, view, agents, recorded_at=recorded_at) is None


def stop_after(
    release: Release, view: ControlView, agents: Sequence[str], *, recorded_at: datetime | None = None
) -> Statement | None:
    """The stop that ended a release; None: it counts."""
    return view.stopped_since(agents, min(release.issued_at, recorded_at or release.issued_at))


def check_counts(release: Release, view: ControlView, agents: Sequence[str]) -> None:
    """Reject a release, just signed while nobody is stopped, that is dated before the end of a stop.

    Raises:
        Rejected(RELEASE_INVALID)
    """
    stop = stop_after(release, view, agents)
    if stop is not None:
        detail = (
            f"by this clock the release is from before the end of a stop ({ended_by(stop)}): set the clock, or wait"
        )
        raise Rejected(Code.RELEASE_INVALID, detail, field="iat")


def recalled_by(hold: Hold, filed: StoredCall, bundle: Bundle, view: ControlView, *, now: datetime) -> Statement | None:
    """The stop after which an approved hold has too few releases left; None: none, or it never had enough."""
    if not view.words:
        return None
    meant, barred, agents = as_sealed(hold, filed), frozenset(filed.chain_kids), filed.agents
    try:
        given = read_approval(meant, bundle=bundle, barred=barred, now=now)
    except Rejected:
        return None
    counts = counts_under(view, agents, recorded_at=hold.decided_at)
    try:
        read_approval(meant, bundle=bundle, barred=barred, now=now, counts=counts)
    except Rejected:
        stops = (stop_after(each, view, agents, recorded_at=hold.decided_at) for each in given)
        return next((stop for stop in stops if stop is not None), None)
    return None


def check_not_recalled(hold: Hold, filed: StoredCall, bundle: Bundle, view: ControlView, *, now: datetime) -> None:
    """Reject to send what was released before a stop.

    Raises:
        Rejected(RELEASE_INVALID)
    """
    stop = recalled_by(hold, filed, bundle, view, now=now)
    if stop is not None:
        detail = f"the release ended when {ended_by(stop)}: a person has to release the call again"
        raise Rejected(Code.RELEASE_INVALID, detail, field="iat")
