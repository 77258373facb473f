"""All receivers of a deployment: what the desk's process runs beside its pages."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from proxy.policy.webhooks import Webhook
from proxy.ports import Holds, Marks, Secrets
from proxy.review.notify.noticing import Noticing
from proxy.review.notify.posting import Postman
from proxy.review.notify.receivers import RETRY_S, Receiver, Sender

LOOK_S = 15.0
"""How often it is looked at whose turn has come, and which manifests end soon."""


class Notifier:
    """Tells every receiver what it wants to know. Several may run in one deployment: each receiver is served by one."""

    def __init__(
        self,
        *,
        webhooks: Iterable[Webhook],
        noticing: Noticing,
        postman: Postman,
        secrets: Secrets,
        holds: Holds,
        marks: Marks,
        clock: Callable[[], datetime],
        owner: str,
        look_s: float = LOOK_S,
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        """`owner` is a random name of this process; `secrets` has what `url_secret` and `signing_secret` name."""
        self._receivers = tuple(
            Receiver(
                Sender(webhook, postman=postman, secrets=secrets, clock=clock),
                noticing=noticing,
                holds=holds,
                marks=marks,
                clock=clock,
                owner=owner,
                look_s=look_s,
                retry_s=retry_s,
            )
            for webhook in webhooks
        )

    async def run(self) -> None:
        """Tell them, for the life of the process. With no receiver there is nothing to do, for ever."""
        async with asyncio.TaskGroup() as serving:
            for receiver in self._receivers:
                serving.create_task(receiver.run())
            await asyncio.Event().wait()
