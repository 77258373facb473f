"""What the desk is made of, as whoever starts it puts it together."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.model import Manifest
from proxy.ports import Journal
from proxy.review.desk.index import Index
from proxy.review.desk.links import Links
from proxy.review.desk.oidc.provider import Provider
from proxy.review.desk.remembered import Remembered
from proxy.review.desk.sessions import Sessions
from proxy.review.desk.signing import Signing
from proxy.review.desk.tokens import Tokens
from proxy.review.granting import Granter
from proxy.review.opened import HeldCall
from proxy.review.oversight import Oversight
from proxy.review.resolving import Resolving
from proxy.review.service import ReviewService
from proxy.review.updates import Updates


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Something an agent did before a call was held."""

    at: datetime
    what: str  # "allow", "hold" or "deny"
    asked: str  # method and URL; of the query, names alone
    why: str  # the code it was judged with
    task: str = ""  # which it said it serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What would have to be written and signed so that such calls are no longer held."""

    where: str
    lines: tuple[str, ...]
    then: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """What the desk's API has besides: its tokens, and what only lists."""

    tokens: Tokens
    oversight: Oversight


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskParts:
    """The services that have the rules, and what the desk keeps for itself: who is signed in, and a list of holds."""

    reviews: ReviewService
    granter: Granter
    resolving: Resolving
    updates: Updates
    manifests: Callable[[], Sequence[Manifest]]  # those that sponsors left here, root by root; not verified
    index: Index
    policy: Callable[[], Policy]
    signing: Signing
    sessions: Sessions
    links: Links | None  # None: nobody signs in by a link
    journal: Journal
    earlier: Callable[[HeldCall], Awaitable[tuple[Earlier, ...]]]
    did: Callable[[str], Awaitable[tuple[Earlier, ...]]]  # of an agent, the newest last
    remembered: Remembered  # what the journal and the manifests say
    view: Callable[[], ControlView]  # what is stopped
    propose: Callable[[HeldCall], Proposed]
    clock: Callable[[], datetime]
    origins: tuple[str, ...]  # where its pages are, the one to print first: "http://localhost:8090"
    oidc: Provider | None = None  # None: nobody signs in with OpenID Connect
    api: ApiParts | None = None  # None: there is no API
    config: str = ""  # what to add to a command for a terminal, such as "-c mine"

    @property
    def origin(self) -> str:
        return self.origins[0]

    @property
    def secure(self) -> bool:
        """Whether its pages come over TLS."""
        return self.origin.startswith("https://")
