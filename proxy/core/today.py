"""What today's rules say of a call that was held, for those who decide it: asked before anybody signs."""

from datetime import datetime

from proxy.core.addresses import OwnSurfaces
from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.decide import Question, decide
from proxy.core.errors import Rejected
from proxy.core.model import Decision, Evidence, StoredCall
from proxy.core.verify import Lifetimes, verify_chain

_WHATEVER = Lifetimes(root_max_s=2**40, leaf_max_s=2**40)  # lifetimes were judged when the call was filed


def decided_today(filed: StoredCall, policy: Policy, *, now: datetime) -> Decision | None:
    """Today's decision on the call, as whoever sends it will make it; None where its mandate can no longer be verified,
    or the call is none: nobody sends it.

    It is asked for its risk and for who must release the call. Not checked here: what is stopped, and where the proxy
    itself listens; whoever sends the call asks that.
    """
    at = filed.decision.at
    try:
        mandate = verify_chain(filed.chain, policy.bundle, lifetimes=_WHATEVER, now=at)
        return decide(
            Question(
                decision_id=filed.decision.decision_id,
                now=now,
                policy=policy,
                view=ControlView(),
                own=OwnSurfaces(),
                grace_s=_WHATEVER.grace_s,
                intent=filed.decision.intent,
                call=filed.call,
                mandate=mandate,
                evidence=Evidence(proof=filed.proof, keyid=mandate.leaf.cnf.kid, created=at, nonce=None),
                filed=True,
            )
        )
    except (Rejected, ValueError):  # a record that no node wrote may hold a call that no node would have read
        return None
