"""From where a redirected connection comes: the one thing that an agent which proves nothing cannot choose.

A place is an interface of the proxy's, an address on the agents' side of it, and the generation of the network both
are in: a pod's UID, or the inode of the proxy's network namespace. No forwarding header ever makes one.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from proxy.core.errors import Code, Rejected
from proxy.core.model import Agent, Bundle, IPAddress
from proxy.core.names import ip_literal

_INTERFACE = re.compile(r"[!-.0-~]{1,15}")  # as Linux names them: no slash, no space
_GENERATION = re.compile(r"[0-9A-Za-z._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a peer is. `address` None: whoever on that interface no agent is bound to."""

    interface: str
    address: IPAddress | None
    generation: str

    @property
    def label(self) -> str:
        """`eth1 10.89.0.7 4026531840`: in keys, the journal and messages. A shared place has `*` for the address."""
        return f"{self.interface} {'*' if self.address is None else self.address} {self.generation}"


@lru_cache(maxsize=4096)
def read_source(text: str) -> tuple[str, IPAddress, str]:
    """A binding as agents.yaml has it, `INTERFACE ADDRESS [GENERATION]`; the generation "" when it is not named.

    Raises:
        Rejected(CONFIG_INVALID): it is not one.
    """
    parts = text.split(" ")
    address = ip_literal(parts[1]) if len(parts) in (2, 3) else None
    generation = parts[2] if len(parts) == 3 else ""
    if (
        address is None
        or not _INTERFACE.fullmatch(parts[0])
        or (len(parts) == 3 and not _GENERATION.fullmatch(generation))
    ):
        raise Rejected(
            Code.CONFIG_INVALID,
            f'expected INTERFACE ADDRESS, such as "eth1 10.89.0.7", and perhaps a generation, got {text!r}',
        )
    return parts[0], address, generation


def bound_to(bundle: Bundle, place: Place) -> tuple[Agent, ...]:
    """The agents bound to this very place. A binding without a generation means any; a shared place is nobody's."""
    return tuple(agent for agent in bundle.agents.values() if _is_bound(agent, place))


def _is_bound(agent: Agent, place: Place) -> bool:
    for binding in agent.bindings.source:
        interface, address, generation = read_source(binding)
        if (interface, address) == (place.interface, place.address) and generation in ("", place.generation):
            return True
    return False
