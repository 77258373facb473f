"""The pure decision about one call, asked with everything known now; a large body does not hold up other calls."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from proxy.core.addresses import OwnSurfaces
from proxy.core.bodies.coding import BodyCaps
from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.decide import Question, decide
from proxy.core.errors import Code, Unavailable
from proxy.core.model import Call, Decision, Unread
from proxy.identify import Identity

LARGE_BYTES = 262_144
"""A body of this size is read beside the event loop, one at a time: it may take a second, and others do not wait."""


class Deciding:
    """Asks `proxy.core.decide`. One per worker."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        afresh: Callable[[Identity], Identity],
        view: Callable[[], ControlView],
        own: OwnSurfaces,
        grace_s: int,
        caps: BodyCaps,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._afresh = afresh
        self._view = view
        self._own = own
        self._grace_s = grace_s
        self._caps = caps
        self._clock = clock
        self._new_id = new_id
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies")

    async def decide(self, identity: Identity, call: Call) -> Decision:
        """What becomes of the call, as everything stands when it is asked.

        Raises:
            Rejected: the mandate was verified under an earlier policy, and does not stand under this one.
            Unavailable(VIEW_STALE): nobody has told us for too long what is stopped.
        """
        identity = self._afresh(identity)
        question = Question(
            decision_id=self._new_id(),
            now=self._clock(),
            policy=self._policy(),
            view=self._view(),
            own=self._own,
            grace_s=self._grace_s,
            call=call,
            mandate=identity.mandate,
            evidence=identity.evidence,
            intent=identity.intent,
            filed=identity.filed,
            caps=self._caps,
        )
        if isinstance(call.body, Unread) or len(call.body) < LARGE_BYTES:
            return decide(question)
        return await asyncio.get_running_loop().run_in_executor(self._beside, decide, question)


def late(deadline_s: float) -> Unavailable:
    """The fault of a decision that took too long."""
    return Unavailable(Code.UNDECIDED, f"no decision within {deadline_s} s")
